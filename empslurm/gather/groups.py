"""Which cells may be in one table: those that differ in nothing but source, target, seed and data fraction."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

from empslurm import ids
from empslurm.cells import KINDS, SCORED
from empslurm.config import Backbone

BY_TASK = ("epochs", "batch_size", "lr")  # what the preset `paper` sets task by task (Table 4)


@cache
def _parsed(setting: str) -> Mapping[str, Any]:
    value: Mapping[str, Any] = json.loads(setting)
    return value


@dataclass(frozen=True, kw_only=True)
class Place:
    """One cell's place in a grid, and everything else that its score depends on."""

    id: str
    kind: str
    source: str | None
    target: str
    seed: int
    fraction: float
    parent: str | None
    setting: str  # canonical JSON

    @property
    def parts(self) -> Mapping[str, Any]:
        """The setting, parsed."""
        return _parsed(self.setting)

    @property
    def model(self) -> Model | None:
        """The backbone that it depends on; None of a dataset embedding, which depends on none."""
        if KINDS[self.kind].reads == "encoder":
            return None
        return Backbone(**self.parts["backbone"]), str(self.parts["backbone_digest"])


Model = tuple[Backbone, str]  # a backbone and the digest of its files
Key = Callable[[Place], object]


def _training(cell: Place) -> object:
    return sorted((name, value) for name, value in cell.parts["training"].items() if name not in BY_TASK)


# From coarse to fine; a finer key is used only where a coarser one leaves two cells for one place.
KEYS: tuple[Key, ...] = (
    lambda cell: {name: cell.parts.get(name) for name in ("backbone", "backbone_digest", "adapter", "recipe")},
    _training,
    lambda cell: cell.parts["data"]["use"],
    lambda cell: cell.parts["training"],
    lambda cell: (cell.parts["training"], cell.parts["data"]["raw"], cell.parts["data"]["split"]),
)


def groups(places: Sequence[Place]) -> tuple[tuple[Place, ...], ...]:
    """The fewest groups in which no target has two settings and no place two cells; a baseline may be in several.

    Transfers that use their sources in different ways are in separate groups, each with the baselines that they share.
    Embeddings are in the groups whose adapters or data they describe.
    """
    trained = [cell for cell in places if cell.kind in SCORED]
    settled = [group for start in _split(trained, KEYS[0]) for group in _settle(start, KEYS[1:])]
    parts = [part for group in settled for part in _by_source_use(group)]
    embeddings = [cell for cell in places if cell.kind not in SCORED]
    return tuple((*group, *(cell for cell in embeddings if _describes(cell, group))) for group in parts)


def by_backbone(places: Sequence[Place]) -> dict[Model, tuple[Place, ...]]:
    """The cells of each backbone, with the dataset embeddings, which all of them share."""
    shared = [cell for cell in places if cell.model is None]
    own: dict[Model, list[Place]] = {}
    for cell in places:
        if cell.model is not None:
            own.setdefault(cell.model, []).append(cell)
    return {model: (*cells, *shared) for model, cells in own.items()}


def models_of(groups: Sequence[Sequence[Place]]) -> tuple[Model, ...]:
    """The backbone of each group, where the groups are one grid on several backbones; else empty.

    Groups are that if each has a backbone of its own, every two have a cell in common but for the backbone, and no
    cells of one kind, target and labels differ in anything else. One model in two folders is one backbone: its digest
    tells.
    """
    models = [{cell.model for cell in group if cell.model is not None} for group in groups]
    digests = {digest for own in models for _, digest in own}
    if len(groups) < 2 or any(len(own) != 1 for own in models) or len(digests) != len(groups):
        return ()
    settings = [_but_for_backbone(group) for group in groups]
    for first, second in combinations(settings, 2):
        both = first.keys() & second.keys()
        if not both or any(first[key] != second[key] for key in both):
            return ()
    return tuple(model for own in models for model in own if model is not None)


def _but_for_backbone(group: Sequence[Place]) -> dict[tuple[str, str, str], set[str]]:
    """(kind, target, labels) -> the settings of its trained cells, without the backbone."""
    settings: dict[tuple[str, str, str], set[str]] = {}
    for cell in group:
        if cell.kind in SCORED:
            rest = {name: value for name, value in cell.parts.items() if not name.startswith("backbone")}
            key = (cell.kind, cell.target, str(cell.parts["data"]["labels"]))
            settings.setdefault(key, set()).add(ids.canonical_json(rest))
    return settings


def _describes(embedding: Place, group: Sequence[Place]) -> bool:
    """Whether an embedding describes a baseline of the group, or the data of one of its targets."""
    if embedding.parent is not None:
        return any(cell.id == embedding.parent for cell in group)
    data = embedding.parts["data"]
    return any(cell.target == embedding.target and cell.parts["data"]["raw"] == data["raw"] for cell in group)


def _split(places: Sequence[Place], key: Key) -> list[tuple[Place, ...]]:
    by_key: dict[str, list[Place]] = {}
    memo: dict[str, str] = {}
    for cell in places:
        if cell.setting not in memo:
            memo[cell.setting] = ids.canonical_json(key(cell))
        by_key.setdefault(memo[cell.setting], []).append(cell)
    return [tuple(members) for members in by_key.values()]


def _settle(places: tuple[Place, ...], keys: Sequence[Key]) -> list[tuple[Place, ...]]:
    if not keys or not _mixed(places):
        return [places]
    return [group for part in _split(places, keys[0]) for group in _settle(part, keys[1:])]


def _mixed(places: Sequence[Place]) -> bool:
    """Whether some target has cells of two settings (the use of a source is checked later)."""
    seen: dict[str, str] = {}
    memo: dict[str, str] = {}
    for cell in places:
        if cell.setting not in memo:
            data = {name: value for name, value in cell.parts["data"].items() if name != "labels"}
            memo[cell.setting] = ids.canonical_json([data, cell.parts["training"]])
        if seen.setdefault(cell.target, memo[cell.setting]) != memo[cell.setting]:
            return True
    return False


def _by_source_use(places: tuple[Place, ...]) -> list[tuple[Place, ...]]:
    """Separate groups by how sources are used, and where a source was trained in several ways, by these ways."""
    rest = tuple(cell for cell in places if cell.kind != "transfer")
    transfers = [cell for cell in places if cell.kind == "transfer"]
    if not transfers:
        return [places]
    layers = []
    for part in _split(transfers, lambda cell: cell.parts.get("source_use")):
        layers += [(*rest, *layer) for layer in _layers(part, {cell.id: cell.setting for cell in rest})]
    return layers


def _layers(transfers: Sequence[Place], settings: Mapping[str, str]) -> list[tuple[Place, ...]]:
    """One layer where every source was trained in one way; else layer n has the n-th way of each source."""
    ways: dict[str | None, set[str]] = {}
    for cell in transfers:
        ways.setdefault(cell.source, set()).add(settings.get(cell.parent or "", ""))
    layers: dict[int, list[Place]] = {}
    for cell in transfers:
        way = sorted(ways[cell.source]).index(settings.get(cell.parent or "", ""))
        layers.setdefault(way, []).append(cell)
    return [tuple(layers[way]) for way in sorted(layers)]


def describe(places: Sequence[Place]) -> dict[str, Any]:
    """What a group's cells have in common, for captions and folder names."""
    settings = [_parsed(text) for text in dict.fromkeys(cell.setting for cell in places if cell.kind in SCORED)]
    settings = settings or [_parsed(places[0].setting)]
    first, training = settings[0], [parts["training"] or {} for parts in settings]
    use = next((parts["source_use"] for parts in settings if parts.get("source_use")), None)
    raw = sorted({f"{parts['data']['use']['context']}/{parts['data']['use']['splits']}" for parts in settings})
    same = {name: value for name, value in training[0].items() if all(options[name] == value for options in training)}
    varies = sorted(set(training[0]) - set(same))
    return {
        "backbone": first["backbone"]["name"],
        "revision": first["backbone"].get("revision"),
        "adapter": first["adapter"],
        "training": same,
        "training_by_task": varies,
        "context_and_splits": raw,
        "source_use": use,
        "recipe": first["recipe"],
    }
