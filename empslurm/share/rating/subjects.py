"""Which tasks are rated, and what is known of each: never a text of its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from empslurm import api, resources
from empslurm.errors import UsageError
from empslurm.manifest.patterns import is_pattern
from empslurm.tasks import Registry, registry
from empslurm.tasks.schema import Task
from empslurm.validation.reader import refusal, shown

# Column of a form -> what it is called for people, in this order.
FACTS: Mapping[str, str] = {
    "dataset": "dataset",
    "kind": "kind",
    "answers": "labels or scale",
    "data_source": "source of the texts",
    "language_setting": "setting of the texts",
    "n_examples": "examples in the dataset",
    "citation": "publication",
    "licence": "licence",
}


def chosen(words: Sequence[str], cards: Sequence[Path] = ()) -> tuple[Registry, tuple[str, ...]]:
    """All known tasks, and the ids of those that the words name, in the registry's order.

    A word is the id of a task, a pattern of ids (`epitome_*`, `all`), or a manifest, which stands for all of its tasks
    and brings its cards. An id comes before a manifest of the same name. Raises UsageError, ManifestError.
    """
    for card in cards:
        if not card.exists():
            raise UsageError(f"{card} must be a card or a folder of cards, but does not exist; give another path")
    own = registry(cards)
    manifests = {
        word: api.load_manifest(word)
        for word in words
        if word not in own.tasks and not is_pattern(word) and resources.find("manifests", word) is not None
    }
    paths = [*(card for manifest in manifests.values() for card in manifest.cards), *(card.resolve() for card in cards)]
    known = registry(list(dict.fromkeys(paths)))
    named: set[str] = set()
    for word in words:
        named.update(manifests[word].tasks if word in manifests else _matching(word, known))
    return known, tuple(task for task in known.tasks if task in named)


def _matching(word: str, known: Registry) -> list[str]:
    matching = [task for task in known.tasks if word == "all" or fnmatchcase(task, word)]
    if not matching and is_pattern(word):
        raise UsageError(
            f"{shown(word)} must match a task, but matches none; known: {', '.join(sorted(known.tasks))} (--card adds "
            "your own)"
        )
    if not matching:
        names = {*known.tasks, *resources.names("manifests")}
        raise refusal(word, names, "task, pattern of tasks or manifest (--card adds your own tasks)")
    return matching


def facts(task: str, known: Registry) -> dict[str, str]:
    """What is known of a task, by the columns of `FACTS`; "" where it is unknown."""
    found, dataset = known.tasks[task], known.dataset_of(task)
    counted = dataset.forms[0].n_examples or dataset.published.get("n_examples")
    return {
        "dataset": dataset.title,
        "kind": found.kind,
        "answers": _answers(found),
        "data_source": found.data_source,
        "language_setting": found.language_setting,
        "n_examples": str(counted or ""),
        "citation": dataset.citation,
        "licence": dataset.licence,
    }


def _answers(task: Task) -> str:
    """The labels, or the ends of the scale."""
    if task.labels:
        return ", ".join(task.labels)
    if task.low is None or task.high is None:
        return "numbers without fixed ends"
    return f"{task.low:g} to {task.high:g}"
