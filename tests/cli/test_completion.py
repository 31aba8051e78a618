"""Completion of words, as a shell asks for it: the line and the cursor in variables, the answer on descriptor 8."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from empslurm.cli import completion
from empslurm.cli.verbs import VERBS
from tests.cli.test_errors import call
from tests.project import ROOT

pytestmark = pytest.mark.skipif(importlib.util.find_spec("argcomplete") is None, reason="argcomplete is not installed")
CELLS = ("epitome_er-s1-0123456789ab", "epitome_er-s2-0123456789ab", "news_empathy-s1-0123456789ab")
HEAVY = {"torch", "pandas", "transformers", "pyarrow", "scipy", "sklearn", "matplotlib", "optuna"}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with manifests, a profile and a runs root of three cells."""
    for name in ("manifests/small.yaml", "manifests/large.yaml", "slurm/mine.yaml", "own.yaml", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    for cell in CELLS:
        (tmp_path / "here" / "cells" / cell).mkdir(parents=True)
    return tmp_path


def ask(line: str, folder: Path) -> list[str]:
    """What a shell in `folder` is answered when TAB is pressed at the end of a line."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n"}
    environment |= {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_SUPPRESS_SPACE": "1"}
    environment.pop("EMPSLURM_RUNS", None)
    words = ["bash", "-c", '"$0" -m empslurm 8>&1 9>/dev/null 1>/dev/null', sys.executable]
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, env=environment, check=True)
    assert done.stderr == ""
    return done.stdout.split("\n") if done.stdout else []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("empslurm ", list(VERBS)),
        ("empslurm pre", ["prepare"]),
        ("empslurm plan se", ["search"]),
        ("empslurm plan ma", ["manifests/"]),
        ("empslurm plan manifests/s", ["manifests/small.yaml"]),
        ("empslurm plan small --al", ["--all"]),
        ("empslurm --runs here submit small --profile mi", ["mine"]),
        ("empslurm --runs here submit small --profile own", ["own.yaml"]),
        ("empslurm submit small --no", ["--no-wait"]),
        ("empslurm --runs here show ", list(CELLS)),
        ("empslurm show --runs here epitome_er-s1", [CELLS[0]]),
        ("empslurm show ", []),
        ("empslurm --runs here debug small --cell news", [CELLS[2]]),
        ("empslurm data st", ["status", "stats"]),
        ("empslurm data fetch epi", ["epitome"]),
        ("empslurm search fr", ["freeze"]),
        ("empslurm completion f", ["fish"]),
        ("empslurm plan 'sma", ["small"]),
    ],
)
def test_a_shell_is_answered(here: Path, line: str, expected: list[str]) -> None:
    assert ask(line, here) == expected


def test_completing_imports_no_heavy_library() -> None:
    """An answer builds the arguments of the verb in the line: those of any verb must come at once."""
    code = "import sys; from empslurm.cli import completion, parser, verbs\n"
    code += f"[parser.build(verb) for verb in verbs.VERBS]; print({HEAVY} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_without_argcomplete_nothing_else_changes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    status, _, err = call("completion", "bash")
    assert status == 2
    assert "argcomplete" in err
    assert "pip install" in err
    completion.answer()
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    assert call("--version")[0] == 0


@pytest.mark.parametrize("shell", list(completion.SHELLS))
def test_the_lines_for_a_shell(shell: str) -> None:
    status, out, err = call("completion", shell)
    assert (status, err) == (0, "")
    assert "_ARGCOMPLETE" in out
    assert out.splitlines()[-1] == f"# {completion.SHELLS[shell]}"
    assert call("completion", f"{shell}x")[0] == 2


def test_bash_completes(here: Path) -> None:
    """The printed lines in a real bash: its function fills COMPREPLY."""
    (here / "empslurm").write_text(f"#!/bin/sh\nexec {sys.executable} -m empslurm\n")
    (here / "empslurm").chmod(0o755)
    script = f'eval "$({sys.executable} -m empslurm completion bash)"\n'
    script += "complete -p empslurm | grep -q _python_argcomplete || exit 3\n"
    script += "COMP_LINE='empslurm plan la' COMP_POINT=16; _python_argcomplete ./empslurm; echo \"${COMPREPLY[@]}\"\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=here, env=environment, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "large"), done.stderr
