"""Documents of the verbs that plan and run a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from empslurm.cli.documents.base import ABSENT, CellName, Document, FilePaths, ManifestName, MissingData
from empslurm.cli.documents.data import TaskTokens
from empslurm.validation.constraints import Doc


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
    n_unseen: Annotated[
        int, Doc("Cells whose target has no finished cell: they count as the mean of the other targets.")
    ]
    starts: Annotated[bool, Doc("Whether the start-up of jobs is in the hours, as finished jobs needed it.")]


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Estimated energy of the GPUs alone; each list is the low end, the middle and the high end, as of the hours."""

    watts: Annotated[float, Doc("Mean power of a GPU while finished jobs used it.")]
    kwh: Annotated[tuple[float, ...], Doc("Kilowatt-hours: low, middle, high.")]
    co2e_g: Annotated[
        tuple[float, ...] | None, Doc("Grams of CO2e: low, middle, high. null: the profile states no grid_g_per_kwh.")
    ]


@dataclass(frozen=True, kw_only=True)
class BudgetOfCells:
    """The cells that a budget pays for, or a pilot that measures what cells take."""

    asked_h: Annotated[float, Doc("The budget in `unit`.")]
    unit: Annotated[Literal["GPU-hours", "job-hours"], Doc("GPU-hours where the profile has GPUs, else job-hours.")]
    pilot: Annotated[bool, Doc("Whether what cells take is not known yet, so that only a pilot is chosen.")]
    hours: Annotated[
        tuple[float, ...] | None, Doc("Estimated hours in `unit`: low, middle, high. null: they are not known.")
    ]
    n_measured: Annotated[int, Doc("Finished cells that the estimate is made from.")]
    n_unseen: Annotated[int, Doc("Chosen cells whose target has no finished cell.")]
    n_verdicts: Annotated[int, Doc("Pairs that can have a verdict once the cells are done, and could not before.")]
    n_left: Annotated[int, Doc("Training cells that are left for later.")]
    n_unpriced: Annotated[int, Doc("Embeddings that are left, since their time is not estimated.")]
    sentences: Annotated[tuple[str, ...], Doc("What is printed for people.")]
    cells: Annotated[tuple[str, ...], Doc("Ids of the chosen cells, the most informative first.")]


@dataclass(frozen=True, kw_only=True)
class SeedsOfTarget:
    """What one target needs to detect the wanted difference."""

    target: Annotated[str, Doc("Id of the target task.")]
    metric: Annotated[str, Doc("Its metric.")]
    backbone: Annotated[str | None, Doc("Label of the backbone. null: the manifest has one.")]
    fraction: Annotated[float, Doc("Share of the target's training part.")]
    n_baseline: Annotated[int, Doc("Present seeds of the baseline.")]
    n_transfer: Annotated[int, Doc("Present seeds of a source, the median.")]
    n_sources: Annotated[int, Doc("Sources with results.")]
    detectable: Annotated[float | None, Doc("The difference detected with probability .8 now. null: not known.")]
    more_baseline: Annotated[int, Doc("Extra seeds of the baseline.")]
    more_transfer: Annotated[int, Doc("Extra seeds of each source.")]
    n_runs: Annotated[int, Doc("Extra runs.")]
    power: Annotated[float | None, Doc("For the wanted difference with these seeds. null: not known.")]
    hours: Annotated[float | None, Doc("Of the extra runs, in the unit of the whole. null: not known.")]
    limit: Annotated[
        Literal["unknown", "examples", "seeds"] | None,
        Doc("Why no number of seeds is given: unknown noise, too few test examples, or too many seeds. null: one is."),
    ]
    least: Annotated[float | None, Doc("The difference that unlimited seeds would detect. null: not known.")]
    sentence: Annotated[str, Doc("All of it in words.")]


@dataclass(frozen=True, kw_only=True)
class SeedsToDetect:
    """How many more seeds targets need to detect a difference."""

    wanted: Annotated[float, Doc("The difference, in each target's metric.")]
    targets: Annotated[tuple[SeedsOfTarget, ...], Doc("Targets with results.")]
    n_runs: Annotated[int, Doc("Extra runs of all targets.")]
    hours: Annotated[float | None, Doc("Of these, in `unit`. null: not known.")]
    unit: Annotated[str, Doc("GPU-hours where the profile has GPUs, else hours of training.")]
    without_results: Annotated[tuple[str, ...], Doc("Targets without a finished baseline and transfer.")]
    sentences: Annotated[tuple[str, ...], Doc("The sum, and what to run first.")]


@dataclass(frozen=True, kw_only=True)
class Space:
    """Estimated room below the runs root."""

    finished_bytes: Annotated[int, Doc("Bytes once all cells are done.")]
    peak_bytes: Annotated[int, Doc("Bytes at most, with the checkpoints of all packs that run at once.")]
    n_files: Annotated[int, Doc("Files once all cells are done.")]


@dataclass(frozen=True, kw_only=True)
class CostsOfCells:
    """What running some cells would cost."""

    n_cells: Annotated[int, Doc("Cells that would run.")]
    n_packs: Annotated[int, Doc("Packs they would run in.")]
    hours: Annotated[
        Hours | None,
        Doc("Estimated hours. null: of some backbone no cell has finished on its kind of device (GPU or CPU)."),
    ]
    space: Annotated[Space | None, Doc("Estimated room. null: a backbone is not here, or is tiny.")]


@dataclass(frozen=True, kw_only=True)
class Costs(CostsOfCells):
    """What running the rest would cost with the profile."""

    profile: Annotated[str, Doc("Name of the profile.")]
    energy: Annotated[
        Energy | None, Doc("Estimated energy. null: hours are not known, or no job has reported the power of its GPUs.")
    ]
    backbones: Annotated[
        Mapping[str, CostsOfCells], Doc("Label of each backbone -> its own part, without dataset embeddings.")
    ]


@dataclass(frozen=True, kw_only=True)
class BackboneOfPlan:
    """A backbone and its cells: all but dataset embeddings, which no backbone changes."""

    name: Annotated[str, Doc("Its name in the manifest: a hub id, or the path of a folder.")]
    revision: Annotated[str | None, Doc("The commit of a hub id. null: it is not one.")]
    n_cells: Annotated[int, Doc("Its cells.")]
    n_training_cells: Annotated[int, Doc("Its cells that train and are scored.")]
    actions: Annotated[Mapping[str, int], Doc("Action (run, reuse, skip) -> how many of its cells.")]


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
    backbone: Annotated[str | None, Doc("Label of its backbone. null: a dataset embedding, which depends on none.")]
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
    backbones: Annotated[Mapping[str, BackboneOfPlan], Doc("Label -> a backbone of the manifest.")]
    n_packs_by_wave: Annotated[tuple[int, ...], Doc("Packs of wave 0, and of wave 1.")]
    leaks: Annotated[tuple[Leak, ...], Doc("Pairs of the manifest that the last audit flags.")]
    costs: Annotated[Costs | None, Doc("Estimated costs. null: no --profile was given.")]
    budget: Annotated[BudgetOfCells | None, Doc("What --budget pays for. null: no --budget was given.")]
    detect: Annotated[SeedsToDetect | None, Doc("What --detect asks. null: no --detect was given.")]
    warnings: Annotated[tuple[str, ...], Doc("What to know before anything runs, one sentence each.")] = field()
    sbatch: Annotated[
        BatchScript | None, Doc("What sbatch would get. null: no --show-sbatch was given, or the profile is local.")
    ]
    packs: Annotated[tuple[PackOfPlan, ...], Doc("Packs of all cells.")]
    cells: Annotated[tuple[CellOfPlan, ...], Doc("All cells.")]


@dataclass(frozen=True, kw_only=True)
class PreparedBackbone:
    """A backbone that is ready."""

    folder: Annotated[str, Doc("The folder of the backbone.")]
    tasks: Annotated[Mapping[str, TaskTokens], Doc("Task id -> its tokens.")]


@dataclass(frozen=True, kw_only=True)
class PrepareDocument(Document):
    """What is ready for the cells of a manifest."""

    backbone: Annotated[str, Doc("The folder of the backbone; of several, of the first.")]
    datasets: Annotated[Mapping[str, str], Doc("Dataset id -> the folder with its parsed table.")]
    tasks: Annotated[Mapping[str, TaskTokens], Doc("Task id -> its tokens for this backbone.")]
    backbones: Annotated[Mapping[str, PreparedBackbone], Doc("Label of each backbone -> its folder and tokens.")]
    not_here: Annotated[Mapping[str, str], Doc("Label of a backbone, or `encoder` -> why it cannot be used.")]
    notes: Annotated[tuple[str, ...], Doc("What a reader of the numbers should know about the data.")]
    missing: MissingData


@dataclass(frozen=True, kw_only=True)
class NothingToRun(Document):
    """`submit` or `resume` where no cell is to run."""

    manifest: ManifestName
    submitted: Annotated[Literal[0], Doc("0: nothing was submitted.")]
    decisions: Annotated[Mapping[str, int], Doc("Action (reuse, skip) -> how many cells.")]
    budget: Annotated[BudgetOfCells, Doc("What the budget pays for. Absent: no --budget was given.")] = ABSENT


@dataclass(frozen=True, kw_only=True)
class RunHere(Document):
    """`submit` or `resume` with a profile of kind local, once the run has ended."""

    manifest: ManifestName
    submitted: Annotated[int, Doc("Cells that were to run.")]
    states: Annotated[Mapping[str, int], Doc("State after the run -> how many of these cells.")]
    failed: Annotated[Mapping[str, str], Doc("Id of a failed cell -> why it failed.")]
    budget: Annotated[BudgetOfCells, Doc("What the budget pays for. Absent: no --budget was given.")] = ABSENT


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
    budget: Annotated[BudgetOfCells, Doc("What the budget pays for. Absent: no --budget was given.")] = ABSENT


@dataclass(frozen=True, kw_only=True)
class ImportedCell:
    """A cell of another runs root or bundle."""

    id: CellName
    origin: Annotated[str, Doc("The runs root or bundle, as it was named.")]
    fate: Annotated[
        Literal["linked", "copied", "completed", "here", "not compared", "running", "differs", "refused", "unfinished"],
        Doc(
            "linked or copied: it was taken (with --dry-run: it would be). completed: it is here already, and gets the "
            "files that a bundle had left out. here: it is here already, with the same scores. not compared: it is "
            "here already, has no scores, and its files differ. running: it is being run here. differs: it is here "
            "with other scores, which are kept. refused: it does not match its checksums. unfinished: it has no result "
            "there."
        ),
    ]
    why: Annotated[str, Doc("Why it was not taken. Empty: it was, or it is here.")]
    n_bytes: Annotated[int, Doc("Bytes of its files. 0: it has no result that can be used.")]


@dataclass(frozen=True, kw_only=True)
class ImportDocument(Document):
    """What became of the cells of other runs roots."""

    runs: Annotated[str, Doc("The runs root that they were taken into.")]
    dry_run: Annotated[bool, Doc("Whether nothing was done.")]
    counts: Annotated[Mapping[str, int], Doc("Fate -> how many cells.")]
    n_bytes: Annotated[int, Doc("Bytes of the cells that were taken; linked ones need no more room.")]
    cells: Annotated[tuple[ImportedCell, ...], Doc("Every cell of the other runs roots.")]
