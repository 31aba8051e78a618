"""The documents of `verify` and `clean`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from empslurm.cli.documents.base import CellName, Document
from empslurm.validation.constraints import Doc


@dataclass(frozen=True, kw_only=True)
class DifferingPlace:
    """One place where a printed file differs."""

    place: Annotated[str, Doc("Row and column of a table, or line of a text.")]
    printed: Annotated[str, Doc("What the file says. Empty: nothing.")]
    recomputed: Annotated[str, Doc("What the results give. Empty: nothing.")]


@dataclass(frozen=True, kw_only=True)
class CheckFinding:
    """Something that does not agree."""

    kind: Annotated[str, Doc("refused, older, edited, missing, differs or retrained.")]
    where: Annotated[str, Doc("The file or the cell.")]
    text: Annotated[str, Doc("What is wrong.")]
    n_places: Annotated[int, Doc("How many places of the file differ.")]
    places: Annotated[tuple[DifferingPlace, ...], Doc("The first of them.")]


@dataclass(frozen=True, kw_only=True)
class RetrainedCell:
    """A cell that was trained again."""

    cell: CellName
    outcome: Annotated[
        str, Doc("bits, predictions or score: what is the same. differs: none of them. failed: it did not train.")
    ]
    agrees: Annotated[bool, Doc("Whether that is as it must be.")]
    text: Annotated[str, Doc("The outcome in words.")]
    metric: Annotated[str, Doc("The metric of the target. Empty: it did not train.")]
    score: Annotated[float | None, Doc("The test score of the result. null: undefined.")]
    again: Annotated[float | None, Doc("The test score of the second training. null: undefined.")]
    not_as_it_was: Annotated[
        tuple[str, ...], Doc("Versions, device, threads and machine that differ, as `name then -> now`.")
    ]


@dataclass(frozen=True, kw_only=True)
class VerifyDocument(Document):
    """What a check of a study found."""

    name: Annotated[str, Doc("Name of the study.")]
    agrees: Annotated[bool, Doc("Whether something was checked, and all of it agrees.")]
    sentences: Annotated[tuple[str, ...], Doc("The answer, as printed.")]
    n_planned: Annotated[int, Doc("Planned cells.")]
    n_results: Annotated[int, Doc("Results that passed: seal, checksums and scores.")]
    n_scores: Annotated[int, Doc("Scores that were computed again from predictions.")]
    files: Annotated[Mapping[str, int], Doc("Kind of file -> files that were made again and compared.")]
    findings: Annotated[tuple[CheckFinding, ...], Doc("What does not agree, causes first.")]
    follows: Annotated[tuple[str, ...], Doc("Files that differ because of the findings.")]
    retrained: Annotated[tuple[RetrainedCell, ...], Doc("Cells that were trained again.")]
    repeat: Annotated[str | None, Doc("The command that trains the same cells again. null: none was.")]
    options: Annotated[tuple[str, ...], Doc("How the tables were made, in sentences.")]
    cautions: Annotated[tuple[str, ...], Doc("What else a reader should know.")]
    limits: Annotated[tuple[str, ...], Doc("What was not checked, and what a check cannot show.")]
    page: Annotated[str | None, Doc("Path of the page. null: it could not be written.")]


@dataclass(frozen=True, kw_only=True)
class CleanedKind:
    """Everything of one kind that nothing needs."""

    kind: Annotated[str, Doc("What it is, such as `code` or `tokens`.")]
    why: Annotated[str, Doc("Why it is not needed.")]
    n_entries: Annotated[int, Doc("Files or folders.")]
    n_inodes: Annotated[int, Doc("Files and folders in them, themselves included.")]
    n_bytes: Annotated[int, Doc("Bytes of the files in them.")]


@dataclass(frozen=True, kw_only=True)
class CleanedEntry:
    """One file or folder that nothing needs."""

    kind: Annotated[str, Doc("As in `kinds`.")]
    path: Annotated[str, Doc("Its path below the runs root.")]
    why: Annotated[str, Doc("Why nothing needs it.")]
    n_inodes: Annotated[int, Doc("As in `kinds`.")]
    n_bytes: Annotated[int, Doc("As in `kinds`.")]


@dataclass(frozen=True, kw_only=True)
class CleanDocument(Document):
    """What nothing needs in a runs root, and whether it was removed."""

    runs: Annotated[str, Doc("The runs root.")]
    dry_run: Annotated[bool, Doc("Whether nothing was removed.")]
    kinds: Annotated[tuple[CleanedKind, ...], Doc("What nothing needs, by kind.")]
    entries: Annotated[tuple[CleanedEntry, ...], Doc("Every such file or folder.")]
    n_inodes: Annotated[int, Doc("Their files and folders.")]
    n_bytes: Annotated[int, Doc("Their bytes.")]
    failed: Annotated[Mapping[str, str], Doc("Path -> why it was not removed after all.")]
    kept: Annotated[Mapping[str, int], Doc("Why something was kept -> how many entries.")]
    unknown: Annotated[tuple[str, ...], Doc("Files and folders that empslurm did not write; they are left alone.")]
