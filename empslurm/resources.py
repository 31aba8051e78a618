"""Find the user's folders, and the files that come with empslurm: jobs/, manifests/, slurm/ and the starter study.

A checkout has the first three at its top; a wheel has them inside the package, in `packaged/`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import empslurm

PACKAGED = "packaged"  # setup.py writes this folder into a wheel


def runs(given: str | Path | None) -> Path:
    """The runs root that is given, else the environment's, else runs/."""
    return Path(given or os.environ.get("EMPSLURM_RUNS") or "runs")


def data(given: str | Path | None) -> Path:
    """The folder of raw data that is given, else the environment's, else data/."""
    return Path(given or os.environ.get("EMPSLURM_DATA") or "data")


def package() -> Path:
    """The folder of the running package."""
    return Path(empslurm.__file__).resolve().parent


def names(kind: Literal["manifests", "slurm"]) -> tuple[str, ...]:
    """Names of the manifests or profiles that need no path: of this folder's, and of those that come with empslurm."""
    places = (Path(kind), folder(kind))
    return tuple(sorted({path.stem for place in places for path in place.glob("*.yaml") if os.path.isfile(path)}))


def find(kind: Literal["manifests", "slurm"], name: str) -> Path | None:
    """The file that a user names: a path, a name of this folder's, or of one that comes with empslurm."""
    candidates = (Path(name), *(place / f"{name}.yaml" for place in (Path(kind), folder(kind))))
    return next((path for path in candidates if os.path.isfile(path)), None)  # False where no file can have the name


def folder(name: Literal["jobs", "manifests", "slurm"]) -> Path:
    """The folder of this name: of the wheel, else of the checkout or of a job's snapshot."""
    inside = package() / PACKAGED / name
    return inside if inside.is_dir() else package().parent / name


def starter() -> Path:
    """The files that `empslurm init` copies."""
    return package() / "starter"
