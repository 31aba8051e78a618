"""Costs are sums over journals, and estimates have bounds."""

from dataclasses import replace
from pathlib import Path

import pytest

from empslurm.cli.plan import cost_lines
from empslurm.config import Backbone
from empslurm.launch import cost, journal
from empslurm.launch.cost import Measured
from empslurm.launch.profile import Profile
from empslurm.launch.submission_dir import SubmissionDir
from empslurm.plan import packs
from empslurm.store.runs import RunsRoot
from tests.gather.grids import baseline, finish
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
        (Profile(name="p", kind="local"), None, 3),
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
