"""What a manifest has cost, from its packs' journals, and what the rest may cost; asks neither squeue nor sacct."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean as mean
from typing import Literal

from empslurm import files, hardware
from empslurm.cells import Cell
from empslurm.config import Backbone
from empslurm.errors import StoreError
from empslurm.launch.journal import Event, Journal
from empslurm.launch.node.devices import n_slots
from empslurm.launch.profile import Profile
from empslurm.launch.submission import load
from empslurm.launch.submission_dir import SubmissionDir, of_manifest
from empslurm.plan import Pack, packs
from empslurm.store.runs import RunsRoot

# A finished cell keeps its best adapter (a baseline its last one too), at 4 bytes per parameter. A cell in training
# keeps three checkpoints, each with weights, best weights and two moments.
BYTES_PER_PARAMETER = {"finished": 8, "training": 48}
SMALL_BYTES_PER_CELL = 300_000  # predictions, provenance, identity, claims, result
FILES_PER_CELL, FILES_PER_JOB = 24, 5
STUCK = 3.0  # times the median seconds per token


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Time and energy that jobs have used. A job that was lost with its node left no record of it.

    Energy is that of the GPUs, as far as they report it. Its CO2e is known where the profile stated the intensity of
    its grid when it was submitted: never otherwise.
    """

    job_h: float = 0.0
    gpu_h: float = 0.0
    energy_wh: float = 0.0
    n_starts: int = 0
    ends: Mapping[str, int] = field(default_factory=dict)  # by reason
    co2e_g: float = 0.0  # of `stated_wh`
    stated_wh: float = 0.0  # the part of the energy whose grid's intensity was stated
    grid_g_per_kwh: tuple[float, ...] = ()  # the intensities that were stated, each once

    def __str__(self) -> str:
        """For people, on one line."""
        ends = ", ".join(f"{n} {reason}" for reason, n in sorted(self.ends.items(), key=lambda item: -item[1]))
        energy = f", {self.energy_wh / 1000:.2f} kWh" if self.energy_wh else ""
        carbon = f", {self.co2e}" if self.co2e else ""
        hours = f"{self.gpu_h:.2f} GPU-hours, {self.job_h:.2f} job-hours"
        return f"{hours}{energy}{carbon} in {self.n_starts} starts ({ends})"

    @property
    def co2e(self) -> str:
        """CO2e in words; "" where no submission stated the intensity of its grid."""
        if not self.grid_g_per_kwh:
            return ""
        if not self.stated_wh:
            return "CO2e not known, since no energy was measured"
        part = f", of {self.stated_wh / 1000:.2f} kWh" if self.stated_wh < 0.999 * self.energy_wh else ""
        return f"{mass(self.co2e_g)} CO2e ({intensities(self.grid_g_per_kwh)}{part})"


def mass(grams: float) -> str:
    """A mass in words."""
    return f"{grams / 1000:.2f} kg" if grams >= 100 else f"{grams:.0f} g" if grams >= 10 else f"{grams:.2g} g"


def intensities(values: Sequence[float]) -> str:
    """The carbon intensities of grids in words."""
    return f"at {' and '.join(f'{value:g}' for value in values)} g/kWh"


def journals(root: RunsRoot, manifest: str) -> Iterator[list[Event]]:
    """The events of every pack that was submitted to Slurm under a manifest's name."""
    for submission in of_manifest(root, manifest):
        yield from _journals(submission)


def _journals(submission: SubmissionDir) -> Iterator[list[Event]]:
    for path in sorted(submission.packs.glob("*.jsonl")):
        yield Journal(path=path).events()


def spent(events_of: Iterable[Sequence[Event]], grid_g_per_kwh: float | None = None) -> Spent:
    """Sum the journals of several packs. `grid_g_per_kwh`: of the grid that they ran on; None: not stated."""
    events = [event for pack in events_of for event in pack]
    ends = [event for event in events if event.event == "end"]
    energy_wh = sum((event.energy_wh or 0.0 for event in ends), 0.0)
    stated = grid_g_per_kwh is not None and bool(events)
    return Spent(
        job_h=sum((event.wall_s or 0.0 for event in ends), 0.0) / 3600,
        gpu_h=sum((event.gpu_s or 0.0 for event in ends), 0.0) / 3600,
        energy_wh=energy_wh,
        n_starts=len(events) - len(ends),
        ends=dict(Counter(str(event.reason) for event in ends)),
        co2e_g=energy_wh / 1000 * (grid_g_per_kwh or 0.0) if stated else 0.0,
        stated_wh=energy_wh if stated else 0.0,
        grid_g_per_kwh=(grid_g_per_kwh,) if stated and grid_g_per_kwh is not None else (),
    )


def spent_on(root: RunsRoot, manifest: str) -> Spent:
    """What all jobs of a manifest have used, each submission on the grid that its profile stated."""
    parts = [spent(_journals(one), _stated_grid(one)) for one in of_manifest(root, manifest)]
    return Spent(
        job_h=sum((part.job_h for part in parts), 0.0),
        gpu_h=sum((part.gpu_h for part in parts), 0.0),
        energy_wh=sum((part.energy_wh for part in parts), 0.0),
        n_starts=sum(part.n_starts for part in parts),
        ends=dict(sum((Counter(part.ends) for part in parts), Counter())),
        co2e_g=sum((part.co2e_g for part in parts), 0.0),
        stated_wh=sum((part.stated_wh for part in parts), 0.0),
        grid_g_per_kwh=tuple(sorted({value for part in parts for value in part.grid_g_per_kwh})),
    )


def _stated_grid(submission: SubmissionDir) -> float | None:
    """The intensity of the grid that a submission's profile stated; None where it stated none or cannot be read."""
    try:
        settings = load(submission.file, indices=()).settings
    except (StoreError, FileNotFoundError):
        return None
    return None if settings is None else settings.grid_g_per_kwh


# ---- before ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one finished cell took: its share of its pack's time, and the real tokens it was trained on."""

    target: str
    kind: str
    backbone: Backbone
    on_gpu: bool
    wall_s: float
    n_tokens: int
    fraction: float = 1.0  # of the target's training part
    pack_size: int | None = None  # cells that trained together; None: not recorded
    cell: str = ""  # its id


@dataclass(frozen=True, kw_only=True)
class CellCost:
    """What a cell to run takes: its own seconds, and those of the pass over the data that its pack shares."""

    cell_s: float
    pack_s: float  # once for each pack, its start-up too
    low: float  # factors: if all is fast, or slow, as the middle 80 % of the measured cells; of a target that has no
    high: float  # finished cell, also those of the targets with the fewest and the most tokens
    seen: bool  # whether a cell of its target has finished


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Job-hours for the cells still to run. `low_job_h`, `high_job_h`: from the middle 80 % of measured rates."""

    n_cells: int
    n_measured: int
    job_h: float
    low_job_h: float
    high_job_h: float
    n_unseen: int = 0  # cells of targets without a finished cell: they count as the mean of the others


def measured(root: RunsRoot, cells: Iterable[Cell]) -> list[Measured]:
    """Time and tokens of finished cells; cells whose provenance cannot be read are left out."""
    costs = []
    for cell in cells:
        folder = root.cell(cell.id)
        try:
            result = files.read_object(folder.result_file)
            origin = files.read_object(folder.path / str(result["output"]) / "provenance.json")
            size = origin.get("pack_size")
            costs.append(
                Measured(
                    target=cell.target,
                    kind=cell.kind,
                    backbone=cell.backbone,
                    on_gpu=bool(origin.get("gpu")),
                    wall_s=float(origin["wall_s"]),
                    n_tokens=int(result["n_tokens"]),
                    fraction=cell.data.fraction,
                    pack_size=size if isinstance(size, int) and size > 0 else None,
                    cell=cell.id,
                )
            )
        except (StoreError, FileNotFoundError, KeyError, TypeError, ValueError):
            continue
    return costs


def device_of(profile: Profile) -> Literal["GPU", "CPU"]:
    """The kind of device that a profile asks for; where a local one takes what is there, what this machine has."""
    return "GPU" if profile.gpus or (profile.kind == "local" and hardware.visible_gpus()) else "CPU"


def on_device(done: Iterable[Measured], device: Literal["GPU", "CPU"] | None) -> list[Measured]:
    """The cells that ran on such a device: a CPU's speed says nothing about a GPU's. None: all cells."""
    return [cell_cost for cell_cost in done if device is None or cell_cost.on_gpu == (device == "GPU")]


def quantile(values: Sequence[float], share: float) -> float:
    """A quantile, linear between the sorted values; `share`: from 0 to 1."""
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def gpus_per_pack(profile: Profile) -> float:
    """GPUs that one pack of a full job takes: its packs train side by side, and share all of the job's GPUs."""
    at_once = n_slots(
        gpus=profile.gpus,
        num_processes=profile.num_processes,
        packs_per_gpu=profile.packs_per_gpu,
        cpus=profile.cpus,
        cpus_per_pack=profile.cpus_per_pack,
    )
    return profile.gpus / at_once


def start_s(root: RunsRoot, manifest: str, done: Iterable[Measured], device: Literal["GPU", "CPU"] | None) -> float:
    """Seconds of a job that a pack takes besides the training of its cells: the mean of finished packs on Slurm.

    0 where no journal says it, so on this machine.
    """
    took = {cell_cost.cell: cell_cost.wall_s for cell_cost in done if cell_cost.cell}
    extra = []
    for submission in of_manifest(root, manifest):
        ends = {int(path.stem): _whole(Journal(path=path).events(), device) for path in _numbered(submission)}
        whole = {index: wall_s for index, wall_s in ends.items() if wall_s is not None}
        try:
            loaded = load(submission.file, indices=tuple(whole)).packs
        except (StoreError, FileNotFoundError):
            continue
        for pack, wall_s in zip(loaded, whole.values(), strict=True):
            if all(cell.id in took for cell in pack.cells):
                extra.append(max(0.0, wall_s - sum(took[cell.id] for cell in pack.cells)))
    return sum(extra) / len(extra) if extra else 0.0


def _numbered(submission: SubmissionDir) -> list[Path]:
    return sorted(path for path in submission.packs.glob("*.jsonl") if path.stem.isdigit())


def _whole(events: Sequence[Event], device: Literal["GPU", "CPU"] | None) -> float | None:
    """Seconds of a pack that ended once and was done, on such a device; else None."""
    ends = [event for event in events if event.event == "end"]
    if len(ends) != 1 or ends[0].reason != "done" or ends[0].wall_s is None:
        return None
    on_gpu = bool(ends[0].gpu_s)
    return ends[0].wall_s if device is None or on_gpu == (device == "GPU") else None


def watts(events_of: Iterable[Sequence[Event]]) -> float | None:
    """Mean power of a GPU while packs used it; None where no GPU reported any."""
    ends = [event for pack in events_of for event in pack if event.event == "end" and event.energy_wh and event.gpu_s]
    gpu_s = sum((event.gpu_s or 0.0 for event in ends), 0.0)
    return sum((event.energy_wh or 0.0 for event in ends), 0.0) * 3600 / gpu_s if gpu_s else None


def estimates(
    todo: Sequence[Cell], done: Sequence[Measured], pack_size: int | None = None, start_s: float = 0.0
) -> dict[Backbone, Estimate | None]:
    """The estimate of each backbone of `todo`, from its own finished cells: another's speed says nothing about it."""
    return {
        backbone: estimate(
            [cell for cell in todo if cell.backbone == backbone],
            [cell_cost for cell_cost in done if cell_cost.backbone == backbone],
            pack_size,
            start_s,
        )
        for backbone in dict.fromkeys(cell.backbone for cell in todo)
    }


def together(parts: Iterable[Estimate | None]) -> Estimate | None:
    """The sum of several estimates; None where one of them is not known, or where there is none."""
    known = list(parts)
    estimated = [part for part in known if part is not None]
    if not estimated or len(estimated) < len(known):
        return None
    return Estimate(
        n_cells=sum(part.n_cells for part in estimated),
        n_measured=sum(part.n_measured for part in estimated),
        job_h=sum(part.job_h for part in estimated),
        low_job_h=sum(part.low_job_h for part in estimated),
        high_job_h=sum(part.high_job_h for part in estimated),
        n_unseen=sum(part.n_unseen for part in estimated),
    )


def estimate(
    todo: Sequence[Cell], done: Sequence[Measured], pack_size: int | None = None, start_s: float = 0.0
) -> Estimate | None:
    """Estimate the hours for `todo` by the throughput of `done`, all on one backbone; None while nothing was measured.

    `pack_size`: most cells of a pack. `start_s`: of a pack, besides the training of its cells. The bounds assume that
    all cells are slow, or that all are fast.
    """
    costs = per_cell(todo, done, start_s)
    return summed(todo, costs, len(done), pack_size) if costs else None


def summed(todo: Sequence[Cell], costs: Mapping[str, CellCost], n_measured: int, pack_size: int | None) -> Estimate:
    """The hours of cells whose costs are known, in packs of at most `pack_size`."""
    shares = [
        (costs[cell.id].cell_s + costs[cell.id].pack_s / len(pack.cells), costs[cell.id])
        for pack in packs(todo, pack_size)
        for cell in pack.cells
    ]
    bounds = [(seconds * cell_cost.low, seconds, seconds * cell_cost.high) for seconds, cell_cost in shares]
    low, middle, high = (sum(values) / 3600 for values in zip(*bounds, strict=True)) if bounds else (0.0, 0.0, 0.0)
    return Estimate(
        n_cells=len(todo),
        n_measured=n_measured,
        job_h=middle,
        low_job_h=low,
        high_job_h=high,
        n_unseen=sum(not costs[cell.id].seen for cell in todo),
    )


def per_cell(todo: Sequence[Cell], done: Sequence[Measured], start_s: float = 0.0) -> dict[str, CellCost]:
    """Cell id -> what it takes, by finished cells on its backbone; empty where none was measured.

    A cell needs the mean tokens of finished cells of its target and data fraction: else in proportion to the fraction,
    else as the mean of all targets. Seconds per token are those of finished cells (`_speed`).
    """
    known = [cell_cost for cell_cost in done if cell_cost.n_tokens > 0 and cell_cost.wall_s > 0]
    if not known:
        return {}
    speed, need = _speed(known), _Tokens(known)
    costs = {}
    for cell in todo:
        n_tokens, least, most = need.of(cell)
        factor = speed.of_kind.get(cell.kind, 1.0) * n_tokens
        costs[cell.id] = CellCost(
            cell_s=speed.per_cell * factor,
            pack_s=speed.per_pack * factor + start_s,
            low=speed.low * least,
            high=speed.high * most,
            seen=cell.target in need.targets,
        )
    return costs


class _Tokens:
    """How many tokens a cell is trained on, by those of finished cells."""

    def __init__(self, done: Sequence[Measured]) -> None:
        alike: dict[tuple[str, float], list[float]] = {}
        whole: dict[str, list[float]] = {}
        for cell_cost in done:
            alike.setdefault((cell_cost.target, cell_cost.fraction), []).append(cell_cost.n_tokens)
            whole.setdefault(cell_cost.target, []).append(cell_cost.n_tokens / cell_cost.fraction)
        self.alike = {key: mean(values) for key, values in alike.items()}
        self.targets = {target: mean(values) for target, values in whole.items()}  # with all data
        self.usual = mean(self.targets.values())

    def of(self, cell: Cell) -> tuple[float, float, float]:
        """Tokens, and the factors to the least and the most that they may be: 1 where the target was measured."""
        fraction = cell.data.fraction
        if (cell.target, fraction) in self.alike:
            return self.alike[cell.target, fraction], 1.0, 1.0
        if cell.target in self.targets:
            return self.targets[cell.target] * fraction, 1.0, 1.0
        values = self.targets.values()
        return self.usual * fraction, min(values) / self.usual, max(values) / self.usual


@dataclass(frozen=True, kw_only=True)
class _Speed:
    """Seconds per token, and how far measured cells are from them."""

    per_cell: float  # of every cell
    per_pack: float  # of a pack's pass over its data, which its cells share
    of_kind: Mapping[str, float]  # kind of cell -> factor
    low: float
    high: float


def _speed(done: Sequence[Measured]) -> _Speed:
    """The throughput of finished cells: seconds per token, `per_cell + per_pack / cells of the pack`, times a kind's.

    Least squares, weighted by tokens. Neither part is below 0. A cell that took more than `STUCK` times the median
    of its kind counts as that: it was stopped, or shared its device.
    """
    kinds = {one.kind: [other for other in done if other.kind == one.kind] for one in done}
    usual = {kind: quantile([one.wall_s / one.n_tokens for one in own], 0.5) for kind, own in kinds.items()}
    rates = [min(one.wall_s / one.n_tokens, STUCK * usual[one.kind]) for one in done]
    per_cell, per_pack = _line(
        [(1 / (one.pack_size or 1), rate, one.n_tokens) for one, rate in zip(done, rates, strict=True)]
    )
    fitted = [per_cell + per_pack / (one.pack_size or 1) for one in done]
    sums: dict[str, list[float]] = {}
    for one, rate, fit in zip(done, rates, fitted, strict=True):
        own = sums.setdefault(one.kind, [0.0, 0.0])
        own[0] += rate * one.n_tokens
        own[1] += fit * one.n_tokens
    of_kind = {kind: took / expected for kind, (took, expected) in sums.items()}
    ratios = [rate / (fit * of_kind[one.kind]) for one, rate, fit in zip(done, rates, fitted, strict=True)]
    low, high = (quantile(ratios, share) for share in (0.1, 0.9))
    return _Speed(per_cell=per_cell, per_pack=per_pack, of_kind=of_kind, low=min(low, 1.0), high=max(high, 1.0))


def _line(points: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """The weighted least-squares line through (x, y, weight): its value at 0 and its slope, neither below 0."""
    total = sum(weight for *_, weight in points)
    mean_x = sum(x * weight for x, _, weight in points) / total
    mean_y = sum(y * weight for _, y, weight in points) / total
    spread = sum(weight * (x - mean_x) ** 2 for x, _, weight in points)
    shared = sum(weight * (x - mean_x) * (y - mean_y) for x, y, weight in points)
    slope = min(max(shared / spread, 0.0), mean_y / mean_x) if spread > 1e-9 * total else 0.0
    return mean_y - slope * mean_x, slope


@dataclass(frozen=True, kw_only=True)
class Space:
    """Disk space and number of files that cells need below the runs root."""

    finished_bytes: int
    peak_bytes: int  # with the checkpoints of all packs that run at once
    n_files: int


def n_parameters(hidden: int, n_layers: int, reduction_factor: int) -> int:
    """Trained parameters of a bottleneck adapter in each of `n_layers` layers of width `hidden`, and of a head."""
    bottleneck = max(1, hidden // reduction_factor)
    return n_layers * (2 * hidden * bottleneck + bottleneck + hidden) + hidden * hidden + 3 * hidden


def space(grouped: Sequence[Pack], per_cell: Mapping[Backbone, int], n_at_once: int) -> Space:
    """Disk and inodes for packs, `n_at_once` of them running together.

    `per_cell`: parameters that a cell trains, by its backbone; cells of others (encoders) count like the largest.
    """
    n_cells = sum(len(pack.cells) for pack in grouped)
    most = max(per_cell.values())
    trained = [len(pack.cells) * per_cell.get(pack.cells[0].backbone, most) for pack in grouped]
    finished = sum(trained) * BYTES_PER_PARAMETER["finished"] + n_cells * SMALL_BYTES_PER_CELL
    training = sum(sorted(trained, reverse=True)[:n_at_once]) * BYTES_PER_PARAMETER["training"]
    return Space(
        finished_bytes=finished,
        peak_bytes=finished + training,
        n_files=n_cells * FILES_PER_CELL + len(grouped) * FILES_PER_JOB,
    )
