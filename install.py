"""make install: the packages that constraints.txt pins, and empslurm, in an environment: python3 install.py FOLDER.

Where packages come from is for pip's settings to say (pip.conf, PIP_*). uv, a faster installer, is told these settings
and does the work; where it cannot be had, fails, or has no such setting, pip does, several side by side.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PYTHONS = ((3, 11), (3, 13))
UV = "uv==0.13.9"
PIPS = 4  # side by side, with BATCH packages each time
BATCH = 12
OURS = ("--constraint", "constraints.txt", "--editable", ".[dev]")
# pip's settings that uv has too: its variable, and what stands there between several values.
TOLD = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "no-index": ("UV_NO_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "constraint": ("UV_CONSTRAINT", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "proxy": ("ALL_PROXY", " "),
}
# Those that do not change what is installed. With any other, pip installs.
HARMLESS = {
    *("break-system-packages", "cache-dir", "compile", "config-file", "default-timeout", "disable-pip-version-check"),
    *("exists-action", "log", "no-cache-dir", "no-color", "no-compile", "no-input", "no-python-version-warning"),
    *("no-warn-script-location", "progress-bar", "quiet", "require-virtualenv", "retries", "root-user-action"),
    *("timeout", "verbose"),
}
# What empslurm imports, in two halves for two cores. Python compiles a module at its first import: better once, now.
FIRST_STARTS = (
    "accelerate, adapters, sentence_transformers, empslurm.train.run",
    "datasets, datasketch, hypothesis, krippendorff, matplotlib.pyplot, optuna, pytest, scipy.stats, sklearn.ensemble, "
    "sklearn.linear_model, statsmodels.api, submitit, empslurm.cli",
)
DONE = """
from importlib.metadata import version
from empslurm.launch.site.facts import torch_has_gpus
built = "GPUs" if torch_has_gpus() else "CPUs only; for GPUs see 'CPU or CUDA' in README.md"
print(f"install: done; torch {version('torch')} is built for {built}")
"""


def say(words: str) -> None:
    print(f"install: {words}", flush=True)


def fail(what: str) -> None:
    sys.exit(
        f"install: {what} failed; the reason is above.\n"
        "install: fix its cause, then run `make install` again; if it fails once more, run `make clean` first"
    )


def runs(*words: str | Path, env: dict[str, str] | None = None) -> bool:
    return subprocess.run([*map(str, words)], env=env, check=False).returncode == 0


def pip_settings(python: Path) -> dict[str, str]:
    """pip's settings by name. Those of `install` win over those of all its verbs, the environment's over both."""
    words = [str(python), "-m", "pip", "config", "list"]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    found = {}
    for section in ("global.", "install.", ":env:."):
        for name, _, value in (line.partition("=") for line in lines if line.startswith(section)):
            found[name[len(section) :]] = str(ast.literal_eval(value))
    return found


def with_uv(python: Path, folder: str) -> bool:
    """Whether uv, fetched into this folder, installed everything; if not, why is said."""
    settings = {name: value for name, value in pip_settings(python).items() if value.strip()}
    foreign = sorted(settings.keys() - TOLD.keys() - HARMLESS)
    if foreign:
        say(f"  by pip, which takes longer: uv cannot be told pip's setting {foreign[0]}")
        return False
    if not runs(python, "-m", "pip", "install", "-qqq", "--target", folder, UV):
        say("  by pip, which takes longer: uv cannot be had here")
        return False
    env = {**os.environ, "UV_INDEX_STRATEGY": "unsafe-best-match"}  # as pip: the best of all indexes, not of the first
    env |= {told: between.join(settings[name].split()) for name, (told, between) in TOLD.items() if name in settings}
    words = [f"{folder}/bin/uv", "pip", "install", "--no-config", "--no-progress", "--python", str(python), *OURS]
    with subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True) as uv:
        for line in uv.stderr or ():
            if not line.startswith((" + ", " - ", " Downloaded")):  # each package once is enough
                say(f"  {line.strip()}")
    if uv.returncode:
        say("  by pip, which takes longer: uv failed")
    return uv.returncode == 0


def with_pip(python: Path) -> bool:
    """Several pips side by side bring the pinned packages and look at nothing else; then one looks at everything."""
    pip = (python, "-m", "pip", "install", "-qq", "--no-compile")
    lines = [line for line in Path("constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    lines.sort(key=str.lower, reverse=True)  # torch and other large ones come early

    def bring(batch: list[str]) -> bool:
        good = runs(*pip, "--no-deps", *batch)
        say(f"  {'installed' if good else 'NOT installed:'} {' '.join(batch)}")
        return good

    with ThreadPoolExecutor(PIPS) as pool:
        good = all([*pool.map(bring, [lines[start : start + BATCH] for start in range(0, len(lines), BATCH)])])
    return good and runs(*pip, "--use-pep517", "--no-build-isolation", *OURS)


def main(environment: str) -> None:
    first, last = PYTHONS
    if not first <= sys.version_info[:2] <= last:
        sys.exit("empslurm needs Python 3.11, 3.12 or 3.13, found {}.{}; set PYTHON=".format(*sys.version_info))
    say(f"making {environment}; this can take minutes on a slow network or disk, or with a CUDA build of torch")
    say("1 of 3, an empty environment")
    if not runs(sys.executable, "-m", "venv", environment):
        fail("making it")
    python = Path(environment, "bin", "python")
    say("2 of 3, the packages that constraints.txt pins, and empslurm")
    with tempfile.TemporaryDirectory() as folder:
        if not with_uv(python, folder) and not with_pip(python):
            fail("installing them")
    say("3 of 3, whether they fit each other, and their first start, which compiles them")
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    starts = [(python, "-W", "ignore", "-c", f"import {names}") for names in FIRST_STARTS]
    with ThreadPoolExecutor() as pool:
        checks = [*pool.map(lambda words: runs(*words, env=env), [*starts, (python, "-m", "pip", "check")])]
    if not all(checks):
        fail("this check")
    runs(python, "-c", DONE)


if __name__ == "__main__":
    main(*sys.argv[1:])
