"""`--budget` and `--detect` on the command line: what is chosen, what is said, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from empslurm import api
from empslurm.analysis.more_seeds import more_seeds
from empslurm.launch import journal, submission
from empslurm.launch.profile import load_profile
from empslurm.launch.submission_dir import SubmissionDir
from empslurm.plan import packs
from empslurm.report.analyses import begun
from empslurm.report.verdicts import judge
from empslurm.store.runs import RunsRoot
from tests import schemas
from tests.cli.test_errors import call, problems
from tests.gather.grids import finish
from tests.project import Project, create, once

MANIFEST = """\
name: four
tasks: [epitome_er, epitome_ex, news_empathy]
pairs: all_ordered
seeds: [1, 2, 3]
backbone: tiny
"""
ON_GPU = {"device": "cuda:0", "gpu": {"name": "NVIDIA A100"}, "pack_size": 1}
SMALL = """\
name: small
tasks: [epitome_er, news_empathy]
seeds: [1, 2]
backbone: tiny
training: {epochs: 1, batch_size: 8, max_length: 16, max_train_examples: 16, max_eval_examples: 16}
"""


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the invented sample. Tests leave it as it is."""

    def make(path: Path) -> None:
        create(path, {"small": SMALL}).call("data", "sample", cold=True)

    return once(tmp_path_factory, "budget-sample", make)


@pytest.fixture
def here(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a manifest and profiles; no commands at all."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("EMPSLURM_RUNS", "runs")
    monkeypatch.setenv("EMPSLURM_DATA", str(sample / "data"))
    (tmp_path / "four.yaml").write_text(MANIFEST)
    (tmp_path / "gpu.yaml").write_text("kind: slurm\ngpus: 1\n")
    (tmp_path / "green.yaml").write_text("kind: slurm\ngpus: 4\npacks_per_gpu: 2\ngrid_g_per_kwh: 400\n")
    (tmp_path / "here.yaml").write_text("kind: local\n")
    return tmp_path


def document(*words: str, expect: int = 0) -> Any:
    status, text, err = call(*words, "--json")
    assert status == expect, err
    value = json.loads(text)
    schemas.check(words, value)
    return value


def finished(here: Path, seeds: int, **provenance: Any) -> RunsRoot:
    """Results of the first seeds of the manifest: one source helps, on one target."""
    root = RunsRoot(here / "runs")
    for cell in api.planned("four.yaml").cells:
        if cell.seed <= seeds:
            helped = (cell.source_task, cell.target) == ("epitome_ex", "epitome_er")
            note = {"wall_s": 36.0 if cell.source_task is None else 72.0, **ON_GPU, **provenance}
            finish(root, cell, skill=0.95 if helped else 0.6, provenance=note)
    return root


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["40", "h", "-1h", "0h", "40 h", "1e3h", "40d", "2h30m", "nanh", ""])
def test_a_budget_names_its_unit(here: Path, text: str) -> None:
    status, out, err = call("plan", "four.yaml", "--profile", "here.yaml", f"--budget={text}")
    assert (status, out) == (2, "")
    assert "must be a time above 0 with its unit, h for hours or m for minutes" in err
    assert "40h, 2.5h or 90m" in err


def test_a_plan_with_a_budget_needs_a_profile(here: Path) -> None:
    (sentence,) = problems("plan", "four.yaml", "--budget", "1h", expect=2)
    assert "add --profile NAME" in sentence


@pytest.mark.parametrize("option", ["--budget=1h", "--detect=0.02"])
def test_searches_have_no_budget(here: Path, option: str) -> None:
    (here / "search.yaml").write_text("name: s\nkind: search\ntasks: [epitome_er]\nn_trials: 3\nbackbone: tiny\n")
    (sentence,) = problems("plan", "search.yaml", "--profile", "here.yaml", option, expect=2)
    assert "must come with the manifest of a grid, but s describes a search" in sentence


def test_a_grid_is_not_for_local_profiles_and_no_guess(here: Path) -> None:
    for text, part in (
        ("kind: local\ngrid_g_per_kwh: 400\n", "be left out of a local profile"),
        ("kind: slurm\ngrid_g_per_kwh: -1\n", "grid_g_per_kwh"),
    ):
        (here / "wrong.yaml").write_text(text)
        (sentence,) = problems("plan", "four.yaml", "--profile", "wrong.yaml", expect=2)
        assert part in sentence


# ---- what is chosen --------------------------------------------------------------------------------------------------


def test_without_a_measured_cell_only_a_pilot_is_chosen(here: Path) -> None:
    chosen = document("plan", "four.yaml", "--profile", "gpu.yaml", "--budget", "40h")["budget"]
    assert (chosen["pilot"], chosen["hours"], chosen["unit"]) == (True, None, "GPU-hours")
    assert len(chosen["cells"]) == 2
    assert "no cell of four has finished on a GPU yet" in chosen["sentences"][0]
    finished(here, 1, device="cpu", gpu=None)  # another kind of device measures nothing
    chosen = document("plan", "four.yaml", "--profile", "gpu.yaml", "--budget", "40h")["budget"]
    assert chosen["pilot"] is True
    assert document("plan", "four.yaml", "--profile", "here.yaml", "--budget", "40h")["budget"]["pilot"] is False


def test_a_budget_is_in_gpu_hours_by_measured_cells(here: Path) -> None:
    finished(here, 1)
    # 36 s a baseline and 72 s a transfer, each in a pack of its own: packs of one cell are asked for.
    (here / "gpu.yaml").write_text("kind: slurm\ngpus: 1\npack_size: 1\n")
    chosen = document("plan", "four.yaml", "--profile", "gpu.yaml", "--budget", "0.1h")["budget"]
    assert 0.09 <= chosen["hours"][1] <= 0.1
    assert chosen["n_verdicts"] >= 2
    assert chosen["n_left"] == 18 - len(chosen["cells"])
    # On a GPU that two packs share, a pack takes half of it.
    (here / "gpu.yaml").write_text("kind: slurm\ngpus: 1\npack_size: 1\npacks_per_gpu: 2\n")
    more = document("plan", "four.yaml", "--profile", "gpu.yaml", "--budget", "0.1h")["budget"]
    assert len(more["cells"]) > 1.5 * len(chosen["cells"])
    status, out, _ = call("plan", "four.yaml", "--profile", "gpu.yaml", "--budget", "0.1h")
    assert status == 0
    assert all(cell in out for cell in more["cells"])
    for sentence in more["sentences"]:
        assert sentence in " ".join(out.split())


def test_data_that_are_missing_are_the_reason_where_nothing_can_run(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMPSLURM_DATA", str(tmp_path / "none"))
    chosen = document("plan", "four.yaml", "--profile", "here.yaml", "--budget", "1h")["budget"]
    assert chosen["cells"] == []
    assert chosen["sentences"][0].startswith("No training cell can run now: ")
    assert "epitome" in chosen["sentences"][0]


def test_too_small_a_budget_says_so(here: Path) -> None:
    finished(here, 1)
    chosen = document("plan", "four.yaml", "--profile", "gpu.yaml", "--budget", "0.1m")["budget"]
    assert (chosen["cells"], chosen["n_left"]) == ([], 18)
    assert "too small for any of the 18 training cells" in chosen["sentences"][0]


def test_the_batch_script_is_that_of_the_chosen_cells(here: Path) -> None:
    finished(here, 1)
    words = ("plan", "four.yaml", "--profile", "gpu.yaml", "--show-sbatch")
    assert document(*words, "--budget", "1m")["sbatch"]["n_packs"] < document(*words)["sbatch"]["n_packs"]


# ---- a real run ------------------------------------------------------------------------------------------------------


@pytest.mark.heavy
def test_a_budget_trains_a_pilot_first_and_then_divides_what_is_left(sample: Path, tmp_path: Path) -> None:
    project = Project(path=shutil.copytree(sample, tmp_path / "project", symlinks=True))
    submit = ("submit", "small", "--profile", "local", "--budget")
    pilot = project.json(*submit, "10h")
    assert (pilot["submitted"], pilot["states"], pilot["budget"]["pilot"]) == (2, {"done": 2}, True)
    planned = project.json("plan", "small", "--profile", "local", "--budget", "10h")
    kinds = {cell["id"]: cell["kind"] for cell in planned["cells"]}
    assert [kinds[name] for name in pilot["budget"]["cells"]] == ["baseline", "transfer"]
    low, whole, high = planned["budget"]["hours"]
    assert (len(planned["budget"]["cells"]), planned["budget"]["n_verdicts"]) == (6, 2)
    assert 0 < low <= whole <= high
    assert planned["costs"]["hours"]["job_h"] == pytest.approx([low, whole, high])
    # What does not fit is not sent, and nothing was done.
    nothing = project.json(*submit, "0.000001h", expect=1)
    assert (nothing["submitted"], nothing["budget"]["n_left"]) == (0, 6)
    assert project.json("status", "small")["totals"]["done"] == 2


# ---- --detect --------------------------------------------------------------------------------------------------------


def test_detect_is_what_more_seeds_says_and_its_cost(sample: Path, here: Path) -> None:
    root = finished(here, 3)
    plan = api.planned("four.yaml")
    gathered = api.collect(plan, root, plan.manifest.registry, sample / "data")
    (group,) = gathered.groups
    (significance,) = judge(begun(gathered, group, ratings=())).result
    found = document("plan", "four.yaml", "--detect", "0.2")["detect"]
    assert (found["wanted"], found["without_results"], found["unit"]) == (0.2, [], "hours of training")
    assert [target["target"] for target in found["targets"]] == [result.target for result in significance.results]
    for target, result in zip(found["targets"], significance.results, strict=True):
        asked = more_seeds(result.comparison, 0.2, cost_of_baseline=0.5)
        assert (target["more_baseline"], target["more_transfer"]) == (asked.more_baseline, asked.more_transfer)
        assert (target["power"], target["limit"] or "") == (pytest.approx(asked.power), asked.limit)
        if not asked.limit:
            seconds = 36 * asked.more_baseline + 72 * asked.n_sources * asked.more_transfer
            assert target["hours"] == pytest.approx(seconds / 3600)
    known = [target for target in found["targets"] if target["limit"] is None]
    assert known
    assert found["hours"] == pytest.approx(sum(target["hours"] for target in known))
    # Two packs share a GPU of this profile.
    half = document("plan", "four.yaml", "--detect", "0.2", "--profile", "green.yaml")["detect"]
    assert (half["unit"], half["hours"]) == ("GPU-hours", pytest.approx(found["hours"] / 2))
    (here / "cpu.yaml").write_text("kind: slurm\n")
    other = document("plan", "four.yaml", "--detect", "0.2", "--profile", "cpu.yaml")["detect"]
    assert other["hours"] is None or other["n_runs"] == 0
    status, out, _ = call("plan", "four.yaml", "--detect", "0.2")
    assert status == 0
    assert "To detect differences of 0.2: of 3 targets" in " ".join(out.split())


def test_detect_says_what_to_run_first(here: Path) -> None:
    found = document("plan", "four.yaml", "--detect", "0.02")["detect"]
    assert found["targets"] == []
    assert found["without_results"] == ["epitome_ex", "news_empathy", "epitome_er"]
    assert "`empslurm submit four --budget 4h`" in found["sentences"][0]
    finished(here, 1)
    found = document("plan", "four.yaml", "--detect", "0.02")["detect"]
    assert {target["more_baseline"] for target in found["targets"]} == {2}
    assert all("one seed so far" in target["sentence"] for target in found["targets"])


@pytest.mark.parametrize("text", ["0", "-1", "x", "nan", "inf"])
def test_a_difference_is_above_0(here: Path, text: str) -> None:
    status, out, err = call("plan", "four.yaml", f"--detect={text}")
    assert (status, out) == (2, "")
    assert "must be a number above 0" in err


# ---- energy and CO2e -------------------------------------------------------------------------------------------------


def ran(root: RunsRoot, profile: Path, **fields: Any) -> None:
    """A submission whose first pack ended."""
    plan = api.planned("four.yaml")
    grouped = packs(plan.cells[:1])
    made = submission.create(root, "four", Path("data"), (), grouped, submission.node_settings(load_profile(profile)))
    kept = journal.journal(SubmissionDir(made.folder(root).path), 0)
    kept.add("start")
    kept.add("end", reason="done", **fields)


def test_energy_and_co2e_of_what_is_left_and_of_what_was_spent(here: Path) -> None:
    root = finished(here, 1)
    costs = document("plan", "four.yaml", "--profile", "green.yaml")["costs"]
    assert costs["energy"] is None
    assert "has reported the power of its GPUs" in call("plan", "four.yaml", "--profile", "green.yaml")[1]
    ran(root, here / "green.yaml", wall_s=36.0, gpu_s=36.0, energy_wh=3.0)
    costs = document("plan", "four.yaml", "--profile", "green.yaml")["costs"]
    assert costs["energy"]["watts"] == pytest.approx(300.0)
    kwh = np.array(costs["hours"]["gpu_h"]) * 0.3
    assert costs["energy"]["kwh"] == pytest.approx(list(kwh))
    assert costs["energy"]["co2e_g"] == pytest.approx(list(kwh * 400))
    assert document("plan", "four.yaml", "--profile", "gpu.yaml")["costs"]["energy"]["co2e_g"] is None
    assert "CO2e" not in call("plan", "four.yaml", "--profile", "gpu.yaml")[1]
    assert "1.2 g CO2e (at 400 g/kWh)" in call("status", "four.yaml")[1]
    spent: Mapping[str, Any] = document("status", "four.yaml")["spent"]
    assert (spent["co2e_g"], spent["grid_g_per_kwh"]) == (pytest.approx(1.2), [400.0])
    _, out, _ = call("gather", "four.yaml")
    assert "1.2 g CO2e (at 400 g/kWh)" in " ".join(out.split())
    page = (here / "runs" / "gathered" / "four" / "report.html").read_text()
    assert "<b>1.2 g CO2e</b>" in page
