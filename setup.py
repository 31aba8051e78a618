"""Put jobs/, manifests/ and slurm/*.yaml into the wheel, as data of empslurm. All else is declared in setup.cfg."""

import json
import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
# As empslurm/resources.py finds them. An editable install uses the folders where they are.
PACKAGED = ("jobs/*.py", "jobs/*.yaml", "manifests/*.yaml", "slurm/*.yaml")


class BuildWithFolders(build_py):
    """Build as usual, then copy."""

    def packaged(self) -> dict[Path, Path]:
        """File of the checkout -> where it is built."""
        inside = Path(self.build_lib, "empslurm", "packaged")
        return {path: inside / path.relative_to(ROOT) for pattern in PACKAGED for path in sorted(ROOT.glob(pattern))}

    def run(self) -> None:
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


def commit() -> dict[str, object]:
    """The commit of this checkout, and how the code differs from it. All None outside one, as in a source archive."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout

    parts = ("--", "empslurm", "jobs")
    head = git("rev-parse", "HEAD") if git("ls-files", "--error-unmatch", "setup.py") else None
    if head is None:
        return {"commit": None, "diff": None, "dirty": None}
    return {
        "commit": head.strip(),
        "diff": git("diff", "HEAD", *parts),
        "dirty": bool(git("status", "--porcelain", *parts)),
    }


setup(cmdclass={"build_py": BuildWithFolders})
