import re
import subprocess
import sys

import pytest

from empslurm import reference
from empslurm.tasks import DATASETS, TASK_ORDER, registry
from empslurm.tasks.raw import is_pinned
from empslurm.tasks.schema import Dataset

KNOWN = registry()


def test_all_eighteen_tasks_of_nine_datasets_in_the_order_of_the_papers_tables() -> None:
    assert tuple(KNOWN.tasks) == TASK_ORDER
    assert (len(KNOWN.tasks), len(KNOWN.datasets)) == (18, 9)
    assert {task.id for dataset in DATASETS for task in dataset.tasks} == set(TASK_ORDER)
    assert tuple(row.task for row in reference.tasks()) == TASK_ORDER


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.id)
def test_a_dataset_says_what_a_person_must_know(dataset: Dataset) -> None:
    for text in (dataset.title, dataset.citation, dataset.licence, dataset.obtain, dataset.family):
        assert text.strip() == text != ""
    assert re.search(r"\(\d{4}\)|\b(19|20)\d\d\b", dataset.citation)
    assert f"DATA/{dataset.id}/" in dataset.obtain
    assert dataset.published["n_examples"] > 0
    for task in dataset.tasks:
        assert task.dataset == dataset.id
        assert KNOWN.dataset_of(task.id) is dataset
        assert task.data_source
        assert task.language_setting
        if task.kind == "classification":
            assert len(set(task.labels)) == len(task.labels) >= 2
            assert (task.low, task.high, task.metric) == (None, None, "f1_macro")
        else:
            assert task.low is not None
            assert task.high is not None
            assert task.low < task.high
            assert (task.labels, task.metric) == ((), "pearson")
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


def test_names_of_files_are_distinct_over_all_datasets() -> None:
    names = [file.name for dataset in DATASETS for form in dataset.forms for file in form.files]
    assert len(set(names)) == len(names)


def test_the_registry_is_there_without_any_heavy_import() -> None:
    heavy = "{'numpy', 'pandas', 'pyarrow', 'yaml', 'torch', 'sklearn', 'datasets'}"
    code = f"import sys, empslurm.tasks as t; t.registry(); found = {heavy} & set(sys.modules); assert not found, found"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
