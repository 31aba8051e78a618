"""What `demo` says, and how it ends where a step fails. tests/end_to_end/test_demo.py runs it whole."""

from pathlib import Path

import pytest

from empslurm.cli import main
from empslurm.cli.demo import answer_lines, planted_words
from empslurm.tasks.sample.truth import Found

MANIFEST = "name: demo\ntasks: [epitome_er, news_empathy]\nseeds: [1]\nbackbone: tiny\n"


def pair(source: str, target: str, verdict: str, difference: float = 0.0) -> dict[str, object]:
    return {
        "source_title": source,
        "target_title": target,
        "verdict": verdict,
        "baseline": 0.5,
        "score": 0.5 + difference,
        "difference": difference,
        "low": difference - 0.1,
        "high": difference + 0.1,
    }


def test_each_call_has_a_line_and_the_other_pairs_share_one() -> None:
    pairs = [
        pair("Rain", "Snow", "harms", -0.25),
        pair("Sun", "Snow", "equivalent"),
        pair("Fog", "Hail", "helps", 0.3),
        pair("Dew", "Hail", "inconclusive", 0.01),
    ]
    assert list(answer_lines(pairs)) == [
        "  Fog helps Hail   .50 -> .80  +.30 ± .10",
        "  Rain harms Snow  .50 -> .25  −.25 ± .10",
        "  2 other pairs: no help or harm shown; 1 shown to be within the margin",
    ]


def test_what_was_planted_is_told_with_what_was_found() -> None:
    found = (
        Found(effect="helps", n_planted=4, n_found=3),
        Found(effect="none", n_planted=4, n_found=4),
        Found(effect="harms", n_planted=2, n_found=1),
    )
    assert planted_words(found) == ("3 of 4 helps found, 1 of 2 harms found, 0 of 4 pairs without an effect called")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the manifest `demo`, as working directory."""
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests/demo.yaml").write_text(MANIFEST)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_files_of_others_end_it_before_anything_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "data").mkdir()
    (here / "data/mine.csv").write_text("x")
    assert main(["--data", "data", "--runs", "runs", "demo"]) == 1
    assert "must be empty for the invented corpus, but holds mine.csv" in " ".join(capsys.readouterr().err.split())
    assert not (here / "runs").exists()


def test_a_step_that_fails_ends_it_with_a_sentence(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With a profile `small` that is wrong `submit` refuses; it says so itself, and the demo says what to do next."""
    (here / "slurm").mkdir(exist_ok=True)
    (here / "slurm" / "small.yaml").write_text("kind: nowhere\n")
    assert main(["--data", "data", "--runs", "runs", "demo"]) == 1
    told = " ".join(capfd.readouterr().err.split())
    assert "kind must be" in told
    assert "`submit` must end with status 0 in the demo, but ended with 2" in told
