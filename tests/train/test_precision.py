"""Training in each precision, compared with fp32; and how many operations a step takes."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import BertConfig, BertModel

from empslurm.store.runs import RunsRoot
from empslurm.train.loop import Settings, Trainer
from empslurm.train.model.adapter_bank import Bank, CellTensors, initial
from empslurm.train.model.encoder import Encoder
from tests.train.world import (
    ADAPTER,
    TRAINING,
    InventedNode,
    baseline,
    invented_data,
    outputs_of,
    train,
    transfer,
    unclaimed,
)

MOST_OPERATIONS = 1_600  # of one step at RoBERTa-base's depth, for any number of cells
LEARNING = replace(TRAINING, epochs=6, lr=2e-2)  # large steps, so that the curves could diverge
FREE_OF_WORK = {"detach", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view"}


def losses(tmp_path, precision):
    """Loss of every epoch of a baseline and of a transfer from it, trained in a precision."""
    root = RunsRoot(tmp_path / precision)
    node = InventedNode(root)
    AcceleratorState._reset_state()  # a process has one precision
    node.accelerator = Accelerator(cpu=True, mixed_precision="bf16" if precision == "bf16" else "no")
    training = replace(LEARNING, precision=precision)
    source = baseline(training=training)
    cells = [source, transfer(source, "source", training=training)]
    for cell in cells:
        train(root, [cell], node)
    return [entry["train_loss"] for cell in cells for entry in outputs_of(root, cell)["history"]]


@pytest.fixture(autouse=True)
def _state():
    yield
    AcceleratorState._reset_state()


# fp32_medium rounds differently where the CPU has a kernel for it. bf16 has 8 bits of mantissa: a loss near 1 moves by
# some thousandths, seen up to .003.
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32_medium", 1e-4), ("bf16", 1e-2)])
def test_a_reduced_precision_trains_along_the_same_losses(tmp_path, precision, tolerance):
    full, reduced = losses(tmp_path, "fp32"), losses(tmp_path, precision)
    assert len(full) == 2 * LEARNING.epochs
    assert full[LEARNING.epochs - 1] < full[0] - 0.05
    assert reduced == pytest.approx(full, abs=tolerance)
    if precision == "bf16":
        assert reduced != full


class Count(TorchDispatchMode):
    """Counts the operations that would be GPU kernels: no views, no allocations."""

    def __init__(self):
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.n += not func.is_view and name not in FREE_OF_WORK
        return func(*args, **(kwargs or {}))


def pack(n_cells, *, n_layers=12, bf16=True):
    """A trainer of stacked transfers that share one pass, on a narrow encoder."""
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 1100}
    torch.manual_seed(0)
    model = BertModel(BertConfig(num_hidden_layers=n_layers, **sizes), add_pooling_layer=False)
    encoder = Encoder(model, dropout=0.1, attention_dropout=0.1, bf16=bf16)
    starts = [initial(encoder, ADAPTER, 3, seed) for seed in range(n_cells)]
    tensors = [CellTensors(new=start.new, head=start.head, source=start.new) for start in starts]
    members = [unclaimed(baseline()) for _ in range(n_cells)]
    accelerator = SimpleNamespace(
        device=torch.device("cpu"),
        num_processes=1,
        process_index=0,
        autocast=lambda: torch.autocast("cpu", torch.bfloat16, enabled=bf16),
    )
    bank = Bank(encoder, tensors, ADAPTER, free=("new", "head"))
    return Trainer(members, invented_data(), bank, accelerator, Settings(group_size=n_cells), lambda *_: None)


@pytest.mark.parametrize("n_cells", [1, 17])
def test_a_step_takes_few_operations_however_many_cells_a_pass_has(n_cells):
    trainer = pack(n_cells)
    trainer.train_step(trainer.train_rows[:8])
    with Count() as counted:
        trainer.train_step(trainer.train_rows[8:16])
    assert counted.n < MOST_OPERATIONS


def test_weights_go_to_bf16_once_and_give_what_autocast_gives():
    trainer = pack(2, n_layers=2)
    bank = trainer.model
    assert {value.dtype for value in bank.fixed.values()} == {torch.bfloat16}
    trainer.train_step(trainer.train_rows[:8])
    again = pack(2, n_layers=2)
    again.model.encoder.bf16 = False  # autocast converts then, layer by layer
    again.train_step(again.train_rows[:8])
    for name, value in bank.free.items():
        assert torch.equal(value, again.model.free[name]), name
    assert set(bank.free) == set(again.model.free)
