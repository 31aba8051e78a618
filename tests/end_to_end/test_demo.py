"""The demo as a newcomer runs it: one corpus, real training of the pretrained MiniLM, one interruption, the truth."""

from pathlib import Path

from tests.project import ROOT, Project


def test_the_demo_finds_what_was_planted(tmp_path: Path) -> None:
    for name in ("manifests", "slurm"):
        (tmp_path / name).symlink_to(ROOT / name)
    told = Project(path=tmp_path).json("demo")
    assert 0 < told["n_interrupted"] < told["n_cells"]
    assert told["n_kept"] == told["n_interrupted"]
    assert {effect: count["n_planted"] for effect, count in told["found"].items()} == {
        "helps": 4,
        "none": 4,
        "harms": 1,
    }
    assert told["found"]["helps"]["n_found"] >= 3
    assert told["found"]["none"]["n_found"] == 4
    assert told["found"]["harms"]["n_found"] >= 1
    assert (tmp_path / told["report"]).is_file()
