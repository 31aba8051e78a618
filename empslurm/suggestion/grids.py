"""What finished grids say of sources: cells of one backbone and one way of training, and tables of results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from empslurm import cells
from empslurm.cells import Baseline, Cell
from empslurm.errors import EmpslurmError
from empslurm.gather import Gathered, Group, joined
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

    def sources(self) -> list[str]:
        """Ids of the finished cells whose adapters transfers start from, or could: the parents, then all baselines."""
        parents: list[str] = []
        alone: list[str] = []
        for group in self.gathered.groups:
            runs = group.runs
            parents += runs[(runs["kind"] == "transfer") & runs["parent"].isin(runs["id"])]["parent"].tolist()
            own = runs[(runs["kind"] == "baseline") & (runs["labels"] == "all")]
            alone += own[own["fraction"] == own["fraction"].max()]["id"].tolist()
        return list(dict.fromkeys([*parents, *alone]))


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The results that count. `roots`: where each cell is; `baselines`: task -> its first baseline."""

    analyses: Analyses
    targets: tuple[Compared, ...]
    baselines: Mapping[str, Baseline]
    roots: Mapping[str, RunsRoot]

    @property
    def ids(self) -> frozenset[str]:
        """Of the cells that count."""
        return frozenset(self.analyses.group.runs["id"])

    @property
    def parents(self) -> frozenset[str]:
        """Ids of the cells whose adapters the transfers started from."""
        runs = self.analyses.group.runs
        return frozenset(runs["parent"].dropna())

    def part(self, values: Mapping[tuple[str, str], Mapping[str, float]]) -> Part:
        """Its targets, with the values of the estimators for (source, target)."""
        group = self.analyses.group
        known = replace(group, suitability={**group.suitability, **values})
        return Part(analyses=replace(self.analyses, group=known), targets=self.targets)

    def cells(self) -> Iterator[Cell]:
        """Its cells, the transfers first."""
        runs = self.analyses.group.runs.sort_values(["kind", "id"], ascending=[False, True])
        return (cell for cell in (_identity(self.roots[id], id) for id in runs["id"]) if cell is not None)


def finished(
    grids: Sequence[Grid], digest: str | None, registry: Registry, ratings: Sequence[Rating], advance: Advance
) -> tuple[Finished | None, list[str]]:
    """The group of cells on a backbone (None: on any) with most transfers; and a sentence for each other with some.

    All grids are taken together, each cell once, and divided as `gather` divides a runs root: no target has two ways of
    training in one group. `advance`: gets targets that are compared.
    """
    roots = {id: grid.root for grid in reversed(grids) for group in grid.gathered.groups for id in group.runs["id"]}
    found = [(group, dict(_baselines(roots, group))) for group in joined([grid.gathered for grid in grids])]
    on_it = [one for one in found if digest is None or _digest(one[1]) == digest]
    group, baselines = max(on_it, key=lambda one: _n_transfers(one[0]), default=(None, {}))
    left_out = [
        "all results must come from one backbone and one way of training, but "
        f"{_n_transfers(other)} finished transfers on {other.setting['backbone']} differ from the largest group; they "
        "are left out: to learn from them instead, name only their manifest with --from"
        for other, _ in found
        if other is not group and _n_transfers(other)
    ]
    if group is None:
        return None, left_out
    gathered = replace(grids[0].gathered, groups=(group,), registry=registry)
    analyses = begun(gathered, group, ratings=ratings)
    total = sum(len(table.targets) for table in analyses.tables)
    targets = compared(analyses, lambda done: advance("comparing runs", done, total))
    return Finished(analyses=analyses, targets=targets, baselines=baselines, roots=roots), left_out


def _n_transfers(group: Group) -> int:
    return int((group.runs["kind"] == "transfer").sum())


def _digest(baselines: Mapping[str, Baseline]) -> str | None:
    return next((cell.backbone_digest for cell in baselines.values()), None)


def _baselines(roots: Mapping[str, RunsRoot], group: Group) -> Iterator[tuple[str, Baseline]]:
    """Each task of the group with its baseline of the first seed; one whose identity cannot be read is left out."""
    runs = group.runs[(group.runs["kind"] == "baseline") & (group.runs["labels"] == "all")]
    ordered = runs.sort_values(["target", "fraction", "seed"], ascending=[True, False, True])
    for target, cell_id in ordered.drop_duplicates("target")[["target", "id"]].itertuples(index=False):
        cell = _identity(roots[cell_id], cell_id)
        if isinstance(cell, Baseline):
            yield str(target), cell


def _identity(root: RunsRoot, cell_id: str) -> Cell | None:
    """The cell of an id; None where its file cannot be read."""
    try:
        return cells.from_identity(root.cell(cell_id).identity())
    except EmpslurmError:
        return None


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
