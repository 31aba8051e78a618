"""Manifests as they are written: the keys of both kinds, with their limits and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from empslurm.config import (
    ADAPTER_KINDS,
    ENCODER,
    SEARCHED,
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
from empslurm.validation.constraints import Doc, Listed, Partial, Pattern, Range

NAME = r"[A-Za-z0-9_*?][A-Za-z0-9_.*?-]{0,99}"

TaskName = Annotated[
    str, Pattern(regex=NAME, words="a task id, a pattern such as epitome_*, or all", fix="write one of these")
]
StudyName = Annotated[
    str, Pattern(regex=r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", words="letters, digits, _ . - (at most 64)")
]
Tasks = TaskName | Annotated[tuple[TaskName, ...], Listed()]
DatasetName = Annotated[str, Pattern(regex=NAME, words="a dataset id or a pattern of ids", fix="write one of these")]
FilePath = Annotated[
    str, Pattern(regex=r"(?s:.{1,1000})", words="a path of at most 1000 characters", fix="write a path")
]
Cards = Annotated[tuple[FilePath, ...], Listed(at_least=0)]
Seeds = Annotated[tuple[Seed, ...], Listed()]
OneBackbone = FilePath | Backbone
ArrowPair = Annotated[
    str,
    Pattern(
        regex=rf" *{NAME} +-> +{NAME} *",
        words="a pair such as `epitome_er -> news_empathy`",
        fix="write `SOURCE -> TARGET`",
    ),
]


@dataclass(frozen=True, kw_only=True)
class SecondStage:
    """After the trials: train the best adapter types on every task, with its best batch size and learning rate."""

    n_types: Annotated[
        int,
        Range(low=1, high=len(ADAPTER_KINDS)),
        Doc("Number of adapter types, the best of the trials, to train on every task; Appendix C of the paper."),
    ] = 3


@dataclass(frozen=True, kw_only=True)
class Product:
    """Every source with every target, except a task with itself."""

    source: Annotated[Tasks, Doc("Source tasks: an id, a pattern of ids, or a list of them.")]
    target: Annotated[Tasks, Doc("Target tasks: an id, a pattern of ids, or a list of them.")]


@dataclass(frozen=True, kw_only=True)
class TrainingSection(Training):
    """The `training` section: fields for all tasks over a preset's, and `per_task` over both."""

    preset: Annotated[
        PRESET_NAME | None,
        Doc("Settings per task. paper: Table 4. NAME: presets/NAME.yaml, which a search was frozen to. null: none."),
    ] = None
    per_task: Annotated[
        Mapping[TaskName, Annotated[Mapping[str, Any], Partial(section=Training)]],
        Doc("Task id or pattern of ids -> fields that replace those above for these tasks."),
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DataSection(DataUse):
    """The `data` section: fields for all datasets, and `per_dataset` over them."""

    per_dataset: Annotated[
        Mapping[DatasetName, Annotated[Mapping[str, Any], Partial(section=DataUse)]],
        Doc("Dataset id or pattern of ids -> fields that replace those above for these datasets."),
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EmbedSection:
    """The `embed` section; see `config.Embed`."""

    encoder: Annotated[
        OneBackbone,
        Doc("A sentence-transformers model, the paper's by default; a hub id needs {name, revision}."),
    ] = ENCODER
    max_examples: Annotated[
        Count | None, Doc("Examples of each task, the first by a hash of their ids. null: all, as in the paper.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class ManifestFile:
    """A manifest as it is written."""

    name: Annotated[StudyName, Doc("Name in reports, of jobs, and of the folder that `gather` writes.")]
    kind: Annotated[
        Literal["grid"], Doc("grid: baselines and transfers. search: a hyper-parameter search, with other keys.")
    ] = "grid"
    tasks: Annotated[
        Tasks, Doc("Task ids and patterns of ids, such as epitome_*; all: every built-in task, and those of cards.")
    ]
    pairs: Annotated[
        Literal["all_ordered", "none"] | Annotated[tuple[ArrowPair | Product, ...], Listed(at_least=0)],
        Doc("Transfers, source -> target. all_ordered: every task to every other. none: baselines only."),
    ] = "all_ordered"
    exclude: Annotated[tuple[ArrowPair | Product, ...], Doc("Transfers to leave out of `pairs`.")] = ()
    seeds: Annotated[Seeds, Doc("Seeds of transfers, and of the baselines they start from.")] = (1,)
    baseline_seeds: Annotated[
        Seeds | None, Doc("Seeds of baselines: all of `seeds`, and perhaps more. null: `seeds`.")
    ] = None
    fractions: Annotated[
        tuple[PositiveShare, ...], Listed(), Doc("Shares of each target's training part to train on.")
    ] = (1.0,)
    backbone: Annotated[
        OneBackbone | Annotated[tuple[OneBackbone, ...], Listed(at_least=2)],
        Doc(
            "The frozen encoder of all adapters: minilm, tiny, a folder (./path, from the manifest's folder), or a hub "
            "id as {name, revision}. A list: the grid on each."
        ),
    ] = "minilm"
    adapter: Annotated[
        Mapping[str, Any],
        Partial(section=Adapter),
        Doc("The adapter of every task; its fields replace those of a preset."),
    ] = field(default_factory=dict)
    training: Annotated[
        Mapping[str, Any],
        Partial(section=TrainingSection),
        Doc("How adapters and heads are trained: a preset, fields for all tasks, and fields per task."),
    ] = field(default_factory=dict)
    source: Annotated[SourceUse, Doc("How a source's adapter enters a transfer.")] = field(default_factory=SourceUse)
    fisher: Annotated[
        Fisher | None,
        Doc("Task embeddings of the baselines, by Fisher information. {}: with the defaults. null: none."),
    ] = None
    embed: Annotated[
        Annotated[Mapping[str, Any], Partial(section=EmbedSection)] | None,
        Doc("Dataset embeddings, by mean sentence embeddings. {}: with the defaults. null: none."),
    ] = None
    data: Annotated[
        Mapping[str, Any],
        Partial(section=DataSection),
        Doc("Splits and context of the examples: fields for all datasets, and fields per dataset."),
    ] = field(default_factory=dict)
    cards: Annotated[
        Cards, Doc("YAML cards of your own datasets, or folders of them; paths relative to the manifest.")
    ] = ()
    margin: Annotated[
        Annotated[float, Range(above=0)] | None,
        Doc("Largest difference of a score that counts as no effect, for `gather`. null: equivalence is not tested."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class RateRange:
    """Learning rates, drawn evenly on a logarithmic scale."""

    low: Annotated[PositiveShare, Doc("The lowest learning rate; Appendix C of the paper.")] = 1e-6
    high: Annotated[PositiveShare, Doc("The highest learning rate; Appendix C of the paper.")] = 1e-3


@dataclass(frozen=True, kw_only=True)
class SizeRange:
    """Batch sizes; every whole number is equally likely."""

    low: Annotated[Count, Doc("The smallest batch size; Appendix C of the paper.")] = 8
    high: Annotated[Count, Doc("The largest batch size; Appendix C of the paper.")] = 64


@dataclass(frozen=True, kw_only=True)
class SpaceSection:
    """The `space` section: what trials draw from."""

    adapters: Annotated[
        tuple[AdapterKind | Annotated[Mapping[str, Any], Partial(section=Adapter)], ...],
        Listed(unique=False),
        Doc("Kinds of adapters, or mappings with fields of a kind. The default is the paper's six."),
    ] = SEARCHED
    lr: Annotated[RateRange, Doc("Learning rates, drawn evenly on a log scale.")] = field(default_factory=RateRange)
    batch_size: Annotated[SizeRange, Doc("Batch sizes; every whole number is equally likely.")] = field(
        default_factory=SizeRange
    )


@dataclass(frozen=True, kw_only=True)
class SearchFile:
    """A search manifest as it is written."""

    name: Annotated[
        StudyName, Doc("Name in reports, of jobs, of the folder of reports, and of the preset that it is frozen to.")
    ]
    kind: Annotated[Literal["search"], Doc("search: a hyper-parameter search for each task.")]
    tasks: Annotated[Tasks, Doc("Task ids and patterns of ids, such as epitome_*; each is searched separately.")]
    n_trials: Annotated[int, Range(low=1, high=1000), Doc("Trials of each task; a larger number adds trials later.")]
    seeds: Annotated[Seeds, Doc("Seeds: the trials use the first, the second stage uses all.")] = (1,)
    space: Annotated[SpaceSection, Doc("What trials draw from.")] = field(default_factory=SpaceSection)
    sampler: Annotated[
        Literal["tpe", "random"],
        Doc("Optuna's sampler. tpe: learns from earlier trials. random: does not, for comparison."),
    ] = "tpe"
    pruner: Annotated[
        Literal["median", "none"],
        Doc("median: end a trial that is below the median of the others at the same epoch. none: finish every trial."),
    ] = "median"
    second_stage: Annotated[
        SecondStage | None,
        Doc("What follows the trials: the best adapter types, trained on every task. null: nothing."),
    ] = field(default_factory=SecondStage)
    backbone: Annotated[OneBackbone, Doc("The frozen encoder of all adapters; a hub id needs {name, revision}.")] = (
        "minilm"
    )
    training: Annotated[
        Mapping[str, Any],
        Partial(section=Training),
        Doc("How adapters and heads are trained; learning rate and batch size are drawn by each trial."),
    ] = field(default_factory=dict)
    data: Annotated[
        Mapping[str, Any],
        Partial(section=DataSection),
        Doc("Splits and context of the examples: fields for all datasets, and fields per dataset."),
    ] = field(default_factory=dict)
    cards: Annotated[
        Cards, Doc("YAML cards of your own datasets, or folders of them; paths relative to the manifest.")
    ] = ()
