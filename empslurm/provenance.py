"""What a result was made with: commit and diff, package versions, host, GPUs, scheduler fields."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from empslurm import hardware, resources
from empslurm.validation import decode

PACKAGES = (
    "empslurm",
    "torch",
    "adapters",
    "transformers",
    "tokenizers",
    "accelerate",
    "safetensors",
    "numpy",
    "submitit",
)
CODE_FILE = "code.json"  # in a snapshot, beside the package; in a wheel, in its folder `packaged`
SLURM_FIELDS = (
    "SLURM_JOB_ID",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_RESTART_COUNT",
    "SLURM_JOB_PARTITION",
    "SLURM_JOB_NODELIST",
    "SLURM_CLUSTER_NAME",
)


def version(package: str) -> str | None:
    """The installed release of a package; None where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def installed(package: str) -> bool:
    """Whether a package can be found; nothing of it is imported."""
    return package in sys.modules or importlib.util.find_spec(package) is not None  # `adapters` loses its own spec


def _git(*arguments: str) -> str | None:
    """A git answer about the folder the code runs from; None outside a checkout."""
    folder = resources.package()
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


@dataclass(frozen=True, kw_only=True)
class Code:
    """Commit and uncommitted difference of the code; None outside a checkout."""

    commit: str | None = None
    diff: str | None = None
    dirty: bool | None = None  # also by untracked files, which `diff` does not show


def code() -> Code:
    """Commit and difference of the running code; a snapshot and a wheel hold a note of them. Raises DamagedError."""
    inside = resources.package() / resources.PACKAGED
    copied = (inside if inside.is_dir() else resources.package().parent) / CODE_FILE
    if copied.is_file():
        noted: Code = decode.load(copied, Code, "submit again, or, where this is an installed wheel, install it again")
        return noted
    # An environment may lie inside the checkout of something else, whose commit says nothing of this code.
    ours = _git("ls-files", "--error-unmatch", "__init__.py")
    commit = _git("rev-parse", "HEAD") if ours else None
    if commit is None:
        return Code()
    paths = ("--", ".", "../jobs")
    return Code(
        commit=commit.strip(),
        diff=_git("diff", "HEAD", *paths),
        dirty=bool(_git("status", "--porcelain", *paths)),
    )


def gpus() -> list[hardware.Reading] | None:
    """Name, driver, memory (MiB) and power (W) of the GPUs this process sees; a MIG instance's UUID and profile.

    None where it sees no GPU. A value that nvidia-smi does not know is None. Results of earlier versions hold text.
    """
    return hardware.read_gpus(hardware.visible_gpus()) or None


def collect() -> dict[str, Any]:
    """Everything about this process and host that a reviewer may ask about."""
    return {
        "code": asdict(code()),
        "packages": {name: version(name) for name in PACKAGES},
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cpus": len(os.sched_getaffinity(0)),
        "gpus": gpus(),
        "slurm": {name: os.environ[name] for name in SLURM_FIELDS if name in os.environ},
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
