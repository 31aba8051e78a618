"""Runs on this machine: packs train at once on their own GPUs or cores, none before its sources have ended."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from empslurm.errors import UsageError
from empslurm.launch import local
from empslurm.launch.node import process
from empslurm.launch.node.devices import Slot
from empslurm.launch.profile import MOST_CORES, Profile
from empslurm.launch.submission import Submission
from empslurm.store.cell_folder import CellDir
from empslurm.store.runs import RunsRoot
from tests.launch.conftest import Notes
from tests.launch.staged.train import finish


def workstation(**changes: object) -> Profile:
    return Profile(**{"name": "x", "kind": "local", "cpus": MOST_CORES, **changes})  # type: ignore[arg-type]


def run(root: RunsRoot, made: Submission, profile: Profile, looks: list[list[int]] | None = None) -> int:
    def look(indices: Sequence[int]) -> None:
        if looks is not None:
            looks.append(list(indices))

    slots = local.slots(profile, len(made.packs))
    return local.run(root, made, profile, slots, look=look, say=lambda _: None)


# ---- real processes --------------------------------------------------------------------------------------------------


def test_two_packs_at_once_each_on_its_own_gpu_and_none_before_its_sources(
    root: RunsRoot, square: Submission, staged: tuple[Path, Notes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, notes = staged
    (folder / "together").write_text("2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aaaa,GPU-bbbb,GPU-cccc")
    monkeypatch.setattr(local, "cores_here", lambda: 9)
    looks: list[list[int]] = []
    assert run(root, square, workstation(gpus=3), looks) == 0  # the third GPU stays idle, since the transfers wait
    told = notes()
    assert [told[at]["CUDA_VISIBLE_DEVICES"] for at in (0, 1)] == ["GPU-aaaa", "GPU-bbbb"]
    assert {note["OMP_NUM_THREADS"] for note in told.values()} == {"3"}
    assert {(note["gpu"], note["memory_share"]) for note in told.values()} == {(True, 1.0)}
    assert [0, 1] in looks
    index_of = {cell.id: index for index, pack in enumerate(square.packs) for cell in pack.cells}
    for at in (2, 3):
        (parent,) = square.packs[at].parents
        assert told[index_of[parent]]["end"] <= told[at]["start"]
    logs = {(claim.log or "") for cell in square.cells if (claim := root.cell(cell.id).claim())}
    assert {"local-0.log", "local-1.log"} <= {Path(log).name for log in logs}
    assert all(Path(log).is_file() for log in logs)


def test_two_packs_share_one_gpu(
    root: RunsRoot, square: Submission, staged: tuple[Path, Notes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, notes = staged
    (folder / "together").write_text("2")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert run(root, square, workstation(gpus=1, packs_per_gpu=2)) == 0
    found = {(note["CUDA_VISIBLE_DEVICES"], note["memory_share"], note["OMP_NUM_THREADS"]) for note in notes().values()}
    assert found == {("0", 0.5, "5")}


def test_without_gpus_one_process_trains_all_on_what_torch_finds(
    root: RunsRoot, square: Submission, staged: tuple[Path, Notes]
) -> None:
    assert run(root, square, workstation(trackers=("tensorboard",))) == 0
    (only,) = staged[1]().values()
    assert only["trackers"] == ["tensorboard"]
    assert (only["packs"], only["gpu"], only["CUDA_VISIBLE_DEVICES"]) == ([0, 1, 2, 3], False, None)
    assert only["OMP_NUM_THREADS"] == str(len(os.sched_getaffinity(0)))


def test_packs_that_share_out_the_cores_train_at_once(
    root: RunsRoot, square: Submission, staged: tuple[Path, Notes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, notes = staged
    (folder / "together").write_text("2")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(local, "cores_here", lambda: 64)
    assert run(root, square, workstation(cpus=7, cpus_per_pack=3)) == 0
    told = notes()
    assert {(note["OMP_NUM_THREADS"], note["gpu"], note["memory_share"]) for note in told.values()} == {
        ("3", False, 1.0)
    }
    index_of = {cell.id: index for index, pack in enumerate(square.packs) for cell in pack.cells}
    for at in (2, 3):
        (parent,) = square.packs[at].parents
        assert told[index_of[parent]]["end"] <= told[at]["start"]


# ---- who trains what -------------------------------------------------------------------------------------------------


def stand_in(name: str, *parents: str, precision: str = "no") -> Any:
    return SimpleNamespace(cells=(SimpleNamespace(id=name, mixed_precision=precision),), parents=parents)


CORE = Slot(devices=(), n_cores=1, memory_share=1.0)
PACKS = [
    *(stand_in(name) for name in "abc"),
    stand_in("d", "a"),
    stand_in("e", "elsewhere"),
    stand_in("f", "d"),
    stand_in("g", "b"),
    stand_in("h", "a", precision="bf16"),
]


def indices(slots: Sequence[Slot]) -> list[tuple[int, ...]]:
    return [task.indices for task in local.tasks(PACKS, slots)]


def test_one_process_trains_neighbours_of_one_precision() -> None:
    assert indices([CORE]) == [(0, 1, 2, 3, 4, 5, 6), (7,)]


def test_on_cores_few_processes_share_what_can_start_together() -> None:
    assert indices([CORE] * 2) == [(0, 2), (1, 4), (3,), (6,), (7,), (5,)]
    assert indices([CORE] * 9) == [(0,), (1,), (2,), (4,), (3,), (6,), (7,), (5,)]


def test_on_gpus_each_pack_has_a_process() -> None:
    gpus = [Slot(devices=(name,), n_cores=1, memory_share=1.0) for name in "01"]
    assert indices(gpus) == [(index,) for index in range(len(PACKS))]


# ---- staged processes ------------------------------------------------------------------------------------------------


@dataclass
class Desk:
    """Stages train processes: how each slot's GPU behaves; records in which order packs were started."""

    root: RunsRoot
    made: Submission
    broken: frozenset[str] = frozenset()
    hang: bool = False

    def __post_init__(self) -> None:
        self.started: list[tuple[int, str]] = []
        self.asked: list[str] = []

    def process(self, precision: str, n_processes: int, arguments: list[str], **more: Any) -> "Staged":
        index = int(arguments[arguments.index("--pack") + 1])
        device = more["variables"].get("CUDA_VISIBLE_DEVICES", "")
        self.started.append((index, device))
        for cell in () if self.hang else self.made.packs[index].cells:
            if device in self.broken:
                self._break(self.root.cell(cell.id))
            else:
                finish(self.root, cell)
        return Staged(self, device)

    def _break(self, folder: CellDir) -> None:
        folder.create(next(cell for cell in self.made.cells if cell.id == folder.id))
        claim = folder.take(lambda _: False)
        assert claim is not None
        folder.fail(claim, kind="device", message="no GPU")
        folder.release(claim)


class Staged:
    """A train process that has finished, unless it hangs."""

    def __init__(self, desk: Desk, device: str) -> None:
        self.desk, self.device = desk, device
        self.code = 1 if device in desk.broken else 0

    @property
    def ended(self) -> bool:
        return not self.desk.hang

    def ask(self) -> None:
        self.desk.asked.append(self.device)

    def stop(self, grace_s: float) -> None:
        assert 0 <= grace_s <= local.GRACE_S

    def close(self) -> None:
        """It holds no port."""


@pytest.fixture
def desk(root: RunsRoot, square: Submission, monkeypatch: pytest.MonkeyPatch) -> Desk:
    made = Desk(root, square)
    monkeypatch.setattr(local, "TrainProcess", made.process)
    monkeypatch.setattr(local, "POLL_S", 0.001)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return made


def test_a_broken_gpu_is_left_out_and_its_pack_goes_to_another(root: RunsRoot, square: Submission, desk: Desk) -> None:
    desk.broken = frozenset("0")
    assert run(root, square, workstation(gpus=2)) == 0
    assert desk.started[:2] == [(0, "0"), (1, "1")]
    assert [device for _, device in desk.started[2:]] == ["1", "1", "1"]
    assert all(root.cell(cell.id).result() for cell in square.cells)


def test_when_no_gpu_can_be_used_every_cell_says_so_and_it_ends(root: RunsRoot, square: Submission, desk: Desk) -> None:
    desk.broken = frozenset("01")
    assert run(root, square, workstation(gpus=2)) == 1
    errors = [root.cell(cell.id).error() for cell in square.cells]
    assert {(error or {}).get("class") for error in errors} == {"device"}
    assert len(desk.started) == 5


def test_interrupting_asks_all_of_them_to_save(root: RunsRoot, square: Submission, desk: Desk) -> None:
    desk.hang = True

    def interrupt(indices: Sequence[int]) -> None:
        assert list(indices) == [0, 1]
        raise KeyboardInterrupt

    profile = workstation(gpus=4)
    slots = local.slots(profile, 4)
    status = local.run(root, square, profile, slots, look=interrupt, say=lambda _: None)
    assert status == local.EXIT_INTERRUPTED
    assert sorted(set(desk.asked)) == ["0", "1"]  # the transfers still wait for their sources


def test_what_another_process_has_finished_is_not_started(root: RunsRoot, square: Submission, desk: Desk) -> None:
    finish(root, square.packs[1].cells[0])
    assert run(root, square, workstation(gpus=2)) == 0
    assert sorted(index for index, _ in desk.started) == [0, 2, 3]


def test_too_few_gpus_are_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(UsageError, match="2 GPUs must be visible"):
        local.slots(workstation(gpus=2), 8)


def test_all_have_one_time_to_save_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    graces: list[float] = []

    class Slow:
        def ask(self) -> None:
            graces.append(-1.0)

        def stop(self, grace_s: float) -> None:
            graces.append(grace_s)
            monkeypatch.setattr(time, "monotonic", lambda: 107.0)

    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    process.stop_all([Slow(), Slow()], 10.0)  # type: ignore[list-item]
    assert graces == [-1.0, -1.0, 10.0, 3.0]
