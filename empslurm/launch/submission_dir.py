"""Every path of a submission.

runs/submissions/<id>/submission.jsonl     line 1: where data, cards and code are; then one pack per line
                      cards/               the cards as they were
                      arrays/0001.json     written before sbatch: the packs of one array's elements, and a nonce
                      arrays/0001.job-123  written after it: the array's id
                      arrays/0001.void     it never reached Slurm
                      arrays/0001/         submitit's folder: the batch script, the callable, logs; which elements began
                      packs/0003.jsonl     what happened to pack 3: starts, ends, reasons
                      failures.jsonl       the cells of its packs that failed, and how
                      hold.json            why the rest of its packs must not start
                      cancelled            nothing more of it may be sent
                      end.json             the job that reports when all others have ended
                      local.json           the process that runs it without Slurm
                      local-0.log          output of the train processes of slot 0 there
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from empslurm.errors import StoreError
from empslurm.store.folders import names
from empslurm.store.runs import RunsRoot

ANY = re.compile(r"(?s).+")


@dataclass(frozen=True)
class SubmissionDir:
    """One submission's folder, which need not exist."""

    path: Path

    @property
    def manifest(self) -> str:
        """The manifest's name, which is part of the folder's name."""
        return self.path.name.split("-", 1)[-1].rpartition("-")[0]

    @property
    def file(self) -> Path:
        return self.path / "submission.jsonl"

    @property
    def cards(self) -> Path:
        return self.path / "cards"

    @property
    def arrays(self) -> Path:
        return self.path / "arrays"

    @property
    def packs(self) -> Path:
        return self.path / "packs"

    def journal(self, index: int) -> Path:
        """The journal of the pack with this index."""
        return self.packs / f"{index:04d}.jsonl"

    @property
    def failures(self) -> Path:
        return self.path / "failures.jsonl"

    @property
    def hold(self) -> Path:
        return self.path / "hold.json"

    @property
    def cancelled(self) -> Path:
        return self.path / "cancelled"

    @property
    def end(self) -> Path:
        return self.path / "end.json"

    @property
    def end_log(self) -> Path:
        return self.path / "end.log"

    @property
    def runner(self) -> Path:
        return self.path / "local.json"

    def log(self, slot: int) -> Path:
        """Output of the train processes of a slot of this machine, one after another."""
        return self.path / f"local-{slot}.log"


def refuse_file(root: RunsRoot) -> None:
    """Raises StoreError where a file has the name of the submissions' folder."""
    if root.submissions.exists() and not root.submissions.is_dir():
        raise StoreError(f"{root.submissions} must be a folder, but is a file; move it away, then submit again")


def every(root: RunsRoot) -> list[SubmissionDir]:
    """All submissions, oldest first. Raises StoreError where they cannot be listed."""
    folder = root.submissions
    return [SubmissionDir(folder / name) for name in names(folder, ANY) if (folder / name).is_dir()]


def of_manifest(root: RunsRoot, manifest: str) -> list[SubmissionDir]:
    """All submissions of a manifest, oldest first."""
    return [submission for submission in every(root) if submission.manifest == manifest]
