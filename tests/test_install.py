"""make install: pip's settings, the installer that it picks, and what a failure leaves. Fakes do the installing."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import install
from empslurm.cli import doctor

ROOT = Path(__file__).parents[1]
PINNED = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
SETTINGS = """global.index-url='https://one/simple'
global.extra-index-url='https://two/simple\\nhttps://three/simple'
global.timeout='180'
install.find-links='/wheels /more'
:env:.index-url='https://four/simple'
"""
# Python as install.py calls it: notes its words, lists SETTINGS, and puts a uv there that notes its arguments.
STAND_IN = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >> $here/calls
case "$*" in
    *"$(cat $here/fails)"*) exit 1 ;;
    "-m pip config list") cat $here/settings ;;
    *--target*) mkdir $here/bin && printf '#!/bin/sh\\nenv > %s/told\\ntest ! -e %s/broken' $here $here > $here/bin/uv
        chmod +x $here/bin/uv ;;
esac
"""


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(ROOT)
    path = tmp_path / "python"
    path.write_text(STAND_IN)
    path.chmod(0o755)
    (tmp_path / "settings").write_text(SETTINGS)
    (tmp_path / "fails").write_text("nothing fails")
    return path


def test_uv_gets_the_settings_of_pip(python: Path) -> None:
    assert install.with_uv(python, str(python.parent))
    told = dict(line.split("=", 1) for line in (python.parent / "told").read_text().splitlines() if "=" in line)
    assert told["UV_DEFAULT_INDEX"] == "https://four/simple"
    assert told["UV_INDEX"] == "https://two/simple https://three/simple"
    assert told["UV_FIND_LINKS"] == "/wheels,/more"


def test_pip_installs_where_uv_lacks_a_setting_cannot_be_had_or_fails(
    python: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (python.parent / "broken").touch()
    assert not install.with_uv(python, str(python.parent))
    assert "uv failed" in capfd.readouterr().out
    (python.parent / "fails").write_text("--target")
    assert not install.with_uv(python, str(python.parent))
    assert "cannot be had" in capfd.readouterr().out
    (python.parent / "settings").write_text(SETTINGS + ":env:.keyring-provider='subprocess'\n")
    assert not install.with_uv(python, str(python.parent))
    assert "keyring-provider" in capfd.readouterr().out


def test_pip_brings_every_pinned_package_once(python: Path) -> None:
    assert install.with_pip(python)
    calls = (python.parent / "calls").read_text().splitlines()
    brought = [name for call in calls if "--no-deps" in call for name in re.findall(r"\S+==\S+", call)]
    assert len(PINNED) > 90
    assert sorted(brought) == sorted(PINNED)
    assert calls[-1].endswith("--constraint constraints.txt --editable .[dev]")


@pytest.mark.parametrize("step", ["torch==", "--editable"])
def test_pip_that_fails_once_has_failed(python: Path, step: str) -> None:
    (python.parent / "fails").write_text(step)
    assert not install.with_pip(python)


def test_only_an_install_that_went_well_is_not_repeated(tmp_path: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("needs make")
    for name in ("Makefile", "setup.cfg", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "install.py").touch()
    (tmp_path / ".venv").mkdir()
    marker = tmp_path / ".venv" / ".installed"

    def make(python: str) -> subprocess.CompletedProcess[str]:
        words = ["make", "install", f"PYTHON={python}"]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert make("true").returncode == 0
    assert marker.exists()
    assert "Nothing to be done" in make("false").stdout
    (tmp_path / "constraints.txt").write_text("changed")
    assert make("false").returncode != 0
    assert not marker.exists()


def test_setup_install_doctor_and_readme_name_the_same_versions_of_python() -> None:
    wide = re.search(r"^python_requires = >=3\.(\d+),<3\.(\d+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    assert wide is not None
    first, behind = map(int, wide.groups())
    assert install.PYTHONS == doctor.PYTHONS == ((3, first), (3, behind - 1))
    names = [f"3.{minor}" for minor in range(first, behind)]
    words = f"Python {', '.join(names[:-1])} or {names[-1]}"
    for document in ("install.py", "README.md"):
        assert words in (ROOT / document).read_text()
