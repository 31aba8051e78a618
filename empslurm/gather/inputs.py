"""Inputs other than a runs root: any table of results, and the paper's printed tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from empslurm import files, metrics, reference
from empslurm.errors import DataError
from empslurm.gather import prediction_files, results
from empslurm.gather.cache import COLUMNS
from empslurm.gather.collect import Gathered, Group
from empslurm.gather.results import Result
from empslurm.gather.verify import TOLERANCE, column
from empslurm.metrics import METRICS
from empslurm.tasks import Registry
from empslurm.validation.constraints import Kind

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED = "published"
PRINTED = "Lahnala et al. (2024), as printed: one run per pair, two digits"


def published(registry: Registry) -> Gathered:
    """The scores that the paper prints (Tables 7 and 8) as gathered results: one run per pair, without predictions.

    `registry`: from `empslurm.tasks.registry`.
    """
    rows = []
    for score in reference.scores():
        table = 7 if METRICS[score.metric].kind == "classification" else 8
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
    """Rows in the form of gathered runs; unknown values are missing."""
    import pandas as pd

    unknown = {"fraction": 1.0, "labels": "all", "flags": "", "setting": "{}", "data": "", "curve": ""}
    whole = [{**unknown, **row} for row in rows]
    frame = pd.DataFrame(whole, columns=[*COLUMNS, "data", "predictions"])
    frame = frame.astype({**COLUMNS, "data": "string", "predictions": "string"})
    return frame.set_index("id", drop=False).rename_axis(None)


def from_file(path: Path, registry: Registry, folder: Path | None = None) -> Gathered:
    """Read a table of results (CSV, JSON lines or Parquet), one group per setting.

    `path`: one row per run, with the columns `source` (blank for a baseline), `target`, `seed`, `metric` and `value`
    (in the unit of the metric), and optionally `fraction` (of the target's training data, above 0 and at most 1),
    `flags`, `id` and `setting`; `gather.results` describes them. `registry`: from `empslurm.tasks.registry`; it gives
    titles to the tasks that it knows. `folder`: predictions of the runs, one file per id (`gather.prediction_files`
    describes them); where a run has some, its value must follow from them.
    Raises DataError naming file, line and column of what is wrong, DamagedError for a damaged predictions file.
    """
    rows = results.read(path)
    groups = []
    for name, setting in results.settings(rows):
        own = [row for row in rows if row.setting == setting]
        runs = _frame([_run(path, row, folder) for row in own])
        described = {"origin": str(path), **({"setting": setting} if setting or name else {})}
        groups.append(Group(name=name, setting=described, runs=runs, missing=(), notes={}))
    return Gathered(
        name=path.stem, groups=tuple(groups), missing=(), n_planned=None, registry=registry, origin="results"
    )


def _run(path: Path, row: Result, folder: Path | None) -> dict[str, Any]:
    """A result as a gathered run."""
    run = {
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
        return run
    return {**run, **_predictions(folder, row)}


def _predictions(folder: Path, row: Result) -> dict[str, Any]:
    """The columns of a run that its predictions give; empty without predictions. Raises DamagedError, DataError."""
    path = prediction_files.find(folder, row.id)
    if path is None:
        return {}
    part = prediction_files.read(path, METRICS[row.metric].kind).predictions
    kind: Kind = "regression" if part.outputs.ndim == 1 else "classification"
    score = metrics.score(kind, part.outputs.shape[-1], part.gold, part.outputs).get(row.metric, np.inf)
    if not np.isclose(score, row.value, rtol=0, atol=max(TOLERANCE, 1e-6), equal_nan=True):
        computed = "no such metric" if score == np.inf else f"{score:.6g}"
        raise DataError(
            f"{path} must give the {row.metric} of its run, {row.value}, but gives {computed}; fix the value in the "
            "table, or replace the predictions"
        )
    own = metrics.run_flags(row.metric, {"test": (part.gold, part.outputs)})
    flags = dict.fromkeys((*filter(None, row.flags.split(",")), *own))
    return {
        "predictions": str(path.resolve()),
        "fingerprint": files.sha256_file(path),  # so that a later gather notices changed predictions
        "flags": ",".join(flags),
        "n_test": len(part.ids),
        "n_test_groups": len(set(part.groups)),
    }
