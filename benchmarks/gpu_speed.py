"""Measure speed and memory: the parts `ceilings`, `speed` and `memory` of benchmarks/gpu.py."""

from __future__ import annotations

import collections
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from engine import (
    MATMUL,
    PEAK_SIZES,
    Engine,
    Stopwatch,
    Took,
    Way,
    matmul_precision,
    matrix_peak,
    operations_per_token,
    product_rate,
    random_encoder,
    shape,
    workload,
)
from rivals import FAIR, PADDED, Rival

from empslurm.config import Precision
from empslurm.train import memory as memories
from empslurm.train.data.task_data import TaskData

Keep = Callable[[str, Any], None]
Left = Callable[[], float]  # returns the seconds that a part may still take
NO_TIME = "not run: out of time"
NO_CUDA = "not run: needs a CUDA device"
SLOWEST_S = 3.0  # seconds that one racer may take in a round; a slow racer does fewer steps
GB = 1e9
N_TOP = 40  # kernels in a table
BASELINE = "baseline"  # one cell without a source; all others are transfers


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of the measurements."""

    shape: str
    check_shape: str  # of the correctness checks
    peak: tuple[int, int, int]  # n, k, m of the large product
    cells: tuple[int, ...]
    batches: tuple[int, ...]  # batch sizes; precisions other than bf16 use the first only
    warm: int
    steps: int
    rounds: int
    processes: tuple[int, ...]
    main: Precision = "bf16"  # the precision of most measurements
    others: tuple[str, ...] = ("fp32_medium", "fp32")


FULL = Sizes(
    shape="roberta-base",
    check_shape="roberta-base-3",
    peak=PEAK_SIZES["cuda"],
    cells=(1, 2, 4, 8, 17),
    batches=(32, 10, 54),
    warm=20,
    steps=100,
    rounds=2,
    processes=(8, 4),  # one process is the fair rival of the race
)
TINY = Sizes(
    shape="tiny",
    check_shape="tiny",
    peak=(1024, 512, 1024),
    cells=(1, 17),
    batches=(32,),
    warm=1,
    steps=8,
    rounds=2,
    processes=(2,),
    main="fp32",
    others=(),
)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Device and sizes; `peaks`: operations per second by precision, `rates`: real tokens per second of cells."""

    device: torch.device
    sizes: Sizes
    peaks: dict[str, float] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    def peak(self, precision: str) -> float:
        """The peak rate of matrix products in a precision, measured once."""
        if precision not in self.peaks:
            self.peaks[precision] = matrix_peak(self.device, precision, self.sizes.peak)
        return self.peaks[precision]


def free_memory() -> None:
    """Release unused device memory."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# ---- ceilings -------------------------------------------------------------------------------------------------------


def ceilings(setup: Setup, keep: Keep, left: Left) -> None:
    """Measure the limits of the device."""
    n, k, m = setup.sizes.peak
    for precision in ("bf16", "fp32_medium", "fp32"):
        keep(f"product_{n}x{k}x{m}_{precision}_tflops", setup.peak(precision) / 1e12)
    keep("copy_gb_per_s", copy_rate(setup.device) / GB)
    keep("empty_kernels_per_s", kernel_rate(setup.device))
    for rows in (1120, 19_040) if setup.cuda else (1120,):
        keep(f"product_{rows}x768x3072_bf16_tflops", product_rate(setup.device, "bf16", (rows, 768, 3072)) / 1e12)


def copy_rate(device: torch.device, n_tries: int = 5) -> float:
    """Bytes per second, read plus written, of a copy within the device's memory."""
    n_bytes = 2**30 if device.type == "cuda" else 2**26
    source = torch.zeros(n_bytes, dtype=torch.uint8, device=device)
    target, best = torch.empty_like(source), 0.0
    for _ in range(n_tries):
        watch = Stopwatch(device)
        target.copy_(source)
        best = max(best, 2 * n_bytes / watch.took(0).wall_s)
    return best


def kernel_rate(device: torch.device, n: int = 5000) -> float:
    """Kernels on a single number per second, including the host's work in torch."""
    value = torch.zeros(1, device=device)
    for _ in range(100):
        value.add_(1)
    watch = Stopwatch(device)
    for _ in range(n):
        value.add_(1)
    return n / watch.took(0).wall_s


# ---- speed ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Racer:
    """Our engine or a rival, with its number of steps per round."""

    name: str
    runner: Engine | Rival
    n_cells: int
    precision: str
    steps: int
    warm: int

    def go(self) -> Took:
        return self.runner.steps(self.steps, self.warm)


def paced(name: str, engine: Engine, setup: Setup) -> Racer:
    """Our engine, with as many steps as fit into SLOWEST_S."""
    n, warm = 4, len(engine.batches) if setup.cuda else 6  # the first steps load kernels, the first epoch records them
    took = engine.steps(n, warm)
    most = max(n, int(SLOWEST_S * n / took.wall_s))
    steps = min(setup.sizes.steps, most)
    warm = min(setup.sizes.warm, max(1, steps // 5))
    return Racer(
        name=name, runner=engine, n_cells=engine.n_cells, precision=engine.way.precision, steps=steps, warm=warm
    )


def field_of(setup: Setup, precision: str, batch_size: int, *, padded: bool) -> list[Racer]:
    """All racers on the same examples: ours as packs of stacked transfers and as a solo baseline, and the rivals."""
    sizes, device = setup.sizes, setup.device
    data = workload(batch_size * sizes.steps)
    way = Way(name=precision, precision=precision)
    alike: dict[str, Any] = {"batch_size": batch_size, "fitting": True}
    packs = {n: Engine(sizes.shape, way, data, device, n_cells=n, stacked=True, **alike) for n in sizes.cells}
    racers = [paced(f"{n} cells", pack, setup) for n, pack in packs.items()]
    racers.append(paced(BASELINE, Engine(sizes.shape, way, data, device, **alike), setup))
    for name, fair in ((FAIR, True), *(((PADDED, False),) if padded else ())):
        used = precision if fair else "fp32"
        rival = Rival(sizes.shape, data, device, fair=fair, precision=used, stacked=True, batch_size=batch_size)
        steps, warm = (sizes.steps, sizes.warm) if fair else (max(1, sizes.steps // 2), max(1, sizes.warm // 2))
        racers.append(Racer(name=name, runner=rival, n_cells=1, precision=used, steps=steps, warm=warm))
    return racers


def race(setup: Setup, racers: Sequence[Racer], rounds: int, left: Left) -> dict[str, Any]:
    """Rates of all racers in turn, round after round, and our ratio to each rival; fewer rounds if time is short."""
    took: dict[str, list[Took]] = {racer.name: [] for racer in racers}
    began = time.monotonic()
    for number in range(rounds):
        if number and left() < 1.2 * (time.monotonic() - began) / number:
            break
        for racer in racers:
            took[racer.name].append(racer.go())
    return {racer.name: figures(setup, racer, took, racers) for racer in racers}


def figures(setup: Setup, racer: Racer, took: Mapping[str, Sequence[Took]], racers: Sequence[Racer]) -> dict[str, Any]:
    """The figures of one racer: medians over the rounds, and for ours the ratio to each rival."""
    mine = took[racer.name]
    rate = racer.n_cells * statistics.median(each.tokens / each.wall_s for each in mine)
    operations = operations_per_token(shape(setup.sizes.shape), ours=isinstance(racer.runner, Engine))
    values: dict[str, Any] = {
        "real_tokens_per_s": rate,
        "share_of_peak": rate * operations / setup.peak(racer.precision),
        "ms_per_step": statistics.median(1000 * each.wall_s / racer.steps for each in mine),
        "steps": racer.steps,
        "rounds": len(mine),
    }
    if isinstance(racer.runner, Engine):
        values["group_size"] = racer.runner.group_size
    if isinstance(racer.runner, Engine) and racer.name != BASELINE:  # rivals train transfers
        values["against"] = {
            rival.name: ratio(mine, took[rival.name], racer.n_cells)
            for rival in racers
            if isinstance(rival.runner, Rival)
        }
    return values


def ratio(mine: Sequence[Took], others: Sequence[Took], n_cells: int) -> dict[str, Any]:
    """Our rate of real tokens divided by the rival's: median and range over the rounds."""
    ratios = [
        n_cells * (own.tokens / own.wall_s) / (other.tokens / other.wall_s)
        for own, other in zip(mine, others, strict=True)
    ]
    return {"ratio": statistics.median(ratios), "range": [min(ratios), max(ratios)]}


def speed(setup: Setup, keep: Keep, left: Left) -> None:
    """Race all in the main precision at every batch size, rivals as several processes, then other precisions."""
    sizes = setup.sizes
    first, *more = sizes.batches
    jobs: list[tuple[str, float, Callable[[str], None]]] = []

    def contest(precision: str, batch_size: int, rounds: int, *, padded: bool) -> Callable[[str], None]:
        def run(name: str) -> None:
            racers = field_of(setup, precision, batch_size, padded=padded)
            results = race(setup, racers, rounds, left)
            keep(name, results)
            if batch_size == first and precision == sizes.main:
                keep(f"1 process of the fair rival, {precision}", results[FAIR])
            if batch_size == first:
                setup.rates.update({f"{precision} {each}": results[each]["real_tokens_per_s"] for each in results})
            if setup.cuda:
                told = (f"{min(sizes.cells)} cells", f"{max(sizes.cells)} cells")
                keep(f"{name} kernels", {each.name: kernels(each.runner) for each in racers if each.name in told})

        return run

    def together(n_processes: int) -> Callable[[str], None]:
        return lambda name: keep(name, rivals_together(setup, n_processes, first, left))

    jobs.append((f"{sizes.main}, batch {first}", 0.0, contest(sizes.main, first, sizes.rounds, padded=True)))
    jobs += [(f"{n} processes of the fair rival, {sizes.main}", 35.0, together(n)) for n in sizes.processes]
    jobs += [(f"{sizes.main}, batch {size}", 35.0, contest(sizes.main, size, 1, padded=False)) for size in more]
    jobs += [(f"{each}, batch {first}", 40.0, contest(each, first, 1, padded=False)) for each in sizes.others]
    for name, needs_s, run in jobs:
        if left() < (needs_s if setup.cuda else 20.0 * bool(needs_s)):
            keep(name, NO_TIME)
            continue
        try:
            run(name)
        except subprocess.TimeoutExpired:
            keep(name, NO_TIME)
        except Exception as error:  # continue with the next figure
            keep(name, {"error": f"{type(error).__name__}: {str(error)[-600:]}"})
        free_memory()


def rivals_together(setup: Setup, n_processes: int, batch_size: int, left: Left) -> dict[str, Any]:
    """Real tokens per second of several processes of the fair rival that share the device."""
    sizes = setup.sizes
    free_memory()
    script = str(Path(__file__).with_name("rivals.py"))
    words = ["--n", n_processes, "--shape", sizes.shape, "--precision", sizes.main, "--batch-size", batch_size]
    words += ["--warm", sizes.warm, "--steps", sizes.steps]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, script, "--together", folder, *map(str, words)]
        started = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(n_processes)
        ]
        end = time.monotonic() + left()
        try:
            said = [process.communicate(timeout=max(1.0, end - time.monotonic())) for process in started]
        finally:
            for process in started:
                process.kill()
    for process, (_, error) in zip(started, said, strict=True):
        if process.returncode:
            raise RuntimeError(error[-600:])
    took = [Took(**json.loads(output.splitlines()[-1])) for output, _ in said]
    rate = sum(each.tokens / each.wall_s for each in took)
    setup.rates[f"{n_processes} processes"] = rate
    values = {
        "real_tokens_per_s": rate,
        "share_of_peak": rate * operations_per_token(shape(sizes.shape), ours=False) / setup.peak(sizes.main),
    }
    pack = setup.rates.get(f"{sizes.main} {max(sizes.cells)} cells")
    return {**values, "times_of_it_by_the_largest_pack": pack and pack / rate}


# ---- kernels --------------------------------------------------------------------------------------------------------


def kernels(engine: Engine | Rival, n_steps: int = 3) -> dict[str, Any]:
    """Device kernels per step, and the share of the time in which the device waits for the host.

    The time is measured on the same batches without the profiler, which slows the host.
    """
    from torch.profiler import ProfilerActivity, profile

    assert isinstance(engine, Engine)
    trainer, batches = engine.trainer, engine.batches[:n_steps]

    def run() -> None:
        with matmul_precision(MATMUL[engine.way.precision]):
            for rows in batches:
                trainer.train_step(rows)

    run()
    watch = Stopwatch(engine.device)
    run()
    wall_us = 1e6 * watch.took(0).wall_s
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        run()
        torch.cuda.synchronize()
    times: dict[str, list[float]] = collections.defaultdict(list)
    for event in profiler.events():
        noted = getattr(event, "is_user_annotation", False) or event.name.startswith(("Optimizer.", "ProfilerStep"))
        if event.device_type.name == "CUDA" and not noted:  # an annotation covers kernels that are counted separately
            times[event.name].append(event.time_range.elapsed_us())
    return summary(times, wall_us, n_steps, N_TOP)


def summary(times: Mapping[str, Sequence[float]], wall_us: float, n_steps: int, n_top: int) -> dict[str, Any]:
    """`times`: microseconds of every run of every kernel by name, over `n_steps` steps that took `wall_us` in all."""
    copies = {name for name in times if name.lower().startswith(("memcpy", "memset"))}
    busy = sum(map(sum, times.values()))
    top = sorted(times, key=lambda name: -sum(times[name]))[:n_top]
    return {
        "kernels_per_step": sum(len(times[name]) for name in times if name not in copies) / n_steps,
        "copies_per_step": sum(len(times[name]) for name in copies) / n_steps,
        "busy_ms_per_step": busy / n_steps / 1000,
        "wall_ms_per_step": wall_us / n_steps / 1000,
        "host_bound_share": max(0.0, 1 - busy / wall_us),
        "top": [
            {
                "name": name[:160],
                "per_step": len(times[name]) / n_steps,
                "ms_per_step": sum(times[name]) / n_steps / 1000,
            }
            for name in top
        ],
    }


# ---- memory ---------------------------------------------------------------------------------------------------------


def memory(setup: Setup, keep: Keep, left: Left) -> None:
    """The group size that the engine predicts for shares of the device, and the memory that a step with it needs."""
    if not setup.cuda:
        keep("group_size", NO_CUDA)
        return
    random_encoder.cache_clear()
    for length in (35, 128):
        data = workload(64, length=length)
        for share in (1.0, 0.25, 0.1):
            keep(f"{length} tokens, share {share}", group_and_peak(setup, data, share) if left() > 0 else NO_TIME)


def group_and_peak(setup: Setup, data: TaskData, share: float) -> dict[str, Any]:
    """17 cells in groups as predicted for a share of the device's memory: peak memory in bytes, and the limit."""
    free_memory()
    device, way = setup.device, Way(name=setup.sizes.main, precision=setup.sizes.main)
    trial = Engine(setup.sizes.shape, way, data, device, n_cells=17, stacked=True, group_size=1)
    size = memories.group_size(trial.bank, data, 32, trial.accelerator, share)
    del trial
    free_memory()
    engine = Engine(setup.sizes.shape, way, data, device, n_cells=17, stacked=True, group_size=size)
    torch.cuda.reset_peak_memory_stats(device)
    engine.steps(2)
    peak, total = torch.cuda.max_memory_allocated(device), torch.cuda.mem_get_info(device)[1]
    reserved = torch.cuda.max_memory_reserved(device)
    return {
        "group_size": size,
        "peak_gb": peak / GB,
        "reserved_gb": reserved / GB,
        "limit_gb": share * total / GB,
        "within": peak <= share * total,
    }
