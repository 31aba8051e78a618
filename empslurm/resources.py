"""Files that belong to empslurm but are no modules: what jobs execute, manifests, profiles, the start of a study.

In a checkout the first three are the folders at its top. A wheel carries them inside the package, in `packaged/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import empslurm

PACKAGED = "packaged"  # setup.py writes this folder into a wheel


def package() -> Path:
    """The folder of the running package."""
    return Path(empslurm.__file__).resolve().parent


def folder(name: Literal["jobs", "manifests", "slurm"]) -> Path:
    """The folder of this name: of the wheel, else of the checkout or of a job's snapshot."""
    inside = package() / PACKAGED / name
    return inside if inside.is_dir() else package().parent / name


def starter() -> Path:
    """The files that `empslurm init` copies."""
    return package() / "starter"
