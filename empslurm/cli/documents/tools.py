"""Documents of `profile`, `doctor` and `demo`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from empslurm.cli.documents.base import ABSENT, Document
from empslurm.cli.documents.results import PairVerdict
from empslurm.validation.constraints import Doc


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
    subject: Annotated[str, Doc("Name of the manifest or card that was checked. Absent: none was given.")] = ABSENT
    profile: Annotated[str, Doc("Name of the profile. Absent: no --profile was given.")] = ABSENT
    probe: Annotated[
        ProbeOutcome | None, Doc("What the probe's job did. null: it was not sent. Absent: no --probe was given.")
    ] = ABSENT


@dataclass(frozen=True, kw_only=True)
class RateDocument(Document):
    """The forms that were written."""

    folder: Annotated[str, Doc("The folder of the forms.")]
    raters: Annotated[tuple[str, ...], Doc("Names of the raters.")]
    tasks: Annotated[tuple[str, ...], Doc("Ids of the tasks. Each form has them in its own order.")]
    files: Annotated[tuple[str, ...], Doc("Paths of the files: a page, a CSV and a spreadsheet for each rater.")]


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
