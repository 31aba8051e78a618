"""From finished trials to the second stage, the winners and a preset that a grid manifest reads back."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from empslurm.cells import Baseline, Cell, TrialCell
from empslurm.config import Adapter
from empslurm.errors import DamagedError, ManifestError, UsageError
from empslurm.manifest.load import load_manifest
from empslurm.plan import Inputs, Known, Plan, decide, expand, packs
from empslurm.search.results import (
    Finished,
    best_trial,
    decimal,
    finished_trial,
    preset_text,
    scores_by_type,
    winners,
    with_second_stage,
)
from empslurm.store.cell_folder import CellState

SEARCH = """\
name: hunt
kind: search
tasks: [epitome_er, news_empathy]
n_trials: 3
seeds: [1, 2]
space: {adapters: [seq_bn, lora, {kind: compacter, reduction_factor: 8}]}
second_stage: {n_types: 2}
training: {epochs: 4, max_length: 24}
"""
GRID = """\
name: grid
tasks: [epitome_er, news_empathy]
seeds: [1, 2]
training: {preset: found, max_length: 24}
"""
SCORES = {"epitome_er": (0.5, 0.9, 0.2), "news_empathy": (0.1, None, 0.3)}
KINDS = ("seq_bn", "lora", "compacter")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "manifests" / "presets").mkdir(parents=True)
    (tmp_path / "manifests" / "hunt.yaml").write_text(SEARCH)
    (tmp_path / "manifests" / "grid.yaml").write_text(GRID)
    return tmp_path / "manifests"


def plan_of(path: Path, hidden_size: int | None = 384) -> Plan:
    manifest = load_manifest(path)
    raw = dict.fromkeys(manifest.data, "raw")
    known = dict.fromkeys(manifest.backbones, Known(digest="w", hidden_size=hidden_size))
    return expand(manifest, Inputs(raw=raw, missing={}, notes={}, backbones=known))


def result(cell: TrialCell, score: float | None, kind: str, **changes: Any) -> dict[str, Any]:
    parameters = {"adapter": kind, "lr": 1e-4 * (cell.trial.number + 1), "batch_size": 10 + cell.trial.number}
    drawn = {"parameters": parameters, "outcome": "complete", "started": 0.0, "wall_s": 1.0, "n_known": 0, **changes}
    history = [{"epoch": 1, "m": score}]
    return {"metric": "m", "validation": {"m": score}, "best_epoch": 1, "history": history, "trial": drawn}


def finished(plan: Plan) -> dict[str, list[Finished]]:
    made: dict[str, list[Finished]] = {}
    for cell in plan.cells:
        if isinstance(cell, TrialCell):
            number = cell.trial.number
            one = finished_trial(cell, result(cell, SCORES[cell.target][number], KINDS[number]))
            made.setdefault(cell.target, []).append(one)
    return made


def searches(cells: Iterable[Cell]) -> set[str]:
    """The names of the searches that trials belong to."""
    return {cell.search_name for cell in cells if isinstance(cell, TrialCell)}


def second_scores(plan: Plan, scores: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for cell in plan.cells:
        if isinstance(cell, Baseline):
            row = made.setdefault(cell.target, {}).setdefault(cell.adapter.kind, {})
            row[cell.seed] = (cell, scores[cell.target][cell.adapter.kind] + cell.seed / 100, cell.seed + 1)
    return made


def test_a_search_has_its_trials_and_more_can_be_added_to_the_same_studies(folder: Path) -> None:
    plan = plan_of(folder / "hunt.yaml")
    assert [cell.kind for cell in plan.cells] == ["trial"] * 6
    assert {cell.seed for cell in plan.cells} == {1}
    (folder / "hunt.yaml").write_text(SEARCH.replace("n_trials: 3", "n_trials: 5"))
    more = plan_of(folder / "hunt.yaml")
    assert set(plan.by_id) < set(more.by_id)
    assert searches(more.cells) == searches(plan.cells)
    (folder / "hunt.yaml").write_text(SEARCH + "sampler: random\n")
    assert not searches(plan_of(folder / "hunt.yaml").cells) & searches(plan.cells)


def test_trials_are_dealt_in_turn_to_the_processes_of_their_study(folder: Path) -> None:
    made = packs(plan_of(folder / "hunt.yaml").cells, pack_size=2)
    numbers = [[cell.trial.number for cell in pack.cells if isinstance(cell, TrialCell)] for pack in made]
    assert numbers == [[0, 2], [1], [0, 2], [1]]
    assert all(len(searches(pack.cells)) == 1 for pack in made)


def test_a_space_that_does_not_fit_the_backbone_is_refused_by_the_plan_with_the_reason(folder: Path) -> None:
    plan = plan_of(folder / "hunt.yaml", hidden_size=20)
    decisions = decide(plan, {cell: CellState(state="pending") for cell in plan.by_id})
    assert {decision.action for decision in decisions} == {"skip"}
    assert "compacter's phm_dim 4 must divide the hidden size and the bottleneck size" in decisions[0].why
    assert "the bottleneck size is 2" in decisions[0].why
    assert "write `reduction_factor: 5`" in decisions[0].why


def test_the_second_stage_waits_for_every_trial_and_then_trains_the_best_types_everywhere(folder: Path) -> None:
    plan = plan_of(folder / "hunt.yaml")
    found = finished(plan)
    early = with_second_stage(plan, {**found, "news_empathy": found["news_empathy"][:2]})
    assert early.cells == plan.cells
    assert early.waiting == "the second stage is planned when all trials are finished; 1 are not"
    whole = with_second_stage(plan, found)
    second = [cell for cell in whole.cells if isinstance(cell, Baseline)]
    assert whole.waiting == ""
    # Ranks: seq_bn 2 and 2, lora 1 and 3 (undefined), compacter 3 and 1. Equals keep the order of the space.
    kinds = [(cell.target, cell.adapter.kind, cell.seed) for cell in second]
    assert kinds == [(task, kind, seed) for task in SCORES for kind in ("seq_bn", "lora") for seed in (1, 2)]
    by_task = {cell.target: (cell.training.batch_size, cell.training.lr) for cell in second}
    assert by_task == {"epitome_er": (11, 2e-4), "news_empathy": (12, pytest.approx(3e-4))}


def test_only_complete_trials_with_a_score_can_win(folder: Path) -> None:
    trials = finished(plan_of(folder / "hunt.yaml"))["epitome_er"]
    best = best_trial(trials)
    assert best is not None
    assert best.validation == 0.9
    pruned = [replace(one, outcome="pruned") if one is best else one for one in trials]
    assert best_trial(pruned) is trials[0]
    assert "lora" not in scores_by_type(pruned)
    assert best_trial([replace(one, validation=None) for one in trials]) is None


def test_frozen_winners_are_read_back_by_a_grid_to_the_bit_and_share_the_second_stages_cells(folder: Path) -> None:
    plan = with_second_stage(plan_of(folder / "hunt.yaml"), finished(plan_of(folder / "hunt.yaml")))
    kinds = sorted({cell.adapter.kind for cell in plan.cells if isinstance(cell, Baseline)})
    first, other = kinds
    scores: dict[str, dict[str, float]] = {
        "epitome_er": {first: 0.4, other: 0.6},
        "news_empathy": {first: 0.5, other: 0.2},
    }
    second = second_scores(plan, scores)
    chosen = winners(plan, finished(plan), second, overall=False)
    assert {task: one.adapter.kind for task, one in chosen.items()} == {"epitome_er": other, "news_empathy": first}
    (folder / "presets" / "found.yaml").write_text(preset_text("hunt", chosen))
    grid = plan_of(folder / "grid.yaml")
    baselines = {cell.id for cell in grid.cells if cell.kind == "baseline"}
    assert baselines == {cell for one in chosen.values() for cell in one.cells}


def test_nothing_is_frozen_before_all_that_decides_is_there(folder: Path) -> None:
    plan = plan_of(folder / "hunt.yaml")
    with pytest.raises(UsageError, match="a search must be finished"):
        winners(with_second_stage(plan, {}), {}, {}, overall=False)
    whole = with_second_stage(plan, finished(plan))
    with pytest.raises(UsageError, match="8 cells of the second stage have no result"):
        winners(whole, finished(plan), {}, overall=False)
    (folder / "hunt.yaml").write_text(SEARCH.replace("{n_types: 2}", "null"))
    alone = plan_of(folder / "hunt.yaml")
    early = {**finished(alone), "news_empathy": finished(alone)["news_empathy"][:1]}
    with pytest.raises(UsageError, match="but 2 trials have no result; submit it again"):
        winners(with_second_stage(alone, early), early, {}, overall=False)


def test_a_type_whose_score_is_undefined_in_a_seed_cannot_win_and_does_not_stop_the_others(folder: Path) -> None:
    plan = with_second_stage(plan_of(folder / "hunt.yaml"), finished(plan_of(folder / "hunt.yaml")))
    second = second_scores(plan, {task: {"seq_bn": 0.4, "lora": 0.6} for task in SCORES})
    cell, _, epoch = second["news_empathy"]["lora"][2]
    second["news_empathy"]["lora"][2] = (cell, None, epoch)
    chosen = winners(plan, finished(plan), second, overall=False)
    assert {task: one.adapter.kind for task, one in chosen.items()} == {"epitome_er": "lora", "news_empathy": "seq_bn"}
    overall = winners(plan, finished(plan), second, overall=True)
    assert {one.adapter.kind for one in overall.values()} == {"seq_bn"}
    second["news_empathy"]["seq_bn"][1] = (cell, None, epoch)
    with pytest.raises(UsageError, match="none has one for news_empathy; increase `n_trials`"):
        winners(plan, finished(plan), second, overall=False)


def test_one_type_for_all_is_the_best_mean_rank_and_without_a_second_stage_the_best_trials_win(folder: Path) -> None:
    plan = with_second_stage(plan_of(folder / "hunt.yaml"), finished(plan_of(folder / "hunt.yaml")))
    first, other = sorted({cell.adapter.kind for cell in plan.cells if isinstance(cell, Baseline)})
    second = second_scores(plan, {task: {first: 0.4, other: 0.6} for task in SCORES})
    assert {one.adapter.kind for one in winners(plan, finished(plan), second, overall=True).values()} == {other}
    (folder / "hunt.yaml").write_text(SEARCH.replace("{n_types: 2}", "null"))
    alone = plan_of(folder / "hunt.yaml")
    chosen = winners(with_second_stage(alone, finished(alone)), finished(alone), {}, overall=False)
    assert {task: one.adapter.kind for task, one in chosen.items()} == {
        "epitome_er": "lora",
        "news_empathy": "compacter",
    }


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("training: {lr: 0.1}", "training.lr must be left to the trials"),
        ("space: {lr: {low: 0.1, high: 0.01}}", "space.lr must go from low to high"),
        ("space: {adapters: [lora, lora]}", "space.adapters[1] must be another kind, but lora is there already"),
        ("space: {adapters: [{kind: lora, phm_dim: 2}]}", "space.adapters[0].phm_dim must be a field that lora uses"),
        ("space: {adapters: [lroa]}", "did you mean lora?"),
        ("pairs: none", "pairs must be a known key"),
        ("sampler: grid", "sampler must be one of tpe, random"),
    ],
)
def test_a_search_manifest_is_strict(folder: Path, line: str, sentence: str) -> None:
    (folder / "hunt.yaml").write_text(f"name: hunt\nkind: search\ntasks: [hope]\nn_trials: 3\n{line}\n")
    with pytest.raises(ManifestError) as caught:
        load_manifest(folder / "hunt.yaml")
    assert sentence in str(caught.value)


def test_a_misspelt_kind_gives_no_error_but_its_own(folder: Path) -> None:
    (folder / "hunt.yaml").write_text(SEARCH.replace("kind: search", "kind: serach"))
    with pytest.raises(ManifestError) as caught:
        load_manifest(folder / "hunt.yaml")
    (problem,) = caught.value.problems
    assert "is the string 'serach'; did you mean search?" in problem


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("kind: lora", "kind: lora, phm_dim: 4"), "but lora does not use phm_dim"),
        (("lr: 0.0002", "lr: 2e-4"), "lr must be a number above 0 and at most 1, but is the string '2e-4'"),
        (("selected_on: validation", "selected_on: test"), "selected_on must be validation"),
    ],
)
def test_a_frozen_preset_is_read_strictly(folder: Path, change: tuple[str, str], sentence: str) -> None:
    (folder / "hunt.yaml").write_text(SEARCH.replace("{n_types: 2}", "null"))
    plan = plan_of(folder / "hunt.yaml")
    text = preset_text("hunt", winners(plan, finished(plan), {}, overall=False))
    assert change[0] in text
    (folder / "presets" / "found.yaml").write_text(text.replace(*change))
    with pytest.raises(ManifestError) as caught:
        load_manifest(folder / "grid.yaml")
    assert sentence in str(caught.value)
    (folder / "presets" / "found.yaml").unlink()
    with pytest.raises(ManifestError, match="preset must be a known preset"):
        load_manifest(folder / "grid.yaml")


def test_small_numbers_are_written_as_a_strict_reader_takes_them() -> None:
    assert [decimal(value) for value in (1e-05, 3.2e-06, 0.001, 1.0)] == ["1.0e-05", "3.2e-06", "0.001", "1.0"]


def test_a_foreign_result_is_damage(folder: Path) -> None:
    cell = plan_of(folder / "hunt.yaml").cells[0]
    assert isinstance(cell, TrialCell)
    with pytest.raises(DamagedError, match="must be a trial's"):
        finished_trial(cell, result(cell, 0.1, "prefix_tuning"))
    assert finished_trial(cell, result(cell, 0.1, "lora")).adapter == Adapter(kind="lora")
