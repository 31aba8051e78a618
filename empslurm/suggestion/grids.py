"""What finished grids say of sources: cells on one backbone, each transfer counted once; tables of results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from empslurm import cells
from empslurm.cells import Baseline, Cell
from empslurm.errors import EmpslurmError
from empslurm.gather import Gathered, Group
from empslurm.plan import Plan
from empslurm.reference import Rating
from empslurm.report.analyses import begun
from empslurm.report.group_results import Analyses
from empslurm.report.source_choice import Compared, Part, compared
from empslurm.store.runs import RunsRoot
from empslurm.tasks import Registry

Advance = Callable[[str, int, int], None]  # gets what is done, how much of it, and the whole


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Finished cells of a manifest, or of a whole runs root (`plan` is None)."""

    root: RunsRoot
    gathered: Gathered
    plan: Plan | None = None

    def baselines(self) -> list[str]:
        """Ids of the finished baselines with all labels, at the largest share of the data."""
        found: list[str] = []
        for group in self.gathered.groups:
            runs = group.runs[(group.runs["kind"] == "baseline") & (group.runs["labels"] == "all")]
            found += runs[runs["fraction"] == runs["fraction"].max()]["id"].tolist()
        return list(dict.fromkeys(found))


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A group of cells on one backbone. `baselines`: task -> its first baseline; `root`: where they are."""

    analyses: Analyses
    targets: tuple[Compared, ...]
    baselines: Mapping[str, Baseline]
    root: RunsRoot

    def part(self, values: Mapping[tuple[str, str], Mapping[str, float]]) -> Part:
        """Its targets, with the values of the estimators for (source, target)."""
        group = self.analyses.group
        known = replace(group, suitability={**group.suitability, **values})
        return Part(analyses=replace(self.analyses, group=known), targets=self.targets)


def finished(
    grids: Sequence[Grid], digest: str | None, registry: Registry, ratings: Sequence[Rating], advance: Advance
) -> list[Finished]:
    """The groups on a backbone (None: that of the first group). A transfer in several of them counts in the first.

    `advance`: gets targets that are compared.
    """
    found: list[Finished] = []
    seen: set[str] = set()
    for grid in grids:
        for group in grid.gathered.groups:
            baselines = dict(_baselines(grid.root, group))
            digests = {cell.backbone_digest for cell in baselines.values()}
            digest = next(iter(digests), None) if digest is None else digest
            if not baselines or digests != {digest}:
                continue
            again = (group.runs["kind"] == "transfer") & group.runs["id"].isin(seen)
            own = replace(group, runs=group.runs[~again])
            seen |= set(own.runs["id"])
            analyses = begun(replace(grid.gathered, registry=registry), own, ratings=ratings)
            found.append(
                Finished(analyses=analyses, targets=_compared(analyses, advance), baselines=baselines, root=grid.root)
            )
    return found


def _baselines(root: RunsRoot, group: Group) -> Iterator[tuple[str, Baseline]]:
    """Each task of the group with its baseline of the first seed; one whose identity cannot be read is left out."""
    runs = group.runs[(group.runs["kind"] == "baseline") & (group.runs["labels"] == "all")]
    ordered = runs.sort_values(["target", "fraction", "seed"], ascending=[True, False, True])
    for target, cell_id in ordered.drop_duplicates("target")[["target", "id"]].itertuples(index=False):
        cell = _identity(root, str(cell_id))
        if isinstance(cell, Baseline):
            yield str(target), cell


def cells_of(one: Finished) -> Iterator[Cell]:
    """The finished cells of a group, the transfers first."""
    runs = one.analyses.group.runs.sort_values(["kind", "id"], ascending=[False, True])
    for cell_id in runs["id"]:
        cell = _identity(one.root, str(cell_id))
        if cell is not None:
            yield cell


def _identity(root: RunsRoot, cell_id: str) -> Cell | None:
    """The cell of an id; None where its file cannot be read."""
    try:
        return cells.from_identity(root.cell(cell_id).identity())
    except EmpslurmError:
        return None


def _compared(analyses: Analyses, advance: Advance) -> tuple[Compared, ...]:
    total = sum(len(table.targets) for table in analyses.tables)
    return compared(analyses, lambda done: advance("comparing runs", done, total))


def of_table(gathered: Gathered, ratings: Sequence[Rating]) -> list[tuple[str, Part]]:
    """Each setting of a table of results, which are never mixed, with its name."""
    found = []
    for group in gathered.groups:
        analyses = begun(gathered, group, ratings=ratings)
        name = str(group.setting.get("setting") or "")
        found.append((name, Part(analyses=analyses, targets=compared(analyses))))
    return found


def without_results(registry: Registry, ratings: Sequence[Rating]) -> Analyses:
    """Facts about tasks where nothing is finished."""
    import pandas as pd

    group = Group(name="", setting={}, runs=pd.DataFrame(), missing=(), notes={})
    gathered = Gathered(name="", groups=(), missing=(), n_planned=None, registry=registry)
    return Analyses(gathered=gathered, group=group, ratings=tuple(ratings), grouped=True, margin=None, tables=())
