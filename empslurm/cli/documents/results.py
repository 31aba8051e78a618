"""Documents of results: `gather`, `search`, `score`, `export`, `agreement`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from empslurm.cli.documents.base import ABSENT, CellName, Document, FilePaths
from empslurm.validation.constraints import Doc, Key


@dataclass(frozen=True, kw_only=True)
class GatheredGroup:
    """Cells that may be compared with each other."""

    name: Annotated[str, Doc("Name of the group and of its folder. Empty: there is one group only.")]
    setting: Annotated[Mapping[str, Any], Doc("What its cells have in common.")]
    n_cells: Annotated[int, Doc("Cells with a result.")]
    data: Annotated[Mapping[str, str], Doc("Task id -> what every reader of its scores must know about the data.")]


@dataclass(frozen=True, kw_only=True)
class VerdictCounts:
    """Pairs of a group by verdict."""

    group: Annotated[str, Doc("Name of the group.")]
    fraction: Annotated[float, Doc("Share of the target's training part.")]
    counts: Annotated[
        Mapping[str, int], Doc("Verdict (helps, harms, equivalent, inconclusive, undecided) -> how many pairs.")
    ]


@dataclass(frozen=True, kw_only=True)
class PairVerdict:
    """A source and a target. Scores are in the target's metric."""

    group: Annotated[str, Doc("Name of the group.")]
    fraction: Annotated[float, Doc("Share of the target's training part.")]
    target: Annotated[str, Doc("Id of the target task.")]
    target_title: Annotated[str, Doc("Name of the target task, as printed.")]
    source: Annotated[str, Doc("Id of the source task.")]
    source_title: Annotated[str, Doc("Name of the source task, as printed.")]
    metric: Annotated[str, Doc("The target's metric.")]
    baseline: Annotated[float | None, Doc("Score of the baseline, mean over seeds. null: unknown.")]
    score: Annotated[float | None, Doc("Score with the source, mean over seeds. null: unknown.")]
    difference: Annotated[
        float | None, Doc("`score` minus `baseline`; without a baseline, minus the next best source's score.")
    ]
    low: Annotated[float | None, Doc("Lower end of the 95 % interval of the difference, uncorrected. null: unknown.")]
    high: Annotated[float | None, Doc("Upper end of that interval. null: unknown.")]
    verdict: Annotated[
        str, Doc("helps, harms, equivalent, inconclusive or undecided; without a baseline also leads or trails.")
    ]
    reason: Annotated[str, Doc("Why it is undecided. Empty: it is decided.")]
    next_best: Annotated[str, Doc("Id of the next best source, where the target has no baseline. Else empty.")]
    next_best_title: Annotated[str, Doc("Its name, as printed. Else empty.")]
    next_best_score: Annotated[float | None, Doc("Its score. Else null.")]


@dataclass(frozen=True, kw_only=True)
class PairOverSettings:
    """A pair over all settings (backbones, models, languages). Each verdict was made within its setting."""

    source: Annotated[str, Doc("Id of the source task.")]
    target: Annotated[str, Doc("Id of the target task.")]
    fraction: Annotated[float, Doc("Share of the target's training part, the same for all of these verdicts.")]
    holds: Annotated[str, Doc("On how many settings it helps, harms, ..., in words.")]
    n_settings: Annotated[int, Doc("Settings compared.")]
    counts: Annotated[
        Mapping[str, int], Doc("Verdict (helps, harms, equivalent, inconclusive, undecided) -> in how many settings.")
    ]
    n_not_compared: Annotated[int, Doc("Settings without this pair, or without its baseline.")]
    interaction: Annotated[
        str, Doc("Do its gains differ between settings by more than noise? differs, not shown to differ, not tested.")
    ]
    interaction_p: Annotated[float | None, Doc("p-value of that test. null: not tested.")]
    interaction_p_bh: Annotated[float | None, Doc("The same, corrected over all tested pairs. null: not tested.")]
    reason: Annotated[str, Doc("Why it, or a setting, is left out of the test. Empty: nothing is.")]


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What one lab contributed, and whether it departs from the others."""

    lab: Annotated[str, Doc("Name of the input; with its setting where it has several.")]
    kind: Annotated[str, Doc("table, runs root or bundle.")]
    n_runs: Annotated[int, Doc("Runs that it has.")]
    n_counted: Annotated[int, Doc("Of these, runs that count for it.")]
    n_copies: Annotated[int, Doc("Copies of runs of an earlier lab, for which they count.")]
    n_repeated: Annotated[int, Doc("Runs of an earlier lab that it computed again, with the same numbers.")]
    n_disagreeing: Annotated[int, Doc("Runs for which another lab has other numbers: left out everywhere.")]
    n_pairs: Annotated[int, Doc("Pairs of which its own runs give a change and its error.")]
    departs: Annotated[
        bool | None, Doc("Whether its gains differ from those of the others more than usual. null: not tested.")
    ]
    shift: Annotated[float | None, Doc("Mean of its gains minus those of the others. null: not tested.")]
    p_value: Annotated[float | None, Doc("p-value of that test, corrected over labs. null: not tested.")]
    reason: Annotated[str, Doc("Why it is not tested. Empty: it is.")]


@dataclass(frozen=True, kw_only=True)
class PooledChange:
    """A pair over labs: random effects. Numbers are in the target's metric; null: unknown."""

    source: Annotated[str, Doc("Id of the source task.")]
    target: Annotated[str, Doc("Id of the target task.")]
    fraction: Annotated[float, Doc("Share of the target's training part.")]
    metric: Annotated[str, Doc("The target's metric.")]
    labs: Annotated[tuple[str, ...], Doc("Labs that have the pair.")]
    verdict: Annotated[str, Doc("helps, harms, equivalent or inconclusive, by p_bh; or not pooled.")]
    pooled: Annotated[float | None, Doc("Mean change over labs.")]
    low: Annotated[float | None, Doc("Low end of its 95 % interval.")]
    high: Annotated[float | None, Doc("High end of its 95 % interval.")]
    p_value: Annotated[float | None, Doc("p-value of no change, before correction.")]
    p_bh: Annotated[float | None, Doc("The same, corrected over all pooled pairs.")]
    tau: Annotated[float | None, Doc("Standard deviation of the labs' true changes.")]
    i2: Annotated[float | None, Doc("Share of the labs' differences that is not noise, 0 to 1.")]
    q: Annotated[float | None, Doc("Cochran's Q.")]
    q_p: Annotated[float | None, Doc("p-value of no difference between labs, before correction.")]
    q_p_bh: Annotated[float | None, Doc("The same, corrected over all pooled pairs.")]
    prediction_low: Annotated[float | None, Doc("Low end of where the true change of another lab would lie (95 %).")]
    prediction_high: Annotated[float | None, Doc("High end of it.")]
    together: Annotated[float | None, Doc("Change of all runs analysed as those of one lab.")]
    reason: Annotated[str, Doc("Why it is not pooled. Empty: it is.")]


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """What one lab says of a run for which another lab has other numbers."""

    id: CellName
    lab: Annotated[str, Doc("Name of the lab.")]
    source: Annotated[str, Doc("Id of the source task. Empty: a baseline.")]
    target: Annotated[str, Doc("Id of the target task.")]
    seed: Annotated[int, Doc("Seed of the run.")]
    fraction: Annotated[float, Doc("Share of the target's training part.")]
    score: Annotated[str, Doc("Part and metric of the score that differs.")]
    value: Annotated[float | None, Doc("This lab's value. null: undefined.")]


@dataclass(frozen=True, kw_only=True)
class Caution:
    """A warning about a group."""

    group: Annotated[str, Doc("Name of the group.")]
    text: Annotated[str, Doc("The warning.")]


@dataclass(frozen=True, kw_only=True)
class WrittenTable:
    """A table that was written."""

    name: Annotated[str, Doc("Name of its files, without their endings.")]
    number: Annotated[str, Doc("Number of the paper's table, such as Table 7. Empty: none.")]
    title: Annotated[str, Doc("Its title.")]
    caption: Annotated[str, Doc("Its caption.")]
    details: Annotated[str, Doc("What else to know about its numbers.")]


@dataclass(frozen=True, kw_only=True)
class MissingCell:
    """A cell without a usable result."""

    id: CellName
    state: Annotated[str, Doc("State of the cell, or refused: its result does not match its checksums.")]
    why: Annotated[str, Doc("The reason.")]
    kind: Annotated[str, Doc("Kind of the cell.")]


@dataclass(frozen=True, kw_only=True)
class GatherDocument(Document):
    """What the results say, and what is missing."""

    name: Annotated[
        str,
        Doc("Name of the manifest, or all, published or the name of the input; of several inputs their names with +."),
    ]
    folder: Annotated[str, Doc("The folder with all files.")]
    report: Annotated[str, Doc("Path of the report page.")]
    n_planned: Annotated[int | None, Doc("Planned cells. null: no manifest was given.")]
    n_done: Annotated[int, Doc("Cells with a verified result.")]
    groups: Annotated[tuple[GatheredGroup, ...], Doc("Cells that may be compared with each other.")]
    headline: Annotated[tuple[str, ...], Doc("The answer, in sentences.")]
    verdicts: Annotated[tuple[VerdictCounts, ...], Doc("Pairs by verdict, for each group and fraction.")]
    pairs: Annotated[tuple[PairVerdict, ...], Doc("All pairs that have a verdict.")]
    best_sources: Annotated[tuple[PairVerdict, ...], Doc("The best source of each target.")]
    cautions: Annotated[tuple[Caution, ...], Doc("Warnings about the results.")]
    tables: Annotated[tuple[WrittenTable, ...], Doc("Every table that was written.")]
    lacking: Annotated[Mapping[str, str], Doc("Analysis that could not be made -> why.")]
    missing: Annotated[tuple[MissingCell, ...], Doc("Cells without a usable result.")]
    files: FilePaths
    over_settings: Annotated[
        tuple[PairOverSettings, ...], Doc("All pairs over all settings. Absent: there are not two settings.")
    ] = ABSENT
    labs: Annotated[
        tuple[Contribution, ...], Doc("Who contributed what, per lab and setting. Absent: there is one input.")
    ] = ABSENT
    pooled: Annotated[tuple[PooledChange, ...], Doc("All pairs, pooled over labs. Absent: there is one input.")] = (
        ABSENT
    )
    disagreements: Annotated[
        tuple[Disagreement, ...],
        Doc("Runs with one id and several numbers, one entry per lab. Absent: there is one input."),
    ] = ABSENT


@dataclass(frozen=True, kw_only=True)
class SecondStageCounts:
    """Cells of a search's second stage."""

    n_through: Annotated[int, Doc("Cells that are done.")]
    n_planned: Annotated[int, Doc("Cells of the second stage; 0 before the trials are done.")]
    waiting: Annotated[str, Doc("What it waits for. Empty: nothing.")]


@dataclass(frozen=True, kw_only=True)
class SearchReport(Document):
    """What a search has found so far."""

    name: Annotated[str, Doc("Name of the manifest.")]
    selected_on: Annotated[Literal["validation"], Doc("The part that chooses winners.")]
    n_finished: Annotated[Mapping[str, int], Doc("Task id -> trials that are complete or pruned.")]
    n_planned: Annotated[int, Doc("Trials of each task.")]
    second_stage: Annotated[SecondStageCounts, Doc("The second stage.")]
    caution: Annotated[str, Doc("What a search of this size cannot show.")]
    tables: Annotated[
        Mapping[str, tuple[Mapping[str, str | float | None], ...]], Doc("Name of a table -> its rows, by column.")
    ]
    files: FilePaths
    report: Annotated[str, Doc("Path of the report page.")]


@dataclass(frozen=True, kw_only=True)
class Winner:
    """The best setting of one task."""

    task: Annotated[str, Doc("Id of the task.")]
    adapter: Annotated[str, Doc("Kind of adapter.")]
    best_epoch: Annotated[int | None, Key("best epoch"), Doc("Its best epoch.")]
    batch_size: Annotated[int, Key("batch size"), Doc("Examples per optimiser step.")]
    lr: Annotated[str, Doc("Learning rate, rounded to two digits.")]
    validation: Annotated[float, Doc("Its score on the validation part.")]


@dataclass(frozen=True, kw_only=True)
class SearchFreeze(Document):
    """The preset that was written."""

    file: Annotated[str, Doc("Path of the preset.")]
    selected_on: Annotated[Literal["validation"], Doc("The part that chose the winners.")]
    tasks: Annotated[tuple[Winner, ...], Doc("The winner of each task.")]


@dataclass(frozen=True, kw_only=True)
class AspectAgreement:
    """Agreement on one aspect of the ratings."""

    aspect: Annotated[str, Doc("definition, link or conduciveness.")]
    alpha: Annotated[float | None, Doc("Krippendorff's alpha. null: undefined.")]
    spearman: Annotated[
        float | None, Doc("Spearman's correlation of two annotators. null: undefined, or more than two annotators.")
    ]
    p_value: Annotated[float | None, Doc("Its p-value. null: undefined.")]
    n_units: Annotated[int, Doc("Tasks that two annotators or more rated; of overall, tasks and aspects.")]
    n_annotators: Annotated[int, Doc("Annotators.")]
    difference_counts: Annotated[Mapping[str, int], Doc("Difference of two ratings -> how often it occurs.")]


@dataclass(frozen=True, kw_only=True)
class FilledForm:
    """One rater's filled form."""

    file: Annotated[str, Doc("Path of the file.")]
    rater: Annotated[str, Doc("Name of the rater, as the file says it.")]
    n_tasks: Annotated[int, Doc("Tasks in the form.")]
    n_rated: Annotated[int, Doc("Ratings given.")]
    gaps: Annotated[tuple[tuple[str, str], ...], Doc("Task and aspect of each blank rating.")]


@dataclass(frozen=True, kw_only=True)
class RatedTask:
    """A task's mean ratings."""

    task: Annotated[str, Doc("Id of the task.")]
    means: Annotated[Mapping[str, float | None], Doc("Aspect -> mean rating. null: nobody rated it.")]
    theme: Annotated[
        str | None,
        Doc("Theme: of the paper's tasks that of its Table 5, of others by a rule on the mean. null: not rated."),
    ]


@dataclass(frozen=True, kw_only=True)
class AgreementDocument(Document):
    """How far annotators agree."""

    read: Annotated[str, Doc("What was read, in words.")]
    forms: Annotated[tuple[FilledForm, ...], Doc("The filled forms. Empty: a table of ratings was read.")]
    tasks: Annotated[tuple[RatedTask, ...], Doc("Every rated task.")]
    written: Annotated[str | None, Doc("Path of the table of all ratings. null: none was asked for.")]
    level: Annotated[Literal["nominal", "ordinal", "interval", "ratio"], Doc("Level of measurement of alpha.")]
    annotators: Annotated[tuple[str, ...], Doc("Names of the annotators.")]
    agreement: Annotated[tuple[AspectAgreement, ...], Doc("One item per aspect.")]


@dataclass(frozen=True, kw_only=True)
class MeasureEvidence:
    """The measure's quality on its own test part, over its seeds."""

    metric: Annotated[str, Doc("The metric.")]
    score: Annotated[float | None, Doc("Mean score over seeds. null: undefined.")]
    low: Annotated[float | None, Doc("Lower end of the 95 % bootstrap interval. null: mostly undefined.")]
    high: Annotated[float | None, Doc("Upper end of that interval. null: mostly undefined.")]
    seeds: Annotated[tuple[int, ...], Doc("The seeds.")]
    seed_spread: Annotated[float | None, Doc("Standard deviation of the score over seeds. null: one seed.")]
    n_test: Annotated[int, Doc("Test examples.")]
    resampled: Annotated[str, Doc("What the bootstrap resamples: examples or groups.")]
    flags: Annotated[tuple[str, ...], Doc("Signs that a seed did not learn.")]
    flagged_seeds: Annotated[tuple[tuple[int, ...], ...], Doc("The seeds of each flag.")]


@dataclass(frozen=True, kw_only=True)
class MeasureDescription:
    """What a reader of the scores must know about one measure."""

    task: Annotated[str, Doc("Id of the task.")]
    title: Annotated[str, Doc("Name of the task, as printed.")]
    source: Annotated[str | None, Doc("Id of the source task. null: a baseline.")]
    kind: Annotated[str, Doc("classification or regression.")]
    labels: Annotated[tuple[str, ...], Doc("Labels, in index order. Empty: regression.")]
    scale: Annotated[tuple[float | None, ...], Doc("Both ends of the scale. null: classification.")]
    n_seeds: Annotated[int, Doc("Adapters whose outputs are averaged.")]
    test: Annotated[MeasureEvidence | None, Doc("Quality on the test part. null: unknown.")]
    data_source: Annotated[str, Doc("Where the training texts come from.")]
    language_setting: Annotated[str, Doc("The kind of language: conversation, news, ...")]
    dataset: Annotated[str, Doc("Id of the dataset.")]
    licence: Annotated[str, Doc("Licence of the dataset.")]
    citation: Annotated[str, Doc("Reference to cite.")]
    backbone: Annotated[str, Doc("Name of the backbone.")]
    max_length: Annotated[int, Doc("Tokens of context and text that are read.")]
    context: Annotated[str, Doc("Which earlier turns are read: history or previous.")]
    cell: Annotated[str, Doc("Id of the cell of the first seed.")]


@dataclass(frozen=True, kw_only=True)
class ScoreDocument(Document):
    """What was scored, and with what."""

    out: Annotated[str, Doc("Path of the scores.")]
    n_rows: Annotated[int, Doc("Rows of the output.")]
    n_errors: Annotated[int, Doc("Rows with an error instead of scores.")]
    n_flagged: Annotated[int, Doc("Rows with a text unlike the training texts.")]
    n_taken_up: Annotated[int, Doc("Rows that an interrupted run had scored before.")]
    wall_s: Annotated[float, Doc("Seconds that scoring took.")]
    measures: Annotated[Mapping[str, MeasureDescription], Doc("Name of a measure -> its description.")]
    left_out: Annotated[tuple[str, ...], Doc("Cells that were left out, with the reason.")]
    flags: Annotated[Mapping[str, str], Doc("Flag of a text -> what it means.")]
    not_for: Annotated[str, Doc("What the scores must not be used for.")]


@dataclass(frozen=True, kw_only=True)
class ExportedMeasure:
    """One exported measure."""

    folder: Annotated[str, Doc("Its folder.")]
    repository: Annotated[str | None, Doc("Its repository on the hub. null: no --push was given.")]
    files: Annotated[tuple[str, ...], Doc("Files, relative to the folder.")]
    n_bytes: Annotated[int, Doc("Size of all files in bytes.")]


@dataclass(frozen=True, kw_only=True)
class ExportDocument(Document):
    """Which adapters were exported."""

    measures: Annotated[tuple[ExportedMeasure, ...], Doc("One item per measure.")]
    pushed: Annotated[tuple[str, ...], Doc("Addresses of the uploaded repositories.")]
    left_out: Annotated[tuple[str, ...], Doc("Cells that were left out, with the reason.")]


@dataclass(frozen=True, kw_only=True)
class SuggestedSource:
    """A source. Improvements are positive where it helps, in the ranking's `unit`."""

    source: Annotated[str, Doc("Id of the source task.")]
    expected: Annotated[float, Doc("Expected improvement.")]
    low: Annotated[float, Doc("Lower end of the 90 % interval of what runs would measure.")]
    high: Annotated[float, Doc("Upper end of that interval.")]
    best: Annotated[float, Doc("Probability of being among the k best.")]
    tried: Annotated[bool, Doc("Whether its transfer to the target has finished; its own runs then count.")]
    popularity: Annotated[
        float | None,
        Doc("How much more it gained than the average source of the same target, mean over others. null: unknown."),
    ]
    values: Annotated[Mapping[str, float | None], Doc("Feature -> its value. null: not known.")]
    reasons: Annotated[
        Mapping[str, float],
        Doc("Feature, popularity or own_runs -> its part of `expected`, less the mean over sources; largest first."),
    ]
    seconds: Annotated[
        float | None, Doc("Seconds that its adapter took to read the target's texts, now or earlier. null: not read.")
    ]


@dataclass(frozen=True, kw_only=True)
class ChoosingWay:
    """How well a way to choose ordered the sources of targets that were left out: mean, and its 95 % interval."""

    way: Annotated[str, Doc("model (what `suggest` does), popularity, a feature, random order, or the ceiling.")]
    tau: Annotated[tuple[float | None, ...], Doc("Kendall's tau-b with the measured gains.")]
    ndcg: Annotated[tuple[float | None, ...], Doc("NDCG of the measured gains.")]
    regret_1: Annotated[tuple[float | None, ...], Doc("Regret of the first source, in percent of the best score.")]
    regret_3: Annotated[tuple[float | None, ...], Doc("Regret of the first 3 sources.")]
    regret_5: Annotated[tuple[float | None, ...], Doc("Regret of the first 5 sources.")]


@dataclass(frozen=True, kw_only=True)
class SourceRanking:
    """All sources of the target, the best first."""

    setting: Annotated[str, Doc("Table of results and its setting. Empty: the ranking of your own cells.")]
    k: Annotated[int, Doc("How many sources are suggested.")]
    unit: Annotated[str, Doc("The metric, or `percent of the baseline's error`.")]
    sentences: Annotated[tuple[str, ...], Doc("The answer and its cautions, as printed.")]
    sources: Annotated[tuple[SuggestedSource, ...], Doc("Every source.")]
    n_targets: Annotated[int, Doc("Finished targets that the ranking learnt from.")]
    calibrated: Annotated[bool, Doc("Whether the intervals were checked on targets that were left out.")]
    width: Annotated[float, Doc("Width of the intervals, in units of the model's own.")]
    ways: Annotated[tuple[ChoosingWay, ...], Doc("Every way to choose. Empty: too few targets are finished.")]
    ceiling: Annotated[
        ChoosingWay | None,
        Doc("How well half of the seeds predicts the other half. null: one seed, or too few targets."),
    ]


@dataclass(frozen=True, kw_only=True)
class NextManifest:
    """The manifest that tries the best sources."""

    file: Annotated[str, Doc("Its path.")]
    why: Annotated[str, Doc("How many seeds it has, and why.")]
    n_cells: Annotated[int, Doc("Its cells.")]
    n_to_run: Annotated[int, Doc("Of these, cells without a result.")]
    hours: Annotated[float | None, Doc("Hours to run these, by the speed of finished cells. null: unknown.")]


@dataclass(frozen=True, kw_only=True)
class SuggestDocument(Document):
    """Which sources are worth trying."""

    target: Annotated[str, Doc("Id of the target task.")]
    metric: Annotated[str | None, Doc("Its metric. null: not known, as of a task that only a table has.")]
    rankings: Annotated[
        tuple[SourceRanking, ...], Doc("One of your own cells, then one per setting of each table of results.")
    ]
    n_texts: Annotated[Mapping[str, int], Doc("Task -> its training texts that were read.")]
    seconds: Annotated[Mapping[str, float], Doc("Task -> seconds that reading them took, now or earlier.")]
    seconds_now: Annotated[float, Doc("Seconds of reading in this call.")]
    left_out: Annotated[tuple[str, ...], Doc("What could not be used, and why, one sentence each.")]
    written: Annotated[NextManifest | None, Doc("The manifest that was written. null: none was asked for.")]
