"""A cell: one number-producing unit, identified by everything that can change its number and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

from empslurm import ids
from empslurm.config import (
    Adapter,
    Backbone,
    DataUse,
    Embed,
    Fisher,
    LabelUse,
    PositiveShare,
    Seed,
    SourceUse,
    Training,
    Trial,
)
from empslurm.errors import DamagedError
from empslurm.validation import decode
from empslurm.validation.constraints import Name, Pattern, Range

CellKind = Literal["baseline", "transfer", "fisher", "embed", "trial"]
MixedPrecision = Literal["no", "bf16"]
TRAINED: tuple[CellKind, ...] = ("baseline", "transfer")  # the kinds that train an adapter

CELL_ID = re.compile(r"[a-z0-9_]+(--[a-z0-9_]+)?-s\d+(-[a-z0-9.]+)*-[0-9a-f]{12}")
TRIAL_ID = re.compile(r"-trial-\d+-[0-9a-f]{12}$")  # how the id of a trial ends

# Raised by hand when a change of the code changes results; every id moves with it.
RECIPE = 3


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
    """Fully resolved identity of one run; a section that the kind does not use is None.

    baseline: an adapter trained on `target`. transfer: the same, stacked on the adapter of `parent`. fisher: the task
    embedding of the baseline `parent`. embed: the dataset embedding of the texts of `target`, by `backbone` as encoder.
    trial: one draw of a hyper-parameter search, `adapter` and `training` are its own once they have been asked for.
    """

    kind: CellKind
    target: Name
    source: Name | None = None
    seed: Seed
    data: DataIdentity
    backbone: Backbone
    backbone_digest: str | None  # of a local folder's files or of the pinned revision; None: provisional
    adapter: Adapter | None = None
    training: Training | None = None
    source_use: SourceUse | None = None
    fisher: Fisher | None = None
    embed: Embed | None = None
    trial: Trial | None = None
    parent: Annotated[str, Pattern(regex=CELL_ID.pattern, words="a cell's id")] | None = None
    recipe: Annotated[int, Range(low=1)] = field(default=RECIPE)

    @cached_property
    def id(self) -> str:
        """A readable prefix and 12 hex digits of sha256 over the canonical JSON of all fields."""
        return f"{self.prefix}-{ids.digest_json(self.identity(), 12)}"

    @property
    def prefix(self) -> str:
        """What a person recognises: tasks, seed, and the fraction when it is not whole."""
        tasks = self.target if self.source is None else f"{self.source}--{self.target}"
        part = "" if self.data.fraction == 1.0 else f"-f{self.data.fraction * 100:g}"
        manual = "-manual" if self.data.labels == "manual" else ""
        kind = "" if self.kind in TRAINED else f"-{self.kind}"
        if self.trial is not None:
            kind += f"-{self.trial.number:03d}"
        return f"{tasks}-s{self.seed}{part}{manual}{kind}"

    @property
    def hyper_parameters(self) -> Training:
        """How a cell's adapter, or that of a fisher cell's baseline, is trained. Raises TypeError for others."""
        if self.training is None:
            raise TypeError(f"a cell of kind {self.kind} is not trained")
        return self.training

    @property
    def mixed_precision(self) -> MixedPrecision:
        """What accelerate calls the autocast of the process that runs the cell."""
        training = self.training if self.trial is None else self.trial.search.training
        return "bf16" if training is not None and training.precision == "bf16" else "no"

    @property
    def provisional(self) -> bool:
        """True while a digest is unknown: the id will move once the data or the backbone is there."""
        return self.data.raw is None or self.backbone_digest is None

    def identity(self) -> dict[str, object]:
        """The JSON object whose digest is in the id.

        Fields of adapters that do not matter, and `trial` of other kinds, are left out: a new kind moves no id.
        """
        value: dict[str, Any] = ids.plain(self)
        if self.trial is None:
            del value["trial"]
        else:
            value |= {"adapter": None, "training": None}
            value["trial"]["search"]["adapters"] = [adapter.settings for adapter in self.trial.search.adapters]
        if value["adapter"] is not None and self.adapter is not None:
            value["adapter"] = self.adapter.settings
        return value

    @cached_property
    def study(self) -> str:
        """The name of a trial's study: the trials that differ in their number only. Raises TypeError for others."""
        if self.trial is None:
            raise TypeError(f"a cell of kind {self.kind} is no trial")
        value: dict[str, Any] = self.identity()
        del value["trial"]["number"]
        return f"{self.target}-s{self.seed}-{ids.digest(value, 12)}"


def differences(
    first: dict[str, object], second: dict[str, object], prefix: str = ""
) -> list[tuple[str, object, object]]:
    """Dotted field, value in the first and in the second, wherever two identities differ."""
    found: list[tuple[str, object, object]] = []
    for key in sorted({*first, *second}):
        one, two = first.get(key), second.get(key)
        if isinstance(one, dict) and isinstance(two, dict):
            found += differences(one, two, f"{prefix}{key}.")
        elif one != two:
            found.append((f"{prefix}{key}", one, two))
    return found


# The fields of each kind beyond those of all; the others are None.
FIELDS: Mapping[CellKind, frozenset[str]] = {
    "baseline": frozenset({"adapter", "training"}),
    "transfer": frozenset({"adapter", "training", "source", "source_use", "parent"}),
    "fisher": frozenset({"adapter", "training", "fisher", "parent"}),
    "embed": frozenset({"embed"}),
    "trial": frozenset({"trial"}),
}
OPTIONAL = frozenset[str]().union(*FIELDS.values())


def from_identity(value: object) -> Cell:
    """The cell whose `identity()` is `value`, where fields that are None may be left out.

    Raises DamagedError where there is none: what was read may be damaged or forged.
    """
    try:
        cell: Cell = decode.reader(Cell)(value)
    except decode.Unfit as error:
        raise DamagedError(f"a stored cell must be as this version writes it, but of its fields {error}") from error
    given = {name for name in OPTIONAL if getattr(cell, name) is not None}
    if given != FIELDS[cell.kind]:
        wrong = ", ".join(sorted(given ^ FIELDS[cell.kind]))
        raise DamagedError(
            f"a stored cell of kind {cell.kind} must have exactly the fields of its kind, but has or lacks {wrong}"
        )
    return cell
