"""Other inputs than a runs root: anyone's results as a long table, and the paper's own printed tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from empslurm import metrics, predictions, reference
from empslurm.errors import DataError
from empslurm.gather.cache import COLUMNS
from empslurm.gather.collect import Gathered, Group
from empslurm.gather.verify import TOLERANCE, column
from empslurm.tasks import Registry

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED = "published"
NEEDED = ("source", "target", "seed", "metric", "value")
PRINTED = "Lahnala et al. (2024), as printed: one run per pair, two digits"


def published(registry: Registry) -> Gathered:
    """Tables 7 and 8 of the paper as if they had been gathered: one run per place, no predictions."""
    rows = []
    for score in reference.scores():
        table = 7 if score.metric == "f1_macro" else 8
        moved = score.source != score.target
        rows.append(
            {
                "id": f"table{table}:{score.source}--{score.target}" if moved else f"table{table}:{score.target}",
                "kind": "transfer" if moved else "baseline",
                "source": score.source if moved else None,
                "target": score.target,
                "seed": 1,
                "metric": score.metric,
                column("test", score.metric): score.value,
                "data": PUBLISHED,
            }
        )
    group = Group(name="", setting={"origin": PRINTED}, runs=_frame(rows), missing=(), notes={})
    return Gathered(name=PUBLISHED, groups=(group,), missing=(), n_planned=None, registry=registry, origin="published")


def _frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Rows in the form of gathered runs; what is not known of them is missing."""
    import pandas as pd

    whole = [{"fraction": 1.0, "labels": "all", "flags": "", "setting": "{}", "data": "", **row} for row in rows]
    made = pd.DataFrame(whole, columns=[*COLUMNS, "data", "predictions"])
    made = made.astype({**COLUMNS, "data": "string", "predictions": "string"})
    return made.set_index("id", drop=False).rename_axis(None)


def from_file(path: Path, registry: Registry, folder: Path | None = None) -> Gathered:
    """A long table with the columns source, target, seed, metric, value (CSV or Parquet). Raises DataError.

    A baseline has no source, or its target as the source. Optional: fraction, flags, id. The long table of a gather
    has this form: its main metrics on the test part are taken. `folder`: predictions of the
    runs, one file ID.parquet each in the form of a cell's; where they are, the values must follow from them.
    """
    table = _read(path)
    runs = _frame([_row(path, at, record, folder) for at, record in enumerate(table.to_dict("records"), start=1)])
    _check(path, runs)
    group = Group(name="", setting={"origin": str(path)}, runs=runs, missing=(), notes={})
    return Gathered(name=path.stem, groups=(group,), missing=(), n_planned=None, registry=registry, origin="results")


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        made = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, comment="#")
    except (OSError, ValueError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} must be a readable CSV or Parquet table, but: {reason}; check the path") from error
    lacking = [name for name in NEEDED if name not in made.columns]
    if lacking:
        raise DataError(
            f"{path} must have the columns {', '.join(NEEDED)}, but has no {', '.join(lacking)}; it has "
            f"{', '.join(map(str, made.columns))}"
        )
    if {"part", "main"} <= set(made.columns):  # the long table that a gather writes
        return made[(made["part"] == "test") & made["main"]]
    return made


def _row(path: Path, at: int, record: Mapping[Any, Any], folder: Path | None) -> dict[str, Any]:
    """One record as a run. Raises DataError naming the record."""
    known = (*metrics.CLASSIFICATION, *metrics.REGRESSION)
    metric, target = str(record["metric"]), str(record["target"])
    if metric not in known:
        raise DataError(f"{path}, record {at}: metric must be one of {', '.join(known)}, but is {metric!r}; rename it")
    try:
        seed, value = int(record["seed"]), float(record["value"])
        fraction = float(record.get("fraction", 1.0))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{path}, record {at}: seed must be a whole number, value and fraction numbers, but: {error}; mend it"
        ) from error
    given = record["source"]
    source = None if given is None or given != given or str(given) in ("", target) else str(given)
    part = "" if fraction == 1.0 else f"-f{fraction * 100:g}"
    name = f"{source}--{target}" if source else target
    row = {
        "id": str(record.get("id") or f"{name}-s{seed}{part}"),
        "kind": "transfer" if source else "baseline",
        "source": source,
        "target": target,
        "seed": seed,
        "fraction": fraction,
        "metric": metric,
        "flags": "" if record.get("flags") != record.get("flags") else str(record.get("flags") or ""),
        column("test", metric): value,
        "data": str(path.name),
    }
    return row if folder is None else {**row, **_predictions(folder / f"{row['id']}.parquet", metric, value)}


def _predictions(path: Path, metric: str, value: float) -> dict[str, Any]:
    """What a run's predictions say of it; nothing where it has none. Raises DamagedError, DataError."""
    if not path.is_file():
        return {}
    made = predictions.read(path).get("test")
    if made is None:
        raise DataError(f"{path} must hold a part named test, but does not; name the part of its rows")
    kind, n_labels = ("regression", 0) if made.outputs.ndim == 1 else ("classification", made.outputs.shape[1])
    found = metrics.score(kind, n_labels, made.gold, made.outputs)  # type: ignore[arg-type]
    if not np.isclose(found.get(metric, np.inf), value, rtol=0, atol=max(TOLERANCE, 1e-6), equal_nan=True):
        raise DataError(
            f"{path} must give the {metric} of its run, {value}, but gives {found.get(metric)}; mend one of them"
        )
    flags = ",".join(metrics.flags(kind, made.outputs))  # type: ignore[arg-type]
    sizes = {"n_test": len(made.ids), "n_test_groups": len(set(made.groups))}
    return {"predictions": str(path.resolve()), "flags": flags, **sizes}


def _check(path: Path, runs: pd.DataFrame) -> None:
    """No run twice, one metric per target."""
    twice = runs["id"][runs["id"].duplicated()]
    if len(twice):
        raise DataError(f"{path} must hold every run once, but holds {twice.iloc[0]} twice; give one metric per run")
    mixed = runs.groupby("target")["metric"].nunique()
    if (mixed > 1).any():
        raise DataError(
            f"{path} must have one metric per target, but has several for {mixed.index[mixed > 1][0]}; keep one"
        )
