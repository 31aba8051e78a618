import random

import numpy as np
import pytest

from empslurm.tasks import near_duplicates
from empslurm.tasks.near_duplicates import THRESHOLD, neighbours, normalise, shingle

WORDS = (
    "kite",
    "lamp",
    "fence",
    "boat",
    "clock",
    "gate",
    "hat",
    "river",
    "stone",
    "apple",
    "window",
    "garden",
    "paper",
)


def similarity(one: str, two: str) -> float:
    first, second = ({text[place : place + 5] for place in range(max(1, len(text) - 4))} for text in (one, two))
    return len(first & second) / len(first | second)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("That's GREAT!!", "thats great"),
        ("  a\tb\n c ", "a b c"),
        ("?!", "?!"),
        ("under_score", "underscore"),
        ("ﬁne", "fine"),  # a ligature
        ("", ""),
    ],
)
def test_normalised(text: str, plain: str) -> None:
    assert normalise(text) == plain


def test_every_close_pair_is_found_and_no_other() -> None:
    rng = random.Random(1)
    texts = {" ".join(rng.choices(WORDS, k=rng.randint(1, 30))) for _ in range(150)}
    for text in sorted(texts):
        words = text.split()
        words[rng.randrange(len(words))] = rng.choice(WORDS)
        texts |= {" ".join(words), text + "s"}
    given = sorted(texts)
    found = neighbours(given)
    expected = np.zeros((len(given), len(given)), bool)
    for row, one in enumerate(given):
        expected[row] = [similarity(one, two) >= THRESHOLD for two in given]
    made = np.zeros_like(expected)
    for row in range(len(given)):
        made[row, found.of(row)] = True
    assert expected.sum() > len(given) + 200
    assert (made & ~expected).sum() == 0
    assert (expected & ~made).sum() <= 0.01 * expected.sum()
    some = np.asarray([3, 50, 51], np.int32)
    assert found.of_all(some).tolist() == np.flatnonzero(made[some].any(0)).tolist()


def test_short_texts_and_none() -> None:
    found = neighbours(["", "a", "ab", "the kite fell"])
    assert [found.of(place).tolist() for place in range(4)] == [[0], [1], [2], [3]]
    assert neighbours([]).others.size == 0


def test_a_bucket_of_many_is_compared_with_neighbours_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "MAX_BUCKET", 10)
    pairs = near_duplicates._candidates(np.zeros((50, near_duplicates.N_BANDS * near_duplicates.N_ROWS), np.uint32))
    assert pairs.tolist() == [[place, place + 1] for place in range(49)]


def test_shingles_are_of_the_text_alone() -> None:
    assert shingle("the kite").tolist() == shingle("the kite").tolist()
    assert len(shingle("the kite")) == 4
    assert len(shingle("aaaaaaaaaa")) == 1
    assert len(shingle("\ud800\udfff x")) == 1  # half of a surrogate pair is no reason to stop
