"""Packs become Slurm arrays, through submitit; the only module that knows it.

Each array is written down before sbatch and resolved after it, so that whatever ends this process, the next `submit`
knows what Slurm has. Of submitit only the sending is used, and its way of queueing a job again on a signal: results are
files of the runs root.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from submitit import AutoExecutor
from submitit.core.utils import DelayedSubmission, FailedJobError, FailedSubmissionError

from empslurm.errors import SchedulerError
from empslurm.launch import control, queue
from empslurm.launch import submission as submissions
from empslurm.launch.arrays import chunks, groups
from empslurm.launch.devices import n_slots
from empslurm.launch.element import Element
from empslurm.launch.liveness import LOG_VARIABLE
from empslurm.launch.submission import Array, Submission
from empslurm.profile import Profile
from empslurm.store import RunsRoot

LIMIT = re.compile(r"(Max|Grp)Submit\w*|MaxJobCount|Job violates accounting/QOS policy \(job submit limit")
PERMANENT = re.compile(r"(Max|Min|Grp)(?!Submit)\w+(Limit|Per\w+)")
PATIENCE_S = 600.0  # for a controller that does not answer
FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 60.0
SETTLE_S = 30.0  # after so long an sbatch that was under way has arrived or never will
NEVER = 1_000_000  # time-outs that submitit allows: how often a job starts again is the profile's to say
PICKLE = "element.pkl"


class LimitReached(Exception):
    """Slurm takes no more jobs of this user for now."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of a submission: array ids, and how many packs a limit left for later."""

    jobs: tuple[str, ...]
    n_left: int


# ---- what sbatch is told ---------------------------------------------------------------------------------------------


def parameters(profile: Profile, array: Array, code: Path, dependency: Sequence[str] = ()) -> dict[str, object]:
    """submitit's parameters for one array. Everything explicit: no default of submitit's decides."""
    given: dict[str, object] = {
        "name": array.name,
        "timeout_min": profile.time,
        "mem_gb": profile.mem_gb,
        "nodes": 1,
        "tasks_per_node": 1,
        "cpus_per_task": profile.cpus,
        "stderr_to_stdout": True,
        "slurm_signal_delay_s": profile.signal_lead_s,
        "slurm_array_parallelism": profile.array_parallelism,
        "slurm_setup": setup_lines(profile, array, code),
        # Since Slurm 22.05 a step does not inherit the job's CPUs per task.
        "slurm_srun_args": ["--cpus-per-task", str(profile.cpus)],
    }
    more: dict[str, object] = {"requeue": True}
    if profile.gpus:
        given["gpus_per_node"] = profile.gpus
    if dependency:
        given["slurm_dependency"] = "afterany:" + ":".join(dependency)
    if profile.mail is not None:
        given |= {"slurm_mail_user": profile.mail.user, "slurm_mail_type": ",".join(profile.mail.type)}
    for name in ("partition", "account", "qos", "constraint", "exclude"):
        if getattr(profile, name) is not None:
            given[f"slurm_{name}"] = getattr(profile, name)
    return {**given, "slurm_additional_parameters": more}


def setup_lines(profile: Profile, array: Array, code: Path) -> list[str]:
    """Shell lines of the batch script before python starts.

    The element's pickle is copied here, not by the submitting process, which may be gone by then; what a kill in the
    middle of submitit's own writing may have left is cleared away.
    """
    folder = shlex.quote(str(array.folder))
    return [
        *(f"export {name}={shlex.quote(value)}" for name, value in profile.environment.items()),
        *profile.setup,
        *([f"umask {profile.umask}"] if profile.umask else []),
        'job="${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"',
        f'rm -f {folder}/"$job"_*.save_tmp',
        f'[ -e {folder}/"$job"_submitted.pkl ] || cp {folder}/{PICKLE} {folder}/"$job"_submitted.pkl',
        f'export {LOG_VARIABLE}={folder}/"$job"_0_log.out',
        # The copy of the code, and nothing that lies in the folder of the submission.
        f"export PYTHONPATH={shlex.quote(str(code))} PYTHONSAFEPATH=1",
        f"cd {shlex.quote(str(code))}",
    ]


# ---- sending ---------------------------------------------------------------------------------------------------------


class Sender:
    """Gives the arrays of one submission to Slurm."""

    def __init__(
        self,
        root: RunsRoot,
        submission: Submission,
        profile: Profile,
        code: Path,
        *,
        waiting_for: Mapping[str, str],
        wait: bool,
        say: Callable[[str], None],
    ) -> None:
        """`waiting_for`: the job of each unfinished cell that is queued or runs already, by cell id."""
        self.root, self.submission, self.profile, self.code = root, submission, profile, code
        self.job_of = dict(waiting_for)
        self.wait, self.say = wait, say
        self.sent: list[str] = []

    def send(self) -> Sent:
        """Queue everything. Raises SchedulerError when Slurm refuses for good or does not answer."""
        packs = self.submission.packs
        unfinished = {*self.job_of, *(cell.id for pack in packs for cell in pack.cells)}
        most = control.max_array_size()
        n_together = n_slots(self.profile.gpus, self.profile.num_processes, self.profile.packs_per_gpu)
        n_sent = 0
        for group in groups(packs, unfinished):
            for elements in chunks(group, most, n_together):
                dependency = sorted({self.job_of[parent] for parent in group.parents if parent in self.job_of})
                rest = list(elements)
                size = len(rest)
                while rest:
                    size = self._send_some(rest, min(size, len(rest)), dependency)
                    if not size:
                        n_left = len(packs) - n_sent - sum(map(len, elements)) + sum(map(len, rest))
                        return Sent(jobs=tuple(self.sent), n_left=n_left)
                n_sent += sum(map(len, elements))
        return Sent(jobs=tuple(self.sent), n_left=0)

    def _send_some(self, rest: list[tuple[int, ...]], size: int, dependency: Sequence[str]) -> int:
        """Send the first `size` elements, or fewer where a limit asks for that; the size to try next, 0 to stop."""
        delay = FIRST_WAIT_S
        while True:
            try:
                self._send_array(rest[:size], dependency)
            except LimitReached as limit:
                if size > 1:
                    size //= 2
                    continue
                if not self.wait:
                    return 0
                self.say(f"{len(rest)} elements wait for room in the queue, next try in {delay:.0f} s ({limit})")
                time.sleep(delay)
                delay = min(LONGEST_WAIT_S, delay * 1.5)
                continue
            del rest[:size]
            return size * 2

    def _send_array(self, elements: Sequence[tuple[int, ...]], dependency: Sequence[str]) -> None:
        """One array: marker, sbatch, note."""
        first = self.submission.packs[elements[0][0]]
        title = f"{self.submission.manifest}-{first.cells[0].kind}"
        array = submissions.mark(self.root, self.submission, elements, title)
        job_id = self._sbatch(array, dependency)
        array.resolve(job_id)
        self.sent.append(job_id)
        for element, cells in zip(array.element_ids(job_id), array.cells, strict=True):
            self.job_of |= dict.fromkeys(cells, element)

    def _sbatch(self, array: Array, dependency: Sequence[str]) -> str:
        """The array's id. An answer that was lost is looked for in the queue before anything is sent again."""
        end, delay = time.monotonic() + PATIENCE_S, FIRST_WAIT_S
        executor = AutoExecutor(array.folder, cluster="slurm", slurm_max_num_timeout=NEVER, **self._python())
        executor.update_parameters(**parameters(self.profile, array, self.code, dependency))
        job = Element(str(self.root.path.resolve()), str(array.path))
        array.folder.mkdir(parents=True, exist_ok=True)
        pickled = DelayedSubmission(job)
        pickled.set_timeout(self.profile.time, NEVER)
        pickled.dump(array.folder / PICKLE)
        while True:
            try:
                with executor.batch():
                    jobs = [executor.submit(job) for _ in array.elements]
                return str(jobs[0].job_id).partition("_")[0]
            except (FailedJobError, FailedSubmissionError, subprocess.SubprocessError, OSError) as error:
                text = _last_words(str(error))
            for leftover in array.folder.glob("*.pkl"):
                if leftover.name != PICKLE:
                    leftover.unlink()
            if LIMIT.search(text) and not PERMANENT.search(text):
                array.discard()
                raise LimitReached(text)
            if not control.AWAY.search(text):
                array.discard()
                raise SchedulerError(f"sbatch must accept the jobs, but refuses: {text}; mend {self.profile.name}.yaml")
            if time.monotonic() > end:
                raise SchedulerError(
                    f"Slurm must answer within {PATIENCE_S / 60:.0f} minutes, but does not: {text}; nothing is lost, "
                    "run the same command again later"
                )
            self.say(f"Slurm does not answer, next try in {delay:.0f} s ({text})")
            time.sleep(delay)
            delay = min(LONGEST_WAIT_S, delay * 1.5)
            found = look_for(array)
            if found:
                return found

    def _python(self) -> dict[str, str]:
        return {"slurm_python": self.profile.python} if self.profile.python else {}


def _last_words(text: str) -> str:
    """sbatch's own sentences, without its prefix."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in lines if line.startswith("sbatch:")]
    return "; ".join(told or lines[-1:]) or "nothing"


# ---- what an earlier process left in doubt ---------------------------------------------------------------------------


def look_for(array: Array) -> str | None:
    """The id of an array by its name, in the queue or among the jobs that ended; "" when Slurm has never had it.

    None: Slurm does not answer.
    """
    jobs = queue.ask("--name", array.name)
    if jobs is None:
        return None
    ids = {job.id.partition("_")[0] for job in jobs.values() if job.name == array.name}
    if not ids:
        since = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(array.created - 60))
        good, said = control.run("sacct", "-X", "-n", "-P", "-o", "JobID", "-S", since, f"--name={array.name}")
        ids = {line.partition("_")[0].strip() for line in said.splitlines()} - {""} if good else set()
    return min(ids, key=int) if ids else ""


def reconcile(root: RunsRoot, say: Callable[[str], None]) -> None:
    """Settle every array of which it is not known whether Slurm has it. Raises SchedulerError without an answer."""
    _, unresolved = submissions.scan(root)
    for marker in unresolved:
        array = submissions.load_array(marker)
        found = look_for(array)
        if found == "" and time.time() - array.created < SETTLE_S:
            say(f"a submission of a moment ago ended early: looking whether Slurm has {array.name}")
        while found == "" and time.time() - array.created < SETTLE_S:
            time.sleep(1.0)
            found = look_for(array)
        if found is None:
            raise SchedulerError("squeue must answer to submit, but does not; is the controller up? try `sinfo`")
        if found:
            say(f"{array.name} had reached Slurm: job {found}")
            array.resolve(found)
        else:
            array.void()
