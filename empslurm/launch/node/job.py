"""The job that an element runs in: what it was given, the journals of its packs, and how it is queued again."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from empslurm.errors import DamagedError
from empslurm.launch import journal, policy, scontrol
from empslurm.launch import submission as submissions
from empslurm.launch.journal import Event, Journal, Reason
from empslurm.launch.liveness import LOG_VARIABLE, NAME_VARIABLE, job_identity
from empslurm.launch.markers import Array
from empslurm.launch.node import devices
from empslurm.launch.node.devices import Slot
from empslurm.launch.node.meter import Meter
from empslurm.launch.states import queue_of
from empslurm.store.runs import RunsRoot


def say(text: str) -> None:
    print(f"empslurm: {text}", flush=True)


class Job:
    """One start of the job of one element. Packs are called by their index in the submission."""

    def __init__(self, root: RunsRoot, array: Array) -> None:
        """Raises DamagedError where this process is no element of the array."""
        self.root, self.array = root, array
        self.identity = job_identity()
        self.indices = _packs_of_this_element(array)
        self.submission = submissions.load(array.submission.file, self.indices)
        self.packs = dict(zip(self.indices, self.submission.packs, strict=True))
        if self.submission.settings is None:
            raise DamagedError(f"{array.submission.file} must say what its profile allows, but does not; submit again")
        self.settings = self.submission.settings
        self.stopping = False  # Slurm, or a signal before the limit, ends it
        self.queue = queue_of(root)
        n_slots = devices.n_slots(
            gpus=self.settings.gpus,
            num_processes=self.settings.num_processes,
            packs_per_gpu=self._packs_per_gpu,
            cpus=self._cpus,
            cpus_per_pack=self.settings.cpus_per_pack,
        )
        self.meter = Meter(self.indices, gpus=self.settings.gpus, n_slots=n_slots)
        self.log = Path(os.environ.get(LOG_VARIABLE) or os.devnull)

    @property
    def id(self) -> str:
        """As squeue writes it."""
        return str(self.identity["job_id"])

    @property
    def restarts(self) -> int:
        """How often Slurm has started it again before."""
        return int(self.identity["restart_count"])

    @property
    def _packs_per_gpu(self) -> int:
        return self.settings.packs_per_gpu or 1

    @property
    def _cpus(self) -> int:
        """Cores of this job: of a whole node all that it has, whatever the profile asked for."""
        on_node = os.environ.get("SLURM_CPUS_ON_NODE", "")
        return int(on_node) if self.settings.exclusive and on_node.isdigit() else self.settings.cpus

    def slots(self, n_packs: int) -> tuple[Slot, ...]:
        """What packs are trained on. Raises UsageError where it has fewer GPUs than its profile asks for."""
        return devices.slots(
            devices.visible(os.environ.get("CUDA_VISIBLE_DEVICES"), self.settings.gpus),
            gpus=self.settings.gpus,
            num_processes=self.settings.num_processes,
            packs_per_gpu=self._packs_per_gpu,
            cpus=self._cpus,
            n_packs=n_packs,
            cpus_per_pack=self.settings.cpus_per_pack,
        )

    # ---- journals ---------------------------------------------------------------------------------------------------

    def _journal(self, index: int) -> Journal:
        return journal.journal(self.array.submission, index)

    def events(self, index: int) -> list[Event]:
        """What has happened to a pack so far."""
        return self._journal(index).events()

    def note_start(self, index: int) -> None:
        """Note that a train process of a pack starts."""
        self._journal(index).add("start", **self._who())

    def note_end(self, index: int, reason: Reason, **details: Any) -> None:
        """Note an end with what was spent since the job started, or since the pack's last end in it."""
        self._journal(index).add("end", reason=reason, **self._who(), **self.meter.spent(index), **details)

    def note_ends(self, reason: Reason, **details: Any) -> None:
        """Note the same end of all packs."""
        for index in self.indices:
            self.note_end(index, reason, **details)

    def _who(self) -> dict[str, Any]:
        return {"host": socket.gethostname(), "job": self.id, "restart": self.restarts}

    # ---- the next start ---------------------------------------------------------------------------------------------

    def may_start_again(self) -> bool:
        """Whether the profile allows another start."""
        return self.restarts < self.settings.requeues

    def bad_nodes(self) -> set[str]:
        """Nodes that must not have this job again."""
        return {node for index in self.indices for node in policy.bad_nodes(self.events(index))}

    def requeue(self, *, exclude: Sequence[str] = (), delay_s: int = 0) -> bool:
        """Queue this job again; False where Slurm objects."""
        objection = scontrol.requeue(self.id, exclude=exclude, delay_s=delay_s)
        if objection:
            say(f"job {self.id} must be queued again, but Slurm says: {objection}")
        return not objection

    def go_elsewhere(self) -> bool:
        """Queue this job again without this node, those that keep losing it, and those that its profile excludes."""
        if not self.may_start_again():
            return False
        nodes = sorted({*self.bad_nodes(), socket.gethostname()})
        say(f"goes to another node than {', '.join(nodes)}")
        return self.requeue(exclude=[*nodes, *([self.settings.exclude] if self.settings.exclude else [])])

    def go_on_later(self) -> None:
        """Queue this job again where that is allowed and serves: all is saved, a limit or a preemption ends it."""
        if any(policy.stalled(self.events(index)) for index in self.indices):
            say(f"{policy.STALLS} starts in a row ended before training came further; raise time, then submit again")
        elif not self.may_start_again():
            allowed = f"no more than {self.restarts} restarts are allowed"
            say(f"what was trained is saved; {allowed}, so the next submit goes on")
        else:
            self.requeue()


def _packs_of_this_element(array: Array) -> tuple[int, ...]:
    """The packs of the element that this process is. Raises DamagedError where it is none of the array's."""
    task, name = os.environ.get("SLURM_ARRAY_TASK_ID", ""), os.environ.get(NAME_VARIABLE)
    if name != array.name or not task.isdigit() or int(task) >= len(array.elements):
        raise DamagedError(
            f"an element of {array.name} must run here, but Slurm calls this job {name!r} and its index {task!r}; "
            "start jobs by `empslurm submit` only"
        )
    return array.elements[int(task)]
