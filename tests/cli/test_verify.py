"""The verb `verify` on a study that was really trained: it finds what was changed, and confirms what is honest."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from empslurm.cli import main
from tests.end_to_end.conftest import MANIFEST
from tests.project import Project, once, trained_on_sample
from tests.share.conftest import tamper

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A study whose tables are written. Tests leave it as it is."""
    trained = once(tmp_path_factory, "grid", lambda path: trained_on_sample(path, MANIFEST))

    def make(path: Path) -> None:
        shutil.copytree(trained, path, symlinks=True, dirs_exist_ok=True)
        Project(path=path).call("gather", "small")

    return Project(path=once(tmp_path_factory, "grid-gathered", make))


@pytest.fixture
def copy(gathered: Project, tmp_path: Path) -> Project:
    shutil.copytree(gathered.path, tmp_path / "project", symlinks=True)
    return Project(path=tmp_path / "project")


def files(project: Project) -> dict[str, bytes]:
    """The runs root without the remembered checksums of raw files, which every plan may add to."""
    return {name: data for name, data in project.files().items() if name != "runs/prepared/checksums.json"}


def cell(project: Project, start: str) -> Path:
    (path,) = (project.path / "runs" / "cells").glob(f"{start}-*")
    return path


def test_an_honest_study_agrees_and_only_the_page_is_written(copy: Project) -> None:
    before = files(copy)
    said = copy.call("verify", "small")
    assert said.startswith("Everything agrees: 8 results, ")
    page = "runs/gathered/small/verification.html"
    assert said.rstrip().endswith(page)
    after = files(copy)
    assert "Everything agrees" in after.pop(page).decode()
    assert after == before
    assert copy.json("verify", "small")["agrees"]  # the page is no table that gather should have written


def test_a_tampered_prediction_and_an_edited_table_are_found_and_honest_cells_train_again(copy: Project) -> None:
    tampered, table = cell(copy, "epitome_er-s1"), copy.path / "runs" / "gathered" / "small" / "table8.csv"
    tamper(tampered / "output-0001" / "predictions.parquet")
    edited, n = re.subn(r"(Epitome ER,)[^\n]*", r"\g<1>0.987", table.read_text())
    assert n == 1
    table.write_text(edited)
    # One starts from the study's adapter of its source, the other from a source that failed its check.
    honest = [cell(copy, name).name for name in ("news_empathy--epitome_er-s2", "epitome_er--news_empathy-s1")]
    before = files(copy)
    found = copy.json("verify", "small", "--retrain", ",".join(honest), expect=1)
    assert [(item["kind"], item["where"]) for item in found["findings"]] == [
        ("refused", tampered.name),
        ("edited", "table8.csv"),
    ]
    assert found["findings"][0]["text"].startswith(f"runs/cells/{tampered.name}/output-0001/predictions.parquet must")
    (place,) = found["findings"][1]["places"]
    assert (place["place"], place["printed"]) == ("row Epitome ER, column news_empathy", "0.987")
    assert [(item["cell"], item["outcome"], item["agrees"]) for item in found["retrained"]] == [
        (name, "bits", True) for name in honest
    ]
    assert found["repeat"] == f"empslurm verify small --retrain {','.join(honest)}"
    after = files(copy)
    assert "row Epitome ER, column news_empathy" in after.pop(found["page"]).decode()
    assert after == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing.yaml"], "does not exist"),
        (["small", "--retrain", "0"], "--retrain must be a number of cells, 1 or more, or cell ids, but is '0'"),
        (["small", "--retrain", "nobody-s1"], "must be the start of one id of a baseline or transfer"),
    ],
)
def test_mistakes_are_sentences(
    gathered: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(gathered.path)
    assert main(["--runs", "runs", "--data", "data", "verify", *words]) == 2
    error = capsys.readouterr().err
    assert said in " ".join(error.split())


def test_where_nothing_has_run_nothing_agrees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(MANIFEST)
    assert main(["verify", "small.yaml"]) == 1
    assert "No cell of small has a result here" in capsys.readouterr().out


def test_a_zip_file_in_capitals_and_a_folder_named_as_the_manifest(copy: Project) -> None:
    copy.call("bundle", "small", "--to", "X.ZIP")
    assert "Everything agrees" in copy.call("verify", "X.ZIP")
    assert (copy.path / "X-verification.html").is_file()
    (copy.path / "small").mkdir()
    assert "runs/gathered/small/verification.html" in copy.call("verify", "small")


def test_the_results_of_others_do_not_replace_the_tables_of_a_study_of_the_same_name(copy: Project) -> None:
    copy.call("bundle", "small", "--to", "small.zip")
    before = (copy.path / "runs" / "gathered" / "small" / "report.html").read_bytes()
    assert "runs/gathered/small-results/report.html" in copy.call("gather", "--results", "small.zip")
    assert (copy.path / "runs" / "gathered" / "small" / "report.html").read_bytes() == before
