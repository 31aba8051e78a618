"""What a manifest has cost, from its packs' journals, and what the rest may cost; asks neither squeue nor sacct."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from empslurm import files
from empslurm.cells import Cell
from empslurm.config import Backbone
from empslurm.errors import StoreError
from empslurm.launch.journal import Event, Journal
from empslurm.launch.profile import Profile
from empslurm.launch.submission_dir import of_manifest
from empslurm.plan import Pack
from empslurm.store.runs import RunsRoot

# A finished cell keeps its best adapter (a baseline its last one too), at 4 bytes per parameter. A cell in training
# keeps three checkpoints, each with weights, best weights and two moments.
BYTES_PER_PARAMETER = {"finished": 8, "training": 48}
SMALL_BYTES_PER_CELL = 300_000  # predictions, provenance, identity, claims, result
FILES_PER_CELL, FILES_PER_JOB = 24, 5


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Time and energy that jobs have used. A job that was lost with its node left no record of it."""

    job_h: float = 0.0
    gpu_h: float = 0.0
    energy_wh: float = 0.0
    n_starts: int = 0
    ends: Mapping[str, int] = field(default_factory=dict)  # by reason

    def __str__(self) -> str:
        """For people, on one line."""
        ends = ", ".join(f"{n} {reason}" for reason, n in sorted(self.ends.items(), key=lambda item: -item[1]))
        energy = f", {self.energy_wh / 1000:.2f} kWh" if self.energy_wh else ""
        return f"{self.gpu_h:.2f} GPU-hours, {self.job_h:.2f} job-hours{energy} in {self.n_starts} starts ({ends})"


def journals(root: RunsRoot, manifest: str) -> Iterator[list[Event]]:
    """The events of every pack that was submitted to Slurm under a manifest's name."""
    for submission in of_manifest(root, manifest):
        for path in sorted(submission.packs.glob("*.jsonl")):
            yield Journal(path=path).events()


def spent(packs: Iterable[Sequence[Event]]) -> Spent:
    """Sum the journals of several packs."""
    events = [event for pack in packs for event in pack]
    ends = [event for event in events if event.event == "end"]
    return Spent(
        job_h=sum(event.wall_s or 0.0 for event in ends) / 3600,
        gpu_h=sum(event.gpu_s or 0.0 for event in ends) / 3600,
        energy_wh=sum(event.energy_wh or 0.0 for event in ends),
        n_starts=len(events) - len(ends),
        ends=dict(Counter(str(event.reason) for event in ends)),
    )


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


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Job-hours for the cells still to run. `low_job_h`, `high_job_h`: from the middle 80 % of measured rates."""

    n_cells: int
    n_measured: int
    job_h: float
    low_job_h: float
    high_job_h: float


def measured(root: RunsRoot, cells: Iterable[Cell]) -> list[Measured]:
    """Time and tokens of finished cells; cells whose provenance cannot be read are left out."""
    costs = []
    for cell in cells:
        folder = root.cell(cell.id)
        try:
            result = files.read_object(folder.result_file)
            origin = files.read_object(folder.path / str(result["output"]) / "provenance.json")
            costs.append(
                Measured(
                    target=cell.target,
                    kind=cell.kind,
                    backbone=cell.backbone,
                    on_gpu=bool(origin.get("gpu")),
                    wall_s=float(origin["wall_s"]),
                    n_tokens=int(result["n_tokens"]),
                )
            )
        except (StoreError, FileNotFoundError, KeyError, TypeError, ValueError):
            continue
    return costs


def device_of(profile: Profile) -> Literal["GPU", "CPU"] | None:
    """The kind of device that a profile asks for; None for a local profile that takes what torch finds."""
    if profile.gpus:
        return "GPU"
    return None if profile.kind == "local" else "CPU"


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


def estimates(todo: Sequence[Cell], done: Sequence[Measured]) -> dict[Backbone, Estimate | None]:
    """The estimate of each backbone of `todo`, from its own finished cells: another's speed says nothing about it."""
    return {
        backbone: estimate(
            [cell for cell in todo if cell.backbone == backbone],
            [cell_cost for cell_cost in done if cell_cost.backbone == backbone],
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
    )


def estimate(todo: Sequence[Cell], done: Sequence[Measured]) -> Estimate | None:
    """Estimate the hours for `todo` by the throughput of `done`, all on one backbone; None while nothing was measured.

    A cell is assumed to need the mean tokens of its target's finished cells (of all finished cells where there are
    none), at the measured seconds per token. The bounds assume that all cells are slow, or that all are fast.
    """
    rates = [cell_cost.wall_s / cell_cost.n_tokens for cell_cost in done if cell_cost.n_tokens > 0]
    if not rates or not todo:
        return None
    by_target: dict[str, list[int]] = {}
    for cell_cost in done:
        by_target.setdefault(cell_cost.target, []).append(cell_cost.n_tokens)
    every = [cell_cost.n_tokens for cell_cost in done]
    means = {target: sum(tokens) / len(tokens) for target, tokens in by_target.items()}
    n_tokens = sum(means.get(cell.target, sum(every) / len(every)) for cell in todo)
    low, middle, high = (quantile(rates, share) * n_tokens / 3600 for share in (0.1, 0.5, 0.9))
    return Estimate(n_cells=len(todo), n_measured=len(done), job_h=middle, low_job_h=low, high_job_h=high)


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


def space(packs: Sequence[Pack], per_cell: Mapping[Backbone, int], n_at_once: int) -> Space:
    """Disk and inodes for packs, `n_at_once` of them running together.

    `per_cell`: parameters that a cell trains, by its backbone; cells of others (encoders) count like the largest.
    """
    n_cells = sum(len(pack.cells) for pack in packs)
    most = max(per_cell.values())
    trained = [len(pack.cells) * per_cell.get(pack.cells[0].backbone, most) for pack in packs]
    finished = sum(trained) * BYTES_PER_PARAMETER["finished"] + n_cells * SMALL_BYTES_PER_CELL
    training = sum(sorted(trained, reverse=True)[:n_at_once]) * BYTES_PER_PARAMETER["training"]
    return Space(
        finished_bytes=finished,
        peak_bytes=finished + training,
        n_files=n_cells * FILES_PER_CELL + len(packs) * FILES_PER_JOB,
    )
