"""Bottleneck adapters need no package `adapters`: a study in a Python that cannot find it, from data to scores."""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from empslurm.config import ADAPTER_KINDS, BANKED
from tests.project import ROOT

pytestmark = pytest.mark.heavy

OTHERS = [kind for kind in ADAPTER_KINDS if kind not in BANKED]

# Runs at the start of every Python of the environment, of those that train too.
HIDE = """\
import sys
from importlib.machinery import PathFinder


class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "adapters" else PathFinder.find_spec(name, path, target)


sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""
STUDY = """\
name: bottlenecks
tasks: [news_empathy, news_distress]
pairs: [{source: news_empathy, target: news_distress}]
backbone: tiny
training: {epochs: 2, max_length: 16, max_train_examples: 24, max_eval_examples: 16}
fisher: {max_examples: 8}
"""
OTHER = "name: other\ntasks: [news_empathy]\npairs: none\nbackbone: tiny\n"


# One Python for all verbs: importing the libraries takes longer than they do.
CALLS = """\
import contextlib, io, json, sys
from empslurm.cli import main

for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    print(json.dumps([status, out.getvalue(), err.getvalue()]))
try:
    import adapters
except ModuleNotFoundError:
    print(json.dumps("hidden"))
"""
LOCAL = ("--profile", "local")
STEPS: dict[str, tuple[str, ...]] = {
    "data": ("data", "sample"),
    "submit": ("submit", "bottlenecks.yaml", *LOCAL),
    "resume": ("resume", "bottlenecks.yaml", *LOCAL),
    "gather": ("gather", "bottlenecks.yaml", "--json"),
    "score": ("score", "--cells", "bottlenecks.yaml", "texts.txt"),
    "export": ("export", "bottlenecks.yaml", "--to", "exported"),
    "doctor": ("doctor", "--json"),
    **{f"plan {kind}": ("plan", f"{kind}.yaml") for kind in OTHERS},
    **{f"submit {kind}": ("submit", f"{kind}.yaml", *LOCAL) for kind in OTHERS},
    "doctor lora": ("doctor", "lora.yaml", "--json"),
}


@dataclass(frozen=True, kw_only=True)
class Told:
    """What every step ended with and printed, in a folder."""

    folder: Path
    steps: Mapping[str, tuple[int, str, str]]

    def good(self, step: str) -> str:
        status, out, err = self.steps[step]
        assert status == 0, out + err
        return out


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("without")
    (folder / "bottlenecks.yaml").write_text(STUDY)
    (folder / "texts.txt").write_text("A bright and gentle day for kites.\n")
    for kind in OTHERS:
        (folder / f"{kind}.yaml").write_text(f"{OTHER}adapter: {{kind: {kind}}}\n")
    environment = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (packages,) = environment.glob("lib/python3.*/site-packages")
    (packages / "shared.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\nimport hide_adapters\n")
    (packages / "hide_adapters.py").write_text(HIDE)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "EMPSLURM"))}
    words = [str(environment / "bin" / "python"), "-c", CALLS, json.dumps([*STEPS.values()])]
    done = subprocess.run(
        words, cwd=folder, env={**kept, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *answers, hidden = map(json.loads, done.stdout.splitlines())
    assert hidden == "hidden"
    return Told(folder=folder, steps=dict(zip(STEPS, map(tuple, answers), strict=True)))


def test_nothing_ends_with_a_traceback(told: Told) -> None:
    assert not [step for step, (_, out, err) in told.steps.items() if "Traceback" in out + err]


def test_a_study_is_trained_embedded_and_gathered(told: Told) -> None:
    assert "bottlenecks: 5 done" in told.good("submit")
    assert told.good("resume") == "nothing to run\n"
    gathered = json.loads(told.good("gather"))
    assert (gathered["n_planned"], gathered["n_done"], gathered["missing"]) == (5, 5, [])
    assert len(list((told.folder / "runs").rglob("embedding.safetensors"))) == 2


def test_its_adapters_score_texts_and_are_exported(told: Told) -> None:
    measures = json.loads(told.good("score").splitlines()[0])["measures"]
    assert set(measures) == {"news_empathy", "news_distress"}
    told.good("export")
    assert len(list((told.folder / "exported").rglob("adapter_config.json"))) >= 2


@pytest.mark.parametrize("kind", OTHERS)
def test_every_other_kind_is_refused_by_plan_and_submit_in_one_sentence(told: Told, kind: str) -> None:
    said = (
        f"an adapter of kind {kind} must have the package `adapters`, but it is not installed; run `pip install "
        f"'empslurm[adapters]'`, or choose seq_bn in {kind}.yaml"
    )
    for verb in ("plan", "submit"):
        status, _, err = told.steps[f"{verb} {kind}"]
        assert (status, err) == (2, f"empslurm: {said}\n")


def test_doctor_says_what_works(told: Told) -> None:
    checks = {check["what"]: check for check in json.loads(told.steps["doctor"][1])["checks"]}
    assert checks["adapters"]["ok"] is None
    assert checks["adapters"]["found"].startswith("not installed: seq_bn works, the kinds double_seq_bn, ")
    checks = {check["what"]: check for check in json.loads(told.steps["doctor lora"][1])["checks"]}
    assert checks["adapters"]["ok"] is False
    assert checks["adapters"]["found"] == "not installed; needed for lora"
