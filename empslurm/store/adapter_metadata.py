"""What a trained adapter measures, and all that is needed to use it without its cell: `task.json` beside its weights.

The node writes it when a cell is done, `export` copies it and adds the evidence, `score` reads it. It contains no text
of the corpus.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from empslurm import files, ids
from empslurm.cells import Trainable
from empslurm.config import Backbone, Context
from empslurm.errors import DamagedError
from empslurm.tasks.schema import Dataset, Task
from empslurm.validation import decode
from empslurm.validation.constraints import Kind, Later, Range

NAME = "task.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Typical:
    """Statistics of the training texts in the frozen backbone; a text outside these limits is flagged."""

    low_length: float  # tokens, specials included: the 1st and 99th percentile of the training examples
    high_length: float
    context_share: float  # of the training examples that have a context
    centroid: tuple[float, ...]  # (hidden_size,): mean of the examples' unit-length mean-pooled last hidden states
    low_similarity: float  # 1st percentile of the training examples' cosine similarity to the centroid
    n_examples: int  # how many training examples the centroid is made from


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """How good the measure was on its own test part, over the seeds that were trained."""

    metric: str
    score: float | None  # mean over seeds; None: undefined (a constant prediction has no correlation)
    low: float | None  # 95 % interval by the bootstrap over test examples or groups; None: mostly undefined
    high: float | None
    seeds: tuple[int, ...]
    seed_spread: float | None  # standard deviation of the score over seeds; None: one seed
    n_test: int
    resampled: str  # "examples" or "groups"
    flags: tuple[str, ...]  # those of `metrics.FLAGS` that any seed's predictions have
    flagged_seeds: Annotated[tuple[tuple[int, ...], ...], Later()] = ()  # for each flag


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One adapter's task, scale, input rule and origin."""

    task: str
    title: str
    kind: Kind
    labels: tuple[str, ...]  # classification: names in index order
    low: float | None  # regression: the ends of the task's scale
    high: float | None
    centre: float  # regression: the head gives (value - centre) / scale; 0 and 1 for classification
    scale: Annotated[float, Range(above=0)]
    metric: str
    data_source: str
    language_setting: str
    dataset: str
    citation: str
    licence: str
    source: str | None  # transfer: the task whose adapter is below this one
    seed: int
    fraction: float
    n_train: int
    backbone: Backbone
    backbone_digest: str
    max_length: Annotated[int, Range(low=3, high=100_000)]  # tokens of context and text together
    context: Context
    settings: Mapping[str, Any]  # the cell's adapter, training and data sections
    cell: str  # id of the cell that made it
    typical: Typical
    evidence: Evidence | None = None

    def __post_init__(self) -> None:
        if self.kind == "classification" and len(set(self.labels)) < 2:
            raise ValueError("a classification needs two labels of different names")
        adapter = self.settings.get("adapter")
        if not isinstance(adapter, Mapping) or not isinstance(adapter.get("kind"), str):
            raise ValueError("settings must name the kind of adapter")

    @property
    def n_outputs(self) -> int:
        """Width of the head."""
        return len(self.labels) if self.kind == "classification" else 1

    @property
    def input_rule(self) -> tuple[int, str]:
        """Maximum length and context rule; measures that share it are scored on the same tokens.

        `none`: the adapter has never seen a context, so it gets none.
        """
        return self.max_length, self.context if self.typical.context_share else "none"


def describe(
    cell: Trainable, task: Task, dataset: Dataset, *, centre: float, scale: float, n_train: int, typical: Typical
) -> Measure:
    """The measure of a cell's adapter."""
    return Measure(
        task=task.id,
        title=task.title,
        kind=task.kind,
        labels=task.labels,
        low=task.low,
        high=task.high,
        centre=centre,
        scale=scale,
        metric=task.metric,
        data_source=task.data_source,
        language_setting=task.language_setting,
        dataset=dataset.title,
        citation=dataset.citation,
        licence=dataset.licence,
        source=cell.source_task,
        seed=cell.seed,
        fraction=cell.data.fraction,
        n_train=n_train,
        backbone=cell.backbone,
        backbone_digest=str(cell.backbone_digest),
        max_length=cell.training.max_length,
        context=cell.data.use.context,
        settings={
            "adapter": ids.plain(cell.adapter),
            "training": ids.plain(cell.training),
            "data": ids.plain(cell.data),
        },
        cell=cell.id,
        typical=typical,
    )


def write(folder: Path, measure: Measure) -> None:
    """Write `task.json` to an adapter's folder."""
    files.write_json(folder / NAME, {"format": FORMAT, **ids.plain(measure)})


def _read_measure(value: Mapping[str, Any]) -> Any:
    """Raises decode.Unfit."""
    fields = dict(value)
    if fields.pop("format", None) != FORMAT:
        raise decode.Unfit(f"be {FORMAT}", "format")
    return decode.exactly(Measure, fields)


def read(folder: Path) -> Measure:
    """The measure of an adapter's folder. Raises DamagedError."""
    path = folder / NAME
    try:
        value = files.read_object(path)
    except FileNotFoundError as error:
        raise DamagedError(
            f"{folder} must hold {NAME}, which says what the adapter measures, but does not; run its cell again with "
            "this version, or export it again"
        ) from error
    try:
        measure: Measure = _read_measure(value)
    except decode.Unfit as error:
        raise DamagedError(f"{path} must describe an adapter, but of its fields {error}; export it again") from error
    return measure


def with_evidence(measure: Measure, evidence: Evidence) -> Measure:
    """The same measure with its test score."""
    return replace(measure, evidence=evidence)
