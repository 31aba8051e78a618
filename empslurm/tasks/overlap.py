"""Overlap of a source's training texts with a target's test texts, as audits found it, and the pairs that they flag.

`data audit` writes one file per set of datasets; plans and reports read them here, matched by the data's digests.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from empslurm import files
from empslurm.config import DataUse, SplitRule
from empslurm.errors import EmpslurmError
from empslurm.tasks.schema import Dataset
from empslurm.tasks.splits import split_name
from empslurm.validation import decode
from empslurm.validation.constraints import Later

AUDIT_VERSION = 1
FLAG_SHARE = 0.05  # of the target's test examples; chance duplicates of short turns with their context reach 0.026


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Counts of the target's test examples that are like training examples of the source, which may be the target.

    Texts are compared without case, punctuation and spacing; `context` is the turn or post before. `near` includes
    equal texts. Duplicates in one group leak because of the split; the others are there by chance.
    """

    splits: SplitRule
    source: str
    target: str
    n_train: int
    n_test: int
    shared_groups: int  # groups of the target's test part that the source trains on
    in_shared_groups: int  # test examples in such groups
    exact: int  # the text is in the source's training part
    exact_context: int  # ... with its context
    exact_same_group: int  # ... in the same group, so not by chance
    near: int
    near_context: int
    near_same_group: int
    official: Annotated[bool, Later()] = False  # one of the two has the publisher's parts, which hold under every rule

    @property
    def exact_by_chance(self) -> int:
        """Equal texts that are not in the same group."""
        return self.exact - self.exact_same_group

    @property
    def share(self) -> float:
        """Share of test examples in shared groups, or with a near duplicate of text and context: the larger one."""
        return max(self.in_shared_groups, self.near_context) / self.n_test if self.n_test else 0.0


def flag(row: Overlap, threshold: float = FLAG_SHARE) -> str:
    """The warning for results of this pair; empty where the threshold is not exceeded."""
    if row.share <= threshold:
        return ""
    rule = "official parts" if row.official else f"{row.splits} splits"
    return (
        f"{row.source} -> {row.target} ({rule}) leaks: of {row.n_test:,} test examples "
        f"{row.in_shared_groups:,} are in groups that {row.source} trains on, and {row.near_context:,} are in its "
        f"training part with their context, equal or nearly ({row.exact:,} equal texts in all)"
    )


@dataclass(frozen=True, kw_only=True)
class AuditedDataset:
    """A dataset at the time of an audit."""

    raw_digest: str
    prepared: str  # name of the folder
    reading: Annotated[int, Later()] = 0  # version of a card's reader
    splits: Mapping[str, str]  # split rule -> the rule with its version and salt


@dataclass(frozen=True, kw_only=True)
class Audited:
    """The part of an audit that says which pairs leak."""

    version: int  # of the audit
    datasets: Mapping[str, AuditedDataset]  # by id
    overlaps: tuple[Overlap, ...]


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """Results of audits for the pairs of a plan. `unknown`: datasets that no audit covers as they are now."""

    overlaps: Mapping[tuple[str, str], Overlap]
    unknown: tuple[str, ...]

    def flags(self, threshold: float = FLAG_SHARE) -> dict[tuple[str, str], str]:
        """(source, target) -> warning, for the pairs above the threshold, the largest share first."""
        ranked = sorted(self.overlaps.items(), key=lambda item: -item[1].share)
        return {pair: text for pair, row in ranked if (text := flag(row, threshold))}


def verdicts(
    cache_root: Path, datasets: Mapping[str, Dataset], raw: Mapping[str, str | None], uses: Mapping[str, DataUse]
) -> Verdicts:
    """Results for these datasets of the audits below `cache_root` (RUNS/prepared).

    raw: by dataset id, the digest of its raw files, as in a plan's inputs; an audit of other files, or by another
    version of the split or of a card's reader, does not count. A pair of tasks whose datasets are split by different
    rules is in no audit.
    """
    overlaps: dict[tuple[str, str], Overlap] = {}
    seen: set[str] = set()
    for document in _documents(cache_root):
        known = document.datasets
        current = {
            name
            for name, use in uses.items()
            if raw.get(name) is not None
            and name in known
            and known[name].raw_digest == raw[name]
            and known[name].splits.get(use.splits) == split_name(datasets[name], use.splits)
            and known[name].reading == datasets[name].forms[0].reading
        }
        seen |= current
        owners = {task.id: name for name in current for task in datasets[name].tasks}
        for row in document.overlaps:
            pair = (row.source, row.target)
            if all(task in owners and uses[owners[task]].splits == row.splits for task in pair):
                overlaps[pair] = row
    return Verdicts(overlaps=overlaps, unknown=tuple(name for name in uses if name not in seen))


def _documents(cache_root: Path) -> list[Audited]:
    """The audits of this version, oldest first; a damaged one is left out."""
    documents = []
    with contextlib.suppress(OSError):
        for path in sorted(cache_root.glob("audit-*.json"), key=lambda path: path.stat().st_mtime_ns):
            with contextlib.suppress(EmpslurmError, OSError, decode.Unfit):
                document: Audited = decode.reader(Audited)(files.read_object(path))
                if document.version == AUDIT_VERSION:
                    documents.append(document)
    return documents
