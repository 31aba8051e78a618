"""Documents of the verbs that look at a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from empslurm.cli.documents.base import ABSENT, CellName, Document, ManifestName
from empslurm.validation.constraints import Doc, Key


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
    co2e_g: Annotated[float, Doc("Grams of CO2e of `stated_wh`.")]
    stated_wh: Annotated[float, Doc("The part of the energy whose grid the profile stated when it was submitted.")]
    grid_g_per_kwh: Annotated[tuple[float, ...], Doc("The intensities that profiles stated, in g CO2e per kWh.")]


@dataclass(frozen=True, kw_only=True)
class StatusDocument(Document):
    """Cells by state, and everything that needs attention."""

    manifest: ManifestName
    totals: Annotated[StateCounts, Doc("All cells by state.")]
    targets: Annotated[Mapping[str, StateCounts], Doc("Target task -> its cells by state.")]
    backbones: Annotated[
        Mapping[str, StateCounts], Doc("Label of each backbone -> its cells by state, without dataset embeddings.")
    ]
    running: Annotated[tuple[RunningCell, ...], Doc("Cells that run.")]
    queued: Annotated[tuple[ReasonCount, ...], Doc("Why queued cells wait.")]
    never: Annotated[tuple[NeverStarts, ...], Doc("Queued cells whose jobs can never start.")]
    failed: Annotated[tuple[FailedCell, ...], Doc("Cells that failed.")]
    flagged: Annotated[tuple[FlaggedCell, ...], Doc("Finished cells that did not learn.")]
    left_out: Annotated[tuple[ReasonCount, ...], Doc("Cells that the next `submit` leaves out, without failed ones.")]
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
