"""The pages of docs/reference/ are as the code says, and nothing that a user can name is missing from them."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs import reference
from empslurm import metrics
from empslurm.cli import documents
from empslurm.config import ADAPTER_KINDS
from empslurm.launch.profile import ProfileFile
from empslurm.manifest.schema import ManifestFile, SearchFile
from empslurm.tasks.card_schema import Card
from empslurm.validation.reader import field_hints

EMPTY_CELL = re.compile(r"\| +(?=\|)")


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Name of a page -> its committed text."""
    return {path.name: path.read_text(encoding="utf-8") for path in reference.FOLDER.glob("*.md")}


def keys(section: type, prefix: str, where: str = "") -> Iterator[str]:
    """The address of every key of a section, and of those below it."""
    for name, hint in field_hints(section).items():
        path = f"{where}.{name}" if where else name
        yield f"{prefix}.{path}"
        for inner in reference.sections_in(hint):
            if not issubclass(section, inner):
                yield from keys(inner, prefix, path)


@pytest.mark.parametrize("name", ["index.md", *(name for name in reference.PAGES if name != "python.md")])
def test_a_page_is_current(name: str, texts: dict[str, str]):
    assert texts[name] == reference.page_of(name), "run `python docs/reference.py`"


@pytest.mark.heavy  # public names may import torch
def test_the_page_of_the_package_is_current(texts: dict[str, str]):
    assert texts["python.md"] == reference.page_of("python.md"), "run `python docs/reference.py`"


@pytest.mark.heavy
def test_check_names_a_page_that_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(reference, "FOLDER", tmp_path / "reference")
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0
    (tmp_path / "reference" / "cli.md").write_text("old")
    (tmp_path / "reference" / "gone.md").write_text("no longer written")
    capsys.readouterr()
    assert reference.main(["--check"]) == 1
    assert re.findall(r"reference/([\w.]+) must", capsys.readouterr().out) == ["cli.md", "gone.md"]
    assert reference.main([]) == 0
    assert sorted(path.name for path in reference.FOLDER.iterdir()) == sorted(reference.pages())


def test_a_field_without_a_text_is_an_error():
    assert reference.described(["one"], {"one": "text"}, "a file") == [("one", "text")]
    for texts in ({"one": "text"}, {"one": "text", "two": "text", "three": "text"}):
        with pytest.raises(reference.UndescribedError, match="all keys of a file"):
            reference.described(["one", "two"], texts, "a file")


@pytest.mark.parametrize(
    ("page", "section", "prefix"),
    [
        ("manifest.md", ManifestFile, "grid"),
        ("manifest.md", SearchFile, "search"),
        ("profile.md", ProfileFile, "profile"),
        ("cards.md", Card, "card"),
    ],
)
def test_every_key_has_one_row(texts: dict[str, str], page: str, section: type, prefix: str):
    wanted = list(keys(section, prefix))
    assert {f"{prefix}.{field.name}" for field in dataclasses.fields(section)} <= set(wanted)
    assert sorted(re.findall(rf'<a id="({prefix}\.[^"]+)"></a>', texts[page])) == sorted(wanted)


def test_every_verb_and_action_has_a_section_with_its_options(texts: dict[str, str]):
    page = texts["cli.md"]
    names = [name for name, _, _ in reference.verb_parsers()]
    assert {"data", "data status", "search freeze", "plan", "doctor"} <= set(names)
    assert re.findall(r"^##+ `(.+)`$", page, re.MULTILINE) == names
    for name, _, parser in reference.verb_parsers():
        section = page.partition(f" `{name}`\n")[2].partition("\n##")[0]
        common = {"--help", "--runs", "--data", "--json"}
        options = {word for action in parser._actions for word in action.option_strings if word.startswith("--")}
        assert all(
            f"`{word}`" in section or f"`{word} " in section or f", {word}" in section for word in options - common
        )
        assert f"empslurm {name}" in section


def test_every_document_has_a_section_with_its_keys(texts: dict[str, str]):
    sections = dict(re.findall(r"^## `([^`]+)`\n(.*?)(?=^## |\Z)", texts["json.md"], re.MULTILINE | re.DOTALL))
    assert list(sections) == list(documents.DOCUMENTS)
    for name, section in sections.items():
        if "As for [" not in section:
            found = set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))
            assert found == {path for kind in documents.DOCUMENTS[name] for path, _, _ in reference.json_rows(kind)}
    assert "## Errors" in texts["json.md"]


def test_every_public_name_metric_flag_and_kind_is_listed(texts: dict[str, str]):
    for name in reference.public_names():
        assert re.search(rf"\| `{name}[(`]", texts["python.md"]), name
    assert re.findall(r'<a id="metric\.(\w+)"></a>', texts["metrics.md"]) == list(metrics.METRICS)
    assert all(f"| `{flag}` |" in texts["metrics.md"] for flag in metrics.FLAGS)
    assert re.findall(r'<a id="adapter\.(\w+)"></a>', texts["manifest.md"]) == list(ADAPTER_KINDS)


def test_no_row_lacks_a_text(texts: dict[str, str]):
    lacking = {
        (page, (re.findall(r'id="([^"]+)"', line) or [line])[0])
        for page, text in texts.items()
        for line in text.splitlines()
        if line.startswith("| ") and EMPTY_CELL.search(line)
    }
    assert lacking == set()


def test_every_link_of_a_page_leads_somewhere(texts: dict[str, str]):
    for page, text in texts.items():
        for file, heading in re.findall(r"\]\(([^)#]*)(?:#([^)]+))?\)", text):
            target = (reference.FOLDER / file).resolve() if file else reference.FOLDER / page
            assert target.is_file(), (page, file)
            if heading:
                headings = re.findall(r"^##+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
                assert heading in {title.strip("`").lower().replace(" ", "-") for title in headings}, (page, heading)


def test_index_lists_every_page(texts: dict[str, str]):
    assert set(re.findall(r"\]\((\S+\.md)\)", texts["index.md"])) | {"index.md"} == set(texts)
