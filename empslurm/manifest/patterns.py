"""Resolve the ids and patterns of a manifest: tasks, pairs, and the fields for each name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import permutations, product
from typing import Any

from empslurm.manifest.schema import ManifestFile, Product
from empslurm.tasks import Registry
from empslurm.validation.reader import FAILED, Reader, shown, unknown


def readable(items: Iterable[Any]) -> Iterable[tuple[int, Any]]:
    """Index and item of those that could be read."""
    return ((index, item) for index, item in enumerate(items) if item is not FAILED)


def _matches(text: str, names: Iterable[str]) -> tuple[str, ...]:
    """The names that an id, a pattern or `all` matches."""
    return tuple(name for name in names if text == "all" or fnmatchcase(name, text))


def is_pattern(text: str) -> bool:
    """Whether a text may match several names."""
    return text == "all" or "*" in text or "?" in text


def select_names(reader: Reader, where: str, text: str, among: Collection[str], what: str) -> tuple[str, ...]:
    """The names that a text matches; a text that matches none is noted."""
    matching = _matches(text, among)
    if not matching and is_pattern(text):
        reader.problem(where, f"match a {what}, but {shown(text)} matches none", f"known: {', '.join(among) or 'none'}")
    elif not matching:
        reader.problem(where, *unknown(text, among, what))
    return matching


def choose_tasks(reader: Reader, patterns: str | Sequence[str], known: Registry) -> tuple[str, ...]:
    """Task ids in the registry's order."""
    if isinstance(patterns, str):
        chosen = set(select_names(reader, "tasks", patterns, known.tasks, "task"))
    else:
        named = [
            select_names(reader, f"tasks[{index}]", text, known.tasks, "task") for index, text in readable(patterns)
        ]
        chosen = {task for names in named for task in names}
    return tuple(task for task in known.tasks if task in chosen)


def choose_pairs(
    reader: Reader, written: ManifestFile, tasks: tuple[str, ...], known: Registry
) -> tuple[tuple[str, str], ...]:
    """(source, target) in the order of the tasks, without the excluded pairs."""
    every = tuple(permutations(tasks, 2))
    if not tasks or written.pairs in ("none", ()):
        return ()
    select = _pair_selector(reader, tasks, known)
    chosen = set(every)
    if not isinstance(written.pairs, str):
        chosen = {pair for index, item in readable(written.pairs) for pair in select(f"pairs[{index}]", item)}
    without: set[tuple[str, str]] = set()
    for index, item in readable(written.exclude):
        taken = set(select(f"exclude[{index}]", item))
        if taken and not taken & chosen:
            reader.problem(f"exclude[{index}]", "name a pair that `pairs` has, but names none", "remove it")
        without |= taken
    return tuple(pair for pair in every if pair in chosen and pair not in without)


def _pair_selector(
    reader: Reader, tasks: tuple[str, ...], known: Registry
) -> Callable[[str, str | Product], list[tuple[str, str]]]:
    """A function from an item of `pairs` or `exclude`, and where it is, to the pairs that it names."""

    def side(where: str, text: str) -> tuple[str, ...]:
        if text in known.tasks and text not in tasks:
            reader.problem(where, f"name tasks of this manifest, but {text} is not among them", f"add {text} to tasks")
            return ()
        return select_names(reader, where, text, tasks, "task")

    def sides(where: str, value: str | tuple[str, ...]) -> list[str]:
        if isinstance(value, str):
            return list(side(where, value))
        return [task for index, text in readable(value) for task in side(f"{where}[{index}]", text)]

    def select(where: str, item: str | Product) -> list[tuple[str, str]]:
        if isinstance(item, str):
            first, second = item.split("->")
            sources, targets = sides(where, first.strip()), sides(where, second.strip())
        else:
            sources, targets = sides(f"{where}.source", item.source), sides(f"{where}.target", item.target)
        pairs = [(source, target) for source, target in product(sources, targets) if source != target]
        if sources and targets and not pairs:
            reader.problem(
                where, "pair two different tasks, but pairs one with itself", "name another source or target"
            )
        return pairs

    return select


def lay_over(
    reader: Reader, where: str, by_pattern: Mapping[str, Mapping[str, Any]], names: tuple[str, ...], what: str
) -> dict[str, dict[str, Any]]:
    """Name -> fields of the patterns that match it, in the file's order; those of its own id come last and win."""
    layers: dict[str, dict[str, Any]] = {name: {} for name in names}
    for text in sorted(by_pattern, key=lambda text: not is_pattern(text)):
        for name in select_names(reader, f"{where}.{shown(text)}", text, names, what) if names else ():
            layers[name] |= by_pattern[text]
    return layers
