"""Check that training on this device is correct; each check returns its value and the tolerance, for benchmarks/gpu.py.

python benchmarks/gpu_correct.py --resume bf16     one check in a separate process, because it changes torch's modes
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from engine import Engine, Way, workload
from scratch import ROOT

from empslurm.config import Precision
from empslurm.train.data.batch import cut
from empslurm.train.model.dropout import Masks, Sites, step_key
from empslurm.train.model.operations import Plain, operations
from empslurm.train.schedule import lr_at

# Losses are 1 to 3. The effect of another order of sums in float32 over five steps; on a CPU it is below 1e-6.
STEP_TOLERANCE = 1e-4
# A batched product sums in another order than single products, and ten steps of AdamW enlarge the difference; in bf16 a
# rounding error is up to 0.4 %. Cells with different seeds differ by about 1e-1.
PACK_TOLERANCE = {"fp32": 5e-4, "bf16": 2e-2}
# TF32 has 10 bits of mantissa, bf16 has 7: losses of 20 steps may differ by some roundings of 0.05 % and 0.4 %. On a
# CPU with bf16 units they differ by 5e-3.
CURVE_TOLERANCE = {"fp32_medium": 1e-2, "bf16": 3e-2}
# Where a kernel has no deterministic form, sums of atomics differ between runs; else runs must be bit-identical.
RESUME_TOLERANCE = 1e-3
LABELS = ("a", "b", "c")
RESUME_TIMEOUT_S = 120.0

Found = dict[str, Any]


def compare(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> float:
    """The largest difference between two lists (n_steps, n_cells) of losses."""
    return float((torch.tensor(first, dtype=torch.float64) - torch.tensor(second, dtype=torch.float64)).abs().max())


def within(value: float, tolerance: float) -> Found:
    """A number that is not one is never within."""
    return {"largest_difference": value, "tolerance": tolerance, "ok": bool(value <= tolerance)}


def plain_adapters(device: torch.device, shape_name: str, n_steps: int = 5) -> Found:
    """Compare losses without dropout with those of plain `adapters` and AdamW, from the same initial weights."""
    data = workload(32 * n_steps)
    engine = Engine(shape_name, Way(name="fp32", dropout=0.0, attention_dropout=0.0), data, device)
    plain = plain_model(engine)
    trained = [parameter for parameter in plain.parameters() if parameter.requires_grad]
    training, trainer = engine.trainer.training, engine.trainer
    adamw = torch.optim.AdamW(trained, weight_decay=training.weight_decay)
    targets = trainer.targets
    ours = engine.losses(n_steps)
    theirs = []
    for step in range(n_steps):
        rows = engine.batches[step % len(engine.batches)]
        for group in adamw.param_groups:
            group["lr"] = lr_at(step, trainer.n_steps, training)
        logits = plain(**cut(data.tokens, rows, device).inputs).logits
        loss = torch.nn.functional.cross_entropy(logits, targets[torch.from_numpy(rows).to(device)])
        adamw.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(trained, training.max_grad_norm)
        adamw.step()
        theirs.append([loss.item()])
    return {**within(compare(ours, theirs), STEP_TOLERANCE), "losses": ours}


def plain_model(engine: Engine) -> Any:
    """The first cell of an engine, loaded by plain `adapters` on the same device, ready to train."""
    import adapters

    logging.getLogger("adapters").setLevel(logging.ERROR)
    encoder = engine.bank.encoder
    plain = adapters.AutoAdapterModel.from_config(encoder.config, attn_implementation="eager")
    plain.base_model.load_state_dict(encoder.model.state_dict(), strict=False)  # only the pooler is missing
    with tempfile.TemporaryDirectory() as folder:
        engine.bank.save(0, "task", LABELS, Path(folder))
        plain.train_adapter(plain.load_adapter(f"{folder}/adapter", use_safetensors=True))
    plain.active_head = "task"
    return plain.to(engine.device).eval()


def masks(device: torch.device, n_heads: int = 12, hidden: int = 768) -> Found:
    """Compare keyed dropout masks, made on the device in one pass, with those that a CPU makes one by one."""
    tokens, home = workload(16).tokens, torch.device("cpu")
    rows = torch.arange(16) * 13
    asked: list[tuple[str, tuple[int, ...], bool]] = []
    for layer in ("layer.0", "layer.1"):
        asked.append((f"{layer}.output.dropout", (int(tokens.starts[-1]), hidden), True))
        asked.append((f"{layer}.attention.self.dropout", (16, n_heads, 40, 40), False))
    asked.append(("head.0", (16, hidden), False))
    names = [[name for name, shape, _ in asked if len(shape) == n and "layer" in name] for n in (2, 4)]
    alike = [Sites.of(group, device) for group in names]
    make = operations(device, bf16=True).factors
    n_values = n_different = 0
    for dtype in (torch.float32, torch.bfloat16):
        there, here = Masks(step_key(7, 3), rows.to(device), alike, make), Masks(step_key(7, 3), rows)
        for name, shape, packed in asked:
            on_device = there(name, shape, 0.1, dtype, cut(tokens, range(16), device) if packed else None).cpu()
            on_cpu = here(name, shape, 0.1, dtype, cut(tokens, range(16), home) if packed else None)
            n_values, n_different = n_values + on_cpu.numel(), n_different + int((on_device != on_cpu).sum())
    return {"n_values": n_values, "n_different": n_different, "tolerance": 0, "ok": n_different == 0}


def pack_equals_solo(device: torch.device, shape_name: str, precision: str, n_steps: int = 10) -> Found:
    """Compare losses of a pack of 4 stacked cells (one pass for all) with those of four separate runs."""
    way, data = Way(name=precision, precision=precision), workload(32 * 8)
    pack = Engine(shape_name, way, data, device, n_cells=4, stacked=True, group_size=4).losses(n_steps)
    solos = [Engine(shape_name, way, data, device, stacked=True, first_seed=seed).losses(n_steps) for seed in range(4)]
    alone = [[solo[step][0] for solo in solos] for step in range(n_steps)]
    return within(compare(pack, alone), PACK_TOLERANCE[precision])


def kernels_equal_plain(device: torch.device, shape_name: str, precision: str, n_steps: int = 10) -> Found:
    """Compare losses of a pack with the custom GPU kernels with those of torch's operations."""
    way, data, losses = Way(name=precision, precision=precision), workload(32 * 8), []
    for plain in (False, True):
        engine = Engine(shape_name, way, data, device, n_cells=4, stacked=True, group_size=4)
        encoder = engine.bank.encoder
        own = encoder.operations
        encoder.operations = Plain() if plain else own
        try:
            losses.append(engine.losses(n_steps))
        finally:
            encoder.operations = own
    return {**within(compare(*losses), PACK_TOLERANCE[precision]), "kernels": type(own).__name__}


def replayed_equals_launched(device: torch.device, shape_name: str, precision: str, n_steps: int = 10) -> Found:
    """Compare losses of kernels replayed as graphs with those of the same kernels launched one by one."""
    way, data, losses, n_graphs = Way(name=precision, precision=precision), workload(32 * 8), [], []
    for replayed in (True, False):
        engine = Engine(shape_name, way, data, device, n_cells=4, stacked=True, group_size=4)
        passes = engine.trainer._passes
        if not replayed:
            passes.replays = False
        losses.append(engine.losses(n_steps))
        n_graphs.append(passes.n_graphs)
    verdict = within(compare(*losses), PACK_TOLERANCE[precision])
    return {**verdict, "n_graphs": n_graphs[0], "ok": verdict["ok"] and n_graphs[0] > 0 and n_graphs[1] == 0}


def curve(device: torch.device, shape_name: str, precision: str, n_steps: int = 20) -> Found:
    """Compare losses of a solo run with the same run in float32."""
    data = workload(32 * 8)
    losses = {
        each: Engine(shape_name, Way(name=each, precision=each), data, device).losses(n_steps)
        for each in ("fp32", precision)
    }
    return {**within(compare(*losses.values()), CURVE_TOLERANCE[precision]), "losses": losses}


def no_waiting(device: torch.device, shape_name: str, n_steps: int = 5) -> Found:
    """Check that no step of the loop makes the host wait for the device: torch raises where one does."""
    engine = Engine(shape_name, Way(name="bf16", precision="bf16"), workload(32 * 8), device, n_cells=4, stacked=True)
    engine.steps(2)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(n_steps):
            engine.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return {"n_steps": n_steps, "ok": True}


# ---- resume ---------------------------------------------------------------------------------------------------------


def resume(precision: str) -> Found:
    """Compare a pack that is stopped every few steps with one that never is, in a separate process."""
    environment = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}  # without it, products are not deterministic
    command = [sys.executable, str(Path(__file__)), "--resume", precision]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=RESUME_TIMEOUT_S, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    verdict: Found = json.loads(done.stdout.splitlines()[-1])
    return verdict


def resume_here(precision: Precision) -> Found:
    """The check behind `resume`, with deterministic kernels where they exist; then no bit may differ."""
    torch.use_deterministic_algorithms(True)
    try:
        difference, n_stops, same = stopped_and_straight(precision)
        verdict = {"largest_difference": difference, "tolerance": 0, "ok": same and n_stops > 1}
        return {"deterministic": True, "n_stops": n_stops, **verdict}
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        reason = str(error).splitlines()[0]
    torch.use_deterministic_algorithms(False)
    difference, n_stops, _ = stopped_and_straight(precision)
    verdict = within(difference, RESUME_TOLERANCE)
    return {
        "deterministic": False,
        "why_not": reason,
        "n_stops": n_stops,
        **verdict,
        "ok": verdict["ok"] and n_stops > 1,
    }


def stopped_and_straight(precision: Precision) -> tuple[float, int, bool]:
    """The largest difference in training loss, the number of stops, and whether all written files are equal."""
    sys.path.insert(0, str(ROOT))
    from accelerate import Accelerator

    from empslurm.store.runs import RunsRoot
    from empslurm.tasks import registry
    from empslurm.train.context import Node
    from empslurm.train.loop import Interrupted, Settings
    from tests.train.world import TRAINING, InventedNode, baseline, invented_data, outputs_of, train, transfer

    accelerator = Accelerator(
        mixed_precision="bf16" if precision == "bf16" else "no", cpu=not torch.cuda.is_available()
    )

    class DeviceNode(InventedNode):
        def __init__(self, root: RunsRoot) -> None:
            Node.__init__(self, root, Path(), registry(), accelerator)
            self.invented = invented_data()

    training = replace(TRAINING, precision=precision)
    parents = [baseline(seed=seed, training=replace(training, epochs=1)) for seed in (1, 2)]
    cells = [transfer(parent, f"source{index}", training=training) for index, parent in enumerate(parents)]
    outcomes, n_stops = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for name in ("straight", "stopped"):
            root = RunsRoot(Path(folder) / name)
            for parent in parents:
                train(root, [parent], DeviceNode(root))
            while left := [cell for cell in cells if root.cell(cell.id).result() is None]:
                asked = iter(range(3 if name == "stopped" else 10**9))
                try:
                    train(root, left, DeviceNode(root), Settings(stop=partial(none_left, asked)))
                except Interrupted:
                    n_stops += 1
            outcomes.append([outputs_of(root, cell) for cell in cells])
    losses = [[[epoch["train_loss"] for epoch in cell["history"]] for cell in each] for each in outcomes]
    return compare(*losses), n_stops, outcomes[0] == outcomes[1]


def none_left(tickets: Iterator[int]) -> bool:
    """Take one ticket; return whether there was none."""
    return next(tickets, None) is None


# ---- all ------------------------------------------------------------------------------------------------------------


def checks(device: torch.device, shape_name: str) -> dict[str, Callable[[], Found]]:
    """All checks, by name."""
    by_name: dict[str, Callable[[], Found]] = {
        "masks_equal_the_cpus": lambda: masks(device),
        "steps_equal_plain_adapters": lambda: plain_adapters(device, shape_name),
        "pack_equals_solo_fp32": lambda: pack_equals_solo(device, shape_name, "fp32"),
        "pack_equals_solo_bf16": lambda: pack_equals_solo(device, shape_name, "bf16"),
        "curve_fp32_medium": lambda: curve(device, shape_name, "fp32_medium"),
        "curve_bf16": lambda: curve(device, shape_name, "bf16"),
    }
    if device.type == "cuda":
        by_name["kernels_equal_plain_fp32"] = lambda: kernels_equal_plain(device, shape_name, "fp32")
        by_name["kernels_equal_plain_bf16"] = lambda: kernels_equal_plain(device, shape_name, "bf16")
        by_name["replayed_equals_launched_bf16"] = lambda: replayed_equals_launched(device, shape_name, "bf16")
        by_name["no_waiting_in_a_step"] = lambda: no_waiting(device, shape_name)
    by_name["resumed_equals_straight_fp32"] = lambda: resume("fp32")
    if device.type == "cuda":
        by_name["resumed_equals_straight_bf16"] = lambda: resume("bf16")
    return by_name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resume", choices=("fp32", "bf16"), required=True)
    print(json.dumps(resume_here(parser.parse_args().resume)))


if __name__ == "__main__":
    main()
