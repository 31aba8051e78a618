"""The page of the runs root and the result files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from docs.pages.markdown import key_table, page, text_table
from docs.pages.types import doc_of
from empslurm import cells
from empslurm.cli.documents import look
from empslurm.gather.collect import LONG
from empslurm.gather.curves import CURVES
from empslurm.launch.journal import Event
from empslurm.launch.submission import Header, PackLine
from empslurm.report.tables import PAIR_COLUMNS
from empslurm.search.results import TrialOutcome
from empslurm.store import adapter_metadata, predictions
from empslurm.store.cell_folder import Progress
from empslurm.store.claims import Claim
from empslurm.validation.reader import field_hints

ROOT_FOLDERS = {
    "cells/ID/": "One folder per cell. A cell's number depends on its cell.json and on nothing else.",
    "prepared/": "Parsed and tokenised data, under digests of their content. Made again when deleted.",
    "submissions/ID/": "What was submitted, and what happened to it. Needed as long as its cells run.",
    "code/DIGEST/": "Copies of the code that Slurm jobs run.",
    "searches/NAME/journal.log": "What the sampler of a search knows. Made again from its cells when lost.",
    "suitability/READING.json": "Values of LogME and the other estimators, for one target. Made again when deleted.",
    "digests.json": "Digests of data and backbones that are not here. Only in a study continued from a bundle.",
    "probes/": "Logs of `doctor --probe`. Delete them at will.",
    "trackers/": "Loss curves of trackers that write files. Delete them at will.",
    "gathered/NAME/": "Tables, figures and the report of `gather`. Delete them at will.",
    "gathered/data/": "Tables of `data stats` and `data audit`. Delete them at will.",
    "gathered/verified-*.parquet": "Which results were verified before, so that `gather` is fast. Delete it at will.",
}
CELL_FILES = {
    "cell.json": "The identity: everything that the cell's number depends on. Written once.",
    "claims/0001.json": "The first attempt: which process runs the cell. The attempt with the highest number counts.",
    "claims/0001.beat": 'Last sign of life of a running attempt: `{"time": Unix time}`.',
    "claims/0001.released": "Empty. The attempt is over, whatever came of it.",
    "parameters.json": "Trials only: what the trial drew. Written before it trains.",
    "checkpoint/": "The last checkpoint, and the one before until the last is verified. Removed when the cell is done.",
    "metrics.jsonl": "One line per epoch, for people who watch.",
    "progress.json": "Where training stands; replaced every few seconds.",
    "output-0001/": "What attempt 1 wrote: adapter, predictions, provenance.",
    "result.json": "Written last. A cell with a valid result.json is done.",
    "left-out.json": "Only from a bundle: `files` names the adapters that it left out. No score depends on them.",
    "error.json": "The last failure. Removed when the cell is done.",
}
OUTPUT_FILES = {
    "adapter/adapter_config.json": "Configuration of the adapter, in the format of the library `adapters`.",
    "adapter/adapter.safetensors": "Weights of the adapter.",
    "adapter/head_config.json": "Configuration of the prediction head.",
    "adapter/model_head.safetensors": "Weights of the prediction head.",
    "adapter/task.json": "What the adapter measures, and how to give it text.",
    "last/adapter/": "Baselines only: the same after the last epoch, for transfers with `source: {epoch: last}`.",
    "source_adapter/": "Transfers with `source: {mode: tuned}` only: the source's adapter as it was trained further.",
    "predictions.parquet": "Predictions for each example of validation and test (trials: validation only).",
    "provenance.json": "Code, packages, machine, time.",
    "embedding.safetensors": "Cells of kind fisher and embed only: named vectors.",
}
IDENTITY = {
    "kind": "baseline, transfer, fisher (task embedding), embed (dataset embedding) or trial.",
    "target": "Id of the target task.",
    "seed": "Random seed.",
    "data": "The examples.",
    "data.dataset": "Id of the dataset.",
    "data.raw": "Digest of the raw files.",
    "data.split": "Split rule with its version and salt, such as family-1-317.",
    "data.use": "The keys of the manifest's section `data`.",
    "data.labels": "all, or manual: only labels that a person gave.",
    "data.fraction": "Share of the training part.",
    "backbone": "Name and revision of the frozen encoder.",
    "backbone_digest": "Digest of its files or of the pinned revision.",
    "recipe": "A number that grows when a change of the code changes results.",
    "source": "transfer: id of the source task. Else null.",
    "parent": "transfer and fisher: id of the cell whose adapter is used. Else null.",
    "source_use": "transfer: the keys of the manifest's section `source`. Else null.",
    "adapter": "Kind of adapter, and the keys that matter to it. null: nothing is trained, or the trial draws it.",
    "training": "The keys of the manifest's section `training` for this task. null: as for `adapter`.",
    "fisher": "fisher: the keys of the manifest's section `fisher`. Else null.",
    "embed": "embed: the keys of the manifest's section `embed`. Else null.",
    "trial": "trial only: its number, and the space that it draws from.",
}
RESULT = {
    "id": "Id of the cell.",
    "kind": "Kind of the cell.",
    "target": "Id of the target task.",
    "source": "Id of the source task. null: none.",
    "seed": "Random seed.",
    "fraction": "Share of the training part.",
    "claim": "Number of the attempt that wrote it.",
    "output": "Name of the output folder.",
    "files": "Path below the output folder -> sha256.",
    "flags": "Signs that the run did not learn.",
    "metric": "The task's own metric, which chose the best epoch.",
    "validation": "Metric -> score on the validation part at the best epoch. null: undefined.",
    "test": "The same on the test part. Trials have none.",
    "best_epoch": "The best epoch, from 1.",
    "history": "One item per epoch: `epoch`, `step`, `train_loss`, and the validation score of each metric.",
    "n_steps": "Optimiser steps.",
    "n_tokens": "Tokens that training read, padding not counted.",
    "n_train": "Training examples.",
    "n_validation": "Validation examples.",
    "n_test": "Test examples.",
    "n_truncated": "Examples that were longer than `max_length` and were cut.",
    "n_examples": "fisher and embed only: examples that the embedding was computed from.",
    "trial": "trial only: see below.",
    "seal": "sha256 over all other keys, as canonical JSON.",
}
TRIAL = {
    "parameters": "What the trial drew: `adapter`, `lr` and `batch_size`.",
    "started": "When it drew them: Unix time in seconds.",
    "n_known": "Finished trials that the sampler could learn from.",
    "outcome": "complete or pruned.",
    "wall_s": "Seconds of training.",
}
ERROR = {
    "class": "Class of the failure.",
    "message": "What went wrong.",
    "traceback": "The last 30 lines of the traceback.",
    "claim": "Number of the attempt.",
    "time": "Unix time in seconds.",
}
PROVENANCE = {
    "attempt": "Number of the attempt.",
    "code": "`commit`, `dirty` (whether there were changes that were not committed) and their `diff`.",
    "packages": "Package -> version.",
    "python": "Version of Python.",
    "platform": "Operating system.",
    "host": "Name of the machine.",
    "cpus": "CPU cores that the process may use.",
    "n_threads": "Threads of torch.",
    "device": "Device of torch, such as cpu or cuda:0.",
    "gpu": "Name, compute capability, memory, CUDA version and peak memory of the GPU. null: none.",
    "gpus": "All GPUs of the machine as nvidia-smi reports them. null: none.",
    "slurm": "Slurm's variables of the job. {}: no job.",
    "time": "When it was written, in UTC.",
    "n_processes": "Processes that trained the cell together.",
    "micro_batch": "Examples per forward pass. null: a whole batch.",
    "pack_size": "Cells that started in the same process.",
    "group_size": "Cells whose adapters were trained in one model.",
    "wall_s": "Seconds of training; for several cells in one process, this cell's share.",
    "peak_host_memory_bytes": "Peak memory of the process in bytes.",
}
PREDICTIONS = {
    "part": "validation or test.",
    "id": "Id of the example.",
    "group": "Group of the example, such as its conversation.",
    "gold": "Index of the right label, or the right value.",
    "output": "Logits, one per label; for a regression one value.",
}
MEASURE = {
    "format": "Version of the file.",
    "task": "Id of the task.",
    "title": "Name of the task, as printed.",
    "kind": "classification or regression.",
    "labels": "Labels, in index order. Empty: regression.",
    "low": "Lower end of the scale. null: classification.",
    "high": "Upper end of the scale. null: classification.",
    "centre": "The head of a regression gives (value - centre) / scale.",
    "scale": "See `centre`. 1 for a classification.",
    "metric": "The task's metric.",
    "data_source": "Where the texts come from.",
    "language_setting": "The kind of language: conversation, news, ...",
    "dataset": "Name of the dataset.",
    "citation": "Reference to cite.",
    "licence": "Licence of the dataset.",
    "source": "Id of the source task. null: a baseline.",
    "seed": "Random seed.",
    "fraction": "Share of the training part.",
    "n_train": "Training examples.",
    "backbone": "Name and revision of the frozen encoder.",
    "backbone_digest": "Digest of its files or of the pinned revision.",
    "max_length": "Tokens of context and text together.",
    "context": "history: all earlier turns. previous: the last one.",
    "settings": "The sections adapter, training and data as they were.",
    "cell": "Id of the cell.",
    "typical": "What the training texts look like, to flag a text unlike them.",
    "evidence": "Score on the test part, in exported adapters. null: not computed.",
}
HEADER_LINE = {
    "id": "Name of the submission: time, manifest, six random hex digits.",
    "manifest": "Name of the manifest.",
    "data_root": "The folder with the raw data.",
    "cards": "Paths of the cards, as copied.",
    "settings": "What jobs need of the profile. null: no Slurm.",
    "code": "The commit that submitted.",
}
PACK_LINE = {
    "id": "Id of the pack.",
    "wave": "0: waits for nothing. 1: starts from adapters of wave 0.",
    "cells": "Identities of its cells, as in cell.json.",
}
EVENT = {
    "event": "start or end.",
    "time": "Unix time in seconds.",
    "host": "Name of the machine.",
    "job": "Slurm id of the job.",
    "restart": "How often Slurm had restarted the job.",
    "reason": "Of an end: done, failed, stopped, waiting, held, or the name of a failure that is tried again.",
    "detail": "What else there is to say.",
    "steps": "Optimiser steps, where training was stopped.",
    "wall_s": "Seconds since the job's start, or since the pack's last end in it.",
    "gpu_s": "Seconds of GPUs in that time.",
    "energy_wh": "Energy of the GPUs in that time, in watt-hours.",
}
SUBMISSION_FILES = {
    "submission.jsonl": "Line 1: see below. Then one pack per line.",
    "cards/": "Copies of the cards.",
    "arrays/0001.json": "Packs of the first array's elements. Written before sbatch is called.",
    "arrays/0001.job-123": "Empty. The array has the Slurm id 123.",
    "arrays/0001.void": "Empty. The array never reached Slurm.",
    "arrays/0001/": "Batch script and logs of the array, and which elements began.",
    "packs/0003.jsonl": "What happened to pack 3, one event per line.",
    "failures.jsonl": "Cells that failed, one per line.",
    "hold.json": "Why the rest of the packs must not start.",
    "cancelled": "Empty. `cancel` was called: nothing more of it is sent.",
    "end.json": "Name of the job that tells people when all others have ended.",
    "local.json": "Without Slurm: the process that runs it.",
    "local-0.log": "Without Slurm: what the processes of slot 0 printed.",
}
GATHERED_FILES = {
    "report.html": "The report, one page that needs no network.",
    "long.csv": "All scores, one row per cell, part and metric.",
    "long.parquet": "The same as Parquet.",
    "curves.csv": "Training loss and validation score of each run, epoch by epoch.",
    "missing.csv": "Cells without a usable result.",
    "pairs.csv": "Each source and target beside its baseline, with the ids of the cells.",
    "setting.json": "What the cells of a group have in common, and what could not be computed.",
    "summary.json": "What `gather` prints. With nothing new, it is read instead of computed. Its key `made` "
    "has options, ratings, seals, versions and checksums, by which `verify` makes the files again.",
    "verification.html": "What `verify` checked and found.",
    "forests/SOURCE--TARGET.*": "The change of a pair in each of several labs, and the pooled one.",
    "NAME.csv, NAME.md, NAME.tex": "A table of the report as CSV, Markdown and LaTeX.",
    "NAME-ids.csv": "Ids of the cells behind each number of that table.",
    "NAME-versus-printed.*": "That table beside the paper's own.",
    "NAME.svg, NAME.pdf, NAME.png": "A figure; the table of the same name holds its numbers.",
}
LONG_COLUMNS = {
    "group": "Name of the group of comparable cells. Empty: there is one only.",
    "id": "Id of the cell.",
    "kind": "baseline or transfer.",
    "source": "Id of the source task; empty for a baseline.",
    "target": "Id of the target task.",
    "seed": "Random seed.",
    "fraction": "Share of the target's training part, above 0 and at most 1.",
    "labels": "all, or manual: trained only on labels that a person gave.",
    "part": "validation or test.",
    "metric": "Name of the metric.",
    "value": "The score, computed again from the predictions. Empty (NaN): undefined.",
    "main": "Whether it is the task's own metric.",
    "flags": "Signs that the run did not learn, with commas between.",
    "n_examples": "Examples of the part.",
    "n_groups": "Groups of the part.",
    "data": "pinned: the recorded release. sample: the invented sample. card: of a card. Else: no pinned release.",
}
CURVE_COLUMNS = {
    "group": "As in long.csv.",
    "id": "As in long.csv.",
    "kind": "As in long.csv.",
    "source": "As in long.csv.",
    "target": "As in long.csv.",
    "seed": "As in long.csv.",
    "fraction": "As in long.csv.",
    "epoch": "The epoch, from 1.",
    "train_loss": "Mean training loss of the epoch.",
    "metric": "The task's own metric.",
    "validation": "Its score on the validation part after the epoch.",
}
PAIRS = {
    "source": "Id of the source task.",
    "target": "Id of the target task.",
    "fraction": "Share of the target's training part.",
    "metric": "The target's metric.",
    "baseline": "Score of the baseline, mean over seeds.",
    "transfer": "Score with the source, mean over seeds.",
    "difference": "`transfer` minus `baseline`.",
    "percent": "Change in percent of the baseline; above 0 is better, for errors too.",
    "n_seeds_baseline": "Seeds of the baseline.",
    "n_seeds_transfer": "Seeds of the transfer.",
    "flags": "Signs that a run did not learn, with blanks between.",
    "flagged_seeds": "The seeds of those runs.",
    "state": "complete, partial (a seed is missing), undefined (a seed has no defined score) or missing.",
    "data": "As in long.csv.",
    "ids_baseline": "Ids of the baseline's cells, with blanks between.",
    "ids_transfer": "Ids of the transfer's cells, with blanks between.",
}
PREPARED_FILES = {
    "DATASET-DIGEST/examples.parquet": "All examples: id, group, context, text, and each task's label or value.",
    "DATASET-DIGEST/rejects.jsonl": "Bad rows, with the reason.",
    "DATASET-DIGEST/split.json": "Part of each group.",
    "DATASET-DIGEST/meta.json": "Counts, digests, and the files that were read.",
    "tokens/DIGEST/": "Tokens of one task for one backbone, data use and maximal length.",
    "checksums.json": "Checksums of raw files, so that they are read once.",
    "audit-*.json": "What `data audit` found.",
}


def identity_keys() -> list[str]:
    """The keys of cell.json, over all kinds of cells."""
    data = [f"data.{name}" for name in field_hints(cells.DataIdentity)]
    common = list(field_hints(cells.Cell))
    keys = ["kind", *common, *sorted(set().union(*cells.OWN.values()))]
    at = keys.index("data") + 1
    return [*keys[:at], *data, *keys[at:]]


def fields_of(section: type) -> list[str]:
    return [field.name for field in dataclasses.fields(section)]


def mirrored(section: type, names: Iterable[str], what: str) -> str:
    """A table of a stored object that is described by a type of `documents`."""
    return key_table(names, {name: doc_of(hint) for name, hint in field_hints(section).items()}, what)


def runs_root_page() -> str:
    """Files and formats below the runs root."""
    return page(
        "The runs root: every file",
        "The runs root (`runs/` unless `--runs` or `EMPSLURM_RUNS` says otherwise) is the only database. Several "
        "machines may use it at once. A file is replaced as a whole or gets a line more. JSON is UTF-8 with sorted "
        "keys.",
        text_table(ROOT_FOLDERS, "path"),
        "## A cell: `cells/ID/`",
        "The id is readable and ends with 12 hex digits of the sha256 of cell.json: `epitome_er-s1-83ee2c5a7efc` is a "
        "baseline, `epitome_er--news_empathy-s1-f37902cf91ad` a transfer.",
        text_table(CELL_FILES, "file"),
        "The state of a cell follows from these files: with a valid result.json it is *done*; if the process of the "
        "last attempt lives, *running*; if error.json is of the last attempt, *failed*; if there is an attempt and "
        "nothing else, *lost*. A cell that waits in Slurm's queue is *queued*, any other *pending*.",
        "### `cell.json`",
        key_table(identity_keys(), IDENTITY, "cell.json"),
        "### `claims/0001.json`",
        mirrored(look.ClaimOfCell, fields_of(Claim), "a claim"),
        "### `progress.json`",
        progress_table(),
        "### `result.json`",
        text_table(RESULT),
        "[Metrics and flags](metrics.md) lists the names in `flags`, `metric`, `validation` and `test`.",
        "#### `trial`",
        key_table(fields_of(TrialOutcome), TRIAL, "a trial's result"),
        "`parameters.json` has the keys `parameters`, `started` and `n_known`.",
        "### `error.json`",
        text_table(ERROR),
        "### `output-0001/`",
        text_table(OUTPUT_FILES, "file"),
        "### `adapter/task.json`",
        key_table(["format", *fields_of(adapter_metadata.Measure)], MEASURE, "task.json"),
        "### `predictions.parquet`",
        key_table(predictions.COLUMNS, PREDICTIONS, "predictions.parquet", "column"),
        "### `provenance.json`",
        text_table(PROVENANCE),
        "## Prepared data: `prepared/`",
        text_table(PREPARED_FILES, "file"),
        "## A submission: `submissions/ID/`",
        text_table(SUBMISSION_FILES, "file"),
        "### Line 1 of `submission.jsonl`",
        key_table(fields_of(Header), HEADER_LINE, "the first line of a submission"),
        "### Other lines of `submission.jsonl`",
        key_table(fields_of(PackLine), PACK_LINE, "a pack's line"),
        "### `packs/0003.jsonl`",
        key_table(fields_of(Event), EVENT, "an event"),
        "## Results: `gathered/NAME/`",
        "Where not all cells can be compared with each other, each group has a folder of its own below this one. With "
        "several backbones, each has one, with the backbone's label as its name.",
        text_table(GATHERED_FILES, "file"),
        "### `long.csv` and `long.parquet`",
        key_table(LONG, LONG_COLUMNS, "long.csv", "column"),
        "### `curves.csv`",
        key_table(CURVES, CURVE_COLUMNS, "curves.csv", "column"),
        "### `pairs.csv`",
        key_table(PAIR_COLUMNS, PAIRS, "pairs.csv", "column"),
        "### `missing.csv`",
        "The columns `id`, `kind`, `source`, `target`, `seed` and `fraction` are as in long.csv. `state` is the state "
        "of the cell, or `refused` where its result does not match its checksums. `why` is the reason. `backbone` is "
        "there only with several backbones: the label of the cell's, empty for dataset embeddings, which all share.",
    )


def progress_table() -> str:
    hints = field_hints(look.RunningCell)
    texts = {name: doc_of(hints[name]) for name in fields_of(Progress)}
    return key_table(fields_of(Progress), texts, "progress.json")
