"""What a reader wants first: each target's best source, what harms, and why there is no verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from empslurm.gather import from_file, gather
from empslurm.report.analyses import analyse, tables_of
from empslurm.report.answer import Answer, answers, best_table, change_words
from empslurm.report.contents import GroupContents
from empslurm.report.formats import shown
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from tests.gather.grids import baseline, finish, grid

HEAD = "source,target,seed,metric,value"


def answered(folder: Path, rows: list[str], head: str = HEAD) -> tuple[Answer, ...]:
    """The answers of a table of results that is one group."""
    path = folder / "t.csv"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    gathered = from_file(path, registry())
    done = analyse(gathered, gathered.groups[0], ratings=())
    return answers(GroupContents(analyses=done, tables=tables_of(done)))


def runs(source: str, target: str, values: list[float], metric: str = "accuracy") -> list[str]:
    return [f"{source},{target},{seed},{metric},{value}" for seed, value in enumerate(values, start=1)]


STEADY = np.array([-0.004, -0.001, 0.002, 0.003])  # noise of four seeds
ALONE = [*(0.5 + STEADY)]


def test_the_best_source_helps_where_any_does(tmp_path: Path) -> None:
    """A larger but inconclusive gain does not hide a source that helps."""
    wild = [0.5, 0.6, 0.49, 0.61]
    rows = [
        *runs("", "aa", ALONE),
        *runs("sure", "aa", [*(0.54 + STEADY[::-1])]),
        *runs("wild", "aa", wild),
        *(row for at in range(6) for row in runs(f"same{at}", "aa", [*(0.5 + np.roll(STEADY, at))])),
        *runs("bad", "aa", [*(0.4 + STEADY[::-1])]),
        *runs("worse", "aa", [*(0.3 + STEADY[::-1])]),
    ]
    (answer,) = answered(tmp_path, rows)
    assert answer.verdicts == {"helps": 1, "harms": 2, "equivalent": 0, "inconclusive": 7, "undecided": 0}
    assert answer.sentences == ("Of 10 pairs, 1 helps, 2 harm, 7 are inconclusive, 0 are undecided.",)
    (best,) = answer.best
    assert (best.target, best.source, best.verdict, best.metric) == ("aa", "sure", "helps", "accuracy")
    assert best.baseline == pytest.approx(0.5)
    assert best.score == pytest.approx(0.54)
    assert best.difference == pytest.approx(0.04)
    assert best.low is not None
    assert best.high is not None
    assert 0 < best.low < 0.04 < best.high
    assert [change.source for change in answer.harms] == ["worse", "bad"]  # the worst first
    assert change_words(best) == f"+.040 ± {(best.high - best.low) / 2:.3f}".replace("± 0.", "± .")


def test_targets_that_are_helped_come_first_and_less_of_an_error_is_better(tmp_path: Path) -> None:
    rows = []
    for target, gain in (("aa", 0.0), ("bb", -0.1)):
        rows += runs("", target, [*(0.5 + STEADY)], "mae")
        rows += runs("x", target, [*(0.5 + gain + STEADY[::-1])], "mae")
        rows += runs("y", target, [*(0.6 + STEADY[::-1])], "mae")
    (answer,) = answered(tmp_path, rows)
    assert [(change.target, change.source, change.verdict) for change in answer.best] == [
        ("bb", "x", "helps"),
        ("aa", "x", "inconclusive"),
    ]
    assert answer.best[0].difference == pytest.approx(-0.1)
    assert "lower is better" in best_table(answer, 20).caption
    assert [row[3].text[:5] for row in best_table(answer, 20).rows] == ["−.100", ".000 "]
    assert len(best_table(answer, 1).rows) == 1


def test_a_change_that_rounds_to_zero_keeps_its_sign(tmp_path: Path) -> None:
    """The ends, rounded separately, may differ: .922 -> .921 beside .000 would contradict itself."""
    rows = [*runs("", "aa", [*(0.9216 + STEADY)]), *runs("x", "aa", [*(0.9213 + STEADY[::-1])])]
    (answer,) = answered(tmp_path, rows)
    assert [entry.text for entry in best_table(answer, 1).rows[0][2:4]] == [
        ".922 -> .921",
        f"−.000 ± {change_words(answer.best[0]).partition(' ± ')[2]}",
    ]
    assert [shown(value, signed=True) for value in (0.0004, -0.0004, 0.0, -1e-17)] == [
        "+0.000",
        "−0.000",
        "0.000",
        "0.000",
    ]
    assert shown(-0.0004) == "0.000"  # a score


def test_one_seed_decides_nothing_and_its_differences_are_shown(tmp_path: Path) -> None:
    rows = [*runs("", "aa", [0.5]), *runs("x", "aa", [0.53]), *runs("y", "aa", [0.4])]
    (answer,) = answered(tmp_path, rows)
    assert answer.sentences == (
        "Of 2 pairs, 0 help, 0 harm, 0 are inconclusive, 2 are undecided.",
        "Undecided, 2 pairs: one seed only: what another seed would change is unknown.",
    )
    (best,) = answer.best
    assert (best.source, best.low, best.high, best.verdict) == ("x", None, None, "undecided")
    assert change_words(best) == "+.030"


def test_without_a_baseline_the_best_stands_beside_the_next(tmp_path: Path) -> None:
    rows = [
        *runs("x", "aa", [*(0.5 + STEADY)]),
        *runs("y", "aa", [*(0.4 + STEADY[::-1])]),
        *runs("z", "aa", [*(0.3 + STEADY)]),
    ]
    (answer,) = answered(tmp_path, rows)
    assert answer.verdicts == {}
    assert answer.sentences[0].startswith("No target has a baseline, so no source can be said to help or to harm")
    (best,) = answer.best
    assert (best.source, best.next_best, best.verdict, best.baseline) == ("x", "y", "leads", None)
    assert best.difference == pytest.approx(0.1)
    assert best.low is not None
    assert best.high is not None
    assert 0 < best.low < 0.1 < best.high
    assert best_table(answer, 20).columns == ("target", "source", "next", "scores", "change", "verdict")


def test_baselines_alone_and_scores_that_are_undefined_have_no_best(tmp_path: Path) -> None:
    (answer,) = answered(tmp_path, runs("", "aa", ALONE))
    assert (answer.sentences, answer.best) == (("No target has both a baseline and a transfer.",), ())
    rows = [*runs("", "aa", ALONE), "x,aa,1,accuracy,", "x,aa,2,accuracy,"]
    (answer,) = answered(tmp_path, rows)
    assert answer.sentences[1] == "Undecided, 1 pair: a run has no defined score."
    assert answer.best == ()


def test_targets_without_a_baseline_beside_others_are_a_warning(tmp_path: Path) -> None:
    rows = [*runs("", "aa", ALONE), *runs("x", "aa", ALONE), *runs("x", "bb", ALONE)]
    (answer,) = answered(tmp_path, rows)
    assert any(warning.startswith("Baselines: 1 of 2 targets have none (bb)") for warning in answer.warnings)


def test_every_fraction_has_an_answer_and_warnings_stand_once(tmp_path: Path) -> None:
    rows = [
        f"{row},{part}"
        for part in (1, 0.5)
        for row in (*runs("", "aa", ALONE), *runs("x", "aa", [*(0.6 + STEADY[::-1])]), *runs("x", "bb", ALONE))
    ]
    full, half = answered(tmp_path, rows, f"{HEAD},fraction")
    assert (full.fraction, half.fraction) == (1.0, 0.5)
    assert "with 50 % of the target's data" in half.sentences[0]
    assert full.warnings
    assert half.warnings == ()


def test_warnings_of_data_and_of_baselines_that_learnt_nothing(tmp_path: Path) -> None:
    root = RunsRoot(tmp_path)
    for cell in grid(("epitome_er", "news_empathy"), seeds=(1, 2)):
        finish(root, cell, skill=0.9, constant=cell == baseline("epitome_er", cell.seed))
    for samples, start in (
        (frozenset(), "Data that empslurm has no record of: epitome, news ("),
        (frozenset({"0" * 64}), "PROVISIONAL: "),
    ):
        gathered = gather(root, None, registry(), sample_digests=samples)
        done = analyse(gathered, gathered.groups[0], ratings=())
        (answer,) = answers(GroupContents(analyses=done, tables=tables_of(done)))
        at = [warning.startswith(start) for warning in answer.warnings].index(True)
        (second,) = (warning for place, warning in enumerate(answer.warnings) if place != at)
        assert second == "1 of 2 baselines are not shown to be above chance: Epitome ER."


def test_the_summary_is_three_sentences_at_most(tmp_path: Path) -> None:
    rows = [
        row
        for target in ("aa", "bb")
        for row in (
            *runs("", target, ALONE),
            *runs("sure", target, [*(0.6 + STEADY[::-1])]),
            *runs("bad", target, [*(0.4 + np.roll(STEADY, 1))]),
            *runs("same", target, [*(0.5 + np.roll(STEADY, 2))]),
        )
    ]
    (answer,) = answered(tmp_path, rows)
    counted, best, rest = answer.summary
    assert counted == "Of 6 pairs, 2 help, 2 harm, and 2 are still open."
    assert best.startswith("sure helps most over all targets (mean gain +.100, 95 % interval +.")
    assert "the clearest single help is sure for " in best
    assert "+.100 in accuracy (95 % interval " in best
    assert rest == "2 targets have enough seeds to detect differences of .02."


def test_large_changes_of_one_seed_are_told_to_be_no_verdict(tmp_path: Path) -> None:
    (answer,) = answered(tmp_path, [*runs("", "aa", [0.5]), *runs("x", "aa", [0.4]), *runs("y", "aa", [0.51])])
    assert answer.summary == (
        "Of 2 pairs, none is shown to help or to harm: the largest change is −20 % (x → aa), and not shown to be more "
        "than chance: one seed.",
        "Two more seeds would give verdicts: 6 more runs, hours unknown.",
    )


def test_without_verdicts_the_summary_says_why(tmp_path: Path) -> None:
    (answer,) = answered(tmp_path, runs("", "aa", ALONE))
    assert answer.summary == ("No target has both a baseline and a transfer.",)
