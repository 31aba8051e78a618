"""Manifests as they are written: the keys of both kinds, with their limits and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from empslurm.config import (
    ADAPTER_KINDS,
    ENCODER,
    Adapter,
    AdapterKind,
    Backbone,
    Count,
    DataUse,
    Fisher,
    PositiveShare,
    Seed,
    SourceUse,
    Training,
)
from empslurm.manifest.presets import NAME as PRESET_NAME
from empslurm.validation.constraints import Listed, Partial, Pattern, Range

NAME = r"[A-Za-z0-9_*?][A-Za-z0-9_.*?-]{0,99}"

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
    pairs: Literal["all_ordered", "none"] | Annotated[tuple[ArrowPair | Product, ...], Listed(at_least=0)] = (
        "all_ordered"
    )
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
    margin: Annotated[float, Range(above=0)] | None = None  # a difference of a metric that is as good as none


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
