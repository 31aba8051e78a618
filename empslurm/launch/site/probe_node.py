"""The node's part of `doctor --probe`: test the runs root, Slurm, the clock and both Pythons.

It only records what it finds; `probe_findings` judges what is a problem.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from empslurm import files, hardware, provenance
from empslurm.errors import StoreError
from empslurm.launch import queue, scontrol
from empslurm.launch.liveness import LOG_VARIABLE, NAME_VARIABLE
from empslurm.launch.logs import last_words
from empslurm.launch.node import process

# Files of the probe's folder, which the login node and the node write for each other.
STARTED, NODE, TRAINING = "started.json", "node.json", "training.json"
TAKEN = "taken"  # created by the login node before the job was sent
PING, PONG = "ping", "pong.json"
BEGINS = "empslurm: the probe begins"  # in the log: all text before it came from `setup`
RACE_FILES = 20
RACE_BEGINS_S = 1.0  # from now, for two Pythons to start
TRAINING_LIMIT_S = 300.0
PING_LIMIT_S = 60.0  # after everything else, for a slow file system to show the question
POLL_S = 0.1


class NodeProbe:
    """The callable that submitit runs. `folder`: the probe's; `python`: as in a profile."""

    def __init__(self, folder: str, gpus: int, python: str | None, cpus: int) -> None:
        self.folder, self.gpus, self.python, self.cpus = folder, gpus, python, cpus

    def __call__(self) -> None:
        _say(BEGINS)
        folder = Path(self.folder)
        files.write_json(folder / STARTED, {"time": time.time(), "host": socket.gethostname()})
        with _answering(folder):
            training = Training(folder / TRAINING, self.gpus, self.python, self.cpus)
            facts = {**_machine(), "files": _files(folder), "slurm": _slurm(), "free_bytes": _free(folder)}
            while training.runs():
                time.sleep(POLL_S)
            files.write_json(folder / NODE, {**facts, "training": training.end()})


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextmanager
def _answering(folder: Path) -> Iterator[None]:
    """Report this node's time as soon as the login node asks for it; wait a while for the question at the end."""
    done = threading.Event()
    thread = threading.Thread(target=_answer, args=(folder, done), daemon=True)
    thread.start()
    yield
    thread.join(PING_LIMIT_S)
    done.set()


def _answer(folder: Path, done: threading.Event) -> None:
    while not done.wait(POLL_S):
        with suppress(OSError, StoreError):
            if PING in os.listdir(folder):  # listed, since NFS remembers for a while that a name was absent
                files.write_json(folder / PONG, {"time": time.time()})
                return


def _machine() -> dict[str, Any]:
    """This process and its machine."""
    origin = provenance.collect()
    return {
        "host": origin["host"],
        "python": origin["python"],
        "executable": sys.executable,
        "packages": origin["packages"],
        "cpus": origin["cpus"],
        "bf16": hardware.cpu_bf16(),
        "job": origin["slurm"],
    }


def _slurm() -> dict[str, str]:
    """The problem of each command of Slurm, empty where it works; srun has started this very process."""
    name = os.environ.get(NAME_VARIABLE, "")
    jobs = queue.ask({name})
    missing = "" if shutil.which("srun") else "not found"
    good, said = scontrol.run("scontrol", "show", "job", os.environ.get("SLURM_JOB_ID", ""))
    if jobs is None:
        squeue = "does not answer" if shutil.which("squeue") else "not found"
    else:
        squeue = "" if any(job.name == name for job in jobs.values()) else f"does not show this job, {name}"
    return {"squeue": squeue, "scontrol": "" if good else said or "does not answer", "srun": missing}


# ---- files -----------------------------------------------------------------------------------------------------------


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _files(folder: Path) -> dict[str, str]:
    """Problems of the runs root by what was tried; empty where it works as the store needs."""
    tried = {"replace": _replaces, "see": _sees_the_login_nodes, "create once": _creates_once}
    objections = {}
    for name, look in tried.items():
        try:
            objections[name] = look(folder)
        except (OSError, StoreError, subprocess.SubprocessError, ValueError) as error:
            objections[name] = str(error)
    return objections


def _replaces(folder: Path) -> str:
    path = folder / "replaced.json"
    for number in (1, 2):
        files.write_json(path, {"number": number})
    read = files.read_json(path)
    return "" if read == {"number": 2} else f"after a file was replaced, {read} was read"


def _sees_the_login_nodes(folder: Path) -> str:
    won = files.create_exclusive(folder / TAKEN, b"node")
    return "a file that the login node had created could be created again" if won else ""


def _creates_once(folder: Path) -> str:
    """Two processes create the same files at the same time: each file must have one creator."""
    race_folder = folder / "race"
    race_folder.mkdir()
    command = [sys.executable, str(process.JOBS / "probe.py"), "--race", str(race_folder)]
    command += ["--at", str(time.time() + RACE_BEGINS_S)]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    wins = [name for racer in racers for name in json.loads(racer.communicate(timeout=60)[0])]
    wrong = [name for name in _race_files() if wins.count(name) != 1]
    return f"of {RACE_FILES} files, {len(wrong)} were created by both of two processes or by none" if wrong else ""


def _race_files() -> list[str]:
    return [f"{number:02d}" for number in range(RACE_FILES)]


def race(folder: Path, at: float) -> list[str]:
    """Create files from the Unix time `at` on; the names of those that this process created. Raises StoreError."""
    time.sleep(min(5.0, max(0.0, at - time.time())))
    return [name for name in _race_files() if files.create_exclusive(folder / name, str(os.getpid()).encode())]


# ---- training --------------------------------------------------------------------------------------------------------


class Training:
    """The training Python, started like a train process, but with jobs/probe.py instead of jobs/train.py."""

    def __init__(self, report: Path, gpus: int, python: str | None, cpus: int) -> None:
        self.report = report
        self.log = Path(os.environ.get(LOG_VARIABLE) or os.devnull)
        self.log_before = self.log.stat().st_size if self.log.is_file() else 0
        self.end_at = time.monotonic() + TRAINING_LIMIT_S
        self.popen: subprocess.Popen[bytes] | None = None
        self.objection = ""
        arguments = ["--report", str(report), "--gpus", str(gpus)]
        command = process.launch_command("no", 1, arguments, n_cores=cpus, python=python)
        command[command.index(str(process.JOBS / "train.py"))] = str(process.JOBS / "probe.py")
        try:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                env={**process.train_environment(), **process.PORT_IS_MEANT},
                start_new_session=True,
            )
        except OSError as error:
            self.objection = str(error)

    def runs(self) -> bool:
        """Whether it is still running; kills it when its time is over."""
        if self.popen is None or self.popen.poll() is not None:
            return False
        if time.monotonic() > self.end_at:
            with suppress(ProcessLookupError):
                os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()
            self.objection = f"it did not end within {TRAINING_LIMIT_S:.0f} s"
            return False
        return True

    def end(self) -> dict[str, Any]:
        """Its exit status (None: it never started), and its last line of output where it wrote no report."""
        _say("empslurm: the training Python has ended")
        silent = not self.report.exists()
        line = self.objection or (last_words(self.log, self.log_before)[0] if silent else "")
        return {"status": self.popen.returncode if self.popen else None, "line": line}
