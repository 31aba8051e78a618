"""Packs: one loop trains many cells, each as if it were alone. Stopped anywhere, it resumes with the same bits."""

import contextlib
import shutil
import threading
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch

from empslurm import files
from empslurm.errors import BackboneError, StoreError
from empslurm.store import predictions
from empslurm.store.cell_folder import CellDir
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from empslurm.train import checkpoint as checkpoints
from empslurm.train.data.batch import cut
from empslurm.train.loop import Interrupted, Settings, Trainer
from empslurm.train.model.adapter_bank import Bank, initial
from empslurm.train.model.adapter_files import OUTPUT_BIAS
from empslurm.train.schedule import epoch_batches, lr_at
from tests.library import library
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

BIAS = f"head.{OUTPUT_BIAS}"
PARENTS = [baseline(seed=seed, training=replace(TRAINING, epochs=1)) for seed in (1, 2, 3)]
CELLS = [transfer(parent, f"source{place}") for place, parent in enumerate(PARENTS)]


@pytest.fixture(scope="module")
def parents(tmp_path_factory):
    """A runs root in which the three sources are done."""
    root = RunsRoot(tmp_path_factory.mktemp("parents"))
    for parent in PARENTS:
        train(root, [parent])
    return root


@pytest.fixture
def root(parents, tmp_path):
    shutil.copytree(parents.path, tmp_path / "runs")
    return RunsRoot(tmp_path / "runs")


@pytest.fixture(scope="module")
def undisturbed(parents, tmp_path_factory):
    """The outputs of the three transfers when the pack is never stopped."""
    path = tmp_path_factory.mktemp("undisturbed") / "runs"
    shutil.copytree(parents.path, path)
    train(RunsRoot(path), CELLS)
    return [outputs_of(RunsRoot(path), cell) for cell in CELLS]


def logits(root, cell):
    output = root.cell(cell.id).verify(root.cell(cell.id).result())
    return predictions.read(output / predictions.NAME)["test"].outputs


# ---- steps ---------------------------------------------------------------------------------------------------------


def test_every_step_is_the_one_that_plain_adapters_and_plain_adamw_take(tmp_path):
    """Without dropout, from the same initial weights, on the same batches."""
    training = replace(TRAINING, dropout=0.0, attention_dropout=0.0, batch_size=4)
    cell = baseline(training=training)
    node, data = InventedNode(RunsRoot(tmp_path / "runs")), invented_data()
    encoder = node.encoder(cell.backbone, training)
    bank = Bank(encoder, [initial(encoder, ADAPTER, 3, cell.seed)], ADAPTER, free=("new", "head"))
    bank.save(0, "task", ("a", "b", "c"), tmp_path)
    plain = library().AutoAdapterModel.from_config(encoder.config, attn_implementation="eager")
    plain.base_model.load_state_dict(encoder.model.state_dict(), strict=False)
    plain.train_adapter(plain.load_adapter(str(tmp_path / "adapter"), use_safetensors=True))
    plain.active_head = "task"
    plain.eval()
    trained = [parameter for parameter in plain.parameters() if parameter.requires_grad]
    adamw = torch.optim.AdamW(trained, weight_decay=training.weight_decay)
    member = unclaimed(cell)
    trainer = Trainer([member], data, bank, node.accelerator, Settings(group_size=1), lambda *_: None)
    lengths = data.tokens.lengths[trainer.train_rows]
    losses = []
    for step, part in enumerate(epoch_batches(lengths, seed=cell.seed, epoch=0, training=training)):
        rows = trainer.train_rows[part]
        trainer.losses.zero_()
        trainer.train_step(rows)
        for group in adamw.param_groups:
            group["lr"] = lr_at(step, trainer.n_steps, training)
        logits = plain(**cut(data.tokens, rows, torch.device("cpu")).inputs).logits
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(data.table.targets[rows]))
        adamw.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, training.max_grad_norm)
        adamw.step()
        losses.append(loss.item())
        assert trainer.losses.item() == pytest.approx(loss.item(), abs=1e-5)
    assert len(losses) > 4
    assert max(losses) - min(losses) > 0.01


# ---- packs ---------------------------------------------------------------------------------------------------------


def test_cells_learn_and_each_has_its_own_best_epoch(root, undisturbed):
    assert len({str(each["history"]) for each in undisturbed}) == 3
    for each in undisturbed:
        scores = [entry["f1_macro"] for entry in each["history"]]
        assert each["best_epoch"] == int(np.argmax(scores)) + 1
        assert each["history"][-1]["train_loss"] < each["history"][0]["train_loss"]


@pytest.mark.parametrize("cell", CELLS, ids=["first", "second", "third"])
def test_solo_is_the_same_bits_as_packed_when_cells_pass_one_by_one(root, undisturbed, cell):
    train(root, [cell])
    assert outputs_of(root, cell) == undisturbed[CELLS.index(cell)]


@pytest.mark.parametrize("settings", [Settings(group_size=3), Settings(group_size=2, micro_batch=3)], ids=["3", "2+1"])
def test_banked_passes_and_pieces_of_a_batch_change_rounding_only(root, tmp_path, parents, settings):
    train(root, CELLS, settings=settings)
    shutil.copytree(parents.path, tmp_path / "alone")
    alone = RunsRoot(tmp_path / "alone")
    for cell in CELLS:
        train(alone, [cell])
        one, two = outputs_of(alone, cell), outputs_of(root, cell)
        assert one["best_epoch"] == two["best_epoch"]
        losses, others = ([entry["train_loss"] for entry in each["history"]] for each in (one, two))
        np.testing.assert_allclose(losses, others, rtol=1e-4)
        np.testing.assert_allclose(logits(alone, cell), logits(root, cell), rtol=2e-3, atol=2e-3)


def test_tuned_sources_are_trained_and_saved_beside_the_adapter(root):
    cells = [transfer(parent, f"source{place}", "tuned") for place, parent in enumerate(PARENTS[:2])]
    train(root, cells, settings=Settings(group_size=2))
    for cell, parent in zip(cells, PARENTS, strict=False):
        names = [name for name in outputs_of(root, cell) if "source_adapter" in name]
        assert names == ["source_adapter/adapter.safetensors", "source_adapter/adapter_config.json"]
        before = root.cell(parent.id).verify(root.cell(parent.id).result()) / "adapter/adapter.safetensors"
        assert outputs_of(root, cell)[names[0]] != before.read_bytes()


# ---- a failure affects one cell only -------------------------------------------------------------------------------


def test_a_cell_whose_loss_is_no_number_leaves_and_the_others_are_untouched(root, undisturbed, monkeypatch):
    real = Bank.logits

    def poisoned(self, below, cells, free, masks):
        if masks is not None and free[BIAS].requires_grad and getattr(self, "poison", None) == cells.start:
            free = {**free, BIAS: free[BIAS] * float("nan")}
        return real(self, below, cells, free, masks)

    monkeypatch.setattr(Bank, "logits", poisoned)
    monkeypatch.setattr(Trainer, "train_step", poisoning(Trainer.train_step, step=2, cell=1))
    train(root, CELLS)
    assert outputs_of(root, CELLS[0]) == undisturbed[0]
    assert outputs_of(root, CELLS[2]) == undisturbed[2]
    ill = outputs_of(root, CELLS[1])
    assert ill["flags"][0] == "diverged"
    assert [entry["train_loss"] for entry in ill["history"]] == [None]


def poisoning(real, step, cell):
    def train_step(self, rows):
        self.model.poison = cell if self.step >= step and len(self.members) == 3 else None
        real(self, rows)

    return train_step


def test_a_cell_whose_folder_fails_leaves_and_the_others_are_untouched(root, undisturbed, monkeypatch):
    real, bad = checkpoints.write, CELLS[0].id

    def write(folder, checkpoint):
        if checkpoint.state.id == bad and checkpoint.state.step >= 8:
            raise StoreError("no room")
        real(folder, checkpoint)

    monkeypatch.setattr(checkpoints, "write", write)
    gone = []
    done = train(root, CELLS, lost=lambda member, error: gone.append((member.cell.id, str(error))))
    assert gone == [(bad, "no room")]
    assert done == [CELLS[1].id, CELLS[2].id]
    assert [outputs_of(root, cell) for cell in CELLS[1:]] == undisturbed[1:]
    monkeypatch.undo()
    train(root, CELLS[:1])  # once there is space, it resumes from its last checkpoint
    assert outputs_of(root, CELLS[0]) == undisturbed[0]


def test_a_cell_without_its_source_fails_alone(root, undisturbed):
    (root.cell(PARENTS[1].id).path / "result.json").unlink()
    gone = []
    train(root, CELLS, lost=lambda member, error: gone.append((member.cell.id, str(error))))
    assert [id for id, _ in gone] == [CELLS[1].id]
    assert "must start from the finished cell" in gone[0][1]
    assert outputs_of(root, CELLS[2]) == undisturbed[2]


# ---- resume --------------------------------------------------------------------------------------------------------


def stopped_at(n_asked):
    """A stop flag that is true from the n-th call on."""
    asked = iter(range(10**9))
    return lambda: next(asked) >= n_asked


def test_stopped_after_every_few_steps_it_ends_with_the_same_bits(root, undisturbed):
    stops = 0
    while not all(root.cell(cell.id).result() for cell in CELLS):
        left = [cell for cell in CELLS if root.cell(cell.id).result() is None]
        try:
            train(root, left, settings=Settings(stop=stopped_at(3)))
        except Interrupted:
            stops += 1
    assert stops >= 4  # 12 steps, 3 epochs of 4: mid-epoch and at their ends
    assert [outputs_of(root, cell) for cell in CELLS] == undisturbed


class Killed(BaseException):
    """Ends training at once, as a kill would: nothing may catch it."""


@pytest.mark.parametrize("nth", [1, 2, 3, 5, 8], ids=str)
def test_killed_between_two_cells_checkpoints_it_ends_with_the_same_bits(root, undisturbed, monkeypatch, nth):
    real, calls = checkpoints.write, []

    def write(folder, checkpoint):
        calls.append(checkpoint.state.id)
        if len(calls) == nth:
            raise Killed
        real(folder, checkpoint)

    monkeypatch.setattr(checkpoints, "write", write)
    with pytest.raises(Killed):
        train(root, CELLS, settings=Settings(checkpoint_every_steps=3))
    monkeypatch.undo()
    train(root, CELLS)
    assert [outputs_of(root, cell) for cell in CELLS] == undisturbed


@pytest.mark.parametrize("nth", [0, 1, 2], ids=str)
def test_killed_between_two_commits_it_ends_with_the_same_bits(root, undisturbed, monkeypatch, nth):
    real = CellDir.save
    calls: list[str] = []

    def commit(self, claim, result):
        if len(calls) == nth:
            raise Killed
        calls.append(self.id)
        return real(self, claim, result)

    monkeypatch.setattr(CellDir, "save", commit)
    with pytest.raises(Killed):
        train(root, CELLS)
    monkeypatch.undo()
    assert sum(root.cell(cell.id).result() is not None for cell in CELLS) == nth
    train(root, CELLS[nth:])
    assert [outputs_of(root, cell) for cell in CELLS] == undisturbed


def test_a_damaged_checkpoint_is_passed_over_and_said(root, undisturbed):
    with pytest.raises(Interrupted):
        train(root, CELLS, settings=Settings(stop=stopped_at(7), checkpoint_every_steps=2))
    newest = sorted((root.cell(CELLS[1].id).path / "checkpoint").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:-20])
    train(root, CELLS)
    assert [outputs_of(root, cell) for cell in CELLS] == undisturbed


@pytest.mark.parametrize("change", ["names", "shapes", "history", "step"])
def test_checkpoints_of_another_version_make_the_pack_begin_anew(root, undisturbed, change):
    with pytest.raises(Interrupted):
        train(root, CELLS, settings=Settings(stop=stopped_at(7), checkpoint_every_steps=2))
    for path in (root.cell(CELLS[1].id).path / "checkpoint").iterdir():
        kept = checkpoints.decode(path.read_bytes(), path.name)
        tensors, state = dict(kept.tensors), kept.state
        if change == "names":
            tensors = {f"old/{name}": value for name, value in tensors.items()}
        elif change == "shapes":
            tensors = {name: torch.zeros(3) for name in tensors}
        elif change == "history":
            state = replace(state, history=tuple({"epoch": 1} for _ in state.history))
        else:
            state = replace(state, step=state.step + 100)
        path.write_bytes(checkpoints.encode(replace(kept, tensors=tensors, state=state)))
    train(root, CELLS)
    assert [outputs_of(root, cell) for cell in CELLS] == undisturbed


def test_random_generators_are_no_part_of_a_run(root, undisturbed):
    torch.manual_seed(99)
    np.random.seed(99)
    train(root, CELLS)
    assert [outputs_of(root, cell) for cell in CELLS] == undisturbed


# ---- memory --------------------------------------------------------------------------------------------------------


def test_out_of_memory_halves_the_cells_then_the_batch_and_goes_on_from_the_checkpoint(root, undisturbed, monkeypatch):
    real, seen = Bank.logits, []

    def logits_within(self, below, cells, free, masks):
        n_cells, n_rows = cells.stop - cells.start, below.layout.batch.shape[0]
        if masks is not None:
            seen.append((n_cells, n_rows))
            if n_cells * n_rows > 4:
                raise torch.OutOfMemoryError("out of memory")
        return real(self, below, cells, free, masks)

    monkeypatch.setattr(Bank, "logits", logits_within)
    train(root, CELLS, settings=Settings(group_size=3))
    assert seen[:3] == [(3, 6), (1, 6), (1, 4)]
    for cell, expected in zip(CELLS, undisturbed, strict=True):
        found = outputs_of(root, cell)
        losses, others = ([entry["train_loss"] for entry in each["history"]] for each in (found, expected))
        np.testing.assert_allclose(losses, others, rtol=1e-4)


def test_a_failure_of_the_whole_pack_is_told_of_every_cell(root):
    class Broken(InventedNode):
        def encoder(self, backbone, training):
            raise BackboneError("no weights")

    gone = []
    assert train(root, CELLS, node=Broken(root), lost=lambda member, error: gone.append(str(error))) == []
    assert gone == ["no weights"] * 3


def test_regression_targets_are_standardised_and_come_back_in_the_tasks_unit(root):
    data = invented_data()
    values = data.table.targets * 10.0 + 100.0
    train_rows = data.rows["train"]
    data = replace(
        data,
        task=registry().tasks["news_empathy"],
        table=replace(data.table, targets=values),
        centre=float(values[train_rows].mean()),
        scale=float(values[train_rows].std()),
    )
    cell = baseline(target="news_empathy")
    train(root, [cell], node=InventedNode(root, data))
    found = logits(root, cell)
    assert found.shape == (12,)
    assert 90 < found.mean() < 130


# ---- checkpoints being written --------------------------------------------------------------------------------------


def test_training_goes_on_while_a_checkpoint_is_written_and_the_file_holds_the_step_it_was_asked_at(root, monkeypatch):
    """Writing the first file waits until training is two steps further: it must have the bytes of its own step."""
    one, two = root, RunsRoot(root.path.with_name("other"))
    shutil.copytree(one.path, two.path)
    kept: dict[tuple[str, str], Any] = {}
    further = threading.Event()
    real, real_step = checkpoints.write, Trainer.train_step

    def step(self, rows):
        real_step(self, rows)
        if self.step == 4:
            further.set()

    def write(folder, checkpoint):
        if waiting:
            assert further.wait(20), "training must not wait for the file"
        if checkpoint.state.step == 2:
            state = {key: value for key, value in asdict(checkpoint.state).items() if key != "wall_s"}
            kept[folder.parents[2].name, checkpoint.state.id] = (
                state,
                checkpoints.encode(checkpoint).split(b"\n", 1)[1],
            )
        real(folder, checkpoint)

    monkeypatch.setattr(checkpoints, "write", write)
    monkeypatch.setattr(Trainer, "train_step", step)
    for place, waiting in ((one, True), (two, False)):
        settings = Settings(checkpoint_every_steps=2, stop=(lambda: False) if waiting else stopped_at(2))
        with contextlib.suppress(Interrupted):
            train(place, CELLS, settings=settings)
    assert len(kept) == 2 * len(CELLS)
    for cell in CELLS:
        assert kept["runs", cell.id] == kept["other", cell.id]


def test_a_file_that_reads_back_differently_fails_its_cell(root, monkeypatch):
    real = files.read_bytes
    monkeypatch.setattr(
        files,
        "read_bytes",
        lambda path, limit=2**30: real(path, limit)[: -1 if path.suffix == ".ckpt" else None],
    )
    gone = []
    done = train(root, CELLS[:1], lost=lambda _, error: gone.append(str(error)))
    assert done == []
    assert "must hold what was written, but reads back differently" in gone[0]
