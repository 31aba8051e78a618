"""Send packs to Slurm as arrays.

A marker of each array is written before sbatch and resolved after it, so that the next `submit` knows what Slurm has,
whatever ends this process.
"""

from __future__ import annotations

import contextlib
import math
import re
import secrets
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from empslurm.errors import SchedulerError
from empslurm.launch import markers, queue, scontrol, script
from empslurm.launch import submission as submissions
from empslurm.launch.arrays import chunks, groups
from empslurm.launch.markers import Array
from empslurm.launch.node.array_task import Element
from empslurm.launch.node.devices import n_slots
from empslurm.launch.profile import Profile
from empslurm.launch.submission import Submission
from empslurm.launch.submission_dir import SubmissionDir
from empslurm.plan import Pack
from empslurm.store.runs import RunsRoot

LIMIT = re.compile(r"(Max|Grp)Submit\w*|MaxJobCount|Job violates accounting/QOS policy \(job submit limit")
PERMANENT = re.compile(r"(Max|Min|Grp)(?!Submit)\w+(Limit|Per\w+)")
PATIENCE_S = 600.0  # for a controller that does not answer
SILENT = (
    "Slurm must answer within {minutes:.0f} minutes, but does not: {said}; nothing is lost, run the same command again "
    "later"
)
FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 60.0
LISTEN_S = 0.5  # between two looks whether packs that wait for room in the queue were cancelled
SETTLE_S = 30.0  # after this time an interrupted sbatch has reached Slurm, or never will

Elements = tuple[tuple[int, ...], ...]  # of an array: each holds the indices of its packs in the submission


class LimitReached(Exception):
    """Slurm takes no more jobs of this user for now."""


class Cancelled(Exception):
    """`cancel` has ended this submission."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of a submission: array ids, how many packs were left for later, and whether it was cancelled."""

    jobs: tuple[str, ...]
    n_left: int
    cancelled: bool = False


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
        """`waiting_for`: the job of each unfinished cell that is already queued or running, by cell id."""
        self.root, self.submission, self.profile, self.code = root, submission, profile, code
        self.job_of = dict(waiting_for)
        self.wait, self.say = wait, say
        self.sent: list[str] = []

    def send(self) -> Sent:
        """Send all packs. Raises SchedulerError when Slurm refuses permanently or does not answer."""
        packs = self.submission.packs
        unfinished = {*self.job_of, *(cell.id for pack in packs for cell in pack.cells)}
        n_left = len(packs)
        try:
            for group in groups(packs, unfinished):
                together = self._packs_per_element(len(group.indices))
                for elements in chunks(group, scontrol.cluster().max_array, together):
                    dependency = sorted({self.job_of[parent] for parent in group.parents if parent in self.job_of})
                    rest, size = elements, len(elements)
                    while rest:
                        before = rest
                        rest, size = self._send_some(rest, min(size, len(rest)), dependency)
                        n_left -= sum(map(len, before)) - sum(map(len, rest))
                        if not size:
                            return Sent(jobs=tuple(self.sent), n_left=n_left)
            self._send_end()
        except Cancelled:
            scontrol.cancel([*self.sent, *self._in_doubt()])
            return Sent(jobs=tuple(self.sent), n_left=len(packs), cancelled=True)
        return Sent(jobs=tuple(self.sent), n_left=0)

    def _in_doubt(self) -> list[str]:
        """Ids of the arrays that Slurm has although its answer was lost; resolves their markers."""
        jobs = []
        folder = self.submission.folder(self.root).path.resolve()
        for marker in markers.scan(self.root)[1]:
            if marker.resolve().parents[1] == folder:
                array = markers.load_array(marker)
                job_id = look_for(array)
                if job_id:
                    array.resolve(job_id)
                    jobs.append(job_id)
        return jobs

    def _send_end(self) -> None:
        """Send the job that reports when all others have ended. No result needs it, so a refusal is only reported."""
        if self.profile.mail is None and self.profile.at_end is None:
            return
        self._heed_cancel()
        folder = SubmissionDir(self.submission.folder(self.root).path.resolve())
        name = f"{self.submission.manifest[:60]}-end.{secrets.token_hex(4)}"
        submissions.note_end_job(folder, name)
        text = script.end(self.profile, name, self.sent, folder, self.root, self.code)
        good, said = scontrol.run("sbatch", "--export=ALL", "--parsable", text=text)
        if not good:
            self.say(f"no message will be sent at the end, since Slurm refuses the job for it: {scontrol.words(said)}")

    def _packs_per_element(self, n_packs: int) -> int:
        """As many packs as train at once; on whole nodes at least an equal share of all packs, to keep nodes busy."""
        profile = self.profile
        at_once = n_slots(
            gpus=profile.gpus,
            num_processes=profile.num_processes,
            packs_per_gpu=profile.packs_per_gpu,
            cpus=profile.cpus,
            cpus_per_pack=profile.cpus_per_pack,
        )
        return max(at_once, math.ceil(n_packs / profile.array_parallelism)) if profile.exclusive else at_once

    def _send_some(self, elements: Elements, size: int, dependency: Sequence[str]) -> tuple[Elements, int]:
        """Send the first `size` elements, or fewer where a queue limit demands it.

        Returns the elements that are left and the size to try next (0: stop).
        """
        delay = FIRST_WAIT_S
        while True:
            self._heed_cancel()
            try:
                self._send_array(elements[:size], dependency)
            except LimitReached as limit:
                if size > 1:
                    size //= 2
                    continue
                if not self.wait:
                    return elements, 0
                self.say(f"{len(elements)} elements wait for room in the queue, next try in {delay:.0f} s ({limit})")
                self._wait(delay)
                delay = min(LONGEST_WAIT_S, delay * 1.5)
                continue
            return elements[size:], size * 2

    def _wait(self, delay_s: float) -> None:
        end = time.monotonic() + delay_s
        while time.monotonic() < end:
            self._heed_cancel()
            time.sleep(min(LISTEN_S, delay_s))

    def _heed_cancel(self) -> None:
        """Raises Cancelled once this submission was cancelled."""
        if self.submission.folder(self.root).cancelled.exists():
            raise Cancelled

    def _send_array(self, elements: Elements, dependency: Sequence[str]) -> None:
        """Send one array: write its marker, run sbatch, note the id."""
        first = self.submission.packs[elements[0][0]]
        title = f"{self.submission.manifest}-{first.cells[0].kind}"
        cluster = scontrol.cluster().name
        array = markers.mark(
            self.root, self.submission, elements, title, cluster=cluster, script=script.digest_of(self.profile)
        )
        job_id = self._sbatch(array, dependency)
        array.resolve(job_id)
        self.sent.append(job_id)
        self._heed_cancel()  # `cancel` may have read the queue just before this array entered it
        for element, cells in zip(array.element_ids(job_id), array.cells, strict=True):
            self.job_of |= dict.fromkeys(cells, element)

    def _sbatch(self, array: Array, dependency: Sequence[str]) -> str:
        """Send an array and return its id. After a lost answer, look for it in the queue before sending it again."""
        end, delay = time.monotonic() + PATIENCE_S, FIRST_WAIT_S
        sending = script.executor(self.profile, array, self.code, dependency)
        element = Element(str(self.root.path.resolve()), str(array.path))
        script.write_callable(array, element, self.profile.time)
        while True:
            try:
                return sending.send(len(array.elements))
            except (*script.REFUSED, subprocess.SubprocessError, OSError) as error:
                text = scontrol.words(str(error))
            if LIMIT.search(text) and not PERMANENT.search(text):
                array.discard()
                raise LimitReached(text)
            if not scontrol.is_away(text):
                array.discard()
                raise SchedulerError(
                    f"sbatch must accept the jobs, but refuses: {text}; change the option that Slurm names in "
                    f"{self.profile.name}.yaml"
                )
            self.say(f"Slurm does not answer, next try in {delay:.0f} s ({text})")
            job_id = None
            while job_id is None:  # Slurm may have it, and it must not be sent twice
                if time.monotonic() > end:
                    raise SchedulerError(SILENT.format(minutes=PATIENCE_S / 60, said=text))
                self._wait(delay)
                delay = min(LONGEST_WAIT_S, delay * 1.5)
                job_id = look_for(array)
            if job_id:
                return job_id


# ---- what an earlier process left in doubt ---------------------------------------------------------------------------


def look_for(array: Array) -> str | None:
    """Find an array's id by its name, in the queue or among ended jobs; "" when Slurm has never had it.

    None: Slurm does not answer.
    """
    jobs = queue.ask({array.name})
    if jobs is None:
        return None
    ids = {job.id.partition("_")[0] for job in jobs.values() if job.name == array.name}
    if not ids:
        since = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(array.created - 60))
        good, said = scontrol.run("sacct", "-X", "-n", "-P", "-o", "JobID", "-S", since, f"--name={array.name}")
        ids = {line.partition("_")[0].strip() for line in said.splitlines()} - {""} if good else set()
    return min(ids, key=int) if ids else ""


def is_here(array: Array) -> bool:
    """Whether an array was sent to the cluster that answers here; an array without a known cluster counts too."""
    return array.cluster is None or array.cluster == scontrol.cluster().name


def reconcile(root: RunsRoot, say: Callable[[str], None]) -> None:
    """Find out whether Slurm has the unresolved arrays. Raises SchedulerError when Slurm does not answer."""
    _, unresolved = markers.scan(root)
    for marker in unresolved:
        try:
            array = markers.load_array(marker)
        except FileNotFoundError:  # sbatch refused it just now
            continue
        if not is_here(array):  # only that cluster knows
            continue
        job_id = look_for(array)
        if job_id == "" and time.time() - array.created < SETTLE_S:
            say(f"a recent submission was interrupted; checking whether Slurm received {array.name}")
        while job_id == "" and time.time() - array.created < SETTLE_S:
            time.sleep(1.0)
            job_id = look_for(array)
        if job_id is None:
            raise SchedulerError(
                "squeue must answer before packs are sent, but does not; wait until `sinfo` answers, then submit again"
            )
        if job_id:
            say(f"{array.name} had reached Slurm: job {job_id}")
            array.resolve(job_id)
        else:
            array.void()


# ---- what would be sent ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Preview:
    """The first array of a submission as sbatch would get it. What only a submission has is in capitals."""

    script: str
    n_elements: int
    n_packs: int


def preview(root: RunsRoot, manifest: str, packs: Sequence[Pack], profile: Profile) -> Preview:
    """The batch script of the first array that these packs would be sent as. Writes and sends nothing."""
    root = RunsRoot(root.path.resolve())
    submission = Submission(id="SUBMISSION", manifest=manifest, data_root=root.path, cards=(), packs=tuple(packs))
    sender = Sender(root, submission, profile, root.code / "SNAPSHOT", waiting_for={}, wait=False, say=lambda _: None)
    group = groups(packs, {cell.id for cell in submission.cells})[0]
    most = scontrol.DEFAULT_MAX_ARRAY
    with contextlib.suppress(SchedulerError):
        most = scontrol.cluster().max_array
    elements = next(chunks(group, most, sender._packs_per_element(len(group.indices))))
    first = packs[elements[0][0]]
    array = Array(
        path=submission.folder(root).arrays / "0001.json",
        nonce="NONCE",
        name=f"{manifest}-{first.cells[0].kind}"[:60] + ".NONCE",
        created=0.0,
        elements=elements,
        cells=(),
        cluster=None,
        user=None,
        script="",
        single=False,
    )
    text = script.executor(profile, array, sender.code).text(len(elements))
    return Preview(script=text, n_elements=len(elements), n_packs=sum(map(len, elements)))
