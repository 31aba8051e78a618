"""Failures with one cause hold the rest of a submission back."""

import json
from pathlib import Path

import pytest

from empslurm.errors import DamagedError
from empslurm.launch import hold
from empslurm.launch.hold import Failed, common_cause, signature
from empslurm.launch.submission_dir import SubmissionDir


def test_failures_of_one_cause_hold_the_rest() -> None:
    def failure(cell: str, pack: int, message: str) -> Failed:
        return Failed(cell=cell, pack=pack, signature=signature("error", message), message=message)

    same = [
        failure(f"c{n}", n, f"epitome_er-s{n}-0123456789ab: index {n} of /data/x{n} is out of range") for n in range(5)
    ]
    assert common_cause(same[:4]) is None
    cause = common_cause(same)
    assert cause is not None
    assert cause.cells == ("c0", "c1", "c2", "c3", "c4")
    assert common_cause([failure(f"c{n}", 0, "one pack only") for n in range(17)]) is None
    assert common_cause([failure(f"c{n}", n, f"cause {'abcdef'[n]}") for n in range(6)]) is None


def test_enough_failures_are_noted_and_hold(tmp_path: Path) -> None:
    folder = SubmissionDir(tmp_path)
    assert hold.of(folder) is None
    for n in range(5):
        hold.note(folder, [Failed(cell=f"c{n}", pack=n, signature="error: alike", message="alike")])
    cause = hold.of(folder)
    assert str(cause) == "5 cells failed in the same way: alike"


def test_a_hold_of_another_version_is_read_and_a_damaged_one_refused(tmp_path: Path) -> None:
    folder = SubmissionDir(tmp_path)
    stored = {"signature": "x", "cells": ["a", "b"], "message": "a sentence"}
    folder.hold.write_text(json.dumps({**stored, "since": 1.0}))
    assert str(hold.of(folder)) == "2 cells failed in the same way: a sentence"
    folder.hold.write_text(json.dumps({**stored, "cells": 2}))
    with pytest.raises(DamagedError, match=r"hold\.json must be .*: cells must be a .*; move it away"):
        hold.of(folder)
