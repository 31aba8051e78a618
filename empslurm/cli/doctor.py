"""`doctor`: python, packages, device, Slurm, data, backbone, disk; each problem with its fix."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from empslurm import hardware
from empslurm.backbones import resolve
from empslurm.cli.output import Output
from empslurm.config import Backbone
from empslurm.launch import queue
from empslurm.store import RunsRoot
from empslurm.tasks import registry
from empslurm.tasks.raw import locate

MIN_FREE_BYTES = 2 * 2**30


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at. `ok` None: worth knowing, nothing to mend."""

    what: str
    ok: bool | None
    found: str
    fix: str = ""


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def _python() -> Iterator[Check]:
    version = sys.version.split()[0]
    good = (3, 11) <= sys.version_info[:2] <= (3, 12)
    yield Check(what="python", ok=good, found=version, fix="" if good else "use Python 3.11 or 3.12")


def _packages() -> Iterator[Check]:
    """Every requirement of setup.cfg, by its installed metadata."""
    from packaging.requirements import Requirement

    try:
        wanted = importlib.metadata.requires("empslurm") or []
    except importlib.metadata.PackageNotFoundError:
        yield Check(what="packages", ok=False, found="empslurm is not installed", fix="run `make install`")
        return
    for requirement in map(Requirement, wanted):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(what=requirement.name, ok=False, found="missing", fix="run `make install`")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            fix = f"needs {requirement.specifier}; run `make install`"
            yield Check(what=requirement.name, ok=False, found=version, fix=fix)
    yield Check(what="packages", ok=True, found=f"{len(wanted)} requirements looked at")


def _device() -> Iterator[Check]:
    """What training computes on, and what that does natively."""
    import torch

    if torch.cuda.is_available():
        readings = hardware.read_gpus(hardware.visible_gpus())
        for index in range(torch.cuda.device_count()):
            reading = readings[index] if index < len(readings) else {}
            found = gpu_line(torch.cuda.get_device_properties(index), reading)
            versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}"
            yield Check(what=f"device: GPU {index}", ok=True, found=f"{found} ({versions})")
    else:
        fix = "for a GPU, install the CUDA build of torch for your driver" if hardware.visible_gpus() else ""
        found = f"CPU, {len(os.sched_getaffinity(0))} cores (torch {torch.__version__})"
        yield Check(what="device", ok=False if fix else None, found=found, fix=fix)
    units = {True: "bf16 native", False: "bf16 emulated, many times slower than fp32", None: "bf16 unknown"}
    yield Check(what="processor", ok=None, found=units[hardware.cpu_bf16()])


def gpu_line(properties: Any, reading: hardware.Reading) -> str:
    """A GPU in words. `properties`: as torch gives them; `reading`: as nvidia-smi does, empty where it does not."""
    capability = (properties.major, properties.minor)
    named = " MIG " in properties.name or "mig_uuid" not in reading
    part = "" if named else f" MIG {reading.get('mig_profile') or 'instance'}"
    return ", ".join(
        (
            f"{properties.name}{part}",
            f"compute capability {properties.major}.{properties.minor}",
            f"bf16 {'native' if capability >= hardware.NATIVE_BF16 else 'emulated'}",
            f"TF32 {'yes' if capability >= hardware.TF32 else 'no'}",
            f"{properties.total_memory / 2**30:.1f} GiB",
            f"driver {reading.get('driver_version') or 'unknown'}",
        )
    )


def _slurm() -> Iterator[Check]:
    if shutil.which("sbatch") is None:
        yield Check(what="slurm", ok=None, found="no sbatch here: cells run on this machine")
        return
    jobs = queue.ask()
    if jobs is None:
        yield Check(what="slurm", ok=False, found="squeue does not answer", fix="is the controller up? try `sinfo`")
        return
    accounting = "with sacct" if shutil.which("sacct") else "without sacct (not needed)"
    yield Check(what="slurm", ok=True, found=f"{len(jobs)} jobs in the queue, {accounting}")


def _data(data_root: Path, root: RunsRoot) -> Iterator[Check]:
    for dataset in registry().datasets.values():
        found = locate(dataset, data_root, root.prepared)
        if found.state == "missing":
            yield Check(
                what=f"data: {dataset.id}", ok=None, found="missing", fix="`empslurm data status` says how to obtain it"
            )
        else:
            good = found.state == "found" or found.state == "sample"
            yield Check(what=f"data: {dataset.id}", ok=good, found=found.state, fix="" if good else found.problem)


def _backbone() -> Iterator[Check]:
    for name in ("minilm",):
        resolved = resolve(Backbone(name=name))
        yield Check(
            what=f"backbone: {name}", ok=resolved.path is not None, found=str(resolved.path), fix=resolved.problem
        )


def _disk(root: RunsRoot) -> Iterator[Check]:
    folder = root.path.resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    good = free >= MIN_FREE_BYTES
    yield Check(what="disk", ok=good, found=f"{free / 2**30:.1f} GiB free at {folder}", fix="" if good else "make room")
    writable = os.access(folder, os.W_OK)
    fix = "" if writable else "choose another runs root with --runs or EMPSLURM_RUNS"
    yield Check(what="runs root", ok=writable, found=f"{root.path} is {'' if writable else 'not '}writable", fix=fix)


def run(given: argparse.Namespace, out: Output) -> int:
    root = RunsRoot(given.runs)
    checks = [
        *_python(), *_packages(), *_device(), *_slurm(), *_data(given.data, root), *_backbone(), *_disk(root)
    ]  # fmt: skip
    bad = [check for check in checks if check.ok is False]
    out.document({"ok": not bad, "checks": [asdict(check) for check in checks]})
    marks = {True: "ok", False: "PROBLEM", None: "-"}
    out.table("", ("what", "", "found", "fix"), [(c.what, marks[c.ok], c.found, c.fix) for c in checks])
    return 1 if bad else 0
