from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from empslurm import files, reference
from empslurm.config import DataUse
from empslurm.errors import DataError
from empslurm.tasks import registry
from empslurm.tasks.prepare import load_task, prepare
from empslurm.tasks.raw import locate
from empslurm.tasks.sample import write_sample
from empslurm.tasks.schema import PARTS


def sums(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): files.sha256_file(path) for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample") / "data"
    write_sample(root)
    return root


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, sample: Path) -> None:
    write_sample(tmp_path / "again")
    write_sample(tmp_path / "again")  # over itself
    write_sample(tmp_path / "other", seed=2)
    assert sums(tmp_path / "again") == sums(sample)
    assert sums(tmp_path / "other") != sums(sample)


def test_nothing_of_anyones_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="must be empty for the invented corpus, but holds"):
        write_sample(tmp_path)
    written = write_sample(tmp_path / "sample")
    written[0].write_text("real data in the place of the invented")
    with pytest.raises(DataError, match="must be empty for the invented corpus"):
        write_sample(tmp_path / "sample")
    assert written[0].read_text() == "real data in the place of the invented"


def test_every_dataset_of_the_paper_can_be_prepared_and_every_task_has_examples_in_every_part(
    tmp_path: Path, sample: Path
) -> None:
    known = registry()
    n_rejects: Counter[str] = Counter()
    for name in dict.fromkeys(row.dataset for row in reference.tasks()):
        dataset = known.datasets[name]
        assert locate(dataset, sample, tmp_path).state == "sample"
        prepared = prepare(dataset, sample, tmp_path)
        assert 200 <= prepared.meta.n_examples <= 1000
        n_rejects[dataset.id] = prepared.meta.n_rejects
        for task in dataset.tasks:
            table = load_task(prepared, task, DataUse(), "all")
            assert set(table.parts) == set(PARTS)
            assert len(np.unique(table.targets)) > 1
            assert max(len(text) for text in table.texts) < 300
    assert {name for name, count in n_rejects.items() if count} >= {"epitome", "eqt", "mi", "hope"}


def test_labels_can_be_learned_from_words(tmp_path: Path, sample: Path) -> None:
    known = registry()
    for id in reference.task_ids():
        task, prepared = known.tasks[id], prepare(known.dataset_of(id), sample, tmp_path)
        table = load_task(prepared, task, DataUse(), "all")
        words = [set(text.lower().split()) for text in table.texts]
        vocabulary = sorted({word for word, n in Counter(w for row in words for w in row).items() if n >= 5})
        design = np.array([[1.0, *(word in row for word in vocabulary)] for row in words])
        train, test = table.parts == "train", table.parts != "train"
        wanted = table.targets if task.kind == "regression" else np.eye(len(task.labels))[table.targets]
        ridge = design[train].T @ design[train] + np.eye(design.shape[1])
        outputs = design[test] @ np.linalg.solve(ridge, design[train].T @ wanted[train])
        gold = table.targets[test]
        if task.kind == "regression":
            assert np.corrcoef(outputs, gold)[0, 1] > 0.5, id
        elif id != "empdial_role":  # who speaks shows in the turn's words only in part
            chance = np.bincount(table.targets).max() / len(table.targets)
            assert (outputs.argmax(1) == gold).mean() > min(0.9, chance + 0.15), id
