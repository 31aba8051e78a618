"""Learning curves as a long table: the training loss and validation score of every run, epoch by epoch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from empslurm.gather.collect import Gathered

if TYPE_CHECKING:
    import pandas as pd

OF_A_RUN = ("id", "kind", "source", "target", "seed", "fraction")
CURVES = ("group", *OF_A_RUN, "epoch", "train_loss", "metric", "validation")


def curves_table(gathered: Gathered) -> pd.DataFrame:
    """One row per run and epoch, ordered by run, with the columns `CURVES`; empty where no run recorded a history.

    `train_loss` is the mean loss of the epoch, `validation` the score in the run's metric; NaN where undefined.
    """
    import pandas as pd

    rows: list[tuple[Any, ...]] = []
    for group in gathered.groups:
        known = group.runs[group.runs["curve"].fillna("") != ""].sort_values("id", kind="stable")
        columns = [known[name].astype(object).where(known[name].notna(), None) for name in OF_A_RUN]
        for *run, metric, curve in zip(*columns, known["metric"], known["curve"], strict=True):
            rows += [(group.name, *run, epoch, loss, metric, score) for epoch, loss, score in json.loads(curve)]
    table = pd.DataFrame(rows, columns=list(CURVES))
    return table.astype({"fraction": "float64", "train_loss": "float64", "validation": "float64"})
