"""`plan --show-sbatch`: the batch script that submitting would send, with nothing sent and nothing written."""

import json
from pathlib import Path

import pytest

from empslurm.launch import markers, script, slurm
from empslurm.launch import submission as submissions
from empslurm.launch.profile import load_profile
from empslurm.plan import packs
from empslurm.store.runs import RunsRoot
from tests.cli.test_errors import call, problems
from tests.launch.test_arrays import plan_of

PROFILE = "kind: slurm\npartition: gpu\naccount: lab\ntime: 60\ngpus: 1\nsetup: [module load cuda]\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a manifest and two profiles; no data, and no commands at all."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    (tmp_path / "small.yaml").write_text("name: small\ntasks: [epitome_er, news_empathy]\nseeds: [1]\nbackbone: tiny\n")
    (tmp_path / "mine.yaml").write_text(PROFILE)
    (tmp_path / "here.yaml").write_text("kind: local\n")
    return tmp_path


def test_the_script_is_printed_and_nothing_is_written(here: Path) -> None:
    before = sorted(here.rglob("*"))
    status, out, err = call("plan", "small.yaml", "--profile", "mine.yaml", "--show-sbatch")
    assert status == 0
    assert out.startswith("#!/bin/bash\n")
    for line in ("#SBATCH --partition=gpu", "#SBATCH --account=lab", "#SBATCH --array=0-1%2", "module load cuda"):
        assert f"{line}\n" in out
    assert "srun " in out
    assert "nothing was sent" in err
    status, text, _ = call("plan", "small.yaml", "--profile", "mine.yaml", "--show-sbatch", "--json")
    assert json.loads(text)["sbatch"] == {"script": out, "n_elements": 2, "n_packs": 2}
    assert sorted(here.rglob("*")) == before


def test_no_script_where_slurm_gets_nothing(here: Path) -> None:
    status, out, _ = call("plan", "small.yaml", "--profile", "here.yaml", "--show-sbatch")
    assert status == 0
    assert "sbatch gets nothing" in out
    status, out, _ = call("plan", "small.yaml", "--json")
    assert (status, json.loads(out)["sbatch"]) == (0, None)
    (sentence,) = problems("plan", "small.yaml", "--show-sbatch", expect=2)
    assert "add --profile NAME" in sentence


def test_the_preview_is_what_sbatch_gets(here: Path) -> None:
    """The same script as that of a submission, but for what only a submission has."""
    profile, root = load_profile(here / "mine.yaml"), RunsRoot(here / "runs")
    wanted = packs(plan_of("small_grid").cells)
    shown = slurm.preview(root, "demo", wanted, profile)
    assert not root.path.exists()
    made = submissions.create(root, "demo", Path("data"), (), wanted, submissions.node_settings(profile))
    first = sum(pack.wave == 0 for pack in wanted)
    array = markers.mark(root, made, tuple((index,) for index in range(first)), "demo-baseline")
    sent = script.executor(profile, array, root.code / "SNAPSHOT")
    assert (shown.n_elements, shown.n_packs) == (first, first)
    assert shown.script.replace("SUBMISSION", made.id).replace("NONCE", array.nonce) == sent.text(first)
