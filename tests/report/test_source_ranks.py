"""Sources ranked from a table of results: units, ties, one seed, and pairs that are left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from empslurm.analysis.verdicts import ONE_SEED
from empslurm.gather import from_file
from empslurm.report.analyses import analyse, tables_of
from empslurm.report.group_results import Analyses
from empslurm.report.source_ranks import PERCENT, SourceRanks
from empslurm.tasks import registry

GAINS = {"aa": 0.10, "bb": 0.0, "cc": 0.0, "dd": -0.10}
TARGETS = ("aa", "bb", "cc")


def done(
    folder: Path, *, metrics: tuple[str, str, str] = ("f1_macro",) * 3, seeds: int = 3, lacking: str = ""
) -> Analyses:
    """Three targets; aa helps the other two, dd harms all. `lacking`: a source of aa with one seed only."""
    rng = np.random.default_rng(4)
    rows = []
    for target, metric in zip(TARGETS, metrics, strict=True):
        sign = -1 if metric == "mae" else 1
        for source, gain in GAINS.items():
            for seed in range(1, seeds + 1):
                if (source, target) == (lacking, "aa") and seed > 1:
                    continue
                value = 0.5 + (source != target) * sign * gain + 0.005 * rng.normal()
                rows.append(f"{'' if source == target else source},{target},{seed},{metric},{value:.5f}")
    path = folder / "t.csv"
    path.write_text("\n".join(["source,target,seed,metric,value", *rows]) + "\n", encoding="utf-8")
    gathered = from_file(path, registry())
    return analyse(gathered, gathered.groups[0], ratings=())


def only(analyses: Analyses) -> SourceRanks:
    (ranks,) = analyses.source_ranks
    return ranks


def test_the_source_that_helps_is_first_and_the_table_has_a_row_each(tmp_path: Path) -> None:
    analyses = done(tmp_path)
    ranks = only(analyses)
    assert next((row.source, row.place) for row in ranks.sources) == ("aa", 1)
    assert [(row.source, row.place) for row in ranks.sources][-1] == ("dd", 4)
    assert [row.place for row in ranks.sources[1:3]] == [2, 2]
    first = ranks.sources[0]
    assert (first.n_targets, first.n_helps, first.n_harms) == (2, 2, 0)
    assert first.low < 0.1 < first.high
    assert (ranks.unit, ranks.reason, ranks.n_left_out) == ("metric", "", 0)
    (table,) = [table for table in tables_of(analyses) if table.name == "source-ranks"]
    assert [row[0].text for row in table.rows] == ["1", "2=", "2=", "4"]
    assert [row[1].text for row in table.rows] == [row.source for row in ranks.sources]


def test_an_error_among_the_metrics_makes_gains_percent(tmp_path: Path) -> None:
    ranks = only(done(tmp_path, metrics=("f1_macro", "mae", "f1_macro")))
    assert ranks.unit == PERCENT
    first = ranks.sources[0]
    assert (first.source, first.effect) == ("aa", pytest.approx(20, abs=2))
    assert first.low < first.effect < first.high


def test_one_seed_ranks_nobody_and_says_why(tmp_path: Path) -> None:
    ranks = only(done(tmp_path, seeds=1))
    assert ranks.reason == ONE_SEED
    assert {(row.place, row.best, row.worst, row.known) for row in ranks.sources} == {(1, 1, 4, False)}
    effects = [row.effect for row in ranks.sources]
    assert effects == sorted(effects, reverse=True)
    assert np.isfinite(effects).all()


def test_a_pair_that_is_undecided_is_left_out_where_others_are_decided(tmp_path: Path) -> None:
    ranks = only(done(tmp_path, lacking="dd"))
    assert ranks.n_left_out == 1
    assert ranks.reason == f"1 pair is left out: {ONE_SEED}"
    last = ranks.sources[-1]
    assert (last.source, last.n_targets, last.place) == ("dd", 2, 4)
