"""Learning curves: kept with the verified rows, and as a long table."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from empslurm.gather import curves_table, from_file, gather, published
from empslurm.gather.cache import NAME
from empslurm.gather.curves import CURVES
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from tests.gather.grids import baseline, finish, transfer

HISTORY: list[dict[str, Any]] = [
    {"epoch": 1, "step": 10, "train_loss": 0.9, "f1_macro": None, "accuracy": 0.2},
    {"epoch": 2, "step": 20, "train_loss": 0.5, "f1_macro": 0.6, "accuracy": 0.7},
    {"epoch": 3, "step": 30, "train_loss": None, "f1_macro": 0.4, "accuracy": 0.5},
]


def test_the_history_of_a_result_is_its_curve_in_the_tasks_metric(tmp_path: Path) -> None:
    root, base = RunsRoot(tmp_path), baseline("epitome_er")
    moved = transfer(baseline("news_empathy"), base)
    finish(root, base)
    finish(root, moved, history=HISTORY)
    for _ in range(2):  # verified, then read back
        gathered = gather(root, None, registry())
        curves = gathered.groups[0].runs["curve"]
        assert curves[base.id] == ""
        assert curves[moved.id] == "[[1,0.9,null],[2,0.5,0.6],[3,null,0.4]]"
        assert json.loads(curves[moved.id])[0] == [1, 0.9, None]
    assert NAME == "verified-4.parquet"  # an earlier one has no curves
    table = curves_table(gathered)
    assert tuple(table.columns) == CURVES
    assert table["epoch"].tolist() == [1, 2, 3]
    assert set(table["id"]) == {moved.id}
    first, *_ = table.to_dict("records")
    assert (first["group"], first["kind"], first["source"], first["target"]) == (
        "", "transfer", "news_empathy", "epitome_er",
    )  # fmt: skip
    assert (first["seed"], first["fraction"], first["metric"], first["train_loss"]) == (1, 1.0, "f1_macro", 0.9)
    assert math.isnan(first["validation"])


def test_printed_and_foreign_results_have_no_curves(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("source,target,seed,metric,value\n,aa,1,accuracy,0.5\n", encoding="utf-8")
    for gathered in (published(registry()), from_file(path, registry())):
        assert set(gathered.groups[0].runs["curve"]) == {""}
        table = curves_table(gathered)
        assert (len(table), tuple(table.columns)) == (0, CURVES)


def test_a_baseline_has_no_source(tmp_path: Path) -> None:
    root = RunsRoot(tmp_path)
    finish(root, baseline("epitome_er"), history=HISTORY[:1])
    (row,) = curves_table(gather(root, None, registry())).to_dict("records")
    assert row["source"] is None
    assert row["epoch"] == 1
