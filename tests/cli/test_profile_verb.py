"""`empslurm profile NAME` with stand-ins for Slurm's commands: what it writes, what it says, what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from empslurm.cli import main
from empslurm.launch.profile import load_profile
from tests.launch.site.test_facts import GARBAGE, SITES, TYPED, Answers, as_ada

STAND_IN = """#!{python}
import json, sys
answers = json.load(open({file!r}))
words = sys.argv[1:]
key = "config" if "config" in words else words[-1].partition("=")[2] if "user" in words else "{name}"
key = next((word for word in ("assoc", "wckey", "qos") if word in words), key)
said = answers.get(key)
if said is None:
    sys.exit("{name}: error: Unable to contact slurm controller (connect failure)")
sys.stdout.buffer.write(said.encode("utf-8", "surrogateescape"))
"""


def stage(folder: Path, answers: Answers) -> None:
    """Commands in `folder` that say what a cluster says."""
    folder.mkdir(exist_ok=True)
    accounting = dict(answers.sacctmgr or {})
    defaults = dict(zip(("DefaultAccount", "DefaultWCKey"), accounting.pop("user", "").split("|"), strict=False))
    said = {"config": answers.config, "scontrol": answers.partitions, "sinfo": answers.sinfo, **accounting, **defaults}
    (folder / "answers.json").write_text(json.dumps(said))
    for name in ("sbatch", "sinfo", "scontrol", "sacctmgr"):
        text = STAND_IN.format(python=sys.executable, file=str(folder / "answers.json"), name=name)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory on a cluster with GPUs of one type."""
    as_ada(monkeypatch.setattr)
    stage(tmp_path / "bin", TYPED)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *words: str, expect: int) -> str:
    """What a call that must fail says; nothing is written."""
    before = sorted(Path().rglob("*"))
    assert main(["profile", *words]) == expect
    said, problem = capsys.readouterr()
    assert said == ""
    assert "Traceback" not in problem
    assert sorted(Path().rglob("*")) == before
    return problem


def test_it_writes_where_profile_looks_and_says_what_it_chose(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "mine"]) == 0
    said, problem = capsys.readouterr()
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    assert lines[0] == (
        "slurm/mine.yaml is written: partition gpu, account deepnlp, 1 GPU a100, 8 CPUs, 24.0 GiB, 08:00:00"
    )
    assert lines[1].split() == ["field", "value", "why"]
    assert any(line.split()[:2] == ["gpu_type", "a100"] for line in lines)
    assert lines[-1] == (
        "Next: `empslurm doctor --profile mine --probe`, then `empslurm submit MANIFEST --profile mine`"
    )
    assert problem == ""
    assert load_profile(Path("slurm/mine.yaml")).partition == "gpu"
    assert [path.name for path in Path("slurm").iterdir()] == ["mine.yaml"]


def test_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "mine", "--partition", "gpu-debug", "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (document["profile"], document["file"]) == ("mine", "slurm/mine.yaml")
    assert {"field": "gpu_type", "value": "a100", "why": "the only type there"} in document["choices"]
    assert all(set(choice) == {"field", "value", "why"} for choice in document["choices"])
    assert [item["partition"] for item in document["alternatives"]["partitions"]] == ["gpu", "cpu"]
    assert "not be meant for hours" in document["warnings"][0]
    assert load_profile(Path("slurm/mine.yaml")).partition == "gpu-debug"


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_nothing_is_overwritten(here: Path, capsys: pytest.CaptureFixture[str], make: Any) -> None:
    Path("slurm").mkdir()
    make(Path("slurm/mine.yaml"))
    problem = told(capsys, "mine", expect=2)
    assert problem == (
        "empslurm: slurm/mine.yaml must not exist, but does; choose another name, or move that file away\n"
    )


def test_who_is_faster_is_not_overwritten(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("slurm").mkdir()
    Path("slurm/mine.yaml").write_text("kind: local\n")
    monkeypatch.setattr("empslurm.cli.profile._target", lambda name: Path(f"slurm/{name}.yaml"))
    assert "was written meanwhile" in told(capsys, "mine", expect=2)
    assert Path("slurm/mine.yaml").read_text() == "kind: local\n"


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "../x", "a/b", "a\nb", ".hidden", "_x", "é", "x" * 65, "$(touch x)", "\udcff", "x.yaml"]
)
def test_a_name_that_no_profile_can_have(here: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert "NAME must be" in told(capsys, name, expect=2)


def test_a_name_that_means_another_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").touch()
    assert "no file may be named mine here" in told(capsys, "mine", expect=2)


def test_a_partition_that_is_none(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--partition must name a partition" in told(capsys, "mine", "--partition", "nope", expect=2)


def test_without_slurm(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "bin" / "sbatch").unlink()
    (here / "bin" / "sinfo").unlink()
    problem = told(capsys, "mine", expect=2)
    assert "must be on PATH, but sbatch, sinfo cannot be found; run this on the cluster's login node" in problem


@pytest.mark.parametrize("away", ["config", "partitions", "sinfo"])
def test_a_controller_that_is_away(here: Path, capsys: pytest.CaptureFixture[str], away: str) -> None:
    stage(here / "bin", Answers(**{"partitions": "", away: None}))  # type: ignore[arg-type]
    assert "Unable to contact slurm controller" in told(capsys, "mine", expect=1)


def test_a_folder_that_cannot_be_made(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("slurm").touch()
    assert "slurm/mine.yaml must be created, but the file system says" in told(capsys, "mine", expect=1)


@pytest.mark.parametrize("site", SITES)
def test_every_site_by_its_commands(here: Path, capsys: pytest.CaptureFixture[str], site: str) -> None:
    stage(here / "bin", SITES[site])
    assert main(["profile", "mine"]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert (
        load_profile(Path("slurm/mine.yaml")).partition
        == {
            "typed": "gpu",
            "whole": "standard",
            "no-accounting": "all",
            "strict": "batch",
            "garbage": "null",
        }[site]
    )
    assert GARBAGE is SITES["garbage"]
    assert not list(Path().rglob("*pwned*"))


def test_nothing_heavy_is_imported(here: Path) -> None:
    code = "import sys; from empslurm.cli import main; assert main(['profile', 'mine']) == 0\n"
    code += "print('heavy:', *sorted({'torch', 'transformers', 'pandas', 'sklearn', 'submitit'} & set(sys.modules)))"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "heavy:"), done.stderr
