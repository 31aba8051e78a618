"""Train cells that are alike together, from their checkpoints, as many per forward pass as the memory allows."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from empslurm.cells import Trained
from empslurm.launch.policy import failure_of
from empslurm.train import checkpoint as checkpoints
from empslurm.train import memory
from empslurm.train.build import starting_model
from empslurm.train.context import Node
from empslurm.train.loop import Interrupted, Settings, Trainer
from empslurm.train.member import Claimed, Member
from empslurm.train.processes import one_fate
from empslurm.train.save import save
from empslurm.train.tally import Say, Tally


class Group:
    """Cells that are trained together, and what the next try must know about them."""

    def __init__(self, members: Sequence[Member], tally: Tally) -> None:
        self.open, self.tally = list(members), tally
        self.at_once = 1  # cells of one pass, in the last try
        self.fatal: Exception | None = None  # raised while a failure was recorded: it ends the process

    def leave(self, member: Member, error: Exception) -> None:
        """Drop a cell that failed or lost its claim."""
        self.open.remove(member)
        try:
            self.tally.lost(member, error)
        except Exception as raised:
            self.fatal = raised
            raise


def train_claimed(
    claimed: Sequence[Claimed[Trained]], node: Node, settings: Settings, tally: Tally
) -> Iterator[Member]:
    """Train baselines or transfers that are alike; yields each finished one, reports the others to `tally`."""
    members = [Member(cell=held.cell, folder=held.folder, claim=held.claim) for held in claimed]
    yield from train_members(members, node, settings, tally)


def train_members(members: Sequence[Member], node: Node, settings: Settings, tally: Tally) -> Iterator[Member]:
    """Train cells that are alike together; yields each finished one, reports the others to `tally`.

    If a pass does not fit in the device's memory, training resumes from the checkpoints with fewer cells per pass, and
    then with smaller micro-batches. The optimiser's batch stays the same.
    """
    group, sizes = Group(members, tally), settings
    while group.open:
        group.at_once = 1
        try:
            for part, kept in _parts(group.open, tally.say):
                for member in _train_part(part, kept, node, sizes, group):
                    group.open.remove(member)
                    yield member
            return
        except Interrupted:
            raise
        except Exception as error:
            if error is group.fatal:
                raise
            smaller = _smaller(sizes, group.at_once, members[0].cell.training.batch_size)
            if not failure_of(error).smaller_passes or smaller is None:
                for member in list(group.open):
                    group.leave(member, error)
                return
            sizes = smaller
            tally.say(
                f"{group.open[0].cell.id} and its pack do not fit in the device's memory; they continue with "
                f"{sizes.group_size} cells and {sizes.micro_batch or 'all'} examples of a batch per pass"
            )
        gc.collect()  # the failed pass holds its tensors until then
        torch.cuda.empty_cache()


def _smaller(sizes: Settings, cells: int, batch_size: int) -> Settings | None:
    """Half the cells of a pass; with one cell, half the examples; None when there is nothing left to halve."""
    if cells > 1:
        return replace(sizes, group_size=cells // 2)
    examples = sizes.micro_batch or batch_size
    return replace(sizes, group_size=1, micro_batch=examples // 2) if examples > 1 else None


def _parts(members: Sequence[Member], say: Say) -> list[tuple[list[Member], list[checkpoints.Checkpoint]]]:
    """Members that resume together, with their checkpoints of the same step (none: from the beginning)."""
    kept: list[dict[checkpoints.Position, checkpoints.Checkpoint]] = []
    for member in members:
        sound, notes = checkpoints.read_sound(member.folder.checkpoints, member.cell.id)
        for note in notes:
            say(note)
        kept.append({checkpoint.position: checkpoint for checkpoint in sound})
    return [
        ([members[index] for index in indices], [kept[index][position] for index in indices if position in kept[index]])
        for position, indices in checkpoints.common_positions(kept)
    ]


def _train_part(
    members: Sequence[Member],
    saved: Sequence[checkpoints.Checkpoint],
    node: Node,
    settings: Settings,
    group: Group,
) -> Iterator[Member]:
    """Train cells that resume at the same step; yields each one when it is saved."""
    if settings.stop():
        raise Interrupted
    first = members[0].cell
    training = first.training
    data = node.data(first)
    by_id = {checkpoint.state.id: checkpoint for checkpoint in saved}
    with one_fate(node.accelerator):
        members, model = starting_model(members, node, data, group.leave)
    if model is None:
        return
    settings = _as_before(settings, saved, node)
    if settings.group_size is None:
        examples = settings.micro_batch or training.batch_size
        size = memory.group_size(model, data, examples, node.accelerator, settings.memory_share)
        settings = replace(settings, group_size=size)
    group.at_once = min(settings.group_size or 1, len(members))
    trainer = Trainer(members, data, model, node.accelerator, settings, group.leave)
    kept = [by_id[member.cell.id] for member in members] if saved else []
    if kept and trainer.fits(kept):
        trainer.restore(kept)
    elif kept:
        group.tally.say(f"{members[0].cell.id} and its pack cannot resume from these checkpoints, so they start again")
        for member in members:
            checkpoints.forget(member.folder.checkpoints)
    for member in trainer.train():
        try:
            save(trainer, member, node, group.tally.say)
        except Exception as error:
            group.leave(member, error)
        else:
            yield member
    node.accelerator.wait_for_everyone()


def _as_before(settings: Settings, saved: Sequence[checkpoints.Checkpoint], node: Node) -> Settings:
    """Keep the pass size that the checkpoints were trained with: on a GPU another size rounds differently.

    A new measurement may give another size, since free memory depends on other users. On a CPU the size is always 1.
    """
    sizes = [kept.state.group_size for kept in saved if kept.state.group_size is not None]
    if settings.group_size is not None or not sizes or node.accelerator.device.type != "cuda":
        return settings
    pieces = [kept.state.micro_batch for kept in saved if kept.state.micro_batch is not None]
    return replace(settings, group_size=min(sizes), micro_batch=settings.micro_batch or min(pieces, default=None))
