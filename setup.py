"""Put jobs/, manifests/ and slurm/ into the wheel, as data of empslurm. All else is declared in setup.cfg."""

import json
import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
FOLDERS = ("jobs", "manifests", "slurm")


class BuildWithFolders(build_py):
    """Build as usual, then copy."""

    def packaged(self) -> dict[Path, Path]:
        """File of the checkout -> where it is built. Only what MANIFEST.in lists: never somebody's own profile."""
        inside = Path(self.build_lib, "empslurm", "packaged")
        lines = [line.split() for line in (ROOT / "MANIFEST.in").read_text().splitlines()]
        names = [name for word, *names in filter(None, lines) if word == "include" for name in names]
        return {ROOT / name: inside / name for name in names if name.split("/")[0] in FOLDERS}

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib, "empslurm"), ignore_errors=True)  # of an earlier build
        super().run()
        if not self.editable_mode:
            for path, target in self.packaged().items():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
            self.commit_file().write_text(json.dumps(commit()))

    def commit_file(self) -> Path:
        """What empslurm/provenance.py reads, so that results of a wheel name the commit that it was built from."""
        return Path(self.build_lib, "empslurm", "packaged", "code.json")

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        copied = [] if self.editable_mode else [*self.packaged().values(), self.commit_file()]
        return [*super().get_outputs(include_bytecode), *map(str, copied)]


def git(*words: str) -> str | None:
    """What git says; None where there is no git, no checkout or an error."""
    command = ["git", *words]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def commit() -> dict[str, object]:
    """The commit of this checkout, and how the code differs from it. All None outside one, as in a source archive."""
    parts = ("--", "empslurm", "jobs")
    ours = git("ls-files", "--error-unmatch", "setup.py")  # else the checkout is of something else
    head = git("rev-parse", "HEAD") if ours else None
    if head is None:
        return {"commit": None, "diff": None, "dirty": None}
    return {
        "commit": head.strip(),
        "diff": git("diff", "HEAD", *parts),
        "dirty": bool(git("status", "--porcelain", *parts)),
    }


setup(cmdclass={"build_py": BuildWithFolders})
