"""Other inputs than a runs root: anyone's results as a long table, and the paper's own printed tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from empslurm import metrics, predictions, reference
from empslurm.errors import DataError
from empslurm.gather import results
from empslurm.gather.cache import COLUMNS
from empslurm.gather.collect import Gathered, Group
from empslurm.gather.results import Result
from empslurm.gather.verify import TOLERANCE, column
from empslurm.tasks import Registry

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED = "published"
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
    """Anyone's table of results (`gather.results` has its form), one group per setting. Raises DataError.

    `folder`: predictions of the runs, one file ID.parquet each (`predictions.read` has their form); where they are, the
    values must follow from them.
    """
    found = results.read(path)
    groups = []
    for name, setting in results.settings(found):
        own = [row for row in found if row.setting == setting]
        runs = _frame([_run(path, row, folder) for row in own])
        told = {"origin": str(path), **({"setting": setting} if setting else {})}
        groups.append(Group(name=name, setting=told, runs=runs, missing=(), notes={}))
    return Gathered(
        name=path.stem, groups=tuple(groups), missing=(), n_planned=None, registry=registry, origin="results"
    )


def _run(path: Path, row: Result, folder: Path | None) -> dict[str, Any]:
    """A result as a gathered run."""
    made = {
        "id": row.id,
        "kind": "transfer" if row.source else "baseline",
        "source": row.source or None,
        "target": row.target,
        "seed": row.seed,
        "fraction": row.fraction,
        "metric": row.metric,
        "flags": row.flags,
        column("test", row.metric): row.value,
        "data": path.name,
    }
    if folder is None:
        return made
    return {**made, **_predictions(folder / f"{row.id}.parquet", row.metric, row.value)}


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
