"""A runs root that an earlier version wrote is read, gathered and finished by this version.

tests/fixtures/upgrade/README.md says what the roots hold. Beside each is what the version that wrote it said of it.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import shutil
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from empslurm.cli import main
from tests.project import ROOT, Project

FIXTURES = ROOT / "tests" / "fixtures" / "upgrade"
COMMITS = ("10c05f1", "4dc8b47")
# Verdicts of the first are computed differently since, on purpose: CHANGELOG.md, "results, not ids".
SAME_VERDICTS = ("4dc8b47",)
# What a version writes of results may differ in the last digits between machines; what it trains, a little more.
READ, TRAINED = 1e-9, 1e-3
EARLIER_S = 1e6  # no test takes so long

# Answers for the jobs in queue.txt, in whatever columns --Format asks for. A script without --array is one job.
SQUEUE = """#!{python}
import re, sys
from pathlib import Path
layout = next(word.split("=", 1)[1] for word in sys.argv if word.startswith("--Format="))
for line in Path("queue.txt").read_text().splitlines():
    job, name = line.split()
    (script,) = Path("runs/submissions").glob(f"*/arrays/*/{{job}}_submission.sh")
    array = re.search(r"^#SBATCH --array=(\\d+)(?:-(\\d+))?", script.read_text(), re.MULTILINE)
    last = int(array.group(2) or array.group(1)) if array else 0
    for index in range(last + 1):
        values = {{"ArrayJobID": job, "ArrayTaskID": index if array else "N/A", "JobID": job, "State": "PENDING"}}
        values |= {{"RestartCnt": 0, "Reason": "Priority", "Name": name, "Cluster": "lab"}}
        columns = (field.split(":") for field in layout.split(","))
        print("".join(f"{{values.get(field, '')!s:{{width}}}}" for field, width in columns))
"""


@dataclass(frozen=True, kw_only=True)
class Old:
    """A study of an earlier version, and what that version said of it."""

    commit: str
    project: Project
    said: dict[str, Any]

    @property
    def cells(self) -> Path:
        return self.project.path / "runs" / "cells"

    def json(self, *words: str, expect: int = 0) -> Any:
        """The JSON document of one call, made in this process: it has imported what another one would have to."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(self.project.path), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main([*words, "--runs", "runs", "--data", "data", "--json"])
        assert status == expect, out.getvalue() + err.getvalue()
        return json.loads(out.getvalue())

    def copy(self, path: Path) -> "Old":
        """The same, to be changed."""
        shutil.copytree(self.project.path, path)
        return Old(commit=self.commit, project=Project(path=path), said=self.said)

    def done(self) -> set[str]:
        """Ids of the cells with a result."""
        return {path.parent.name for path in self.cells.glob("*/result.json")}


@pytest.fixture(scope="module", params=COMMITS)
def old(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Old:
    """An unpacked study. Tests only read it; `gather` writes beside the cells."""
    path = tmp_path_factory.mktemp(request.param)
    with tarfile.open(FIXTURES / f"{request.param}.tar.xz") as archive:
        archive.extractall(path, filter="data")
    said = json.loads((FIXTURES / f"{request.param}.json").read_text())
    return Old(commit=request.param, project=Project(path=path), said=said)


@pytest.fixture(autouse=True)
def train_with_this_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a call starts imports this package, on one thread."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def sums(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def stored(study: Old) -> dict[str, dict[str, str]]:
    """What only training and sending may change."""
    return {name: sums(study.project.path / "runs" / name) for name in ("cells", "submissions", "searches")}


def table(project: Project, name: str, manifest: str = "grid") -> list[dict[str, str]]:
    """A CSV file that `gather` wrote."""
    with open(project.path / "runs" / "gathered" / manifest / f"{name}.csv") as stream:
        return list(csv.DictReader(stream))


def scores(project: Project) -> dict[str, dict[str, str]]:
    """Every score of every gathered cell, such as `test pearson`."""
    found: dict[str, dict[str, str]] = {}
    for row in table(project, "long"):
        found.setdefault(row["id"], {})[f"{row['part']} {row['metric']}"] = row["value"]
    return found


def assert_alike(now: Any, then: Any, place: str) -> None:
    """Equal words, and equal numbers up to rounding. Newer versions may say more, never less."""
    if isinstance(then, dict):
        for key, value in then.items():
            assert key in now, f"{place}: {key} is gone"
            assert_alike(now[key], value, f"{place}, {key}")
    elif isinstance(then, list):
        assert len(now) == len(then), place
        for number, (one, other) in enumerate(zip(now, then, strict=True)):
            assert_alike(one, other, f"{place}, {number}")
    else:
        try:
            assert float(now) == pytest.approx(float(then), rel=READ, abs=READ), place
        except (TypeError, ValueError):
            assert now == then, place


def test_every_state_and_every_decision_is_as_it_was(old: Old) -> None:
    before = stored(old)
    for manifest, actions in old.said["actions"].items():
        planned = old.json("plan", manifest)
        assert {cell["id"]: cell["action"] for cell in planned["cells"]} == actions, manifest
        assert old.json("status", manifest)["targets"] == old.said["targets"][manifest], manifest
    assert set(old.said["missing"].values()) == {"lost", "failed", "pending"}
    assert stored(old) == before


def test_gather_gives_the_same_numbers(old: Old) -> None:
    before = sums(old.cells)
    gathered = old.json("gather", "grid")
    assert {cell["id"]: cell["state"] for cell in gathered["missing"]} == old.said["missing"]
    assert set(scores(old.project)) == set(old.said["scores"])
    assert_alike(scores(old.project), old.said["scores"], "scores")
    for name, rows in old.said["tables"].items():
        assert_alike(table(old.project, name), rows, name)
    if old.commit in SAME_VERDICTS:
        assert_alike(table(old.project, "verdicts"), old.said["verdicts"], "verdicts")
    assert sums(old.cells) == before


def test_gather_of_a_search_gives_the_same_winners(old: Old) -> None:
    before = sums(old.cells)
    report = old.json("gather", "hunt")
    assert set(old.said["search"]["tables"]) >= {"search_table4", "search_second_stage"}
    assert_alike(report, old.said["search"], "search")
    assert sums(old.cells) == before


def test_adapters_are_exported(old: Old, tmp_path: Path) -> None:
    exported = old.json("export", "grid", "--to", str(tmp_path), expect=1)  # two seeds are left out: not done
    assert [len(measure["files"]) > 0 for measure in exported["measures"]] == [True, True]
    assert {path.parent.name for path in tmp_path.glob("*/README.md")} == {"kite_mood", "kite_warmth"}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for Slurm's commands; what sbatch and scancel were asked is in `asked`."""
    folder = tmp_path / "lab"
    folder.mkdir()
    programs = {
        "squeue": SQUEUE.format(python=sys.executable),
        "sbatch": f'#!/bin/sh\necho sbatch "$@" >> {folder}/asked\nexit 1\n',
        "scancel": f'#!/bin/sh\necho scancel "$@" >> {folder}/asked\n',
        "scontrol": "#!/bin/sh\nprintf 'ClusterName = lab\\nMaxArraySize = 6\\n'\n",
        "sacct": "#!/bin/sh\nexit 1\n",
        "srun": "#!/bin/sh\n",
    }
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_jobs_that_the_earlier_version_queued_are_seen_and_not_sent_again(old: Old, lab: Path, tmp_path: Path) -> None:
    study = old.copy(tmp_path / "study").project
    totals = study.json("status", "queued")["totals"]
    assert (totals["queued"], sum(totals.values())) == (4, 4)
    assert study.json("submit", "queued", "--profile", "cluster")["submitted"] == 0
    assert not (lab / "asked").exists()
    study.json("cancel", "queued")
    cancelled = re.findall(r"\b(\d+)(?:_|\b)", (lab / "asked").read_text())
    assert set(cancelled) == {"101", "102", "103"}


def test_jobs_that_left_the_queue_are_run_again_whoever_has_their_number(old: Old, lab: Path, tmp_path: Path) -> None:
    study = old.copy(tmp_path / "study").project
    (study.path / "queue.txt").write_text("101 theirs.01234567\n")
    assert study.json("status", "queued")["totals"]["pending"] == 4
    assert study.json("plan", "queued")["actions"] == {"run": 4}


def test_resume_runs_exactly_what_is_not_done_and_goes_on_from_checkpoints(old: Old, tmp_path: Path) -> None:
    study = old.copy(tmp_path / "study")
    done = study.done()
    before = {cell: sums(study.cells / cell) for cell in done}
    sent = sums(study.project.path / "runs" / "submissions")
    saved = mark_checkpoints(study)
    (study.project.path / "slurm" / "local.yaml").write_text("kind: local\n")  # theirs saves after every step
    (trial,) = {path.name for path in study.cells.glob("*-trial-*")} - done
    missing = {**old.said["missing"], trial: "lost"}
    assert {cell for cell, state in missing.items() if state == "lost"} == saved

    for manifest, n_cells in (("grid", len(old.said["missing"])), ("hunt_more", 1)):
        resumed = study.json("resume", manifest, "--profile", "local")
        assert (resumed["submitted"], resumed["states"]) == (n_cells, {"done": n_cells})

    assert study.done() == done | set(missing)
    assert {cell: sums(study.cells / cell) for cell in done} == before
    for cell, state in missing.items():
        claims = len(list((study.cells / cell / "claims").glob("*.json")))
        assert (cell, claims) == (cell, 1 if state == "pending" else 2)
        result = json.loads((study.cells / cell / "result.json").read_text())
        then = old.said["resumed"][cell]
        losses = [epoch["train_loss"] for epoch in result.get("history", [])]
        assert losses == pytest.approx(then["train_loss"], rel=TRAINED)
        if then["parameters"]:
            assert result["trial"]["parameters"] == pytest.approx(then["parameters"])
    for cell in saved:  # their hours so far count, so the checkpoint was read
        result = json.loads((study.cells / cell / "result.json").read_text())
        provenance = json.loads((study.cells / cell / result["output"] / "provenance.json").read_text())
        assert provenance["wall_s"] > EARLIER_S
    now = sums(study.project.path / "runs" / "submissions")
    assert {name: now.get(name) for name in sent if name != "lock"} == {
        name: value for name, value in sent.items() if name != "lock"
    }

    after = sums(study.cells)
    assert study.json("resume", "grid", "--profile", "local")["submitted"] == 0
    gathered = study.json("gather", "grid")
    assert (gathered["n_done"], gathered["missing"]) == (len(old.said["actions"]["grid"]), [])
    assert_alike(scores(study.project), old.said["scores"], "scores")
    assert study.json("gather", "hunt_more")["n_finished"] == {"kite_mood": 3}
    assert sums(study.cells) == after


def mark_checkpoints(study: Old) -> set[str]:
    """Have each checkpoint say that it took EARLIER_S to get there; ids of the cells that have one."""
    found = set()
    for path in study.cells.glob("*/checkpoint/*.ckpt"):
        line, _, tensors = path.read_bytes().partition(b"\n")
        state = {**json.loads(line)["state"], "wall_s": EARLIER_S}
        sealed = hashlib.sha256(json.dumps(state, sort_keys=True).encode() + b"\n" + tensors).hexdigest()
        header = json.dumps({"sha256": sealed, "state": state}, sort_keys=True)
        path.write_bytes(header.encode() + b"\n" + tensors)
        found.add(path.parents[1].name)
    return found


@pytest.mark.parametrize("place", ["cells", "submissions"])
def test_a_folder_that_cannot_be_read_is_a_sentence(old: Old, place: str, tmp_path: Path) -> None:
    study = old.copy(tmp_path / "study")
    folder = study.project.path / "runs" / place
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("no folder\n")
    for verb in ("status", "gather"):
        refused = study.json(verb, "grid", expect=1)
        assert any(f"runs/{place}" in problem for problem in refused["error"]["problems"]), verb
