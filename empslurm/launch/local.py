"""Run packs on this machine, with one train process or one on each slot of its GPUs or cores; end such runs."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from empslurm import files
from empslurm.errors import StoreError
from empslurm.launch import notes, policy
from empslurm.launch.liveness import liveness
from empslurm.launch.node import devices
from empslurm.launch.node.devices import Slot
from empslurm.launch.node.process import TrainProcess, cores_here, stop_all
from empslurm.launch.profile import Profile
from empslurm.launch.states import queue_of
from empslurm.launch.submission import NodeSettings, Submission
from empslurm.launch.submission_dir import SubmissionDir, of_manifest
from empslurm.plan import Pack
from empslurm.store.cell_folder import CellState
from empslurm.store.claims import Claim, kernel, local_liveness, process_start
from empslurm.store.runs import RunsRoot

EXIT_INTERRUPTED = 75  # EX_TEMPFAIL: the state is saved, and the next start continues
GRACE_S = 120.0
POLL_S = 0.1

Look = Callable[[Sequence[int]], None]  # called while packs train, with their indices in the submission
Say = Callable[[str], None]


def job_arguments(
    root: RunsRoot, submission: Submission, indices: Sequence[int], settings: Profile | NodeSettings
) -> list[str]:
    """The arguments of jobs/train.py for the packs with these indices in the submission."""
    arguments = ["--runs", str(root.path.resolve()), "--submission", str(submission.folder(root).file.resolve())]
    for index in indices:
        arguments += ["--pack", str(index)]
    for name in settings.trackers:
        arguments += ["--tracker", name]
    return [*arguments, "--checkpoint-minutes", str(settings.checkpoint_minutes)]


def slots(profile: Profile, n_packs: int) -> tuple[Slot, ...]:
    """The slots of this machine, as the profile asks for them. Raises UsageError where too few GPUs are visible."""
    return devices.slots(
        devices.visible(os.environ.get("CUDA_VISIBLE_DEVICES"), profile.gpus),
        gpus=profile.gpus,
        num_processes=profile.num_processes,
        packs_per_gpu=profile.packs_per_gpu,
        cpus=min(cores_here(), profile.cpus),
        cpus_per_pack=profile.cpus_per_pack,
        n_packs=n_packs,
    )


def run(
    root: RunsRoot, submission: Submission, profile: Profile, slots: Sequence[Slot], *, look: Look, say: Say
) -> int:
    """Train all packs of a submission; returns the worst exit status (0 done, 1 some failed, 75 interrupted).

    Ctrl-C, TERM, a closed terminal and `cancel` are passed on as TERM to all train processes, so that they save their
    cells and none keeps running.
    """
    note_runner(root, submission)
    with _interrupted_by_signals():
        return Scheduler(root, submission, profile, slots, say).run(look)


@contextlib.contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Let TERM and HUP interrupt once, as Ctrl-C does; a process that ignores HUP (nohup) still ignores it."""
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        numbers = []

    def interrupt(*_: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What one train process trains: packs of one mixed precision, by their indices in the submission."""

    indices: tuple[int, ...]
    mixed_precision: str


@dataclass(frozen=True, kw_only=True)
class Running:
    """A train process with its task and slot."""

    task: Task
    slot: int
    process: TrainProcess


class Scheduler:
    """Keeps every slot busy with a pack whose sources have ended."""

    def __init__(
        self, root: RunsRoot, submission: Submission, profile: Profile, slots: Sequence[Slot], say: Say
    ) -> None:
        self.root, self.submission, self.profile, self.slots, self.say = root, submission, profile, slots, say
        self.free = list(range(len(slots)))
        self.n_slots = len(slots)  # those that still take packs
        self.waiting = tasks(submission.packs, slots)
        self.running: list[Running] = []
        self.worst = 0

    def run(self, look: Look) -> int:
        try:
            while self._start_some() or self.running:
                time.sleep(POLL_S)
                look([index for running in self.running for index in running.task.indices])
                if self._is_cancelled():
                    self.say("cancelled: the train processes save what they have and end")
                    self._stop()
                    return EXIT_INTERRUPTED
                self._collect()
        except KeyboardInterrupt:
            self._stop()
            return EXIT_INTERRUPTED
        except BaseException:
            self._stop()
            raise
        return self.worst

    def _start_some(self) -> bool:
        """Give each free slot a task; False when none was started."""
        n_before = len(self.running)
        while self.free and (task := self._next()) is not None:
            self.waiting.remove(task)
            if not self._finished(task):
                self.running.append(self._start(task, self.free.pop(0)))
        return len(self.running) > n_before

    def _next(self) -> Task | None:
        """The first task that needs no cell of another unfinished task."""
        unfinished = [*self.waiting, *(running.task for running in self.running)]
        maker = {cell.id: task for task in unfinished for index in task.indices for cell in self._pack(index).cells}
        for task in self.waiting:
            parents = {parent for index in task.indices for parent in self._pack(index).parents}
            if all(maker.get(parent, task) is task for parent in parents):
                return task
        # No plan has packs that wait for each other; if one did, training would say which source is missing.
        return self.waiting[0] if self.waiting and not self.running else None

    def _finished(self, task: Task) -> bool:
        """Whether all results exist: another process of a search may have run this task's trials."""
        cells = [cell for index in task.indices for cell in self._pack(index).cells]
        return all(self.root.cell(cell.id).result_file.exists() for cell in cells)

    def _start(self, task: Task, index: int) -> Running:
        slot, log = self.slots[index], self.submission.folder(self.root).log(index)
        arguments = job_arguments(self.root, self.submission, task.indices, self.profile)
        with open(log, "ab") as stream:
            process = TrainProcess(
                task.mixed_precision,
                self.profile.num_processes,
                [*arguments, *slot.arguments],
                log=log,
                stream=stream,
                variables=slot.environment,
                n_cores=slot.n_cores,
            )
        return Running(task=task, slot=index, process=process)

    def _collect(self) -> None:
        """Take back the slots of processes that have ended."""
        for ended in [running for running in self.running if running.process.ended]:
            self.running.remove(ended)
            ended.process.close()
            if self.n_slots > 1 and self._device_failed(ended.task):
                self._retire(ended)
                continue
            self.free.append(ended.slot)
            # accelerate turns a child's 75 (interrupted) into 1; the cells' states show which it was
            self.worst = max(self.worst, 0 if ended.process.code == 0 else 1)

    def _device_failed(self, task: Task) -> bool:
        """Whether torch could not use the GPUs that a task was given."""
        alive = liveness(queue_of(self.root))
        folders = [self.root.cell(cell.id) for index in task.indices for cell in self._pack(index).cells]
        failed = [folder for folder in folders if folder.state(alive).state == "failed"]
        return any((folder.error() or {}).get("class") == policy.DEVICE.name for folder in failed)

    def _retire(self, ended: Running) -> None:
        """Leave out a slot whose GPU cannot be used: it would fail pack after pack. Its pack goes to another slot."""
        self.n_slots -= 1
        self.waiting.insert(0, ended.task)
        names, log = ", ".join(self.slots[ended.slot].devices), self.submission.folder(self.root).log(ended.slot)
        self.say(f"GPU {names} cannot be used and is left out from here on; its log: {log}")

    def _is_cancelled(self) -> bool:
        return self.submission.folder(self.root).cancelled.exists()

    def _stop(self) -> None:
        stop_all([running.process for running in self.running], GRACE_S)
        for running in self.running:
            running.process.close()

    def _pack(self, index: int) -> Pack:
        return self.submission.packs[index]


def tasks(packs: Sequence[Pack], slots: Sequence[Slot]) -> list[Task]:
    """Divide packs into tasks, in the order of the packs (none needs a later one).

    On several slots with GPUs each pack is a task. Otherwise packs share a task, so that torch and the backbone are
    loaded once: on one slot, neighbours of one mixed precision; on several slots of cores, equal parts of the packs
    that can start together.
    """
    precisions = [pack.cells[0].mixed_precision for pack in packs]
    n_slots = len(slots)
    if n_slots > 1 and slots[0].devices:
        return [Task(indices=(index,), mixed_precision=precision) for index, precision in enumerate(precisions)]
    waves = _waves(packs) if n_slots > 1 else [0] * len(packs)
    by_wave = sorted(range(len(packs)), key=waves.__getitem__)
    divided = []
    for (_, precision), group in itertools.groupby(by_wave, key=lambda index: (waves[index], precisions[index])):
        indices = tuple(group)
        divided += [
            Task(indices=indices[first::n_slots], mixed_precision=precision)
            for first in range(min(n_slots, len(indices)))
        ]
    return divided


def _waves(packs: Sequence[Pack]) -> list[int]:
    """How many packs, one after another, must end before each can start."""
    waves: list[int] = []
    after: dict[str, int] = {}  # cell -> the first wave that can use it
    for pack in packs:
        waves.append(max((after.get(parent, 0) for parent in pack.parents), default=0))
        after |= {cell.id: waves[-1] + 1 for cell in pack.cells}
    return waves


# ---- ending runs from another process --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What `end_runs` found. `elsewhere`, `others`: number of cells by who holds them."""

    n_ended: int  # runs on this machine
    n_saving: int  # runs that were asked to end but have not ended yet
    elsewhere: Mapping[str, int]  # by the name of their machine
    others: Mapping[str, int]  # by process: not of a run of this manifest, and so left alone


@dataclass(frozen=True, kw_only=True)
class Runner:
    """The process that runs a submission on its own machine."""

    host: str
    kernel: str
    pid: int
    process_start: float


def note_runner(root: RunsRoot, submission: Submission) -> None:
    """Note that this process runs a submission, so that `cancel` can wait for its end."""
    pid = os.getpid()
    runner = Runner(host=socket.gethostname(), kernel=kernel(), pid=pid, process_start=process_start(pid) or 0.0)
    with contextlib.suppress(StoreError):
        files.write_json(submission.folder(root).runner, asdict(runner))


def end_runs(
    root: RunsRoot, manifest: str, cells: Mapping[str, CellState], say: Say, grace_s: float = GRACE_S
) -> Ended:
    """End the runs of a cancelled manifest on this machine and wait until they have saved, for `grace_s` at most.

    A run notices that it is cancelled. A train process whose run was killed gets TERM here: it is ours if its claim's
    log is in a submission of the manifest, and if its process id and start time are those of the claim.
    """
    folders = {submission.path.resolve() for submission in of_manifest(root, manifest)}
    runs = {folder: {runner} for folder in folders if (runner := _runner(folder)) and local_liveness(runner)}
    orphans: dict[Path, set[Claim]] = {}
    elsewhere: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for claim in (state.claim for state in cells.values() if state.state == "running"):
        if claim is None or claim.job_id is not None:
            continue
        folder = Path(claim.log).parent if claim.log else None
        process = replace(claim, number=0, nonce="", started=0.0)  # equal for all cells that it has claimed
        alive = local_liveness(claim)
        if alive is None:
            elsewhere[claim.host] += 1
        elif not alive:
            continue
        elif folder in runs:
            runs[folder].add(process)
        elif folder in folders:
            orphans.setdefault(folder, set()).add(process)
        else:
            others[claim.who] += 1
    for folder, processes in orphans.items():
        asked = {process for process in processes if _ask(process)}
        runs |= {folder: asked} if asked else {}
        others.update(process.who for process in processes - asked)
    if runs:
        say(f"waiting for {len(runs)} runs on this machine to save and end")
    saving = _wait(runs, grace_s)
    return Ended(n_ended=len(runs) - saving, n_saving=saving, elsewhere=dict(elsewhere), others=dict(others))


def _runner(folder: Path) -> Claim | None:
    """The process that runs, or ran, a submission on its own machine; None where no readable note names one."""
    try:
        runner = notes.read(Runner, SubmissionDir(folder).runner, "a note of who runs a submission")
    except (FileNotFoundError, StoreError):
        return None
    return Claim(number=0, nonce="", started=0.0, **asdict(runner))


def _ask(process: Claim) -> bool:
    """Send TERM to a process's group if it has its own session, as our train processes do; False: left alone."""
    try:
        group = os.getpgid(process.pid)
        if group != os.getsid(process.pid) or group == os.getpgrp() or not local_liveness(process):
            return False
        os.killpg(group, signal.SIGTERM)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return True


def _wait(runs: Mapping[Path, set[Claim]], grace_s: float) -> int:
    """Wait for runs to end; return how many are still alive."""
    end = time.monotonic() + grace_s
    while (n_living := sum(any(map(local_liveness, run)) for run in runs.values())) and time.monotonic() < end:
        time.sleep(POLL_S)
    return n_living
