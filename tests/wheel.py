"""A wheel of this checkout, and an environment that has it and nothing else of the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Of the checkout, what a wheel is made from.
PARTS = ("empslurm", "jobs", "manifests", "slurm", "setup.py", "setup.cfg", "MANIFEST.in", "README.md", "LICENSE")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")


@dataclass(frozen=True, kw_only=True)
class Installed:
    """`folder` holds the environment; what it runs sees neither the checkout nor this process's environment."""

    folder: Path

    @property
    def command(self) -> Path:
        return self.folder / "bin" / "empslurm"

    def run(self, *words: str, cwd: Path, expect: int = 0) -> str:
        """Standard output of one call, which must end with the status expected."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "EMPSLURM"))}
        environment = {**kept, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        done = subprocess.run(
            [self.command, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout


def build(folder: Path) -> Path:
    """Build the wheel from a copy, since a build writes into the folder that it builds from."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, source / name)
    words = ("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    subprocess.run([*PIP, *words], check=True)
    (wheel,) = folder.glob("empslurm-*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Installed:
    """An environment with the wheel. It reads the other packages from where this process has them."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python3.*/site-packages")
    # A folder that a .pth file adds has its own .pth files left unread: the checkout's editable install is not seen.
    (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    words = ("install", "--no-deps", "--no-index", "--ignore-installed", str(wheel))
    subprocess.run([*PIP, "--python", str(folder / "bin" / "python"), *words], check=True)
    return Installed(folder=folder)


def short_study(installed: Installed, folder: Path, name: str) -> Path:
    """What `empslurm init` writes, with little data and one seed."""
    folder.mkdir(exist_ok=True)
    installed.run("init", name, cwd=folder)
    manifest = folder / name / "manifests" / f"{name}.yaml"
    text = manifest.read_text().replace("seeds: [1, 2, 3]", "seeds: [1]").replace("epochs: 4", "epochs: 1")
    manifest.write_text(text.replace("max_length: 32", "max_length: 24\n  max_train_examples: 32"))
    return folder / name
