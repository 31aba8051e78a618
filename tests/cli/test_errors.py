"""Whatever a verb is given: a sentence and an exit code, one JSON document when asked for, never a traceback."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from empslurm import files
from empslurm.cli import main
from empslurm.cli.verbs import VERBS
from empslurm.store.runs import RunsRoot
from tests.gather.grids import baseline, finish

MANIFEST = "name: small\ntasks: [epitome_er, news_empathy]\nseeds: [1]\nbackbone: tiny\n"
WITH_MANIFEST = ("plan", "prepare", "submit", "resume", "status", "debug", "gather")
WITH_CELL = ("show", "logs", "explain")
NAMES = (
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned",
    "| touch pwned",
    "a\nb",
    "../../etc/passwd",
    "/etc/passwd",
    "-",
    "*",
    "é" * 300,
    "\x1b[31m",
    "\udcff",
    " ",
    "%s%n",
    "1_1",
    "9" * 5_000,
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as working directory, with one sound manifest; no Slurm."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    for name in ("EMPSLURM_RUNS", "EMPSLURM_DATA"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "small.yaml").write_text(MANIFEST)
    return tmp_path


def call(*words: str) -> tuple[int, str, str]:
    """Status and what was printed; argparse ends by SystemExit."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as end:
            status = int(end.code or 0)
    return status, out.getvalue(), err.getvalue()


def problems(*words: str, expect: int) -> list[str]:
    """The sentences of the one JSON document of a call that must fail so."""
    status, out, err = call(*words, "--json")
    assert status == expect, (out, err)
    error = json.loads(out)["error"]
    sentences: list[str] = error["problems"]
    assert sentences
    assert "empslurm: " in err
    assert "Traceback" not in err
    return sentences


def arguments(verb: str, manifest: str) -> tuple[str, ...]:
    return (verb, manifest, "--profile", "local") if verb in ("submit", "resume") else (verb, manifest)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("verb", WITH_MANIFEST)
@pytest.mark.parametrize(
    "make",
    [Path.mkdir, pipe, link_to_itself, lambda path: path.write_bytes(b"\x7fELF\x00\xff"), lambda path: None],
    ids=["folder", "pipe", "link", "binary", "absent"],
)
def test_a_manifest_that_is_none(here: Path, verb: str, make: Any) -> None:
    make(here / "odd.yaml")
    assert " must " in problems(*arguments(verb, "odd.yaml"), expect=2)[0]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_are_names_only(here: Path, name: str) -> None:
    for verb in (*WITH_MANIFEST, *WITH_CELL):
        words = (verb, name, name) if verb == "explain" else arguments(verb, name)
        if name.startswith("-"):
            continue
        assert all("\x1b" not in sentence for sentence in problems(*words, expect=2))
    assert [path.name for path in here.iterdir()] == ["small.yaml"]


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "doctor"])
def test_wrong_arguments_are_wrong_use(here: Path, verb: str) -> None:
    status, _, err = call(verb, "--no-such-option")
    assert status == 2
    assert "usage:" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("margin", ["0", "-1", "nan", "inf"])
def test_a_margin_that_is_no_difference_is_wrong_use(here: Path, margin: str) -> None:
    (sentence,) = problems("gather", "--margin", margin, expect=2)
    assert "--margin must be a number above 0" in sentence


def test_a_runs_root_that_is_a_file_or_cannot_be_made(here: Path) -> None:
    (here / "file").write_text("")
    for runs in ("file", "file/below", "/proc/no/such"):
        for verb in ("show", "logs"):
            problems(verb, "epitome_er", "--runs", runs, expect=2 if runs == "/proc/no/such" else 1)
        for words in (("status", "small.yaml"), ("gather", "small.yaml"), ("gather",)):
            status, _, err = call(*words, "--runs", runs)
            assert status in (0, 1, 2)
            assert "Traceback" not in err


def test_a_folder_without_a_name_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--runs", "--data"):
        with pytest.raises(SystemExit) as end:
            main(["status", "small.yaml", option, ""])
        assert end.value.code == 2
        assert f"argument {option}: must name a folder" in capsys.readouterr().err


def test_a_data_root_that_is_none(here: Path) -> None:
    (here / "file").write_text("")
    for data in ("file", "absent", "/dev/null"):
        status, out, err = call("data", "status", "--data", data, "--json")
        assert (status, err) == (0, "")
        assert {item["state"] for item in json.loads(out)["datasets"]} == {"missing"}
        status, out, err = call("submit", "small.yaml", "--profile", "local", "--data", data, "--json")
        assert (status, json.loads(out)["submitted"]) == (1, 0)
        assert "skipped: epitome must be below" in err


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff", b'{"id": 1}', b'{"seal": NaN}', b"[" * 9_999])
@pytest.mark.parametrize("name", ["cell.json", "result.json", "claims/0001.json", "progress.json", "error.json"])
def test_a_damaged_file_of_a_cell(here: Path, name: str, damage: bytes) -> None:
    root = RunsRoot(here / "runs")
    cell = baseline("epitome_er")
    finish(root, cell)
    files.write_bytes(root.cell(cell.id).path / name, damage)
    for words in (("show", cell.id), ("logs", cell.id), ("gather",), ("explain", cell.id, cell.id)):
        status, out, err = call(*words, "--json")
        assert status in (0, 1, 2)
        assert "Traceback" not in err
        json.loads(out)


def test_text_of_a_runs_root_does_not_drive_the_terminal(here: Path) -> None:
    root = RunsRoot(here / "runs")
    folder = root.cell(baseline("epitome_er").id)
    folder.create(baseline("epitome_er"))
    files.write_json(folder.path / "error.json", {"class": "data", "message": "\x1b[2J\x1b]0;pwned\x07 gone\x9b31m"})
    status, out, _ = call("show", folder.id)
    assert status == 0
    assert "gone" in out
    assert not {"\x1b", "\x07", "\x9b"} & set(out)


def test_an_undecodable_name_is_printed_on_any_terminal(here: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONIOENCODING": "ascii"}
    command = [os.fsencode(word) for word in (sys.executable, "-m", "empslurm", "plan")]
    for form in ((), (b"--json",)):
        done = subprocess.run([*command, b"\xff\xc3\xa9", *form], capture_output=True, env=environment, check=False)
        assert done.returncode == 2
        assert b"Traceback" not in done.stderr
        assert b"a known manifest" in done.stderr


@pytest.mark.parametrize("verb", ["plan", "status", "gather"])
def test_an_option_before_the_verb_may_have_a_verbs_name_as_its_value(verb, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["--data", "data", "--runs", "score", verb, "absent"]) == 2
    assert "absent" in capsys.readouterr().err
