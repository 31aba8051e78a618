"""Points at which a process kills itself with SIGKILL, put around the real code from outside."""

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from empslurm import files
from empslurm.store import cell_folder
from empslurm.train import evaluate

# phase -> the points in it
POINTS = {
    "forward and backward": ("in the forward pass", "before backward", "after backward"),
    "optimizer step": ("before the step", "after the step"),
    "evaluation": ("before it", "in its forward pass", "after it"),
    "checkpoint write": ("half written", "before the rename", "after the rename"),
    "result commit": ("before it", "before the link", "after the link", "after it"),
    "claim": ("before the link", "after the link"),
    "output": ("half written", "after the rename"),
}
MANY = {"in the forward pass", "in its forward pass"}  # passed dozens of times per step


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Die when `point` of `phase` is passed for the `count`-th time."""

    phase: str
    point: str
    count: int


class Trap:
    """Counts passages of the fault's point and kills this process at the last of them."""

    def __init__(self, fault: Fault) -> None:
        self.fault, self.left = fault, fault.count
        self.evaluating = False  # the frozen encoder's modules do not know

    def passed(self, phase: str, point: str) -> None:
        if self.due(phase, point):
            os.kill(os.getpid(), signal.SIGKILL)

    def due(self, phase: str, point: str) -> bool:
        if (phase, point) != (self.fault.phase, self.fault.point):
            return False
        self.left -= 1
        return self.left == 0


def install(fault: Fault) -> None:
    """Set the trap in this process; it is never removed."""
    trap = Trap(fault)
    _training(trap)
    _writes(trap)
    save = cell_folder.CellDir.save

    def saved(self: cell_folder.CellDir, *arguments: Any, **named: Any) -> bool:
        trap.passed("result commit", "before it")
        won = save(self, *arguments, **named)
        trap.passed("result commit", "after it")
        return won

    cell_folder.CellDir.save = saved  # type: ignore[method-assign]


def _training(trap: Trap) -> None:
    backward = torch.autograd.backward

    def backwards(*arguments: Any, **named: Any) -> None:
        trap.passed("forward and backward", "before backward")
        backward(*arguments, **named)
        trap.passed("forward and backward", "after backward")

    torch.autograd.backward = backwards

    def forwarded(*_: Any) -> None:
        if trap.evaluating:
            trap.passed("evaluation", "in its forward pass")
        else:
            trap.passed("forward and backward", "in the forward pass")

    register_module_forward_hook(forwarded)
    register_optimizer_step_pre_hook(lambda *_: trap.passed("optimizer step", "before the step"))
    register_optimizer_step_post_hook(lambda *_: trap.passed("optimizer step", "after the step"))
    predict = evaluate.predict

    def predicted(*arguments: Any, **named: Any) -> Any:
        trap.passed("evaluation", "before it")
        trap.evaluating = True
        value = predict(*arguments, **named)
        trap.evaluating = False
        trap.passed("evaluation", "after it")
        return value

    _everywhere(predict, predicted)


def _everywhere(function: Callable[..., Any], wrapped: Callable[..., Any]) -> None:
    """Replace the function in every module of empslurm that has it under its name."""
    for name, module in list(sys.modules.items()):
        if name.startswith("empslurm") and getattr(module, function.__name__, None) is function:
            setattr(module, function.__name__, wrapped)


def _phase_of(path: Any) -> str | None:
    path = Path(path)
    if path.suffix == ".ckpt":
        return "checkpoint write"
    if path.name == "result.json":
        return "result commit"
    if path.parent.name == "claims" and path.suffix == ".json":
        return "claim"
    return "output" if any(part.startswith("output-") for part in path.parts) else None


def _writes(trap: Trap) -> None:
    beside, replace, link = files._write_beside, os.replace, os.link

    def half(path: Path, data: bytes) -> Any:
        if trap.due(_phase_of(path) or "", "half written"):
            name = tempfile.mktemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
            Path(name).write_bytes(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return beside(path, data)

    def renamed(source: Any, target: Any) -> None:
        trap.passed(_phase_of(target) or "", "before the rename")
        replace(source, target)
        trap.passed(_phase_of(target) or "", "after the rename")

    def linked(source: Any, target: Any) -> None:
        trap.passed(_phase_of(target) or "", "before the link")
        link(source, target)
        trap.passed(_phase_of(target) or "", "after the link")

    files._write_beside, os.replace, os.link = half, renamed, linked  # type: ignore[assignment]
