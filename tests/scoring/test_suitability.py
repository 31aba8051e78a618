"""Sources judged by what their adapters make of a target's training texts, and of nothing else."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import empslurm
from empslurm.analysis.transferability import ESTIMATORS, h_score, log_me, one_hot
from empslurm.cells import Baseline
from empslurm.scoring import selection, suitability
from empslurm.scoring.bank import Bank
from empslurm.scoring.selection import Chosen
from empslurm.store.runs import RunsRoot
from empslurm.tasks.prepare import prepare
from empslurm.train.data import task_data
from empslurm.train.data.task_data import TaskData
from empslurm.train.data.tokenizer import load_tokenizer
from tests.project import Project

TARGETS = {"epitome_er": "f1_macro", "news_empathy": "pearson"}


@pytest.fixture(scope="module")
def sources(root: RunsRoot, trained: Project) -> Chosen:
    plan = empslurm.planned(trained.path / "manifests" / "small.yaml", runs=root.path, data=trained.path / "data")
    return selection.of_plan(plan, root)


@pytest.fixture(scope="module")
def bank(sources: Chosen) -> Bank:
    import torch

    return Bank(sources.members, torch.device("cpu"))


@pytest.fixture(scope="module")
def targets(root: RunsRoot, trained: Project) -> dict[str, TaskData]:
    plan = empslurm.planned(trained.path / "manifests" / "small.yaml", runs=root.path, data=trained.path / "data")
    found = {}
    for cell in plan.cells:
        if isinstance(cell, Baseline) and cell.target in TARGETS and cell.seed == 1:
            dataset = plan.manifest.registry.datasets[cell.data.dataset]
            prepared = prepare(dataset, trained.path / "data", root.prepared)
            task = plan.manifest.registry.tasks[cell.target]
            found[cell.target] = task_data.load(
                cell, task, prepared, partial(load_tokenizer, cell.backbone), root.prepared
            )
    return found


@pytest.mark.parametrize("target", TARGETS)
def test_every_source_gets_a_value_of_every_estimator(bank: Bank, targets: dict[str, TaskData], target: str) -> None:
    data, done = targets[target], list[int]()
    rows = suitability.sample(data, 40)
    values = suitability.suitability(bank, data, rows, TARGETS[target], done.append)
    assert (len(values), sum(done)) == (len(bank.members), len(bank.members) * len(rows))
    for name in ESTIMATORS:
        own = [value[name] for value in values]
        assert np.isfinite(own).all(), name
        assert len(np.unique(own)) > 1 or name == "ridge_probe", name  # which may always answer the commonest class

    # The values are those of the estimators on what one adapter alone reads.
    features = bank.represent(data.tokens, rows)[2].astype(np.float64)
    answers = data.table.targets[rows]
    if target == "epitome_er":
        classes = answers.astype(np.int64)
        assert values[2]["h_score"] == pytest.approx(h_score(features, classes))
        assert values[2]["log_me"] == pytest.approx(log_me(features, one_hot(classes)))
    else:
        assert values[2]["log_me"] == pytest.approx(log_me(features, answers.astype(np.float64)[:, None]))


def test_only_the_training_part_is_read(bank: Bank, targets: dict[str, TaskData]) -> None:
    data = targets["epitome_er"]
    rows = suitability.sample(data, 1_000)
    assert rows.tolist() == data.rows["train"].tolist()
    blind = data.table.targets.copy()
    others = np.setdiff1d(np.arange(len(blind)), rows)
    blind[others] = 0
    flat = np.array(data.tokens.flat)
    for row in others:
        flat[data.tokens.starts[row] : data.tokens.starts[row + 1]] = 7
    changed = replace(data, table=replace(data.table, targets=blind), tokens=replace(data.tokens, flat=flat))
    assert suitability.suitability(bank, changed, rows, "f1_macro") == suitability.suitability(
        bank, data, rows, "f1_macro"
    )


def test_a_sample_is_drawn_by_ids_from_the_training_part(targets: dict[str, TaskData]) -> None:
    data = targets["news_empathy"]
    drawn = suitability.sample(data, 20)
    assert len(drawn) == 20
    assert set(drawn.tolist()) < set(data.rows["train"].tolist())
    assert drawn.tolist() == suitability.sample(data, 20).tolist() == sorted(drawn.tolist())
    assert set(drawn.tolist()) < set(suitability.sample(data, 30).tolist())


def test_a_class_that_the_sample_lacks_is_never_answered(targets: dict[str, TaskData]) -> None:
    data = targets["epitome_er"]
    rows = data.rows["train"]
    two = rows[data.table.targets[rows] < 2]
    answers = suitability.answers_of(data, two, "f1_macro")
    assert answers.targets.shape == (len(two), 2)
    assert answers.score(answers.targets) == 1.0
    assert answers.score(-answers.targets) < 0.5
