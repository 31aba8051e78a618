"""A metric is one entry: results, cards, tables, verdicts and resampling follow it, and older results get its score."""

import csv
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from empslurm.store import predictions
from tests.extension.tree import ROOT, Tree, copy_of_tree

ENTRY = """\
        Metric(
            name="balanced_accuracy",
            title="balanced accuracy",
            kind="classification",
            low=0,
            high=1,
            formula=resampling.recomputed(
                lambda answers: np.mean([
                    np.mean(answers.predicted[answers.gold == label] == label) for label in np.unique(answers.gold)
                ])
            ),
            chance=COMMONEST,
        ),
"""
BEFORE = """\
        Metric(
            name="pearson",
"""
MANIFEST = """\
name: balanced
cards: [../cards]
tasks: [kite_mood]
pairs: []
seeds: [1]
backbone: tiny
training: {epochs: 2, batch_size: 8, max_length: 16, max_train_examples: 32, max_eval_examples: 16}
"""
RESAMPLED = """\
import numpy as np
from sklearn.metrics import balanced_accuracy_score
from empslurm.analysis.resampling import Examples, resample
from empslurm.metrics import METRICS
rng = np.random.default_rng(0)
gold = rng.integers(0, 3, 90)
outputs = np.where(rng.random((2, 90)) < 0.6, gold, rng.integers(0, 3, 90))
examples = Examples(gold=gold, resampler=METRICS["balanced_accuracy"].formula.resampler, n_labels=3)
found = resample(examples, outputs, n_resamples=400, rng=rng)
assert np.allclose(found.observed, [balanced_accuracy_score(gold, model) for model in outputs])
draws = rng.integers(0, 90, (400, 90))
again = [[balanced_accuracy_score(gold[rows], model[rows]) for rows in draws] for model in outputs]
assert np.allclose(found.scores.std(1), np.std(again, axis=1), rtol=0.2), (found.scores.std(1), np.std(again, axis=1))
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two tasks that an earlier version ran."""
    path = tmp_path_factory.mktemp("study")
    with tarfile.open(ROOT / "tests" / "fixtures" / "upgrade" / "4dc8b47.tar.xz") as archive:
        archive.extractall(path, filter="data")
    return path


@pytest.fixture(scope="module")
def tree(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The copy with the entry; it gathered the study before it had it."""
    tree = copy_of_tree(tmp_path_factory.mktemp("tree"))
    gather(tree, study, "grid")
    shutil.copy(study / "runs" / "gathered" / "grid" / "long.csv", study / "before.csv")
    tree.insert("empslurm/metrics.py", BEFORE, ENTRY)
    return tree


def gather(tree: Tree, study: Path, manifest: str) -> str:
    folders = ("--runs", str(study / "runs"), "--data", str(study / "data"))
    return tree.verb("gather", str(study / "manifests" / f"{manifest}.yaml"), *folders)


def table(path: Path) -> list[dict[str, Any]]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def test_older_results_stay_valid_and_get_the_new_score(tree: Tree, study: Path) -> None:
    gather(tree, study, "grid")
    before, after = table(study / "before.csv"), table(study / "runs" / "gathered" / "grid" / "long.csv")
    new = [row for row in after if row["metric"] == "balanced_accuracy"]
    assert [row for row in after if row not in new] == before
    scored = {(row["id"], row["part"]) for row in before if row["metric"] == "f1_macro"}
    assert scored
    assert {(row["id"], row["part"]) for row in new} == scored
    for row in new:
        (path,) = (study / "runs" / "cells" / row["id"]).glob(f"output*/{predictions.NAME}")
        part = predictions.read(path)[row["part"]]
        assert float(row["value"]) == pytest.approx(balanced_accuracy_score(part.gold, part.outputs.argmax(1)))


def test_a_card_names_it(tree: Tree, study: Path) -> None:
    card = study / "cards" / "mood.yaml"
    card.write_text(card.read_text() + "metric: balanced_accuracy\n")
    (study / "manifests" / "balanced.yaml").write_text(MANIFEST)
    folders = ("--runs", str(study / "own"), "--data", str(study / "data"))
    tree.verb("submit", str(study / "manifests" / "balanced.yaml"), "--profile", "local", *folders)
    (path,) = (study / "own" / "cells").glob("*/result.json")
    result = json.loads(path.read_text())
    assert result["metric"] == "balanced_accuracy"
    assert 0 < result["validation"]["balanced_accuracy"] <= 1
    best = max(result["history"], key=lambda entry: entry["balanced_accuracy"])
    assert result["best_epoch"] == best["epoch"]


def test_a_table_of_results_is_judged_by_it(tree: Tree, tmp_path: Path) -> None:
    rng, rows = np.random.default_rng(3), ["source,target,seed,metric,value"]
    gold = rng.integers(0, 3, 120)
    for source, right in (("", 0.4), ("chat", 0.9)):
        for seed in (1, 2, 3):
            predicted = np.where(rng.random(120) < right, gold, rng.integers(0, 3, 120))
            rows.append(f"{source},news,{seed},balanced_accuracy,{balanced_accuracy_score(gold, predicted)}")
            lines = (f"{index},{one},{two}" for index, (one, two) in enumerate(zip(gold, predicted, strict=True)))
            name = f"{source}--news-s{seed}" if source else f"news-s{seed}"
            (tmp_path / f"{name}.csv").write_text("\n".join(["id,gold,predicted", *lines]) + "\n")
    (tmp_path / "results.csv").write_text("\n".join(rows) + "\n")
    words = ("--results", str(tmp_path / "results.csv"), "--predictions", str(tmp_path), "--out", str(tmp_path / "out"))
    assert "balanced accuracy" in tree.verb("gather", *words) + (tmp_path / "out" / "report.html").read_text()
    (verdict,) = table(tmp_path / "out" / "verdicts.csv")
    assert verdict["verdict"] == "helps"
    assert float(verdict["paper_p"]) < 0.05


def test_it_is_resampled(tree: Tree) -> None:
    tree.python(RESAMPLED)
