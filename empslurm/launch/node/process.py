"""One train process and its children: launched through accelerate, asked to stop, waited for, ended."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from empslurm import resources
from empslurm.errors import UsageError
from empslurm.launch import environment
from empslurm.launch.liveness import LOG_VARIABLE

JOBS = resources.folder("jobs")
POLL_S = 0.1
# Freed memory stays with the process: glibc would give it back to the system and fault it in again, page by page, at
# every step. On a CPU, at RoBERTa-base's shape, that takes about a tenth of the time; the peak stays the same.
KEPT_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_MMAP_THRESHOLD_": "100000000000"}
# accelerate would warn of the port, which is in use on purpose.
PORT_IS_MEANT = {"PYTHONWARNINGS": "ignore:Port:UserWarning"}


def launch_command(
    mixed_precision: str,
    n_processes: int,
    arguments: Sequence[str],
    port: int | None = None,
    n_cores: int | None = None,
    python: str | None = None,
) -> list[str]:
    """The `accelerate launch` command line of one train process; every choice explicit, no user configuration read.

    `n_cores`: CPU cores for all of these processes together; None: all cores here. `python`: shell words that start
    Python, such as `apptainer exec image.sif python`; None: this one.
    `port`: a port in use. accelerate then lets torch bind its own port and pass it to all processes, so that no other
    program can take the port before it is used, as could happen with `--main_process_port 0`.

    Raises UsageError where jobs/train.py is missing.
    """
    job = JOBS / "train.py"
    if not job.is_file():
        raise UsageError(
            f"{job} must exist for training, but is missing; install the wheel again, or use a checkout "
            "(`make install`)"
        )
    start = shlex.split(python) if python else [sys.executable]
    command = [*start, "-m", "accelerate.commands.launch", "--config_file", str(JOBS / "accelerate.yaml")]
    command += ["--num_processes", str(n_processes), "--num_machines", "1", "--dynamo_backend", "no"]
    command += ["--mixed_precision", mixed_precision]
    command += ["--num_cpu_threads_per_process", str(n_threads(n_processes, n_cores))]
    if n_processes == 1:
        command += ["--quiet"]
    else:
        command += ["--multi_gpu", "--main_process_port", str(port)]
    return [*command, str(job), *arguments]


def n_threads(n_processes: int, n_cores: int | None = None) -> int:
    """CPU threads of each process: OMP_NUM_THREADS where it is set, else an equal share of the cores.

    accelerate sets OMP_NUM_THREADS to this; by default it would take one thread on any machine.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads) > 0:
        return int(threads)
    return max(1, (n_cores or cores_here()) // n_processes)


def cores_here() -> int:
    """CPU cores of this job's task; outside a job, those that this process may run on."""
    cores = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return int(cores) if cores.isdigit() else len(os.sched_getaffinity(0))


def train_environment() -> dict[str, str]:
    """The environment of train processes, without an outer launcher's ranks. They never use the network."""
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**KEPT_MEMORY, **environment.for_training(os.environ), **offline}


def _ignore_usr2() -> None:
    # Slurm may signal every process of a step, but only the first handles USR2; it would kill the others.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


class TrainProcess:
    """A launched train process in its own session."""

    def __init__(
        self,
        mixed_precision: str,
        n_processes: int,
        arguments: Sequence[str],
        *,
        log: Path,
        variables: Mapping[str, str] | None = None,
        stream: IO[bytes] | None = None,
        n_cores: int | None = None,
        python: str | None = None,
    ) -> None:
        """Start it.

        `stream`: where output goes; None: to this process's own. `log`: the log file that claims name. `variables`:
        environment variables besides the inherited ones. `n_cores`, `python`: as in `launch_command`.
        """
        self._port = _listening() if n_processes > 1 else None
        port = self._port.getsockname()[1] if self._port else None
        self.popen = subprocess.Popen(
            launch_command(mixed_precision, n_processes, arguments, port, n_cores, python),
            stdout=stream,
            stderr=stream,
            stdin=subprocess.DEVNULL,
            env={**train_environment(), **PORT_IS_MEANT, **(variables or {}), LOG_VARIABLE: str(log.resolve())},
            start_new_session=True,
            preexec_fn=_ignore_usr2,
        )
        self._asked = False

    @property
    def ended(self) -> bool:
        """Whether all of its processes are gone."""
        return self.popen.poll() is not None and not _group(self.popen.pid)

    @property
    def code(self) -> int | None:
        """The launcher's exit status: accelerate turns every failure into 1."""
        return self.popen.returncode

    def ask(self) -> None:
        """Send TERM, once: a second one would disturb how the launcher of several processes ends them."""
        if not self._asked:
            self._asked = True
            self._signal(signal.SIGTERM)

    def stop(self, grace_s: float) -> None:
        """Send TERM, give time to save, then KILL. Safe in a signal handler that interrupts a wait for this process."""
        self.ask()
        end = time.monotonic() + grace_s
        while _group(self.popen.pid) and time.monotonic() < end:
            time.sleep(POLL_S)
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """Release the port, once the processes are gone."""
        if self._port is not None:
            self._port.close()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)


def stop_all(processes: Collection[TrainProcess], grace_s: float) -> None:
    """Send TERM to all, give them `grace_s` together to save, then KILL."""
    for process in processes:
        process.ask()
    end = time.monotonic() + grace_s
    for process in processes:
        process.stop(max(0.0, end - time.monotonic()))


def _listening() -> socket.socket:
    """A socket that holds a port for as long as it lives."""
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.bind(("127.0.0.1", 0))
    held.listen(16)
    return held


def _group(leader: int) -> list[int]:
    """Living processes (no zombies) of a process group. accelerate's launcher may be gone while the trainer saves."""
    members = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError, IndexError):
                fields = Path(entry.path, "stat").read_text().rsplit(")", 1)[1].split()
                if int(fields[2]) == leader and fields[0] not in "ZX":
                    members.append(int(entry.name))
    return members
