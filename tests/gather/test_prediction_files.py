"""Predictions that come with a table of results: hard labels, values, logits."""

import json
from pathlib import Path

import numpy as np
import pytest

from empslurm import metrics
from empslurm.errors import DataError
from empslurm.gather import from_file, prediction_files
from empslurm.report.analyses import analyse
from empslurm.tasks import registry

LABELS = ("sad", "happy", "calm")


def hard(path: Path, gold: list[str], guesses: list[str]) -> float:
    """Write hard labels; their macro F1."""
    rows = [f"{at},{one},{two}\n" for at, (one, two) in enumerate(zip(gold, guesses, strict=True))]
    path.write_text("id,gold,predicted\n" + "".join(rows))
    place = {label: at for at, label in enumerate(sorted({*gold, *guesses}))}
    targets, predicted = (np.array([place[label] for label in labels]) for labels in (gold, guesses))
    return metrics.score("classification", len(place), targets, np.eye(len(place))[predicted])["f1_macro"]


def table(folder: Path) -> Path:
    """Three seeds of a baseline and a transfer with hard labels; only one run ever says calm."""
    rng = np.random.default_rng(4)
    gold = [LABELS[at % 2] for at in range(60)]
    lines = ["source,target,seed,metric,value"]
    for name, skill in (("", 0.6), ("other", 0.95)):
        for seed in (1, 2, 3):
            guesses = [one if rng.random() < skill else LABELS[rng.integers(2)] for one in gold]
            if name and seed == 2:
                guesses[0] = "calm"
            run = f"{name}--mood-s{seed}" if name else f"mood-s{seed}"
            value = hard(folder / f"{run}.csv", gold, guesses)
            lines.append(f"{name},mood,{seed},f1_macro,{value}")
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    return folder / "t.csv"


def test_hard_labels_are_enough_for_verdicts_over_examples(tmp_path: Path) -> None:
    gathered = from_file(table(tmp_path), registry(), tmp_path)
    (group,) = gathered.groups
    assert group.runs["n_test"].tolist() == [60.0] * 6
    done = analyse(gathered, group, ratings=())
    (result,) = done.significance[0].results
    assert (result.n_examples, result.comparison.with_examples) == (60, True)
    assert done.significance[0].pairs[0].paper_outcome == "helps"


@pytest.mark.parametrize("metric", ["mae", "spearman"])
def test_values_are_enough_in_other_metrics_and_less_error_helps(tmp_path: Path, metric: str) -> None:
    rng = np.random.default_rng(3)
    gold = rng.normal(50, 10, 60)
    lines = ["source,target,seed,metric,value"]
    for name, noise in (("", 9.0), ("other", 2.0)):
        for seed in (1, 2, 3):
            values = gold + rng.normal(0, noise, 60)
            run = f"{name}--mood-s{seed}" if name else f"mood-s{seed}"
            both = zip(gold.tolist(), values.tolist(), strict=True)
            rows = [f"{at},{one!r},{two!r}" for at, (one, two) in enumerate(both)]
            (tmp_path / f"{run}.csv").write_text("\n".join(["id,gold,predicted", *rows]) + "\n")
            lines.append(f"{name},mood,{seed},{metric},{metrics.score('regression', 0, gold, values)[metric]!r}")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    gathered = from_file(tmp_path / "t.csv", registry(), tmp_path)
    (group,) = gathered.groups
    done = analyse(gathered, group, ratings=())
    (result,) = done.significance[0].results
    assert (result.n_examples, result.comparison.with_examples, result.doubt) == (60, True, "")
    (pair,) = done.significance[0].pairs
    assert (pair.paper_outcome, pair.verdict.verdict) == ("helps", "helps")
    assert (pair.verdict.difference < 0) == (metric == "mae")


def test_labels_stand_in_one_order_for_all_runs(tmp_path: Path) -> None:
    hard(tmp_path / "one.csv", ["b", "c"], ["b", "b"])
    hard(tmp_path / "two.csv", ["b", "c"], ["a", "c"])
    one, two = prediction_files.aligned(
        [prediction_files.read(tmp_path / f"{name}.csv", "classification") for name in ("one", "two")]
    )
    assert one.gold.tolist() == two.gold.tolist() == [1, 2]
    assert (one.outputs.argmax(1).tolist(), two.outputs.argmax(1).tolist()) == ([1, 1], [0, 2])


def test_values_logits_and_parts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,gold,predicted,part\nx,1.5,2,\ny,2,2.5,test\nz,9,9,train\n")
    made = prediction_files.read(tmp_path / "a.csv", "regression").predictions
    assert (made.ids, made.gold.tolist(), made.outputs.tolist()) == (("x", "y"), [1.5, 2.0], [2.0, 2.5])
    rows = [{"id": "y", "gold": 1, "output": [0.1, 2.0]}, {"id": "x", "gold": 0, "output": [3, 2.0], "group": "g"}]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = prediction_files.read(tmp_path / "b.jsonl", "classification").predictions
    assert (made.ids, made.groups, made.outputs.argmax(1).tolist()) == (("x", "y"), ("g", "y"), [0, 1])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,gold,predicted\n", "holds none"),
        ("id,gold,predicted\na,x,y\na,x,y\n", "holds a twice"),
        ("id,gold,predicted\na,x,\n", "line 2: predicted must have a value, but is blank"),
        ("id,label\na,x\n", "lacks gold"),
        ("id,gold,predicted\na,x,y,z\n", "line 2 has 4 columns instead of 3"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        prediction_files.read(tmp_path / "a.csv", "classification")


def test_the_score_must_follow_from_hard_labels(tmp_path: Path) -> None:
    path = table(tmp_path)
    path.write_text(path.read_text().replace("other,mood,1,f1_macro,0.9", "other,mood,1,f1_macro,0.8"))
    with pytest.raises(DataError, match="must give the f1_macro of its run"):
        from_file(path, registry(), tmp_path)
