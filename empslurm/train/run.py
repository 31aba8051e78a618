"""Run packs on this node: claim each cell, train them together, commit each; a failure is one cell's alone."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list

from empslurm.cells import TRAINED, Cell
from empslurm.errors import ClaimLostError, DataError, DeviceError, StoreError
from empslurm.plan import Pack
from empslurm.store.claims import Claim, Liveness
from empslurm.store.runs import RunsRoot
from empslurm.tasks import Registry
from empslurm.train import trials
from empslurm.train.build import needs_library
from empslurm.train.context import Node
from empslurm.train.embeddings.run import derive_members
from empslurm.train.failure import record
from empslurm.train.group import train_members
from empslurm.train.loop import Interrupted, Lost, Member, Say, Settings

# Processes wait for the first one while it derives embeddings or saves; by default they would give up after 10 minutes.
# Where one dies, the launcher ends the others at once.
LONGEST_WAIT = timedelta(days=1)
BEAT_EVERY_S = 60.0


@dataclass(kw_only=True)
class Tally:
    """What became of the cells of a run, by id."""

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    interrupted: bool = False


class Stop:
    """Turns TERM, INT and USR1 into a flag that the loop reads between two steps."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._note)

    def _note(self, *_: object) -> None:
        self.asked = True

    def __call__(self) -> bool:
        return self.asked


def run_packs(
    packs: Sequence[Pack],
    *,
    root: RunsRoot,
    data_root: Path,
    registry: Registry,
    settings: Settings,
    alive: Liveness,
    identity: Mapping[str, Any],
    say: Say = lambda _: None,
    others: Sequence[Cell] = (),
    gpu: bool = False,
) -> Tally:
    """Train what is missing of `packs`, in order. Never raises for a cell's failure; that is in its error.json.

    `others`: trials that belong to other processes; those of this one's studies that nobody runs are taken over last.
    `identity`: job id, restart count and log file of this process, as claims hold them. `gpu`: fail every cell where
    there is no GPU that works, for its profile asked for one.
    """
    mixed = {cell.mixed_precision for pack in packs for cell in pack.cells}
    if len(mixed) > 1:
        raise DataError("one process must run packs of one mixed precision, but got several; launch them apart")
    # Unless it is told that there is no GPU, several processes on a CPU would each believe to be the only one.
    problem = no_gpu() if gpu else None
    on_gpu = problem is None and torch.cuda.is_available()
    accelerator = Accelerator(
        mixed_precision=mixed.pop() if mixed else "no",
        cpu=not on_gpu,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=LONGEST_WAIT)],
    )
    if on_gpu:  # by number: the accelerator calls its only GPU `cuda`, which this function refuses
        torch.cuda.set_per_process_memory_fraction(settings.memory_share, torch.cuda.current_device())
    stop = Stop()
    settings = replace(settings, stop=stop)
    node, tally = Node(root, data_root, registry, accelerator), Tally()
    node.problem = problem
    for cells in (cells for pack in packs for cells in alike(pack.cells, root)):
        if stop():
            tally.interrupted = True
            break
        _run_together(cells, node, settings, alive, identity, tally, say)
    studies = {cell.study for pack in packs for cell in pack.cells if cell.kind == "trial"}
    for cell in (cell for cell in others if cell.kind == "trial" and cell.study in studies):
        if tally.interrupted or stop():
            break
        if root.cell(cell.id).state(alive).state in ("pending", "lost"):
            _run_together([cell], node, settings, alive, identity, tally, say)
    return tally


def alike(cells: Sequence[Cell], root: RunsRoot) -> list[list[Cell]]:
    """Cells that can share a data pass and a bank: one task, seed, data, backbone, adapter and kind of stack.

    A trial is alone, since its parameters are its own, and so is a cell that only the library can train.
    """
    groups: dict[object, list[Cell]] = {}
    for cell in cells:
        alone = cell.kind == "trial" or (cell.kind in TRAINED and needs_library(cell, root))
        mode = cell.source_use.mode if cell.source_use is not None else None
        key: tuple[object, ...] = (
            cell.kind,
            cell.target,
            cell.seed,
            cell.data,
            cell.backbone,
            cell.adapter,
            cell.training,
            mode,
        )
        key = (*key, cell.id) if alone else key
        groups.setdefault(key, []).append(cell)
    return list(groups.values())


def _run_together(
    cells: Sequence[Cell],
    node: Node,
    settings: Settings,
    alive: Liveness,
    identity: Mapping[str, Any],
    tally: Tally,
    say: Say,
) -> None:
    """Claim the cells, train those that this process got, and let go of the claims, whatever came of it."""

    def lost(member: Member, error: Exception) -> None:
        if isinstance(error, ClaimLostError):
            say(str(error))
            tally.skipped.append(member.cell.id)
            if node.accelerator.num_processes > 1:
                raise error  # the other processes would go on with this cell: the launcher ends them all
            return
        tally.failed.append(member.cell.id)
        record(error, member, node.accelerator, say)

    members: list[Member] = []
    for cell in cells:
        claim = _claim(cell, node, alive, identity, tally, say)
        if claim is not None:
            members.append(Member(cell=cell, folder=node.root.cell(cell.id), claim=claim))
    try:
        with beating(members if node.accelerator.is_main_process else ()):
            trained = bool(members) and members[0].cell.kind in (*TRAINED, "trial")
            run = train_members if trained else derive_members
            ready = [member for member in members if _can_start(member, node, lost)]
            for member in run(ready, node, settings, lost, say):
                tally.done.append(member.cell.id)
    except Interrupted:
        tally.interrupted = True
    finally:
        if node.accelerator.is_main_process:
            for member in members:
                member.folder.release(member.claim)


@contextmanager
def beating(members: Sequence[Member]) -> Iterator[None]:
    """A thread that says now and then that this process lives, whatever it is busy with meanwhile."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_EVERY_S):
            for member in members:
                member.folder.beat(member.claim)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _claim(
    cell: Cell, node: Node, alive: Liveness, identity: Mapping[str, Any], tally: Tally, say: Say
) -> Claim | None:
    """The main process claims for all of them; None when there is nothing to do here, or its folder is damaged."""
    box: list[Any] = [None]
    folder = node.root.cell(cell.id)
    if node.accelerator.is_main_process:
        try:
            folder.create(cell)
            box[0] = folder.take(alive, **identity)
            if box[0] is None:
                tally.skipped.append(cell.id)
                if folder.result() is None:
                    say(f"{cell.id} is left alone: another process runs it")
        except StoreError as error:  # this cell's alone: without a claim there is no place to note it
            tally.failed.append(cell.id)
            say(f"{cell.id} is left out: {error}")
    if node.accelerator.num_processes > 1:
        broadcast_object_list(box)
    claim: Claim | None = box[0]
    return claim


def _can_start(member: Member, node: Node, lost: Lost) -> bool:
    """Give a trial its parameters and its judge; False where that or the device fails, which `lost` is told."""
    try:
        if node.problem is not None:
            raise node.problem
        if member.cell.kind == "trial":
            metric = node.registry.tasks[member.cell.target].metric
            course = trials.Course(node.root, member.cell, metric, node.accelerator)
            member.cell, member.judge = course.cell, course.judge
    except Exception as error:
        lost(member, error)
        return False
    return True


def no_gpu() -> DeviceError | None:
    """Why this process cannot use its GPU; None when it can."""
    try:
        torch.zeros(1, device=f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
    except Exception as error:  # a broken driver has many
        reason = (str(error) or type(error).__name__).splitlines()[0]
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return DeviceError(
            f"{socket.gethostname()} must have a working GPU, since the profile asks for one, but torch says: {reason} "
            f"(CUDA_VISIBLE_DEVICES is {visible!r}); run `nvidia-smi` and `python -m empslurm doctor` there, and "
            "list it under `exclude` in the profile if its driver is broken"
        )
    return None
