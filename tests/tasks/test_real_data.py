"""Counts and label shares of the real files, where these are there; their texts are never shown."""

from pathlib import Path

import numpy as np
import pytest

from empslurm import files, ids, reference
from empslurm.config import DataUse
from empslurm.tasks import registry
from empslurm.tasks.prepare import load_task, prepare, rejects
from empslurm.tasks.raw import locate
from empslurm.tasks.schema import PARTS, Dataset
from empslurm.tasks.splits import SALTS, balance_columns, best_salt

KNOWN = registry()
COUNTS = {"epitome": 3_023, "conv": 11_176, "empdial_ei": 53_414, "news": 1_000, "empdial": 82_391, "eqt": 1_500}
# Of split.json, first 12 digits: they move only with SPLIT_VERSION, a salt or the raw files
SPLITS = {
    "conv": "cc46a2528957",
    "empdial": "a5061fa444f7",
    "empdial_ei": "7ca387750200",
    "epitome": "bac9401a9c42",
    "eqt": "95a1159258d5",
    "news": "cc46a2528957",
}
# The paper's own shares of all examples; News Emotion and EmpQT here are of another selection than the paper's
AS_PUBLISHED = ("epitome_er", "epitome_ex", "epitome_ip", "empdial_ei")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def present(name: str, real_data: Path, cache: Path) -> Dataset:
    if locate(KNOWN.datasets[name], real_data, cache).state == "missing":
        pytest.skip(f"needs {name} in EMPSLURM_DATA")
    return KNOWN.datasets[name]


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str, real_data: Path, cache: Path) -> None:
    dataset = present(name, real_data, cache)
    assert locate(dataset, real_data, cache).pinned
    made = prepare(dataset, real_data, cache)
    assert made.meta.n_examples == COUNTS[name]
    split = files.read_object(made.folder / "split.json")
    assert ids.digest(split) == made.meta.split.digest
    assert made.meta.split.digest[:12] == SPLITS[name]
    assert rejects(made) == []


@pytest.mark.parametrize("task", AS_PUBLISHED)
def test_label_shares_are_the_papers(task: str, real_data: Path, cache: Path) -> None:
    dataset = present(KNOWN.tasks[task].dataset, real_data, cache)
    table = load_task(prepare(dataset, real_data, cache), KNOWN.tasks[task], DataUse(), "all")
    counts = np.bincount(table.targets, minlength=len(KNOWN.tasks[task].labels))
    shares = dict(zip(KNOWN.tasks[task].labels, 100 * counts / counts.sum(), strict=True))
    published = {row.label: row.all for row in reference.label_shares() if row.task == task}
    assert shares == pytest.approx(published, abs=0.0501)


def test_rating_means_are_the_papers(real_data: Path, cache: Path) -> None:
    dataset = present("conv", real_data, cache)
    made = prepare(dataset, real_data, cache)
    for task, mean, deviation in (
        ("conv_emopol", 1.287, 0.609),
        ("conv_emoint", 2.220, 0.822),
        ("conv_empathy", 2.086, 0.920),
    ):
        targets = load_task(made, KNOWN.tasks[task], DataUse(), "all").targets
        assert (targets.mean(), targets.std()) == pytest.approx((mean, deviation), abs=0.0006)


@pytest.mark.parametrize("name", COUNTS)
def test_parts_are_close_to_eighty_ten_ten_and_share_no_group(name: str, real_data: Path, cache: Path) -> None:
    dataset = present(name, real_data, cache)
    for task in dataset.tasks:
        table = load_task(prepare(dataset, real_data, cache), task, DataUse(), "all")
        groups = {
            part: {group for group, own in zip(table.groups, table.parts, strict=True) if own == part} for part in PARTS
        }
        assert sum(map(len, groups.values())) == len(set(table.groups))
        shares = [np.mean(table.parts == part) for part in PARTS]
        assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.01)
    if name == "news":
        assert [int(1000 * share) for share in shares] == [800, 100, 100]


def test_the_salt_of_the_articles_is_what_the_search_finds(real_data: Path, cache: Path) -> None:
    """Part of the smallest of the three searches, since all 20,000 salts take five seconds."""
    groups, columns = [], []
    for name in ("conv", "news"):
        table = prepare(present(name, real_data, cache), real_data, cache).table
        groups.append(table["group"].to_pylist())
        targets = [table[task.id].to_numpy() for task in KNOWN.datasets[name].tasks]
        columns.append(balance_columns(targets, table.num_rows))
    best, worst_gap = best_salt(groups, columns, 300)
    assert best != SALTS["wassa"]
    chosen = best_salt(groups, columns, SALTS["wassa"] + 1, first=SALTS["wassa"])
    salt, gap = chosen
    assert salt == SALTS["wassa"]
    assert gap == pytest.approx(1.892, abs=0.001)
    assert gap < worst_gap
