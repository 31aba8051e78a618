"""What next: the table of seeds, what they cost, and the sentence that sums it up."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from empslurm.analysis.more_seeds import Limit, SeedsAsked
from empslurm.analysis.verdicts import ONE_SCORE, ONE_SEED, UNDEFINED
from empslurm.gather import from_file, gather
from empslurm.report import verdict_tables
from empslurm.report.analyses import analyse, tables_of
from empslurm.report.group_results import Analyses, Significance
from empslurm.report.headline import headline
from empslurm.report.seeds import WANTED, Next, seeds_statement, seeds_table
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from tests.gather.grids import finish, grid


def noisy(folder: Path, metric: str, *, scale: float = 1.0, margin: float | None = None) -> Analyses:
    """A table of results of two targets and four sources, three seeds each, with noise of .02 times `scale`."""
    rng = np.random.default_rng(0)
    rows = [
        f"{'' if source == target else source},{target},{seed},{metric},{scale * (0.6 + 0.02 * rng.normal()):.6f}"
        for target in ("aa", "bb")
        for source in ("aa", "bb", "cc", "dd", "ee")
        for seed in (1, 2, 3)
    ]
    path = folder / "t.csv"
    path.write_text("\n".join(["source,target,seed,metric,value", *rows]) + "\n", encoding="utf-8")
    gathered = from_file(path, registry())
    return analyse(gathered, gathered.groups[0], ratings=(), margin=margin)


def only(done: Analyses) -> Significance:
    (one,) = done.significance
    return one


def entry(seeds: SeedsAsked, hours: float = math.nan) -> Next:
    return Next(metric="f1_macro", seeds=seeds, hours=hours)


def asked(more: tuple[int, int], limit: Limit = "") -> SeedsAsked:
    return SeedsAsked(
        target="epitome_er", wanted=0.02, detectable=0.05, n_sources=5, n_baseline=3, n_transfer=3,
        more_baseline=more[0], more_transfer=more[1], power=0.81, limit=limit, least=0.03,
    )  # fmt: skip


def test_every_target_has_a_row_and_the_headline_a_sentence(tmp_path: Path) -> None:
    done = noisy(tmp_path, "accuracy")
    table = verdict_tables.next_table(only(done), done)
    assert [row[0].text for row in table.rows] == ["aa", "bb"]
    at = {name: place for place, name in enumerate(table.columns)}
    for row, one in zip(table.rows, only(done).next, strict=True):
        raw: dict[str, Any] = {name: row[place].raw for name, place in at.items()}
        assert raw["wanted"] == WANTED
        assert raw["detectable"] > WANTED
        assert raw["more_runs"] == raw["more_baseline"] + 4 * raw["more_transfer"] > 0
        assert one.seeds.power >= 0.8
        assert math.isnan(one.hours)  # the time of these runs is unknown
    (said,) = [sentence for sentence in headline(done) if sentence.startswith("To detect")]
    assert said.startswith("To detect differences of 0.02: of 2 targets, 2 need more seeds (")
    assert "h of training" not in said
    assert "seeds" in [table.name for table in tables_of(done)]


@pytest.mark.parametrize(("metric", "scale"), [("mae", 40.0), ("accuracy", 1.0)])
def test_a_margin_is_the_wanted_difference_and_an_error_has_a_share_without_one(
    tmp_path: Path, metric: str, scale: float
) -> None:
    (with_margin, _) = only(noisy(tmp_path, metric, scale=scale, margin=0.1 * scale)).next
    assert with_margin.seeds.wanted == 0.1 * scale
    assert (with_margin.seeds.limit, with_margin.seeds.more_runs) == ("", 0)
    one = only(noisy(tmp_path, metric, scale=scale))
    baseline = one.results[0].comparison.baseline
    assert one.next[0].seeds.wanted == (pytest.approx(0.02 * baseline) if metric == "mae" else 0.02)


def test_hours_are_those_that_the_runs_took(tmp_path: Path) -> None:
    root = RunsRoot(tmp_path)
    tasks = ("epitome_er", "news_empathy", "conv_emopol", "empdial_ei")
    for cell in grid(tasks, seeds=(1, 2, 3), fractions=(1.0, 0.5)):
        finish(root, cell, skill=0.5 + 0.02 * cell.seed * (cell.source_task is None))
    gathered = gather(root, None, registry())
    runs = gathered.groups[0].runs
    alone = runs["source"].isna()
    runs.loc[alone, "wall_s"], runs.loc[~alone, "wall_s"] = 1800.0, 3600.0
    runs.loc[runs["fraction"] == 0.5, "wall_s"] /= 2
    embeddings = runs.iloc[:3].assign(kind="fisher", id=["x", "y", "z"], wall_s=9.0, source=None)
    gathered = replace(gathered, groups=(replace(gathered.groups[0], runs=pd.concat([runs, embeddings])),))
    done = analyse(gathered, gathered.groups[0], ratings=(), margin=0.2)
    assert [one.fraction for one in done.significance] == [1.0, 0.5]
    for one in done.significance:
        for found in one.next:
            hours = 0.5 * found.seeds.more_baseline + one.fraction * 3 * found.seeds.more_transfer
            assert found.hours == pytest.approx(hours)
    assert any(found.hours > 0 for one in done.significance for found in one.next)


def test_the_note_says_what_seeds_cannot_show() -> None:
    found = [
        entry(asked((0, 0)), 0.0),
        entry(asked((6, 1)), 2.5),
        entry(asked((0, 0), "examples")),
        entry(asked((0, 0), "seeds")),
        Next(metric="f1_macro", seeds=asked((0, 0), "unknown"), hours=math.nan, why="one seed only"),
    ]
    table = seeds_table(found, registry(), name="seeds", title="How many more seeds?")
    notes = [row[-1].text for row in table.rows]
    assert notes[0] == "enough"
    assert "no number of seeds detects less than 0.03" in notes[2]
    assert "more than 64 seeds" in notes[3]
    assert notes[4] == "one seed only"
    shown = [[row[at].text for at in (5, 6, 7, 8)] for row in table.rows]
    assert shown[1] == ["6", "1", "11", "2.50"]
    assert shown[2] == ["—"] * 4
    assert seeds_statement(found, None) == (
        "To detect differences of 0.02: of 5 targets, 1 has enough seeds, 1 needs more seeds (11 runs, about 2.5 h of "
        "training), 1 has too few test examples for any number of seeds, 1 needs more than 64 seeds, 1 cannot be "
        "judged yet. The table `seeds` lists them."
    )


def test_the_sentence_counts_and_says_whose_hours_are_known() -> None:
    one = entry(asked((1, 0)))
    assert seeds_statement([one], 0.05) == (
        "To detect differences of 0.05: of 1 target, 1 needs more seeds (1 run). The table `seeds` lists them."
    )
    half = seeds_statement([one, entry(asked((3, 0)), 0.25)], None, fraction=0.1, table="seeds-f10")
    assert half.startswith(
        "To detect differences of 0.02 with 10 % of the target's data: of 2 targets, 2 need more seeds (4 runs, "
    )
    assert half.endswith("about 0.2 h of training for 1 of them). The table `seeds-f10` lists them.")
    error = Next(metric="mae", seeds=asked((0, 0)), hours=math.nan)
    assert "differences of 2 % of the baseline's: of 1 target" in seeds_statement([error], None)
    assert "differences of 0.02, or in errors 2 % of the baseline's" in seeds_statement([error, one], None)


def test_a_tiny_difference_is_not_shown_as_none() -> None:
    tiny = Next(metric="f1_macro", seeds=replace(asked((0, 0), "examples"), wanted=1e-5, least=0.00042), hours=math.nan)
    (row,) = seeds_table([tiny], registry(), name="seeds", title="How many more seeds?").rows
    assert row[4].text == "1e-05"
    assert row[-1].text.endswith("less than 0.00042")


@pytest.mark.parametrize(("value", "reason"), [("0.5", ONE_SCORE), ("", UNDEFINED)])
def test_unknown_noise_has_the_reason_of_its_verdicts(tmp_path: Path, value: str, reason: str) -> None:
    rows = [f"{source},t,{seed},accuracy,{value}" for source in ("", "a", "b") for seed in (1, 2, 3)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["source,target,seed,metric,value", *rows]) + "\n", encoding="utf-8")
    gathered = from_file(path, registry())
    done = analyse(gathered, gathered.groups[0], ratings=())
    (one,) = only(done).next
    assert (one.seeds.limit, one.why) == ("unknown", reason)
    table = verdict_tables.next_table(only(done), done)
    assert table.rows[0][-1].text == reason
    assert "manifest" not in table.caption


def test_every_target_says_in_a_sentence_what_it_needs() -> None:
    """The title, the seeds, the runs and the hours; that hours are unknown is said, and never 0."""

    def said(seeds: SeedsAsked, hours: float = math.nan, **more: Any) -> str:
        return Next(metric="f1_macro", seeds=seeds, hours=hours, title="Conv Empathy", **more).sentence

    assert said(asked((2, 2)), 0.42) == (
        "Conv Empathy: 2 more seeds of its baseline and sources (12 runs, about 0.4 h) "
        "would detect a difference of .02."
    )
    assert said(asked((3, 1)), interesting=("x", "y")) == (
        "Conv Empathy: 3 more seeds of its baseline and 1 of each of its 5 sources (8 runs, hours unknown) would "
        "detect "
        "a difference of .02; 2 pairs are still open."
    )
    assert said(asked((0, 0)), 0.0) == "Conv Empathy: enough seeds: a difference of .02 would be detected."
    one = replace(asked((0, 0), "unknown"), n_baseline=1, n_transfer=1)
    assert said(one, 1.2, why=ONE_SEED) == (
        "Conv Empathy: one seed so far; 2 more seeds of its baseline and sources (12 runs, about 1.2 h) "
        "would give verdicts."
    )
    assert said(asked((0, 0), "unknown"), why=ONE_SCORE) == f"Conv Empathy: cannot be judged yet: {ONE_SCORE}."
    assert said(asked((0, 0), "examples"), n_examples=100) == (
        "Conv Empathy: its test part of 100 texts is too small: "
        "no number of seeds detects a difference of less than .03."
    )
    assert "more than 64 seeds" in said(asked((0, 0), "seeds"))


def test_open_pairs_are_named(tmp_path: Path) -> None:
    one = only(noisy(tmp_path, "accuracy"))
    for target in one.next:
        own = [pair.verdict for pair in one.pairs if pair.verdict.target == target.seeds.target]
        assert target.undecided == ()
        assert set(target.interesting) <= {verdict.source for verdict in own if verdict.verdict == "inconclusive"}
    assert any(target.interesting for target in one.next)
