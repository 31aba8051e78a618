"""Stand-ins for Slurm's commands, whose answers are staged, and a submission to send."""

import os
from pathlib import Path

import pytest

from empslurm.launch import control, slurm
from empslurm.launch import submission as submissions
from empslurm.launch.queue import COLUMNS
from empslurm.launch.submission import NodeSettings, Submission
from empslurm.plan import packs
from empslurm.store import RunsRoot
from tests.launch.test_arrays import plan_of

# Each call takes the next line of `answers`: REFUSE text, LOSE text (accepted, but the answer is lost), or TAKE.
SBATCH = """#!/bin/bash
cd {folder}
line=$(sed -n 1p answers); sed -i 1d answers
name=$(sed -n 's/^#SBATCH --job-name=//p' "$1")
echo "$name" >> asked
case "$line" in REFUSE*) echo "sbatch: error: ${{line#REFUSE }}" >&2; exit 1;; esac
id=$(( $(cat last 2>/dev/null || echo 100) + 1 )); echo $id > last
echo "$id $name" >> taken
sed -n 's/^#SBATCH --dependency=//p' "$1" >> dependencies
cp "$1" script-$id
case "$line" in LOSE*) echo "sbatch: error: ${{line#LOSE }}" >&2; exit 1;; esac
echo "Submitted batch job $id"
"""
SQUEUE = """#!/bin/bash
cd {folder}
[ ! -e silent ] || exit 1
[ -e taken ] || exit 0
while read -r id name; do printf '{layout}' $id N/A $id PENDING 0 None '' "$name"; echo; done < taken
"""


SETTINGS = NodeSettings(cpus=2, gpus=0, num_processes=1, checkpoint_minutes=5.0, requeues=10, grace_s=30.0)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of stand-ins for sbatch, squeue, srun, sacct and scontrol; waits are short."""
    folder = tmp_path / "lab"
    folder.mkdir()
    layout = "".join(f"%-{width}s" for width in COLUMNS.values())
    programs = {
        "sbatch": SBATCH.format(folder=folder),
        "squeue": SQUEUE.format(folder=folder, layout=layout),
        "srun": "#!/bin/sh\n",
        "sacct": "#!/bin/sh\nexit 1\n",
        "scontrol": f"#!/bin/sh\necho $* >> {folder}/told\necho 'MaxArraySize            = 6'\n",
    }
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "answers").touch()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    for module, name, value in (
        (slurm, "FIRST_WAIT_S", 0.01),
        (slurm, "PATIENCE_S", 2.0),
        (control, "RETRY_S", 0.05),
    ):
        monkeypatch.setattr(module, name, value)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> RunsRoot:
    return RunsRoot(tmp_path / "runs")


@pytest.fixture
def made(root: RunsRoot) -> Submission:
    return submissions.create(root, "demo", Path("data"), (), packs(plan_of("demo").cells), SETTINGS)
