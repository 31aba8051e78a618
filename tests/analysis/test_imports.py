"""Analyses start without the heavy libraries: the command line imports them before it knows which is asked for."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

from empslurm import analysis


def test_no_heavy_library_at_import() -> None:
    modules = [f"empslurm.analysis.{found.name}" for found in pkgutil.iter_modules(analysis.__path__)]
    assert len(modules) >= 10
    asked = f"print([name for name in {HEAVY} if name in sys.modules])"
    code = f"import sys, {', '.join(modules)}, empslurm.reference; {asked}"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


HEAVY = ("torch", "transformers", "sklearn", "scipy.stats", "statsmodels", "krippendorff", "matplotlib", "pandas")
