"""Check the Python that trains on a node: its packages, its GPUs, and one training step of the tiny backbone."""

from __future__ import annotations

import importlib
import os
import sys
import time
from typing import Any

from empslurm import hardware, provenance
from empslurm.config import LIBRARY


def report(gpus: int) -> dict[str, Any]:
    """Collect facts as JSON values; what is wrong with the node is reported, not raised.

    `gpus`: how many the profile asks for; 0: training uses the CPU. Times are Unix times of this machine, in seconds.
    """
    facts: dict[str, Any] = {"begun": time.time(), "executable": sys.executable, "python": sys.version.split()[0]}
    facts["imports"] = {name: _problem_of_import(name) for name in ("torch", "accelerate", "transformers")}
    facts["imported"] = time.time()
    if not any(facts["imports"].values()):
        facts["gpu"] = _gpus() if gpus else None
        facts["step_problem"] = _problem_of_step(on_gpu=bool(gpus) and not facts["gpu"]["problem"])
        facts["first_step"] = time.time()
        facts["trackers"] = _trackers()
    if provenance.installed(LIBRARY):  # it takes seconds that most cells do not spend
        facts["imports"][LIBRARY] = _problem_of_import(LIBRARY)
    facts["packages"] = provenance.collect()["packages"]
    return facts


def _problem_of_import(name: str) -> str:
    """Why a package cannot be imported; empty when it can."""
    try:
        importlib.import_module(name)
    except Exception as error:  # a broken installation can raise anything
        return _line(error)
    return ""


def _trackers() -> list[str]:
    """Accelerate's trackers whose packages are installed."""
    from accelerate.tracking import get_available_trackers

    return sorted(str(name) for name in get_available_trackers())


def _gpus() -> dict[str, Any]:
    """The GPUs that torch sees, and why one of them cannot be used."""
    import torch

    from empslurm.train.run import no_gpu

    problem = no_gpu()
    properties = [] if problem else [torch.cuda.get_device_properties(at) for at in range(torch.cuda.device_count())]
    seen = [
        {"name": gpu.name, "major": gpu.major, "minor": gpu.minor, "total_memory": gpu.total_memory}
        for gpu in properties
    ]
    return {
        "problem": str(problem) if problem else _problem_of_another(len(seen)),
        "cuda": torch.version.cuda,
        "seen": seen,
        "readings": hardware.read_gpus(hardware.visible_gpus()),
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }


def _problem_of_another(n_gpus: int) -> str:
    """Why a GPU other than the first cannot be used; empty when all can."""
    import torch

    for index in range(1, n_gpus):
        try:
            torch.zeros(1, device=f"cuda:{index}")
        except Exception as error:
            return f"GPU {index} cannot be used: {_line(error)}"
    return ""


def _problem_of_step(*, on_gpu: bool) -> str:
    """Why a training step of the tiny backbone fails; empty when it works."""
    import torch

    from empslurm.config import Backbone
    from empslurm.train.model.backbone import load_encoder

    try:
        device = torch.device("cuda:0" if on_gpu else "cpu")
        model = load_encoder(Backbone(name="tiny")).to(device).train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
        token_ids = torch.ones((4, 16), dtype=torch.int64, device=device)
        loss = model(input_ids=token_ids).last_hidden_state.square().mean()
        loss.backward()
        optimiser.step()
        loss.item()  # waits for the GPU
    except Exception as error:
        return _line(error)
    return ""


def _line(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {(str(error) or 'no message').splitlines()[0]}"
