"""The job that an element runs in: its packs and settings, their journals, and how it is queued again."""

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
    """One start of the job of one element. Packs are named by their index in the submission."""

    def __init__(self, root: RunsRoot, array: Array) -> None:
        """Raises DamagedError where this process is not an element of the array."""
        self.root, self.array = root, array
        self.identity = job_identity()
        self.indices = _packs_of_this_element(array)
        self.submission = submissions.load(array.submission.file, self.indices)
        self.packs = dict(zip(self.indices, self.submission.packs, strict=True))
        if self.submission.settings is None:
            raise DamagedError(f"{array.submission.file} must hold settings for Slurm jobs, but does not; submit again")
        self.settings = self.submission.settings
        self.stopping = False  # Slurm, or the signal before its limit, is ending it
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
        """Its id as squeue writes it."""
        return str(self.identity["job_id"])

    @property
    def restarts(self) -> int:
        """How often Slurm has restarted it."""
        return int(self.identity["restart_count"])

    @property
    def _packs_per_gpu(self) -> int:
        return self.settings.packs_per_gpu or 1

    @property
    def _cpus(self) -> int:
        """CPU cores of this job: all of the node's if it has a whole node, else as many as the profile asks for."""
        on_node = os.environ.get("SLURM_CPUS_ON_NODE", "")
        return int(on_node) if self.settings.exclusive and on_node.isdigit() else self.settings.cpus

    def slots(self, n_packs: int) -> tuple[Slot, ...]:
        """Slots for `n_packs` packs. Raises UsageError where the job has fewer GPUs than its profile asks for."""
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
        """Nodes that must not run this job again."""
        return {node for index in self.indices for node in policy.bad_nodes(self.events(index))}

    def requeue(self, *, exclude: Sequence[str] = (), delay_s: int = 0) -> bool:
        """Queue this job again; False where Slurm objects."""
        objection = scontrol.requeue(self.id, exclude=exclude, delay_s=delay_s)
        if objection:
            say(f"job {self.id} must be queued again, but Slurm says: {objection}; run `empslurm submit` to go on")
        return not objection

    def go_elsewhere(self) -> bool:
        """Queue this job again, without this node, nodes where packs died too often and the profile's `exclude`."""
        if not self.may_start_again():
            return False
        nodes = sorted({*self.bad_nodes(), socket.gethostname()})
        say(f"moves to another node; excluded: {', '.join(nodes)}")
        return self.requeue(exclude=[*nodes, *([self.settings.exclude] if self.settings.exclude else [])])

    def go_on_later(self) -> None:
        """Queue this job again where that is allowed and useful: a limit or preemption ends it, and all is saved."""
        if any(policy.stalled(self.events(index)) for index in self.indices):
            say(f"{policy.STALLS} starts in a row made no progress; raise `time` in the profile, then submit again")
        elif not self.may_start_again():
            say(
                f"training is saved; after {self.restarts} restarts no more are allowed: run `empslurm submit` to go on"
            )
        else:
            self.requeue()


def _packs_of_this_element(array: Array) -> tuple[int, ...]:
    """The packs of the element that this process is. Raises DamagedError where it is not one of the array."""
    task, name = os.environ.get("SLURM_ARRAY_TASK_ID", ""), os.environ.get(NAME_VARIABLE)
    if name != array.name or not task.isdigit() or int(task) >= len(array.elements):
        raise DamagedError(
            f"this process must be an element of {array.name}, but Slurm gives it the name {name!r} and the index "
            f"{task!r}; start jobs with `empslurm submit` only"
        )
    return array.elements[int(task)]
