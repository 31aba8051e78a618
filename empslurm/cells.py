"""A cell: one number-producing unit, identified by everything that can change its number and nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from empslurm import ids
from empslurm.config import (
    Adapter,
    Backbone,
    DataUse,
    Embed,
    Fisher,
    LabelUse,
    Search,
    SourceUse,
    Training,
    Trial,
)
from empslurm.errors import DamagedError

CellKind = Literal["baseline", "transfer", "fisher", "embed", "trial"]
MixedPrecision = Literal["no", "bf16"]
TRAINED: tuple[CellKind, ...] = ("baseline", "transfer")  # the kinds that train an adapter

TRIAL_ID = re.compile(r"-trial-\d+-[0-9a-f]{12}$")  # how the id of a trial ends

# Raised by hand when a change of the code changes results; every id moves with it.
RECIPE = 2


@dataclass(frozen=True, kw_only=True)
class DataIdentity:
    """The examples of one task: which bytes, and by which rule they were split and cut."""

    dataset: str
    raw: str | None  # digest of the raw files; None: not pinned and not there yet, the id is provisional
    split: str  # the split rule with its version and salt, e.g. "family-1-317"
    use: DataUse
    labels: LabelUse
    fraction: float  # of the training part, nested in the seed


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Fully resolved identity of one run; a section that the kind does not use is None.

    baseline: an adapter trained on `target`. transfer: the same, stacked on the adapter of `parent`. fisher: the task
    embedding of the baseline `parent`. embed: the dataset embedding of the texts of `target`, by `backbone` as encoder.
    trial: one draw of a hyper-parameter search, `adapter` and `training` are its own once they have been asked for.
    """

    kind: CellKind
    target: str
    source: str | None = None
    seed: int
    data: DataIdentity
    backbone: Backbone
    backbone_digest: str | None  # of a local folder's files or of the pinned revision; None: provisional
    adapter: Adapter | None = None
    training: Training | None = None
    source_use: SourceUse | None = None
    fisher: Fisher | None = None
    embed: Embed | None = None
    trial: Trial | None = None
    parent: str | None = None
    recipe: int = field(default=RECIPE)

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


SECTIONS = {"adapter": Adapter, "training": Training, "source_use": SourceUse, "fisher": Fisher}


def _embed(value: dict[str, Any] | None) -> Embed | None:
    return Embed(**{**value, "encoder": Backbone(**value["encoder"])}) if value else None


def _trial(value: dict[str, Any] | None) -> Trial | None:
    if value is None:
        return None
    search = value["search"]
    adapters = tuple(Adapter(**adapter) for adapter in search["adapters"])
    made = Search(**{**search, "adapters": adapters, "training": Training(**search["training"])})
    return Trial(number=value["number"], search=made)


def from_identity(value: dict[str, Any]) -> Cell:
    """The cell whose `identity()` is `value`. Raises DamagedError where a field is missing, unknown or impossible."""
    try:
        data = dict(value["data"])
        return Cell(
            **{
                **value,
                "data": DataIdentity(**{**data, "use": DataUse(**data["use"])}),
                "backbone": Backbone(**value["backbone"]),
                "embed": _embed(value["embed"]),
                "trial": _trial(value.get("trial")),
                **{name: value[name] and section(**value[name]) for name, section in SECTIONS.items()},
            }
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"a stored cell must hold the fields of this version, but does not: {error}") from error
