"""Documents of `data ...`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from empslurm.cli.documents.base import ABSENT, Document, FilePaths, MissingData, Part, Refused
from empslurm.validation.constraints import Doc


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
    n_vocabulary: Annotated[
        int,
        Doc(
            "Distinct tokens: words and punctuation marks; in scripts without spaces between words, characters. Upper "
            "and lower case differ."
        ),
    ]
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
