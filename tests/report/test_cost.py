"""What the report says about the hardware and the energy of its cells; an unmeasured value is never 0."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from empslurm import reference
from empslurm.gather import cache, from_file, gather
from empslurm.launch.cost import Spent
from empslurm.report.analyses import analyse
from empslurm.report.sections.cost import cost
from empslurm.report.write import write
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from tests.gather.grids import ON_CPU, finish, grid

GPU = {"name": "NVIDIA A100-SXM4-40GB", "cuda": "12.4", "peak_memory_bytes": 2**30}
READING = {
    "uuid": "GPU-1",
    "name": "NVIDIA A100-SXM4-40GB",
    "driver_version": "550.54.15",
    "memory.total": 40960.0,
    "power.draw": 61.2,
}
ON_GPU = {"wall_s": 2.5, "device": "cuda:0", "gpu": GPU, "gpus": [READING]}
MIG = {"mig_uuid": "MIG-1", "mig_profile": "1g.5gb", "memory.total": None, "power.draw": None}


def facts(folder: Path, notes: Sequence[Mapping[str, Any]], spent: Spent | None = None) -> list[tuple[str, str]]:
    """The cost section's facts for cells with these provenance notes, in turn."""
    root = RunsRoot(folder / "runs")
    cells = grid(("epitome_er", "news_empathy"))
    for place, cell in enumerate(cells):
        finish(root, cell, provenance=notes[place % len(notes)])
    gathered = replace(gather(root, None, registry()), spent=spent)
    return cost(analyse(gathered, gathered.groups[0], ratings=reference.ratings()))


@pytest.mark.parametrize(
    ("note", "line"),
    [
        (ON_GPU, "cells on NVIDIA A100-SXM4-40GB, 40.0 GiB, driver 550.54.15"),
        # Results of earlier versions: numbers are text, and missing values may be text too.
        (
            {**ON_GPU, "gpus": [{**READING, "memory.total": "40960"}]},
            "cells on NVIDIA A100-SXM4-40GB, 40.0 GiB, driver 550.54.15",
        ),
        (
            {**ON_GPU, "gpus": [{**READING, "memory.total": "[N/A]"}]},
            "cells on NVIDIA A100-SXM4-40GB, memory not measured, driver 550.54.15",
        ),
        (
            {**ON_GPU, "gpu": {**GPU, "memory_bytes": 5 * 2**30}, "gpus": [{**READING, **MIG}]},
            "cells on NVIDIA A100-SXM4-40GB MIG 1g.5gb, 5.0 GiB, driver 550.54.15",
        ),
        (
            {**ON_GPU, "gpu": {**GPU, "name": "NVIDIA A100-SXM4-40GB MIG 1g.5gb"}, "gpus": [{**READING, **MIG}]},
            "cells on NVIDIA A100-SXM4-40GB MIG 1g.5gb, memory not measured, driver 550.54.15",
        ),
        (
            {**ON_GPU, "device": "cuda:1", "gpus": [READING, {**READING, "driver_version": "570.1"}]},
            "cells on NVIDIA A100-SXM4-40GB, 40.0 GiB, driver 570.1",
        ),
        (
            {**ON_GPU, "gpus": None},
            "cells on NVIDIA A100-SXM4-40GB, memory not measured, driver not measured",
        ),
        (ON_CPU, "cells on cpu"),
        ({**ON_CPU, "gpus": [READING]}, "cells on cpu"),  # a GPU that was there and not used
        ({"wall_s": 2.5}, "cells on hardware that was not measured"),
    ],
)
def test_the_hardware_is_named_as_far_as_it_was_recorded(tmp_path: Path, note: Mapping[str, Any], line: str) -> None:
    found = facts(tmp_path, [note])
    assert ("4", line) in found
    assert ("not measured", "energy") in found


def test_a_second_gather_remembers_the_hardware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = RunsRoot(tmp_path / "runs")
    (cell, *_) = grid(("epitome_er", "news_empathy"))
    finish(root, cell, provenance=ON_GPU)
    (first,) = gather(root, None, registry()).groups
    monkeypatch.setattr(cache, "verify", None)  # nothing is verified again
    (second,) = gather(root, None, registry()).groups
    names = ["device", "driver", "gpu_memory_mib", "mig_profile"]
    assert first.runs[names].equals(second.runs[names])
    assert second.runs["driver"].tolist() == ["550.54.15"]


def test_each_hardware_is_counted(tmp_path: Path) -> None:
    lines = [(n, what) for n, what in facts(tmp_path, [ON_GPU, ON_CPU]) if what.startswith("cells on")]
    assert lines == [("2", "cells on NVIDIA A100-SXM4-40GB, 40.0 GiB, driver 550.54.15"), ("2", "cells on cpu")]


@pytest.mark.parametrize(
    ("energy_j", "spent", "fact"),
    [
        ((None,), None, ("not measured", "energy")),
        ((0,), None, ("not measured", "energy")),
        (("[N/A]",), Spent(n_starts=2), ("not measured", "energy")),
        ((1.8e6,), None, ("2.00 kWh", "of energy, as recorded")),
        ((1.8e6, None), None, ("1.00 kWh", "of energy, as recorded (2 of 4 cells recorded it)")),
        (
            (None,),
            Spent(n_starts=2, energy_wh=500.0),
            ("0.50 kWh", "of energy, as the jobs of this manifest read it from their GPUs"),
        ),
    ],
)
def test_energy_is_what_was_measured(
    tmp_path: Path, energy_j: Sequence[Any], spent: Spent | None, fact: tuple[str, str]
) -> None:
    found = facts(tmp_path, [{**ON_GPU, "energy_j": value} for value in energy_j], spent)
    assert [(value, what) for value, what in found if "energy" in what] == [fact]


def test_the_page_shows_the_gpu_and_that_energy_was_not_measured(tmp_path: Path) -> None:
    root = RunsRoot(tmp_path / "runs")
    for cell in grid(("epitome_er", "news_empathy")):
        finish(root, cell, provenance=ON_GPU)
    written = write(gather(root, None, registry()), tmp_path / "out", ratings=reference.ratings())
    section = _cost_section((tmp_path / "out" / written.report).read_text())
    assert "<b>4</b><span>cells on NVIDIA A100-SXM4-40GB, 40.0 GiB, driver 550.54.15</span>" in section
    assert "<b>not measured</b><span>energy</span>" in section
    assert "0.00 kWh" not in section


def test_results_from_a_file_say_that_they_lack_their_cost(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("source,target,seed,metric,value\n,epitome_er,1,pearson,0.5\n")
    write(from_file(path, registry()), tmp_path / "out", ratings=reference.ratings())
    assert "do not say what they cost" in _cost_section((tmp_path / "out" / "report.html").read_text())


def _cost_section(text: str) -> str:
    found = re.search(r'id="cost".*?</section>', text, re.DOTALL)
    assert found
    return found[0]
