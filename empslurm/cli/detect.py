"""`plan --detect`: how many more seeds each target needs to detect a difference, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empslurm.cells import Transfer
from empslurm.cli.budget import verified
from empslurm.cli.gathered import show
from empslurm.cli.output import Output
from empslurm.errors import UsageError
from empslurm.launch import cost
from empslurm.launch.profile import Profile
from empslurm.plan import Plan
from empslurm.store.runs import RunsRoot

if TYPE_CHECKING:
    import pandas as pd

    from empslurm.report.seeds import Next

COLUMNS = ("target", "n_seeds", "detectable", "more_baseline", "more_transfer", "hours", "power", "note")


@dataclass(frozen=True, kw_only=True)
class Part:
    """The targets of one backbone at one data fraction."""

    label: str  # of the backbone; "" where the manifest has one
    fraction: float
    targets: tuple[Next, ...]


@dataclass(frozen=True, kw_only=True)
class Detectable:
    """What it takes to detect `wanted`."""

    wanted: float  # a difference in each target's metric
    parts: tuple[Part, ...]
    without: Mapping[str, str]  # targets of the plan without baseline and transfer with results: for people -> id
    unit: str
    share: float  # of `unit` in an hour of a pack

    @property
    def asked(self) -> list[Next]:
        """Targets for which some number of seeds is enough."""
        targets = [target for part in self.parts for target in part.targets]
        return [target for target in targets if not target.seeds.limit or target.of_one_seed]

    @property
    def n_runs(self) -> int:
        return sum(target.more_runs for target in self.asked)

    @property
    def hours(self) -> float | None:
        """Of all runs asked for, in `unit`; None where those of some target are not known."""
        hours = [target.hours if target.more_runs else 0.0 for target in self.asked]
        return sum(hours) * self.share if all(map(math.isfinite, hours)) else None

    def say(self, plan: Plan, out: Output) -> None:
        """Print what all targets need together, a row and a sentence for each, and what to do."""
        from empslurm.report.formats import main_columns
        from empslurm.report.seeds import IN_A_MANIFEST, seeds_statement, seeds_table

        for part in self.parts:
            said = seeds_statement(part.targets, self.wanted, fraction=part.fraction, table="")
            out.paragraph(f"{part.label}: {said}" if part.label else said)
            out.line()
            table = seeds_table(part.targets, plan.manifest.registry, name="seeds", title="")
            show(main_columns(replace(table, main=COLUMNS)), out)
        if self.parts:
            out.paragraph(total(self))
            out.paragraph(IN_A_MANIFEST.strip())
        for sentence in missing(self, plan):
            out.paragraph(sentence)

    def document(self, plan: Plan) -> Mapping[str, Any]:
        """The JSON values."""
        return {
            "wanted": self.wanted,
            "targets": [_described(part, target, self.share) for part in self.parts for target in part.targets],
            "n_runs": self.n_runs,
            "hours": self.hours,
            "unit": self.unit,
            "without_results": list(dict.fromkeys(self.without.values())),
            "sentences": [*([total(self)] if self.parts else []), *missing(self, plan)],
        }


def detectable(
    plan: Plan, root: RunsRoot, wanted: float, profile: Profile | None, data: Path, out: Output
) -> Detectable:
    """Ask, for every target with results, what the report's table of seeds asks. Raises UsageError for a search.

    With a profile, only runs on its kind of device say what a run takes.
    """
    if plan.manifest.search is not None:
        raise UsageError(
            f"--detect must come with the manifest of a grid, but {plan.manifest.name} describes a search; name a grid"
        )
    from empslurm.report.judged import judged
    from empslurm.report.scores import scored
    from empslurm.report.seeds import next_seeds

    parts = []
    gathered = verified(plan, root, data, out)
    device = None if profile is None else cost.device_of(profile)
    with out.console(error=True).status("noise of the runs so far"):
        for cell_id, group, verdicts in judged(gathered, margin=plan.manifest.margin):
            runs = _timed(scored(group), device)
            label = plan.label(plan.by_id[cell_id]) if len(plan.labels) > 1 else None
            for one in verdicts:
                asked = next_seeds(
                    one.results,
                    runs,
                    fraction=one.fraction,
                    baseline_fraction=one.baseline_fraction,
                    margin=wanted,
                    pairs=one.pairs,
                    registry=gathered.registry,
                )
                parts.append(Part(label=label or "", fraction=one.fraction, targets=asked))
    there = {(part.label, target.seeds.target, part.fraction) for part in parts for target in part.targets}
    share = cost.gpus_per_pack(profile) if profile is not None else 0.0
    return Detectable(
        wanted=wanted,
        parts=tuple(parts),
        without=_without(plan, there),
        unit="GPU-hours" if share else "hours of training",
        share=share or 1.0,
    )


def _without(plan: Plan, there: Collection[tuple[str, str, float]]) -> dict[str, str]:
    """The targets that have no results on some backbone at some data fraction: for people -> id."""
    found: dict[str, str] = {}
    several, fractions = len(plan.labels) > 1, plan.manifest.fractions
    for cell in (cell for cell in plan.cells if isinstance(cell, Transfer)):
        label = (plan.label(cell) or "") if several else ""
        if (label, cell.target, cell.data.fraction) not in there:
            part = "" if len(fractions) == 1 else f" with {cell.data.fraction * 100:g} % of its data"
            found[f"{cell.target}{f' on {label}' if label else ''}{part}"] = cell.target
    return found


def _timed(runs: pd.DataFrame, device: str | None) -> pd.DataFrame:
    """The runs, with the times of those alone that ran on this kind of device."""
    if device is None:
        return runs
    on_gpu = runs["device"].notna() & (runs["device"] != "cpu")
    return runs.assign(wall_s=runs["wall_s"].where(on_gpu == (device == "GPU")))


def total(found: Detectable) -> str:
    """The runs and hours of all targets in one sentence."""
    if not found.n_runs:
        return "Together: no further runs."
    hours = found.hours
    took = "hours not known" if hours is None else f"about {hours:.{2 if hours < 10 else 0}f} {found.unit}"
    shared = len({part.fraction for part in found.parts}) > 1
    twice = " Baselines with all data serve several data fractions: count their seeds once." if shared else ""
    return f"Together: {found.n_runs:,} {'run' if found.n_runs == 1 else 'runs'}, {took}.{twice}"


def missing(found: Detectable, plan: Plan) -> list[str]:
    """What to run first, for targets without results."""
    if not found.without:
        return []
    first = f"run a part of the manifest first: `empslurm submit {plan.manifest.name} --budget 4h`"
    if not found.parts:
        return [
            f"No target of {plan.manifest.name} has a baseline and a transfer with results, so the noise of a run is "
            f"not known: {first}."
        ]
    return [f"No baseline and transfer with results: {', '.join(found.without)}; for these, {first}."]


def _described(part: Part, target: Next, share: float) -> dict[str, Any]:
    seeds = target.seeds
    return {
        "target": seeds.target,
        "metric": target.metric,
        "backbone": part.label or None,
        "fraction": part.fraction,
        "n_baseline": seeds.n_baseline,
        "n_transfer": seeds.n_transfer,
        "n_sources": seeds.n_sources,
        "detectable": _finite(seeds.detectable),
        "more_baseline": target.more_baseline,
        "more_transfer": target.more_transfer,
        "n_runs": target.more_runs,
        "power": _finite(seeds.power),
        "hours": _finite(target.hours * share),
        "limit": seeds.limit or None,
        "least": _finite(seeds.least),
        "sentence": target.sentence,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
