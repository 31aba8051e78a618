"""Values of sources for a target: kept beside each other, replaced by those of other texts, never read damaged."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from empslurm.store import suitability
from empslurm.store.runs import RunsRoot
from empslurm.store.suitability import VERSION, Suitability

FIRST, SECOND = "epitome_er-s1-0123456789ab", "conv_empathy-s1-0123456789ab"
DATA = {"dataset": "news", "raw": "a", "split": "family-1-317", "use": {"context": "previous"}, "fraction": 0.5}


def values(**changes: Any) -> Suitability:
    made = Suitability(
        target="news_empathy",
        version=VERSION,
        most=250,
        n_texts=250,
        seconds=2.0,
        values={FIRST: {"log_me": 0.5, "h_score": None}},
    )
    return replace(made, **changes)


@pytest.fixture
def root(tmp_path: Path) -> RunsRoot:
    return RunsRoot(tmp_path / "runs")


def test_values_are_kept_beside_each_other_unless_other_texts_were_read(root: RunsRoot) -> None:
    assert suitability.read(root, "news_empathy-1") is None
    assert suitability.add(root, "news_empathy-1", values()) == values()
    other = values(values={SECOND: {"log_me": 0.1, "h_score": 1.0}}, seconds=1.0)
    both = suitability.add(root, "news_empathy-1", other)
    assert suitability.read(root, "news_empathy-1") == both
    assert (set(both.values), both.seconds) == ({FIRST, SECOND}, 3.0)
    more = values(most=1_000, n_texts=1_000)
    assert suitability.add(root, "news_empathy-1", more) == more
    assert suitability.read(root, "news_empathy-2") is None


def test_what_cannot_be_used_is_made_again(root: RunsRoot) -> None:
    suitability.add(root, "old", values(version=VERSION + 1))
    assert suitability.read(root, "old") is None
    for text in ("", "[]", "{}", '{"target": 3}'):
        (root.suitability / "old.json").write_text(text)
        assert suitability.read(root, "old") is None
    assert suitability.add(root, "old", values()) == values()


def test_a_reading_is_named_by_all_that_changes_the_texts() -> None:
    name = suitability.reading("news_empathy", DATA, 64, "pearson")
    assert name.startswith("news_empathy-")
    assert name == suitability.reading("news_empathy", {**DATA, "fraction": 1.0, "labels": "all"}, 64, "pearson")
    changed = [
        ({**DATA, "raw": "b"}, 64, "pearson"),
        ({**DATA, "use": {"context": "none"}}, 64, "pearson"),
        (DATA, 32, "pearson"),
        (DATA, 64, "spearman"),
    ]
    assert len({name, *(suitability.reading("news_empathy", *one) for one in changed)}) == 5
