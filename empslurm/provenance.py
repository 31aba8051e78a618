"""What a result was made with: commit and diff, package versions, host, scheduler fields."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import empslurm

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
SLURM_FIELDS = (
    "SLURM_JOB_ID",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_RESTART_COUNT",
    "SLURM_JOB_PARTITION",
    "SLURM_JOB_NODELIST",
    "SLURM_CLUSTER_NAME",
)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """A git answer about the folder the code runs from; None outside a checkout."""
    folder = Path(empslurm.__file__).parent
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def code() -> dict[str, Any]:
    """Commit and uncommitted difference of the code, as far as it is a checkout."""
    commit = _git("rev-parse", "HEAD")
    return {"commit": commit.strip() if commit else None, "diff": _git("diff", "HEAD", "--", ".") if commit else None}


def collect() -> dict[str, Any]:
    """Everything about this process and host that a reviewer may ask for."""
    return {
        "code": code(),
        "packages": {name: _version(name) for name in PACKAGES},
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cpus": len(os.sched_getaffinity(0)),
        "slurm": {name: os.environ[name] for name in SLURM_FIELDS if name in os.environ},
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
