"""Trials on a node: drawn when claimed, resumed bit for bit, pruned, never tested, taken over from dead processes."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from empslurm.cells import Cell, TrialCell
from empslurm.config import BANKED, Adapter, Search, Trial
from empslurm.plan import Pack
from empslurm.search.results import finished_trials
from empslurm.search.sampler import Sampler
from empslurm.store import predictions
from empslurm.store.claims import local_liveness
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from empslurm.train import run as runs
from empslurm.train.loop import Settings
from empslurm.train.tally import Tally
from tests.library import library
from tests.train.world import TRAINING, InventedNode, baseline

KINDS = ("seq_bn", "lora", "prefix_tuning")


def search(*kinds: str, **changes: Any) -> Search:
    adapters = tuple(Adapter(kind=kind) for kind in kinds)
    made = Search(adapters=adapters, lr_low=5e-3, lr_high=5e-3, batch_size_low=8, batch_size_high=8, sampler="random")
    return replace(made, **{"training": TRAINING, "pruner": "none", **changes})


def trial(number: int, of: Search) -> TrialCell:
    like = baseline()
    return TrialCell.like(like, trial=Trial(number=number, search=of))


@pytest.fixture(autouse=True)
def invented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "Node", lambda root, *_: InventedNode(root))


def run(
    root: RunsRoot, cells: Sequence[Cell], others: tuple[TrialCell, ...] = (), stop_after: int | None = None
) -> Tally:
    """One process's run; `stop_after`: the stop flag is true after so many checks."""
    looks = iter(range(10**6))
    stop = (lambda: next(looks) >= stop_after) if stop_after is not None else (lambda: False)

    class Asked:
        def __call__(self) -> bool:
            return stop()

    kept, runs.Stop = runs.Stop, Asked  # type: ignore[misc, assignment]
    try:
        return runs.run_packs(
            [Pack(cells=tuple(cells), wave=0)],
            root=root,
            data_root=root.path,
            registry=registry(),
            settings=Settings(),
            alive=local_liveness,
            identity={},
            others=others,
        )
    finally:
        runs.Stop = kept  # type: ignore[misc]


def outcome(root: RunsRoot, cell: TrialCell) -> tuple[Any, ...]:
    folder = root.cell(cell.id)
    result = folder.result()
    assert result is not None
    read = predictions.read(folder.verify(result) / predictions.NAME)
    assert set(read) == {"validation"}
    return result["history"], result["best_epoch"], result["trial"]["parameters"], read["validation"].outputs.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_that_was_stopped_is_resumed_to_the_bit(kind: str, tmp_path: Path) -> None:
    if kind not in BANKED:
        library()
    cell = trial(0, search(kind))
    whole, parts = RunsRoot(tmp_path / "whole"), RunsRoot(tmp_path / "parts")
    assert run(whole, [cell]).done == [cell.id]
    for stop_after in (4, 5, 6):
        assert run(parts, [cell], stop_after=stop_after).interrupted
    assert run(parts, [cell]).done == [cell.id]
    assert len(parts.cell(cell.id).claims()) == 4
    assert outcome(whole, cell) == outcome(parts, cell)


def test_a_trials_result_has_no_test_score_and_its_study_knows_it(tmp_path: Path) -> None:
    root, cell = RunsRoot(tmp_path), trial(0, search("seq_bn"))
    run(root, [cell])
    result = root.cell(cell.id).result()
    assert result is not None
    assert "test" not in result
    study = Sampler(root, cell)
    (known,) = study.storage.get_all_trials(study.study_id)
    assert known.value == result["validation"][result["metric"]]
    assert json.loads((root.cell(cell.id).path / "cell.json").read_text()) == cell.identity()


def test_the_best_trial_is_the_baseline_of_its_parameters(tmp_path: Path) -> None:
    """So a frozen winner needs no new training, and a search measures what a grid will train."""
    root, cell = RunsRoot(tmp_path), trial(0, search("seq_bn"))
    run(root, [cell])
    (one,) = finished_trials(root, [cell])[cell.target]
    alone = replace(baseline(), adapter=one.adapter, training=one.training)
    run(root, [alone])
    result = root.cell(alone.id).result()
    assert result is not None
    assert result["history"] == outcome(root, cell)[0]


def test_a_trial_below_the_others_is_pruned_and_counts_as_finished(tmp_path: Path) -> None:
    root = RunsRoot(tmp_path)
    of = search("seq_bn", pruner="median", lr_low=1e-2, lr_high=1e-2)
    cells = [trial(number, of) for number in range(6)]
    run(root, cells[:5])
    study = Sampler(root, cells[5])
    root.cell(cells[5].id).create(cells[5])
    study.draw(cells[5])
    for known in study.storage.get_all_trials(study.study_id)[:5]:
        assert known.value == study.storage.get_trial(0).value  # one seed, one configuration: the same run
    path = root.cell(cells[5].id).path / "parameters.json"
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "parameters": {**value["parameters"], "lr": 1e-6}}))
    run(root, cells)
    found = finished_trials(root, cells)[cells[0].target]
    assert [one.outcome for one in found] == ["complete"] * 5 + ["pruned"]
    assert len(found[5].epochs) == 2


def test_what_a_dead_process_left_is_taken_over_by_a_worker_of_the_same_study_only(tmp_path: Path) -> None:
    root = RunsRoot(tmp_path)
    mine, other = search("seq_bn"), search("lora")
    dead, waiting, foreign = trial(1, mine), trial(2, mine), trial(0, other)
    assert run(root, [dead], stop_after=4).interrupted
    tally = run(root, [trial(0, mine)], others=(trial(0, mine), dead, waiting, foreign))
    assert sorted(tally.done) == sorted(cell.id for cell in (trial(0, mine), dead, waiting))
    assert root.cell(foreign.id).claim() is None


def test_a_trial_whose_study_is_damaged_fails_with_the_reason(tmp_path: Path) -> None:
    root, cell = RunsRoot(tmp_path), trial(0, search("seq_bn"))
    (root.searches / cell.search_name).mkdir(parents=True)
    (root.searches / cell.search_name / "journal.log").write_text("torn\n{}\n")
    assert run(root, [cell]).failed == [cell.id]
    assert "rebuilt from the trials' folders" in root.cell(cell.id).error()["message"]  # type: ignore[index]
