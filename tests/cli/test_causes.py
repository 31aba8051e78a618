"""An error's first clause names what the user has to change."""

from pathlib import Path

import pytest

from empslurm.launch import markers
from empslurm.store.runs import RunsRoot
from tests.cli.test_errors import call, problems
from tests.launch.conftest import made, root  # noqa: F401  # fixtures

SLURM = "kind: slurm\npartition: gpu\ntime: 60\n"
MANIFEST = "name: small\ntasks: [epitome_er, news_empathy]\nseeds: [1]\nbackbone: {}\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two manifests, of which one names a backbone that is not there; no data and no Slurm."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    for name in ("EMPSLURM_RUNS", "EMPSLURM_DATA"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "no_data.yaml").write_text(MANIFEST.format("tiny"))
    (tmp_path / "no_backbone.yaml").write_text(MANIFEST.format("./nowhere"))
    (tmp_path / "cluster.yaml").write_text(SLURM)
    return tmp_path


def test_debug_says_whether_backbone_or_data_is_missing(here: Path) -> None:
    (sentence,) = problems("debug", "no_backbone.yaml", expect=2)
    assert "nowhere must be a folder with config.json" in sentence
    assert "data" not in sentence
    (sentence,) = problems("debug", "no_data.yaml", expect=2)
    assert "epitome must be below data" in sentence
    assert "backbone" not in sentence


def test_a_cluster_profile_without_slurm_is_told_so_before_anything_is_prepared(here: Path) -> None:
    (sentence,) = problems("submit", "no_data.yaml", "--profile", "cluster.yaml", expect=2)
    assert "sbatch, squeue, scontrol must be on PATH" in sentence
    assert "login node" in sentence
    assert not (here / "runs").exists()


def test_a_runs_root_that_is_not_there_is_no_unknown_cell(here: Path) -> None:
    for words in (("show", "epitome_er"), ("logs", "epitome_er"), ("explain", "epitome_er", "news")):
        (sentence,) = problems(*words, "--runs", "elsewhere", expect=2)
        assert "runs root elsewhere must exist" in sentence
        assert "--runs" in sentence


def test_a_cell_that_was_sent_and_has_not_started_is_not_missing(here: Path, root: RunsRoot, made) -> None:  # noqa: F811
    array = markers.mark(root, made, ((0,),), "small-baseline")
    array.resolve("7")
    cell = array.cells[0][0]
    for words in (("show", cell), ("explain", cell, cell), ("show", "7_0")):
        (sentence,) = problems(*words, "--runs", str(root.path), expect=2)
        assert f"{cell} must have started to be shown" in sentence
        assert "submit" not in sentence


def test_no_data_to_audit_or_prepare(here: Path) -> None:
    for action in ("audit", "prepare"):
        (sentence,) = problems("data", action, "--data", "empty", expect=1)
        assert sentence.startswith("empty must hold data")
        assert "`empslurm data status`" in sentence
    assert call("data", "status", "--data", "empty")[0] == 0
