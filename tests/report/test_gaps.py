"""What is missing in one list: what fills each gap, and what that costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from empslurm.cells import Cell
from empslurm.gather import Group, Missing, from_file, gather, published
from empslurm.report.analyses import analyse
from empslurm.report.gaps import FILLS, NEVER_RUN, Gap, all_gaps, gaps
from empslurm.report.group_results import Analyses
from empslurm.report.wording import MISSING
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from tests.gather.grids import finish, grid


def absent(cell: Cell, state: str = "pending", why: str = "never started", kind: str | None = None) -> Missing:
    return Missing(
        id=cell.id, kind=kind or cell.kind, source=cell.source_task, target=cell.target, seed=cell.seed,
        fraction=1.0, state=state, why=why,
    )  # fmt: skip


def found(folder: Path, missing: tuple[Missing, ...] = (), wall_s: float = 1800.0) -> tuple[Gap, ...]:
    """Of a grid of two tasks with one seed, each run of which took half an hour."""
    root = RunsRoot(folder)
    for cell in grid(("epitome_er", "news_empathy")):
        finish(root, cell, provenance={"wall_s": wall_s, "device": "cpu", "gpu": None})
    gathered = gather(root, None, registry())
    group = replace(gathered.groups[0], missing=missing)
    gathered = replace(gathered, groups=(group,), missing=missing, name="study", n_planned=8)
    return all_gaps(gathered, [analyse(gathered, group, ratings=())])


def of(listed: tuple[Gap, ...], start: str) -> Gap:
    (gap,) = [gap for gap in listed if gap.what.startswith(start)]
    return gap


def test_what_could_not_be_made_says_what_fills_it_and_what_that_costs(tmp_path: Path) -> None:
    listed = found(tmp_path)
    verdicts = of(listed, "verdicts")
    assert "two seeds to `seeds` in the manifest" in verdicts.fill
    assert verdicts.cost == "8 runs, about 4.0 h"
    assert "`embed: {}`" in of(listed, "similarity of the datasets").fill
    assert of(listed, "similarity of the datasets").cost == f"2 cells, {NEVER_RUN}"
    assert of(listed, "transfer with limited data").cost == "4 runs, about 1.0 h"


def test_missing_cells_are_counted_by_state_and_kind_at_the_time_of_like_cells(tmp_path: Path) -> None:
    cells = grid(("epitome_er", "news_empathy"), seeds=(2,))
    base, moved = (next(cell for cell in cells if cell.kind == kind) for kind in ("baseline", "transfer"))
    missing = (
        absent(base), absent(base), absent(moved, "failed", "OutOfMemory\nuse a smaller batch"),
        absent(base, kind="embed"),
    )  # fmt: skip
    listed = found(tmp_path, missing)
    pending = of(listed, "2 pending baseline cells")
    assert (pending.fill, pending.cost) == ("`python -m empslurm submit study`", "2 runs, about 1.0 h")
    failed = of(listed, "1 failed transfer cell")
    assert failed.why == "use a smaller batch"
    assert failed.fill.endswith("`python -m empslurm resume study`")
    assert of(listed, "1 pending embed cell").cost == f"1 run, {NEVER_RUN}"
    # The cells are planned already: they are run, and the manifest stays.
    assert of(listed, "similarity of the datasets").fill == "`python -m empslurm submit study`"


def test_results_of_others_are_told_what_rows_to_add_and_without_the_paper(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("source,target,seed,metric,value\n,aa,1,accuracy,0.5\nbb,aa,1,accuracy,0.6\n", encoding="utf-8")
    gathered = from_file(path, registry())
    listed = gaps(analyse(gathered, gathered.groups[0], ratings=()))
    assert of(listed, "verdicts").fill.startswith("add rows with two more seeds")
    assert not any(word in str(listed) for word in ("paper", "Figure", "manifest"))
    assert all_gaps(gathered, [analyse(gathered, gathered.groups[0], ratings=())]) == listed


@pytest.mark.parametrize("name", ["figure of figure6", "letters of figure6"])
def test_a_figure_that_could_not_be_drawn_costs_nothing(tmp_path: Path, name: str) -> None:
    gathered = gather(RunsRoot(tmp_path), None, registry())
    group = Group(name="", setting={}, runs=published(registry()).groups[0].runs[:0], missing=(), notes={})
    analyses = Analyses(
        gathered=gathered, group=group, ratings=(), grouped=True, margin=None, tables=(), lacking={name: "too large"}
    )
    (gap,) = gaps(analyses)
    assert (gap.what, gap.why, gap.cost) == (name, "too large", "nothing")


def test_whatever_a_grid_lacks_has_a_fill(tmp_path: Path) -> None:
    assert not [gap for gap in found(tmp_path) if gap.fill == "nothing fills it"]
    assert {*MISSING.values()} <= {*FILLS}
