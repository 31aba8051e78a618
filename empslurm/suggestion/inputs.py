"""What a suggestion is made from: finished grids, tables of results, adapters, cards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from empslurm import gather, resources
from empslurm.api import collect, planned
from empslurm.errors import UsageError
from empslurm.launch.lookup import find_cell
from empslurm.plan import Plan
from empslurm.scoring import selection
from empslurm.scoring.selection import Member
from empslurm.store.runs import RunsRoot
from empslurm.suggestion.answer import Question
from empslurm.suggestion.grids import Grid
from empslurm.tasks import registry

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")  # endings of tables of results


def ask(
    target: str,
    *,
    grids: Sequence[str | Path],
    cells: Sequence[str | Path],
    cards: Sequence[str | Path],
    k: int,
    runs: str | Path | None,
    data: str | Path | None,
    verified: Callable[[int], None] = lambda n: None,
) -> Question:
    """What `suggest` asks, with all that it is answered from. `verified`: gets the number of cells checked."""
    if k < 1:
        raise UsageError(f"k must be 1 or more, but is {k}; write for example 3")
    root, data_root = RunsRoot(resources.runs(runs)), resources.data(data)
    words = list(map(str, grids)) or _default_grids(list(map(str, cells)), root)
    tables = [Path(word) for word in words if _is_table(word)]
    plans = {word: planned(word, runs=runs, data=data) for word in words if not _is_table(word) and not _is_root(word)}
    of_cells = list(map(str, cells))
    chosen = None
    if len(of_cells) == 1 and resources.find("manifests", of_cells[0]) is not None:
        chosen = plans.get(of_cells[0]) or planned(of_cells[0], runs=runs, data=data)
    given = [*plans.values(), *([chosen] if chosen is not None else [])]
    for plan in given:
        if plan.manifest.search is not None:
            raise UsageError(f"{plan.manifest.path} must be a grid to learn from, but is a search; name a grid")
    all_cards = _cards(given, cards)
    known = registry(all_cards)
    finished = [
        Grid(root=root, gathered=collect(plan, root, known, data_root, verified), plan=plan) for plan in plans.values()
    ]
    for word in words:
        if _is_root(word):
            there = RunsRoot(Path(word))
            finished.append(Grid(root=there, gathered=collect(None, there, known, data_root, verified)))
    members, problems = _members(of_cells, chosen, finished, root)
    return Question(
        target=target,
        k=k,
        grids=tuple(finished),
        tables=tuple(gather.from_file(table, known) for table in tables),
        members=tuple(members),
        problems=tuple(problems),
        registry=known,
        cards=tuple(all_cards),
        root=root,
        data=data_root,
    )


def _is_table(word: str) -> bool:
    """Whether a word names a table of results; one that is not there is refused."""
    path = Path(word)
    if path.suffix.lower() not in TABLES:
        return False
    if not path.exists():
        raise UsageError(f"{word} must be a table of results to learn from, but does not exist; give another path")
    return True


def _is_root(word: str) -> bool:
    """Whether a word names a runs root; a folder that is none is refused."""
    folder = Path(word)
    if not folder.is_dir() or resources.find("manifests", word) is not None:
        return False
    if not RunsRoot(folder).cells_folder.is_dir():
        raise UsageError(
            f"{word} must be a runs root to learn from, but has no folder `cells`; name a manifest, a runs root or a "
            "table of results"
        )
    return True


def _default_grids(cells: Sequence[str], root: RunsRoot) -> list[str]:
    """The manifest whose cells are named, else the runs root, else nothing."""
    if len(cells) == 1 and resources.find("manifests", cells[0]) is not None:
        return list(cells)
    return [str(root.path)] if root.cells_folder.is_dir() else []


def _cards(plans: Sequence[Plan], cards: Sequence[str | Path]) -> list[Path]:
    """The cards of manifests and those that are named, each once."""
    paths = [*(card for plan in plans for card in plan.manifest.cards), *(Path(card).resolve() for card in cards)]
    for path in map(Path, cards):
        if not path.exists():
            raise UsageError(f"{path} must be a card or a folder of cards, but does not exist; give another path")
    return list(dict.fromkeys(paths))


def _members(
    words: Sequence[str], plan: Plan | None, grids: Sequence[Grid], root: RunsRoot
) -> tuple[list[Member], list[str]]:
    """The adapters that could be sources, and why others cannot."""
    if plan is not None:
        whole = max(plan.manifest.fractions)
        alone = [cell for cell in plan.cells if cell.kind == "baseline" and cell.data.fraction == whole]
        there = [cell.id for cell in alone if cell.data.labels == "all" and root.cell(cell.id).result_file.exists()]
        return selection.members_of_cells(map(root.cell, there), root)
    if words and all(Path(word).is_dir() for word in words):
        return selection.members_of_folders(map(Path, words))
    if words:
        return selection.members_of_cells([find_cell(root, word) for word in words], root)
    members: list[Member] = []
    problems: list[str] = []
    for grid in grids:
        found, left_out = selection.members_of_cells(map(grid.root.cell, grid.sources()), grid.root)
        known = {member.measure.cell for member in members}
        members += [member for member in found if member.measure.cell not in known]
        problems += left_out
    return members, problems
