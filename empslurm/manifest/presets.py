"""Named hyper-parameters per task: `paper`, or what `empslurm search freeze` wrote to presets/NAME.yaml.

`paper` is exactly Table 4 of the paper, written out so that it can be checked by eye. The table gives EmpDial EI,
EmpDial Role and News Empathy eleven epochs, though Appendix C says that models ran for ten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from empslurm.config import Adapter, Count, PositiveShare
from empslurm.validation import yaml_tree
from empslurm.validation.constraints import Partial, Pattern
from empslurm.validation.reader import Reader

FOLDER = "presets"  # beside the manifest
NAME = Annotated[str, Pattern(regex=r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", words="paper, or the name of a frozen preset")]


def _row(epochs: int, batch_size: int, lr: float) -> Mapping[str, int | float]:
    return {"epochs": epochs, "batch_size": batch_size, "lr": lr}


PRESETS: Mapping[str, Mapping[str, Mapping[str, int | float]]] = {
    "paper": {
        "condolence": _row(8, 32, 0.00028),
        "conv_emoint": _row(7, 54, 0.00083),
        "conv_emopol": _row(8, 32, 0.00093),
        "conv_empathy": _row(8, 31, 0.00083),
        "empdial_ei": _row(11, 44, 0.00073),
        "empdial_emo": _row(9, 18, 0.00069),
        "empdial_role": _row(11, 12, 0.00086),
        "hope": _row(7, 47, 0.00064),
        "epitome_er": _row(7, 42, 0.00041),
        "epitome_ex": _row(10, 34, 0.00090),
        "epitome_ip": _row(9, 22, 0.00078),
        "empdial_qact": _row(8, 24, 0.00056),
        "empdial_qint": _row(10, 52, 0.00078),
        "mi_adherent": _row(8, 10, 0.00076),
        "mi_behavior": _row(10, 30, 0.00048),
        "news_distress": _row(6, 30, 0.00087),
        "news_emotion": _row(6, 15, 0.00043),
        "news_empathy": _row(11, 14, 0.00045),
    },
}


@dataclass(frozen=True, kw_only=True)
class FrozenRow:
    """The settings that won for one task. `adapter` has every field that its kind uses."""

    adapter: Annotated[Mapping[str, Any], Partial(section=Adapter)]
    epochs: Count  # the length of the schedule, as the search trained
    batch_size: Count
    lr: PositiveShare
    best_epoch: Count  # for people: the epoch that won on the validation part
    validation: float  # for people: the score it won with
    cells: tuple[str, ...]  # for people: the cells that won, one per seed of the second stage


@dataclass(frozen=True, kw_only=True)
class PresetFile:
    """A frozen preset as it is written."""

    search: str  # the manifest that it was frozen from
    selected_on: Literal["validation"]
    tasks: Mapping[str, FrozenRow]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """By task id: fields of Training, and fields of Adapter where the preset chooses the adapter."""

    training: Mapping[str, Mapping[str, int | float]]
    adapter: Mapping[str, Mapping[str, Any]]


def frozen_path(manifest: Path, name: str) -> Path:
    """Path of a frozen preset of this name, beside the manifest."""
    return manifest.parent / FOLDER / f"{name}.yaml"


def load_preset(manifest: Path, name: str) -> Preset:
    """The preset that a manifest names. Raises ManifestError with all problems of its file."""
    if name in PRESETS:
        return Preset(training=PRESETS[name], adapter={})
    path = frozen_path(manifest, name)
    reader = Reader(str(path))
    values = reader.section(PresetFile, yaml_tree.load(path))
    rows: Mapping[str, FrozenRow] = values.get("tasks", {})
    for task, row in rows.items():
        try:
            Adapter(**row.adapter)
        except ValueError as error:
            reader.problem(f"tasks.{task}.adapter", f"hold only what its kind uses, but {error}", "remove that field")
    reader.finish()
    return Preset(
        training={task: _row(row.epochs, row.batch_size, row.lr) for task, row in rows.items()},
        adapter={task: row.adapter for task, row in rows.items()},
    )
