"""To its caller, a process that forks from a warm Python is like any other."""

from pathlib import Path

import pytest

from tests import warm

pytestmark = pytest.mark.heavy


def test_it_has_its_own_folder_environment_streams_and_status(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd(), dict(os.environ)); sys.stderr.write('told'); sys.exit(3)"
    done = warm.run(["-c", code], cwd=tmp_path, env={"ONE": "1"})
    assert (done.returncode, done.stdout, done.stderr) == (3, f"{tmp_path} {{'ONE': '1'}}\n", "told")


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [("1", 0, ""), ("raise SystemExit('words')", 1, "words\n"), ("1 / 0", 1, "ZeroDivisionError: division by zero\n")],
)
def test_it_ends_as_python_does(tmp_path: Path, code: str, status: int, told: str) -> None:
    done = warm.run(["-c", code], cwd=tmp_path, env={})
    assert (done.returncode, done.stderr.endswith(told)) == (status, True)


def test_it_has_the_libraries_and_imports_our_modules_anew(tmp_path: Path) -> None:
    (tmp_path / "kite.py").write_text("import sys\nours = {'empslurm', 'tests'} & set(sys.modules)\n")
    words = ["-c", "import kite, sys; print(kite.ours, 'torch' in sys.modules)"]
    assert warm.run(words, cwd=tmp_path / "..", env={"PYTHONPATH": str(tmp_path)}).stdout == "set() True\n"
    (tmp_path / "kite.py").write_text("ours = 'another text'\n")
    assert warm.run(words, cwd=tmp_path / "..", env={"PYTHONPATH": str(tmp_path)}).stdout == "another text True\n"


def test_what_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "LONGEST_S", 0.2)
    assert warm.run(["-c", "import time; time.sleep(100)"], cwd=tmp_path, env={}).returncode == -9
