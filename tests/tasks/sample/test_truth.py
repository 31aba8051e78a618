import csv
import io
import re
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from empslurm.config import DataUse
from empslurm.errors import DataError
from empslurm.tasks import registry
from empslurm.tasks.prepare import load_task, prepare
from empslurm.tasks.sample import write_sample
from empslurm.tasks.sample.story import CALM, HARSH, KIND, N_THINGS, WILD, Story
from empslurm.tasks.sample.truth import (
    ASKS,
    COLUMNS,
    EFFECTS,
    RELATIONS,
    TABLE,
    WORDS,
    Effect,
    Found,
    Relation,
    agrees,
    compare,
    read_truth,
)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("truth") / "data"
    write_sample(root, seed=3)
    return root


def test_what_is_planted_is_written_with_the_corpus_and_read_back(sample: Path) -> None:
    assert read_truth(sample) == RELATIONS
    rows = list(csv.reader(io.StringIO((sample / TABLE).read_text())))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 1 + len(RELATIONS)


def test_the_words_name_every_pair_and_every_thing_with_its_worth(sample: Path) -> None:
    words = (sample / WORDS).read_text()
    for item in RELATIONS:
        assert f"| {item.source} | {item.target} | {item.effect} |" in words
    for task, asks in ASKS.items():
        assert f"| {task} | {asks} |" in words
    for level, name in enumerate(("none", "some", "much")):
        (line,) = [line for line in words.splitlines() if line.startswith(f"| {name} | ") and line.count("|") == 3]
        told = set(line.removeprefix(f"| {name} | ").removesuffix(" |").split(", "))
        assert told == {thing for thing, worth in Story.of(3).worth.items() if worth == level}


def test_a_folder_without_a_corpus_has_no_truth(tmp_path: Path) -> None:
    assert read_truth(tmp_path) == ()


@pytest.mark.parametrize("harm", ["change", "remove"])
def test_a_truth_that_was_changed_is_refused(tmp_path: Path, harm: str) -> None:
    write_sample(tmp_path)
    table = tmp_path / TABLE
    if harm == "change":
        table.write_text(table.read_text().replace("none", "helps"))
    else:
        table.unlink()
    with pytest.raises(
        DataError, match="must be the truth that was written with the corpus, but was changed or removed"
    ):
        read_truth(tmp_path)


def test_every_effect_is_planted_between_known_tasks_of_both_kinds() -> None:
    known = registry().tasks
    assert {item.effect for item in RELATIONS} == set(EFFECTS)
    assert {item.source for item in RELATIONS} | {item.target for item in RELATIONS} == set(ASKS) <= set(known)
    assert {known[item.target].kind for item in RELATIONS if item.effect == "helps"} == {"classification", "regression"}
    assert len({(item.source, item.target) for item in RELATIONS}) == len(RELATIONS)


def test_worth_is_drawn_anew_for_each_corpus() -> None:
    stories = [Story.of(seed).worth for seed in range(20)]
    assert Story.of(7) == Story.of(7)
    for worth in stories:
        assert len(worth) == N_THINGS
        assert sorted(Counter(worth.values()).values()) == [8, 16, 16]
    shared = [thing for thing in stories[0] if thing in stories[1]]
    assert any(stories[0][thing] != stories[1][thing] for thing in shared)


@pytest.fixture(scope="module")
def told(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[list[str], list[float]]]:
    """A task's texts, with the number of each class or with each rating as a share of the scale."""
    known, cache = registry(), tmp_path_factory.mktemp("prepared")

    def of(id: str) -> tuple[list[str], list[float]]:
        task = known.tasks[id]
        table = load_task(prepare(known.dataset_of(id), sample, cache), task, DataUse(), "all")
        labels = [float(value) for value in table.targets]
        if task.low is not None and task.high is not None:
            labels = [(value - task.low) / (task.high - task.low) for value in labels]
        return list(table.texts), labels

    return of


def means(keys: Sequence[int], labels: Sequence[float]) -> dict[int, float]:
    """By key, the mean of its labels."""
    return {
        key: statistics.mean(label for one, label in zip(keys, labels, strict=True) if one == key)
        for key in sorted(set(keys))
    }


def worth_of(text: str) -> int:
    """The worth of the one thing that a text names, in the corpus of seed 3."""
    (worth,) = {level for thing, level in Story.of(3).worth.items() if thing in re.findall(r"[a-z]+", text.lower())}
    return worth


@pytest.mark.parametrize(
    ("id", "expected"),
    [
        ("epitome_er", (0, 1, 2)),  # labels 0, 1, 2
        ("hope", (1, 1, 0)),  # labels supportive, not supportive
        ("conv_empathy", (0.15, 0.5, 0.85)),
        ("condolence", (0.15, 0.5, 0.85)),
    ],
)
def test_four_tasks_ask_for_worth(told, id, expected) -> None:
    texts, labels = told(id)
    by_worth = means([worth_of(text) for text in texts], labels)
    assert tuple(by_worth.values()) == pytest.approx(expected, abs=0.06)


def test_the_harmful_source_has_the_targets_texts_and_asks_for_the_weather(told) -> None:
    def parts(texts: list[str]) -> tuple[list[int], list[int]]:
        """Of each text, the number of its weather and whether its phrase is kind; every text has both."""
        pieces = [match.groups() for text in texts if (match := re.fullmatch(r"On a (\w+) \w+: (.*)\.", text))]
        assert len(pieces) == len(texts)
        assert {day for day, _ in pieces} == {*CALM, *WILD}
        assert {phrase for _, phrase in pieces} == {*KIND, *HARSH}
        return [(CALM + WILD).index(day) for day, _ in pieces], [int(phrase in KIND) for _, phrase in pieces]

    texts, labels = told("mi_adherent")
    weather, kind = parts(texts)
    assert abs(means(kind, labels)[1] - means(kind, labels)[0]) > 0.9
    assert np.ptp(list(means(weather, labels).values())) < 0.25  # of some hundred texts each: chance
    texts, labels = told("news_emotion")
    weather, kind = parts(texts)
    assert tuple(means(weather, labels).values()) == pytest.approx(range(8), abs=0.4)
    assert abs(means(kind, labels)[1] - means(kind, labels)[0]) < 0.4


def test_verdicts_are_counted_beside_what_was_planted() -> None:
    effects: tuple[Effect, ...] = ("helps", "helps", "none", "none", "harms", "harms")
    planted = [
        Relation(source=source, target="t", effect=effect, why="")
        for source, effect in zip("abcdef", effects, strict=True)
    ]
    verdicts = dict(zip("abcde", ("helps", "inconclusive", "equivalent", "harms", "harms"), strict=True))
    found = compare(planted, {(source, "t"): verdict for source, verdict in verdicts.items()})
    assert found == (
        Found(effect="helps", n_planted=2, n_found=1),
        Found(effect="none", n_planted=2, n_found=1),
        Found(effect="harms", n_planted=1, n_found=1),  # of the other there is no verdict yet
    )


@pytest.mark.parametrize(
    ("effect", "agreeing"),
    [("helps", {"helps"}), ("harms", {"harms"}), ("none", {"equivalent", "inconclusive", "undecided"})],
)
def test_a_verdict_agrees_with_what_was_planted(effect, agreeing) -> None:
    verdicts = ("helps", "harms", "equivalent", "inconclusive", "undecided")
    assert {verdict for verdict in verdicts if agrees(effect, verdict)} == agreeing
