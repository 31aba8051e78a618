"""A failure class is one entry of `FAILURES`: training records it, the array task follows it, `status` explains it."""

import json
from pathlib import Path

import pytest

from tests.extension.tree import copy_of_tree

ENTRY = """Failure(
        name="network",
        exceptions=(ConnectionError,),
        tries_elsewhere=1,
        advice="a server did not answer: look at the network of the nodes",
    ),
    """
# Whatever the job asks for, its server hangs up.
BREAK = """from empslurm.train.context import Node

    def hang_up(*_: object) -> None:
        raise ConnectionResetError("the data server hung up")

    Node.data = hang_up  # type: ignore[assignment, method-assign]
    """
MANIFEST = "name: one\ntasks: [news_empathy]\npairs: none\nseeds: [1]\nbackbone: tiny\ntraining: {epochs: 1}\n"
# What `submit` writes and the batch script sets, and the array task that Slurm starts by it.
START = """
import argparse, os
from pathlib import Path
from empslurm.cli.common import load_plan
from empslurm.launch import journal, markers
from empslurm.launch import submission as submissions
from empslurm.launch.node.array_task import Work
from empslurm.plan import packs

plan, root = load_plan(argparse.Namespace(runs=Path("runs"), data=Path("data"), manifest="one"))
settings = submissions.NodeSettings(cpus=1, gpus=0, num_processes=1, checkpoint_minutes=5.0, requeues=3, grace_s=5.0)
submission = submissions.create(root, "one", Path("data"), (), packs(plan.cells), settings)
array = markers.mark(root, submission, [[0]], "one")
array.resolve("101")
os.environ |= {"EMPSLURM_ARRAY": str(array.path), "EMPSLURM_JOB_NAME": array.name}
os.environ |= {"SLURM_ARRAY_JOB_ID": "101", "SLURM_ARRAY_TASK_ID": "0", "SLURM_RESTART_COUNT": "0"}
print(Work(root, array).run())
"""


def test_an_entry_is_recorded_followed_and_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = copy_of_tree(tmp_path / "tree")
    tree.insert("empslurm/launch/policy.py", 'Failure(\n        name="storage"', ENTRY)
    tree.insert("jobs/train.py", "root = RunsRoot(", BREAK)
    tree.write("manifests/one.yaml", MANIFEST)
    for command in ("scontrol", "squeue"):
        (tmp_path / command).write_text(f"#!/bin/sh\necho $* >> {tmp_path}/asked-{command}\n")
        (tmp_path / command).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    assert tree.python(START).splitlines()[-1] == "requeued"
    (error,) = (json.loads(path.read_text()) for path in tree.path.glob("runs/cells/*/error.json"))
    assert (error["class"], error["message"]) == ("network", "ConnectionResetError: the data server hung up")
    assert "ExcNodeList=" in (tmp_path / "asked-scontrol").read_text()
    shown = tree.verb("status", "one", "--runs", "runs", "--data", "data")
    assert "network: a server did not answer: look at the network of the nodes" in shown
