import re
import subprocess
import sys
from dataclasses import replace

import pytest

from empslurm import reference
from empslurm.tasks import registry
from empslurm.tasks.datasets import DATASETS
from empslurm.tasks.raw import is_pinned
from empslurm.tasks.schema import Dataset
from empslurm.validation.constraints import Kind

KNOWN = registry()


def test_the_papers_tasks_come_first_in_its_order_and_then_the_others_as_declared() -> None:
    of_paper = reference.task_ids()
    declared = [task.id for dataset in DATASETS for task in dataset.tasks]
    assert (len(of_paper), len({row.dataset for row in reference.tasks()})) == (18, 9)
    assert tuple(KNOWN.tasks)[:18] == of_paper
    assert list(KNOWN.tasks)[18:] == [id for id in declared if id not in of_paper]
    assert tuple(KNOWN.datasets) == tuple(dataset.id for dataset in DATASETS)


def test_what_the_paper_prints_of_its_datasets_is_said_of_them_alone() -> None:
    sizes = {row.dataset: (row.n_samples, row.n_vocabulary, row.n_tokens) for row in reference.dataset_sizes()}
    assert {dataset.id: tuple(dataset.published.values()) for dataset in DATASETS if dataset.published} == sizes


def test_the_papers_tasks_have_its_metrics() -> None:
    metrics = {KNOWN.tasks[id].metric for id in reference.task_ids()}
    assert metrics == {"f1_macro", "pearson"}
    assert all(KNOWN.tasks[id].own_metric is None for id in reference.task_ids())


def test_ids_are_taken_once() -> None:
    """A plan would silently hold one of the two."""
    ids = [id for dataset in DATASETS for id in {dataset.id, *(task.id for task in dataset.tasks)}]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.id)
def test_a_dataset_says_what_a_person_must_know(dataset: Dataset) -> None:
    for text in (dataset.title, dataset.citation, dataset.licence, dataset.obtain, dataset.family):
        assert text.strip() == text != ""
    assert re.search(r"\(\d{4}\)|\b(19|20)\d\d\b", dataset.citation)
    assert f"DATA/{dataset.id}/" in dataset.obtain
    for task in dataset.tasks:
        assert task.dataset == dataset.id
        assert KNOWN.dataset_of(task.id) is dataset
        assert task.data_source
        assert task.language_setting
        if task.kind == "classification":
            assert len(set(task.labels)) == len(task.labels) >= 2
            assert (task.low, task.high) == (None, None)
        else:
            assert task.low is not None
            assert task.high is not None
            assert task.low < task.high
            assert task.labels == ()
    for form in dataset.forms:
        for file in form.files:
            assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
            assert file.url is None or re.fullmatch(
                r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/[0-9a-f]{40}/\S+", file.url
            )
        assert is_pinned(form) == (form.n_examples is not None)
        assert set(form.recorded) == ({task.id for task in dataset.tasks} if is_pinned(form) else set())
        for task in dataset.tasks:
            if task.kind == "classification" and task.id in form.recorded:
                assert len(form.recorded[task.id]) == len(task.labels)


BAD_METRICS: list[tuple[Kind, str]] = [("regression", "mae"), ("regression", "f1_macro"), ("classification", "x")]


@pytest.mark.parametrize(("kind", "metric"), BAD_METRICS)
def test_a_task_whose_metric_cannot_choose_its_best_epoch_is_refused(kind: Kind, metric: str) -> None:
    known = DATASETS[0].tasks[0]
    with pytest.raises(ValueError, match=rf"'s metric must rise .*, but is {metric}; for a {kind} take one of \w+"):
        replace(known, kind=kind, own_metric=metric)


def test_names_of_files_are_distinct_over_all_datasets() -> None:
    names = [file.name for dataset in DATASETS for form in dataset.forms for file in form.files]
    assert len(set(names)) == len(names)


def test_the_registry_is_there_without_any_heavy_import() -> None:
    heavy = "{'numpy', 'pandas', 'pyarrow', 'yaml', 'torch', 'sklearn', 'datasets'}"
    code = f"import sys, empslurm.tasks as t; t.registry(); found = {heavy} & set(sys.modules); assert not found, found"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
