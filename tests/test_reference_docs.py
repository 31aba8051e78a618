"""The pages of docs/reference/ are as the code says, and nothing that a user can name is missing from them."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs import pages
from docs.pages import commands, markdown, python_names, types
from docs.pages import documents as document_pages
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
    return {path.name: path.read_text(encoding="utf-8") for path in pages.FOLDER.glob("*.md")}


def keys(section: type, prefix: str, where: str = "") -> Iterator[str]:
    """The address of every key of a section, and of those below it."""
    for name, hint in field_hints(section).items():
        path = f"{where}.{name}" if where else name
        yield f"{prefix}.{path}"
        for inner in dict.fromkeys(types.sections_in(hint)):
            if not issubclass(section, inner):
                yield from keys(inner, prefix, path)


@pytest.mark.parametrize("name", ["index.md", *(name for name in pages.PAGES if name != "python.md")])
def test_a_page_is_current(name: str, texts: dict[str, str]):
    assert texts[name] == pages.page_of(name), "run `python -m docs.pages`"


@pytest.mark.heavy  # public names may import torch
def test_the_page_of_the_package_is_current(texts: dict[str, str]):
    assert texts["python.md"] == pages.page_of("python.md"), "run `python -m docs.pages`"


@pytest.mark.heavy
def test_check_names_a_page_that_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(pages, "FOLDER", tmp_path / "reference")
    assert pages.main([]) == 0
    assert pages.main(["--check"]) == 0
    (tmp_path / "reference" / "cli.md").write_text("old")
    (tmp_path / "reference" / "gone.md").write_text("no longer written")
    capsys.readouterr()
    assert pages.main(["--check"]) == 1
    assert re.findall(r"reference/([\w.]+) must", capsys.readouterr().out) == ["cli.md", "gone.md"]
    assert pages.main([]) == 0
    assert sorted(path.name for path in pages.FOLDER.iterdir()) == sorted(pages.pages())


def test_a_field_without_a_text_is_an_error():
    assert markdown.described(["one"], {"one": "text"}, "a file") == [("one", "text")]
    for texts in ({"one": "text"}, {"one": "text", "two": "text", "three": "text"}):
        with pytest.raises(markdown.UndescribedError, match="all keys of a file"):
            markdown.described(["one", "two"], texts, "a file")


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
    names = [name for name, _, _ in commands.verb_parsers()]
    assert {"data", "data status", "search freeze", "plan", "doctor"} <= set(names)
    assert re.findall(r"^##+ `(.+)`$", page, re.MULTILINE) == names
    for name, _, parser in commands.verb_parsers():
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
            assert found == {
                path for kind in documents.DOCUMENTS[name] for path, _, _ in document_pages.json_rows(kind)
            }
    assert "## Errors" in texts["json.md"]


def test_every_public_name_metric_flag_and_kind_is_listed(texts: dict[str, str]):
    for name in python_names.public_names():
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
            target = (pages.FOLDER / file).resolve() if file else pages.FOLDER / page
            assert target.is_file(), (page, file)
            if heading:
                headings = re.findall(r"^##+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
                assert heading in {title.strip("`").lower().replace(" ", "-") for title in headings}, (page, heading)


def test_index_lists_every_page(texts: dict[str, str]):
    assert set(re.findall(r"\]\((\S+\.md)\)", texts["index.md"])) | {"index.md"} == set(texts)
