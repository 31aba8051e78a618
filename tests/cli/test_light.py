"""What must answer at once imports nothing heavy."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "adapters", "datasets", "sklearn", "pandas", "scipy", "matplotlib"}


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["plan", "full_grid"],
        ["plan", "full_grid", "--profile", "local"],
        ["plan", "full_grid", "--profile", "example-single-gpu"],
        ["plan", "--help"],
        ["data", "status"],
        ["score", "--help"],
        ["export", "--help"],
    ],
)
def test_light_verbs_import_no_heavy_library(words: list[str]) -> None:
    code = "import sys; from empslurm.cli import main\ntry: status = main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += f"print('heavy:', *sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "heavy:"), done.stderr


def test_what_submit_needs_where_everything_is_prepared_imports_no_torch() -> None:
    code = "import sys, empslurm.cli.submit, empslurm.cli.prepare, empslurm.train.data.tokens\n"
    code += "from empslurm.cli import common; from empslurm.cli.output import Output\n"
    code += "common.warn((), common.choose_profile('local'), Output(json=True))\n"
    code += "print('heavy:', *sorted({'torch', 'transformers', 'adapters'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "heavy:"), done.stderr
