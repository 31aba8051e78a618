"""Tasks beside the paper's that are rated, on cards or in a file: themes, tables, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from empslurm import reference
from empslurm.analysis.themes import theme_of_mean
from empslurm.gather import Gathered, gather
from empslurm.reference import Rating
from empslurm.report import paper, task_facts
from empslurm.report.analyses import analyse, tables_of
from empslurm.report.gaps import gaps
from empslurm.report.group_results import Analyses
from empslurm.report.write import contents_of
from empslurm.store.runs import RunsRoot
from empslurm.tasks import Registry, registry
from tests.gather import grids

CARD = """\
id: {task}
title: {task}
file: {task}.csv
format: csv
columns: {{text: said, label: mood}}
kind: classification
labels: [up, down]
data_source: Twitter
language_setting: social media
citation: Nobody (2026). Kites of invention.
licence: CC BY 4.0
"""
NAMES = ("definition", "link", "conduciveness")
OWN = {"kite_mood": "ratings: {definition: 4, link: 4, conduciveness: 3.5}\n", "kite_role": ""}


def known(folder: Path) -> Registry:
    """Two invented tasks, of which one is rated on its card."""
    for task, rated in OWN.items():
        (folder / f"{task}.yaml").write_text(CARD.format(task=task) + rated, encoding="utf-8")
    return registry([folder])


def of_file(task: str, *levels: float) -> list[Rating]:
    return [
        Rating(task=task, aspect=name, annotators=("A", "B"), values=(level, level))
        for name, level in zip(NAMES, levels, strict=True)
    ]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Gathered:
    """Finished runs of two of the paper's tasks and of two on cards."""
    own = known(tmp_path_factory.mktemp("cards"))
    root = RunsRoot(tmp_path_factory.mktemp("runs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grids, "TASKS", own.tasks)
        for cell in grids.grid(("epitome_er", "hope", *OWN), seeds=(1, 2)):
            grids.finish(root, cell)
    return gather(root, None, own)


def of(gathered: Gathered, ratings: Any) -> Analyses:
    return analyse(gathered, gathered.groups[0], ratings=ratings)


def test_the_rule_gives_the_papers_themes_but_for_the_tasks_that_it_marks() -> None:
    rows = reference.themes()
    others = {
        row.task for row in rows if row.theme != theme_of_mean((row.definition + row.link + row.conduciveness) / 3)
    }
    assert others == {row.task for row in rows if row.deviates}
    means = {43 / 12: "direct", 3.58: "abstract", (3.25 + 3.0 + 3.0) / 3: "abstract", 3.08: "adjacent", 1.0: "adjacent"}
    assert {mean: theme_of_mean(mean) for mean in means} == means


def test_a_file_of_ratings_comes_before_a_card(tmp_path: Path) -> None:
    own = known(tmp_path)
    of_card = task_facts.mean_ratings(["kite_mood"], own, reference.ratings())["kite_mood"]
    assert of_card == {"definition": 4, "link": 4, "conduciveness": 3.5}
    of_both = task_facts.mean_ratings(["kite_mood"], own, of_file("kite_mood", 1, 2, float("nan")))["kite_mood"]
    assert (of_both["definition"], of_both["link"]) == (1, 2)
    assert of_both["conduciveness"] != of_both["conduciveness"]  # nobody rated it there: the card's is of another time


def test_a_rated_task_joins_the_themes_and_an_unrated_one_is_a_gap(mixed: Gathered) -> None:
    done = of(mixed, reference.ratings())
    (table,) = (table for table in tables_of(done) if table.name == "figure3-default")
    assert table.caption.startswith("6 pairs.")  # of epitome_er, hope and kite_mood
    assert "The theme of 1 task follows a rule on its mean rating: direct from 3.58" in table.caption
    (gap,) = [gap for gap in gaps(done) if gap.what == "themes of some tasks"]
    assert gap.why == "not rated on all three criteria: kite_role"
    assert "`empslurm rate`" in gap.fill


def test_a_file_rates_the_rest_and_all_tables_have_it(mixed: Gathered) -> None:
    ratings = [*reference.ratings(), *of_file("kite_role", 3, 3, 3.5)]
    done = of(mixed, ratings)
    assert [gap for gap in gaps(done) if gap.what.startswith("themes")] == []
    (table,) = (table for table in tables_of(done) if table.name == "figure3-default")
    assert table.caption.startswith("12 pairs.")
    shown = {table.name: table for table in contents_of(mixed, ratings=ratings).ratings}
    assert set(shown) == {"table2", "table3", "figure8", "table5"}
    assert len(shown["table5"].rows) == 20
    assert [row[0].text for row in shown["table5"].rows if row[1].text == "kite_role†"] == ["abstract"]
    assert "alpha_printed" not in shown["table3"].columns  # nineteen tasks are not the paper's eighteen


def test_tasks_rated_on_cards_alone_have_a_table_of_themes_without_the_paper(tmp_path: Path) -> None:
    own = known(tmp_path)
    root = RunsRoot(tmp_path / "runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grids, "TASKS", own.tasks)
        for cell in grids.grid(tuple(OWN)):
            grids.finish(root, cell)
    tables = contents_of(gather(root, None, own), ratings=reference.ratings()).ratings
    (table,) = tables
    assert (table.name, table.number) == ("table5", "")
    assert [[entry.text for entry in row] for row in table.rows] == [
        ["direct", "kite_mood", "4.0", "4.0", "3.5", "3.83"]
    ]
    assert "printed" not in table.caption


def test_what_is_not_table_2_is_not_compared_with_what_was_printed() -> None:
    whole, part = reference.ratings(), reference.ratings()[:27]
    assert paper.of_table2(whole)
    assert not paper.of_table2(part)
    table = paper.table3(paper.ratings_agreement(part), compared=False)
    assert table.columns == ("aspect", "alpha", "spearman", "p_value", "n_units")
    assert paper.figure8(paper.ratings_agreement(part), compared=False).details == ""
