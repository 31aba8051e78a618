"""What this machine can compute with, read without torch: bf16 units of the processor, and the GPUs a process sees."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # bf16: the name on ARM
TIMEOUT_S = 30.0
NATIVE_BF16 = TF32 = (8, 0)  # the first compute capability (Ampere) with units for them

# A line of `nvidia-smi -L`, such as
# GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f)
#   MIG 1g.5gb      Device  0: (UUID: MIG-c7384736-a75d-5afc-978f-d2f1294409fd)
GPU_LINE = re.compile(r"GPU (?P<index>\d+): (?P<name>.+?) \(UUID: (?P<uuid>[^)\s]+)\)")
MIG_LINE = re.compile(r"\s+MIG (?P<profile>\S+)\s+Device\s+\d+: \(UUID: (?P<uuid>[^)\s]+)\)")

# Fields for `nvidia-smi --query-gpu`, and those that are numbers: MiB and watts.
FIELDS = ("uuid", "name", "driver_version", "memory.total", "power.draw")
NUMBERS = frozenset({"memory.total", "power.draw"})

Reading = dict[str, str | float | None]


def cpu_bf16(path: Path | None = None) -> bool | None:
    """Whether the processor computes in bf16; None where the machine does not say.

    `path`: a file like /proc/cpuinfo. Without the units a processor emulates bf16, many times slower than fp32.
    """
    try:
        lines = (path or CPUINFO).read_text(errors="replace").splitlines()
    except OSError:
        return None
    flags = [set(text.split()) for name, _, text in map(_parted, lines) if name in ("flags", "features")]
    return all(core & BF16_FLAGS for core in flags) if flags else None


def _parted(line: str) -> tuple[str, str, str]:
    name, colon, text = line.partition(":")
    return name.strip().lower(), colon, text


# ---- GPUs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A part of a GPU in MIG mode."""

    uuid: str
    profile: str  # such as 1g.5gb


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU, and the part of it that is seen where it is in MIG mode."""

    index: int
    name: str
    uuid: str
    instances: tuple[Instance, ...] = ()  # all of its parts
    instance: Instance | None = None


def visible_gpus(visible: str | None = None) -> tuple[Gpu, ...]:
    """The GPUs that CUDA_VISIBLE_DEVICES (or `visible`) leaves to a process, in its order; none without nvidia-smi."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
    listed = parse_list(_nvidia_smi("-L") or "")
    wanted = [str(gpu.index) for gpu in listed] if chosen is None else [part.strip() for part in chosen.split(",")]
    gpus = []
    for name in wanted:
        gpu = _chosen(listed, name)
        if gpu is None:
            break  # as in CUDA: an unknown name hides itself and all that follow, an empty text hides every GPU
        gpus.append(gpu)
    return tuple(gpus)


def parse_list(text: str) -> tuple[Gpu, ...]:
    """The GPUs of `nvidia-smi -L`, each with its MIG instances."""
    gpus: list[Gpu] = []
    for line in text.splitlines():
        if match := GPU_LINE.match(line):
            gpus.append(Gpu(index=int(match["index"]), name=match["name"], uuid=match["uuid"]))
        elif gpus and (match := MIG_LINE.match(line)):
            instance = Instance(uuid=match["uuid"], profile=match["profile"])
            gpus[-1] = replace(gpus[-1], instances=(*gpus[-1].instances, instance))
    return tuple(gpus)


def _chosen(listed: Sequence[Gpu], name: str) -> Gpu | None:
    """The GPU or instance that one entry of CUDA_VISIBLE_DEVICES names: an index, or a UUID or its beginning."""
    if name.startswith("MIG-"):
        pairs = [(gpu, part) for gpu in listed for part in gpu.instances if part.uuid.startswith(name)]
        return replace(pairs[0][0], instance=pairs[0][1]) if pairs else _old_form(listed, name)
    by_uuid = name.startswith("GPU-")
    for gpu in listed:
        if gpu.uuid.startswith(name) if by_uuid else name == str(gpu.index):
            # CUDA takes the first instance of a GPU in MIG mode that is named as a whole.
            return replace(gpu, instance=gpu.instances[0]) if gpu.instances else gpu
    return None


def _old_form(listed: Sequence[Gpu], name: str) -> Gpu | None:
    """The GPU of MIG-GPU-<uuid>/<gpu instance>/<compute instance>, where -L lists instances by newer names."""
    uuid = name.removeprefix("MIG-").partition("/")[0]
    gpu = next((gpu for gpu in listed if gpu.uuid == uuid), None)
    if gpu is None:
        return None
    # The numbers of the old name are not in -L: only where there is one instance is it surely this one.
    profile = gpu.instances[0].profile if len(gpu.instances) == 1 else ""
    return replace(gpu, instance=Instance(uuid=name, profile=profile))


def read_gpus(gpus: Iterable[Gpu]) -> list[Reading]:
    """What nvidia-smi reports about GPUs, by the names of its fields; None for a value that it does not report.

    memory.total is in MiB, power.draw in W. Both are None for a MIG instance: nvidia-smi reports them for the whole
    GPU, which other instances share.
    """
    seen = tuple(gpus)
    rows = _query(sorted({gpu.uuid for gpu in seen})) if seen else {}
    return [_reading(gpu, rows.get(gpu.uuid, {})) for gpu in seen]


def _reading(gpu: Gpu, row: Mapping[str, str | float | None]) -> Reading:
    reading: Reading = {**dict.fromkeys(FIELDS), **row, "name": row.get("name") or gpu.name, "uuid": gpu.uuid}
    if gpu.instance is not None:
        reading |= dict.fromkeys(NUMBERS)
        reading |= {"mig_uuid": gpu.instance.uuid, "mig_profile": gpu.instance.profile or None}
    return reading


def _query(uuids: Sequence[str]) -> dict[str, Reading]:
    """uuid -> fields of the GPUs; empty where nvidia-smi does not answer."""
    text = _nvidia_smi(f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits", f"--id={','.join(uuids)}")
    rows = [[value.strip() for value in line.split(",")] for line in (text or "").splitlines()]
    readings = [{name: _value(name, text) for name, text in zip(FIELDS, row, strict=False)} for row in rows]
    return {str(row["uuid"]): row for row in readings if row.get("uuid")}


def _value(name: str, text: str) -> str | float | None:
    """A field's value; None for [N/A], [Not Supported], [Unknown Error] and the like."""
    if not text or text.startswith("[") or text == "N/A":
        return None
    if name not in NUMBERS:
        return text
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _nvidia_smi(*arguments: str) -> str | None:
    """What nvidia-smi prints; None where it is absent, fails or hangs."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout
