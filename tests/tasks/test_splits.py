from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from empslurm.tasks import registry
from empslurm.tasks.schema import PARTS, Example, Part, Shares
from empslurm.tasks.splits import (
    SALTS,
    balance_columns,
    best_salt,
    ends_of,
    imbalance,
    leaks,
    official_parts,
    paper_parts,
    part_of,
    split_name,
    train_subset,
)

KNOWN = registry().datasets


def test_a_part_is_a_function_of_group_and_salt_alone() -> None:
    # Golden: these move only with SPLIT_VERSION, and every cell's identity with them.
    groups = ("hit:0_conv:1", "hit:1_conv:2", "hit:2_conv:4", "hit:2_conv:5", "hit:3_conv:6", "hit:3_conv:7")
    assert "".join(part_of(group, SALTS["dialogue"])[0] for group in groups) == "tttttt"
    assert "".join(part_of(str(article), SALTS["wassa"])[0] for article in range(1, 21)) == "tttttttvtttttttttttt"


def test_proportions() -> None:
    counts = Counter(part_of(str(group), 0) for group in range(20_000))
    assert [counts[part] / 20_000 for part in PARTS] == pytest.approx([0.8, 0.1, 0.1], abs=0.01)


def test_datasets_of_a_family_share_salt_and_so_groups() -> None:
    families = {name: KNOWN[name].family for name in ("empdial", "empdial_ei", "eqt", "conv", "news")}
    assert families == {
        "empdial": "dialogue",
        "empdial_ei": "dialogue",
        "eqt": "dialogue",
        "conv": "wassa",
        "news": "wassa",
    }
    assert len({split_name(KNOWN[name], "family") for name in ("empdial", "empdial_ei", "eqt")}) == 1
    assert {dataset.family for dataset in KNOWN.values()} <= set(SALTS)


def test_the_papers_splits_ignore_groups_and_leak() -> None:
    ids = [f"row{number}" for number in range(1000)]
    ei, other = (paper_parts(KNOWN["empdial"], task, ids) for task in ("empdial_emo", "empdial_role"))
    assert Counter(ei) == {("train",): 800, ("validation",): 100, ("test",): 100}
    assert ei != other
    news = paper_parts(KNOWN["news"], "news_empathy", ids)
    assert [sum(part in parts for parts in news) for part in PARTS] == [800, 1000, 900]
    assert news[0] == ("train", "validation", "test")
    assert "nested slices" in leaks(KNOWN["news"], "paper")
    assert "dialogue group" in leaks(KNOWN["eqt"], "paper")
    assert leaks(KNOWN["hope"], "paper") == ""
    assert not any(leaks(dataset, "family") for dataset in KNOWN.values())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_half_of_a_seed_is_in_its_whole_in_the_same_order(seed: int) -> None:
    ids = [f"row{number}" for number in range(101)]
    whole, half, tenth = (train_subset(ids, fraction, seed) for fraction in (1.0, 0.5, 0.1))
    assert (len(whole), len(half), len(tenth)) == (101, 50, 10)
    assert whole[:50] == half
    assert half[:10] == tenth
    assert set(whole) == set(ids)
    assert train_subset(ids[::-1], 0.5, seed) == half
    assert train_subset(ids, 0.5, seed + 1) != half


def test_a_subset_is_never_empty_but_of_nothing() -> None:
    assert len(train_subset(["a", "b"], 0.01, 1)) == 1
    assert train_subset([], 0.5, 1) == ()


def test_balance_columns() -> None:
    labels, ratings = np.array([0, 2, 2, 0]), np.array([1.0, 2.0, 3.0, 4.0])
    columns = balance_columns([labels, ratings], 4)
    assert columns.T.tolist() == [[1, 1, 1, 1], [1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1]]


def test_imbalance_is_the_worst_gap_in_units_of_chance() -> None:
    parts = np.array([0] * 90 + [1] * 5 + [2] * 5)
    # 90 where 80 are wanted: 10 / sqrt(80); 5 where 10 are wanted: 5 / sqrt(10), which is worse.
    assert imbalance(parts, np.ones((100, 1))) == pytest.approx(5 / np.sqrt(10))
    even = np.array([0] * 80 + [1] * 10 + [2] * 10)
    assert imbalance(even, np.ones((100, 1))) == 0


def test_the_best_salt_beats_the_others_on_all_datasets_at_once() -> None:
    rng = np.random.default_rng(1)
    groups = [[f"g{place}" for place in rng.integers(0, 60, n)] for n in (300, 500)]
    columns = [balance_columns([rng.integers(0, 3, len(names))], len(names)) for names in groups]

    def worst(salt: int) -> float:
        parts = [np.array([PARTS.index(part_of(name, salt)) for name in names]) for names in groups]
        return max(imbalance(place, column) for place, column in zip(parts, columns, strict=True))

    salt, value = best_salt(groups, columns, 40)
    assert value == pytest.approx(worst(salt)) == pytest.approx(min(worst(other) for other in range(40)))


def test_ungrouped_datasets_do_not_leak() -> None:
    assert leaks(replace(KNOWN["epitome"], grouped=False), "paper") == ""


def test_shares_are_part_of_the_splits_name_only_where_they_are_given() -> None:
    hope = KNOWN["hope"]
    assert split_name(hope, "family") == "family-1-0"
    wide = replace(hope, shares=Shares(validation=0.05, test=0.25))
    assert split_name(wide, "family") == "family-1-0-0.05-0.25"
    assert ends_of(hope) == (0.8, 0.9)
    assert ends_of(wide) == pytest.approx((0.7, 0.75))
    ids = [f"row{number}" for number in range(1000)]
    assert Counter(paper_parts(wide, "hope", ids)) == {("train",): 700, ("validation",): 50, ("test",): 250}


def test_official_parts_are_kept_and_a_ninth_of_train_is_drawn_where_none_is_validation() -> None:
    def example(number: int, part: Part) -> Example:
        group = f"g{number // 2}"
        return Example(id=f"{part}-{number}", group=group, context=(), text="kite", labels={}, part=part)

    rows = [example(number, "train") for number in range(1800)] + [example(number, "test") for number in range(100)]
    parts = official_parts(rows, 0)
    assert parts[1800:] == ["test"] * 100
    assert Counter(parts[:1800])["validation"] == pytest.approx(200, abs=50)
    assert len({(row.group, part) for row, part in zip(rows[:1800], parts, strict=False)}) == 900
    given = [*rows, example(0, "validation")]
    assert official_parts(given, 0) == [row.part for row in given]
    hope = replace(KNOWN["hope"], official=("train", "test"))
    assert {split_name(hope, "family"), split_name(hope, "paper")} == {"official-1-0"}
    assert leaks(replace(hope, grouped=True), "paper") == ""
