"""Advice before cells run: combinations that work but waste hours, each with its fix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from empslurm import hardware
from empslurm.cells import SCORED, Cell
from empslurm.config import Precision
from empslurm.launch.profile import Profile
from empslurm.manifest.load import Manifest
from empslurm.plan import packs

EMULATED_BF16 = 35  # times as long as fp32, measured on a processor without bf16 units
MOST_PACKS_PER_GPU = 4


@dataclass(frozen=True, kw_only=True)
class Situation:
    """The cells to run, and what they run on."""

    cells: tuple[Cell, ...]
    profile: Profile
    has_gpu: bool
    cpu_bf16: bool | None  # None: not known, as of a cluster's nodes

    def n_in(self, precision: Precision) -> int:
        """Trained cells of a precision; invented backbones are too small for it to matter to them."""
        return sum(cell.precision == precision and cell.backbone.name != "tiny" for cell in self.cells)

    @property
    def n_bf16(self) -> int:
        """Cells in bf16, whatever their backbone."""
        return sum(cell.precision == "bf16" for cell in self.cells)

    @property
    def n_single(self) -> int:
        """Packs of one trained cell."""
        return sum(len(pack.cells) == 1 for pack in packs(self._trained, self.profile.pack_size))

    @property
    def _trained(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.kind in SCORED]


def situation(cells: Sequence[Cell], profile: Profile) -> Situation:
    """What is known of this machine (for a local profile) or of a cluster's nodes (only what the profile asks for)."""
    local = profile.kind == "local"
    return Situation(
        cells=tuple(cells),
        profile=profile,
        has_gpu=profile.gpus > 0 or (local and bool(hardware.visible_gpus())),
        cpu_bf16=hardware.cpu_bf16() if local else None,
    )


# ---- sentences -------------------------------------------------------------------------------------------------------


def _emulated_bf16(at: Situation) -> str:
    return (
        f"{at.n_bf16} cells train in bf16, but the processor of this machine has no bf16 units and no GPU is seen: "
        f"bf16 is emulated, which took {EMULATED_BF16} times as long as fp32 when measured; write "
        "`precision: fp32` under `training` in the manifest (ids change with it), or run on a machine with a GPU"
    )


def _idle_tensor_cores(at: Situation) -> str:
    return (
        f"{at.n_in('fp32')} cells train in fp32, which leaves the tensor cores of a GPU idle: on one like the A100 or "
        "H100, `precision: bf16` needs about a tenth of the time and `precision: fp32_medium` (TF32) about a sixth to "
        "a quarter; this is an estimate from peak rates, not a measurement; precision is part of a cell, so the ids of "
        "all cells change with it"
    )


def _lonely_packs(at: Situation) -> str:
    n = min(at.n_single, MOST_PACKS_PER_GPU)
    setting = f"`packs_per_gpu: {n}`" if at.profile.gpus else f"`gpus: 1` and `packs_per_gpu: {n}`"
    more = ", and enough `cpus` and memory for them" if at.profile.kind == "slurm" else ""
    return (
        f"{at.n_single} packs train only one cell each, so a GPU often waits for the CPU; in a full grid such packs do "
        f"about 1/18 of the arithmetic but take about 40 % of the time (estimated); set {setting} in the profile "
        f"{at.profile.name}{more}, so that {n} packs share a GPU and its memory"
    )


@dataclass(frozen=True, kw_only=True)
class Advice:
    """A sentence, and when to say it."""

    applies: Callable[[Situation], bool]
    sentence: Callable[[Situation], str]


# Said by `submit` and `plan`, before anything runs.
WARNINGS = (
    Advice(
        applies=lambda at: at.n_bf16 > 0 and not at.has_gpu and at.cpu_bf16 is False,
        sentence=_emulated_bf16,
    ),
)
# Said by `plan`, while there is time to choose.
CHOICES = (
    Advice(applies=lambda at: at.has_gpu and at.n_in("fp32") > 0, sentence=_idle_tensor_cores),
    Advice(
        applies=lambda at: at.has_gpu and at.profile.packs_per_gpu == 1 and at.n_single > 1,
        sentence=_lonely_packs,
    ),
)


def sentences(table: Sequence[Advice], at: Situation) -> list[str]:
    """The sentences of a table that apply."""
    return [advice.sentence(at) for advice in table if advice.applies(at)]


def of_manifest(manifest: Manifest) -> list[str]:
    """What a manifest asks for without any effect; `plan` and `submit` say it."""
    if not manifest.pairless:
        return []
    return [
        f"pairs of different tasks are asked for, but {manifest.pairless}, so only baselines are planned; change that, "
        "or write `pairs: none`"
    ]
