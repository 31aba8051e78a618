"""What one array element does on its node: check the sources, train a pack on each slot, look at the results, decide.

The object that submitit pickles holds strings only: what it knows more it reads from the runs root, so that a job that
starts again is a job that starts.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from empslurm import files
from empslurm.cells import Cell
from empslurm.errors import DamagedError, UsageError
from empslurm.launch import policy, scontrol
from empslurm.launch import submission as submissions
from empslurm.launch.liveness import LOG_VARIABLE, NAME_VARIABLE, job_identity, liveness
from empslurm.launch.local import EXIT_INTERRUPTED, job_arguments
from empslurm.launch.logs import last_words
from empslurm.launch.node import devices
from empslurm.launch.node.devices import Slot
from empslurm.launch.node.meter import Meter
from empslurm.launch.node.process import TrainProcess, stop_all
from empslurm.launch.policy import Failure, Reason
from empslurm.launch.profile import Profile
from empslurm.launch.states import queue_of, states
from empslurm.store.cell_folder import CellState
from empslurm.store.claims import Claim
from empslurm.store.runs import RunsRoot

POLL_S = 0.2
SOURCE_POLL_S = 2.0
PATIENCE_S = 30.0  # for a shared file system to show what another node has written


def say(text: str) -> None:
    print(f"empslurm: {text}", flush=True)


class Element:
    """The callable of submitit. `array`: the marker's file; which element it is, Slurm says."""

    def __init__(self, runs: str, array: str) -> None:
        self.runs, self.array = runs, array
        self.work: Work | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"runs": self.runs, "array": self.array, "work": None}

    def __call__(self) -> str:
        self.work = Work(RunsRoot(Path(self.runs)), submissions.load_array(Path(self.array)))
        return self.work.run()

    def checkpoint(self) -> NoReturn:
        """Called by submitit when Slurm sends USR2, before a time limit or a preemption: save, and queue again.

        Ends here, since submitit would queue again whatever Slurm answers, and call a job that may not start again
        failed.
        """
        if self.work is not None:
            self.work.leave()
        raise SystemExit(EXIT_INTERRUPTED)


class Work:
    """One incarnation of one element."""

    def __init__(self, root: RunsRoot, array: submissions.Array) -> None:
        self.root, self.array = root, array
        self.identity = job_identity()
        self.places = _places(array)
        self.submission = submissions.load(array.submission, self.places)
        self.packs = dict(zip(self.places, self.submission.packs, strict=True))
        if self.submission.settings is None:
            raise DamagedError(f"{array.submission} must say what its profile allows, but does not; submit again")
        self.settings = self.submission.settings
        self.running: dict[int, TrainProcess] = {}
        self.slot_of: dict[int, Slot] = {}  # of each pack that runs
        self.log_before: dict[int, int] = {}  # bytes of the log when each pack was last started
        self.elsewhere: list[int] = []  # packs that another node is to try
        self.stopping = False
        self.left_out: set[str] = set()
        self.queue = queue_of(root)
        n_slots = devices.n_slots(
            gpus=self.settings.gpus,
            num_processes=self.settings.num_processes,
            packs_per_gpu=self.packs_per_gpu,
            cpus=self.cpus,
            cpus_per_pack=self.settings.cpus_per_pack,
        )
        self.meter = Meter(self.places, gpus=self.settings.gpus, n_slots=n_slots)
        self.log = Path(os.environ.get(LOG_VARIABLE) or os.devnull)

    @property
    def job_id(self) -> str:
        """As squeue writes it."""
        return str(self.identity["job_id"])

    @property
    def packs_per_gpu(self) -> int:
        return self.settings.packs_per_gpu or 1

    @property
    def cpus(self) -> int:
        """Cores of this job: of a whole node all that it has, whatever the profile asked for."""
        on_node = os.environ.get("SLURM_CPUS_ON_NODE", "")
        return int(on_node) if self.settings.exclusive and on_node.isdigit() else self.settings.cpus

    # ---- signals --------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Let the train processes save and end, and have the job queued again where that is allowed and serves."""
        self._stop()
        restarts = int(self.identity["restart_count"])
        if any(policy.stalled(self._journal(place).events()) for place in self.places):
            say(f"{policy.STALLS} starts in a row ended before training came further; raise time, then submit again")
        elif restarts >= self.settings.requeues:
            say(f"what was trained is saved; no more than {restarts} restarts are allowed, so the next submit goes on")
        else:
            self._requeue()

    def _on_term(self, *_: object) -> None:
        """Slurm is ending the job, by its own decision: nothing is queued again from here."""
        self._stop()

    def _stop(self) -> None:
        if self.stopping:
            return
        self.stopping = True
        for place in self.running:  # noted first: there may be no time for it later
            self._end(place, "stopped", steps=self._steps(place))
        stop_all(list(self.running.values()), self.settings.grace_s)

    # ---- the course of things -------------------------------------------------------------------------------------

    def run(self) -> str:
        """Train what can be trained; what came of it, in a word."""
        signal.signal(signal.SIGTERM, self._on_term)
        self.array.note_start(self.job_id)
        held = self._hold()
        if held:
            say(f"nothing is started, since {held}")
            self._end_all("held")
            return "held"
        if socket.gethostname() in self._bad_nodes() and self._again_elsewhere():
            return "requeued"
        if not self._await_sources():
            return "requeued"
        todo = [place for place in self.places if self._open(place)]
        try:
            slots = self._slots(len(todo))
        except UsageError as error:
            return self._without_devices(todo, str(error))
        self._train(todo, slots)
        return "stopped" if self.stopping else self._move()

    def _slots(self, n_packs: int) -> tuple[Slot, ...]:
        """The slots of this job. Raises UsageError where it has fewer GPUs than its profile asks for."""
        return devices.slots(
            devices.visible(os.environ.get("CUDA_VISIBLE_DEVICES"), self.settings.gpus),
            gpus=self.settings.gpus,
            num_processes=self.settings.num_processes,
            packs_per_gpu=self.packs_per_gpu,
            cpus=self.cpus,
            n_packs=n_packs,
            cpus_per_pack=self.settings.cpus_per_pack,
        )

    def _train(self, places: Sequence[int], slots: Sequence[Slot]) -> None:
        """Keep every slot busy with a pack until none is left; meanwhile the GPUs' power is looked at."""
        waiting, free = list(places), list(slots)
        self.meter.skip()
        while (waiting or self.running) and not (self.stopping and not self.running):
            while waiting and free and not self.stopping:
                self._start(waiting.pop(0), free.pop(0))
            time.sleep(POLL_S)
            if self.stopping:  # a process that was being started when the signal came
                stop_all(list(self.running.values()), self.settings.grace_s)
            self.meter.look()
            for place in [place for place, process in self.running.items() if process.ended]:
                waiting += [place] if self._settle(place) else []
                free.append(self.slot_of.pop(place))
            self.meter.restart(waiting)

    def _start(self, place: int, slot: Slot) -> None:
        """Start the train process of a pack."""
        arguments = job_arguments(self.root, self.submission, [place], self.settings.checkpoint_minutes)
        wanted = {cell.id for cell in self._open(place)}
        for cell in self.packs[place].cells:
            arguments += [] if cell.id in wanted else ["--without", cell.id]
        self._journal(place).add("start", host=socket.gethostname(), **self._who())
        self.slot_of[place] = slot
        self.log_before[place] = _size(self.log)
        self.running[place] = TrainProcess(
            self.packs[place].cells[0].mixed_precision,
            self.settings.num_processes,
            [*arguments, *slot.arguments],
            log=self.log,
            variables=slot.environment,
            n_cores=slot.n_cores,
            python=self.settings.python,
        )

    def _settle(self, place: int) -> bool:
        """Note how a pack ended, and what follows; True when it is to be started again here."""
        process = self.running.pop(place)
        code = process.code
        process.close()
        if self.stopping:
            return False
        failures = self._failures(place)
        failed = {cell.id for cell, claim, _ in failures if claim.restart_count == self.identity["restart_count"]}
        unfinished = [cell for cell in self._open(place) if cell.id not in failed]
        failure = policy.KILLED if unfinished else policy.to_retry(error for _, _, error in failures)
        if failure is None:
            self._end(place, "failed" if failures else "done")
            self._note_failures(place)
            return False
        self._end(place, failure.name, detail=self._last_words(place)[0])
        n_ends = policy.count(self._journal(place).events(), failure.name)
        say(
            f"pack {place} ended ({failure.name}) with {len(unfinished)} cells unfinished and status {code}; that "
            f"makes {n_ends} times"
        )
        if n_ends <= failure.tries_here:
            return True
        self.elsewhere.append(place)
        return False

    # ---- other nodes ------------------------------------------------------------------------------------------------

    def _move(self) -> str:
        """Once nothing runs here: queue the job again for what another node may do, and give the rest up."""
        moving = [place for place in self.elsewhere if self._may_move(place)]
        for place in self.elsewhere:
            if place not in moving:
                self._give_up(place)
        if moving and self._again_elsewhere():
            return "requeued"
        for place in moving:
            self._give_up(place)
        return "done"

    def _may_move(self, place: int) -> bool:
        return policy.may_move(self._journal(place).events())

    def _give_up(self, place: int) -> None:
        """Fail what is unfinished of a pack whose process died too often; what has failed by itself stays failed."""
        kills = policy.count(self._journal(place).events(), policy.KILLED.name)
        line, is_error = self._last_words(place)
        how, fix = policy.DEATHS[is_error]
        for cell in self._open(place):
            message = (
                f"{cell.id} must be trained to its end, but its process {how.format(n=kills)}; its last line: "
                f"{line or 'none'}; {fix}"
            )
            self._fail(cell, policy.KILLED, message)
        self._note_failures(place)

    def _without_devices(self, places: Sequence[int], why: str) -> str:
        """Try another node, since this one has too few GPUs for any pack; else fail the cells with the reason."""
        say(why)
        for place in places:
            self._end(place, policy.DEVICE.name, detail=why)
        if any(self._may_move(place) for place in places) and self._again_elsewhere():
            return "requeued"
        for place in places:
            for cell in self._open(place):
                self._fail(cell, policy.DEVICE, why)
            self._note_failures(place)
        return "done"

    def _bad_nodes(self) -> set[str]:
        return {node for place in self.places for node in policy.bad_nodes(self._journal(place).events())}

    # ---- sources --------------------------------------------------------------------------------------------------

    def _await_sources(self) -> bool:
        """Leave out cells whose source will not be there; False when one may still come and the job is queued again.

        A pack is trained whole or, where a source failed, without it; never now one half and later the other.
        """
        end = time.monotonic() + PATIENCE_S
        while self._lacking() and not self.stopping and time.monotonic() < end:
            time.sleep(SOURCE_POLL_S)
        gone, coming = self._sources() if self._lacking() else (set(), set())
        delays = [policy.wait_s(self._journal(place).events()) for place in self.places]
        if coming and None not in delays and self._may_start_again():
            delay = max(delay for delay in delays if delay is not None)
            say(f"waits {delay} s for {', '.join(sorted(coming))}")
            self._end_all("waiting", detail=min(coming))
            if self._requeue(delay_s=delay):
                return False
        lacking = gone | coming
        self.left_out = {cell.id for pack in self.packs.values() for cell in pack.cells if cell.parent in lacking}
        if lacking:
            say(f"{len(self.left_out)} cells are left out: there is no result of {', '.join(sorted(lacking))}")
        return True

    def _lacking(self) -> list[str]:
        """Sources without a result, by their files alone."""
        wanted = {cell.parent for pack in self.packs.values() for cell in pack.cells if cell.parent is not None}
        return sorted(parent for parent in wanted if not (self.root.cell(parent).path / "result.json").exists())

    def _sources(self) -> tuple[set[str], set[str]]:
        """Sources without a result: those that nothing will make, and those that something runs or has queued."""
        wanted = {cell.parent for place in self.places for cell in self._open(place) if cell.parent is not None}
        found = states(wanted, self.root, self.queue)
        lacking = {parent: state.state for parent, state in found.items() if state.state != "done"}
        # Without squeue's answer nobody can tell that nothing will come.
        silent = bool(lacking) and self.queue.jobs is None
        coming = {parent for parent, state in lacking.items() if state in ("running", "queued") or silent}
        return set(lacking) - coming, coming

    # ---- cells ----------------------------------------------------------------------------------------------------

    def _open(self, place: int) -> list[Cell]:
        """Cells of a pack that want work here: neither finished, nor run by others, nor failed by this very job.

        A cell that another job has failed was asked for again when this one was submitted. One that this job has failed
        is tried again as the class of its failure allows.
        """
        alive, wanted = liveness(self.queue), []
        for cell in self.packs[place].cells:
            state = self.root.cell(cell.id).state(alive)
            again = state.state == "failed" and (not self._is_own(state) or self._is_tried_again(place, cell, state))
            if (state.state in ("pending", "lost") or again) and cell.id not in self.left_out:
                wanted.append(cell)
        return wanted

    def _is_tried_again(self, place: int, cell: Cell, state: CellState) -> bool:
        """Whether a cell that this job has failed, before it was queued again or on this node, gets another try."""
        failure = policy.to_retry([self.root.cell(cell.id).error() or {}])
        if failure is None or state.claim is None:
            return False
        earlier = state.claim.restart_count < int(self.identity["restart_count"])
        n_ends = policy.count(self._journal(place).events(), failure.name)
        return n_ends <= failure.n_tries if earlier else 0 < n_ends <= failure.tries_here

    def _is_own(self, state: CellState) -> bool:
        claim = state.claim
        return claim is not None and (claim.job_id, claim.job_name) == (self.job_id, self.identity.get("job_name"))

    def _failures(self, place: int) -> list[tuple[Cell, Claim, Mapping[str, Any]]]:
        """Cells that this job has failed, with its claims and their errors."""
        alive = liveness(self.queue)
        folders = ((cell, self.root.cell(cell.id)) for cell in self.packs[place].cells)
        states = ((cell, folder, folder.state(alive)) for cell, folder in folders)
        return [
            (cell, state.claim, folder.error() or {})
            for cell, folder, state in states
            if state.state == "failed" and state.claim is not None and self._is_own(state)
        ]

    def _fail(self, cell: Cell, failure: Failure, message: str) -> None:
        """Record why a cell stays unfinished that no process has failed."""
        folder = self.root.cell(cell.id)
        folder.create(cell)
        claim = folder.take(liveness(self.queue), **self.identity)
        if claim is not None:
            folder.fail(claim, kind=failure.name, message=message)
            folder.release(claim)

    def _note_failures(self, place: int) -> None:
        """Keep what failed for all elements to see; enough of the same hold the rest."""
        path = self.array.submission.with_name("failures.jsonl")
        for cell, _, error in self._failures(place):
            row = {
                "cell": cell.id,
                "pack": place,
                "signature": policy.signature(error),
                "message": error.get("message"),
            }
            files.append_line(path, files.to_line(row))
        cause = policy.common_cause(files.read_lines(path))
        if cause is not None:
            files.create_exclusive(path.with_name(policy.HOLD), files.to_json(cause))

    def _hold(self) -> str:
        """Why nothing of this submission may start any more; empty when it may."""
        try:
            cause = files.read_object(self.array.submission.with_name(policy.HOLD))
        except FileNotFoundError:
            return ""
        return f"{len(cause['cells'])} cells failed alike: {cause['message']}"

    def _steps(self, place: int) -> float:
        """How far the cells of a pack are together, as far as their progress notes tell."""
        notes = [self.root.cell(cell.id).progress() for cell in self.packs[place].cells]
        return sum(float(note.step or 0) for note in notes if note is not None)

    # ---- small things -----------------------------------------------------------------------------------------------

    def _journal(self, place: int) -> policy.Journal:
        return policy.journal(self.array.submission, place)

    def _who(self) -> dict[str, Any]:
        return {"job": self.job_id, "restart": self.identity["restart_count"]}

    def _end(self, place: int, reason: Reason, **detail: Any) -> None:
        """Note an end with what was spent since the job started, or since the pack's last end in it."""
        spent = self.meter.spent(place)
        self._journal(place).add("end", reason=reason, host=socket.gethostname(), **self._who(), **spent, **detail)

    def _end_all(self, reason: Reason, **detail: Any) -> None:
        for place in self.places:
            self._end(place, reason, **detail)

    def _may_start_again(self) -> bool:
        return int(self.identity["restart_count"]) < self.settings.requeues

    def _again_elsewhere(self) -> bool:
        """Queue this job again without this node, those that keep losing it, and those that its profile excludes."""
        if not self._may_start_again():
            return False
        nodes = sorted({*self._bad_nodes(), socket.gethostname()})
        say(f"goes to another node than {', '.join(nodes)}")
        return self._requeue(exclude=[*nodes, *([self.settings.exclude] if self.settings.exclude else [])])

    def _requeue(self, *, exclude: Sequence[str] = (), delay_s: int = 0) -> bool:
        objection = scontrol.requeue(self.job_id, exclude=exclude, delay_s=delay_s)
        if objection:
            say(f"job {self.job_id} must be queued again, but Slurm says: {objection}")
        return not objection

    def _last_words(self, place: int) -> tuple[str, bool]:
        """The last line that was said since a pack was started, and whether Python told an error there."""
        sys.stdout.flush()
        return last_words(self.log, self.log_before.get(place, 0))


def _places(array: submissions.Array) -> tuple[int, ...]:
    """The packs of the element that this process is. Raises DamagedError where it is none of the array's."""
    given = os.environ
    task, name = given.get("SLURM_ARRAY_TASK_ID", ""), given.get(NAME_VARIABLE)
    if name != array.name or not task.isdigit() or int(task) >= len(array.elements):
        raise DamagedError(
            f"an element of {array.name} must run here, but Slurm calls this job {name!r} and its index {task!r}; "
            "start jobs by `empslurm submit` only"
        )
    return array.elements[int(task)]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def settings(profile: Profile) -> submissions.NodeSettings:
    """What a node needs of a profile, as it stands in the submission."""
    lead = profile.signal_lead_s
    return submissions.NodeSettings(
        cpus=profile.cpus,
        gpus=profile.gpus,
        num_processes=profile.num_processes,
        checkpoint_minutes=profile.checkpoint_minutes,
        requeues=profile.requeues,
        # The rest of the lead is for noticing, for Slurm's own work and for ending.
        grace_s=float(lead - 10 if lead >= 40 else lead * 0.75),
        packs_per_gpu=profile.packs_per_gpu,
        cpus_per_pack=profile.cpus_per_pack,
        exclude=profile.exclude,
        exclusive=profile.exclusive,
        python=profile.python,
    )
