"""The wheel: in an empty folder, without the checkout, it starts a study, trains it, gathers it and scores with it."""

import json
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

import empslurm
from tests.wheel import ROOT, Installed, build, install, short_study

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(wheel, tmp_path_factory.mktemp("environment") / "venv")


def test_a_wheel_brings_one_top_level_package_and_what_it_needs(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"empslurm", f"empslurm-{empslurm.__version__}.dist-info"}
    packaged = {name.removeprefix("empslurm/packaged/") for name in names if name.startswith("empslurm/packaged/")}
    wanted = {"jobs/train.py", "jobs/probe.py", "jobs/tell.py", "jobs/accelerate.yaml", "code.json"}
    assert packaged >= wanted | {"manifests/full_grid.yaml", "slurm/local.yaml", "slurm/small.yaml"}
    assert "empslurm/starter/manifests/study.yaml" in names


def test_a_wheel_does_not_bring_the_library_of_the_other_kinds_of_adapters(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (path,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    wanted = re.findall(r"^Requires-Dist: (adapters|transformers)\b(.*)$", archive.read(path).decode(), re.MULTILINE)
    assert {(name, "extra" in rest) for name, rest in wanted} == {("transformers", False), ("adapters", True)}


def test_what_git_knows_of_the_packaged_folders_is_listed_and_nothing_else() -> None:
    words = ("git", "-C", str(ROOT), "ls-files", "jobs", "manifests", "slurm/*.yaml", "slurm/*.json")
    known = subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()
    if not known:
        pytest.skip("needs a git checkout")
    listed = {line.removeprefix("include ") for line in (ROOT / "MANIFEST.in").read_text().splitlines()}
    assert {name for name in listed if "/" in name and " " not in name} == {*known} - {"slurm/testcluster.yaml"}


def test_a_study_from_an_empty_folder_to_scores(installed: Installed, tmp_path: Path) -> None:
    assert installed.run("--version", cwd=tmp_path).strip() == f"empslurm {empslurm.__version__}"
    study = short_study(installed, tmp_path, "my-study")
    assert "4 training cells" in installed.run("plan", "my-study", cwd=study)
    assert "full_grid" in installed.run("plan", "full_grid", cwd=study)
    assert "my-study: 4 done" in installed.run("submit", "my-study", "--profile", "local", cwd=study)
    gathered = json.loads(installed.run("gather", "my-study", "--json", cwd=study))
    assert (gathered["n_planned"], gathered["n_done"]) == (4, 4)
    assert Path(study, gathered["report"]).is_file()
    (study / "texts.txt").write_text("A bright and gentle day for kites.\n")
    scored = installed.run("score", "--cells", "my-study", "texts.txt", cwd=study)
    assert set(json.loads(scored.splitlines()[0])["measures"]) == {"kite_mood", "river_calm"}
    found = installed.run("show", "kite_mood", "--json", cwd=study, expect=2)
    assert "error" in json.loads(found)


def test_the_preset_of_a_search_is_never_written_into_the_installation(installed: Installed, tmp_path: Path) -> None:
    told = json.loads(installed.run("search", "freeze", "search", "--name", "mine", "--json", cwd=tmp_path, expect=2))
    assert "copy" in told["error"]["problems"][0]
