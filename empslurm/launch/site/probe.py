"""The probe of `doctor --probe`: send one small real job of a profile, wait for it, and remove it.

runs/probes/<name>/probe.json     the array's marker
                   probe/         submitit's folder: the batch script, the callable, the log
                   taken          created here before the job was sent; the node must not be able to create it again
                   started.json, node.json, training.json     the node's reports (`probe_node`)
                   ping, pong.json     asked here, answered there with the node's time
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from empslurm import files
from empslurm.errors import SchedulerError, StoreError
from empslurm.launch import queue, reasons, scontrol, script, snapshot
from empslurm.launch.logs import last_words
from empslurm.launch.markers import Array
from empslurm.launch.permissions import share
from empslurm.launch.profile import Profile
from empslurm.launch.queue import Job
from empslurm.launch.site import fit
from empslurm.launch.site.probe_node import BEGINS, NODE, PING, PONG, STARTED, TAKEN, TRAINING, NodeProbe
from empslurm.store.runs import RunsRoot

TIME_MIN = 10  # the job's limit
LEAD_S = 30
ASK_EVERY_S = 2.0  # between two questions to squeue
POLL_S = 0.2  # between two looks at the files
SHOW_S = 30.0  # for a shared file system to show what the node wrote
SHOW_LOG_S = 3.0  # as SHOW_S, for a file that is listed: opening it fetches its newest content
END_S = 5.0  # for a job that has reported everything to end
LEAVE_S = 20.0  # for a cancelled job to end
STUCK_LOOKS = 2  # squeue may show a reason with which the job can never start for a moment only
LOG_BYTES = 100_000

Look = Callable[[str], None]  # takes a line for people


@dataclass(frozen=True, kw_only=True)
class Clock:
    """How far a node's clock is ahead of this machine's, in seconds, and how far off that may be."""

    ahead_s: float
    within_s: float


@dataclass(kw_only=True)
class Outcome:
    """What became of a probe. Times are Unix times of this machine, in seconds.

    The node's reports are plain objects: `doctor` prints them as they are, and no other version can have written them,
    since the job runs this process's own copy of the code.
    """

    name: str
    sent: float = 0.0
    job_id: str | None = None
    started: Mapping[str, Any] = field(default_factory=dict)  # the node's report; empty: not written yet
    node: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    clock: Clock | None = None
    problem: str = ""  # why the node reported nothing, or not everything
    fix: str = ""
    log: str = ""  # the end of the job's log
    waited_s: float = 0.0

    def after_sending(self, node_time: float) -> float:
        """Seconds from sbatch to a time of the node's clock."""
        known = self.clock is not None and abs(self.clock.ahead_s) > self.clock.within_s
        return node_time - (self.clock.ahead_s if self.clock and known else 0.0) - self.sent

    @property
    def setup_said(self) -> str:
        """Output before the probe began: of Slurm's prolog and of the lines of `setup`."""
        before, mark, _ = self.log.partition(BEGINS)
        lines = [line.strip() for line in before.splitlines() if line.strip()] if mark else []
        return "\n".join(line for line in lines if not line.startswith("submitit "))


def short(profile: Profile) -> Profile:
    """The profile as a probe uses it: a short time limit, no requeue, no later begin, no mail."""
    limits = [partition.max_time_min for partition in fit.partitions(profile)]
    minutes = min([TIME_MIN, profile.time, *(limit for limit in limits if limit)])
    lead_s = min(LEAD_S, profile.signal_lead_s)
    return replace(profile, time=minutes, signal_lead_s=lead_s, requeues=0, begin=None, mail=None)


class Probe:
    """One probe job. Whatever ends this process, except SIGKILL, also ends the job and removes its folder."""

    def __init__(self, root: RunsRoot, profile: Profile, *, wait_s: float, look: Look, say: Look) -> None:
        self.root, self.profile, self.wait_s, self.look, self.say = root, profile, wait_s, look, say
        name = f"empslurm-probe.{secrets.token_hex(4)}"
        self.folder = root.probes.resolve() / name
        self.outcome = Outcome(name=name)
        self.array: Array | None = None  # None: nothing was sent
        self.pinged = 0.0  # when the node's time was asked for
        self.over = False  # the job has ended
        self.stuck = 0

    def run(self) -> Outcome:
        """Send the job and wait for its reports. Raises StoreError, UsageError, SchedulerError before it is sent."""
        script.refuse_percent(self.root)
        share(self.root, self.profile)
        begun = time.monotonic()
        try:
            files.create_exclusive(self.folder / TAKEN, b"login node")  # first: `clean` now keeps the code
            self._send(snapshot.take(self.root))
            self._wait()
        finally:
            self.outcome.waited_s = time.monotonic() - begun
            self._clear()
        return self.outcome

    # ---- sending ----------------------------------------------------------------------------------------------------

    def _send(self, code: Path) -> None:
        """Write what the job reads, and give it to Slurm."""
        array, profile = fit.array_of_one(self.folder, self.outcome.name), short(self.profile)
        executor = script.executor(profile, array, code)
        job = NodeProbe(str(self.folder), profile.gpus, profile.python, profile.cpus)
        script.write_callable(array, job, profile.time)
        self.array, self.outcome.sent = array, time.time()
        try:
            self.outcome.job_id = executor.send(1)
        except (*script.REFUSED, subprocess.SubprocessError, OSError) as error:
            said = scontrol.words(str(error))
            raise SchedulerError(
                f"sbatch must accept the probe, but says: {said}; {fit.fix_of(said, self.profile)}"
            ) from error

    # ---- waiting ----------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Wait until the node has reported everything, or it is clear that it will not."""
        end, asked, gone_since = time.monotonic() + self.wait_s, 0.0, None
        why = "waiting for squeue"
        while not self._has_all_reports():
            now = time.monotonic()
            if now - asked >= ASK_EVERY_S:
                asked = now
                job, why = self._ask(why)
                if self.outcome.problem:
                    return
                gone_since = (gone_since or now) if self.over else None
                self.look(why)
                if gone_since is not None and now - gone_since > self._patience_s():
                    self._died(job)
                    return
            if now > end:
                self._late(why)
                return
            time.sleep(POLL_S)

    def _has_all_reports(self) -> bool:
        """Read new reports; return whether the node's last one is there and the clocks were compared."""
        outcome = self.outcome
        names = self._names()
        for name, attribute in ((STARTED, "started"), (TRAINING, "training"), (NODE, "node")):
            if name in names and not getattr(outcome, attribute):
                setattr(outcome, attribute, self._read(name))
        if outcome.started and not self.pinged:
            self.pinged = time.time()
            files.write_bytes(self.folder / PING, b"what time is it?\n")
        elif PONG in names and outcome.clock is None:
            answered, there = time.time(), self._read(PONG).get("time")
            if isinstance(there, int | float):
                middle, half = (self.pinged + answered) / 2, (answered - self.pinged) / 2
                outcome.clock = Clock(ahead_s=float(there) - middle, within_s=half)
        return bool(outcome.node) and (outcome.clock is not None or self.over)

    def _names(self) -> set[str]:
        """Names in the folder. It is listed, since NFS remembers for a while that a name was absent."""
        try:
            return set(os.listdir(self.folder))
        except OSError:
            return set()

    def _read(self, name: str) -> dict[str, Any]:
        with suppress(FileNotFoundError, StoreError):
            return files.read_object(self.folder / name)
        return {}

    def _ask(self, before: str) -> tuple[Job | None, str]:
        """The job as squeue shows it, and the same in words. Notes if it has ended or can never start."""
        outcome = self.outcome
        jobs = queue.ask({outcome.name})
        if jobs is None:
            return None, f"squeue does not answer; before: {before.removeprefix('squeue does not answer; before: ')}"
        job = next((job for job in jobs.values() if job.name == outcome.name), None)
        self.over = job is None or job.ended
        if job is None:
            return None, f"job {outcome.job_id} is gone from the queue"
        self.stuck = self.stuck + 1 if job.fix else 0
        if job.fix and self.stuck >= STUCK_LOOKS:
            outcome.problem = f"{job.why}, and can never start as it is"
            outcome.fix = reasons.fix_of_probe(job.reason, f"{self.profile.name}.yaml")
        where = "waiting for its reports" if outcome.started else "waiting for its first report"
        return job, f"{job.why}; {where}" if job.runs else job.why

    def _patience_s(self) -> float:
        """How long to wait for files of a job that has ended; short where its log shows that the probe never began."""
        text = self._log_text()
        began = BEGINS in text and "Traceback" not in text
        return SHOW_S if began or not self._has_log() else SHOW_LOG_S

    # ---- when reports are missing ------------------------------------------------------------------------------------

    def _died(self, job: Job | None) -> None:
        """Note that the job ended before it could report."""
        outcome = self.outcome
        line, log = last_words(self._log())[0], self._log()
        state, status = (job.state if job else "gone"), _exit_code(outcome.job_id)
        code = f", exit code {status}" if status else ""
        last = f"its last line: {line}" if line else "its log is empty" if self._has_log() else f"it left no log, {log}"
        outcome.problem = f"job {outcome.job_id} ended ({state}{code}) before it could report; {last}"
        outcome.fix = death_fix(state, line, self._has_log(), self.profile)

    def _late(self, why: str) -> None:
        outcome = self.outcome
        outcome.problem = f"the probe must end within {self.wait_s / 60:g} min, but {why}; it was cancelled"
        if outcome.started:
            outcome.fix = "read the end of its log: something that it started did not end"
        else:
            outcome.fix = (
                "try again when the queue is shorter, wait longer with --wait MINUTES, or set a `partition` or `qos` "
                f"for tests in {self.profile.name}.yaml"
            )

    # ---- the end ----------------------------------------------------------------------------------------------------

    def _log(self) -> Path:
        """The job's log."""
        return self.array.log(f"{self.outcome.job_id}_0") if self.array else Path(os.devnull)

    def _has_log(self) -> bool:
        with suppress(OSError):
            return self._log().name in os.listdir(self._log().parent)
        return False

    def _log_text(self) -> str:
        with suppress(OSError), open(self._log(), "rb") as stream:
            return stream.read(LOG_BYTES).decode(errors="replace")
        return ""

    def _clear(self) -> None:
        """Leave nothing in the queue and nothing in the runs root."""
        if self.array is not None:
            complete = bool(self.outcome.node) and not self.outcome.problem
            if not (self.over or (complete and self._ends_within(END_S))):
                # By name: the id may be unknown, if sbatch's answer was lost.
                good, said = scontrol.patiently("scancel", f"--name={self.outcome.name}", patience_s=LEAVE_S)
                if not good:
                    self.say(
                        f"the probe's job could not be cancelled ({said}): run `scancel --name={self.outcome.name}`"
                    )
                self._ends_within(LEAVE_S)
            self.outcome.log = self._log_text()
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()

    def _ends_within(self, seconds: float) -> bool:
        """Wait for the job to end; return whether it has."""
        end = time.monotonic() + seconds
        while True:
            jobs = queue.ask({self.outcome.name})
            if jobs is not None and all(job.ended for job in jobs.values() if job.name == self.outcome.name):
                return True
            if time.monotonic() > end:
                return False
            time.sleep(POLL_S * 2)


def _exit_code(job_id: str | None) -> str:
    """Exit status and signal of a job that has just ended, such as 3:0; empty where Slurm does not say."""
    good, said = scontrol.run("scontrol", "show", "job", f"{job_id}_0")
    match = re.search(r"\bExitCode=(\d+:\d+)", said) if good else None
    return match[1] if match else ""


# Pattern of a log's last line or of the job's state -> what to do. The first that matches decides.
DEATHS: tuple[tuple[str, str], ...] = (
    (
        r"command not found|not found$|module.*(unknown|unable|error)",
        "fix the line of `setup` in {file} that prints this",
    ),
    (
        r"ModuleNotFoundError|ImportError|No module named",
        "install empslurm where the nodes see it, and activate that environment in `setup` of {file}",
    ),
    (
        r"the copy of the code must be there",
        "put the runs root where the nodes see it: --runs or EMPSLURM_RUNS on a shared file system",
    ),
    (
        r"No such file or directory|can't open file",
        "put the file that it names where the nodes see it, or change its path in {file}",
    ),
    (
        r"Permission denied|Read-only file system",
        "make that path writable from the nodes, or choose another runs root with --runs",
    ),
    (r"OUT_OF_MEMORY|oom.kill|MemoryError|Out Of Memory", "raise `mem_gb` or `mem_per_cpu_gb` in {file}"),
    (r"TIMEOUT|DUE TO TIME LIMIT", "raise `time` in {file}, or put the runs root and Python on a faster file system"),
    (r"NODE_FAIL|BOOT_FAIL", "list the node under `exclude` in {file}"),
    (r"PREEMPTED|CANCELLED", "it was cancelled or preempted: run the same command again"),
)


def death_fix(state: str, line: str, has_log: bool, profile: Profile) -> str:
    """What to do about a job that died with this last line, in this state of Slurm's."""
    file = f"{profile.name}.yaml"
    known = next((fix for pattern, fix in DEATHS if re.search(pattern, f"{line}\n{state}", re.MULTILINE)), None)
    if known is not None:
        return known.format(file=file)
    if not has_log:
        return "put the runs root where the nodes see and can write it: --runs or EMPSLURM_RUNS on a shared file system"
    if not line:
        return f"run the lines of `setup` in {file} by hand on a node: one of them ends the job"
    return f"fix what that line names, in `setup`, `python` or `environment` of {file}"
