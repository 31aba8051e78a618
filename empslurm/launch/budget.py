"""Which cells to run first where hours are limited: those that bring most verdicts per hour; pure.

A verdict needs two runs in both arms, the baseline and the transfer, and whoever starts from an adapter needs that cell
too. A *step* adds seeds to some sources of one target, with the baselines that they need. The next step is always the
one with the most expected verdicts per hour. At the start that is whole seeds of a target, since its sources share
their baseline, one pass over the data and the estimate of the noise. Later it is the pairs whose verdict is most likely
to be decided by one more seed. A step that does not fit is made smaller, or another takes its place. At the end, single
cells fill what is left of the budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from empslurm.analysis.chances import LEAST_RUNS, Pair, Standing, prior_of
from empslurm.cells import SCORED, Baseline, Cell, Transfer
from empslurm.config import Backbone
from empslurm.launch.cost import CellCost, Estimate, summed
from empslurm.plan import Decision, Plan

MOST_SEEDS = 3  # that one step adds
LEAST_GAIN = 1e-3  # expected verdicts of a step that is worth its place


class Unit(NamedTuple):
    """The pairs that are compared with one baseline."""

    backbone: Backbone
    target: str
    fraction: float


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What a budget pays for."""

    cells: tuple[Cell, ...]  # the most informative first, parents before children
    estimate: Estimate
    n_verdicts: int  # pairs that can have a verdict once these cells are done, and could not before
    n_left: int  # training cells that are left for later
    n_unpriced: int  # cells of other kinds, whose time is not estimated; they are left, too


def choose(
    plan: Plan,
    decisions: Sequence[Decision],
    costs: Mapping[str, CellCost],
    limit_s: float,
    *,
    known: Mapping[Unit, Standing] | None = None,
    n_measured: int = 0,
    pack_size: int | None = None,
) -> Chosen:
    """The cells of a grid to run for at most `limit_s` seconds, by their estimated `costs`.

    Every training cell that is to run must have a cost. `known`: results so far. `n_measured`: cells that the costs are
    estimated from, for the estimate. `pack_size`: most cells of a pack.
    """
    search = _Search(plan, decisions, costs, known or {}, pack_size)
    order = search.run(limit_s)
    todo = [item.cell for item in decisions if item.action == "run"]
    trained = [cell for cell in todo if cell.kind in SCORED]
    return Chosen(
        cells=order,
        estimate=summed(order, costs, n_measured, pack_size),
        n_verdicts=search.n_possible() - search.n_possible_before,
        n_left=len(trained) - len(order),
        n_unpriced=len(todo) - len(trained),
    )


def pilot(plan: Plan, decisions: Sequence[Decision], backbones: Iterable[Backbone]) -> tuple[Cell, ...]:
    """The first cells that measure what a baseline and a transfer take on each backbone: its first pair, one seed."""
    there = {item.cell.id for item in decisions if item.action == "reuse" or item.coming}
    todo = {item.cell.id: item.cell for item in decisions if item.action == "run"}
    chosen: dict[str, Cell] = {}
    for backbone in backbones:
        own = [cell for cell in todo.values() if cell.backbone == backbone and cell.kind in SCORED]
        moved = next((cell for cell in own if cell.starts_from in todo or cell.starts_from in there), None)
        alone = next((cell for cell in own if cell.starts_from is None), None)
        if moved is not None and moved.starts_from in todo:
            alone = todo[moved.starts_from]
        chosen |= {cell.id: cell for cell in (alone, moved) if cell is not None}
    return tuple(chosen.values())


# ---- the search ------------------------------------------------------------------------------------------------------


class _Step(NamedTuple):
    """Cells to add; a larger one comes first."""

    whole: bool  # False: it has only some pairs of a unit of which nothing is known, where all would go together
    rate: float  # expected verdicts per second
    cells: tuple[str, ...]
    seconds: float


class _Search:
    """The greedy choice: what is there, what may run, and what was chosen so far."""

    def __init__(
        self,
        plan: Plan,
        decisions: Sequence[Decision],
        costs: Mapping[str, CellCost],
        known: Mapping[Unit, Standing],
        pack_size: int | None,
    ) -> None:
        self.costs, self.pack_size = costs, pack_size
        self.there = {item.cell.id for item in decisions if item.action == "reuse" or item.coming}
        todo = [item.cell for item in decisions if item.action == "run" and item.cell.kind in SCORED]
        self.todo = {cell.id: cell for cell in todo}  # what may still be chosen; in the plan's order
        self.by_id = plan.by_id
        self.seeds = {seed: at for at, seed in enumerate(dict.fromkeys(cell.seed for cell in plan.cells))}
        numbers: dict[object, int] = {}
        self.pack_of = {cell.id: numbers.setdefault(cell.pack_key, len(numbers)) for cell in todo}
        self.n_in_pack: dict[int, int] = {}
        self.chosen: dict[str, Cell] = {}
        self._units(plan, known)
        self.n_possible_before = self.n_possible()

    def _units(self, plan: Plan, known: Mapping[Unit, Standing]) -> None:
        """Sort the plan's cells into units, and find the baselines that each is compared with: those with all data."""
        baselines: dict[Unit, dict[int, str]] = {}
        self.moved: dict[Unit, dict[str, dict[int, str]]] = {}
        for cell in sorted(plan.cells, key=lambda cell: self.seeds[cell.seed]):
            unit = Unit(cell.backbone, cell.target, cell.data.fraction)
            if isinstance(cell, Baseline) and cell.data.labels == "all":
                baselines.setdefault(unit, {}).setdefault(cell.seed, cell.id)
            elif isinstance(cell, Transfer):
                self.moved.setdefault(unit, {}).setdefault(cell.source, {}).setdefault(cell.seed, cell.id)
        # As in the report: once a backbone has a baseline with all data, only such baselines count.
        whole = {unit.backbone for unit in baselines if unit.fraction == 1.0}
        self.alone = {
            unit: baselines.get(unit._replace(fraction=1.0) if unit.backbone in whole else unit, {})
            for unit in self.moved
        }
        prior = prior_of(known.values())
        self.pairs = {
            (unit, source): Pair(source, known.get(unit), len(sources), prior)
            for unit, sources in self.moved.items()
            for source in sources
        }

    def has(self, cell_id: str) -> bool:
        """Whether a cell is there, or was chosen."""
        return cell_id in self.there or cell_id in self.chosen

    def n_runs(self, cells: Mapping[int, str]) -> int:
        return sum(self.has(cell_id) for cell_id in cells.values())

    def n_possible(self) -> int:
        """Pairs that can have a verdict once what was chosen is done."""
        return sum(
            min(self.n_runs(cells), self.n_runs(self.alone[unit])) >= LEAST_RUNS
            for unit, sources in self.moved.items()
            for source, cells in sources.items()
            if not self.pairs[unit, source].hopeless
        )

    def run(self, limit_s: float) -> tuple[Cell, ...]:
        """The cells that fit, in order."""
        left = limit_s
        steps: dict[Unit, _Step | None] = {}
        while True:
            for unit in self.moved:
                step = steps.get(unit)
                if unit not in steps or (step is not None and step.seconds > left):
                    steps[unit] = self._best(unit, left)
            best = max((step for step in steps.values() if step is not None), default=None)
            if best is None:
                break
            left -= self._take(best.cells)
            added = {*best.cells}
            steps = {unit: step for unit, step in steps.items() if step is None or not added & {*step.cells}}
        self._fill(left)
        return tuple(self.chosen.values())

    def _take(self, cells: Sequence[str]) -> float:
        """Choose cells; what they take."""
        seconds = self._seconds(cells)
        for cell_id in cells:
            self.chosen[cell_id] = self.todo.pop(cell_id)
            pack = self.pack_of[cell_id]
            self.n_in_pack[pack] = self.n_in_pack.get(pack, 0) + 1
        return seconds

    def _seconds(self, cells: Iterable[str]) -> float:
        """What more cells take: those that join a pack share its pass over the data."""
        joined: dict[int, int] = {}
        total = 0.0
        for cell_id in cells:
            cost, pack = self.costs[cell_id], self.pack_of[cell_id]
            size = self.n_in_pack.get(pack, 0) + joined.get(pack, 0)
            opens = size == 0 or (self.pack_size is not None and size % self.pack_size == 0)
            total += cost.cell_s + (cost.pack_s if opens else 0.0)
            joined[pack] = joined.get(pack, 0) + 1
        return total

    def _fill(self, left: float) -> None:
        """Add single cells while they fit: seed by seed, baselines before transfers; last those of decided pairs."""
        settled = {
            cell_id
            for (unit, source), pair in self.pairs.items()
            if pair.settled
            for cell_id in self.moved[unit][source].values()
        }
        order = sorted(self.todo, key=lambda cell_id: (cell_id in settled, self.seeds[self.todo[cell_id].seed]))
        for cell_id in order:
            parent = self.todo[cell_id].starts_from
            if parent is not None and not self.has(parent):
                continue
            seconds = self._seconds([cell_id])
            if seconds <= left:
                left -= self._take([cell_id])

    def _best(self, unit: Unit, left: float) -> _Step | None:
        """The step of a unit with most expected verdicts per second that takes at most `left`; None without one."""
        steps = [step for n in range(1, MOST_SEEDS + 1) for step in self._with_seeds(unit, n, left)]
        return max([*steps, *self._more_baseline(unit, left)], default=None)

    def _more_baseline(self, unit: Unit, left: float) -> Iterator[_Step]:
        """One more seed of the baseline alone."""
        added = next((cell_id for cell_id in self.alone[unit].values() if cell_id in self.todo), None)
        if added is None:
            return
        n, gain, seconds = self.n_runs(self.alone[unit]), 0.0, self._seconds([added])
        for source, cells in self.moved[unit].items():
            pair, n_transfer = self.pairs[unit, source], self.n_runs(cells)
            gain += max(0.0, pair.chance(n_transfer, n + 1) - pair.chance(n_transfer, n))
        if gain > LEAST_GAIN and seconds <= left:
            yield _Step(True, gain / seconds, (added,), seconds)

    def _with_seeds(self, unit: Unit, n: int, left: float) -> Iterator[_Step]:
        """`n` more seeds of the pairs that gain most from them, with all that these need: every number of pairs."""
        alone = self.alone[unit]
        n_baseline = self.n_runs(alone)
        ranked: list[tuple[float, float, list[str]]] = []
        for source, cells in self.moved[unit].items():
            pair = self.pairs[unit, source]
            open_seeds = [seed for seed, cell_id in cells.items() if self._may_run(cell_id)]
            if pair.settled or len(open_seeds) < n:
                continue
            added = [cells[seed] for seed in open_seeds[:n]]
            needs = self._needs(unit, open_seeds[:n], added)
            n_transfer = self.n_runs(cells)
            more = n_baseline + sum(cell_id in needs for cell_id in alone.values())
            gain = pair.chance(n_transfer + n, more) - pair.chance(n_transfer, n_baseline)
            if gain > 0:
                ranked.append((gain, self._seconds(added), [*needs, *added]))
        ranked.sort(key=lambda item: -item[0] / item[1])
        known = any(self.pairs[unit, source].estimate is not None for source in self.moved[unit])
        together: dict[str, None] = {}
        gain = 0.0
        for at, (own, _, cells_of_pair) in enumerate(ranked, 1):
            gain += own
            together |= dict.fromkeys(cells_of_pair)
            seconds = self._seconds(together)
            if seconds > left:
                break
            if gain > LEAST_GAIN:
                yield _Step(known or at == len(ranked), gain / seconds, self._sorted(together), seconds)

    def _may_run(self, cell_id: str) -> bool:
        cell = self.todo.get(cell_id)
        return cell is not None and (
            cell.starts_from is None or self.has(cell.starts_from) or cell.starts_from in self.todo
        )

    def _needs(self, unit: Unit, seeds: Sequence[int], added: Iterable[str]) -> dict[str, None]:
        """What transfers need besides themselves: sources, and baselines of the target with the same seeds."""
        alone = self.alone[unit]
        needs = dict.fromkeys(
            parent
            for cell_id in added
            if (parent := self.todo[cell_id].starts_from) is not None and parent in self.todo
        )
        needs |= dict.fromkeys(alone[seed] for seed in seeds if alone.get(seed) in self.todo)
        lacking = LEAST_RUNS - self.n_runs(alone) - sum(cell_id in needs for cell_id in alone.values())
        others = [cell_id for cell_id in alone.values() if cell_id in self.todo and cell_id not in needs]
        return needs | dict.fromkeys(others[: max(0, lacking)])

    def _sorted(self, cells: Iterable[str]) -> tuple[str, ...]:
        """Baselines first, then transfers; seed by seed."""
        return tuple(
            sorted(
                cells,
                key=lambda cell_id: (self.todo[cell_id].starts_from is not None, self.seeds[self.todo[cell_id].seed]),
            )
        )
