"""Runs that really did not learn are said to, wherever their numbers stand."""

import shutil

import pytest

from tests.project import Project

MANIFEST = """\
name: astray
tasks: [epitome_er, news_empathy]
pairs: none
seeds: [1, 2]
backbone: tiny
training:
  epochs: 1
  lr: 1.0
  batch_size: 8
  max_train_examples: 32
  max_eval_examples: 16
  max_length: 32
  per_task: {news_empathy: {lr: 0.1}}
"""


@pytest.fixture(scope="module")
def astray(trained: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Learning rates a hundred and a thousand times too large, trained for real."""
    path = tmp_path_factory.mktemp("astray") / "project"
    shutil.copytree(trained.path, path, symlinks=True)
    made = Project(path=path)
    (path / "manifests" / "astray.yaml").write_text(MANIFEST)
    made.call("submit", "astray", "--profile", "local")
    return made


def test_status_names_them(astray: Project) -> None:
    flagged = {item["id"]: item["flags"] for item in astray.json("status", "astray")["flagged"]}
    assert len(flagged) == 4
    for cell, flags in flagged.items():
        assert ("constant" if cell.startswith("epitome_er") else "worse_than_constant") in flags
    shown = astray.call("status", "astray")
    assert "done, but did not learn" in shown
    assert "`gather` judges all runs" in shown
    assert "gave one answer to every test text" in shown
    assert astray.json("status", "small")["totals"]["done"] == 8


def test_tables_and_the_page_say_which_seeds(astray: Project) -> None:
    astray.call("gather", "astray")
    out = astray.path / "runs" / "gathered" / "astray"
    assert "did worse on the test part than one answer to every text" in (out / "table8.md").read_text()
    assert "no; 2 of 2 seeds (1, 2) worse than one answer to all" in (out / "baselines-pearson.md").read_text()
    assert "Epitome ER, alone: all 2 seeds gave one answer to every test text" in (out / "report.html").read_text()


def test_the_model_card_says_not_to_rely_on_them(astray: Project) -> None:
    astray.call("export", "astray", "--to", "out")
    card = (astray.path / "out" / "epitome_er" / "README.md").read_text()
    assert "**Flagged: seeds 1, 2 gave one answer to every test text.** Do not rely on it." in card
