"""A copy of the source tree to extend as CONTRIBUTING says, and to run: what a contributor does, step by step."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests import warm

ROOT = Path(__file__).parents[2]
PARTS = ("empslurm", "jobs", "manifests", "slurm")
# Compiled modules are copied too, and serve until their source is changed; those just being written are not.
IGNORED = shutil.ignore_patterns("*.pyc.*", "testcluster", "fixtures")


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The copy, in which files are written and edited and verbs are run."""

    path: Path

    def insert(self, file: str, before: str, text: str) -> None:
        """Put `text` before the one place where `before` stands: an entry in a table, a line in a list."""
        path = self.path / file
        whole = path.read_text()
        assert whole.count(before) == 1, f"{file} must have {before!r} once, but has it {whole.count(before)} times"
        path.write_text(whole.replace(before, text + before))

    def write(self, file: str, text: str) -> None:
        """A new file."""
        path = self.path / file
        assert not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def python(self, code: str) -> str:
        """What code says that is run with the copy's package."""
        return self._run("-c", code)

    def verb(self, *words: str) -> str:
        """What a verb says on stdout. It must end with 0."""
        return self._run("-m", "empslurm", *words)

    def passes(self, *words: str) -> None:
        """Tests of this tree must pass in the copy; `words` are those of pytest."""
        if not (self.path / "tests").exists():
            shutil.copytree(ROOT / "tests", self.path / "tests", ignore=IGNORED)
        self._run("-m", "pytest", "-q", "-p", "no:cacheprovider", *words)

    def _run(self, *words: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(self.path), "OMP_NUM_THREADS": "1"}
        done = warm.run(words, cwd=self.path, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def copy_of_tree(folder: Path) -> Tree:
    """The package, its jobs, manifests and profiles, without the tests."""
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=IGNORED)
    return Tree(path=folder)
