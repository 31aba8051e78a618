"""An element on a node with several GPUs: a pack on each slot, and another node where the GPUs cannot be used."""

import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from empslurm.launch import journal, markers, policy
from empslurm.launch import submission as submissions
from empslurm.launch.liveness import job_identity
from empslurm.launch.markers import Array
from empslurm.launch.node import array_task, running, sources
from empslurm.launch.node.array_task import Work
from empslurm.launch.submission import NodeSettings, Submission
from empslurm.plan import packs
from empslurm.store.runs import RunsRoot
from tests.launch.conftest import SETTINGS, Notes
from tests.launch.staged.train import finish
from tests.launch.test_arrays import plan_of

GPUS = replace(SETTINGS, gpus=2, cpus=8, packs_per_gpu=2)


def create(root: RunsRoot, settings: NodeSettings) -> Submission:
    return submissions.create(root, "demo", Path("data"), (), packs(plan_of("small_grid").cells), settings)


def marked(root: RunsRoot, made: Submission, places: list[int]) -> Array:
    array = markers.mark(root, made, [places], "demo", cluster="lab")
    array.resolve("101")
    os.environ |= {"EMPSLURM_ARRAY": str(array.path), "EMPSLURM_JOB_NAME": array.name}
    return array


@pytest.fixture
def job(lab: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of the first start of job 101_0 on node1; `marked` adds its array."""
    for name, value in {"EMPSLURM_ARRAY": "", "EMPSLURM_JOB_NAME": "", "SLURM_ARRAY_JOB_ID": "101"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    monkeypatch.setenv("EMPSLURM_LOG", str(lab / "log"))
    monkeypatch.setattr(sources, "PATIENCE_S", 0.0)
    monkeypatch.setattr(array_task, "POLL_S", 0.01)
    move(monkeypatch, 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return lab


def move(monkeypatch: pytest.MonkeyPatch, restart: int) -> None:
    """The job starts again, on the next node."""
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))
    monkeypatch.setattr(socket, "gethostname", lambda: f"node{restart + 1}")


def told(lab: Path) -> list[str]:
    return (lab / "told").read_text().splitlines() if (lab / "told").exists() else []


# ---- slots -----------------------------------------------------------------------------------------------------------


def test_four_packs_at_once_on_two_gpus(
    job: Path, root: RunsRoot, staged: tuple[Path, Notes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real processes: none of the four ends before all have started."""
    folder, notes = staged
    (folder / "together").write_text("4")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "64")  # the profile's share counts, not what the node gave
    array = marked(root, create(root, replace(GPUS, trackers=("wandb", "tensorboard"))), [0, 1, 2, 3])
    monkeypatch.setattr(socket, "gethostname", lambda: os.uname().nodename)  # the claims' processes run on this host
    assert Work(root, array).run() == "done"
    found = notes()
    assert [found[at]["CUDA_VISIBLE_DEVICES"] for at in range(4)] == ["3", "1", "3", "1"]
    assert {(note["gpu"], note["memory_share"], note["OMP_NUM_THREADS"]) for note in found.values()} == {
        (True, 0.5, "2")
    }
    assert [note["trackers"] for note in found.values()] == [["wandb", "tensorboard"]] * 4
    (_, end) = journal.journal(array.submission, 0).events()
    assert end.reason == "done"
    assert end.wall_s is not None
    assert end.gpu_s == pytest.approx(end.wall_s / 2, abs=0.1)


class Finishing:
    """Train processes that finish their pack at the third question whether they have ended."""

    now: int = 0
    most: int = 0
    devices: tuple[str, ...] = ()

    def __init__(self, precision: str, n_processes: int, arguments: list[str], **more: Any) -> None:
        Finishing.now += 1
        Finishing.most = max(Finishing.most, Finishing.now)
        Finishing.devices += (more["variables"]["CUDA_VISIBLE_DEVICES"],)
        self.work, self.looks, self.code = arguments, 0, 0
        self.place = int(arguments[arguments.index("--pack") + 1])

    @property
    def ended(self) -> bool:
        self.looks += 1
        return self.looks > 2 + self.place

    def close(self) -> None:
        Finishing.now -= 1
        path = Path(self.work[self.work.index("--submission") + 1])
        root = RunsRoot(Path(self.work[self.work.index("--runs") + 1]))
        for cell in submissions.load(path, [self.place]).cells:
            finish(root, cell)


def test_a_freed_slot_takes_the_next_pack(job: Path, root: RunsRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in older submissions, whose elements have more packs than their job has slots."""
    monkeypatch.setattr(running, "TrainProcess", Finishing)
    Finishing.now, Finishing.most, Finishing.devices = 0, 0, ()
    array = marked(root, create(root, replace(GPUS, packs_per_gpu=None)), [0, 1, 2, 3])
    assert Work(root, array).run() == "done"
    assert (Finishing.most, Finishing.now) == (2, 0)
    assert Finishing.devices == ("0", "1", "0", "1")


class Hanging:
    """Train processes that end only when asked to; the first look at them sends TERM to the element."""

    work: Work
    asked: int = 0

    def __init__(self, *_: object, **__: object) -> None:
        self.over = False
        self.code = 1

    @property
    def ended(self) -> bool:
        if not Hanging.work.job.stopping:
            Hanging.work._on_term()
        return self.over

    def ask(self) -> None:
        Hanging.asked += not self.over

    def stop(self, grace_s: float) -> None:
        assert grace_s <= SETTINGS.grace_s
        self.over = True

    def close(self) -> None:
        """It holds no port."""


def test_all_packs_are_saved_when_the_job_must_end(job: Path, root: RunsRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "TrainProcess", Hanging)
    array = marked(root, create(root, GPUS), [0, 1, 2])
    Hanging.work, Hanging.asked = Work(root, array), 0
    assert Hanging.work.run() == "stopped"
    assert Hanging.asked == 3
    for place in (0, 1, 2):
        assert [event.reason for event in journal.journal(array.submission, place).events()] == [None, "stopped"]


# ---- devices that cannot be used -------------------------------------------------------------------------------------


class Broken:
    """Train processes that cannot use the GPUs of the nodes in `nodes`, and finish their pack on others."""

    nodes: frozenset[str] = frozenset()
    started: int = 0
    ended = True
    code = 1

    def __init__(self, precision: str, n_processes: int, arguments: list[str], **_: Any) -> None:
        Broken.started += 1
        path = Path(arguments[arguments.index("--submission") + 1])
        root = RunsRoot(Path(arguments[arguments.index("--runs") + 1]))
        left_out = {arguments[at + 1] for at, word in enumerate(arguments) if word == "--without"}
        for cell in submissions.load(path, [int(arguments[arguments.index("--pack") + 1])]).cells:
            if cell.id in left_out:
                continue
            if socket.gethostname() not in Broken.nodes:
                finish(root, cell)
                continue
            folder = root.cell(cell.id)
            folder.create(cell)
            claim = folder.take(lambda _: False, **job_identity())
            assert claim is not None
            folder.fail(claim, kind="device", message="torch must find a GPU, but does not")
            folder.release(claim)

    def close(self) -> None:
        """It holds no port."""


@pytest.fixture
def broken(job: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(running, "TrainProcess", Broken)
    Broken.nodes, Broken.started = frozenset(["node1"]), 0
    return job


def failures(array: Array) -> bool:
    return array.submission.failures.exists()


def test_packs_of_a_node_without_usable_gpus_are_done_on_the_next(
    broken: Path, root: RunsRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = create(root, replace(GPUS, exclude="node[7-9]"))
    array = marked(root, made, [0, 1, 2, 3])
    assert Work(root, array).run() == "requeued"
    # Once, after all four had ended; what the profile excludes stays excluded.
    assert told(broken) == ["requeue 101_0", "update JobId=101_0 ExcNodeList=node1,node[7-9]"]
    assert not failures(array)
    move(monkeypatch, 1)
    assert Work(root, array).run() == "done"
    assert all(root.cell(cell.id).result() for place in range(4) for cell in made.packs[place].cells)
    assert Broken.started == 8


def test_a_bad_node_is_left_at_once_when_the_job_comes_back_to_it(
    broken: Path, root: RunsRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = marked(root, create(root, GPUS), [0])
    assert Work(root, array).run() == "requeued"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert Work(root, array).run() == "requeued"
    assert Broken.started == 1


def test_after_so_many_bad_nodes_a_cell_stays_failed_with_its_reason(
    broken: Path, root: RunsRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    Broken.nodes = frozenset(f"node{number}" for number in range(1, 9))
    made = create(root, GPUS)
    array = marked(root, made, [0, 1])
    said = []
    for restart in range(policy.DEVICE.n_tries + 2):
        move(monkeypatch, restart)
        said.append(Work(root, array).run())
    assert said == ["requeued", "requeued", "done", "done"]
    assert Broken.started == 2 * (policy.DEVICE.n_tries + 1)
    error = root.cell(made.packs[0].cells[0].id).error()
    assert error is not None
    assert error["class"] == "device"
    assert failures(array)
    assert told(broken)[-1] == "update JobId=101_0 ExcNodeList=node1,node2"


def test_where_no_restart_is_left_a_cell_stays_failed_on_the_first_bad_node(broken: Path, root: RunsRoot) -> None:
    array = marked(root, create(root, replace(GPUS, requeues=0)), [0])
    assert Work(root, array).run() == "done"
    assert told(broken) == []
    assert failures(array)


def test_a_job_that_sees_too_few_gpus_goes_elsewhere_then_says_so(
    broken: Path, root: RunsRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "NoDevFiles")
    made = create(root, GPUS)
    array = marked(root, made, [0, 1])
    said = []
    for restart in range(policy.DEVICE.n_tries + 1):
        move(monkeypatch, restart)
        said.append(Work(root, array).run())
    assert (said, Broken.started) == (["requeued", "requeued", "done"], 0)
    error = root.cell(made.packs[1].cells[0].id).error()
    assert error is not None
    assert error["class"] == "device"
    assert error["message"].startswith("2 GPUs must be visible")
    assert "CUDA_VISIBLE_DEVICES names 0 (none)" in error["message"]


def test_a_cell_that_failed_otherwise_is_not_tried_again_with_them(
    broken: Path, root: RunsRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = create(root, GPUS)
    array = marked(root, made, [0])
    cell = made.packs[0].cells[0]
    folder = root.cell(cell.id)
    folder.create(cell)
    claim = folder.take(lambda _: False, **job_identity())
    assert claim is not None
    folder.fail(claim, kind="error", message="a sentence")
    folder.release(claim)
    move(monkeypatch, 1)
    assert Work(root, array).run() == "done"
    assert Broken.started == 0
