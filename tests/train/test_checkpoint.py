"""A checkpoint is whole, or it is skipped."""

import hashlib
import json
from dataclasses import asdict
from typing import Any

import pytest
import torch

from empslurm.errors import DamagedError, StoreError
from empslurm.train.checkpoint import Checkpoint, State, common_positions, decode, encode, read_sound, write


def made(step, cell="cell-1"):
    tensors = {"weight": torch.full((4, 4), float(step)), "empty": torch.zeros(0), "count": torch.tensor(step)}
    state = State(id=cell, step=step, history=({"loss": 0.1},), best_epoch=None, n_tokens=9, wall_s=0.5)
    return Checkpoint(state=state, tensors=tensors)


def test_goes_to_bytes_and_back_and_equal_states_are_equal_bytes():
    data = encode(made(3))
    assert data == encode(made(3))
    back = decode(data, "x")
    assert back.state == made(3).state
    assert torch.equal(back.tensors["weight"], made(3).tensors["weight"])


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d[:10], lambda d: b"", lambda d: d[:-9] + b"\x00" * 9])
def test_damage_is_noticed(damage):
    with pytest.raises(DamagedError, match="must be an intact checkpoint"):
        decode(damage(encode(made(3))), "x")


def test_two_are_kept_and_the_newest_sound_one_is_read(tmp_path):
    for step in (1, 2, 3):
        write(tmp_path, made(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000002.ckpt", "step-000000003.ckpt"]
    newest = tmp_path / "step-000000003.ckpt"
    newest.write_bytes(newest.read_bytes()[:-5])
    found, skipped = read_sound(tmp_path, "cell-1")
    assert [checkpoint.state.step for checkpoint in found] == [2]
    assert len(skipped) == 1
    assert "step-000000003.ckpt" in skipped[0]
    write(tmp_path, made(2))  # the damaged one is gone, so it is not one of the two that are kept
    write(tmp_path, made(1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000001.ckpt", "step-000000002.ckpt"]


def test_no_byte_of_it_can_change_unnoticed():
    data = encode(made(3))
    for place in range(len(data)):
        with pytest.raises(DamagedError):
            decode(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], "x")


def test_one_of_a_newer_version_that_says_more_is_sound() -> None:
    header, body = encode(made(3)).split(b"\n", 1)
    state = {**json.loads(header)["state"], "weather": "fair"}
    whole = json.dumps(state, sort_keys=True).encode() + b"\n" + body
    newer = json.dumps({"sha256": hashlib.sha256(whole).hexdigest(), "state": state}).encode() + b"\n" + body
    assert decode(newer, "x").state == made(3).state


@pytest.mark.parametrize("change", [{"step": "3"}, {"history": {}}, {"id": None}, {"wall_s": [1]}])
def test_a_well_formed_one_of_another_making_is_refused(change):
    state: Any = asdict(made(3).state)
    strange: Any = {**state, **change}
    with pytest.raises(DamagedError, match="must be an intact checkpoint"):
        decode(encode(Checkpoint(state=strange, tensors=made(3).tensors)), "x")
    lacking: Any = {key: value for key, value in state.items() if key not in change}
    with pytest.raises(DamagedError, match="must be an intact checkpoint"):
        decode(encode(Checkpoint(state=lacking, tensors={})), "x")


def test_a_foreign_checkpoint_is_passed_over(tmp_path):
    write(tmp_path, made(1, cell="cell-2"))
    found, skipped = read_sound(tmp_path, "cell-1")
    assert found == []
    assert "must belong to cell-1" in skipped[0]


def test_a_write_that_fails_leaves_the_one_before(tmp_path, monkeypatch):
    write(tmp_path, made(1))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        write(tmp_path, made(2))
    found, skipped = read_sound(tmp_path, "cell-1")
    assert ([checkpoint.state.step for checkpoint in found], skipped) == ([1], [])


@pytest.mark.parametrize(
    ("steps", "parts"),
    [
        ([[30, 20], [30, 20], [30, 20]], [(30, [0, 1, 2])]),
        ([[30, 20], [20, 10], [20, 10]], [(20, [0, 1, 2])]),  # killed between the first cell's checkpoint and the next
        ([[30, 20], [], [30, 20]], [(30, [0, 2]), (0, [1])]),
        ([[30, 20], [50, 40]], [(50, [1]), (30, [0])]),
        ([[], []], [(0, [0, 1])]),
        ([[5], []], [(0, [0, 1])]),  # killed between the very first checkpoints of two cells
        ([[], [5], [7]], [(0, [0, 1, 2])]),
    ],
)
def test_a_pack_goes_on_from_the_newest_step_that_all_have(steps, parts):
    positions = [[(step, step // 10) for step in each] for each in steps]
    assert common_positions(positions) == [((step, step // 10), places) for step, places in parts]


def test_the_end_of_an_epoch_and_its_evaluation_are_two_positions():
    assert common_positions([[(4, 1), (3, 0)], [(4, 0), (3, 0)]]) == [((3, 0), [0, 1])]
