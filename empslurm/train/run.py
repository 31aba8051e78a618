"""Run packs on this node: claim each cell, train them together, save each. A failure affects only its own cell."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list

from empslurm.cells import Cell, Trained, TrialCell
from empslurm.errors import DataError, DeviceError, StoreError
from empslurm.plan import Pack
from empslurm.store.claims import Liveness
from empslurm.store.runs import RunsRoot
from empslurm.tasks import Registry
from empslurm.train.build import needs_library
from empslurm.train.context import Node
from empslurm.train.embeddings.run import dataset_embedding, derive_members, task_embedding
from empslurm.train.group import train_claimed
from empslurm.train.loop import Interrupted, Settings
from empslurm.train.member import Claimed, Held
from empslurm.train.tally import Say, Tally
from empslurm.train.trackers import Curves
from empslurm.train.trials import train_trials

# Processes wait for the first one while it computes embeddings or saves; by default they give up after 10 minutes.
# If one dies, the launcher ends the others at once.
LONGEST_WAIT = timedelta(days=1)
BEAT_EVERY_S = 60.0


Runner = Callable[[Sequence[Claimed[Any]], Node, Settings, Tally], Iterator[Held]]

# By kind of cell: runs claimed cells that are alike, yields those that are done, reports the others to the tally.
RUNNERS: Mapping[str, Runner] = {
    "baseline": train_claimed,
    "transfer": train_claimed,
    "fisher": partial(derive_members, task_embedding),
    "embed": partial(derive_members, dataset_embedding),
    "trial": train_trials,
}


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
    others: Sequence[TrialCell] = (),
    gpu: bool = False,
    trackers: Sequence[str] = (),
) -> Tally:
    """Train the cells of `packs` that are not done, in order. A cell's failure is not raised but in its error.json.

    `others`: trials of other processes; those of this process's searches that nobody runs are taken over at the end.
    `identity`: job id, restart count and log file of this process, as claims hold them. `gpu`: the profile asks for a
    GPU, so every cell fails where none works. `trackers`: those of Accelerate that get the loss curves. Raises
    DataError.
    """
    mixed = {cell.mixed_precision for pack in packs for cell in pack.cells}
    if len(mixed) > 1:
        raise DataError(
            "one process must run packs of one mixed precision, but got several; run each precision in its own process"
        )
    # Without `cpu=True`, each of several processes on a CPU would behave as the only one.
    problem = no_gpu() if gpu else None
    on_gpu = problem is None and torch.cuda.is_available()
    accelerator = Accelerator(
        mixed_precision=mixed.pop() if mixed else "no",
        cpu=not on_gpu,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=LONGEST_WAIT)],
    )
    if on_gpu:  # by number: the accelerator names its only GPU `cuda`, which this function refuses
        torch.cuda.set_per_process_memory_fraction(settings.memory_share, torch.cuda.current_device())
    stop = Stop()
    curves = Curves(trackers if accelerator.is_main_process else (), root.trackers, say)
    settings = replace(settings, stop=stop, curves=curves)
    node, tally = Node(root, data_root, registry, accelerator), Tally(accelerator=accelerator, say=say)
    node.problem = problem
    claims = Claims(alive=alive, identity=identity)
    for cells in (cells for pack in packs for cells in alike(pack.cells, root)):
        if stop():
            tally.interrupted = True
            break
        _run_together(cells, node, settings, claims, tally)
    searches = {cell.search_name for pack in packs for cell in pack.cells if isinstance(cell, TrialCell)}
    for cell in (cell for cell in others if cell.search_name in searches):
        if tally.interrupted or stop():
            break
        if root.cell(cell.id).state(alive).state in ("pending", "lost"):
            _run_together([cell], node, settings, claims, tally)
    return tally


def alike(cells: Sequence[Cell], root: RunsRoot) -> list[list[Cell]]:
    """Group cells that can share a data pass and a bank. A cell that only the library can train forms its own group."""
    groups: dict[object, list[Cell]] = {}
    for cell in cells:
        alone = isinstance(cell, Trained) and needs_library(cell, root)
        groups.setdefault((*cell.pass_key, cell.id) if alone else cell.pass_key, []).append(cell)
    return list(groups.values())


@dataclass(frozen=True, kw_only=True)
class Claims:
    """How this process claims cells."""

    alive: Liveness
    identity: Mapping[str, Any]  # of its job

    def take(self, cell: Cell, node: Node, tally: Tally) -> Claimed[Cell] | None:
        """Claim a cell, in the main process for all; None if it is done, held by another process, or damaged."""
        box: list[Any] = [None]
        folder = node.root.cell(cell.id)
        if node.accelerator.is_main_process:
            try:
                folder.create(cell)
                box[0] = folder.take(self.alive, **self.identity)
                if box[0] is None:
                    tally.skipped.append(cell.id)
                    if folder.result() is None:
                        tally.say(f"{cell.id} is skipped: another process runs it")
            except StoreError as error:  # logged only: without a claim nothing may be written to the cell's folder
                tally.failed.append(cell.id)
                tally.say(f"{cell.id} is skipped: {error}")
        if node.accelerator.num_processes > 1:
            broadcast_object_list(box)
        return None if box[0] is None else Claimed(cell=cell, folder=folder, claim=box[0])


def _run_together(cells: Sequence[Cell], node: Node, settings: Settings, claims: Claims, tally: Tally) -> None:
    """Claim the cells, train those that this process got, and release the claims in any case."""
    claimed = [held for cell in cells if (held := claims.take(cell, node, tally)) is not None]
    if not claimed:
        return
    try:
        with beating(claimed if node.accelerator.is_main_process else ()):
            if node.problem is not None:
                for held in claimed:
                    tally.lost(held, node.problem)
                return
            for done in RUNNERS[cells[0].kind](claimed, node, settings, tally):
                tally.done.append(done.cell.id)
    except Interrupted:
        tally.interrupted = True
    finally:
        settings.curves.close()
        if node.accelerator.is_main_process:
            for held in claimed:
                held.folder.release(held.claim)


@contextmanager
def beating(claimed: Sequence[Claimed[Cell]]) -> Iterator[None]:
    """Write the claims' heartbeats from a thread, so that they continue during long operations."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_EVERY_S):
            for held in claimed:
                held.folder.beat(held.claim)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def no_gpu() -> DeviceError | None:
    """Why this process cannot use its GPU; None when it can."""
    try:
        torch.zeros(1, device=f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
    except Exception as error:  # a broken driver can raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return DeviceError(
            f"{socket.gethostname()} must have a working GPU, since the profile asks for one, but torch says: {reason} "
            f"(CUDA_VISIBLE_DEVICES is {visible!r}); run `nvidia-smi` and `python -m empslurm doctor` there, and "
            "list it under `exclude` in the profile if its driver is broken"
        )
    return None
