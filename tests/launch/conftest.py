"""Stand-ins for Slurm's commands with staged answers, and a submission to send."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from empslurm.cli import submit
from empslurm.launch import scontrol, slurm
from empslurm.launch import submission as submissions
from empslurm.launch.markers import Array
from empslurm.launch.node import process
from empslurm.launch.queue import COLUMNS
from empslurm.launch.submission import NodeSettings, Submission
from empslurm.plan import packs
from empslurm.store.runs import RunsRoot
from tests.launch.test_arrays import plan_of

# Each call takes the next line of `answers`: REFUSE text, LOSE text (accepted, but the answer is lost), or TAKE.
SBATCH = """#!/bin/bash
cd {folder}
line=$(sed -n 1p answers); sed -i 1d answers
[ "$1" = --export=ALL ] && shift
[ "$1" != --parsable ] || {{ cat > piped; set -- piped; }}
name=$(sed -n 's/^#SBATCH --job-name=//p' "$1")
echo "$name" >> asked
case "$line" in REFUSE*) echo "sbatch: error: ${{line#REFUSE }}" >&2; exit 1;; esac
id=$(( $(cat last 2>/dev/null || echo 100) + 1 )); echo $id > last
echo "$id $name" >> taken
sed -n 's/^#SBATCH --dependency=//p' "$1" >> dependencies
cp "$1" script-$id
env > environment-$id
case "$line" in LOSE*) echo "sbatch: error: ${{line#LOSE }}" >&2; exit 1;; esac
echo "Submitted batch job $id"
"""
SQUEUE = """#!/bin/bash
cd {folder}
echo "$*" >> queue-asked
env > queue-environment
[ ! -e silent ] || exit 1
[ -e taken ] || exit 0
reason=$(cat reason 2>/dev/null || echo None)
while read -r id name; do
    for n in 0 1 2 3 4 5; do printf '{layout}' $id $n $id PENDING 0 "$reason" '' "$name" lab; echo; done
done < taken
"""


SETTINGS = NodeSettings(cpus=2, gpus=0, num_processes=1, checkpoint_minutes=5.0, requeues=10, grace_s=30.0)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of stand-ins for sbatch, squeue, srun, sacct and scontrol; waits are short."""
    folder = tmp_path / "lab"
    folder.mkdir()
    layout = "".join(f"%-{width}s" for width in COLUMNS.values())
    programs = {
        "sbatch": SBATCH.format(folder=folder),
        "squeue": SQUEUE.format(folder=folder, layout=layout),
        "srun": "#!/bin/sh\n",
        "scancel": f"#!/bin/sh\necho $* >> {folder}/cancelled\n",
        "sacct": "#!/bin/sh\nexit 1\n",
        "scontrol": f"#!/bin/sh\necho $* >> {folder}/told\nprintf 'ClusterName = lab\\nMaxArraySize  = 6\\n'\n",
    }
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "answers").touch()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    for module, name, value in (
        (slurm, "FIRST_WAIT_S", 0.01),
        (slurm, "PATIENCE_S", 2.0),
        (slurm, "LISTEN_S", 0.01),
        (scontrol, "RETRY_S", 0.05),
        (submit, "LOOK_AFTER_S", 0.05),
    ):
        monkeypatch.setattr(module, name, value)
    scontrol.cluster.cache_clear()
    yield folder
    scontrol.cluster.cache_clear()


def runs_as(monkeypatch: pytest.MonkeyPatch, array: Array, job: str = "101", index: int = 0, restart: int = 0) -> None:
    """Make this process an element of an array, by the variables of the batch script and of Slurm."""
    given = {
        "EMPSLURM_ARRAY": str(array.path),
        "EMPSLURM_JOB_NAME": array.name,
        "SLURM_ARRAY_JOB_ID": job,
        "SLURM_ARRAY_TASK_ID": str(index),
        "SLURM_RESTART_COUNT": str(restart),
        "SLURM_CLUSTER_NAME": "lab",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def root(tmp_path: Path) -> RunsRoot:
    return RunsRoot(tmp_path / "runs")


@pytest.fixture
def made(root: RunsRoot) -> Submission:
    return submissions.create(root, "demo", Path("data"), (), packs(plan_of("small_grid").cells), SETTINGS)


@pytest.fixture
def square(root: RunsRoot) -> Submission:
    """Two baselines and the two transfers between them, one pack each."""
    cells = [cell for cell in plan_of("small_grid").cells if cell.seed == 1]
    two = {cell.target for cell in [cell for cell in cells if cell.kind == "baseline"][:2]}
    chosen = [cell for cell in cells if {cell.target, cell.source_task or cell.target} <= two]
    made = submissions.create(root, "demo", Path("data"), (), packs(chosen), SETTINGS)
    assert [(pack.wave, len(pack.cells)) for pack in made.packs] == [(0, 1), (0, 1), (1, 1), (1, 1)]
    return made


Notes = Callable[[], dict[int, dict[str, Any]]]


@pytest.fixture
def staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Notes]:
    """A stand-in for jobs/train.py in its own folder, launched by accelerate; and its notes by pack."""
    folder = tmp_path / "jobs"
    folder.mkdir()
    shutil.copy(Path(__file__).parent / "staged" / "train.py", folder)
    shutil.copy(process.JOBS / "accelerate.yaml", folder)
    monkeypatch.setattr(process, "JOBS", folder)
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)

    def notes() -> dict[int, dict[str, Any]]:
        found = [json.loads(path.read_text()) for path in folder.glob("note-*.json")]
        return {note["packs"][0]: note for note in found}

    return folder, notes
