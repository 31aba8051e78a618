"""Training texts that the sources read once: which, what is kept of them, and when they are read again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from empslurm.analysis.transferability import ESTIMATORS
from empslurm.scoring import suitability as scoring
from empslurm.scoring.bank import Bank
from empslurm.store import suitability
from empslurm.store.runs import RunsRoot
from empslurm.suggestion import reading
from empslurm.train.data.task_data import TaskData
from tests.project import Project
from tests.suggestion.made import FEW, GRID, copy, few, suggested

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("few_texts")]


def kept(project: Project) -> dict[str, dict[str, Any]]:
    """What the runs root has, by target."""
    files = sorted((project.path / "runs" / "suitability").glob("*.json"))
    return {document["target"]: document for document in (json.loads(file.read_text()) for file in files)}


def unread(read: Project, folder: Path) -> Project:
    """A copy without any values."""
    project = copy(read, folder)
    for file in (project.path / "runs" / "suitability").iterdir():
        file.unlink()
    return project


def test_the_target_is_read_by_every_source_and_each_other_target_by_its_own(read: Project) -> None:
    there = kept(read)
    assert set(there) == {"hope", *GRID}
    for target, document in there.items():
        assert {cell.split("-")[0] for cell in document["values"]} == set(GRID) - {target}
        assert (document["n_texts"], document["most"]) == (FEW, FEW)
        assert all(set(row) == set(ESTIMATORS) for row in document["values"].values())


def test_what_is_kept_is_not_read_again(read: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("nothing should be read")

    monkeypatch.setattr(Bank, "represent", refuse)
    before, said = read.files(), list[str]()
    found = suggested(read, "hope", advance=lambda what, done, total: said.append(what))
    assert set(said) == {"comparing runs"}
    assert found.readings.now == 0
    assert found.readings.n_texts == dict.fromkeys(("hope", *GRID), FEW)
    assert read.files() == before


def test_progress_counts_every_adapter_on_every_text(read: Project, tmp_path: Path) -> None:
    project, said = unread(read, tmp_path / "copy"), list[tuple[str, int, int]]()
    suggested(project, "hope", advance=lambda *what: said.append(what))
    of_hope = [(done, total) for what, done, total in said if what == "hope (1 of 5)"]
    assert (of_hope[0], of_hope[-1]) == ((0, 4 * FEW), (4 * FEW, 4 * FEW))
    labels = [f"{target} ({at} of 5)" for at, target in enumerate(("hope", *GRID), 1)]
    assert [what for what in dict.fromkeys(what for what, _, _ in said) if what != "comparing runs"] == labels


def test_only_the_training_part_is_read(read: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels and texts of the other parts are garbled on the way; every value stays as it was."""
    plain, n_garbled = scoring.training_texts, list[int]()

    def garbled(*arguments: Any) -> TaskData:
        data = plain(*arguments)
        others = np.setdiff1d(np.arange(len(data.table.targets)), data.rows["train"])
        targets, flat = data.table.targets.copy(), np.array(data.tokens.flat)
        targets[others] = 0
        for row in others:
            flat[data.tokens.starts[row] : data.tokens.starts[row + 1]] = 7
        n_garbled.append(len(others))
        return replace(data, table=replace(data.table, targets=targets), tokens=replace(data.tokens, flat=flat))

    monkeypatch.setattr(scoring, "training_texts", garbled)
    project = unread(read, tmp_path / "copy")
    suggested(project, "hope")
    assert min(n_garbled) > 0
    for target, document in kept(project).items():
        for cell, row in kept(read)[target]["values"].items():
            assert document["values"][cell] == pytest.approx(row), (target, cell)


def test_a_larger_sample_replaces_a_smaller_one_and_never_the_reverse(
    read: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, before = copy(read, tmp_path / "copy"), kept(read)
    monkeypatch.setattr(reading, "MOST_OF_TARGET", FEW + 10)
    suggested(project, "hope")
    after = kept(project)
    assert (after["hope"]["n_texts"], after["hope"]["most"]) == (FEW + 10, FEW + 10)
    assert after["hope"]["values"] != before["hope"]["values"]
    assert {target: after[target] for target in GRID} == {target: before[target] for target in GRID}
    few(monkeypatch, FEW - 10)
    files = project.files()
    assert suggested(project, "hope").readings.n_texts["hope"] == FEW + 10
    assert project.files() == files


def test_only_the_source_that_lacks_values_reads(
    read: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = copy(read, tmp_path / "copy")
    (file,) = (project.path / "runs" / "suitability").glob("hope-*.json")
    document = json.loads(file.read_text())
    gone = next(cell for cell in document["values"] if cell.startswith("condolence"))
    row = document["values"].pop(gone)
    file.write_text(json.dumps(document))
    readers: list[list[str]] = []
    plain = scoring.bank_of

    def bank_of(members: Sequence[Any]) -> Bank:
        readers.append([member.measure.cell for member in members])
        return plain(members)

    monkeypatch.setattr(scoring, "bank_of", bank_of)
    suggested(project, "hope")
    assert readers == [[gone]]
    again: Mapping[str, Any] = kept(project)["hope"]["values"]
    assert again[gone] == pytest.approx(row)
    assert {cell: again[cell] for cell in document["values"]} == document["values"]


def test_values_of_another_runs_root_are_used_and_not_copied(read: Project, tmp_path: Path) -> None:
    other = Project(path=tmp_path)
    (tmp_path / "data").symlink_to(read.path / "data")
    found = suggested(other, "hope", grids=[read.path / "runs"])
    assert found.readings.now == 0
    assert len(found.readings.n_texts) == 5
    assert not (tmp_path / "runs" / "suitability").exists()


def test_other_data_than_the_cells_were_trained_on_is_not_read(read: Project, tmp_path: Path) -> None:
    project = unread(read, tmp_path / "copy")
    (file,) = (project.path / "data" / "condolence").iterdir()
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    found = suggested(project, "hope")
    (problem,) = found.problems
    assert problem.startswith("the training texts of condolence were not read")
    assert set(found.readings.n_texts) == {"hope", *GRID} - {"condolence"}
    assert set(kept(project)) == {"hope", *GRID} - {"condolence"}


def test_an_undefined_value_is_kept_as_unknown(read: Project, tmp_path: Path) -> None:
    project = copy(read, tmp_path / "copy")
    root = RunsRoot(project.path / "runs")
    (file,) = (project.path / "runs" / "suitability").glob("hope-*.json")
    there = suitability.read(root, file.stem)
    assert there is not None
    values = {cell: {**row, "log_me": None} for cell, row in there.values.items()}
    suitability.add(root, file.stem, replace(there, values=values))
    (ranking,) = suggested(project, "hope").rankings
    assert all(np.isnan(one.values["log_me"]) and np.isfinite(one.expected) for one in ranking.candidates)
