"""A queued job runs the code that submitted it, even if the code changes meanwhile."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from empslurm.launch import snapshot
from empslurm.launch.profile import Profile
from empslurm.launch.slurm import Sender
from empslurm.launch.submission import Submission
from empslurm.store.runs import RunsRoot
from tests.extension.tree import copy_of_tree

# Instead of srun: do what submitit does first, and print where the callable's code came from.
UNPICKLE = """\
#!/bin/sh
exec {python} - <<'END'
import sys
from submitit.core.utils import DelayedSubmission
called = DelayedSubmission.load({pickle!r}).function
print(type(called).__module__, sys.modules[type(called).__module__].__file__)
END
"""


def test_a_queued_job_runs_its_own_copy_after_a_module_was_moved(
    lab: Path, root: RunsRoot, made: Submission, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = snapshot.take(root)
    profile = Profile(name="x", kind="slurm")
    assert Sender(root, made, profile, code, waiting_for={}, wait=False, say=print).send().jobs[0] == "101"
    (folder,) = {path.parent for path in root.submissions.resolve().glob("*/arrays/0001/*.pkl")}
    pickle = folder / "101_0_submitted.pkl"  # made by the batch script
    (lab / "srun").write_text(UNPICKLE.format(python=sys.executable, pickle=str(pickle)))
    later = copy_of_tree(tmp_path / "later").path
    (later / "empslurm/launch/node/array_task.py").rename(later / "empslurm/launch/node/element.py")
    monkeypatch.setenv("PYTHONPATH", str(later))  # as for a submission from the changed tree now

    def start(*command: str) -> subprocess.CompletedProcess[str]:
        job = {**os.environ, "SLURM_ARRAY_JOB_ID": "101", "SLURM_ARRAY_TASK_ID": "0", "SLURM_JOB_NAME": "x"}
        return subprocess.run(command, env=job, cwd=tmp_path, capture_output=True, text=True, check=False)

    started = start("bash", str(lab / "script-101"))
    assert started.stdout.split() == ["empslurm.launch.node.array_task", f"{code}/empslurm/launch/node/array_task.py"]
    # Without the batch script's path, Python would import the changed tree, which lacks that module.
    assert "No module named 'empslurm.launch.node.array_task'" in start(str(lab / "srun")).stderr
