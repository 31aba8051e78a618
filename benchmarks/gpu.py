"""Benchmark a GPU: ceilings, correctness, speed against AdapterTrainer, memory, a real grid, and the hours of a study.

    make gpu
    python3 benchmarks/gpu.py --seconds 480 [--backbone FOLDER] [--out FILE] [--parts correctness speed ...]

Every figure is printed and saved as soon as it is known, so an interrupted run keeps its figures; a run of some parts
continues the file and keeps the other parts. A part that does not fit into the remaining seconds is reported as not
run; one that fails does not stop the next. Exit code 1: a correctness check found a difference, or something failed.
Without a CUDA device, the parts that a CPU can run are run at tiny size, and the results go to a temporary file, so
that a CPU's figures are never taken for a GPU's.
Real data come from EMPSLURM_DATA if it has the Epitome and News files; else the sample is invented.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "gpu.json"
LOCAL_MINILM = Path("/tmp/minilm")
QUERY = "name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu,memory.total,memory.used"
NOT_RUN = "not run: out of time"
SHOWN = 600  # characters of a figure on the screen; the file has all of them

Keep = Callable[[str, Any], None]
Left = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A group of figures. `needs_s`: with fewer seconds left, it is not worth starting."""

    name: str
    needs_s: float
    run: Callable[[Keep, Left], None]


@dataclass(kw_only=True)
class Notebook:
    """The results file, which is rewritten at every figure."""

    path: Path
    values: dict[str, Any] = field(default_factory=dict)

    def reopen(self, again: Sequence[str]) -> None:
        """Continue an existing file, without the parts that are measured again."""
        if self.path.exists():
            before = json.loads(self.path.read_text())
            self.values = {name: value for name, value in before.items() if name not in (*again, "device", "end")}

    def keep(self, part: str, name: str, value: Any) -> None:
        """Save and print a figure."""
        self.values.setdefault(part, {})[name] = value
        fresh = self.path.with_name(f"{self.path.name}.new")
        fresh.write_text(json.dumps(self.values, indent=1, default=str) + "\n")
        fresh.replace(self.path)
        shown = json.dumps(value, default=str)
        print(f"{part}: {name}: {shown[:SHOWN]}{'...' if len(shown) > SHOWN else ''}", flush=True)


def run_parts(parts: Sequence[Part], book: Notebook, left: Left) -> None:
    """Run the parts in turn, each with the time that the later parts do not need."""
    for index, part in enumerate(parts):
        later = sum(each.needs_s for each in parts[index + 1 :])
        keep: Keep = lambda name, value, part=part: book.keep(part.name, name, value)  # type: ignore[misc]  # noqa: E731
        if left() < part.needs_s:
            keep("not_run", f"{NOT_RUN}: it needs {part.needs_s:.0f} s, and {max(0.0, left()):.0f} s are left")
            continue
        began = time.monotonic()
        keep("gpu", book.values.get("device", {}).get("gpu"))  # one file may have parts of several runs
        try:
            part.run(keep, lambda later=later: left() - later)  # type: ignore[misc]
        except Exception as error:
            keep("error", {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()[-3000:]})
        keep("took_s", round(time.monotonic() - began, 1))


def failures(value: Any, path: str = "") -> list[str]:
    """Paths at which a result has an error, or a check that is not ok."""
    if not isinstance(value, Mapping):
        return []
    mine = [path] if value.get("ok", True) is not True or "error" in value else []
    return mine + [failure for name, each in value.items() for failure in failures(each, f"{path}/{name}")]


def checked(name: str, check: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """The result of a check; a check that raises is not ok."""
    try:
        return dict(check())
    except Exception as error:
        return {"ok": False, "error": f"{type(error).__name__}: {str(error)[-1500:]}"}


# ---- the parts ------------------------------------------------------------------------------------------------------


def parts_of(options: argparse.Namespace) -> list[Part]:
    """All parts for this device."""
    import gpu_correct
    import gpu_real
    import gpu_speed
    import torch

    cuda = torch.cuda.is_available()
    device = torch.device("cuda", 0) if cuda else torch.device("cpu")
    setup = gpu_speed.Setup(device=device, sizes=gpu_speed.FULL if cuda else gpu_speed.TINY)
    grid = gpu_real.Grid(
        tasks=("epitome_er", "epitome_ex", "epitome_ip", "news_empathy", "news_distress", "news_emotion")
        if cuda
        else ("epitome_er", "news_empathy"),
        backbone=options.backbone or default_backbone(cuda=cuda),
        epochs=5 if cuda else 1,
        examples=1024 if cuda else 32,
        precision=setup.sizes.main,
        n_references=3 if cuda else 1,
    )

    def correctness(keep: Keep, left: Left) -> None:
        for name, check in gpu_correct.checks(device, setup.sizes.check_shape).items():
            keep(name, checked(name, check) if left() > 0 else NOT_RUN)

    def real_grid(keep: Keep, left: Left) -> None:
        gpu_speed.free_memory()
        gpu_real.grid(grid, real_data(), keep, left)

    needs = (5.0, 60.0, 90.0, 10.0, 150.0, 15.0, 1.0) if cuda else (2.0, 20.0, 20.0, 0.0, 40.0, 5.0, 1.0)
    return [
        Part(name="ceilings", needs_s=needs[0], run=lambda *how: gpu_speed.ceilings(setup, *how)),
        Part(name="correctness", needs_s=needs[1], run=correctness),
        Part(name="speed", needs_s=needs[2], run=lambda *how: gpu_speed.speed(setup, *how)),
        Part(name="memory", needs_s=needs[3], run=lambda *how: gpu_speed.memory(setup, *how)),
        Part(name="grid", needs_s=needs[4], run=real_grid),
        Part(name="row", needs_s=needs[5], run=lambda *how: gpu_real.row(setup, *how)),
        Part(name="projection", needs_s=needs[6], run=lambda *how: gpu_real.projection(setup, *how)),
    ]


NAMES = ("ceilings", "correctness", "speed", "memory", "grid", "row", "projection")


def default_backbone(*, cuda: bool) -> str:
    if not cuda:
        return "tiny"
    return str(LOCAL_MINILM) if (LOCAL_MINILM / "config.json").is_file() else "minilm"


def real_data() -> Path | None:
    """EMPSLURM_DATA, if it has the files that the grid needs."""
    root = Path(os.environ.get("EMPSLURM_DATA") or "/nonexistent")
    there = all((root / name).is_dir() and any((root / name).iterdir()) for name in ("epitome", "news"))
    return root.resolve() if there else None


def device_facts() -> dict[str, Any]:
    """Facts about the device that a reader needs to judge the figures; nvidia-smi is only read."""
    import torch
    import transformers

    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "cuda": torch.version.cuda,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_1min": os.getloadavg()[0],
        "gpu": None,
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "gpu": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "memory_gb": properties.total_memory / 1e9,
            "multiprocessors": properties.multi_processor_count,
            "nvidia_smi": nvidia_smi(),
        }
    return facts


def nvidia_smi() -> dict[str, str] | str:
    """Driver, clocks and power of the first GPU, or why they are unknown."""
    if shutil.which("nvidia-smi") is None:
        return "nvidia-smi was not found"
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        return f"nvidia-smi failed: {error}"
    return dict(zip(QUERY.split(","), done.stdout.splitlines()[0].split(", "), strict=False))


def main() -> int:
    began = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, help="seconds for all parts; default: 480 on a GPU, 170 without one")
    parser.add_argument("--parts", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--backbone", help="backbone of the grid: a local folder, or minilm (/tmp/minilm if it exists)")
    parser.add_argument("--threads", type=int, default=2, help="threads without a GPU; default: 2")
    parser.add_argument(
        "--out", type=Path, help=f"results file; default on a GPU: {RESULTS.relative_to(RESULTS.parents[2])}"
    )
    options = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # otherwise the rivals would use several GPUs
    import torch

    cuda = torch.cuda.is_available()
    out = options.out or (RESULTS if cuda else Path(tempfile.gettempdir()) / "empslurm-gpu-on-a-cpu.json")
    if not cuda:
        torch.set_num_threads(options.threads)
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
        print(
            "There is no CUDA device: the parts that a CPU can run are run at tiny size, and the figures go to "
            f"{out}, not to {RESULTS.name}.",
            flush=True,
        )
    ends = began + (options.seconds or (480.0 if cuda else 170.0))
    book = Notebook(path=out)
    if set(options.parts) != set(NAMES):
        book.reopen(options.parts)
    for name, value in device_facts().items():
        book.keep("device", name, value)
    parts = [part for part in parts_of(options) if part.name in options.parts]
    run_parts(parts, book, lambda: ends - time.monotonic())
    failed = failures({name: book.values.get(name) for name in options.parts})
    book.keep("end", "failed", failed)
    book.keep("end", "took_s", round(time.monotonic() - began, 1))
    print(f"The results are in {out}." + (f" NOT OK: {', '.join(failed)}" if failed else ""), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
