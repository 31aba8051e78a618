"""Passes: run directly where nothing can be recorded, with the same numbers on even batches. Replays: `make gpu`."""

import contextlib
import gc
import weakref
from types import SimpleNamespace

import pytest
import torch

from empslurm.store.runs import RunsRoot
from empslurm.train.data.batch import cut_here
from empslurm.train.loop import Settings, Trainer
from empslurm.train.model.adapter_bank import Bank, initial
from empslurm.train.replay import Passes
from tests.train.world import ADAPTER, TRAINING, InventedNode, baseline, invented_data, unclaimed

DATA = invented_data()
CPU = torch.device("cpu")


class Graph:
    """A fake CUDA graph, controlled by its stage, which raises where a real one would."""

    def __init__(self, stage):
        self.stage = stage

    def capture_begin(self, **_):
        self.stage.events.append("begin")

    def capture_end(self):
        self.stage.events.append("end")
        if self.stage.invalid:
            raise RuntimeError("operation not permitted when stream is capturing")

    def replay(self):
        self.stage.events.append("replay")


@pytest.fixture
def stage(monkeypatch):
    """A fake torch.cuda that records its calls."""
    made = SimpleNamespace(events=[], invalid=False)
    stream = SimpleNamespace(wait_stream=lambda _: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: Graph(made))
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: made.events.append("empty"))
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    return made


def of(rows):
    return cut_here(DATA.tokens, rows, even=True)


def test_the_first_pass_runs_then_the_largest_is_recorded_and_each_shape_once(stage):
    run = lambda parts, n: stage.events.append(("run", parts["input_ids"].shape[0]))  # noqa: E731
    passes = Passes(run, CPU, even=True, largest=lambda: (of([0, 1, 2, 3]), 4))
    for rows in ([0, 1], [0, 1], [2, 2, 2], [0, 1]):
        passes(of(rows), len(rows))
    assert stage.events == [
        *[("run", 2), "empty"],
        *["empty", "begin", ("run", 4), "end"],
        *["empty", "begin", ("run", 2), "end", "replay"],
        *["empty", "begin", ("run", 3), "end", "replay"],
        "replay",
    ]
    assert passes.n_graphs == 3
    passes.forget()
    passes(of([0, 1]), 2)
    assert stage.events[-7:] == ["empty", ("run", 2), "empty", "empty", "begin", ("run", 4), "end"]
    passes.close()
    assert passes.n_graphs == 0
    with pytest.raises(RuntimeError, match="closed"):
        passes(of([0, 1]), 2)


def test_what_cannot_be_recorded_is_run_and_said_once(stage):
    numbers = []

    def run(parts, n):
        if stage.events and stage.events[-1] == "begin" and n == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        numbers.append(n)

    passes = Passes(run, CPU, even=True, largest=lambda: (of([0, 1, 2]), 3))
    passes(of([0]), 1)
    with pytest.warns(UserWarning, match=r"slower: .*could not be recorded.*\(CUDA out of memory"):
        passes(of([0, 1]), 2)
    passes(of([0, 1]), 2)
    assert numbers == [1, 3, 2, 2]
    assert stage.events[-3:] == ["begin", "end", "empty"]
    assert stage.events.count("begin") == 3  # with memory given back it is tried once more
    assert passes.n_graphs == 0


def test_a_capture_that_cuda_broke_off_is_given_up_and_the_pass_run(stage, monkeypatch):
    numbers = []
    passes = Passes(lambda parts, n: numbers.append(n), CPU, even=True, largest=lambda: (of([0]), 1))
    passes(of([0]), 1)
    stage.invalid = True

    def refuse():
        raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

    numbers.clear()
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None if stage.events[-1] != "end" else refuse())
    stage.events.append("next")
    with pytest.warns(UserWarning, match="operation not permitted when stream is capturing"):
        passes(of([0, 1]), 2)
    assert numbers == [2, 2]  # while recording, which ran nothing, and then for real


def test_a_trainer_is_gone_when_its_training_has_ended(tmp_path):
    """Its graphs hold memory that nothing else can use: it must not wait for Python's cycle collector."""
    node = InventedNode(RunsRoot(tmp_path))
    cell = baseline(training=TRAINING)
    encoder = node.encoder(cell.backbone, TRAINING)
    bank = Bank(encoder, [initial(encoder, ADAPTER, 3, 1)], ADAPTER, free=("new", "head"))
    member = unclaimed(cell)
    trainer = Trainer([member], DATA, bank, node.accelerator, Settings(group_size=1), lambda *_: None)
    gone = weakref.ref(trainer)

    def broken(rows):
        raise KeyError("stop")

    gc.disable()
    try:
        training = trainer.train()
        trainer.train_step = broken  # type: ignore[method-assign]  # of this trainer alone
        with pytest.raises(KeyError):
            next(training)
        del training, trainer.train_step, trainer
        assert gone() is None
    finally:
        gc.enable()


def test_an_error_of_the_work_itself_is_not_hidden(stage):
    def run(parts, n):
        if n == 2:
            raise RuntimeError("a shape does not fit")

    passes = Passes(run, CPU, even=True, largest=lambda: (of([0]), 1))
    passes(of([0]), 1)
    with pytest.warns(UserWarning, match="a shape does not fit"), pytest.raises(RuntimeError, match="does not fit"):
        passes(of([0, 1]), 2)


def losses(node, tmp_path, *, even):
    cell = baseline(training=TRAINING)
    encoder = node.encoder(cell.backbone, TRAINING)
    cells = [initial(encoder, ADAPTER, 3, seed) for seed in (1, 2)]
    bank = Bank(encoder, cells, ADAPTER, free=("new", "head"))
    members = [unclaimed(cell) for _ in cells]
    trainer = Trainer(members, DATA, bank, node.accelerator, Settings(group_size=2), lambda *_: None)
    trainer._passes.even = even
    made = []
    for start in range(0, 24, 8):
        trainer.losses.zero_()
        trainer.train_step(trainer.train_rows[start : start + 8])
        made.append(trainer.losses.tolist())
    return torch.tensor(made)


def test_steps_on_even_batches_are_those_on_batches_as_they_are(tmp_path):
    """With dropout: its masks are the same at every real token."""
    node = InventedNode(RunsRoot(tmp_path))
    even, plain = (losses(node, tmp_path, even=even) for even in (True, False))
    torch.testing.assert_close(even, plain, atol=1e-5, rtol=1e-5)
    assert plain.max() - plain.min() > 0.01
