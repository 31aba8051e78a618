"""A search's journal is shared by processes, none of which can lose a trial or count it twice."""

import json
import multiprocessing
import os
import signal
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from empslurm import files, ids
from empslurm.cells import DataIdentity, TrialCell
from empslurm.config import Adapter, Backbone, DataUse, Search, Training, Trial
from empslurm.errors import DamagedError
from empslurm.search.results import finished_trials
from empslurm.search.sampler import Sampler
from empslurm.store.claims import local_liveness
from empslurm.store.runs import RunsRoot

SEARCH = Search(sampler="random", pruner="none", training=Training(epochs=3))
N_TRIALS = 12


def trial(number: int, search: Search = SEARCH) -> TrialCell:
    use = DataIdentity(dataset="news", raw="raw", split="family-1-9", use=DataUse(), labels="all", fraction=1.0)
    return TrialCell(
        target="news_empathy",
        seed=1,
        data=use,
        backbone=Backbone(),
        backbone_digest="sha256-1",
        trial=Trial(number=number, search=search),
    )


def finish(root: RunsRoot, cell: TrialCell, scores: list[float | None], outcome: str = "complete") -> bool:
    """Draw and commit a trial as a node does, training left out; False where another process holds or finished it."""
    folder = root.cell(cell.id)
    folder.create(cell)
    claim = None if folder.result() is not None else folder.take(local_liveness)
    if claim is None:
        return False
    study = Sampler(root, cell)
    study.draw(cell)
    drawn = study.drawn(cell)
    folder.output(claim).mkdir()
    (folder.output(claim) / "provenance.json").write_text("{}")
    known = [score for score in scores if score is not None]
    folder.save(
        claim,
        {
            "metric": "pearson",
            "validation": {"pearson": max(known, default=None)},
            "best_epoch": 1,
            "history": [{"epoch": place + 1, "pearson": score} for place, score in enumerate(scores)],
            "trial": {
                "parameters": asdict(drawn.parameters),
                "outcome": outcome,
                "started": drawn.started,
                "wall_s": 1.0,
                "n_known": drawn.n_known,
            },
        },
    )
    folder.release(claim)
    return True


def score(cell: TrialCell) -> float:
    return cell.trial.number / 100


def work(runs: str, die_after: int | None) -> None:
    """A worker: takes what it can get in order; one that is to die does so in the midst of a trial, by SIGKILL."""
    root = RunsRoot(Path(runs))
    for number in range(N_TRIALS):
        cell = trial(number)
        if die_after is not None and number >= die_after:
            folder = root.cell(cell.id)
            folder.create(cell)
            if folder.result() is None and folder.take(local_liveness):
                Sampler(root, cell).draw(cell)
                os.kill(os.getpid(), signal.SIGKILL)
        finish(root, cell, [score(cell)])


def journal_states(root: RunsRoot) -> list[Any]:
    study = Sampler(root, trial(0))
    study.catch_up(0)
    return list(study.storage.get_all_trials(study.study_id))


@pytest.mark.heavy
def test_killed_workers_lose_no_trial_and_count_none_twice(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=work, args=(str(tmp_path), dies)) for dies in (2, 5, None)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert -signal.SIGKILL in [worker.exitcode for worker in workers]
    root = RunsRoot(tmp_path)
    drawn = {cell.id: cell.parameters_file.read_bytes() for cell in root.cells()}
    work(str(tmp_path), None)  # the next worker takes over what the dead ones held
    found = finished_trials(root, [trial(number) for number in range(N_TRIALS)])["news_empathy"]
    assert [one.cell.trial.number for one in found] == list(range(N_TRIALS))
    assert {cell: root.cell(cell).parameters_file.read_bytes() for cell in drawn} == drawn
    told = journal_states(root)[:N_TRIALS]
    assert [known.value for known in told] == [number / 100 for number in range(N_TRIALS)]
    assert len({known.params["lr"] for known in told}) == N_TRIALS


def test_a_lost_journal_is_made_again_from_the_trials(tmp_path: Path) -> None:
    root = RunsRoot(tmp_path)
    outcomes = ["complete", "pruned", "complete"]
    for number, outcome in enumerate(outcomes):
        finish(root, trial(number), [0.1, 0.2 + number / 10], outcome)
    finish(root, trial(3), [None])
    before = [(one.state, one.value, one.params, one.intermediate_values) for one in journal_states(root)]
    (root.searches / trial(0).search_name / "journal.log").unlink()
    study = Sampler(root, trial(0))
    assert study.catch_up(4) == 4
    after = [(one.state, one.value, one.params, one.intermediate_values) for one in journal_states(root)]
    assert after == before
    assert after[3][1] == -1.0  # an undefined correlation is the sampler's worst, not nothing


def test_draws_are_a_function_of_the_number_for_the_random_sampler_and_lie_in_the_space(tmp_path: Path) -> None:
    search = replace(SEARCH, adapters=(Adapter(kind="lora", rank=4), Adapter()), batch_size_low=10, batch_size_high=12)
    drawn = []
    for runs in ("one", "two"):
        root = RunsRoot(tmp_path / runs)
        order = range(6) if runs == "one" else reversed(range(6))
        cells = {number: trial(number, search) for number in order}
        for cell in cells.values():
            root.cell(cell.id).create(cell)
        asked = {number: Sampler(root, cell).draw(cell) for number, cell in cells.items()}
        assert {cell.id for cell in asked.values()} == {cell.id for cell in cells.values()}
        drawn.append({number: (cell.adapter, cell.training) for number, cell in asked.items()})
    assert drawn[0] == drawn[1]
    assert {adapter.kind for adapter, _ in drawn[0].values()} == {"lora", "seq_bn"}
    assert all(1e-6 <= training.lr <= 1e-3 and 10 <= training.batch_size <= 12 for _, training in drawn[0].values())


@pytest.mark.heavy
def test_the_tpe_sampler_learns_from_other_processes_results(tmp_path: Path) -> None:
    """Only one adapter kind scores: after the random start it is drawn more often than by chance."""
    root = RunsRoot(tmp_path)
    search = replace(SEARCH, sampler="tpe", adapters=(Adapter(), Adapter(kind="lora"), Adapter(kind="prompt_tuning")))
    kinds = []
    for number in range(30):
        cell = trial(number, search)
        root.cell(cell.id).create(cell)
        kinds.append(Sampler(root, cell).draw(cell).adapter.kind)
        finish(root, cell, [0.9 if kinds[-1] == "lora" else 0.1])
    assert kinds[10:].count("lora") > 10  # chance gives 6 or 7 of 20


def test_a_trial_below_the_median_is_pruned_after_its_second_epoch(tmp_path: Path) -> None:
    root = RunsRoot(tmp_path)
    search = replace(SEARCH, pruner="median")
    for number in range(5):
        finish(root, trial(number, search), [0.4, 0.5, 0.6])
    cell = trial(5, search)
    root.cell(cell.id).create(cell)
    study = Sampler(root, cell)
    study.draw(cell)
    assert not study.prune(cell, [0.1], "pearson")
    assert study.prune(cell, [0.1, 0.1], "pearson")
    assert (
        not Sampler(root, trial(6, search)).prune(trial(6, search), [0.5, 0.55], "pearson") if study.catch_up(7) else 0
    )


def test_a_search_goes_on_without_a_result_that_is_no_trials(tmp_path: Path) -> None:
    root = RunsRoot(tmp_path)
    for number in range(3):
        finish(root, trial(number), [0.5])
    path = root.cell(trial(1).id).result_file
    value = {key: item for key, item in json.loads(path.read_text()).items() if key not in ("trial", "seal")}
    files.write_json(path, {**value, "seal": ids.digest(value)})
    (root.searches / trial(0).search_name / "journal.log").unlink()
    cell = trial(3)
    root.cell(cell.id).create(cell)
    assert Sampler(root, cell).draw(cell).training.epochs == SEARCH.training.epochs
    assert Sampler(root, cell).drawn(cell).n_known == 2
    with pytest.raises(DamagedError, match="must be a trial's, but is not: the whole must have trial"):
        finished_trials(root, [trial(number) for number in range(3)])


def test_damage_is_named(tmp_path: Path) -> None:
    root, cell = RunsRoot(tmp_path), trial(0)
    finish(root, cell, [0.5])
    root.cell(cell.id).parameters_file.write_text(json.dumps({"parameters": {"lr": 1e-4}}))
    with pytest.raises(DamagedError, match="parameters must have adapter, but does not; move the folder away"):
        Sampler(root, cell).draw(cell)
    files.write_bytes(root.searches / cell.search_name / "journal.log", b"{torn\n{}\n")
    with pytest.raises(DamagedError, match="the trials' folders make it again"):
        Sampler(root, cell)
