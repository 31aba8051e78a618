"""`init` writes a study whose files are sound, and never over what is there."""

import json
from pathlib import Path

import pytest

from empslurm import files
from empslurm.cli import main
from empslurm.errors import StoreError
from empslurm.launch.profile import load_profile
from empslurm.manifest.load import load_manifest


def test_a_new_study_is_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "here/my-study", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    study = Path(told["folder"])
    assert sorted(told["files"]) == sorted(str(path) for path in study.rglob("*") if path.is_file())
    manifest = load_manifest(study / "manifests" / "my-study.yaml")
    assert (manifest.name, manifest.tasks) == ("my-study", ("kite_mood", "river_calm"))
    assert {load_profile(path).kind for path in (study / "slurm").glob("*.yaml")} == {"local", "slurm"}
    assert "NAME" not in (study / "README.md").read_text()
    monkeypatch.chdir(study)
    assert main(["plan", "my-study", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert {cell["action"] for cell in plan["cells"]} == {"run"}
    assert main(["data", "stats", "--cards", "cards", "--json", "kite_mood", "river_calm"]) == 0


@pytest.mark.parametrize("name", ["-x", "a b", ".", "é"])
def test_a_folder_whose_name_no_study_can_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert main(["init", "--", name]) == 2
    assert "init my-study" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_what_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full, empty, file = tmp_path / "full", tmp_path / "empty", tmp_path / "file"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    empty.mkdir()
    file.write_text("mine")
    assert main(["init", str(full)]) == 2
    assert main(["init", str(file)]) == 2
    assert "choose another name" in capsys.readouterr().err
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
    assert main(["init", str(empty)]) == 0


@pytest.mark.parametrize("name", ["2024", "true", "1.0"])
def test_a_name_that_yaml_would_read_as_a_number_stays_a_name(tmp_path: Path, name: str) -> None:
    assert main(["init", str(tmp_path / name), "--json"]) == 0
    assert load_manifest(tmp_path / name / "manifests" / f"{name}.yaml").name == name


def test_the_name_of_a_file_of_the_study_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "README.md")]) == 2
    assert "init my-study" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, calls = files.write_bytes, iter(range(9))

    def full(path: Path, data: bytes) -> None:
        if next(calls) == 3:
            raise StoreError("the disk must have room, but is full")
        plain(path, data)

    monkeypatch.setattr(files, "write_bytes", full)
    assert main(["init", str(tmp_path / "mine")]) == 1
    assert "must have room" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert main(["init", str(tmp_path / "mine")]) == 0


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["init", str(tmp_path / "file" / "study")]) == 1
    assert "must be written" in capsys.readouterr().err
