"""Costs are sums over journals, and estimates have bounds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from empslurm.cli.plan import cost_lines, energy_lines
from empslurm.config import Backbone
from empslurm.launch import cost, journal, submission
from empslurm.launch.cost import Measured
from empslurm.launch.profile import Profile
from empslurm.launch.submission_dir import SubmissionDir
from empslurm.plan import Pack, packs
from empslurm.store.runs import RunsRoot
from tests.gather.grids import baseline, finish, transfer
from tests.launch.test_arrays import plan_of


def test_spent_is_the_sum_over_all_submissions_of_a_manifest(tmp_path: Path) -> None:
    root = RunsRoot(tmp_path)
    for number, name in enumerate(("demo", "demo", "other")):
        kept = journal.journal(SubmissionDir(tmp_path / "submissions" / f"2026010{number}T000000Z-{name}-abc"), 0)
        kept.add("start", host="node1")
        kept.add("end", reason="done", wall_s=1800.0, gpu_s=3600.0, energy_wh=100.0)
    total = cost.spent(cost.journals(root, "demo"))
    assert (total.job_h, total.gpu_h, total.energy_wh, total.n_starts) == (1.0, 2.0, 200.0, 2)
    assert str(total) == "2.00 GPU-hours, 1.00 job-hours, 0.20 kWh in 2 starts (2 done)"


def test_no_estimate_without_a_measurement() -> None:
    assert cost.estimate(plan_of("small_grid").cells, []) is None


def test_an_estimate_takes_each_targets_own_tokens_and_brackets_the_rate() -> None:
    cells = plan_of("small_grid").cells
    todo = [next(cell for cell in cells if cell.target == "epitome_er"), cells[-1]]
    done = [
        Measured(target="epitome_er", kind="baseline", backbone=Backbone(), on_gpu=False, wall_s=wall_s, n_tokens=1000)
        for wall_s in (1.0, 2.0, 3.0)
    ]
    made = cost.estimate(todo, done)
    assert made is not None
    assert made.job_h == pytest.approx(2 * 2.0 / 3600)
    assert made.low_job_h == pytest.approx(2 * 1.2 / 3600)
    assert made.high_job_h == pytest.approx(2 * 2.8 / 3600)


def test_the_speed_of_one_backbone_says_nothing_of_another() -> None:
    fast, slow, unknown = Backbone(), Backbone(name="./slow"), Backbone(name="./unknown")
    todo = [baseline("epitome_er", backbone=item.name) for item in (fast, slow)]
    done = [
        Measured(target="epitome_er", kind="baseline", backbone=item, on_gpu=False, wall_s=wall_s, n_tokens=1000)
        for item, wall_s in ((fast, 1.0), (slow, 9.0), (slow, 9.0))
    ]
    todo += [replace(cell, seed=2) for cell in todo]
    made = cost.estimates(todo, done)
    assert {item: one.job_h * 3600 for item, one in made.items() if one} == pytest.approx({fast: 2.0, slow: 18.0})
    whole = cost.together(made.values())
    assert whole is not None
    assert (whole.n_cells, whole.n_measured, whole.job_h * 3600) == (4, 3, pytest.approx(20.0))
    made = cost.estimates([*todo, baseline("epitome_er", backbone=unknown.name)], done)
    assert made[unknown] is None
    assert cost.together(made.values()) is None
    assert cost.together([]) is None


def test_space_counts_each_backbones_parameters() -> None:
    small, large = Backbone(), Backbone(name="./large")
    grouped = packs([baseline("epitome_er", seed, backbone=item.name) for item in (small, large) for seed in (1, 2)])
    both = cost.space(grouped, {small: 1000, large: 9000}, 1)
    one, other = (
        cost.space([pack for pack in grouped if pack.cells[0].backbone == item], {item: size}, 1)
        for item, size in ((small, 1000), (large, 9000))
    )
    assert both.finished_bytes == one.finished_bytes + other.finished_bytes
    assert both.peak_bytes - both.finished_bytes == other.peak_bytes - other.finished_bytes == 9000 * 48


@pytest.mark.parametrize(
    ("profile", "device", "n"),
    [
        (Profile(name="p", kind="slurm", gpus=1), "GPU", 1),
        (Profile(name="p", kind="slurm"), "CPU", 2),
        (Profile(name="p", kind="local"), "CPU", 2),
    ],
)
def test_cells_of_another_kind_of_device_give_no_estimate(profile: Profile, device: str | None, n: int) -> None:
    done = [
        Measured(target="epitome_er", kind="baseline", backbone=Backbone(), on_gpu=on_gpu, wall_s=1.0, n_tokens=1000)
        for on_gpu in (False, False, True)
    ]
    assert cost.device_of(profile) == device
    assert len(cost.on_device(done, cost.device_of(profile))) == n


def test_the_provenance_says_whether_a_cell_ran_on_a_gpu(tmp_path: Path) -> None:
    root, cells = RunsRoot(tmp_path), [baseline("epitome_er", seed) for seed in (1, 2)]
    finish(root, cells[0])
    finish(root, cells[1], provenance={"wall_s": 1.0, "device": "cuda", "gpu": {"name": "NVIDIA L40S"}})
    assert [cell_cost.on_gpu for cell_cost in cost.measured(root, cells)] == [False, True]


def test_hours_are_never_between_a_number_and_itself() -> None:
    profile = Profile(name="p", kind="slurm", gpus=1)
    hours = {"job_h": [0.071, 0.071, 0.072], "gpu_h": [0.071, 0.071, 0.072], "n_measured": 1}
    (line,) = cost_lines({"n_cells": 6, "hours": hours, "space": None, "backbones": {}}, profile)
    assert line.startswith("hours on p: 0.07 GPU-hours (from 1 finished cell; ")
    (line,) = cost_lines(
        {"n_cells": 6, "hours": {**hours, "gpu_h": [0.05, 0.07, 0.1]}, "space": None, "backbones": {}}, profile
    )
    assert "0.07 GPU-hours, between 0.05 and 0.10 (" in line
    rows = {"minilm": {"n_cells": 3, "hours": hours}, "mpnet": {"n_cells": 3, "hours": None}}
    (line,) = cost_lines({"n_cells": 6, "hours": None, "space": None, "backbones": rows}, profile)
    assert line == "hours on p: not known, since no cell with mpnet has finished on a GPU yet"
    (line,) = cost_lines({"n_cells": 6, "hours": None, "space": None, "backbones": {}}, profile)
    assert line == "hours on p: not known, since no cell of this manifest has finished on a GPU yet"
    (line,) = cost_lines({"n_cells": 0, "hours": None, "space": None, "backbones": {}}, profile)
    assert line == "hours on p: 0, since nothing is left to run"


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 2.5), (1.0, 4.0), (0.1, 1.3)])
def test_quantiles_are_linear_between_values(share: float, value: float) -> None:
    assert cost.quantile([4.0, 1.0, 3.0, 2.0], share) == pytest.approx(value)


# ---- a cell's own cost -----------------------------------------------------------------------------------------------


def took(
    wall_s: float, n_tokens: int = 1000, *, target: str = "epitome_er", kind: str = "baseline", **changes: Any
) -> Measured:
    return Measured(
        target=target,
        kind=kind,
        backbone=Backbone(name="tiny"),
        on_gpu=True,
        wall_s=wall_s,
        n_tokens=n_tokens,
        **changes,
    )


def test_an_estimate_is_the_sum_of_its_cells_and_of_one_pass_per_pack() -> None:
    source, alone = baseline("news_empathy"), baseline("epitome_er")
    moved = [transfer(source, alone), transfer(replace(source, target="epitome_ex"), alone)]
    # A pass takes 3 s, a cell of it 1 s: alone 4 s, in a pack of 3 cells 2 s.
    done = [took(4.0, pack_size=1), *[took(2.0, kind="transfer", pack_size=3)] * 3]
    costs = cost.per_cell([alone, *moved], done, start_s=10.0)
    assert {(round(one.cell_s, 6), round(one.pack_s, 6)) for one in costs.values()} == {(1.0, 13.0)}
    whole = cost.estimate([alone, *moved], done, start_s=10.0)
    single = cost.estimate([alone, *moved], done, 1, start_s=10.0)
    assert whole is not None
    assert single is not None
    assert whole.job_h * 3600 == pytest.approx(2 * 13 + 3 * 1)
    assert single.job_h * 3600 == pytest.approx(3 * 13 + 3 * 1)


def test_each_kind_has_its_own_speed() -> None:
    done = [took(1.0, pack_size=1), took(3.0, kind="transfer", pack_size=8)]  # not a pass that is shared: slower in one
    alone = baseline("epitome_er")
    costs = cost.per_cell([alone, moved := transfer(baseline("news_empathy"), alone)], done)
    assert costs[alone.id].cell_s == pytest.approx(1.0)
    assert costs[moved.id].cell_s == pytest.approx(3.0)


def test_a_stuck_cell_counts_as_three() -> None:
    done = [*[took(1.0)] * 9, took(1000.0)]
    (only,) = cost.per_cell([baseline("epitome_er")], done).values()
    assert only.cell_s == pytest.approx(1.2)


def test_tokens_follow_the_data_fraction() -> None:
    done = [took(10.0, 1000), took(10.0, 400, fraction=0.25), took(10.0, 3000, target="epitome_ex")]
    cells = [
        baseline("epitome_er"),
        baseline("epitome_er", fraction=0.25),
        baseline("epitome_er", fraction=0.5),
        baseline("news_empathy"),
    ]
    costs = [cost.per_cell(cells, done)[cell.id] for cell in cells]
    assert [one.cell_s / costs[0].cell_s for one in costs] == pytest.approx([1.0, 0.4, 0.65, 2.15])
    assert [one.seen for one in costs] == [True, True, True, False]
    made = cost.estimate(cells, done)
    assert made is not None
    assert made.n_unseen == 1
    assert costs[3].low < costs[0].low
    assert costs[3].high > costs[0].high


@pytest.mark.parametrize(
    ("options", "gpus"),
    [
        ({}, 0.0),
        ({"gpus": 1}, 1.0),
        ({"gpus": 4}, 1.0),
        ({"gpus": 4, "packs_per_gpu": 2}, 0.5),
        ({"gpus": 4, "num_processes": 2}, 2.0),
        ({"gpus": 3, "num_processes": 2}, 3.0),  # one of the three is idle
        ({"gpus": 4, "packs_per_gpu": 4, "cpus": 8, "cpus_per_pack": 4}, 2.0),  # cores for two packs only
    ],
)
def test_a_pack_takes_its_share_of_the_gpus(options: Mapping[str, Any], gpus: float) -> None:
    assert cost.gpus_per_pack(Profile(name="p", kind="slurm", **options)) == gpus


# ---- submissions: start-up, energy, CO2e -----------------------------------------------------------------------------


def submitted(root: RunsRoot, profile: Profile, grouped: Sequence[Pack]) -> Path:
    made = submission.create(root, "demo", Path("data"), (), grouped, submission.node_settings(profile))
    return made.folder(root).path


def ended(folder: Path, index: int, **fields: Any) -> None:
    kept = journal.journal(SubmissionDir(folder), index)
    kept.add("start")
    kept.add("end", **{"reason": "done", **fields})


def test_the_start_of_packs_is_what_finished_jobs_needed_besides_training(tmp_path: Path) -> None:
    root, cells = RunsRoot(tmp_path), [baseline("epitome_er", seed) for seed in (1, 2, 3, 4)]
    folder = submitted(root, Profile(name="p", kind="slurm", gpus=1), packs(cells))
    done = [replace(took(100.0), cell=cell.id) for cell in cells[:3]]
    ended(folder, 0, wall_s=130.0, gpu_s=130.0)
    ended(folder, 1, wall_s=110.0, gpu_s=110.0)
    ended(folder, 2, wall_s=900.0, gpu_s=900.0, reason="stopped")
    ended(folder, 3, wall_s=900.0, gpu_s=900.0)  # its time was not measured
    assert cost.start_s(root, "demo", done, "GPU") == pytest.approx(20.0)
    assert cost.start_s(root, "demo", done, "CPU") == 0.0
    assert cost.start_s(root, "other", done, "GPU") == 0.0


def test_co2e_is_that_of_the_grid_that_was_stated(tmp_path: Path) -> None:
    root, grouped = RunsRoot(tmp_path), packs([baseline("epitome_er")])
    profile = Profile(name="p", kind="slurm", gpus=1)
    ended(submitted(root, profile, grouped), 0, wall_s=3600.0, gpu_s=3600.0, energy_wh=1000.0)
    assert cost.spent_on(root, "demo").co2e == ""
    assert "CO2e" not in str(cost.spent_on(root, "demo"))
    ended(submitted(root, replace(profile, grid_g_per_kwh=50.0), grouped), 0, wall_s=3600.0, gpu_s=3600.0)
    assert "CO2e not known, since no energy was measured" in str(cost.spent_on(root, "demo"))
    stated = replace(profile, grid_g_per_kwh=400.0)
    ended(submitted(root, stated, grouped), 0, wall_s=3600.0, gpu_s=3600.0, energy_wh=500.0)
    total = cost.spent_on(root, "demo")
    assert (total.energy_wh, total.stated_wh, total.co2e_g, total.n_starts) == (1500.0, 500.0, 200.0, 3)
    assert "1.50 kWh, 0.20 kg CO2e (at 50 and 400 g/kWh, of 0.50 kWh) in 3 starts (3 done)" in str(total)


def test_submissions_of_earlier_versions_state_no_grid(tmp_path: Path) -> None:
    root = RunsRoot(tmp_path)
    folder = submitted(root, Profile(name="p", kind="slurm", gpus=1, grid_g_per_kwh=400.0), packs([baseline("hope")]))
    ended(folder, 0, wall_s=1.0, energy_wh=500.0)
    assert cost.spent_on(root, "demo").co2e_g == 200.0
    header, *rest = (folder / "submission.jsonl").read_text().splitlines()
    value = json.loads(header)
    del value["settings"]["grid_g_per_kwh"]
    (folder / "submission.jsonl").write_text("\n".join([json.dumps(value), *rest]) + "\n")
    assert submission.load(folder / "submission.jsonl").settings is not None
    assert cost.spent_on(root, "demo").grid_g_per_kwh == ()
    (folder / "submission.jsonl").write_text("damaged")
    assert cost.spent_on(root, "demo").energy_wh == 500.0


def test_power_is_energy_by_gpu_time() -> None:
    events = [journal.Event(event="end", gpu_s=1800.0, energy_wh=150.0), journal.Event(event="end", gpu_s=99.0)]
    assert cost.watts([events]) == pytest.approx(300.0)
    assert cost.watts([events[1:]]) is None


def test_energy_is_estimated_from_measured_power_and_its_co2e_only_where_the_grid_is_stated() -> None:
    profile = Profile(name="p", kind="slurm", gpus=1)
    stated = replace(profile, grid_g_per_kwh=400.0)
    value = {"watts": 250.0, "kwh": [0.5, 1.0, 2.0], "co2e_g": None}
    (line,) = energy_lines(value, profile)
    assert line == "energy of the GPUs: 1.00 kWh, between 0.50 and 2.00 (at 250 W, as measured)"
    lines = energy_lines({**value, "co2e_g": [200.0, 400.0, 800.0]}, stated)
    assert lines[1] == "its CO2e: 0.40 kg, between 0.20 kg and 0.80 kg (at 400 g/kWh)"
    assert energy_lines(None, profile) == []
    (line,) = energy_lines(None, stated)
    assert "not known, since no job of this manifest has reported" in line
