"""Batch scripts of arrays, and of the job that reports at the end; the only module that imports submitit.

submitit only writes and sends batch scripts and starts the callable on the node: results are files in the runs root.
"""

from __future__ import annotations

import math
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from submitit import SlurmExecutor
from submitit.core.utils import DelayedSubmission, FailedJobError, FailedSubmissionError

from empslurm import ids
from empslurm.errors import UsageError
from empslurm.launch import environment
from empslurm.launch.liveness import ARRAY_VARIABLE, LOG_VARIABLE, NAME_VARIABLE
from empslurm.launch.markers import Array
from empslurm.launch.profile import Mail, Profile, gpus_of
from empslurm.launch.submission_dir import SubmissionDir
from empslurm.store.runs import RunsRoot

PICKLE = "element.pkl"
# Profile fields that are sbatch options with the same name and value.
AS_NAMED = (
    *("partition", "account", "qos", "constraint", "exclude", "nodelist", "reservation", "licenses", "nice", "comment"),
    *("begin", "gres", "wckey"),
)
REFUSED = (FailedJobError, FailedSubmissionError)  # how submitit says that sbatch did not take an array


class ArrayExecutor(SlurmExecutor):  # type: ignore[misc]  # submitit has no types
    """submitit's executor for arrays only: a single element is an array too, and inherits no job's variables."""

    @classmethod
    def affinity(cls) -> int:
        """Whether submitit may use Slurm: always, since srun is needed on the nodes only."""
        return 2

    def send(self, n_elements: int) -> str:
        """Send an array and return its id. Raises what submitit raises where sbatch refuses or does not answer."""
        self.parameters["map_count"] = n_elements
        with environment.only(environment.for_slurm(os.environ)):
            return str(self._submit_command(self._submitit_command_str).job_id)

    def text(self, n_elements: int) -> str:
        """The batch script."""
        self.parameters["map_count"] = n_elements
        return str(self._make_submission_file_text(self._submitit_command_str, ""))

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        return ["sbatch", "--export=ALL", str(submission_file_path)]


def executor(profile: Profile, array: Array, code: Path, dependency: Sequence[str] = ()) -> ArrayExecutor:
    """submitit's executor for one array, with every option explicit: no default of submitit applies."""
    sending = ArrayExecutor(array.folder, python=shlex.quote(sys.executable))
    sending.update_parameters(
        job_name=array.name,
        time=profile.time,
        nodes=1,
        ntasks_per_node=1,
        cpus_per_task=profile.cpus,
        signal_delay_s=profile.signal_lead_s,
        array_parallelism=profile.array_parallelism,
        stderr_to_stdout=True,
        setup=setup_lines(profile, array, code),
        # Since Slurm 22.05 a step does not inherit the job's CPUs per task; on a whole node the step gets all of them.
        srun_args=[] if profile.exclusive else ["--cpus-per-task", str(profile.cpus)],
        wckey=None,  # else submitit would set its own
        additional_parameters={**options(profile), **({"dependency": _after(dependency)} if dependency else {})},
    )
    return sending


def write_callable(array: Array, job: Callable[[], object], time_min: int) -> None:
    """Write what submitit starts on the node, in a job of `time_min` minutes; all elements of an array share it.

    submitit does not decide how often a job restarts: on a signal the callable decides, and ends the process.
    """
    array.folder.mkdir(parents=True, exist_ok=True)
    pickled = DelayedSubmission(job)
    pickled.set_timeout(time_min, 0)
    pickled.dump(array.folder / PICKLE)


def options(profile: Profile) -> dict[str, object]:
    """Options of sbatch that depend on the site, by their long names; those that are not set are left out."""
    asked: dict[str, object | None] = {name: getattr(profile, name) for name in AS_NAMED}
    asked["exclusive"] = profile.exclusive or None
    asked["mem"] = _mebibytes(profile.mem_gb)
    asked["mem-per-cpu"] = _mebibytes(profile.mem_per_cpu_gb)
    if profile.gpus and gpus_of(profile.gres or "") is None:
        asked["gpus-per-node"] = ":".join(filter(None, (profile.gpu_type, str(profile.gpus))))
    if profile.mail is not None and profile.mail.type:
        asked |= {"mail-user": profile.mail.user, "mail-type": ",".join(profile.mail.type)}
    asked["requeue" if profile.requeues else "no-requeue"] = True
    return {name: value for name, value in asked.items() if value is not None} | dict(profile.sbatch)


def _mebibytes(gib: float | None) -> str | None:
    return None if gib is None else f"{math.ceil(gib * 1024)}M"


def _after(jobs: Sequence[str]) -> str:
    return "afterany:" + ":".join(jobs)


def setup_lines(profile: Profile, array: Array, code: Path) -> list[str]:
    """Shell lines of the batch script that run before Python starts.

    The element's pickle is copied here, not by the submitting process, which may have ended by then. Partial files are
    removed that submitit may have left if it was killed while writing.
    """
    folder, copy = shlex.quote(str(array.folder)), shlex.quote(str(code))
    # Since Slurm 23.11, what sbatch derives from cpus-per-task would contradict these variables.
    all_cores = 'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_ON_NODE" SLURM_CPUS_PER_TASK="$SLURM_CPUS_ON_NODE"'
    return [
        "trap : USR2  # some sites signal this shell too, which would end it",
        *(f"export {name}={shlex.quote(value)}" for name, value in profile.environment.items()),
        *profile.setup,
        *([f"umask {profile.umask}"] if profile.umask else []),
        *(["unset SLURM_TRES_PER_TASK", all_cores] if profile.exclusive else []),
        'job="${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"',
        f'rm -f {folder}/"$job"_*.save_tmp',
        f'[ -e {folder}/"$job"_submitted.pkl ] || cp {folder}/{PICKLE} {folder}/"$job"_submitted.pkl',
        # srun gives its tasks another name; this one is the job's.
        f'export {ARRAY_VARIABLE}={shlex.quote(str(array.path))} {NAME_VARIABLE}="$SLURM_JOB_NAME"',
        f'export {LOG_VARIABLE}={folder}/"$job"_0_log.out',
        # Import the copy of the code only, not what is in the submission's folder or where empslurm is installed.
        f"export PYTHONPATH={copy} PYTHONSAFEPATH=1",
        f"cd {copy} || {{ echo 'the copy of the code must be there, but is gone; submit again'; exit 1; }}",
    ]


def end(profile: Profile, name: str, jobs: Sequence[str], submission: SubmissionDir, root: RunsRoot, code: Path) -> str:
    """The batch script of the one job that waits for all others and reports how they ended.

    It asks for few resources and no GPU. Its exit status, and so Slurm's mail, says whether all cells are done.
    """
    small = replace(
        profile,
        gpus=0,
        gpu_type=None,
        gres=None,
        exclusive=False,
        mem_gb=None if profile.mem_gb is None else min(profile.mem_gb, 1.0),
        mail=Mail(user=profile.mail.user, type=("END", "FAIL")) if profile.mail else None,
        requeues=1,
    )
    more = {"job-name": name, "dependency": _after(jobs), "time": 10, "cpus-per-task": 1, "nodes": 1, "ntasks": 1}
    asked = options(small) | more | {"output": str(submission.end_log), "open-mode": "append"}
    flags = [
        f"#SBATCH --{key}" + ("" if value is True else f"={shlex.quote(str(value))}") for key, value in asked.items()
    ]
    words = [sys.executable, "-u", str(code / "jobs" / "tell.py"), "--runs", str(root.path.resolve())]
    tell = shlex.join([*words, "--submission", str(submission.file)])
    return "\n".join(
        [
            "#!/bin/bash",
            *flags,
            *(f"export {key}={shlex.quote(value)}" for key, value in profile.environment.items()),
            *profile.setup,
            f"export PYTHONPATH={shlex.quote(str(code))} PYTHONSAFEPATH=1",
            f'status=0; EMPSLURM_MESSAGE="$({tell})" || status=$?',
            'export EMPSLURM_MESSAGE; echo "$EMPSLURM_MESSAGE"',
            *([profile.at_end] if profile.at_end else []),
            "exit $status",
            "",
        ]
    )


def refuse_percent(root: RunsRoot) -> None:
    """Refuse a runs root whose path sbatch and submitit would change. Raises UsageError."""
    path = str(root.path.resolve())
    if "%" in path:
        raise UsageError(
            f"the runs root must have no % in its path, since Slurm replaces it in the names of log files, but is "
            f"{path}; choose another one with --runs or EMPSLURM_RUNS"
        )


def digest_of(profile: Profile) -> str:
    """Digest of a whole profile: a job that died under another profile may run under this one."""
    return ids.digest(ids.plain(profile), 16)
