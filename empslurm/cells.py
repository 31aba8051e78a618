"""A cell: one number-producing unit, identified by everything that can change its number and nothing else.

Each kind of cell is a small frozen class with the fields that its number depends on; `KINDS` holds the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from empslurm import ids
from empslurm.config import (
    Adapter,
    Backbone,
    DataUse,
    Embed,
    Fisher,
    LabelUse,
    PositiveShare,
    Precision,
    Seed,
    SourceUse,
    Training,
    Trial,
)
from empslurm.errors import DamagedError
from empslurm.tasks.schema import Part
from empslurm.validation import decode
from empslurm.validation.constraints import Name, Pattern, Range

MixedPrecision = Literal["no", "bf16"]

CELL_ID = re.compile(r"[a-z0-9_]+(--[a-z0-9_]+)?-s\d+(-[a-z0-9.]+)*-[0-9a-f]{12}")
TRIAL_ID = re.compile(r"-trial-\d+-[0-9a-f]{12}$")  # how the id of a trial ends
CellId = Annotated[str, Pattern(regex=CELL_ID.pattern, words="a cell's id")]

# Raised by hand when a change of the code changes results; every id moves with it.
RECIPE = 3

# Every cell's identity has these fields, null where its kind does not use them. A later kind adds its fields to its own
# cells only, so that it moves no id.
FIRST_FIELDS = ("source", "adapter", "training", "source_use", "fisher", "embed", "parent")


@dataclass(frozen=True, kw_only=True)
class DataIdentity:
    """The examples of one task: which bytes, and by which rule they were split and cut."""

    dataset: Name
    raw: str | None  # digest of the raw files; None: not pinned and not there yet, the id is provisional
    split: str  # the split rule with its version and salt, e.g. "family-1-317"
    use: DataUse
    labels: LabelUse
    fraction: PositiveShare  # of the training part, nested in the seed


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What cells of all kinds have: a task's data, a seed, and the frozen encoder."""

    kind: ClassVar[str]
    target: Name
    seed: Seed
    data: DataIdentity
    backbone: Backbone
    backbone_digest: str | None  # of a local folder's files or of the pinned revision; None: provisional
    recipe: Annotated[int, Range(low=1)] = field(default=RECIPE)

    @classmethod
    def like(cls, other: Cell, **own: Any) -> Self:
        """A cell of this kind with the fields of `other`, except those given in `own`."""
        names = [attribute.name for attribute in fields(cls)]
        return cls(**{**{name: getattr(other, name) for name in names if hasattr(other, name)}, **own})

    @cached_property
    def id(self) -> str:
        """A readable prefix and 12 hex digits of sha256 over the canonical JSON of all fields."""
        return f"{self.prefix}-{ids.digest_json(self.identity(), 12)}"

    @property
    def prefix(self) -> str:
        """What a person recognises: tasks, seed, the fraction when it is not whole, and the kind."""
        tasks = "--".join(filter(None, (self.source_task, self.target)))
        part = "" if self.data.fraction == 1.0 else f"-f{self.data.fraction * 100:g}"
        manual = "-manual" if self.data.labels == "manual" else ""
        return f"{tasks}-s{self.seed}{part}{manual}{self._mark}"

    @property
    def _mark(self) -> str:
        """The kind as part of an id's prefix; empty for baselines and transfers."""
        return f"-{self.kind}"

    def identity(self) -> dict[str, Any]:
        """The JSON object whose digest is in the id; adapter fields that its kind does not use are left out."""
        return {**dict.fromkeys(FIRST_FIELDS), "kind": self.kind, **ids.plain(self)}

    @property
    def starts_from(self) -> str | None:
        """The id of the cell whose adapter this one starts from; None where there is none."""
        return None

    @property
    def source_task(self) -> str | None:
        """The task whose adapter is below this cell's; None for all kinds but transfers."""
        return None

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        """The adapters that it may train or read."""
        return ()

    @property
    def settled_training(self) -> Training | None:
        """The training section as far as the plan fixes it; None where no trained model reads a text."""
        return None

    @property
    def precision(self) -> Precision | None:
        """The precision that it computes in; None without a training section."""
        return None if self.settled_training is None else self.settled_training.precision

    @property
    def mixed_precision(self) -> MixedPrecision:
        """Accelerate's `mixed_precision` setting for the process that runs the cell."""
        return "bf16" if self.precision == "bf16" else "no"

    @property
    def pack_key(self) -> tuple[object, ...]:
        """Cells with equal keys may run in one process."""
        return (self.kind, self.seed, self.backbone)

    @property
    def pass_key(self) -> tuple[object, ...]:
        """Cells of a process with equal keys may share a data pass and a bank of adapters."""
        return (self.kind, self.target, self.seed, self.data, self.backbone)

    @property
    def provisional(self) -> bool:
        """True while a digest is unknown: the id will move once the data or the backbone is there."""
        return self.data.raw is None or self.backbone_digest is None


@dataclass(frozen=True, kw_only=True)
class WithAdapter(Cell):
    """A cell with one trained adapter."""

    adapter: Adapter
    training: Training

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "adapter": self.adapter.settings}

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        return (self.adapter,)

    @property
    def settled_training(self) -> Training | None:
        return self.training

    @property
    def pass_key(self) -> tuple[object, ...]:
        return (*super().pass_key, self.adapter, self.training)


@dataclass(frozen=True, kw_only=True)
class Trained(WithAdapter):
    """A cell that trains the adapter and is scored: what a grid is made of."""

    @property
    def _mark(self) -> str:
        return ""

    @property
    def pack_key(self) -> tuple[object, ...]:
        return (*super().pack_key, self.target, self.data, self.adapter, self.training)


@dataclass(frozen=True, kw_only=True)
class Baseline(Trained):
    """An adapter trained on `target`."""

    kind = "baseline"


@dataclass(frozen=True, kw_only=True)
class Transfer(Trained):
    """An adapter trained on `target`, stacked on the adapter of `parent`, which was trained on `source`."""

    kind = "transfer"
    source: Name
    source_use: SourceUse
    parent: CellId

    @property
    def starts_from(self) -> str | None:
        return self.parent

    @property
    def source_task(self) -> str | None:
        return self.source

    @property
    def pass_key(self) -> tuple[object, ...]:
        return (*super().pass_key, self.source_use.mode)


@dataclass(frozen=True, kw_only=True)
class TaskEmbedding(WithAdapter):
    """The task embedding of the baseline `parent`, computed with its adapter and training section."""

    kind = "fisher"
    fisher: Fisher
    parent: CellId

    @property
    def starts_from(self) -> str | None:
        return self.parent


@dataclass(frozen=True, kw_only=True)
class DatasetEmbedding(Cell):
    """The dataset embedding of the texts of `target`, by `backbone` as encoder."""

    kind = "embed"
    embed: Embed


@dataclass(frozen=True, kw_only=True)
class TrialCell(Cell):
    """One trial of a hyper-parameter search; the values that it draws are not part of its identity."""

    kind = "trial"
    trial: Trial

    @property
    def _mark(self) -> str:
        return f"-trial-{self.trial.number:03d}"

    def identity(self) -> dict[str, Any]:
        value = {**super().identity(), "adapter": None, "training": None}  # only a DrawnTrial has them
        value["trial"]["search"]["adapters"] = [adapter.settings for adapter in self.trial.search.adapters]
        return value

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        return self.trial.search.adapters

    @property
    def settled_training(self) -> Training | None:
        return self.trial.search.training

    @property
    def pack_key(self) -> tuple[object, ...]:
        return (*super().pack_key, self.search_name)

    @property
    def pass_key(self) -> tuple[object, ...]:
        return (*super().pass_key, self.id)  # each trial trains with its own parameters

    @cached_property
    def search_name(self) -> str:
        """The name of its search: the trials of one search differ in their number only."""
        value = self.identity()
        del value["trial"]["number"]
        return f"{self.target}-s{self.seed}-{ids.digest(value, 12)}"

    def numbered(self, number: int) -> TrialCell:
        """Trial `number` of the same search."""
        return TrialCell.like(self, trial=replace(self.trial, number=number))


@dataclass(frozen=True, kw_only=True)
class DrawnTrial(TrialCell):
    """A trial as it is trained, with the adapter and training that it drew; its id is the trial's."""

    adapter: Adapter
    training: Training


Trainable = Trained | DrawnTrial  # what the training loop trains


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is true of all cells of a kind. Their fields are in `cell`, their runner is an entry of `train/run.py`."""

    cell: type[Cell]
    wave: int = 0  # packs of wave 0 wait for nothing, those of wave 1 start from adapters of wave 0
    trains: bool = False  # whether they train an adapter
    predicts: tuple[Part, ...] = ()  # parts whose predictions they save; `gather` computes scores from these
    keeps_last_epoch: bool = False  # whether the last epoch is saved too, for transfers that start from it
    reads: Literal["backbone", "encoder"] = "backbone"  # the model that they need
    dealt: bool = False  # whether they are dealt to packs in turn, so that low numbers run first


KINDS: Mapping[str, Kind] = {
    kind.cell.kind: kind
    for kind in (
        Kind(cell=Baseline, trains=True, predicts=("validation", "test"), keeps_last_epoch=True),
        Kind(cell=Transfer, wave=1, trains=True, predicts=("validation", "test")),
        Kind(cell=TaskEmbedding, wave=1),
        Kind(cell=DatasetEmbedding, reads="encoder"),
        Kind(cell=TrialCell, trains=True, predicts=("validation",), dealt=True),  # a search must not see test
    )
}
SCORED = tuple(name for name, kind in KINDS.items() if "test" in kind.predicts)  # the kinds whose scores are reported
COMMON = frozenset(attribute.name for attribute in fields(Cell))
OWN: Mapping[str, frozenset[str]] = {
    name: frozenset(attribute.name for attribute in fields(kind.cell)) - COMMON for name, kind in KINDS.items()
}
ALL_OWN = frozenset(FIRST_FIELDS).union(*OWN.values())


def differences(
    first: dict[str, object], second: dict[str, object], prefix: str = ""
) -> list[tuple[str, object, object]]:
    """Where two identities differ: (dotted field, value in the first, value in the second)."""
    differing: list[tuple[str, object, object]] = []
    for key in sorted({*first, *second}):
        left, right = first.get(key), second.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            differing += differences(left, right, f"{prefix}{key}.")
        elif left != right:
            differing.append((f"{prefix}{key}", left, right))
    return differing


def from_identity(value: object, path: Path | None = None) -> Cell:
    """The cell whose `identity()` is `value`; fields that are None may be absent from it.

    `path`: the file that it was read from, for messages.

    Raises DamagedError where no cell fits: the stored value may be damaged, forged or from a newer version.
    """
    stored = "a stored cell" if path is None else f"the cell in {path}"
    fix = f"move {path or 'its file'} away and submit again"
    if not isinstance(value, dict):
        raise DamagedError(f"{stored} must be an object, but is {type(value).__name__}; {fix}")
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise DamagedError(
            f"{stored} must be of a kind that this version knows ({', '.join(KINDS)}), but its kind is {kind!r}; "
            "read it with the version that wrote it"
        )
    stated = {name for name in ALL_OWN if value.get(name) is not None}
    if stated != OWN[kind]:
        lacking, added = ", ".join(sorted(OWN[kind] - stated)), ", ".join(sorted(stated - OWN[kind]))
        wrong = [f"lacks {lacking}"] * bool(lacking) + [f"has {added} in addition"] * bool(added)
        raise DamagedError(f"{stored} must have exactly the fields of kind {kind}, but {' and '.join(wrong)}; {fix}")
    its_own = {name: item for name, item in value.items() if name != "kind" and (name in stated or name not in ALL_OWN)}
    try:
        hint: Any = KINDS[kind].cell
        cell: Cell = decode.exactly(hint, its_own)
    except decode.Unfit as error:
        raise DamagedError(f"{stored} must be as this version writes it, but is not: {error}; {fix}") from error
    return cell
