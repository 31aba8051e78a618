"""Ways to choose sources, from a table of results to the page: rivals, ceiling, and when nothing can be judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import empslurm
from empslurm.report import source_choice, source_choice_tables
from empslurm.report.notebook import Study
from empslurm.report.source_choice import SourceChoice

TASKS = ("one", "two", "three", "four", "five", "six")


def results(folder: Path, *, seeds: int = 3, n_tasks: int = 6, spread: float = 0.1) -> Path:
    """Scores where some sources help every target more than others do."""
    rng = np.random.default_rng(3)
    helps = dict(zip(TASKS, spread * rng.normal(size=len(TASKS)), strict=True))
    rows = ["source,target,seed,metric,value"]
    for target in TASKS[:n_tasks]:
        for source in TASKS[:n_tasks]:
            for seed in range(seeds):
                value = 0.5 + 0.01 * rng.normal() + (helps[source] if source != target else 0.0)
                rows.append(f"{source},{target},{seed},accuracy,{value:.4f}")
    file = folder / "results.csv"
    file.write_text("\n".join(rows) + "\n")
    return file


def chosen(study: Study) -> SourceChoice:
    found = study.contents.groups[0].analyses.source_choice
    assert found is not None
    return found


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return empslurm.from_table(results(tmp_path_factory.mktemp("results")))


def test_popularity_that_is_there_is_found_and_has_its_rivals_beside_it(study: Study) -> None:
    table: Any = study.frame("source-choice-targets").set_index("way")
    assert table.index[0] == "`suggest` (popularity and features)"
    assert {"popularity alone", "random order", "half of the seeds (the ceiling)"} < set(table.index)
    assert table.loc["popularity alone", "tau"] > 0.6
    assert table.loc["random order", "tau"] == 0
    assert table.loc["half of the seeds (the ceiling)", "tau"] > 0.6
    assert table.loc["popularity alone", "regret_3"] < table.loc["random order", "regret_3"]
    assert (table["tau_low"] <= table["tau"]).all()
    assert (table["tau"] <= table["tau_high"]).all()
    assert "popularity alone" not in set(study.frame("source-choice-sources")["way"])


def test_it_says_that_popularity_is_as_good(study: Study) -> None:
    first, second, third = source_choice_tables.sentences(chosen(study))
    assert first == "Popularity is as good, as far as can be seen: features are not shown to improve on it."
    assert second.startswith("Kendall's tau with the measured order of targets that are left out: ")
    assert third.startswith("One half of the seeds predicts the order by the other half with ")
    better = replace(chosen(study), over_popularity=(0.2, 0.1, 0.3))
    assert source_choice_tables.sentences(better)[0].startswith("Features predict the order")
    worse = replace(chosen(study), over_popularity=(-0.2, -0.3, -0.1))
    assert source_choice_tables.sentences(worse)[0].startswith("Popularity alone predicts the order")


def test_one_seed_has_no_ceiling_and_few_targets_are_not_judged(tmp_path: Path) -> None:
    single = chosen(empslurm.from_table(results(tmp_path, seeds=1)))
    assert single.ceiling is None
    assert len(source_choice_tables.sentences(single)) == 2
    few = empslurm.from_table(results(tmp_path, n_tasks=3))
    assert few.contents.groups[0].analyses.source_choice is None
    lacking = few.contents.groups[0].analyses.lacking[source_choice.NAME]
    assert "at least 3 targets, each with measured gains of at least 3 sources, but none have them" in lacking


def as_error(tmp_path: Path) -> Path:
    """The same results, as an error on a scale of ten times as much."""
    file = results(tmp_path)
    lines = [line.replace("accuracy", "mae") for line in file.read_text().splitlines()]
    flipped = [lines[0]] + [
        ",".join([*line.split(",")[:4], f"{10 * (1 - float(line.split(',')[4])):.4f}"]) for line in lines[1:]
    ]
    file.write_text("\n".join(flipped) + "\n")
    return file


def test_of_an_error_less_is_better_in_shares_of_the_baseline(tmp_path: Path) -> None:
    study = empslurm.from_table(as_error(tmp_path))
    analyses, found = study.contents.groups[0].analyses, chosen(study)
    one = source_choice.compared(analyses)[0]
    pairs = source_choice.pairs_of(analyses, one.target, one.comparison.sources, one.comparison, among=TASKS)
    shares = (one.comparison.baseline - one.comparison.transfer) / one.comparison.baseline
    assert pairs.gains == pytest.approx(shares)
    by_way = {one.way: one for one in found.targets_left_out}
    assert by_way["popularity"].mean[0] > 0.6
    assert by_way["model"].mean[0] > 0.6


def test_an_error_of_zero_has_no_share(tmp_path: Path) -> None:
    file = as_error(tmp_path)
    lines = [
        line[: line.rindex(",")] + ",0.0" if line.startswith("one,one,") else line for line in file.read_text().split()
    ]
    file.write_text("\n".join(lines) + "\n")
    assert set(chosen(empslurm.from_table(file)).targets) == set(TASKS)


def test_values_that_suggest_has_kept_are_features(study: Study) -> None:
    analyses = study.contents.groups[0].analyses
    assert "LogME" in chosen(study).lacking
    pairs = [(source, target) for source in TASKS for target in TASKS if source != target]
    kept = {pair: {"log_me": float(at), "h_score": float("nan")} for at, pair in enumerate(pairs)}
    group = replace(analyses.group, suitability=kept)
    found = source_choice.choose(replace(analyses, group=group)).result
    assert "LogME" not in found.lacking
    assert "H-score" in found.lacking
    assert "log_me" in {one.way for one in found.targets_left_out}


def test_the_page_shows_both_tables(study: Study, tmp_path: Path) -> None:
    from empslurm.report.page import page

    text = page(study.contents)
    assert "Could sources be chosen without the grid?" in text
    assert "A new target: whole targets left out" in text
    assert "A new source: whole sources left out" in text
