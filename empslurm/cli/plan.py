"""`plan`: show every cell, what submit would do with it, and why."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empslurm.backbones import hidden_size, n_layers, resolve
from empslurm.cells import SCORED, Cell
from empslurm.cli import advice, budget, common, legend
from empslurm.cli.output import Output
from empslurm.cli.suggest import positive
from empslurm.config import ADAPTER_KINDS, Backbone
from empslurm.errors import DataError, StoreError, UsageError
from empslurm.launch import cost
from empslurm.launch.profile import Profile
from empslurm.plan import ACTIONS, Decision, Plan, counts, decide, packs, refuse_kinds, refuse_lengths
from empslurm.store.runs import RunsRoot
from empslurm.tasks.datasets import DATASETS
from empslurm.tasks.overlap import verdicts
from empslurm.tasks.raw import locate
from empslurm.tasks.splits import leaks

if TYPE_CHECKING:
    from empslurm.cli.detect import Detectable

DEFAULT_FACTOR: int = ADAPTER_KINDS["seq_bn"].defaults["reduction_factor"]
MAX_JUDGED_BYTES = 2**21  # of the cards' tables that a plan reads; `prepare` and `data stats` read all of them
SHOWN = 40  # decisions printed for people without --all
LONG = 40  # characters of a reason that is printed once, and not for each cell below that has it too


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    common.manifest_argument(parser)
    common.profile_argument(parser, "estimate the hours, disk and files of running it with this profile")
    text = "print only the batch script of the first array, and send nothing; needs --profile"
    parser.add_argument("--show-sbatch", action="store_true", help=text)
    budget.argument(parser, "show which cells `submit --budget` would run with this profile; needs --profile")
    text = "say how many seeds each target with results needs to detect this difference in its metric, and their cost"
    parser.add_argument("--detect", type=positive, metavar="D", help=text)
    parser.add_argument("--all", action="store_true", help=f"print every cell (default: the first {SHOWN})")


def sbatch(
    plan: Plan, root: RunsRoot, todo: Sequence[Cell], profile: Profile | None, out: Output
) -> dict[str, Any] | None:
    """The batch script of the plan's first array, for people and as a program reads it; None for a local profile.

    Of all cells, where none can run here. Raises UsageError without a profile.
    """
    if profile is None:
        raise UsageError("--show-sbatch must come with a profile, but none is named; add --profile NAME")
    if profile.kind == "local":
        out.line(f"{profile.name} runs cells on this machine, so sbatch gets nothing")
        return None
    from empslurm.launch import slurm
    from empslurm.launch.script import refuse_percent

    refuse_percent(root)
    if not todo:
        out.say("nothing is left to run: this is what the first array of all cells would be")
    shown = slurm.preview(root, plan.manifest.name, packs(todo or plan.cells, profile.pack_size), profile)
    for line in shown.script.splitlines():
        out.line(line)
    out.say(
        f"the first array: {shown.n_elements} jobs with {shown.n_packs} packs; nothing was sent. Submitting fills in "
        "what is in capitals: SUBMISSION, SNAPSHOT and NONCE"
    )
    return asdict(shown)


def warnings(plan: Plan) -> list[str]:
    """What a reader of the plan must know before anything runs."""
    lines = [f"data: {text}" for text in (*plan.inputs.missing.values(), *plan.inputs.notes.values())]
    lines += plan.inputs.problems
    for dataset_id, use in plan.manifest.data.items():
        text = leaks(plan.manifest.registry.datasets[dataset_id], use.splits)
        if text:
            lines.append(text)
    lines += advice.of_manifest(plan.manifest)
    n_provisional = sum(plan.is_provisional(cell) for cell in plan.cells)
    if plan.waiting:
        lines.append(plan.waiting)
    if n_provisional:
        lines.append(
            f"{n_provisional} ids are provisional (marked with ?): they change once the missing data or backbone is "
            "here, and submit refuses them until then"
        )
    return lines


def refused_tables(plan: Plan, data_root: Path, root: RunsRoot) -> list[str]:
    """Why `prepare` will refuse the tables of cards that are here, and what is too small in them. Writes nothing."""
    built_in = {dataset.id for dataset in DATASETS}
    problems, left = [], MAX_JUDGED_BYTES
    for name in plan.manifest.data:
        if name in built_in or name in plan.inputs.missing:
            continue
        dataset = plan.manifest.registry.datasets[name]
        left -= sum(path.stat().st_size for path in locate(dataset, data_root, root.prepared).paths.values())
        if left < 0:
            break
        from empslurm.tasks.prepare import prepare
        from empslurm.tasks.stats import cautions

        try:
            with tempfile.TemporaryDirectory() as folder:
                problems += cautions(prepare(dataset, data_root, Path(folder)), plan.manifest.data[name])
        except DataError as error:
            problems.append(f"card {name}: {error}")
        except (OSError, StoreError):  # no disk space to parse it
            break
    return problems


def leaks_found(plan: Plan, root: RunsRoot) -> tuple[dict[tuple[str, str], str], str]:
    """(source, target) of the plan's cells that the last audit flagged, and a remark where data was never audited."""
    manifest = plan.manifest
    audited = verdicts(root.prepared, manifest.registry.datasets, plan.inputs.raw, manifest.data)
    used = {(cell.source_task or cell.target, cell.target) for cell in plan.cells if cell.kind in SCORED}
    here = [name for name in audited.unknown if name not in plan.inputs.missing]
    remark = f"not audited in its present state: {', '.join(here)}; run `empslurm data audit`" if here else ""
    return {pair: text for pair, text in audited.flags().items() if pair in used}, remark


def describe(plan: Plan, decision: Decision) -> dict[str, Any]:
    """The decision on one cell, as JSON values."""
    cell = decision.cell
    return {
        "id": cell.id,
        "kind": cell.kind,
        "source": cell.source_task,
        "target": cell.target,
        "seed": cell.seed,
        "fraction": cell.data.fraction,
        "backbone": plan.label(cell),
        "parent": cell.starts_from,
        "provisional": plan.is_provisional(cell),
        "action": decision.action,
        "why": decision.why,
    }


def costs(plan: Plan, root: RunsRoot, todo: Sequence[Cell], profile: Profile) -> dict[str, Any]:
    """Estimate what the cells to run need: hours by the speed of finished cells, disk and files by their sizes.

    Only cells that ran on the kind of device that the profile asks for, a GPU or a CPU, count for the hours.
    """
    trained = [cell for cell in todo if cell.kind in SCORED]
    device, name = cost.device_of(profile), plan.manifest.name
    done = cost.on_device(cost.measured(root, plan.cells), device)
    start_s = cost.start_s(root, name, done, device)
    estimates, sizes = cost.estimates(trained, done, profile.pack_size, start_s), _sizes(plan)
    whole = cost.together(estimates.values())

    def needs(cells: Sequence[Cell], estimate: cost.Estimate | None, backbones: Sequence[Backbone]) -> dict[str, Any]:
        grouped = packs(cells, profile.pack_size)
        per_cell = {backbone: sizes[backbone] for backbone in backbones if backbone in sizes}
        known = len(per_cell) == len(backbones)
        room = asdict(cost.space(grouped, per_cell, profile.array_parallelism)) if known else None
        hours = _hours(estimate, profile, starts=start_s > 0)
        return {"n_cells": len(cells), "n_packs": len(grouped), "hours": hours, "space": room}

    return {
        "profile": profile.name,
        **needs(todo, whole, tuple(plan.labels)),
        "energy": _energy(whole, profile, cost.watts(cost.journals(root, name)) if profile.gpus else None),
        "backbones": {
            label: needs([cell for cell in todo if plan.label(cell) == label], estimates.get(backbone), (backbone,))
            for backbone, label in plan.labels.items()
        },
    }


def _hours(estimate: cost.Estimate | None, profile: Profile, *, starts: bool) -> dict[str, Any] | None:
    if estimate is None:
        return None
    job_h, share = [estimate.low_job_h, estimate.job_h, estimate.high_job_h], cost.gpus_per_pack(profile)
    return {
        "job_h": job_h,
        "gpu_h": [value * share for value in job_h],
        "n_measured": estimate.n_measured,
        "n_unseen": estimate.n_unseen,
        "starts": starts,
    }


def _energy(estimate: cost.Estimate | None, profile: Profile, watts: float | None) -> dict[str, Any] | None:
    """Energy of the GPUs, by the power that they had while finished jobs ran, and its CO2e where the grid is stated."""
    if estimate is None or watts is None:
        return None
    gpu_h = [value * cost.gpus_per_pack(profile) for value in (estimate.low_job_h, estimate.job_h, estimate.high_job_h)]
    kwh, grid = [value * watts / 1000 for value in gpu_h], profile.grid_g_per_kwh
    return {"watts": watts, "kwh": kwh, "co2e_g": None if grid is None else [value * grid for value in kwh]}


def _sizes(plan: Plan) -> dict[Backbone, int]:
    """Parameters that a cell trains, by backbone; without those that are not here, and without `tiny`."""
    factors = [adapter.reduction_factor for adapter in plan.manifest.adapter.values() if adapter.reduction_factor]
    factor = min(factors, default=DEFAULT_FACTOR)  # what needs most room; other kinds are about as large
    sizes = {}
    for backbone in plan.labels:
        resolved = resolve(backbone)
        hidden, layers = hidden_size(resolved), n_layers(resolved)
        if hidden is not None and layers is not None and backbone.name != "tiny":
            sizes[backbone] = cost.n_parameters(hidden, layers, factor)
    return sizes


def of_backbones(plan: Plan, decisions: Sequence[Decision]) -> dict[str, dict[str, Any]]:
    """Label of each backbone -> which one it is, its cells, and what `submit` would do with them."""
    own = {label: [item for item in decisions if plan.label(item.cell) == label] for label in plan.labels.values()}
    return {
        label: {
            "name": backbone.name,
            "revision": backbone.revision,
            "n_cells": len(own[label]),
            "n_training_cells": sum(item.cell.kind in SCORED for item in own[label]),
            "actions": counts([item.action for item in own[label]]),
        }
        for backbone, label in plan.labels.items()
    }


def show_backbones(
    plan: Plan, decisions: Sequence[Decision], estimated: Mapping[str, Any] | None, profile: Profile | None, out: Output
) -> None:
    """Print a row for each of several backbones, and one for what they share."""
    key = "gpu_h" if profile is not None and profile.gpus else "job_h"
    rows: list[tuple[object, ...]] = []
    for label, own in of_backbones(plan, decisions).items():
        row = (label, own["n_cells"], *(own["actions"].get(action, 0) for action in ACTIONS))
        rows.append((*row, *(_needs_row(estimated["backbones"][label], key) if estimated is not None else ())))
    shared = [item.action for item in decisions if plan.label(item.cell) is None]
    if shared:
        row = ("dataset embeddings", len(shared), *(shared.count(action) for action in ACTIONS))
        rows.append((*row, *(("-", "-") if estimated is not None else ())))
    hours = ("GPU-hours" if key == "gpu_h" else "job-hours", "disk, GiB") if estimated is not None else ()
    out.table("", ("backbone", "cells", *ACTIONS, *hours), rows)


def _needs_row(value: Mapping[str, Any], key: str) -> tuple[str, str]:
    """The middle estimate of the hours of a backbone, and its disk."""
    hours, room = value["hours"], value["space"]
    known = "0" if not value["n_cells"] else "not known" if hours is None else f"{hours[key][1]:.2f}"
    return known, "not known" if room is None else f"{room['finished_bytes'] / 2**30:.1f}"


def cost_lines(value: Mapping[str, Any], profile: Profile) -> list[str]:
    """The estimate for people; of all backbones together."""
    lines = []
    hours_on = f"hours on {profile.name}"
    hours, room = value["hours"], value["space"]
    if not value["n_cells"]:
        lines.append(f"{hours_on}: 0, since nothing is left to run")
    elif hours is None:
        device = cost.device_of(profile)
        where = f" on a {device}" if device else ""
        rows = value["backbones"]
        unmeasured = [label for label, row in rows.items() if row["n_cells"] and row["hours"] is None]
        some = len(rows) > len(unmeasured) > 0
        whose = f"with {' or with '.join(unmeasured)}" if some else "of this manifest"
        lines.append(f"{hours_on}: not known, since no cell {whose} has finished{where} yet")
    else:
        kind, key = ("GPU-hours", "gpu_h") if profile.gpus else ("job-hours", "job_h")
        low, middle, high = (f"{value:.2f}" for value in hours[key])
        span = f", between {low} and {high}" if low != high else ""
        n = hours["n_measured"]
        besides = "waiting" if hours.get("starts") else "start-up and waiting"
        measured = f"from {n} finished {'cell' if n == 1 else 'cells'}; plus {besides}"
        lines.append(f"{hours_on}: {middle} {kind}{span} ({measured})")
        if hours.get("n_unseen"):
            n = hours["n_unseen"]
            whose = "1 cell has a target" if n == 1 else f"{n:,} cells have targets"
            lines.append(f"{whose} without a finished cell, and counted as the mean of the others")
        lines += energy_lines(value.get("energy"), profile)
    if room is not None:
        finished, peak = (room[key] / 2**30 for key in ("finished_bytes", "peak_bytes"))
        lines.append(f"disk: {finished:.1f} GiB, at most {peak:.1f} GiB while training; {room['n_files']:,} files")
    return lines


def energy_lines(value: Mapping[str, Any] | None, profile: Profile) -> list[str]:
    """The energy of the GPUs for people, with its CO2e where the profile states the intensity of its grid."""
    grid = profile.grid_g_per_kwh
    if value is None:
        known = "energy and CO2e: not known, since no job of this manifest has reported the power of its GPUs yet"
        return [known] if profile.gpus and grid is not None else []
    low, middle, high = value["kwh"]
    power = f"at {value['watts']:.0f} W, as measured"
    line = f"energy of the GPUs: {middle:.2f} kWh, between {low:.2f} and {high:.2f} ({power})"
    if value["co2e_g"] is None or grid is None:
        return [line]
    low, middle, high = (cost.mass(grams) for grams in value["co2e_g"])
    return [line, f"its CO2e: {middle}, between {low} and {high} ({cost.intensities([grid])})"]


def run(options: argparse.Namespace, out: Output) -> int:
    if options.budget is not None and not options.profile:
        raise UsageError("--budget must come with a profile, but none is named; add --profile NAME")
    plan, root = common.load_plan(options)
    decisions = decide(plan, common.states(plan, root))
    refuse_lengths(plan, decisions)
    profile = common.choose_profile(options.profile) if options.profile else None
    if profile is None or not profile.python:  # that Python has packages of its own
        refuse_kinds(plan, decisions)
    todo = [decision.cell for decision in decisions if decision.action == "run"]
    selection = None
    if options.budget is not None and profile is not None:
        selection = budget.select(plan, root, decisions, profile, options.budget, options.data, out)
    found = None
    if options.detect is not None:
        from empslurm.cli import detect

        found = detect.detectable(plan, root, options.detect, profile, options.data, out)
    sent = todo if selection is None else selection.cells
    script = sbatch(plan, root, sent, profile, out) if options.show_sbatch else None
    if options.show_sbatch and not out.json:
        return 0
    estimated = costs(plan, root, todo, profile) if profile is not None else None
    grouped = packs(plan.cells)
    waves = [sum(pack.wave == wave for pack in grouped) for wave in sorted({pack.wave for pack in grouped})]
    n_trained = sum(cell.kind in SCORED for cell in plan.cells)
    kinds, actions = counts([cell.kind for cell in plan.cells]), counts([decision.action for decision in decisions])
    remarks = [*warnings(plan), *refused_tables(plan, options.data, root)]
    if profile is not None:
        open_cells = [decision.cell for decision in decisions if decision.action != "reuse"]  # data may come later
        remarks += advice.sentences((*advice.WARNINGS, *advice.CHOICES), advice.situation(open_cells, profile))
    flags, remark = leaks_found(plan, root)
    if flags:
        first = next(iter(flags.values()))
        many = f"{len(flags)} pairs leak, such as " if len(flags) > 1 else ""
        remarks.append(f"{many}{first}; `data audit` has all")
    if out.json:
        out.document(
            {
                "manifest": plan.manifest.name,
                "n_cells": len(plan.cells),
                "n_training_cells": n_trained,
                "kinds": kinds,
                "actions": actions,
                "backbones": of_backbones(plan, decisions),
                "n_packs_by_wave": waves,
                "warnings": remarks,
                "leaks": [{"source": source, "target": target, "why": why} for (source, target), why in flags.items()],
                "costs": estimated,
                "budget": None if selection is None else selection.document,
                "detect": None if found is None else found.document(plan),
                "sbatch": script,
                "packs": [
                    {"id": pack.id, "wave": pack.wave, "cells": [cell.id for cell in pack.cells]} for pack in grouped
                ],
                "cells": [describe(plan, decision) for decision in decisions],
            }
        )
        return 0
    if selection is not None or found is not None:
        _answer(selection, found, plan, out, whole=options.all)
        return 0
    shown = decisions if options.all else decisions[:SHOWN]
    several = len(plan.labels) > 1
    above = ["", *(decision.why for decision in shown)]
    rows = [
        (
            f"{decision.cell.id}{'?' if plan.is_provisional(decision.cell) else ''}",
            *([plan.label(decision.cell) or "-"] if several else []),
            decision.action,
            "as above" if decision.why == why and len(why) > LONG else decision.why,
        )
        for decision, why in zip(shown, above, strict=False)
    ]
    out.table("", ("cell", *(["backbone"] if several else []), "decision", "why"), rows)
    if len(shown) < len(decisions):
        out.line(f"... and {len(decisions) - len(shown):,} more; --all prints them")
    trained = ", ".join(f"{count} {kind}s" for kind, count in kinds.items() if kind in SCORED)
    apart = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if kind not in SCORED)
    parts = [f"{n_trained:,} training cells ({trained})"] if n_trained else []
    text = f"{plan.manifest.name}: " + ", and ".join([*parts, *([apart] if apart else [])])
    out.line(text, style="bold")
    out.line("packs: " + ", ".join(f"{count} in wave {wave}" for wave, count in enumerate(waves)))
    legend.explain(["pack", "wave"] if len(waves) > 1 else ["pack"], out)
    out.line("decisions: " + ", ".join(f"{count} {action}" for action, count in actions.items()))
    if several:
        show_backbones(plan, decisions, estimated, profile, out)
    if estimated is not None and profile is not None:
        for text in cost_lines(estimated, profile):
            out.line(text)
    for text in remarks:
        out.line(f"! {text}", style="yellow")
    if remark:
        out.line(remark)
    return 0


def _answer(
    selection: budget.Selection | None, found: Detectable | None, plan: Plan, out: Output, *, whole: bool
) -> None:
    """Print what a budget pays for, and what it takes to detect a difference, instead of all cells."""
    if selection is not None:
        cells = selection.cells if whole else selection.cells[:SHOWN]
        out.table("", ("first to last", "kind", "target", "seed"), [(c.id, c.kind, c.target, c.seed) for c in cells])
        if len(cells) < len(selection.cells):
            out.line(f"... and {len(selection.cells) - len(cells):,} more; --all prints them")
        selection.say(out)
    if found is not None:
        found.say(plan, out)
