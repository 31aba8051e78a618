"""The copy of the code that jobs run, the lock of submitting, and a runs root that a group shares."""

import grp
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

import empslurm
from empslurm import files, provenance
from empslurm.errors import SchedulerError, UsageError
from empslurm.launch import snapshot
from empslurm.launch.lock import submitting
from empslurm.launch.permissions import share
from empslurm.launch.profile import Profile
from empslurm.store.runs import RunsRoot


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git checkout with a package and jobs/, which stands in for the running code."""
    folder = tmp_path / "checkout"
    for name in ("empslurm/__init__.py", "empslurm/part/table.csv", "jobs/train.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("one\n")
    (folder / ".gitignore").write_text("__pycache__\n")
    git = ("git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.org")
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "first")):
        subprocess.run([*git, *words], check=True)
    (folder / "empslurm" / "__pycache__").mkdir()
    (folder / "empslurm" / "__pycache__" / "x.pyc").write_text("")
    monkeypatch.setattr(empslurm, "__file__", str(folder / "empslurm" / "__init__.py"))
    return folder


def test_equal_code_shares_one_copy_and_changed_code_has_its_own(checkout: Path, tmp_path: Path) -> None:
    root = RunsRoot(tmp_path / "runs")
    first = snapshot.take(root)
    (checkout / "empslurm" / "__pycache__" / "y.pyc").write_text("")
    assert snapshot.take(root) == first
    kept = sorted(path.relative_to(first).as_posix() for path in first.rglob("*") if path.is_file())
    assert kept == ["code.json", "empslurm/__init__.py", "empslurm/part/table.csv", "jobs/train.py"]
    (checkout / "jobs" / "train.py").write_text("two\n")
    second = snapshot.take(root)
    assert second != first
    assert (first / "jobs" / "train.py").read_text() == "one\n"
    assert len(list((tmp_path / "runs" / "code").iterdir())) == 2


@pytest.mark.parametrize("lost", ["empslurm/part/table.csv", "jobs/train.py", "code.json", "empslurm"])
def test_what_a_cleaner_took_from_a_copy_is_restored(checkout: Path, tmp_path: Path, lost: str) -> None:
    root = RunsRoot(tmp_path / "runs")
    copy = snapshot.take(root)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    shutil.rmtree(copy / lost) if (copy / lost).is_dir() else (copy / lost).unlink()
    assert snapshot.take(root) == copy
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_what_was_altered_in_a_copy_is_restored(checkout: Path, tmp_path: Path) -> None:
    root = RunsRoot(tmp_path / "runs")
    copy = snapshot.take(root)
    (copy / "jobs" / "train.py").write_text("")
    snapshot.take(root)
    assert (copy / "jobs" / "train.py").read_text() == "one\n"


def test_the_copy_knows_commit_and_difference(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot.refuse_dirty()
    (checkout / "jobs" / "train.py").write_text("two\n")
    with pytest.raises(UsageError, match="commit them first"):
        snapshot.refuse_dirty()
    copy = snapshot.take(RunsRoot(tmp_path / "runs"))
    monkeypatch.setattr(empslurm, "__file__", str(copy / "empslurm" / "__init__.py"))
    code = provenance.code()
    assert (len(str(code.commit)), code.dirty) == (40, True)
    assert "+two" in str(code.diff)


def test_the_commit_of_something_else_is_not_taken_for_ours(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert provenance.code().commit
    installed = checkout / ".venv" / "empslurm" / "__init__.py"
    installed.parent.mkdir(parents=True)
    installed.write_text("one\n")
    monkeypatch.setattr(empslurm, "__file__", str(installed))
    assert provenance.code() == provenance.Code()


def test_a_wheel_has_the_same_snapshot_as_its_checkout(checkout: Path, tmp_path: Path) -> None:
    copy, code = snapshot.take(RunsRoot(tmp_path / "runs")), provenance.code()
    shutil.copytree(checkout / "jobs", checkout / "empslurm" / "packaged" / "jobs")
    files.write_json(checkout / "empslurm" / "packaged" / "code.json", asdict(code))
    shutil.rmtree(checkout / "jobs")
    assert snapshot.take(RunsRoot(tmp_path / "runs")) == copy


def test_without_jobs_nothing_is_submitted(checkout: Path, tmp_path: Path) -> None:
    shutil.rmtree(checkout / "jobs")
    with pytest.raises(UsageError, match="install the wheel again"):
        snapshot.take(RunsRoot(tmp_path / "runs"))


HOLD = """
import sys
from pathlib import Path
from empslurm.launch.lock import submitting
from empslurm.store.runs import RunsRoot
with submitting(RunsRoot(Path(sys.argv[1])), print, wait=False):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_only_one_submits_at_a_time_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    root = RunsRoot(tmp_path)
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(SchedulerError, match=f"process {other.pid} on"), submitting(root, print, wait=False):
            pass
        other.kill()
    with submitting(root, print, wait=False):
        pass


def test_a_shared_runs_root_stays_with_the_group(tmp_path: Path) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    root = RunsRoot(tmp_path / "runs")
    before = os.umask(0o022)
    try:
        share(root, Profile(name="x", kind="slurm", group=group, umask="007"))
        (root.path / "cells" / "new").mkdir()
    finally:
        os.umask(before)
    status = (root.path / "cells" / "new").stat()
    assert (status.st_gid, status.st_mode & 0o2777) == (os.getgid(), 0o2770)
    with pytest.raises(UsageError, match="must be a group of this machine"):
        share(root, Profile(name="x", kind="slurm", group="no-such-group"))
