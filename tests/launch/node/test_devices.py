"""Each pack of a job gets its own GPUs, cores and memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empslurm.errors import UsageError
from empslurm.launch.node.devices import Slot, n_slots, slots, visible

UUIDS = ("GPU-8f3c1d2e-0000-0000-0000-000000000001", "GPU-8f3c1d2e-0000-0000-0000-000000000002")
MIGS = ("MIG-0b4e3a52-0000-0000-0000-000000000001", "MIG-GPU-8f3c1d2e/7/0")


@pytest.mark.parametrize(
    ("value", "gpus", "expected"),
    [
        (None, 3, ("0", "1", "2")),
        (None, 0, ()),
        ("2,0", 2, ("2", "0")),
        (" 1, 3 ", 2, ("1", "3")),
        (",".join(UUIDS), 2, UUIDS),
        (",".join(MIGS), 2, MIGS),
        ("", 2, ()),
        ("-1", 2, ()),
        ("NoDevFiles", 2, ()),
        ("0,-1,1", 2, ("0",)),
        ("0,1,2,3", 2, ("0", "1", "2", "3")),
        ("0,0", 2, ("0",)),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(value: str | None, gpus: int, expected: tuple[str, ...]) -> None:
    assert visible(value, gpus) == expected


def made(devices: tuple[str, ...], **changes: int) -> tuple[Slot, ...]:
    options = {"gpus": len(devices), "num_processes": 1, "packs_per_gpu": 1, "cpus": 8, "n_packs": 99, **changes}
    return slots(devices, **options)


def test_one_pack_on_each_gpu() -> None:
    assert made(UUIDS) == (
        Slot(devices=(UUIDS[0],), n_cores=4, memory_share=1.0),
        Slot(devices=(UUIDS[1],), n_cores=4, memory_share=1.0),
    )


def test_each_process_of_a_pack_has_its_own_gpu() -> None:
    found = made(("4", "5", "6", "7", "9"), num_processes=2)
    assert [slot.devices for slot in found] == [("4", "5"), ("6", "7")]


def test_packs_share_a_gpu_its_memory_and_the_cores() -> None:
    found = made(MIGS, packs_per_gpu=2)
    assert [slot.devices for slot in found] == [(MIGS[0],), (MIGS[1],), (MIGS[0],), (MIGS[1],)]
    assert {(slot.n_cores, slot.memory_share) for slot in found} == {(2, 0.5)}
    assert found[0].arguments == ["--gpu", "--memory-share", "0.5"]
    assert found[0].environment == {"CUDA_VISIBLE_DEVICES": MIGS[0]}


def test_few_packs_spread_over_the_gpus_and_share_all_cores() -> None:
    found = made(("0", "1"), packs_per_gpu=4, n_packs=2)
    assert [(slot.devices, slot.n_cores) for slot in found] == [(("0",), 4), (("1",), 4)]


def test_without_gpus_one_pack_has_all_cores_and_nothing_is_assigned() -> None:
    (only,) = made((), gpus=0, num_processes=2)
    assert only == Slot(devices=(), n_cores=8, memory_share=1.0)
    assert (only.environment, only.arguments) == ({}, [])


def test_a_whole_gpu_needs_no_share() -> None:
    assert made(("0",))[0].arguments == ["--gpu"]


def test_too_few_devices_are_a_sentence() -> None:
    with pytest.raises(UsageError, match=r"4 GPUs must be visible, .* names 2 \(0, 1\); lower `gpus`"):
        made(("0", "1"), gpus=4)
    with pytest.raises(UsageError, match=r"names 0 \(none\)"):
        made((), gpus=1)


def test_more_devices_than_asked_for_are_left_alone() -> None:
    assert [slot.devices for slot in made(("0", "1", "2", "3"), gpus=2)] == [("0",), ("1",)]


def test_several_processes_on_mig_devices_are_refused() -> None:
    with pytest.raises(UsageError, match="num_processes must be 1 on MIG devices"):
        made(MIGS, num_processes=2)


@given(
    gpus=st.integers(0, 16),
    num_processes=st.integers(1, 4),
    packs_per_gpu=st.integers(1, 4),
    cpus=st.integers(1, 64),
    n_packs=st.integers(0, 70),
)
def test_nothing_is_given_away_twice(
    gpus: int, num_processes: int, packs_per_gpu: int, cpus: int, n_packs: int
) -> None:
    if 0 < gpus < num_processes or (not gpus and packs_per_gpu > 1):
        return  # no profile can ask for this
    found = made(
        tuple(f"{at}" for at in range(gpus)),
        num_processes=num_processes,
        packs_per_gpu=packs_per_gpu,
        cpus=cpus,
        n_packs=n_packs,
    )
    at_once = n_slots(
        gpus=gpus, num_processes=num_processes, packs_per_gpu=packs_per_gpu, cpus=cpus, cpus_per_pack=None
    )
    assert len(found) == min(at_once, max(1, n_packs))
    for at in range(gpus):
        assert sum(slot.memory_share for slot in found if str(at) in slot.devices) <= 1.0001
    assert all(len(set(slot.devices)) == (num_processes if gpus else 0) for slot in found)
    assert sum(slot.n_cores for slot in found) <= max(cpus, len(found))


@pytest.mark.parametrize(
    ("gpus", "cpus", "cpus_per_pack", "expected"),
    [(0, 16, None, 1), (0, 16, 4, 4), (0, 3, 4, 1), (4, 16, None, 4), (4, 16, 8, 2), (4, 64, 8, 4)],
)
def test_packs_at_once_are_bounded_by_cores_too(gpus: int, cpus: int, cpus_per_pack: int | None, expected: int) -> None:
    found = n_slots(gpus=gpus, num_processes=1, packs_per_gpu=1, cpus=cpus, cpus_per_pack=cpus_per_pack)
    assert found == expected
