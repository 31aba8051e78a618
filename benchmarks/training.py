"""Measure the cost of training: the engine against AdapterTrainer, interleaved in one run.

    make bench                     a quick run of some minutes on the whole machine
    python benchmarks/training.py --rounds 6 --threads 2 --parts speed packs memory cost projection

Parts: `speed` (real tokens/s, share of the matrix peak, ratios to both rivals of rivals.py, the fair one first),
`packs` (1 to 17 cells), `memory` (peak of a process), `cost` (by length and data size), `checkpoint` (how long training
waits for it), `projection` (hours of the paper's grid). On a GPU, `make gpu` measures more.

Wall time is what a user waits for; on a shared machine, the processor time of one thread varies less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from engine import (
    MEAN_TOKENS,
    SHAPES,
    WAYS,
    Engine,
    Took,
    Way,
    claimed,
    matrix_peak,
    operations_per_token,
    shape,
    workload,
)
from rivals import FAIR, PADDED, Apart, Rival
from scratch import bf16_units

from empslurm.config import Training
from empslurm.launch.node.process import KEPT_MEMORY
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry

RESULTS = Path(__file__).parent / "results" / "training.json"
PARTS = ("speed", "packs", "memory", "cost", "checkpoint", "projection")
N_TASKS = 18
TRAINED = 0.8  # share of a task's examples in its training part
# Seeds and data fractions of manifests/full_grid.yaml and full_study.yaml.
STUDIES: dict[str, tuple[int, tuple[float, ...]]] = {"full_grid": (1, (1.0,)), "full_study": (3, (1.0, 0.5))}
CLOCKS = ("wall_s", "cpu_s")


# ---- ratios ---------------------------------------------------------------------------------------------------------


def rates(took: Sequence[Took]) -> dict[str, float]:
    """Real tokens per second of wall and of processor time: medians over the rounds."""
    return {
        f"tokens_per_{clock}": statistics.median(each.tokens / getattr(each, clock) for each in took)
        for clock in CLOCKS
    }


def against(took: Sequence[Took], others: Sequence[Took], n_cells: int = 1) -> dict[str, Any]:
    """Our rate divided by the rival's, per round: median and range. `n_cells`: cells that ours trains at once."""
    figures: dict[str, Any] = {}
    for clock in CLOCKS:
        ratios = [
            n_cells * (own.tokens / getattr(own, clock)) / (other.tokens / getattr(other, clock))
            for own, other in zip(took, others, strict=True)
        ]
        figures[f"ratio_{clock}"] = statistics.median(ratios)
        figures[f"ratio_{clock}_range"] = [min(ratios), max(ratios)]
    return figures


def share_of_peak(
    values: dict[str, float], config: Any, peak: float, device: torch.device, *, ours: bool
) -> dict[str, float]:
    """The share of the matrix peak. `values`: rates. On a CPU by processor time, like the peak."""
    rate = values["tokens_per_wall_s"]
    if device.type == "cpu":
        rate = values["tokens_per_cpu_s"] * torch.get_num_threads()
    return {"matrix_peak_gflops": peak / 1e9, "share_of_peak": operations_per_token(config, ours=ours) * rate / peak}


# ---- parts ----------------------------------------------------------------------------------------------------------


def rival_precision(precision: str, device: torch.device) -> str:
    """The rival's precision, equal to ours; on a CPU without bf16 units, `fp32_medium` is float32."""
    return "fp32" if precision == "fp32_medium" and device.type == "cpu" and not bf16_units() else precision


def fair_name(precision: str) -> str:
    return f"{FAIR}, {precision}"


def speed(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Run every way and both rivals in turn, round after round, so that other work on the machine affects all alike.

    On a CPU, ours has the environment of a train process that empslurm launches, and the rivals have that of the
    caller; with --same-memory all have ours.
    """
    cuda = device.type == "cuda"
    steps, warm = (100, 20) if cuda else (options.steps, 1)
    data = workload(32 * (steps if cuda else 50))
    able = [way for way in WAYS if way.precision != "bf16" or bf16_units()]
    ways = [way for way in WAYS if way.name in options.ways] if options.ways else able
    precisions = {way.name: way.precision for way in ways}

    def rival(precision: str, *, fair: bool) -> Rival | Apart:
        if cuda or options.same_memory:
            return Rival(options.shape, data, device, fair=fair, precision=precision)
        return Apart(options.shape, len(data.table.ids), fair=fair, precision=precision)

    racers: dict[str, Engine | Rival | Apart] = {way.name: Engine(options.shape, way, data, device) for way in ways}
    for precision in dict.fromkeys(rival_precision(way.precision, device) for way in ways):
        racers[fair_name(precision)] = rival(precision, fair=True)
        precisions[fair_name(precision)] = precision
    racers[PADDED], precisions[PADDED] = rival("fp32", fair=False), "fp32"
    took: dict[str, list[Took]] = {name: [] for name in racers}
    for racer in racers.values():
        racer.steps(1)  # after this, separate processes have started
    for number in range(options.rounds):
        for name, racer in racers.items():
            n = max(1, steps // 2) if name == PADDED and not cuda else steps
            took[name].append(racer.steps(n, 0 if isinstance(racer, Engine) and not cuda else warm))
            say(f"round {number + 1} {name}: {took[name][-1].tokens / took[name][-1].wall_s:.0f} tokens/s")
    for racer in racers.values():
        if isinstance(racer, Apart):
            racer.close()
    peaks = {precision: matrix_peak(device, precision) for precision in set(precisions.values())}
    figures: dict[str, Any] = {}
    for name, racer in racers.items():
        figures[name] = rates(took[name])
        figures[name] |= share_of_peak(
            figures[name], shape(options.shape), peaks[precisions[name]], device, ours=isinstance(racer, Engine)
        )
        if name in {way.name for way in ways}:
            fair = fair_name(rival_precision(precisions[name], device))
            figures[name]["against"] = {other: against(took[name], took[other]) for other in (fair, PADDED)}
    return figures


def packs(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Stacked transfers of one pack: cell-tokens per second, a cell's cost relative to solo, and the fair rival."""
    cuda = device.type == "cuda"
    steps, warm = (100, 20) if cuda else (2, 0)
    data = workload(32 * (steps if cuda else 50))
    way = Way(name="bf16", precision="bf16") if cuda else Way(name="fp32")
    name = options.pack_shape
    solo = Engine(name, way, data, device, stacked=True)
    rival = Rival(name, data, device, fair=True, precision=way.precision, stacked=True)
    solo.steps(1)
    figures = {}
    for n_cells in (1, 2, 4, 8, 17):
        pack = Engine(name, way, data, device, n_cells=n_cells, stacked=True, fitting=True)
        pack.steps(1)
        rounds = [
            (solo.steps(steps, warm), pack.steps(steps, warm), rival.steps(steps, max(1, warm)))
            for _ in range(options.rounds)
        ]
        alone, many, other = zip(*rounds, strict=True)
        figures[str(n_cells)] = {
            "cell_tokens_per_wall_s": n_cells * rates(many)["tokens_per_wall_s"],
            **{
                f"cost_per_cell_beside_solo_{clock}": 1 / against(many, alone, n_cells)[f"ratio_{clock}"]
                for clock in CLOCKS
            },
            "against": {fair_name(way.precision): against(many, other, n_cells)},
        }
        say(f"pack of {n_cells}: {figures[str(n_cells)]}")
    return {"shape": name, "way": way.name, "rival": rates(other), "packs": figures}


def memory(options: argparse.Namespace, _: torch.device) -> dict[str, Any]:
    """Peak memory of a separate process that trains one cell, batch 32, at each length; and of further cells."""
    figures: dict[str, Any] = {}
    for length in options.lengths:
        figures[str(length)] = child_memory(options, length, 1)
        say(f"{length} tokens: {figures[str(length)]}")
    length, n_cells = options.lengths[0], 5
    pack = child_memory(options, length, n_cells)
    each = (pack["peak_gb"] - figures[str(length)]["peak_gb"]) / (n_cells - 1)
    figures["pack"] = {"tokens": length, "n_cells": n_cells, **pack, "gb_per_further_cell": each}
    say(f"pack: {figures['pack']}")
    return figures


def child_memory(options: argparse.Namespace, length: int, n_cells: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", str(length), str(n_cells), "--shape", options.shape]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    return figures


def child(length: int, n_cells: int, shape_name: str) -> None:
    """Run two steps; print peak memory, and the size of a cell's adapters, gradients and moments."""
    data, device = workload(64, length=length), torch.device("cpu")
    engine = Engine(shape_name, Way(name="fp32"), data, device, n_cells=n_cells)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    engine.steps(2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    own = 4 * sum(value.nbytes for value in engine.trainer.model.free.values()) / n_cells
    bytes_of = {"peak_gb": peak * 1024, "before_training_gb": before * 1024, "own_of_a_cell_gb": own}
    print(json.dumps({name: value / 1e9 for name, value in bytes_of.items()}))


def cost(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Seconds per step by text length, and seconds per epoch by data size (steps times seconds per step)."""
    figures: dict[str, Any] = {"length": {}, "examples": {}}
    for length in (16, 35, 64, 128):
        engine = Engine(options.pack_shape, WAYS[0], workload(64, length=length), device)
        engine.steps(1)
        took = engine.steps(2)
        figures["length"][str(length)] = {"cpu_s_per_1000_tokens": 1000 * took.cpu_s / took.tokens}
    for n_examples in (64, 256, 512):
        engine = Engine(options.pack_shape, WAYS[0], workload(n_examples), device)
        engine.steps(1)
        took = engine.steps(n_examples // 32)
        figures["examples"][str(n_examples)] = {"cpu_s_per_epoch": took.cpu_s, "tokens": took.tokens}
    return {"shape": options.pack_shape, **figures}


def study_tokens() -> tuple[float, float]:
    """Real tokens of one epoch of all baselines, and of all transfers, with one seed and all data."""
    published = {task.id: dataset.published for dataset in registry().datasets.values() for task in dataset.tasks}
    tokens = sum(counts["n_examples"] * TRAINED * MEAN_TOKENS for counts in published.values())
    return tokens, tokens * (len(published) - 1)


def study_hours(study: str, baseline_rate: float, transfer_rate: float, evaluation_share: float = 0.0) -> float:
    """Hours of a study: baselines at the rate of a solo cell, transfers at that of a pack, in real tokens per second.

    `evaluation_share`: share of the whole time that is not spent on training steps.
    """
    n_seeds, fractions = STUDIES[study]
    baselines, transfers = study_tokens()
    runs = n_seeds * sum(fractions) * Training().epochs
    return runs * (baselines / baseline_rate + transfers / transfer_rate) / (1 - evaluation_share) / 3600


def floor_hours(study: str, config: Any, peak: float) -> float:
    """Hours if every real token cost only its matrix operations, at the matrix peak (operations per second)."""
    rate = peak / operations_per_token(config, ours=True)
    return study_hours(study, rate, rate)


def arithmetic(study: str) -> str:
    """The calculation of `study_hours` in words."""
    n_seeds, fractions = STUDIES[study]
    baselines, transfers = study_tokens()
    return (
        f"{study}: {n_seeds} seed(s) x fractions {fractions} x {Training().epochs} epochs x ({baselines:.4g} tokens of "
        f"{N_TASKS} baselines / solo rate + {transfers:.4g} tokens of {N_TASKS * (N_TASKS - 1)} transfers / rate of "
        f"{N_TASKS - 1} packed cells) / (1 - share of evaluation); {TRAINED} of the examples are trained on, "
        f"{MEAN_TOKENS} tokens each"
    )


def checkpoint(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Milliseconds per cell of a pack of 17: how long the loop waits for a checkpoint, and until its file exists."""
    n_cells = 17
    engine = Engine(options.shape, Way(name="fp32"), workload(32), device, n_cells=n_cells)
    trainer, waits, wholes = engine.trainer, [], []
    engine.steps(1)
    with tempfile.TemporaryDirectory() as folder:
        trainer.members = claimed(RunsRoot(Path(folder)), trainer.training, n_cells)
        for number, member in enumerate(trainer.members):
            member.best = {name: value.clone() for name, value in trainer.of(number).items()}
        for _ in range(options.rounds + 1):
            began = time.perf_counter()
            trainer.checkpoint()
            waits.append(1000 * (time.perf_counter() - began) / n_cells)
            trainer.settle()
            wholes.append(1000 * (time.perf_counter() - began) / n_cells)
    mib = sum(value.nbytes for value in trainer.model.free.values()) / n_cells * 4 / 2**20
    figures = {"waited_ms": statistics.median(waits[1:]), "written_ms": statistics.median(wholes[1:]), "mib": mib}
    return {"n_cells": n_cells, **figures, "first_waited_ms": waits[0]}


def projection(options: argparse.Namespace, measured: dict[str, Any]) -> dict[str, Any]:
    """Hours of the paper's grid on this machine, with the calculation; evaluation is not counted."""
    speeds, many = measured.get("speed", {}), measured.get("packs", {})
    name = measured.get("machine", {}).get("speed", {}).get("shape") or options.shape
    last = many.get("packs", {}).get(str(N_TASKS - 1), {})
    cost = last.get("cost_per_cell_beside_solo_wall_s", 1.0)
    same = many.get("shape") == name
    hours: dict[str, Any] = {
        "shape": name,
        "packed_rate": "as measured with 17 cells"
        if same
        else f"solo rate / {cost:.3f}, the cost of a cell of 17 beside solo as measured on {many.get('shape')}",
        "floor": "matrix operations of forward and backward pass x tokens / matrix peak",
    }
    for study in STUDIES:
        hours[study] = {"arithmetic": arithmetic(study), "hours": {}, "floor_hours": {}}
        for racer, values in speeds.items():
            solo = packed = values["tokens_per_wall_s"]
            if not racer.startswith("AdapterTrainer"):
                packed = last["cell_tokens_per_wall_s"] if same and racer == many["way"] else solo / cost
            hours[study]["hours"][racer] = study_hours(study, solo, packed)
            peak = values["matrix_peak_gflops"] * 1e9
            hours[study]["floor_hours"][racer] = floor_hours(study, shape(name), peak)
    return hours


def machine(device: torch.device) -> dict[str, Any]:
    """Facts about the machine that a reader needs to judge the figures."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "bf16_units": bf16_units(),
        "load_1min": os.getloadavg()[0],
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="our steps in a round; default: 2")
    parser.add_argument(
        "--ways", nargs="+", choices=[way.name for way in WAYS], help="ways to train; default: all but emulated ones"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--shape", choices=tuple(SHAPES), default="roberta-base")
    parser.add_argument(
        "--pack-shape", choices=tuple(SHAPES), default="minilm", help="shape for packs and cost; default: minilm"
    )
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=[35, 64, 128, 256], help="text lengths for memory, in tokens"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--same-memory", action="store_true", help="give the rivals on a CPU our allocator settings")
    parser.add_argument("--child", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not KEPT_MEMORY.items() <= os.environ.items():  # the allocator reads them only when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEPT_MEMORY})
    torch.set_num_threads(options.threads)
    if options.child:
        length, n_cells = options.child
        child(length, n_cells, options.shape)
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        options.pack_shape = options.shape
    measured: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    for part in options.parts:
        say(f"== {part}")
        started = machine(device)
        measured[part] = projection(options, measured) if part == "projection" else globals()[part](options, device)
        measured.setdefault("machine", {})[part] = {**started, "rounds": options.rounds, "shape": options.shape}
        options.out.write_text(json.dumps(measured, indent=1) + "\n")
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
