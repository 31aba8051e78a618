"""Costs are sums over journals, and estimates have bounds."""

from pathlib import Path

import pytest

from empslurm.cli.plan import cost_lines
from empslurm.config import Backbone
from empslurm.launch import cost, journal
from empslurm.launch.cost import Measured
from empslurm.launch.profile import Profile
from empslurm.launch.submission_dir import SubmissionDir
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
    (line,) = cost_lines({"hours": hours, "space": None, "backbones": {}}, profile)
    assert line.startswith("hours on p: 0.07 GPU-hours (from 1 finished cell; ")
    (line,) = cost_lines({"hours": {**hours, "gpu_h": [0.05, 0.07, 0.1]}, "space": None, "backbones": {}}, profile)
    assert "0.07 GPU-hours, between 0.05 and 0.10 (" in line
    (line,) = cost_lines({"hours": None, "space": None, "backbones": {}}, profile)
    assert line == "hours on p: not known, since no cell of this manifest has finished on a GPU yet"


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 2.5), (1.0, 4.0), (0.1, 1.3)])
def test_quantiles_are_linear_between_values(share: float, value: float) -> None:
    assert cost.quantile([4.0, 1.0, 3.0, 2.0], share) == pytest.approx(value)
