"""An estimator of importance is a module and an entry: Table 6, the checks' tables and the page follow."""

import csv
import json
from itertools import product
from pathlib import Path

import numpy as np

from tests.extension.tree import copy_of_tree

TASKS = ("epitome_er", "news_empathy", "conv_emopol", "empdial_ei", "hope")
RIDGE = '''"""Ridge regression."""

from collections.abc import Mapping

from empslurm.analysis.importance_estimator import Estimator, Model, Parameter


def _make(parameters: Mapping[str, float]) -> Model:
    from sklearn.linear_model import Ridge

    return Ridge(alpha=parameters["alpha"])


RIDGE = Estimator(
    name="ridge",
    title="ridge regression",
    parameters={"alpha": Parameter(default=1.0, values=(0.1, 1.0, 10.0), digits=1)},
    make=_make,
)
'''


def invented_scores() -> str:
    """A score of every pair of five of the paper's tasks."""
    values = np.random.default_rng(1).uniform(0.4, 0.6, len(TASKS) ** 2)
    rows = [
        f"{'' if source == target else source},{target},1,accuracy,{value:.3f}"
        for (source, target), value in zip(product(TASKS, TASKS), values, strict=True)
    ]
    return "\n".join(["source,target,seed,metric,value", *rows, ""])


def test_a_second_estimator_is_in_table_6_its_checks_and_the_page(tmp_path: Path) -> None:
    tree = copy_of_tree(tmp_path)
    tree.write("empslurm/analysis/ridge.py", RIDGE)
    module = "empslurm/analysis/importance.py"
    tree.insert(module, "from empslurm.analysis.support_vectors", "from empslurm.analysis.ridge import RIDGE\n")
    tree.insert(module, ")\nFEWEST_PAIRS", "    RIDGE,\n")
    tree.write("scores.csv", invented_scores())
    said = json.loads(tree.verb("gather", "--results", "scores.csv", "--out", "out", "--json"))
    folder = tree.path / said["folder"]

    with (folder / "table6.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"importance", "importance_ridge", "p_value_ridge", "rank_range_ridge"} <= rows[0].keys()
    ours = [(float(row["importance"]), float(row["importance_ridge"])) for row in rows if row["importance"]]
    assert len(ours) >= 5
    assert any(first != second for first, second in ours)

    with (folder / "audit-settings-ridge.csv").open(newline="") as file:
        settings = list(csv.DictReader(file))
    assert [float(row["alpha"]) for row in settings[::2]] == [0.1, 1.0, 10.0] * 2  # scaled or not, in two encodings

    caption = next(table["caption"] + table["details"] for table in said["tables"] if table["name"] == "table6")
    assert "Ridge regression: " in caption
    assert "over 12 settings of alpha, scaling and encoding" in caption
    assert [sentence.split(":")[0] for sentence in said["headline"][-2:]] == [
        "Support vector regression",
        "Ridge regression",
    ]
    page = (folder / "report.html").read_text()
    assert "<h3>Ridge regression: drop in held-out R²" in page
    assert 'data-table="audit-settings-ridge"' in page
