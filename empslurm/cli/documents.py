"""The JSON document of each verb: its keys, their types and their meaning.

`DOCUMENTS` has one entry per verb, or per `VERB ACTION`. To describe a new document, write a dataclass that inherits
from `Document`, give each field a `Doc`, and add it to `DOCUMENTS`. A key that may be absent has the default `ABSENT`.
`docs/pages` writes these types to docs/reference/json.md; the tests compare every document with its schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from empslurm.validation.constraints import Doc, Key
from empslurm.validation.reader import json_schema

DRAFT = "http://json-schema.org/draft-07/schema#"
ABSENT: Any = None  # default of a key that a document may lack

Part = Literal["train", "validation", "test"]
CellName = Annotated[str, Doc("Id of the cell.")]
ManifestName = Annotated[str, Doc("Name of the manifest.")]
FilePaths = Annotated[tuple[str, ...], Doc("Paths of the files that were written.")]
MissingData = Annotated[Mapping[str, str], Doc("Dataset id -> how to obtain it, for datasets that are not here.")]
Refused = Annotated[
    Mapping[str, tuple[str, ...]], Doc("Path of a card -> why it is refused, one sentence per problem.")
]


@dataclass(frozen=True, kw_only=True)
class Document:
    """What every document may have."""

    warnings: Annotated[
        tuple[str, ...], Doc("Warnings, one sentence each, as printed on stderr. Absent: there were none.")
    ] = ABSENT


# ---- errors ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What went wrong."""

    class_: Annotated[str, Key("class"), Doc("Class of the error, such as ManifestError or DataError.")]
    problems: Annotated[
        tuple[str, ...], Doc("One sentence per problem: what must hold, what was found, what to do. Usually one.")
    ]


@dataclass(frozen=True, kw_only=True)
class Error(Document):
    """The document of a verb that ends with an error; the exit status is 1 (work failed) or 2 (wrong use)."""

    error: Annotated[Problem, Doc("What went wrong.")]


# ---- data -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DatasetStatus:
    """A dataset as it is on this machine."""

    dataset: Annotated[str, Doc("Id of the dataset.")]
    state: Annotated[
        Literal["found", "altered", "sample", "missing", "unreadable"],
        Doc("found: complete, as pinned. altered: not the pinned bytes. sample: the invented sample."),
    ]
    form: Annotated[str | None, Doc("Which of the dataset's forms was found. null: none.")]
    files: Annotated[Mapping[str, str], Doc("Name of each raw file -> its path.")]
    digest: Annotated[str | None, Doc("Digest of the raw files, which enters the ids of cells. null: unknown.")]
    problem: Annotated[str, Doc("What is wrong, and what to do. Empty: nothing.")]
    obtain: Annotated[str, Doc("How to obtain the dataset.")]
    licence: Annotated[str, Doc("Licence of the dataset.")]
    citation: Annotated[str, Doc("Reference to cite.")]
    tasks: Annotated[tuple[str, ...], Doc("Ids of its tasks.")]


@dataclass(frozen=True, kw_only=True)
class DataStatus(Document):
    """Which datasets are here, and how to obtain the others."""

    data_root: Annotated[str, Doc("The folder with the raw data.")]
    datasets: Annotated[tuple[DatasetStatus, ...], Doc("One item per dataset.")]
    refused: Refused


@dataclass(frozen=True, kw_only=True)
class DataSample(Document):
    """The files of the invented corpus."""

    data_root: Annotated[str, Doc("The folder with the raw data.")]
    files: FilePaths


@dataclass(frozen=True, kw_only=True)
class FetchedFile:
    """A raw file that was downloaded or already there."""

    file: Annotated[str, Doc("Name of the file.")]
    path: Annotated[str, Doc("Path of the file.")]
    checked: Annotated[bool, Doc("Whether its checksum was compared with a recorded one.")]
    n_bytes: Annotated[int, Doc("Size in bytes. Absent: the library of the hub saved it.")] = ABSENT
    sha256: Annotated[str, Doc("Checksum of the file. Absent: the library of the hub saved it.")] = ABSENT
    downloaded: Annotated[bool, Doc("false: it was there already. Absent: the library of the hub saved it.")] = ABSENT


@dataclass(frozen=True, kw_only=True)
class FetchedDataset:
    """What became of one dataset."""

    dataset: Annotated[str, Doc("Id of the dataset.")]
    state: Annotated[
        Literal["here", "fetched", "steps", "failed"],
        Doc("here: it was there already. steps: a person must do something to get it. failed: see `problem`."),
    ]
    files: Annotated[tuple[FetchedFile, ...], Doc("Files that are now there.")]
    problem: Annotated[str, Doc("Why it failed. Empty: it did not.")]
    steps: Annotated[str, Doc("What a person must do. Empty: nothing.")]
    licence: Annotated[str, Doc("Licence of the dataset.")]
    citation: Annotated[str, Doc("Reference to cite.")]


@dataclass(frozen=True, kw_only=True)
class DataFetch(Document):
    """What was downloaded."""

    data_root: Annotated[str, Doc("The folder with the raw data.")]
    mirror: Annotated[str | None, Doc("URL that replaced the public sources. null: none.")]
    datasets: Annotated[tuple[FetchedDataset, ...], Doc("One item per dataset.")]


@dataclass(frozen=True, kw_only=True)
class TaskTokens:
    """The tokens of one task."""

    n_examples: Annotated[int, Doc("Examples of all parts.")]
    n: Annotated[Mapping[str, int], Doc("Part (train, validation, test) -> its examples.")]
    n_tokens: Annotated[int, Doc("Tokens of all examples after cutting.")]
    n_truncated: Annotated[int, Doc("Examples that were longer than the maximal length and were cut.")]
    folder: Annotated[str, Doc("The folder of the token files.")]


@dataclass(frozen=True, kw_only=True)
class Split:
    """How the groups of a dataset were split."""

    version: Annotated[int, Doc("Version of the split rule.")]
    salt: Annotated[int, Doc("Number that the hash of each group starts from.")]
    digest: Annotated[str, Doc("Digest of the split.")]
    n_groups: Annotated[int, Doc("Groups of examples that are never divided between parts.")]


@dataclass(frozen=True, kw_only=True)
class ParsedDataset:
    """One parsed dataset."""

    folder: Annotated[str, Doc("The folder with the parsed table.")]
    n_examples: Annotated[int, Doc("Examples.")]
    n_rejects: Annotated[int, Doc("Bad rows, which give no example.")]
    state: Annotated[str, Doc("found, altered or sample, as in `data status`.")]
    split: Annotated[Split, Doc("How its groups were split.")]


@dataclass(frozen=True, kw_only=True)
class DataPrepare(Document):
    """What was parsed and tokenised."""

    backbone: Annotated[str, Doc("Backbone whose tokens were made; none: no tokens were made.")]
    datasets: Annotated[Mapping[str, ParsedDataset], Doc("Dataset id -> its parsed form.")]
    tasks: Annotated[Mapping[str, TaskTokens], Doc("Task id -> its tokens.")]
    missing: MissingData


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """One line of a task's table."""

    statistic: Annotated[str, Doc("n, percent (of all examples), min, median, max, mean, std, or label.")]
    label: Annotated[str | None, Doc("The label, whose values are percent of each part's examples. null: no label.")]
    values: Annotated[tuple[float | None, ...], Doc("One value per column of the table. null: the part is empty.")]


@dataclass(frozen=True, kw_only=True)
class TaskStatistics:
    """The table of one task."""

    kind: Annotated[Literal["classification", "regression"], Doc("Kind of the task.")]
    columns: Annotated[tuple[str, ...], Doc("all, train, validation, test.")]
    rows: Annotated[
        tuple[tuple[str | float | None, ...], ...], Doc("The lines again, each as a name and one value per column.")
    ]
    n: Annotated[Mapping[str, float], Doc("Column -> its examples. Absent: see `problem`.")] = ABSENT
    lines: Annotated[tuple[Statistic, ...], Doc("The lines of the table. Absent: see `problem`.")] = ABSENT
    problem: Annotated[str, Doc("Why the task cannot be counted. Absent: it can.")] = ABSENT


@dataclass(frozen=True, kw_only=True)
class DatasetStatistics:
    """Sizes of one dataset. Tokens are words and punctuation marks."""

    dataset: Annotated[str, Doc("Id of the dataset.")]
    title: Annotated[str, Doc("Name of the dataset, as printed.")]
    state: Annotated[str, Doc("found, altered or sample, as in `data status`.")]
    form: Annotated[str, Doc("Which of the dataset's forms was read.")]
    splits: Annotated[str, Doc("The split rule: family or paper.")]
    leaks: Annotated[str, Doc("What the split rule lets leak from training to test. Empty: nothing is known.")]
    n_rejects: Annotated[int, Doc("Bad rows, which give no example.")]
    left_out: Annotated[Mapping[str, int], Doc("Label -> rows that are left out because of it.")]
    notes: Annotated[tuple[str, ...], Doc("What a reader of the numbers should know.")]
    n_groups: Annotated[int, Doc("Groups of examples that are never divided between parts.")]
    split_digest: Annotated[str, Doc("Digest of the split.")]
    n_examples: Annotated[int, Doc("Examples.")]
    n_vocabulary: Annotated[int, Doc("Distinct tokens; upper and lower case differ.")]
    n_tokens: Annotated[int, Doc("Tokens of texts with all earlier turns.")]
    n_tokens_previous: Annotated[int, Doc("Tokens of texts with the previous turn only.")]
    n_tokens_text: Annotated[int, Doc("Tokens of texts without any context.")]
    published: Annotated[Mapping[str, int], Doc("Numbers that the paper prints for it, by name.")]
    tasks: Annotated[Mapping[str, TaskStatistics], Doc("Task id -> its table.")]


@dataclass(frozen=True, kw_only=True)
class PublishedNumber:
    """A number of the paper beside the one counted here."""

    table: Annotated[int, Doc("Number of the paper's table.")]
    name: Annotated[str, Doc("Id of the dataset (Table 1) or of the task.")]
    measure: Annotated[str, Doc("What is counted: n_samples, percent, mean, ..., or a label.")]
    column: Annotated[str, Doc("all, train, validation or test.")]
    digits: Annotated[int, Doc("Digits after the point, as printed.")]
    here: Annotated[float | None, Doc("The number counted here. null: the files are missing.")]
    published: Annotated[float, Doc("The number in the paper.")]
    verdict: Annotated[
        Literal["equal", "differs", "another draw", "another rule", "not here"],
        Doc("equal: to the printed digits. another draw: parts are drawn anew. another rule: words are counted anew."),
    ]
    difference: Annotated[float | None, Doc("`here` minus `published`. null: one is unknown.")]


@dataclass(frozen=True, kw_only=True)
class DataStats(Document):
    """Sizes and label distributions, beside the paper's."""

    splits: Annotated[str, Doc("The split rule: family or paper.")]
    datasets: Annotated[Mapping[str, DatasetStatistics], Doc("Dataset id -> its numbers.")]
    missing: MissingData
    broken: Annotated[Mapping[str, str], Doc("Dataset id -> why it cannot be read.")]
    refused: Refused
    compared: Annotated[tuple[PublishedNumber, ...], Doc("Every number of the paper's Tables 1 and 9 to 12.")]
    summary: Annotated[Mapping[str, Mapping[str, int]], Doc("Number of the paper's table -> verdict -> count.")]
    files: FilePaths


@dataclass(frozen=True, kw_only=True)
class AuditedFiles:
    """A dataset as the audit has seen it."""

    raw_digest: Annotated[str, Doc("Digest of its raw files.")]
    prepared: Annotated[str, Doc("Name of its folder in prepared/.")]
    reading: Annotated[int, Doc("Version of the reader of cards; 0 for built-in datasets.")]
    splits: Annotated[Mapping[str, str], Doc("Split rule -> the rule with its version and salt.")]


@dataclass(frozen=True, kw_only=True)
class OverlapCounts:
    """Test examples of `target` that also occur in the training part of `source`. Case and punctuation are ignored."""

    splits: Annotated[Literal["family", "paper"], Doc("The split rule.")]
    source: Annotated[str, Doc("Id of the source task. Equal to `target`: one task's own parts.")]
    target: Annotated[str, Doc("Id of the target task.")]
    n_train: Annotated[int, Doc("Training examples of the source.")]
    n_test: Annotated[int, Doc("Test examples of the target.")]
    shared_groups: Annotated[int, Doc("Groups of the target's test part that the source trains on.")]
    in_shared_groups: Annotated[int, Doc("Test examples in such groups.")]
    exact: Annotated[int, Doc("Test examples whose text occurs in the source's training part.")]
    exact_context: Annotated[int, Doc("The same, with an equal context.")]
    exact_same_group: Annotated[int, Doc("The same as `exact`, in the same group.")]
    near: Annotated[int, Doc("Test examples whose text occurs there nearly or exactly.")]
    near_context: Annotated[int, Doc("The same, with a nearly equal context.")]
    near_same_group: Annotated[int, Doc("The same as `near`, in the same group.")]
    official: Annotated[bool, Doc("Whether one of the two has official parts, which no split rule changes.")]
    share: Annotated[float, Doc("Share of test examples in shared groups or with a near duplicate, 0 to 1.")]
    exact_by_chance: Annotated[int, Doc("`exact` minus `exact_same_group`.")]


@dataclass(frozen=True, kw_only=True)
class OfficialParts:
    """What an official part of a task repeats of an earlier one; counts are of examples of the later part."""

    task: Annotated[str, Doc("Id of the task.")]
    earlier: Annotated[Part, Doc("The earlier part.")]
    later: Annotated[Part, Doc("The later part.")]
    n_later: Annotated[int, Doc("Examples of the later part.")]
    in_shared_groups: Annotated[int, Doc("Examples in groups that the earlier part has too.")]
    exact: Annotated[int, Doc("Examples whose text occurs in the earlier part.")]
    exact_context: Annotated[int, Doc("The same, with an equal context.")]
    near: Annotated[int, Doc("Examples whose text occurs there nearly or exactly.")]
    near_context: Annotated[int, Doc("The same, with a nearly equal context.")]


@dataclass(frozen=True, kw_only=True)
class AuditedTask:
    """What the table of one task holds."""

    task: Annotated[str, Doc("Id of the task.")]
    kind: Annotated[str, Doc("classification or regression.")]
    n_examples: Annotated[int, Doc("Examples.")]
    equal_texts: Annotated[int, Doc("Distinct texts that occur more than once.")]
    conflicting_texts: Annotated[int, Doc("Of these, texts with different labels or ratings.")]
    conflicting_with_context: Annotated[int, Doc("Distinct pairs of text and previous turn with different labels.")]
    unseen_labels: Annotated[
        Mapping[str, tuple[str, ...]], Doc("Split rule -> labels of validation or test that training lacks.")
    ]
    empty_labels: Annotated[tuple[str, ...], Doc("Labels that no example has.")]
    largest_share: Annotated[float, Doc("Share of the most frequent label or rating, 0 to 1.")]
    smallest_count: Annotated[int, Doc("Examples of the rarest label or rating.")]
    balance: Annotated[float, Doc("Entropy of the labels relative to that of equal shares; 1: balanced.")]
    truncated_share: Annotated[float | None, Doc("Share of examples longer than the maximal length. null: unknown.")]


@dataclass(frozen=True, kw_only=True)
class DuplicatePair:
    """One test example and a training example like it."""

    splits: Annotated[Literal["family", "paper"], Doc("The split rule.")]
    source: Annotated[str, Doc("Id of the source task.")]
    target: Annotated[str, Doc("Id of the target task.")]
    train_id: Annotated[str, Doc("Id of the training example of the source.")]
    test_id: Annotated[str, Doc("Id of the test example of the target.")]
    kind: Annotated[str, Doc("exact or near; with +context where the previous turn is alike too.")]
    same_group: Annotated[bool, Doc("Whether both are in one group.")]


@dataclass(frozen=True, kw_only=True)
class DataAudit(Document):
    """Duplicates between training and test parts, within and across tasks."""

    version: Annotated[int, Doc("Version of the audit.")]
    datasets: Annotated[Mapping[str, AuditedFiles], Doc("Dataset id -> what was audited.")]
    overlaps: Annotated[tuple[OverlapCounts, ...], Doc("Every pair and split rule, the largest share first.")]
    between: Annotated[tuple[OfficialParts, ...], Doc("Overlap between official parts.")]
    tasks: Annotated[tuple[AuditedTask, ...], Doc("One item per task.")]
    duplicates: Annotated[tuple[DuplicatePair, ...], Doc("Examples of duplicates, by id.")]
    n_texts: Annotated[int, Doc("Distinct normalised texts and previous turns.")]
    n_near_pairs: Annotated[int, Doc("Pairs of nearly equal texts.")]
    length: Annotated[
        Mapping[str, str | int], Doc("Backbone, maximal length and special tokens, for truncated shares.")
    ]
    threshold: Annotated[float, Doc("Share of test examples above which a pair is flagged.")]
    flagged: Annotated[
        tuple[tuple[str, ...], ...], Doc("Split rule, source, target and a sentence of each flagged pair.")
    ]
    missing: MissingData
    files: FilePaths


# ---- plan, prepare, submit ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class InitDocument(Document):
    """The study that was written."""

    name: Annotated[str, Doc("Name of the study and of its manifest.")]
    folder: Annotated[str, Doc("The folder of the study.")]
    files: FilePaths


@dataclass(frozen=True, kw_only=True)
class Leak:
    """A pair that the last audit flags."""

    source: Annotated[str, Doc("Id of the source task.")]
    target: Annotated[str, Doc("Id of the target task.")]
    why: Annotated[str, Doc("How many test examples leak, and how.")]


@dataclass(frozen=True, kw_only=True)
class Hours:
    """Estimated hours; each list is the low end, the middle and the high end of the middle 80 %."""

    job_h: Annotated[tuple[float, ...], Doc("Hours of jobs: low, middle, high.")]
    gpu_h: Annotated[tuple[float, ...], Doc("Hours of GPUs: low, middle, high.")]
    n_measured: Annotated[int, Doc("Finished cells that the estimate is made from.")]


@dataclass(frozen=True, kw_only=True)
class Space:
    """Estimated room below the runs root."""

    finished_bytes: Annotated[int, Doc("Bytes once all cells are done.")]
    peak_bytes: Annotated[int, Doc("Bytes at most, with the checkpoints of all packs that run at once.")]
    n_files: Annotated[int, Doc("Files once all cells are done.")]


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What running the rest would cost with the profile."""

    profile: Annotated[str, Doc("Name of the profile.")]
    n_cells: Annotated[int, Doc("Cells that would run.")]
    n_packs: Annotated[int, Doc("Packs they would run in.")]
    hours: Annotated[Hours | None, Doc("Estimated hours. null: no cell of the manifest has finished yet.")]
    space: Annotated[Space | None, Doc("Estimated room. null: the backbone is not here, or is tiny.")]


@dataclass(frozen=True, kw_only=True)
class PackOfPlan:
    """Cells that train in one process."""

    id: Annotated[str, Doc("Id of the pack.")]
    wave: Annotated[int, Doc("0: waits for nothing. 1: starts from adapters of wave 0.")]
    cells: Annotated[tuple[str, ...], Doc("Ids of its cells.")]


@dataclass(frozen=True, kw_only=True)
class CellOfPlan:
    """A planned cell, and what `submit` would do with it."""

    id: CellName
    kind: Annotated[str, Doc("baseline, transfer, fisher, embed or trial.")]
    source: Annotated[str | None, Doc("Id of the source task. null: the cell has none.")]
    target: Annotated[str, Doc("Id of the target task.")]
    seed: Annotated[int, Doc("Random seed.")]
    fraction: Annotated[float, Doc("Share of the target's training part, above 0 and at most 1.")]
    parent: Annotated[str | None, Doc("Id of the cell whose adapter it starts from. null: none.")]
    provisional: Annotated[bool, Doc("Whether the id will change once the data or the backbone is here.")]
    action: Annotated[Literal["run", "reuse", "skip"], Doc("What `submit` would do with it.")]
    why: Annotated[str, Doc("The reason.")]


@dataclass(frozen=True, kw_only=True)
class BatchScript:
    """The batch script of the first array."""

    script: Annotated[str, Doc("The script. Words in capitals stand for what only a submission knows.")]
    n_elements: Annotated[int, Doc("Jobs of the array.")]
    n_packs: Annotated[int, Doc("Packs of these jobs.")]


@dataclass(frozen=True, kw_only=True)
class PlanDocument(Document):
    """The dry run: every cell, with what `submit` would do."""

    manifest: ManifestName
    n_cells: Annotated[int, Doc("All cells.")]
    n_training_cells: Annotated[int, Doc("Cells that train and are scored: baselines and transfers.")]
    kinds: Annotated[Mapping[str, int], Doc("Kind of cell -> how many.")]
    actions: Annotated[Mapping[str, int], Doc("Action (run, reuse, skip) -> how many cells.")]
    n_packs_by_wave: Annotated[tuple[int, ...], Doc("Packs of wave 0, and of wave 1.")]
    leaks: Annotated[tuple[Leak, ...], Doc("Pairs of the manifest that the last audit flags.")]
    costs: Annotated[Costs | None, Doc("Estimated costs. null: no --profile was given.")]
    warnings: Annotated[tuple[str, ...], Doc("What to know before anything runs, one sentence each.")] = field()
    sbatch: Annotated[
        BatchScript | None, Doc("What sbatch would get. null: no --show-sbatch was given, or the profile is local.")
    ]
    packs: Annotated[tuple[PackOfPlan, ...], Doc("Packs of all cells.")]
    cells: Annotated[tuple[CellOfPlan, ...], Doc("All cells.")]


@dataclass(frozen=True, kw_only=True)
class PrepareDocument(Document):
    """What is ready for the cells of a manifest."""

    backbone: Annotated[str, Doc("The folder of the backbone.")]
    datasets: Annotated[Mapping[str, str], Doc("Dataset id -> the folder with its parsed table.")]
    tasks: Annotated[Mapping[str, TaskTokens], Doc("Task id -> its tokens.")]
    notes: Annotated[tuple[str, ...], Doc("What a reader of the numbers should know about the data.")]
    missing: MissingData


@dataclass(frozen=True, kw_only=True)
class NothingToRun(Document):
    """`submit` or `resume` where no cell is to run."""

    manifest: ManifestName
    submitted: Annotated[Literal[0], Doc("0: nothing was submitted.")]
    decisions: Annotated[Mapping[str, int], Doc("Action (reuse, skip) -> how many cells.")]


@dataclass(frozen=True, kw_only=True)
class RunHere(Document):
    """`submit` or `resume` with a profile of kind local, once the run has ended."""

    manifest: ManifestName
    submitted: Annotated[int, Doc("Cells that were to run.")]
    states: Annotated[Mapping[str, int], Doc("State after the run -> how many of these cells.")]
    failed: Annotated[Mapping[str, str], Doc("Id of a failed cell -> why it failed.")]


@dataclass(frozen=True, kw_only=True)
class SentToSlurm(Document):
    """`submit` or `resume` with a profile of kind slurm, once the jobs are queued."""

    manifest: ManifestName
    submission: Annotated[str, Doc("Name of the folder in submissions/.")]
    submitted: Annotated[int, Doc("Cells that are to run.")]
    packs: Annotated[int, Doc("Packs that were sent.")]
    packs_left: Annotated[int, Doc("Packs that a queue limit refused; the next `submit` sends them.")]
    jobs: Annotated[tuple[str, ...], Doc("Slurm ids of the arrays.")]
    cancelled: Annotated[bool, Doc("Whether `cancel` stopped the submission while it was being sent.")]
    never: Annotated[Mapping[str, str], Doc("Slurm's reason why a job can never start -> what to do.")]


# ---- status, cancel, cells ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StateCounts:
    """Cells by state."""

    done: Annotated[int, Doc("Cells with a result.")]
    running: Annotated[int, Doc("Cells that a living process holds.")]
    queued: Annotated[int, Doc("Cells whose job waits in Slurm's queue.")]
    pending: Annotated[int, Doc("Cells that nothing has started.")]
    lost: Annotated[int, Doc("Cells whose process ended without a result or an error.")]
    failed: Annotated[int, Doc("Cells whose last attempt failed.")]


@dataclass(frozen=True, kw_only=True)
class StudyCounts:
    """Trials of one task of a search."""

    complete: Annotated[int, Doc("Trials that trained to the end.")]
    pruned: Annotated[int, Doc("Trials that the pruner ended early.")]
    running: Annotated[int, Doc("Trials that run.")]
    again: Annotated[int, Doc("Of the running ones, trials that an earlier process did not finish.")]
    waiting: Annotated[int, Doc("Trials that are queued or pending.")]
    killed: Annotated[int, Doc("Trials whose process ended without a result.")]
    failed: Annotated[int, Doc("Trials that failed.")]


@dataclass(frozen=True, kw_only=True)
class RunningCell:
    """A cell that a living process holds. Keys of the progress are absent before the process first notes them."""

    id: CellName
    where: Annotated[str, Doc("Name of the machine.")]
    who: Annotated[str, Doc("The job or the process.")]
    attempt: Annotated[int, Doc("Number of the attempt, from 1.")]
    left_s: Annotated[float | None, Doc("Seconds left at the current speed. null: not known yet.")]
    time: Annotated[float, Doc("When the progress was noted: Unix time in seconds.")] = ABSENT
    step: Annotated[int, Doc("Optimiser steps done.")] = ABSENT
    n_steps: Annotated[int, Doc("Optimiser steps in all.")] = ABSENT
    epoch: Annotated[int, Doc("The current epoch.")] = ABSENT
    epochs: Annotated[int, Doc("Epochs in all.")] = ABSENT
    tokens_per_s: Annotated[float, Doc("Tokens per second.")] = ABSENT
    steps_per_s: Annotated[float, Doc("Optimiser steps per second.")] = ABSENT
    pack: Annotated[int, Doc("Cells that train together in this process.")] = ABSENT


@dataclass(frozen=True, kw_only=True)
class ReasonCount:
    """Cells with the same reason."""

    why: Annotated[str, Doc("The reason.")]
    n_cells: Annotated[int, Doc("Cells with this reason.")]


@dataclass(frozen=True, kw_only=True)
class NeverStarts:
    """Cells whose jobs can never start."""

    reason: Annotated[str, Doc("Slurm's reason.")]
    fix: Annotated[str, Doc("What to do.")]
    n_cells: Annotated[int, Doc("Cells that wait for such jobs.")]


@dataclass(frozen=True, kw_only=True)
class FailedCell:
    """A cell whose last attempt failed."""

    id: CellName
    class_: Annotated[str, Key("class"), Doc("Class of the error.")]
    why: Annotated[str, Doc("Message of the error.")]


@dataclass(frozen=True, kw_only=True)
class FlaggedCell:
    """A finished cell that did not learn."""

    id: CellName
    flags: Annotated[tuple[str, ...], Doc("Signs that it did not learn, such as constant or diverged.")]


@dataclass(frozen=True, kw_only=True)
class EarlyEnd:
    """A cell whose job ended before training started."""

    id: CellName
    job: Annotated[str, Doc("Slurm id of the job.")]
    log: Annotated[str, Doc("Path of the job's log.")]
    why: Annotated[str, Doc("Why it ended.")]


@dataclass(frozen=True, kw_only=True)
class SpentSoFar:
    """What the jobs of the manifest have used, as far as they could note it."""

    job_h: Annotated[float, Doc("Hours of jobs.")]
    gpu_h: Annotated[float, Doc("Hours of GPUs.")]
    energy_wh: Annotated[float, Doc("Energy of the GPUs in watt-hours.")]
    n_starts: Annotated[int, Doc("Starts of packs.")]
    ends: Annotated[Mapping[str, int], Doc("Reason of an end -> how many.")]


@dataclass(frozen=True, kw_only=True)
class StatusDocument(Document):
    """Cells by state, and everything that needs attention."""

    manifest: ManifestName
    totals: Annotated[StateCounts, Doc("All cells by state.")]
    targets: Annotated[Mapping[str, StateCounts], Doc("Target task -> its cells by state.")]
    running: Annotated[tuple[RunningCell, ...], Doc("Cells that run.")]
    queued: Annotated[tuple[ReasonCount, ...], Doc("Why queued cells wait.")]
    never: Annotated[tuple[NeverStarts, ...], Doc("Queued cells whose jobs can never start.")]
    failed: Annotated[tuple[FailedCell, ...], Doc("Cells that failed.")]
    flagged: Annotated[tuple[FlaggedCell, ...], Doc("Finished cells that did not learn.")]
    died_early: Annotated[tuple[EarlyEnd, ...], Doc("Cells whose jobs ended before training started.")]
    saved: Annotated[tuple[str, ...], Doc("Ids of cells with a checkpoint that the next `submit` continues.")]
    unseen: Annotated[tuple[ReasonCount, ...], Doc("Cells that may be queued or run without being seen from here.")]
    queue_answers: Annotated[bool | None, Doc("Whether squeue answers. null: nothing was ever submitted.")]
    held: Annotated[str, Doc("Why the rest of the newest submission was held back. Empty: it was not.")]
    spent: Annotated[SpentSoFar, Doc("What jobs have used so far.")]
    studies: Annotated[
        Mapping[str, StudyCounts], Doc("Task id -> its trials. Absent: the manifest is of kind grid.")
    ] = ABSENT


@dataclass(frozen=True, kw_only=True)
class EndedHere:
    """Runs without Slurm."""

    n_ended: Annotated[int, Doc("Runs on this machine that were ended.")]
    n_saving: Annotated[int, Doc("Runs that were asked to end and still save.")]
    elsewhere: Annotated[Mapping[str, int], Doc("Name of another machine -> cells that run there.")]
    others: Annotated[Mapping[str, int], Doc("Process that no `submit` of this manifest started -> its cells.")]


@dataclass(frozen=True, kw_only=True)
class CancelDocument(Document):
    """What was cancelled."""

    manifest: ManifestName
    jobs: Annotated[tuple[str, ...], Doc("Slurm ids of the cancelled jobs.")]
    n_running: Annotated[int, Doc("Of these, jobs that were running.")]
    unseen: Annotated[tuple[str, ...], Doc("Why cells may be queued or run without being seen from here.")]
    local: Annotated[EndedHere, Doc("Runs without Slurm.")]


@dataclass(frozen=True, kw_only=True)
class ClaimOfCell:
    """One attempt at a cell."""

    number: Annotated[int, Doc("Number of the attempt, from 1.")]
    nonce: Annotated[str, Doc("Random name of the attempt.")]
    host: Annotated[str, Doc("Name of the machine.")]
    pid: Annotated[int, Doc("Id of the process.")]
    process_start: Annotated[float, Doc("Start of the process, in clock ticks since boot.")]
    started: Annotated[float, Doc("Start of the attempt: Unix time in seconds.")]
    job_id: Annotated[str | None, Doc("Slurm id of the job. null: no job.")]
    restart_count: Annotated[int, Doc("How often Slurm had restarted the job.")]
    log: Annotated[str | None, Doc("Path of the log. null: none.")]
    kernel: Annotated[str, Doc("Boot and process name space of the machine.")]
    job_name: Annotated[str | None, Doc("Name of the job. null: no job.")]
    cluster: Annotated[str | None, Doc("Cluster of the job. null: unknown, or no job.")]


@dataclass(frozen=True, kw_only=True)
class CellDocument(Document):
    """Everything that the folder of a cell holds."""

    id: CellName
    folder: Annotated[str, Doc("Path of the cell's folder.")]
    state: Annotated[Literal["done", "running", "queued", "pending", "lost", "failed"], Doc("State, as in `status`.")]
    why: Annotated[str, Doc("What explains the state. Empty: nothing more to say.")]
    identity: Annotated[Mapping[str, Any], Doc("Everything that the cell's number depends on: cell.json.")]
    claims: Annotated[tuple[ClaimOfCell, ...], Doc("Attempts, oldest first.")]
    progress: Annotated[Mapping[str, float], Doc("Last note of the progress, as in `status`. {}: none.")]
    error: Annotated[Mapping[str, Any] | None, Doc("The last failure: error.json. null: none.")]
    result: Annotated[Mapping[str, Any], Doc("result.json without its checksums. Absent: the cell is not done.")] = (
        ABSENT
    )
    files: Annotated[tuple[str, ...], Doc("Paths of the result's files. Absent: the cell is not done.")] = ABSENT


@dataclass(frozen=True, kw_only=True)
class LogDocument(Document):
    """The log of a cell."""

    id: CellName
    file: Annotated[str | None, Doc("Path of the log. null: nothing has run the cell yet.")]
    text: Annotated[str, Doc("The text of the log.")]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A field in which two cells differ."""

    field: Annotated[str, Doc("The field, with dots between section and key, such as training.lr.")]
    first: Annotated[Any, Doc("Its value in the first cell.")]
    second: Annotated[Any, Doc("Its value in the second cell.")]


@dataclass(frozen=True, kw_only=True)
class ExplainDocument(Document):
    """What makes two cells different."""

    cells: Annotated[tuple[str, ...], Doc("Ids of the two cells.")]
    differences: Annotated[tuple[Difference, ...], Doc("Fields that differ. Empty: the same cell.")]


@dataclass(frozen=True, kw_only=True)
class SharedDifference:
    """A field in which paired cells of two manifests differ."""

    field: Annotated[str, Doc("The field, with dots between section and key, such as training.lr.")]
    first: Annotated[Any, Doc("Its value in the cells of the first manifest.")]
    second: Annotated[Any, Doc("Its value in the cells of the second manifest.")]
    pairs: Annotated[tuple[tuple[str, ...], ...], Doc("Ids of the two cells of each pair with this difference.")]


@dataclass(frozen=True, kw_only=True)
class ExplainManifests(Document):
    """How the cells of two manifests differ."""

    manifests: Annotated[tuple[str, ...], Doc("Names of the two manifests.")]
    shared: Annotated[tuple[str, ...], Doc("Ids of cells that both have.")]
    pairs: Annotated[
        tuple[tuple[str, ...], ...], Doc("Ids of two cells with the same kind, tasks, seed and amount of data.")
    ]
    differences: Annotated[
        tuple[SharedDifference, ...], Doc("Fields in which cells of a pair differ, the most frequent first.")
    ]
    first_only: Annotated[tuple[str, ...], Doc("Ids of cells that only the first manifest has.")]
    second_only: Annotated[tuple[str, ...], Doc("Ids of cells that only the second manifest has.")]


@dataclass(frozen=True, kw_only=True)
class CompletionDocument(Document):
    """What a shell needs to complete words."""

    shell: Annotated[str, Doc("Name of the shell.")]
    code: Annotated[str, Doc("Lines for the shell.")]
    load: Annotated[str, Doc("How to load these lines.")]


@dataclass(frozen=True, kw_only=True)
class DebugResult:
    """A short training run."""

    kind: Annotated[str, Doc("baseline or transfer.")]
    source: Annotated[str | None, Doc("Id of the source task. null: none.")]
    target: Annotated[str, Doc("Id of the target task.")]
    history: Annotated[tuple[Mapping[str, Any], ...], Doc("One item per epoch, as in metrics.jsonl.")]
    test: Annotated[Mapping[str, float | None], Doc("Metric -> score on the test part. null: undefined.")]
    flags: Annotated[tuple[str, ...], Doc("Signs that it did not learn.")]


@dataclass(frozen=True, kw_only=True)
class DebugDocument(Document):
    """What the short run gave. Nothing is kept."""

    cell: CellName
    steps: Annotated[int, Doc("Optimiser steps of each run.")]
    results: Annotated[tuple[DebugResult, ...], Doc("The run; for a transfer, its source's run first.")]


# ---- results --------------------------------------------------------------------------------------------------------


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

    name: Annotated[str, Doc("Name of the manifest, or all, published or the name of the file of results.")]
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
    spearman: Annotated[float | None, Doc("Mean Spearman correlation of annotators. null: undefined.")]
    p_value: Annotated[float | None, Doc("Its p-value. null: undefined.")]
    n_units: Annotated[int, Doc("Rated tasks.")]
    n_annotators: Annotated[int, Doc("Annotators.")]
    difference_counts: Annotated[Mapping[str, int], Doc("Difference of two ratings -> how often it occurs.")]


@dataclass(frozen=True, kw_only=True)
class AgreementDocument(Document):
    """How far annotators agree."""

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


# ---- the site -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ProfileChoice:
    """A field of the proposed profile."""

    field: Annotated[str, Doc("Key of the profile.")]
    value: Annotated[str | int | float | bool | None, Doc("Its value. null: left out, or null in the file.")]
    why: Annotated[str, Doc("The reason.")]


@dataclass(frozen=True, kw_only=True)
class OtherPartition:
    """Another partition that would do."""

    partition: Annotated[str, Doc("Name of the partition.")]
    gpus_per_node: Annotated[int, Doc("GPUs of its nodes, at most.")]
    what: Annotated[str, Doc("Its nodes and limits, in words.")]


@dataclass(frozen=True, kw_only=True)
class RuledOut:
    """A partition that would not do."""

    partition: Annotated[str, Doc("Name of the partition.")]
    why: Annotated[str, Doc("Why not.")]


@dataclass(frozen=True, kw_only=True)
class Alternatives:
    """What else the cluster has."""

    partitions: Annotated[tuple[OtherPartition, ...], Doc("Other partitions that would do.")]
    accounts: Annotated[tuple[str, ...], Doc("Other accounts of the user.")]
    qos: Annotated[tuple[str, ...], Doc("Other qualities of service.")]
    gpu_types: Annotated[tuple[str, ...], Doc("Other types of GPU in the partition.")]
    ruled_out: Annotated[tuple[RuledOut, ...], Doc("Partitions that would not do.")]


@dataclass(frozen=True, kw_only=True)
class ProfileDocument(Document):
    """The profile that was written."""

    profile: Annotated[str, Doc("Name of the profile.")]
    file: Annotated[str, Doc("Path of the file.")]
    choices: Annotated[tuple[ProfileChoice, ...], Doc("Each field with its reason.")]
    alternatives: Annotated[Alternatives, Doc("What else the cluster has.")]


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One check."""

    what: Annotated[str, Doc("What was checked.")]
    ok: Annotated[bool | None, Doc("true: good. false: a problem. null: for information only.")]
    found: Annotated[str, Doc("What was found.")]
    fix: Annotated[str, Doc("What to do. Empty: nothing.")]


@dataclass(frozen=True, kw_only=True)
class ProbeSeconds:
    """Seconds of the probe's stages. null: the stage was not reached."""

    started_s: Annotated[float | None, Doc("From sending the job to its start on the node.")]
    first_step_s: Annotated[float | None, Doc("From sending the job to its first training step.")]
    run_s: Annotated[float | None, Doc("From its start to its first training step.")]
    import_s: Annotated[float | None, Doc("Importing the libraries on the node.")]
    waited_s: Annotated[float, Doc("Waiting for the job, on this machine.")]


@dataclass(frozen=True, kw_only=True)
class ClockDifference:
    """The node's clock against this machine's."""

    ahead_s: Annotated[float, Doc("Seconds that the node's clock is ahead.")]
    within_s: Annotated[float, Doc("Uncertainty of that, in seconds.")]


@dataclass(frozen=True, kw_only=True)
class ProbeOutcome:
    """What a small job of the profile did."""

    name: Annotated[str, Doc("Name of the job.")]
    job: Annotated[str | None, Doc("Slurm id of the job. null: it was not sent.")]
    seconds: Annotated[ProbeSeconds, Doc("How long its stages took.")]
    clock: Annotated[ClockDifference | None, Doc("The node's clock. null: unknown.")]
    node: Annotated[Mapping[str, Any] | None, Doc("What the node says about itself. null: it never did.")]
    training: Annotated[Mapping[str, Any] | None, Doc("What training on the node gave. null: it never started.")]
    log: Annotated[str, Doc("The job's log.")]


@dataclass(frozen=True, kw_only=True)
class DoctorDocument(Document):
    """What was checked, and what to fix."""

    ok: Annotated[bool, Doc("Whether no check found a problem.")]
    checks: Annotated[tuple[CheckResult, ...], Doc("Every check.")]
    profile: Annotated[str, Doc("Name of the profile. Absent: no --profile was given.")] = ABSENT
    probe: Annotated[
        ProbeOutcome | None, Doc("What the probe's job did. null: it was not sent. Absent: no --probe was given.")
    ] = ABSENT


@dataclass(frozen=True, kw_only=True)
class PlantedEffect:
    """An effect that the invented corpus has."""

    source: Annotated[str, Doc("Id of the source task.")]
    target: Annotated[str, Doc("Id of the target task.")]
    effect: Annotated[str, Doc("helps, harms or none.")]


@dataclass(frozen=True, kw_only=True)
class FoundCounts:
    """Planted effects of one kind."""

    n_planted: Annotated[int, Doc("Pairs with this effect.")]
    n_found: Annotated[int, Doc("Of these, pairs with the right verdict.")]


@dataclass(frozen=True, kw_only=True)
class DemoDocument(Document):
    """What the demo planted and found."""

    seed: Annotated[int, Doc("Random seed of the invented corpus.")]
    n_cells: Annotated[int, Doc("Cells of the grid.")]
    n_interrupted: Annotated[int, Doc("Cells that were done when the run was interrupted.")]
    n_kept: Annotated[int, Doc("Of these, cells whose result is unchanged at the end.")]
    planted: Annotated[tuple[PlantedEffect, ...], Doc("The planted effects.")]
    found: Annotated[Mapping[str, FoundCounts], Doc("Effect (helps, harms, none) -> how many were found.")]
    pairs: Annotated[tuple[PairVerdict, ...], Doc("All pairs that have a verdict, as in `gather`.")]
    report: Annotated[str, Doc("Path of the report page.")]


# ---- the table ------------------------------------------------------------------------------------------------------

ERROR = "error"  # the name of the error document, which is no verb
# A verb, or a verb and its action -> its document. Several types: which one it prints depends on what there was to do.
DOCUMENTS: Mapping[str, tuple[type[Document], ...]] = {
    "data status": (DataStatus,),
    "data stats": (DataStats,),
    "data audit": (DataAudit,),
    "data fetch": (DataFetch,),
    "data prepare": (DataPrepare,),
    "data sample": (DataSample,),
    "demo": (DemoDocument,),
    "init": (InitDocument,),
    "plan": (PlanDocument,),
    "prepare": (PrepareDocument,),
    "submit": (NothingToRun, RunHere, SentToSlurm),
    "resume": (NothingToRun, RunHere, SentToSlurm),
    "cancel": (CancelDocument,),
    "status": (StatusDocument,),
    "logs": (LogDocument,),
    "show": (CellDocument,),
    "explain": (ExplainDocument, ExplainManifests),
    "debug": (DebugDocument,),
    "gather": (GatherDocument, SearchReport),
    "agreement": (AgreementDocument,),
    "score": (ScoreDocument,),
    "export": (ExportDocument,),
    "search report": (SearchReport,),
    "search freeze": (SearchFreeze,),
    "completion": (CompletionDocument,),
    "profile": (ProfileDocument,),
    "doctor": (DoctorDocument,),
}


def document_types(name: str) -> tuple[type[Document], ...]:
    """The types of a verb's document (`data status`, `plan`, ...), or of `error`. Raises KeyError."""
    return (Error,) if name == ERROR else DOCUMENTS[name]


def document_json_schema(name: str) -> dict[str, Any]:
    """A JSON Schema (draft-07) of a verb's document, or of `error`. Raises KeyError."""
    schemas = [{"description": kind.__doc__, **json_schema(kind)} for kind in document_types(name)]
    return {"$schema": DRAFT, "title": name, **(schemas[0] if len(schemas) == 1 else {"anyOf": schemas})}
