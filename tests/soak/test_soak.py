"""The short versions: one kill in every phase, a full and a read-only file system. `make soak` runs the long ones."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests import warm

ROOT = Path(__file__).parents[2]


def run(*words: str) -> Any:
    """Run a module of this folder, which must end with 0; returns its JSON document."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = warm.run(["-m", *words], cwd=ROOT, env=environment)
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_killed_training_ends_with_the_bytes_of_an_undisturbed_run() -> None:
    value = run("tests.soak.kills", "--seed", "1", "--kills", "7")
    assert set(value["kills_by_phase"].values()) == {1}
    assert len(value["kills_by_phase"]) == 7
    assert value["cells_compared"] >= 5
    assert value["lost"] == value["different"] == value["unreadable"] == value["unexpected"] == []


def test_a_full_or_read_only_file_system_costs_nothing_once_there_is_room() -> None:
    trials = run("tests.soak.full_disk", "0", "100")
    assert [trial["wrong"] for trial in trials] == [[], [], []]
    assert trials[0]["states"] == trials[2]["states"] == ["pending"] * 5
    assert "lost" in trials[1]["states"] or "failed" in trials[1]["states"]
