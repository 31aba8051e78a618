"""What to run: a strict YAML manifest, resolved to one frozen value; every problem at once, with file, line and fix."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import permutations, product
from pathlib import Path
from typing import Annotated, Any, Literal

from empslurm import yamlfile
from empslurm.backbones import is_local
from empslurm.config import (
    ADAPTER_DEFAULTS,
    ADAPTER_KINDS,
    ENCODER,
    Adapter,
    AdapterKind,
    Backbone,
    Count,
    DataUse,
    Embed,
    Fisher,
    PositiveShare,
    Search,
    Seed,
    SourceUse,
    Training,
    stack_problem,
)
from empslurm.errors import EmpslurmError, ManifestError
from empslurm.limits import Listed, Partial, Pattern, Range
from empslurm.presets import FOLDER, PRESETS, Preset, frozen_path, load_preset
from empslurm.presets import NAME as PRESET_NAME
from empslurm.tasks import Registry, registry
from empslurm.typed import FAILED, Reader, json_schema, shown, unknown

NAME = r"[A-Za-z0-9_*?][A-Za-z0-9_.*?-]{0,99}"
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,95})?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
PACKAGED = ("minilm", "tiny")

TaskName = Annotated[str, Pattern(regex=NAME, words="a task id, a pattern such as epitome_*, or all")]
DatasetName = Annotated[str, Pattern(regex=NAME, words="a dataset id or a pattern of ids")]
FilePath = Annotated[str, Pattern(regex=r"(?s:.{1,1000})", words="a path of at most 1000 characters")]
ArrowPair = Annotated[
    str, Pattern(regex=rf" *{NAME} +-> +{NAME} *", words="a pair such as `epitome_er -> news_empathy`")
]


@dataclass(frozen=True, kw_only=True)
class SecondStage:
    """After the trials: the best adapter types on every task, with each task's best batch size and learning rate."""

    n_types: Annotated[int, Range(low=1, high=6)] = 3  # Appendix C of the paper


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


@dataclass(frozen=True, kw_only=True)
class Product:
    """Every source with every target, a task with itself left out."""

    source: TaskName | Annotated[tuple[TaskName, ...], Listed()]
    target: TaskName | Annotated[tuple[TaskName, ...], Listed()]


@dataclass(frozen=True, kw_only=True)
class TrainingForm(Training):
    """The `training` section: fields for all tasks over a preset's, and `per_task` over both."""

    preset: PRESET_NAME | None = None  # paper: Table 4, per task. Or a search's, frozen in presets/, with its adapters
    per_task: Mapping[TaskName, Annotated[Mapping[str, Any], Partial(section=Training)]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DataForm(DataUse):
    """The `data` section: fields for all datasets, and `per_dataset` over them."""

    per_dataset: Mapping[DatasetName, Annotated[Mapping[str, Any], Partial(section=DataUse)]] = field(
        default_factory=dict
    )


@dataclass(frozen=True, kw_only=True)
class EmbedForm:
    """The `embed` section; see `config.Embed`."""

    encoder: FilePath | Backbone = ENCODER  # a sentence-transformers model; a hub id needs {name, revision}
    max_examples: Count | None = None  # of each task. null: all


@dataclass(frozen=True, kw_only=True)
class ManifestForm:
    """A manifest as it is written."""

    name: Annotated[str, Pattern(regex=r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", words="letters, digits, _ . - (at most 64)")]
    kind: Literal["grid"] = "grid"
    tasks: TaskName | Annotated[tuple[TaskName, ...], Listed()]  # ids and patterns of ids
    pairs: Literal["all_ordered", "none"] | Annotated[tuple[ArrowPair | Product, ...], Listed()] = "all_ordered"
    exclude: tuple[ArrowPair | Product, ...] = ()  # taken away from `pairs`
    seeds: Annotated[tuple[Seed, ...], Listed()] = (1,)  # of transfers, and of the baselines they start from
    baseline_seeds: Annotated[tuple[Seed, ...], Listed()] | None = None  # default: seeds. May hold more
    fractions: Annotated[tuple[PositiveShare, ...], Listed()] = (1.0,)  # of a target's training part
    backbone: FilePath | Backbone = "minilm"  # a hub id needs {name, revision}
    adapter: Annotated[Mapping[str, Any], Partial(section=Adapter)] = field(default_factory=dict)
    training: Annotated[Mapping[str, Any], Partial(section=TrainingForm)] = field(default_factory=dict)
    source: SourceUse = field(default_factory=SourceUse)
    fisher: Fisher | None = None  # `{}`: task embeddings of the baselines, with the defaults
    embed: Annotated[Mapping[str, Any], Partial(section=EmbedForm)] | None = None  # `{}`: dataset embeddings
    data: Annotated[Mapping[str, Any], Partial(section=DataForm)] = field(default_factory=dict)
    cards: Annotated[tuple[FilePath, ...], Listed(at_least=0)] = ()  # YAML cards of your own datasets, or folders


@dataclass(frozen=True, kw_only=True)
class RateRange:
    """Learning rates, drawn evenly on a logarithmic scale."""

    low: PositiveShare = 1e-6
    high: PositiveShare = 1e-3


@dataclass(frozen=True, kw_only=True)
class SizeRange:
    """Batch sizes, every whole number alike."""

    low: Count = 8
    high: Count = 64


@dataclass(frozen=True, kw_only=True)
class SpaceForm:
    """The `space` section: what trials draw from."""

    adapters: Annotated[
        tuple[AdapterKind | Annotated[Mapping[str, Any], Partial(section=Adapter)], ...], Listed(unique=False)
    ] = ADAPTER_KINDS  # kinds, or mappings with fields of a kind
    lr: RateRange = field(default_factory=RateRange)
    batch_size: SizeRange = field(default_factory=SizeRange)


@dataclass(frozen=True, kw_only=True)
class SearchForm:
    """A search manifest as it is written."""

    name: Annotated[str, Pattern(regex=r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", words="letters, digits, _ . - (at most 64)")]
    kind: Literal["search"]
    tasks: TaskName | Annotated[tuple[TaskName, ...], Listed()]  # ids and patterns of ids; one study each
    n_trials: Annotated[int, Range(low=1, high=1000)]  # of each study; raise it to add more
    seeds: Annotated[tuple[Seed, ...], Listed()] = (1,)  # the first is the trials'; all are the second stage's
    space: SpaceForm = field(default_factory=SpaceForm)
    sampler: Literal["tpe", "random"] = "tpe"  # of Optuna. random: the yardstick
    pruner: Literal["median", "none"] = "median"  # median: end a trial below the median of others at its epoch
    second_stage: SecondStage | None = field(default_factory=SecondStage)  # null: none
    backbone: FilePath | Backbone = "minilm"  # a hub id needs {name, revision}
    training: Annotated[Mapping[str, Any], Partial(section=Training)] = field(default_factory=dict)
    data: Annotated[Mapping[str, Any], Partial(section=DataForm)] = field(default_factory=dict)
    cards: Annotated[tuple[FilePath, ...], Listed(at_least=0)] = ()  # YAML cards of your own datasets


def load_manifest(path: Path) -> Manifest:
    """Read and resolve a manifest of either kind. Raises ManifestError with all of its problems."""
    reader = Reader(str(path))
    node = yamlfile.load(path)
    manifest = _search(reader, node, path) if _is_search(node) else _grid(reader, node, path)
    reader.finish()
    return manifest


def _is_search(node: yamlfile.Node) -> bool:
    """Whether the file says `kind: search`."""
    entries = node.entries if isinstance(node, yamlfile.Table) else ()
    return any(
        key == "kind" and isinstance(child, yamlfile.Scalar) and child.value == "search" for key, _, child in entries
    )


def _grid(reader: Reader, node: yamlfile.Node, path: Path) -> Manifest:
    given = reader.section(ManifestForm, node)
    form = ManifestForm(**{"name": "", "tasks": (), **given})
    cards = _cards(reader, form.cards, path)
    known = _registry(reader, cards)
    tasks = _tasks(reader, form.tasks, known)
    datasets = tuple(dict.fromkeys(known.dataset_of(task).id for task in tasks))
    if form.baseline_seeds is not None and not set(form.seeds) <= set(form.baseline_seeds):
        lacking = ", ".join(str(seed) for _, seed in _read(form.seeds) if seed not in form.baseline_seeds)
        reader.problem("baseline_seeds", f"hold every one of seeds, but lacks {lacking}", "add it")
    preset = _preset(reader, form.training.get("preset"), path)
    adapters = _adapters(reader, preset, form.adapter, tasks)
    pairs = _pairs(reader, form, tasks, known)
    _refuse_stacks(reader, pairs, adapters)
    return Manifest(
        name=form.name,
        path=path,
        tasks=tasks,
        pairs=pairs,
        seeds=form.seeds,
        baseline_seeds=form.baseline_seeds or form.seeds,
        fractions=form.fractions,
        backbone=_backbone(reader, form.backbone, path, "backbone"),
        adapter=adapters,
        training=_training(reader, form.training, preset, tasks),
        source=form.source,
        fisher=form.fisher,
        embed=_embed(reader, form.embed, path),
        data=_data(reader, form.data, datasets),
        cards=cards,
        registry=known,
    )


def _search(reader: Reader, node: yamlfile.Node, path: Path) -> Manifest:
    given = reader.section(SearchForm, node)
    form = SearchForm(**{"name": "", "kind": "search", "tasks": (), "n_trials": 1, **given})
    cards = _cards(reader, form.cards, path)
    known = _registry(reader, cards)
    tasks = _tasks(reader, form.tasks, known)
    datasets = tuple(dict.fromkeys(known.dataset_of(task).id for task in tasks))
    search = _space(reader, form)
    return Manifest(
        name=form.name,
        path=path,
        tasks=tasks,
        pairs=(),
        seeds=form.seeds,
        baseline_seeds=form.seeds,
        fractions=(1.0,),
        backbone=_backbone(reader, form.backbone, path, "backbone"),
        adapter=dict.fromkeys(tasks, Adapter()),
        training=dict.fromkeys(tasks, search.training),
        source=SourceUse(),
        fisher=None,
        embed=None,
        data=_data(reader, form.data, datasets),
        cards=cards,
        registry=known,
        search=SearchUse(search=search, n_trials=form.n_trials, second_stage=form.second_stage),
    )


def _space(reader: Reader, form: SearchForm) -> Search:
    """What the trials of a search manifest draw from."""
    for name in ("lr", "batch_size"):
        if name in form.training:
            reader.problem(f"training.{name}", "be left to the trials, but is given", f"give space.{name}")
        low, high = getattr(form.space, name).low, getattr(form.space, name).high
        if low > high:
            reader.problem(f"space.{name}", f"go from low to high, but {low} is above {high}", "swap them")
    adapters: list[Adapter] = []
    for index, item in _read(form.space.adapters):
        where = f"space.adapters[{index}]"
        made = _adapter(reader, where, {}, {"kind": item} if isinstance(item, str) else item)
        if made.kind in [adapter.kind for adapter in adapters]:
            reader.problem(where, f"be another kind, but {made.kind} is there already", "remove it")
        adapters.append(made)
    fields = {name: value for name, value in form.training.items() if name not in ("lr", "batch_size")}
    return Search(
        adapters=tuple(adapters),
        lr_low=form.space.lr.low,
        lr_high=form.space.lr.high,
        batch_size_low=form.space.batch_size.low,
        batch_size_high=form.space.batch_size.high,
        sampler=form.sampler,
        pruner=form.pruner,
        training=Training(**fields),
    )


def _adapter(reader: Reader, where: str, preset: Mapping[str, Any], given: Mapping[str, Any]) -> Adapter:
    """An adapter section over a preset's; another kind drops the preset's fields. Notes what does not matter to it."""
    base = preset if given.get("kind") in (None, preset.get("kind")) else {}
    values = {**base, **given}
    kind = values.get("kind", Adapter().kind)
    known = ADAPTER_DEFAULTS[kind]
    for name in given:
        if name != "kind" and name not in known:
            reader.problem(f"{where}.{name}", f"matter to {kind}, but does not", f"known: {', '.join(known)}")
    return Adapter(**{name: value for name, value in values.items() if name == "kind" or name in known})


def _adapters(reader: Reader, preset: Preset, given: Mapping[str, Any], tasks: tuple[str, ...]) -> dict[str, Adapter]:
    """The adapter of each task; what is wrong with the section is noted once for each adapter of the preset."""
    made: dict[str, Adapter] = {}
    by_task = {task: preset.adapter.get(task, {}) for task in tasks}
    for task, base in by_task.items():
        alike = next((other for other in made if by_task[other] == base), None)
        made[task] = made[alike] if alike is not None else _adapter(reader, "adapter", base, given)
    return made


def _refuse_stacks(reader: Reader, pairs: Sequence[tuple[str, str]], adapters: Mapping[str, Adapter]) -> None:
    """Note each reason why stacks of this manifest would not be what they seem, with one pair as its example."""
    found: dict[str, str] = {}
    for source, target in pairs:
        reason = stack_problem(adapters[source], adapters[target])
        if reason:
            found.setdefault(reason, f"{source} -> {target}")
    for reason, pair in found.items():
        reader.problem("adapter", f"stack, but {reason} (such as {pair})", "choose another kind, or `pairs: none`")


def _preset(reader: Reader, name: str | None, path: Path) -> Preset:
    """The preset that `training` names; nothing where it names none or its file is wrong, which is noted."""
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


def _inside(reader: Reader, where: str, text: str, manifest: Path) -> Path | None:
    """A relative path seen from the manifest's folder; it must stay in that folder's parent, the project."""
    try:
        folder = manifest.absolute().parent.resolve()
        found = (folder / text).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        reader.problem(where, f"be a path, but cannot be one ({type(error).__name__})", "correct it")
        return None
    if Path(text).is_absolute() or not found.is_relative_to(folder.parent):
        must = f"stay in the project {folder.parent} (the parent of the manifest's folder), but {shown(text)} leaves it"
        reader.problem(where, must, "move the file into the project and write its path relative to the manifest")
        return None
    return found


def _read(items: Iterable[Any]) -> Iterable[tuple[int, Any]]:
    """Index and item of those that could be read."""
    return ((index, item) for index, item in enumerate(items) if item is not FAILED)


def _cards(reader: Reader, texts: Sequence[str], manifest: Path) -> tuple[Path, ...]:
    """The card files and folders of cards. Notes what leaves the project or is not there."""
    cards = []
    for index, text in _read(texts):
        where = f"cards[{index}]"
        path = _inside(reader, where, text, manifest)
        if path is None:
            continue
        if _is_there(path):
            cards.append(path)
        else:
            must = f"be a file or a folder of cards, but {shown(text)} is none"
            reader.problem(where, must, "check it; it is relative to the manifest")
    return tuple(cards)


def _is_there(path: Path) -> bool:
    try:
        return path.is_file() or path.is_dir()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


def _registry(reader: Reader, cards: tuple[Path, ...]) -> Registry:
    """The built-in tasks and those of the cards; without the cards where one is wrong, to find other problems too."""
    try:
        return registry(cards)
    except EmpslurmError as error:
        reader.adopt("cards", error.problems if isinstance(error, ManifestError) else [str(error)])
        return registry(())


def _matches(text: str, names: Iterable[str]) -> tuple[str, ...]:
    """The names that an id, a pattern or `all` stands for."""
    return tuple(name for name in names if text == "all" or fnmatchcase(name, text))


def _is_pattern(text: str) -> bool:
    return text == "all" or "*" in text or "?" in text


def _select(reader: Reader, where: str, text: str, among: Collection[str], what: str) -> tuple[str, ...]:
    """As `_matches`; notes a name that stands for none."""
    found = _matches(text, among)
    if not found and _is_pattern(text):
        reader.problem(where, f"match a {what}, but {shown(text)} matches none", f"known: {', '.join(among) or 'none'}")
    elif not found:
        reader.problem(where, *unknown(text, among, what))
    return found


def _tasks(reader: Reader, given: str | Sequence[str], known: Registry) -> tuple[str, ...]:
    """Task ids in the registry's order."""
    if isinstance(given, str):
        chosen = set(_select(reader, "tasks", given, known.tasks, "task"))
    else:
        named = [_select(reader, f"tasks[{index}]", text, known.tasks, "task") for index, text in _read(given)]
        chosen = {task for names in named for task in names}
    return tuple(task for task in known.tasks if task in chosen)


def _pairs(reader: Reader, form: ManifestForm, tasks: tuple[str, ...], known: Registry) -> tuple[tuple[str, str], ...]:
    """(source, target) in the order of the tasks, exclusions taken away."""
    every = tuple(permutations(tasks, 2))
    if not tasks or form.pairs == "none":
        return ()
    select = _pair_selector(reader, tasks, known)
    chosen = set(every)
    if not isinstance(form.pairs, str):
        chosen = {pair for index, item in _read(form.pairs) for pair in select(f"pairs[{index}]", item)}
    without: set[tuple[str, str]] = set()
    for index, item in _read(form.exclude):
        taken = set(select(f"exclude[{index}]", item))
        if taken and not taken & chosen:
            reader.problem(f"exclude[{index}]", "take a pair away, but none of its pairs is in pairs", "remove it")
        without |= taken
    return tuple(pair for pair in every if pair in chosen and pair not in without)


def _pair_selector(
    reader: Reader, tasks: tuple[str, ...], known: Registry
) -> Callable[[str, str | Product], list[tuple[str, str]]]:
    """A function from an item of `pairs` or `exclude`, with its place, to the pairs it stands for."""

    def side(where: str, text: str) -> tuple[str, ...]:
        if text in known.tasks and text not in tasks:
            reader.problem(where, f"name tasks of this manifest, but {text} is not among them", "add it to tasks")
            return ()
        return _select(reader, where, text, tasks, "task")

    def sides(where: str, value: str | tuple[str, ...]) -> list[str]:
        if isinstance(value, str):
            return list(side(where, value))
        return [task for index, text in _read(value) for task in side(f"{where}[{index}]", text)]

    def select(where: str, item: str | Product) -> list[tuple[str, str]]:
        if isinstance(item, str):
            first, second = item.split("->")
            sources, targets = sides(where, first.strip()), sides(where, second.strip())
        else:
            sources, targets = sides(f"{where}.source", item.source), sides(f"{where}.target", item.target)
        made = [(source, target) for source, target in product(sources, targets) if source != target]
        if sources and targets and not made:
            reader.problem(where, "pair two different tasks, but pairs one with itself", "name another")
        return made

    return select


def _embed(reader: Reader, given: Mapping[str, Any] | None, manifest: Path) -> Embed | None:
    """The `embed` section with its encoder resolved."""
    if given is None:
        return None
    form = EmbedForm(**given)
    encoder = _backbone(reader, form.encoder, manifest, "embed.encoder")
    return Embed(encoder=encoder, max_examples=form.max_examples)


def _backbone(reader: Reader, given: str | Backbone, manifest: Path, place: str) -> Backbone:
    """The backbone or encoder; a hub id is pinned by its commit, a folder named absolutely or within the project.

    A folder outside is admitted by its absolute path only: its config and weights are read, and nothing in it is run.
    """
    backbone = Backbone(name=given) if isinstance(given, str) else given
    where = place if isinstance(given, str) else f"{place}.name"
    if backbone.name not in PACKAGED and not is_local(backbone.name):
        return _hub_backbone(reader, where, backbone, place)
    if backbone.revision is not None:
        must = f"be given for hub ids only, but {shown(backbone.name)} is none"
        reader.problem(f"{place}.revision", must, "remove the revision")
    if backbone.name in PACKAGED:
        return Backbone(name=backbone.name)
    try:
        outside = Path(backbone.name).expanduser()
    except RuntimeError:  # no home of that name
        outside = Path(backbone.name)
    if outside.is_absolute():
        return Backbone(name=str(outside))
    return Backbone(name=str(_inside(reader, where, backbone.name, manifest) or backbone.name))


def _hub_backbone(reader: Reader, where: str, backbone: Backbone, place: str) -> Backbone:
    name = backbone.name
    if not HUB_ID.fullmatch(name):
        must = f"be a hub id, minilm, tiny or a path that starts with ./ ../ or /, but is {shown(name)}"
        reader.problem(where, must, "correct it")
    elif backbone.revision is None:
        must = f"pin a hub id by its revision, but {shown(name)} has none"
        reader.problem(where, must, f"write {{name: {name}, revision: <40 hex digits of the commit>}}")
    elif not COMMIT.fullmatch(backbone.revision):
        must = f"be the 40 hex digits of a commit, but is {shown(backbone.revision)}"
        reader.problem(f"{place}.revision", must, "copy it from the model's history on the hub")
    return backbone


def _layers(
    reader: Reader, where: str, given: Mapping[str, Mapping[str, Any]], names: tuple[str, ...], what: str
) -> dict[str, dict[str, Any]]:
    """Name -> fields of the patterns that match it in the file's order, those of its own id last."""
    made: dict[str, dict[str, Any]] = {name: {} for name in names}
    for text in sorted(given, key=lambda text: not _is_pattern(text)):
        for name in _select(reader, f"{where}.{shown(text)}", text, names, what) if names else ():
            made[name] |= given[text]
    return made


def _training(reader: Reader, given: Mapping[str, Any], chosen: Preset, tasks: tuple[str, ...]) -> dict[str, Training]:
    """Training by task: defaults, under the preset, under the section's own fields, under `per_task`."""
    fields = {key: value for key, value in given.items() if key not in ("preset", "per_task")}
    preset = chosen.training
    layers = _layers(reader, "training.per_task", given.get("per_task", {}), tasks, "task of this manifest")
    made = {}
    for task in tasks:
        lacking = [key for key in ("epochs", "batch_size", "lr") if key not in {**fields, **layers[task]}]
        if preset and task not in preset and lacking:
            must = f"cover every task, but has no row for {task}"
            reader.problem("training.preset", must, f"give training.per_task.{task} {', '.join(lacking)}")
        made[task] = Training(**{**preset.get(task, {}), **fields, **layers[task]})
    return made


def _data(reader: Reader, given: Mapping[str, Any], datasets: tuple[str, ...]) -> dict[str, DataUse]:
    """Data use by dataset: defaults, under the section's own fields, under `per_dataset`."""
    fields = {key: value for key, value in given.items() if key != "per_dataset"}
    what = "dataset of this manifest"
    layers = _layers(reader, "data.per_dataset", given.get("per_dataset", {}), datasets, what)
    return {dataset: DataUse(**{**fields, **layers[dataset]}) for dataset in datasets}
