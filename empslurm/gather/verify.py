"""Verify one result: its seal, every checksum, and every metric, computed again from the saved predictions."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from empslurm import files, ids, metrics
from empslurm.cells import KINDS, Kind
from empslurm.errors import DamagedError, StoreError
from empslurm.store import predictions, results
from empslurm.store.cell_folder import PROVENANCE, CellDir

PARTS = ("validation", "test")
TOLERANCE = 1e-9  # same code, same predictions: only the order of sums may differ between machines
PLACE = ("kind", "source", "target", "seed", "parent")  # in a grid; the rest of a cell's identity is its setting

Row = dict[str, Any]


def column(part: str, metric: str) -> str:
    """The name of a score's column."""
    return f"{part}.{metric}"


SCORES = tuple(column(part, metric) for part in PARTS for kind in metrics.KINDS for metric in metrics.of_kind(kind))


def fingerprint(folder: str, names: Iterable[str]) -> str:
    """Size, time and inode of a result's files, to notice changes without reading them; "" where one is missing."""
    try:
        stats = [os.stat(f"{folder}/{name}") for name in names]
    except OSError:
        return ""
    return ";".join([f"{stat.st_size},{stat.st_mtime_ns},{stat.st_ino}" for stat in stats])


def verify(folder: CellDir) -> Row | None:
    """A finished cell as a flat row (columns: `cache.COLUMNS`); None without a result.

    Raises DamagedError or StoreError naming the file.
    """
    result = folder.result()
    if result is None:
        return None
    identity = _identity(folder, result)
    output = folder.verify(result)
    own = (folder.identity_file.name, folder.result_file.name)
    there = sorted(set(result["files"]) - results.left_out(folder.path))
    names = (*own, *(f"{output.name}/{name}" for name in there))
    before = fingerprint(str(folder.path), names)
    row: Row = {"id": folder.id, **{name: identity.get(name) for name in PLACE}}
    row["fraction"], row["labels"] = float(identity["data"]["fraction"]), str(identity["data"]["labels"])
    row["setting"] = ids.canonical_json(_setting(identity))
    row |= {"metric": result.get("metric"), "flags": ",".join(result.get("flags", ())), "seal": result["seal"]}
    row |= {name: result.get(name) for name in ("best_epoch", "n_steps", "n_tokens", "n_train")}
    row["curve"] = _curve(result)
    row |= _provenance(output)
    row |= dict.fromkeys(SCORES, float("nan"))
    if "test" in _kind(folder, identity).predicts:
        row |= _scores(folder, output / predictions.NAME, result)
    row |= {"output": output.name, "files": "\n".join(names), "fingerprint": before}
    return row


def _kind(folder: CellDir, identity: Mapping[str, Any]) -> Kind:
    """The entry of `cells.KINDS` for a cell. Raises DamagedError for a kind that this version does not know."""
    if identity["kind"] not in KINDS:
        raise DamagedError(
            f"{folder.identity_file} must be of a kind that this version knows ({', '.join(KINDS)}), but is of "
            f"{identity['kind']!r}; gather it with the version that wrote it"
        )
    return KINDS[identity["kind"]]


def _identity(folder: CellDir, result: Mapping[str, Any]) -> dict[str, Any]:
    """The cell's identity. Raises DamagedError where the result does not agree with it."""
    try:
        identity = folder.identity()
    except FileNotFoundError as error:
        raise DamagedError(f"{folder.identity_file} must exist, but is missing; move the folder away") from error
    for name in ("kind", "source", "target", "seed"):
        if identity.get(name) != result.get(name):
            raise DamagedError(
                f"{folder.result_file} must be of {name} {identity.get(name)!r}, as cell.json says, but is of "
                f"{result.get(name)!r}; move the folder away"
            )
    return identity


def _setting(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an identity that other pairs, seeds and fractions of the same setting share."""
    setting = {name: value for name, value in identity.items() if name not in PLACE}
    return {**setting, "data": {name: value for name, value in identity["data"].items() if name != "fraction"}}


def _curve(result: Mapping[str, Any]) -> str:
    """The learning curve as JSON: [epoch, training loss, validation score in the task's metric] per epoch; "" without.

    null: undefined, or not finite.
    """
    history = result.get("history") or ()
    points = [
        [int(entry["epoch"]), _finite(entry.get("train_loss")), _finite(entry.get(str(result.get("metric"))))]
        for entry in history
    ]
    return ids.canonical_json(points) if points else ""


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _provenance(output: Path) -> Row:
    """The cost and the machine of a run, which no score depends on."""
    try:
        note = files.read_object(output / PROVENANCE)
    except (FileNotFoundError, StoreError):
        note = {}
    gpu = note.get("gpu") or {}
    return {
        "wall_s": note.get("wall_s"),
        "energy_j": _number(note.get("energy_j")),
        "device": gpu.get("name") or note.get("device"),
        **_gpu(note),
        "commit": (note.get("code") or {}).get("commit"),
        "finished": note.get("time"),
    }


def _gpu(note: Mapping[str, Any]) -> Row:
    """Driver, memory and MIG profile of the GPU that a run used; None for what was not recorded, or without a GPU.

    Results of earlier versions have numbers as text, or `[N/A]`.
    """
    used = note.get("gpu")
    if not used:
        return dict.fromkeys(("driver", "gpu_memory_mib", "mig_profile"))
    number = str(note.get("device")).partition(":")[2]
    readings = note.get("gpus") or []
    index = int(number) if number.isdigit() else 0
    reading = readings[index] if index < len(readings) else {}
    own = _number(used.get("memory_bytes"))  # from torch: for a MIG instance, its own memory
    return {
        "driver": reading.get("driver_version"),
        "gpu_memory_mib": own / 2**20 if own else _number(reading.get("memory.total")),
        "mig_profile": reading.get("mig_profile"),
    }


def _number(value: object) -> float | None:
    """A positive number, also if written as text; else None."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None


def _scores(folder: CellDir, path: Path, result: Mapping[str, Any]) -> Row:
    """Every score, computed from the predictions. Raises DamagedError where one differs from the saved score."""
    parts = predictions.read(path)
    kind = metrics.METRICS[result["metric"]].kind
    row: Row = {}
    for part in PARTS:
        if part not in parts:
            raise DamagedError(f"{path} must hold the {part} part, but does not; move the folder away")
        predicted = parts[part]
        n_labels = predicted.outputs.shape[1] if predicted.outputs.ndim == 2 else 0
        scores = metrics.score(kind, n_labels, predicted.gold, predicted.outputs)
        stored = {result["metric"]: float("inf"), **metrics.from_json(result[part])}
        _compare(folder, path, part, stored, scores)
        row |= {column(part, name): value for name, value in scores.items()}
        row[f"n_{part}"], row[f"n_{part}_groups"] = len(predicted.ids), len(set(predicted.groups))
    # From the predictions, because results of earlier versions have other flags. Only the result knows that training
    # diverged after its best epoch.
    trained = (metrics.DIVERGED,) if metrics.DIVERGED in result.get("flags", ()) else ()
    flags = metrics.run_flags(result["metric"], {part: (parts[part].gold, parts[part].outputs) for part in PARTS})
    row["flags"] = ",".join(dict.fromkeys((*trained, *flags)))
    return row


def _compare(
    folder: CellDir, path: Path, part: str, stored: Mapping[str, float], computed: Mapping[str, float]
) -> None:
    """Compare scores. A newer metric may have no saved score; infinity marks a missing score of the main metric."""
    for name, said, value in ((name, stored[name], value) for name, value in computed.items() if name in stored):
        undefined = said != said and value != value
        if not (undefined or abs(said - value) <= TOLERANCE):
            raise DamagedError(
                f"{path} must give the {part} {name} of {folder.result_file}, {said:.6f}, but gives "
                f"{value:.6f}; move the folder away and run the cell again"
            )
