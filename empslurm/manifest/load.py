"""Load a manifest: strict YAML, resolved to one frozen value; all problems at once, with file, line and fix."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from empslurm.config import Adapter, Backbone, DataUse, Embed, Fisher, Search, SourceUse, Training
from empslurm.manifest.patterns import choose_pairs, choose_tasks, readable
from empslurm.manifest.presets import PRESETS, frozen_path
from empslurm.manifest.resolve import (
    find_cards,
    find_preset,
    find_registry,
    refuse_stacks,
    resolve_adapters,
    resolve_backbone,
    resolve_backbones,
    resolve_data,
    resolve_embed,
    resolve_space,
    resolve_training,
)
from empslurm.manifest.schema import ManifestFile, SearchFile, SecondStage
from empslurm.tasks import Registry
from empslurm.validation import yaml_tree
from empslurm.validation.reader import Reader, json_schema


@dataclass(frozen=True, kw_only=True)
class SearchUse:
    """What only a search manifest has. `n_trials`: per task; more can be added later."""

    search: Search
    n_trials: int
    second_stage: SecondStage | None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A manifest with every default, preset and pattern resolved."""

    name: str
    path: Path
    tasks: tuple[str, ...]  # ids, in the registry's order
    pairs: tuple[tuple[str, str], ...]  # (source, target), without repetition
    seeds: tuple[int, ...]
    baseline_seeds: tuple[int, ...]  # all of `seeds`, and maybe more: one baseline serves many comparisons
    fractions: tuple[float, ...]  # of a target's training part, in (0, 1]
    backbones: tuple[Backbone, ...]  # one or more, each once; a grid is planned on each of them, a search has one
    adapter: Mapping[str, Adapter]  # by task id
    training: Mapping[str, Training]  # by task id
    source: SourceUse
    fisher: Fisher | None  # task embeddings of the baselines that are sources; None: not wanted
    embed: Embed | None  # dataset embeddings of the tasks; None: not wanted
    data: Mapping[str, DataUse]  # by id of the datasets that the tasks need
    cards: tuple[Path, ...]  # YAML cards of datasets beyond the built-in ones, or folders of them, absolute
    registry: Registry
    search: SearchUse | None = None  # of kind search; it has no pairs
    margin: float | None = None  # the largest difference that counts as no effect, for `gather`; in no id
    pairless: str = ""  # why there are no pairs, where some were asked for
    preset: Path | None = None  # the file of the preset that it names, where that is not a built-in one


def load_manifest(path: Path) -> Manifest:
    """Read and resolve a manifest of either kind. Raises ManifestError with all of its problems."""
    reader = Reader(str(path))
    node = yaml_tree.load(path)
    manifest = _search(reader, node, path) if _is_search(node) else _grid(reader, node, path)
    reader.finish()
    return manifest


def _is_search(node: yaml_tree.Node) -> bool:
    """Whether the file says `kind: search`, or nearly so: the reader then suggests the right spelling."""
    entries = node.entries if isinstance(node, yaml_tree.Table) else ()
    kinds = [child.text for key, _, child in entries if key == "kind" and isinstance(child, yaml_tree.Scalar)]
    return any(difflib.get_close_matches(kind[:100], ("grid", "search"), n=1) == ["search"] for kind in kinds)


def _grid(reader: Reader, node: yaml_tree.Node, path: Path) -> Manifest:
    values = reader.section(ManifestFile, node)
    written = ManifestFile(**{"name": "", "tasks": (), **values})
    cards = find_cards(reader, written.cards, path)
    known = find_registry(reader, cards)
    tasks = choose_tasks(reader, written.tasks, known)
    datasets = tuple(dict.fromkeys(known.dataset_of(task).id for task in tasks))
    if written.baseline_seeds is not None and not set(written.seeds) <= set(written.baseline_seeds):
        lacking = ", ".join(str(seed) for _, seed in readable(written.seeds) if seed not in written.baseline_seeds)
        reader.problem("baseline_seeds", f"hold every one of seeds, but lacks {lacking}", f"add {lacking}")
    named = written.training.get("preset")
    preset = find_preset(reader, named, path)
    adapters = resolve_adapters(reader, preset, written.adapter, tasks)
    pairs = choose_pairs(reader, written, tasks, known)
    refuse_stacks(reader, pairs, adapters)
    return Manifest(
        name=written.name,
        path=path,
        tasks=tasks,
        pairs=pairs,
        seeds=written.seeds,
        baseline_seeds=written.baseline_seeds or written.seeds,
        fractions=written.fractions,
        backbones=resolve_backbones(reader, written.backbone, path),
        adapter=adapters,
        training=resolve_training(reader, written.training, preset, tasks),
        source=written.source,
        fisher=written.fisher,
        embed=resolve_embed(reader, written.embed, path),
        data=resolve_data(reader, written.data, datasets),
        cards=cards,
        registry=known,
        margin=written.margin,
        pairless="" if pairs or written.pairs in ("none", ()) else _pairless(tasks),
        preset=frozen_path(path, named) if named is not None and named not in PRESETS else None,
    )


def _pairless(tasks: Sequence[str]) -> str:
    """Why no pair is left."""
    return f"there is only one task, {tasks[0]}" if len(tasks) == 1 else "`exclude` leaves no pair"


def _search(reader: Reader, node: yaml_tree.Node, path: Path) -> Manifest:
    values = reader.section(SearchFile, _with_one_backbone(reader, node))
    written = SearchFile(**{"name": "", "kind": "search", "tasks": (), "n_trials": 1, **values})
    cards = find_cards(reader, written.cards, path)
    known = find_registry(reader, cards)
    tasks = choose_tasks(reader, written.tasks, known)
    datasets = tuple(dict.fromkeys(known.dataset_of(task).id for task in tasks))
    search = resolve_space(reader, written)
    return Manifest(
        name=written.name,
        path=path,
        tasks=tasks,
        pairs=(),
        seeds=written.seeds,
        baseline_seeds=written.seeds,
        fractions=(1.0,),
        backbones=(resolve_backbone(reader, written.backbone, path, "backbone"),),
        adapter=dict.fromkeys(tasks, Adapter()),
        training=dict.fromkeys(tasks, search.training),
        source=SourceUse(),
        fisher=None,
        embed=None,
        data=resolve_data(reader, written.data, datasets),
        cards=cards,
        registry=known,
        search=SearchUse(search=search, n_trials=written.n_trials, second_stage=written.second_stage),
    )


def _with_one_backbone(reader: Reader, node: yaml_tree.Node) -> yaml_tree.Node:
    """The file without a list of backbones, which is noted."""
    if not isinstance(node, yaml_tree.Table):
        return node
    lists = [entry for entry in node.entries if entry[0] == "backbone" and isinstance(entry[2], yaml_tree.Items)]
    for _, line, _ in lists:
        must, fix = "be one backbone in a search, but is a list", "name one, and write a search for each of the others"
        reader.problem("backbone", must, fix, line=line)
    return replace(node, entries=tuple(entry for entry in node.entries if entry not in lists))


def manifest_json_schema() -> dict[str, Any]:
    """The JSON Schema of manifests, for editors; `manifests/manifest.schema.json` is this."""
    searches = {"properties": {"kind": {"const": "search"}}, "required": ["kind"]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "empslurm manifest",
        "if": searches,
        "then": json_schema(SearchFile),
        "else": json_schema(ManifestFile),
    }
