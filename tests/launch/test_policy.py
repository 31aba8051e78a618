"""What follows from a pack's journal."""

from dataclasses import replace

import pytest
import torch

from empslurm.errors import BackboneError, ClaimLostError, DamagedError, DataError, DeviceError
from empslurm.launch import policy
from empslurm.launch.journal import Event


def start(host: str, restart: int) -> Event:
    return Event(event="start", host=host, job="7", restart=restart)


def end(host: str, restart: int, reason: str) -> Event:
    return Event(event="end", host=host, job="7", restart=restart, reason=reason)


def test_a_node_that_loses_a_pack_twice_is_left_out() -> None:
    once = [start("node1", 0), start("node2", 1), end("node2", 1, "stopped")]
    assert policy.bad_nodes(once) == ()
    assert policy.bad_nodes([*once, start("node1", 2)]) == ("node1",)
    killed = [start("node3", 0), end("node3", 0, "killed"), start("node3", 0), end("node3", 0, "killed")]
    assert policy.bad_nodes(killed) == ("node3",)


def test_a_node_whose_gpus_cannot_be_used_is_left_out_after_one_try() -> None:
    tried = [start("node1", 0), end("node1", 0, "device")]
    assert policy.bad_nodes(tried) == ("node1",)
    assert policy.may_move(tried)
    more = [
        event for n in range(1, policy.DEVICE.n_tries + 1) for event in (start(f"n{n}", n), end(f"n{n}", n, "device"))
    ]
    assert not policy.may_move([*tried, *more])


def test_stops_without_progress_stall() -> None:
    stops = [replace(end("node1", n, "stopped"), steps=7.0) for n in range(5)]
    assert policy.stalled(stops)
    assert not policy.stalled(stops[:4])
    assert not policy.stalled([*stops, replace(end("node1", 5, "stopped"), steps=8.0)])


def test_waits_grow_and_end() -> None:
    waits = [end("node1", n, "waiting") for n in range(policy.MAX_WAITS)]
    told = [policy.wait_s(waits[:n]) for n in range(policy.MAX_WAITS + 1)]
    assert told[:3] == [15, 30, 60]
    assert told[-2:] == [policy.LONGEST_WAIT_S, None]


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (torch.OutOfMemoryError("what CUDA says"), "device memory"),
        (RuntimeError("CUDA error: out of memory"), "device memory"),
        (DeviceError("no GPU"), "device"),
        (MemoryError(), "host memory"),
        (DamagedError("altered"), "damaged"),
        (ClaimLostError("another holds it"), "storage"),
        (PermissionError("read-only"), "storage"),
        (DataError("missing"), "data"),
        (BackboneError("no model"), "backbone"),
        (ZeroDivisionError("by zero"), "error"),
    ],
)
def test_an_exception_is_of_the_first_class_that_fits(error: Exception, name: str) -> None:
    assert policy.failure_of(error).name == name


def test_a_class_has_one_entry_and_words() -> None:
    assert len(policy.BY_NAME) == len(policy.FAILURES)
    assert all(failure.advice for failure in policy.FAILURES)
    assert [failure.name for failure in policy.FAILURES if failure.n_tries] == ["device", "killed"]


def test_stored_errors_decide_what_is_tried_again() -> None:
    assert policy.to_retry([{"class": "error"}, {"class": "device"}]) is policy.DEVICE
    assert policy.to_retry([{"class": "error"}, {"class": "of another version"}, {}]) is None
