"""The adapters that could be sources: one per task, all on one backbone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from empslurm import ids
from empslurm.cells import Baseline, DataIdentity
from empslurm.config import BANKED, Adapter, DataUse, Training
from empslurm.scoring.selection import Member
from empslurm.store.adapter_metadata import Measure
from empslurm.tasks.schema import Dataset
from empslurm.tasks.splits import split_name
from empslurm.validation import decode

read_adapter, read_training, read_use = decode.reader(Adapter), decode.reader(Training), decode.reader(DataUse)


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Adapters by task (of `usable`: by cell). `problems`: why others are left out, and which cannot be read."""

    members: Mapping[str, Member]
    problems: tuple[str, ...]

    @property
    def digest(self) -> str | None:
        """The digest of the backbone's files; None without any source."""
        return next((member.measure.backbone_digest for member in self.members.values()), None)

    @property
    def read(self) -> Mapping[str, Member]:
        """Those that are read in one pass."""
        return {task: member for task, member in self.members.items() if _kind(member.measure) in BANKED}

    def settings(self, name: str) -> Mapping[str, Any]:
        """The `adapter`, `training` or `data.use` section that most of them have."""
        sections = [_section(member.measure, name) for member in self.members.values()]
        counted = Counter(ids.canonical_json(section) for section in sections)
        most = counted.most_common(1)[0][0]
        return next(section for section in sections if ids.canonical_json(section) == most)

    def baseline(self, target: str, dataset: Dataset, raw: str | None) -> Baseline:
        """The baseline that a new target would have beside them."""
        use = read_use(self.settings("data.use"))
        return Baseline(
            target=target,
            seed=min(member.measure.seed for member in self.members.values()),
            data=DataIdentity(
                dataset=dataset.id,
                raw=raw,
                split=split_name(dataset, use.splits),
                use=use,
                labels="all",
                fraction=1.0,
            ),
            backbone=next(iter(self.members.values())).measure.backbone,
            backbone_digest=self.digest,
            adapter=read_adapter(self.settings("adapter")),
            training=read_training(self.settings("training")),
        )


def _section(measure: Measure, name: str) -> Mapping[str, Any]:
    value: Any = measure.settings
    for key in name.split("."):
        value = value[key]
    found: Mapping[str, Any] = value
    return found


def _kind(measure: Measure) -> str:
    return str(measure.settings["adapter"]["kind"])


def usable(members: Sequence[Member], problems: Iterable[str], target: str) -> Sources:
    """Every adapter of another task, of all seeds and backbones: what `choose` chooses from."""
    transfers = [member.measure.cell for member in members if member.measure.source is not None]
    said = list(problems)
    if transfers:
        said.append(
            f"a source must be a task's own adapter, but {_some(transfers)} were trained on top of another; they are "
            "left out"
        )
    alone = [member for member in members if member.measure.source is None and member.measure.task != target]
    return Sources(members={member.measure.cell: member for member in alone}, problems=tuple(said))


def backbone_of(members: Iterable[Member]) -> str | None:
    """The digest of the backbone with most tasks; None without any."""
    tasks: dict[str, set[str]] = {}
    for member in members:
        tasks.setdefault(member.measure.backbone_digest, set()).add(member.measure.task)
    return max(tasks, key=lambda digest: len(tasks[digest]), default=None)


def choose(found: Sources, digest: str | None, preferred: Sequence[Collection[str]]) -> Sources:
    """One adapter for each task on a backbone.

    Its cell is in the first set of `preferred` that has any of the task's; else it is of the settings with most seeds.
    Of several seeds the first is taken.
    """
    said = list(found.problems)
    members = list(found.members.values())
    own = [member for member in members if member.measure.backbone_digest == digest]
    others = [member for member in members if member.measure.backbone_digest != digest]
    if others:
        name = own[0].measure.backbone.name if own else "the finished transfers' backbone"
        said.append(
            f"all sources must be on one backbone, {name} with digest {digest}, but {_some(_tasks(others))} have "
            "adapters on another; these are left out: to rank them, name only their cells with --cells"
        )
    by_task: dict[str, list[Member]] = {}
    for member in own:
        by_task.setdefault(member.measure.task, []).append(member)
    chosen = {task: _first(there, preferred) for task, there in sorted(by_task.items())}
    for task, there in by_task.items():
        if len({_settings(member.measure) for member in there}) > 1:
            said.append(
                f"{task} must have one adapter, but was trained in several ways; that of {chosen[task].measure.cell} "
                "is used: for another, name its cell with --cells"
            )
    other = [task for task, member in chosen.items() if _kind(member.measure) not in BANKED]
    if other:
        said.append(
            f"an adapter must be of kind {' or '.join(BANKED)} to read texts here, but those of {_some(other)} are of "
            "another; these sources are ranked without LogME and the other estimators"
        )
    return Sources(members=chosen, problems=tuple(said))


def _first(members: Sequence[Member], preferred: Sequence[Collection[str]]) -> Member:
    for cells in preferred:
        there = [member for member in members if member.measure.cell in cells]
        if there:
            return min(there, key=lambda member: member.measure.seed)
    settings: dict[str, list[Member]] = {}
    for member in members:
        settings.setdefault(_settings(member.measure), []).append(member)
    most: list[Member] = max(settings.values(), key=len)
    return min(most, key=lambda member: member.measure.seed)


def _settings(measure: Measure) -> str:
    settings = measure.settings
    data = {**settings["data"], "fraction": measure.fraction}
    return ids.digest([settings["adapter"], settings["training"], data])


def _tasks(members: Iterable[Member]) -> list[str]:
    return sorted({member.measure.task for member in members})


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} others" if len(names) > 5 else "")


def whole(cell: Baseline) -> Baseline:
    """The cell with all of its task's training part, whatever share of it or labels it was trained on."""
    data = replace(cell.data, fraction=1.0, labels="all")
    return replace(cell, data=data, training=replace(cell.training, max_train_examples=None))
