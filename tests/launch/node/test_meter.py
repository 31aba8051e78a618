"""What a pack of a job has spent, by its share of the GPUs and their power."""

import time

import pytest

from empslurm import provenance
from empslurm.launch.node.meter import Meter, watts


def test_packs_share_the_gpus_time_and_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(provenance, "gpus", lambda: [{"power.draw": "150"}, {"power.draw": "210"}])
    of = Meter([4, 5, 6], gpus=2, n_slots=2)
    now = 10.0
    of.look()
    assert of.energy_ws == 0.0  # not at every look
    now = 100.0
    of.look()
    assert of.energy_ws == 36_000.0
    of.restart([6])  # it waited for a slot before
    assert of.spent(4) == {"wall_s": 100.0, "gpu_s": 100.0, "energy_wh": 5.0}
    now = 150.0
    of.look()
    assert of.spent(5) == {"wall_s": 150.0, "gpu_s": 150.0, "energy_wh": 7.5}
    assert of.spent(6) == {"wall_s": 50.0, "gpu_s": 50.0, "energy_wh": 2.5}
    assert of.spent(4)["wall_s"] == 50.0


def test_a_pack_alone_in_its_job_has_all_of_its_gpus() -> None:
    assert Meter([7], gpus=4, n_slots=8).share == 1.0


@pytest.mark.parametrize(
    ("readings", "total"), [(["61.5", "8"], 69.5), ([None, "[N/A]", "12.25", 2.5], 14.75), ([], 0.0), (["nan"], 0.0)]
)
def test_power_that_is_not_reported_counts_nothing(
    monkeypatch: pytest.MonkeyPatch, readings: list[str | float | None], total: float
) -> None:
    monkeypatch.setattr(provenance, "gpus", lambda: [{"name": "x", "power.draw": reading} for reading in readings])
    assert watts() == total
    monkeypatch.setattr(provenance, "gpus", lambda: [{"name": "x"}])
    assert watts() == 0.0
