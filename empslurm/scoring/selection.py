"""Choose adapters by a manifest, cell ids or folders of exported adapters. Without torch, so that errors come fast."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from empslurm import cells, files, ids
from empslurm.backbones.labels import is_called, labels_of_models
from empslurm.config import Backbone
from empslurm.errors import DamagedError, EmpslurmError, StoreError, UsageError
from empslurm.plan import Plan
from empslurm.store import adapter_metadata
from empslurm.store.adapter_metadata import Measure
from empslurm.store.cell_folder import LAST_ADAPTER, CellDir
from empslurm.store.predictions import NAME as PREDICTIONS
from empslurm.store.results import ADAPTER, SOURCE_ADAPTER
from empslurm.store.runs import RunsRoot
from empslurm.validation import decode

WEIGHTS = ("adapter.safetensors", "model_head.safetensors")  # the names of AdapterHub
SOURCE = "source"  # subfolder of an exported transfer: the source's adapter
CHECKSUMS = "checksums.json"


@dataclass(frozen=True, kw_only=True)
class Member:
    """One adapter of one seed."""

    adapter: Path  # AdapterHub layout with head and task.json
    source: Path | None  # transfer: the source's adapter
    measure: Measure
    predictions: Path | None = None  # the cell's predictions; None: an exported adapter
    result: Mapping[str, Any] | None = None  # the cell's result


@dataclass(frozen=True, kw_only=True)
class Group:
    """One measure: cells that differ only in their seed."""

    name: str
    members: tuple[Member, ...]  # by seed

    @property
    def measure(self) -> Measure:
        """The first seed's measure; those of other seeds differ in the seed, the scale's centre and what is typical."""
        return self.members[0].measure


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The adapters to score or export, and a sentence for each adapter that was left out."""

    groups: tuple[Group, ...]
    problems: tuple[str, ...]
    backbone: str | None = None  # label of the backbone that was asked for; None: none was, and there is only one

    @property
    def members(self) -> tuple[Member, ...]:
        return tuple(member for group in self.groups for member in group.members)

    def fingerprint(self) -> str:
        """Digest of the weights: a resumed run must use the same."""
        sums = [
            [files.sha256_file(folder / name) for name in WEIGHTS if (folder / name).exists()]
            for member in self.members
            for folder in (member.adapter, member.source)
            if folder is not None
        ]
        return ids.digest([[group.name for group in self.groups], sums], 24)


# `backbone` of these functions: label, name or folder of the backbone whose adapters to use; needed where there are
# several.


def of_plan(plan: Plan, root: RunsRoot, tasks: Sequence[str] = (), backbone: str | None = None) -> Chosen:
    """The finished baselines of a manifest: all seeds, the largest fraction of the data, all labels."""
    whole = max(plan.manifest.fractions)
    label = _label(plan, backbone)
    wanted = [
        cell
        for cell in plan.cells
        if cell.kind == "baseline"
        and cell.data.fraction == whole
        and cell.data.labels == "all"
        and plan.label(cell) == label
    ]
    found = _chosen((partial(_of_cell, root.cell(cell.id), root) for cell in wanted), tasks)
    return replace(found, backbone=None if backbone is None else label)


def of_cells(
    folders: Iterable[CellDir], root: RunsRoot, tasks: Sequence[str] = (), backbone: str | None = None
) -> Chosen:
    """Finished cells by id: baselines or transfers."""
    return _chosen((partial(_of_cell, folder, root) for folder in folders), tasks, backbone)


def of_folders(paths: Iterable[Path], tasks: Sequence[str] = (), backbone: str | None = None) -> Chosen:
    """Folders of exported adapters, or folders that hold such folders."""
    folders = [folder for path in paths for folder in _adapters(path)]
    return _chosen((partial(_of_folder, folder) for folder in folders), tasks, backbone)


# Every finished adapter with its files verified, on any backbone, and a sentence for each that cannot be used.


def members_of_cells(folders: Iterable[CellDir], root: RunsRoot) -> tuple[list[Member], list[str]]:
    """Of cells."""
    return _read(partial(_of_cell, folder, root) for folder in folders)


def members_of_folders(paths: Iterable[Path]) -> tuple[list[Member], list[str]]:
    """Of folders of exported adapters, or folders that hold such folders."""
    return _read(partial(_of_folder, folder) for path in paths for folder in _adapters(path))


def _label(plan: Plan, asked: str | None) -> str:
    """The label of the backbone that is asked for, or of the only one. Raises UsageError."""
    labels, folder = plan.labels, plan.manifest.path.parent
    if asked is None and len(labels) == 1:
        return next(iter(labels.values()))
    matching = [label for backbone, label in labels.items() if asked == label or is_called(backbone, asked, folder)]
    if len(matching) == 1:
        return matching[0]
    found = "none is chosen" if asked is None else f"{asked!r} is not one of them"
    raise UsageError(
        f"adapters of one backbone must be chosen, out of {', '.join(labels.values())}, but {found}; add "
        f"`--backbone {next(iter(labels.values()))}`"
    )


def _adapters(path: Path) -> list[Path]:
    """The adapters below a folder: a measure's (one seed at its top, others in subfolders), or one of measures."""
    patterns = (adapter_metadata.NAME, f"*/{adapter_metadata.NAME}", f"*/*/{adapter_metadata.NAME}")
    return sorted(file.parent for pattern in patterns for file in path.glob(pattern))


def _of_cell(folder: CellDir, root: RunsRoot) -> Member:
    """The member of a cell, with every file verified. Raises StoreError, UsageError."""
    result = folder.result()
    if result is None:
        raise StoreError(f"{folder.id} must be done to be used, but has no result; submit its manifest")
    output = folder.verify(result)
    cell = cells.from_identity(folder.identity(), folder.identity_file)
    if not isinstance(cell, cells.Trained):
        raise UsageError(f"{folder.id} must be a baseline or a transfer, but is of kind {cell.kind}; name another cell")
    return Member(
        adapter=output / ADAPTER,
        source=_source(cell, output, root),
        measure=adapter_metadata.read(output / ADAPTER),
        predictions=output / PREDICTIONS,
        result=result,
    )


def _source(cell: cells.Cell, output: Path, root: RunsRoot) -> Path | None:
    if not isinstance(cell, cells.Transfer):
        return None
    if cell.source_use.mode == "tuned":
        return output / SOURCE_ADAPTER
    parent = root.cell(cell.parent)
    result = parent.result()
    if result is None:
        raise StoreError(
            f"{cell.id} must have its source {cell.parent} to be used, but that cell has no result; submit its manifest"
        )
    return parent.verify(result) / (ADAPTER if cell.source_use.epoch == "best" else LAST_ADAPTER)


def _of_folder(folder: Path) -> Member:
    """The member of an exported adapter, with every file verified. Raises StoreError."""
    try:
        sums: Mapping[str, str] = decode.load(folder / CHECKSUMS, Mapping[str, str], "export the cell again")
    except FileNotFoundError as error:
        raise DamagedError(f"{folder} must hold {CHECKSUMS}, but does not; export the cell again") from error
    for name, expected in sums.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
            raise DamagedError(f"{path} must be part of the exported adapter, but is missing; export the cell again")
        if files.sha256_file(path) != expected:
            raise DamagedError(f"{path} must match its checksum, but does not; export the cell again")
    measure = adapter_metadata.read(folder)
    source = folder / SOURCE if measure.source is not None else None
    return Member(adapter=folder, source=source, measure=measure)


def _read(candidates: Iterable[Callable[[], Member]]) -> tuple[list[Member], list[str]]:
    members: list[Member] = []
    problems: list[str] = []
    for candidate in candidates:
        try:
            members.append(candidate())
        except EmpslurmError as error:
            problems.append(str(error))
    return members, problems


def _chosen(candidates: Iterable[Callable[[], Member]], tasks: Sequence[str], backbone: str | None = None) -> Chosen:
    """Read each candidate; one that cannot be used is left out with its reason. Raises UsageError when none is left."""
    members, problems = _read(candidates)
    kept = [member for member in members if not tasks or any(fnmatchcase(member.measure.task, name) for name in tasks)]
    if not kept:
        known = ", ".join(sorted({member.measure.task for member in members}))
        reason = (
            f"--tasks must name some of {known}, but names none; write for example --tasks {known.split(', ')[0]}"
            if known
            else "there must be a finished adapter to use, but there is none; submit the manifest first"
        )
        raise UsageError("; ".join([reason, *problems[:5]]))
    label, own = _on_one_backbone(kept, backbone)
    return Chosen(groups=_groups(own), problems=tuple(problems), backbone=None if backbone is None else label)


def _on_one_backbone(members: Sequence[Member], asked: str | None) -> tuple[str, list[Member]]:
    """The backbone that is asked for (by label, name or folder), or the only one: its label and the members on it.

    A backbone is the digest of its files: the same files in two folders are one, named by the first. Raises UsageError.
    """
    names: dict[str, list[Backbone]] = {}  # by digest
    for member in members:
        names.setdefault(member.measure.backbone_digest, []).append(member.measure.backbone)
    labels = labels_of_models([(names[digest][0], digest) for digest in (m.measure.backbone_digest for m in members)])
    first: dict[str, Member] = {}
    for label, member in zip(labels, members, strict=True):
        first.setdefault(label, member)
    if asked is None and len(first) == 1:
        return labels[0], list(members)
    chosen = [
        label
        for label, member in first.items()
        if asked == label or any(is_called(one, asked) for one in names[member.measure.backbone_digest])
    ]
    if len(chosen) == 1:
        own = [member for label, member in zip(labels, members, strict=True) if label == chosen[0]]
        return chosen[0], own
    shown = "; ".join(
        f"{label} ({member.measure.cell} has {member.measure.backbone.name}, {member.measure.backbone_digest})"
        for label, member in first.items()
    )
    asked_for = "" if asked is None else f" out of which {asked!r} names {len(chosen) or 'none'}"
    raise UsageError(
        f"all adapters must have the same backbone, but there are {shown}{asked_for}; run the command once for each, "
        f"such as with `--backbone {next(iter(first))}`"
    )


def _groups(members: Sequence[Member]) -> tuple[Group, ...]:
    """Group members that differ only in the seed; measures of equal names get a few hex digits of their settings."""
    by_settings: dict[str, dict[int, Member]] = {}
    for member in members:
        by_settings.setdefault(_settings(member.measure), {})[member.measure.seed] = member
    short = [_short_name(next(iter(by_seed.values())).measure) for by_seed in by_settings.values()]
    return tuple(
        Group(
            name=name if short.count(name) == 1 else f"{name}-{digest[:6]}",
            members=tuple(by_seed[seed] for seed in sorted(by_seed)),
        )
        for name, (digest, by_seed) in zip(short, by_settings.items(), strict=True)
    )


def _settings(measure: Measure) -> str:
    """Digest of everything that the seeds of one measure share."""
    shared = [measure.task, measure.kind, measure.labels, measure.source, measure.fraction, measure.settings]
    return ids.digest([*shared, measure.backbone_digest])


def _short_name(measure: Measure) -> str:
    name = measure.task if measure.source is None else f"{measure.source}--{measure.task}"
    return name if measure.fraction == 1.0 else f"{name}-f{measure.fraction * 100:g}"
