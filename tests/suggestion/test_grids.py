"""What finished grids and tables of results say of sources, each transfer counted once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from empslurm import gather, reference
from empslurm.cells import Baseline, Transfer
from empslurm.store.runs import RunsRoot
from empslurm.suggestion import grids
from empslurm.suggestion.answer import Question
from empslurm.suggestion.grids import Finished, Grid
from empslurm.tasks import registry
from tests.gather.grids import finish, grid
from tests.project import Project
from tests.suggestion.made import GRID, HELPS, asked, table

RATINGS = reference.ratings(None)


@pytest.mark.heavy
def test_a_grid_has_its_targets_their_baselines_and_all_cells(trained: Project) -> None:
    question, compared = asked(trained, "hope"), list[tuple[int, int]]()
    found, left_out = grids.finished(
        question.grids, None, question.registry, RATINGS, lambda what, done, total: compared.append((done, total))
    )
    assert found is not None
    assert left_out == []
    assert {one.target for one in found.targets} == set(found.baselines) == set(GRID)
    assert all(len(one.comparison.sources) == 3 for one in found.targets)
    assert compared[-1] == (4, 4)
    assert [cell.kind for cell in found.cells()] == ["transfer"] * 12 + ["baseline"] * 4


def finished(question: Question, digest: str | None = None) -> tuple[Finished | None, list[str]]:
    return grids.finished(question.grids, digest, question.registry, RATINGS, lambda what, done, total: None)


@pytest.mark.heavy
def test_a_cell_that_two_grids_have_counts_once(trained: Project) -> None:
    question = asked(trained, "hope", grids=[trained.path / "manifests" / "small.yaml", trained.path / "runs"])
    assert len(question.grids) == 2
    found, left_out = finished(question)
    assert found is not None
    assert (len(found.targets), len(found.ids), left_out) == (4, 16, [])


@pytest.mark.heavy
def test_cells_that_were_trained_in_another_way_are_left_out_with_a_sentence(tmp_path: Path) -> None:
    root, other = RunsRoot(tmp_path / "runs"), RunsRoot(tmp_path / "other")
    tasks = ("epitome_er", "epitome_ip", "news_empathy")
    for cell in grid(tasks, seeds=(1,)):
        finish(root, cell)
    cells = [cell for cell in grid(tasks[:2], seeds=(1,)) if isinstance(cell, Baseline)]
    faster = [replace(cell, training=replace(cell.training, epochs=cell.training.epochs + 1)) for cell in cells]
    transfer = next(cell for cell in grid(tasks[:2], seeds=(1,)) if isinstance(cell, Transfer))
    parent = next(cell for cell in faster if cell.target == transfer.source)
    for cell in (*faster, replace(transfer, training=faster[0].training, parent=parent.id)):
        finish(other, cell)
    there = [Grid(root=one, gathered=gather.gather(one, None, registry())) for one in (other, root)]
    found, left_out = grids.finished(there, None, registry(), RATINGS, lambda what, done, total: None)
    assert found is not None
    assert {one.target for one in found.targets} == set(tasks)
    assert {found.roots[id].path for id in found.ids} == {root.path}
    (text,) = left_out
    assert "but 1 finished transfers on " in text


@pytest.mark.heavy
def test_grids_on_another_backbone_do_not_count(trained: Project) -> None:
    found, left_out = finished(asked(trained, "hope"), "other-1")
    assert found is None
    assert "12 finished transfers" in left_out[0]


@pytest.mark.heavy
def test_values_are_added_to_those_that_a_group_has(trained: Project) -> None:
    found, _ = finished(asked(trained, "hope"))
    assert found is not None
    group = replace(found.analyses.group, suitability={("a", "b"): {"log_me": 1.0}, ("a", "c"): {"log_me": 2.0}})
    part = replace(found, analyses=replace(found.analyses, group=group)).part({("a", "b"): {"log_me": 3.0}})
    assert part.analyses.group.suitability == {("a", "b"): {"log_me": 3.0}, ("a", "c"): {"log_me": 2.0}}
    assert part.targets == found.targets


def test_each_setting_of_a_table_is_a_part(tmp_path: Path) -> None:
    gathered = gather.from_file(table(tmp_path / "t.csv", {"first": HELPS, "second": HELPS}), registry())
    found = grids.of_table(gathered, RATINGS)
    assert [name for name, _ in found] == ["first", "second"]
    assert all({one.target for one in part.targets} == set(HELPS) for _, part in found)


def test_where_nothing_is_finished_facts_of_tasks_are_known() -> None:
    facts = grids.without_results(registry(), RATINGS)
    assert facts.tables == ()
    assert len(facts.group.runs) == 0
