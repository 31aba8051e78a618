"""What to run: a strict YAML manifest, resolved to one frozen value; every problem at once, with file, line and fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from empslurm.config import Adapter, Backbone, DataUse, Embed, Fisher, Search, SourceUse, Training
from empslurm.manifest.patterns import choose_pairs, choose_tasks, readable
from empslurm.manifest.resolve import (
    find_cards,
    find_preset,
    find_registry,
    refuse_stacks,
    resolve_adapters,
    resolve_backbone,
    resolve_data,
    resolve_embed,
    resolve_space,
    resolve_training,
)
from empslurm.manifest.schema import ManifestForm, SearchForm, SecondStage
from empslurm.tasks import Registry
from empslurm.validation import yaml_tree
from empslurm.validation.reader import Reader, json_schema


@dataclass(frozen=True, kw_only=True)
class SearchUse:
    """A search manifest's own part. `n_trials` per task: more can be added to a study."""

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
    baseline_seeds: tuple[int, ...]  # holds `seeds`; may hold more, since one baseline serves every comparison
    fractions: tuple[float, ...]  # of a target's training part, in (0, 1]
    backbone: Backbone
    adapter: Mapping[str, Adapter]  # by task id
    training: Mapping[str, Training]  # by task id
    source: SourceUse
    fisher: Fisher | None  # task embeddings of the baselines that are sources; None: not wanted
    embed: Embed | None  # dataset embeddings of the tasks; None: not wanted
    data: Mapping[str, DataUse]  # by id of the datasets that the tasks need
    cards: tuple[Path, ...]  # YAML cards of datasets beyond the built-in ones, or folders of them, absolute
    registry: Registry
    search: SearchUse | None = None  # of kind search; it has no pairs
    margin: float | None = None  # the largest difference that is as good as none, for `gather`; enters no id
    pairless: str = ""  # why there are no pairs, where some were asked for


def load_manifest(path: Path) -> Manifest:
    """Read and resolve a manifest of either kind. Raises ManifestError with all of its problems."""
    reader = Reader(str(path))
    node = yaml_tree.load(path)
    manifest = _search(reader, node, path) if _is_search(node) else _grid(reader, node, path)
    reader.finish()
    return manifest


def _is_search(node: yaml_tree.Node) -> bool:
    """Whether the file says `kind: search`."""
    entries = node.entries if isinstance(node, yaml_tree.Table) else ()
    return any(
        key == "kind" and isinstance(child, yaml_tree.Scalar) and child.value == "search" for key, _, child in entries
    )


def _grid(reader: Reader, node: yaml_tree.Node, path: Path) -> Manifest:
    given = reader.section(ManifestForm, node)
    form = ManifestForm(**{"name": "", "tasks": (), **given})
    cards = find_cards(reader, form.cards, path)
    known = find_registry(reader, cards)
    tasks = choose_tasks(reader, form.tasks, known)
    datasets = tuple(dict.fromkeys(known.dataset_of(task).id for task in tasks))
    if form.baseline_seeds is not None and not set(form.seeds) <= set(form.baseline_seeds):
        lacking = ", ".join(str(seed) for _, seed in readable(form.seeds) if seed not in form.baseline_seeds)
        reader.problem("baseline_seeds", f"hold every one of seeds, but lacks {lacking}", "add it")
    preset = find_preset(reader, form.training.get("preset"), path)
    adapters = resolve_adapters(reader, preset, form.adapter, tasks)
    pairs = choose_pairs(reader, form, tasks, known)
    refuse_stacks(reader, pairs, adapters)
    return Manifest(
        name=form.name,
        path=path,
        tasks=tasks,
        pairs=pairs,
        seeds=form.seeds,
        baseline_seeds=form.baseline_seeds or form.seeds,
        fractions=form.fractions,
        backbone=resolve_backbone(reader, form.backbone, path, "backbone"),
        adapter=adapters,
        training=resolve_training(reader, form.training, preset, tasks),
        source=form.source,
        fisher=form.fisher,
        embed=resolve_embed(reader, form.embed, path),
        data=resolve_data(reader, form.data, datasets),
        cards=cards,
        registry=known,
        margin=form.margin,
        pairless="" if pairs or form.pairs in ("none", ()) else _pairless(tasks),
    )


def _pairless(tasks: Sequence[str]) -> str:
    """Why no pair is left."""
    return f"there is one task only, {tasks[0]}" if len(tasks) == 1 else "`exclude` takes every pair away"


def _search(reader: Reader, node: yaml_tree.Node, path: Path) -> Manifest:
    given = reader.section(SearchForm, node)
    form = SearchForm(**{"name": "", "kind": "search", "tasks": (), "n_trials": 1, **given})
    cards = find_cards(reader, form.cards, path)
    known = find_registry(reader, cards)
    tasks = choose_tasks(reader, form.tasks, known)
    datasets = tuple(dict.fromkeys(known.dataset_of(task).id for task in tasks))
    search = resolve_space(reader, form)
    return Manifest(
        name=form.name,
        path=path,
        tasks=tasks,
        pairs=(),
        seeds=form.seeds,
        baseline_seeds=form.seeds,
        fractions=(1.0,),
        backbone=resolve_backbone(reader, form.backbone, path, "backbone"),
        adapter=dict.fromkeys(tasks, Adapter()),
        training=dict.fromkeys(tasks, search.training),
        source=SourceUse(),
        fisher=None,
        embed=None,
        data=resolve_data(reader, form.data, datasets),
        cards=cards,
        registry=known,
        search=SearchUse(search=search, n_trials=form.n_trials, second_stage=form.second_stage),
    )


def manifest_json_schema() -> dict[str, Any]:
    """The JSON Schema of manifests, for editors; `manifests/manifest.schema.json` is this."""
    searches = {"properties": {"kind": {"const": "search"}}, "required": ["kind"]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "empslurm manifest",
        "if": searches,
        "then": json_schema(SearchForm),
        "else": json_schema(ManifestForm),
    }
