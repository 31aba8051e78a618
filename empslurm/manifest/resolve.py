"""Resolve the sections of a manifest to frozen values; problems are noted in the reader."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from empslurm.backbones import is_local
from empslurm.config import ADAPTER_KINDS, Adapter, Backbone, DataUse, Embed, Search, Training, stack_problem
from empslurm.errors import ManifestError
from empslurm.manifest.patterns import lay_over, readable
from empslurm.manifest.presets import FOLDER, PRESETS, Preset, frozen_path, load_preset
from empslurm.manifest.schema import EmbedSection, SearchFile
from empslurm.tasks import Registry, registry
from empslurm.validation.reader import Reader, shown, unknown

HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,95})?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
PACKAGED = ("minilm", "tiny")


def find_cards(reader: Reader, texts: Sequence[str], manifest: Path) -> tuple[Path, ...]:
    """The card files and folders of cards. Notes paths that leave the project or do not exist."""
    cards = []
    for index, text in readable(texts):
        where = f"cards[{index}]"
        path = _inside(reader, where, text, manifest)
        if path is None:
            continue
        if _is_there(path):
            cards.append(path)
        else:
            must = f"be a file or a folder of cards, but {shown(text)} is not there"
            reader.problem(where, must, f"write its path relative to {manifest.parent}, or put it there")
    return tuple(cards)


def _inside(reader: Reader, where: str, text: str, manifest: Path) -> Path | None:
    """The path of `text`, relative to the manifest's folder; it must stay in that folder's parent, the project."""
    try:
        folder = manifest.absolute().parent.resolve()
        path = (folder / text).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        reader.problem(
            where, f"be a path, but cannot be one ({type(error).__name__})", "write one relative to the manifest"
        )
        return None
    if Path(text).is_absolute() or not path.is_relative_to(folder.parent):
        must = f"stay in the project {folder.parent} (the parent of the manifest's folder), but {shown(text)} leaves it"
        reader.problem(where, must, "move the file into the project and write its path relative to the manifest")
        return None
    return path


def _is_there(path: Path) -> bool:
    try:
        return path.is_file() or path.is_dir()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


def find_registry(reader: Reader, cards: tuple[Path, ...]) -> Registry:
    """The built-in tasks and those of the cards. A wrong card raises ManifestError with all problems so far.

    Later checks would call its tasks unknown.
    """
    try:
        return registry(cards)
    except ManifestError as error:
        reader.adopt("cards", error.problems)
        reader.finish()
        raise


def resolve_backbone(reader: Reader, written: str | Backbone, manifest: Path, key: str) -> Backbone:
    """The backbone or encoder; a hub id must have its commit, a relative path must stay in the project.

    A folder outside the project needs its absolute path: its config and weights are read, and nothing in it is run.
    """
    backbone = Backbone(name=written) if isinstance(written, str) else written
    where = key if isinstance(written, str) else f"{key}.name"
    if backbone.name not in PACKAGED and not is_local(backbone.name):
        return _hub_backbone(reader, where, backbone, key)
    if backbone.revision is not None:
        must = f"be given for hub ids only, but {shown(backbone.name)} is not one"
        reader.problem(f"{key}.revision", must, "remove the revision")
    if backbone.name in PACKAGED:
        return Backbone(name=backbone.name)
    try:
        outside = Path(backbone.name).expanduser()
    except RuntimeError:  # no home of that name
        outside = Path(backbone.name)
    if outside.is_absolute():
        return Backbone(name=str(outside))
    return Backbone(name=str(_inside(reader, where, backbone.name, manifest) or backbone.name))


def resolve_backbones(
    reader: Reader, written: str | Backbone | Sequence[str | Backbone], manifest: Path
) -> tuple[Backbone, ...]:
    """The backbone or backbones of a grid, in their order; one that is named twice is noted."""
    if isinstance(written, str | Backbone):
        return (resolve_backbone(reader, written, manifest, "backbone"),)
    backbones: list[Backbone] = []
    for index, item in readable(written):
        where = f"backbone[{index}]"
        backbone = resolve_backbone(reader, item, manifest, where)
        if backbone not in backbones:
            backbones.append(backbone)
        elif item not in written[:index]:  # else it is noted as a repetition
            reader.problem(where, f"be another backbone, but {shown(backbone.name)} is there already", "remove it")
    return tuple(backbones)


def _hub_backbone(reader: Reader, where: str, backbone: Backbone, key: str) -> Backbone:
    name = backbone.name
    if not HUB_ID.fullmatch(name):
        must = f"be a hub id, minilm, tiny or a path that starts with ./ ../ or /, but is {shown(name)}"
        reader.problem(where, must, f"write {shown(f'./{name}')} for a folder, or an id such as roberta-base")
    elif backbone.revision is None:
        must = f"pin a hub id by its revision, but {shown(name)} has none"
        near = get_close_matches(name.lower(), PACKAGED, n=1)
        other = f"or {near[0]}" if near else f"or {shown(f'./{name}')} for a folder"
        reader.problem(where, must, f"write {{name: {name}, revision: <40 hex digits of the commit>}}, {other}")
    elif not COMMIT.fullmatch(backbone.revision):
        must = f"be the 40 hex digits of a commit, but is {shown(backbone.revision)}"
        reader.problem(f"{key}.revision", must, "copy it from the model's history on the hub")
    return backbone


def resolve_embed(reader: Reader, values: Mapping[str, Any] | None, manifest: Path) -> Embed | None:
    """The `embed` section with its encoder resolved."""
    if values is None:
        return None
    section = EmbedSection(**values)
    encoder = resolve_backbone(reader, section.encoder, manifest, "embed.encoder")
    return Embed(encoder=encoder, max_examples=section.max_examples)


def find_preset(reader: Reader, name: str | None, path: Path) -> Preset:
    """The preset that `training` names; an empty one where it names none, or a wrong one, which is noted."""
    nothing = Preset(training={}, adapter={})
    if name is None:
        return nothing
    if name not in PRESETS and not _is_there(frozen_path(path, name)):
        known = [*PRESETS, *(file.stem for file in (path.parent / FOLDER).glob("*.yaml"))]
        reader.problem("training.preset", *unknown(name, known, "preset"))
        return nothing
    try:
        return load_preset(path, name)
    except ManifestError as error:
        reader.adopt("training.preset", error.problems)
        return nothing


def resolve_adapters(
    reader: Reader, preset: Preset, values: Mapping[str, Any], tasks: tuple[str, ...]
) -> dict[str, Adapter]:
    """The adapter of each task. Problems of the section are noted once for each adapter of the preset."""
    adapters: dict[str, Adapter] = {}
    by_task = {task: preset.adapter.get(task, {}) for task in tasks}
    for task, base in by_task.items():
        alike = next((other for other in adapters if by_task[other] == base), None)
        adapters[task] = adapters[alike] if alike is not None else _adapter(reader, "adapter", base, values)
    return adapters


def _adapter(reader: Reader, where: str, preset: Mapping[str, Any], values: Mapping[str, Any]) -> Adapter:
    """An adapter section over a preset's; another kind drops the preset's fields. Notes fields it does not use."""
    base = preset if values.get("kind") in (None, preset.get("kind")) else {}
    fields = {**base, **values}
    kind = fields.get("kind", Adapter().kind)
    known = ADAPTER_KINDS[kind].defaults
    for name in values:
        if name != "kind" and name not in known:
            must = f"be a field that {kind} uses, but is not"
            reader.problem(f"{where}.{name}", must, f"remove it; known: {', '.join(known)}")
    return Adapter(**{name: value for name, value in fields.items() if name == "kind" or name in known})


def refuse_stacks(reader: Reader, pairs: Sequence[tuple[str, str]], adapters: Mapping[str, Adapter]) -> None:
    """Note each reason why adapters of this manifest cannot be stacked, with one pair as its example."""
    examples: dict[str, str] = {}
    for source, target in pairs:
        reason = stack_problem(adapters[source], adapters[target])
        if reason:
            examples.setdefault(reason, f"{source} -> {target}")
    for reason, pair in examples.items():
        fix = f"choose another kind ({', '.join(_stackable())}), or write `pairs: none`"
        reader.problem("adapter", f"stack, but {reason} (such as {pair})", fix)


def _stackable() -> list[str]:
    """Kinds whose adapters can be stacked on one of their own kind."""
    return [kind for kind in ADAPTER_KINDS if not stack_problem(Adapter(kind=kind), Adapter(kind=kind))]


def resolve_training(
    reader: Reader, values: Mapping[str, Any], chosen: Preset, tasks: tuple[str, ...]
) -> dict[str, Training]:
    """Training by task: defaults, under the preset, under the section's own fields, under `per_task`."""
    fields = {key: value for key, value in values.items() if key not in ("preset", "per_task")}
    preset = chosen.training
    layers = lay_over(reader, "training.per_task", values.get("per_task", {}), tasks, "task of this manifest")
    by_task = {}
    for task in tasks:
        lacking = [key for key in ("epochs", "batch_size", "lr") if key not in {**fields, **layers[task]}]
        if preset and task not in preset and lacking:
            must = f"cover every task, but has no row for {task}"
            reader.problem("training.preset", must, f"write {', '.join(lacking)} below training.per_task.{task}")
        by_task[task] = Training(**{**preset.get(task, {}), **fields, **layers[task]})
    return by_task


def resolve_data(reader: Reader, values: Mapping[str, Any], datasets: tuple[str, ...]) -> dict[str, DataUse]:
    """Data use by dataset: defaults, under the section's own fields, under `per_dataset`."""
    fields = {key: value for key, value in values.items() if key != "per_dataset"}
    what = "dataset of this manifest"
    layers = lay_over(reader, "data.per_dataset", values.get("per_dataset", {}), datasets, what)
    return {dataset: DataUse(**{**fields, **layers[dataset]}) for dataset in datasets}


def resolve_space(reader: Reader, written: SearchFile) -> Search:
    """What the trials of a search manifest draw from."""
    for name in ("lr", "batch_size"):
        if name in written.training:
            reader.problem(
                f"training.{name}", "be left to the trials, but is given", f"remove it; its range is space.{name}"
            )
        low, high = getattr(written.space, name).low, getattr(written.space, name).high
        if low > high:
            reader.problem(f"space.{name}", f"go from low to high, but {low} is above {high}", "swap them")
    adapters: list[Adapter] = []
    for index, item in readable(written.space.adapters):
        where = f"space.adapters[{index}]"
        adapter = _adapter(reader, where, {}, {"kind": item} if isinstance(item, str) else item)
        if adapter.kind in [adapter.kind for adapter in adapters]:
            reader.problem(where, f"be another kind, but {adapter.kind} is there already", "remove it")
        adapters.append(adapter)
    fields = {name: value for name, value in written.training.items() if name not in ("lr", "batch_size")}
    return Search(
        adapters=tuple(adapters),
        lr_low=written.space.lr.low,
        lr_high=written.space.lr.high,
        batch_size_low=written.space.batch_size.low,
        batch_size_high=written.space.batch_size.high,
        sampler=written.sampler,
        pruner=written.pruner,
        training=Training(**fields),
    )
