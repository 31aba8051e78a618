"""Which GPUs, CPU cores and GPU memory each train process of a job gets; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from empslurm.errors import UsageError

NO_DEVICE = ("", "-1", "NoDevFiles")  # CUDA ignores such an entry of CUDA_VISIBLE_DEVICES and all after it
MIG = "MIG-"


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Room for one pack: what its train process may use."""

    devices: tuple[str, ...]  # entries of CUDA_VISIBLE_DEVICES; empty: no GPU is asked for
    n_cores: int  # CPU cores, for all of its processes together
    memory_share: float  # of the memory of each of its GPUs, above 0 and at most 1

    @property
    def environment(self) -> dict[str, str]:
        """Variables that the train process is started with."""
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.devices)} if self.devices else {}

    @property
    def arguments(self) -> list[str]:
        """Arguments of jobs/train.py."""
        share = ["--memory-share", str(self.memory_share)] if self.memory_share < 1 else []
        return ["--gpu", *share] if self.devices else []


def visible(value: str | None, gpus: int) -> tuple[str, ...]:
    """The GPUs that a job may use, in CUDA's order; `value`: its CUDA_VISIBLE_DEVICES, None where it is not set."""
    if value is None:
        return tuple(str(number) for number in range(gpus))
    entries = [entry.strip() for entry in value.split(",")]
    end = next((index for index, entry in enumerate(entries) if entry in NO_DEVICE), len(entries))
    return tuple(dict.fromkeys(entries[:end]))


def n_slots(*, gpus: int, num_processes: int, packs_per_gpu: int, cpus: int, cpus_per_pack: int | None) -> int:
    """How many packs a job with `gpus` GPUs and `cpus` cores trains at once.

    `cpus_per_pack`: cores that a pack needs; None: without GPUs a pack takes all of them.
    """
    by_gpus = gpus // num_processes * packs_per_gpu if gpus else None
    by_cores = cpus // cpus_per_pack if cpus_per_pack else None
    return max(1, min((n for n in (by_gpus, by_cores) if n is not None), default=1))


def slots(
    devices: Sequence[str],
    *,
    gpus: int,
    num_processes: int,
    packs_per_gpu: int,
    cpus: int,
    n_packs: int,
    cpus_per_pack: int | None = None,
) -> tuple[Slot, ...]:
    """The slots of a job that has `n_packs` packs to train; never more slots than packs.

    Neighbours are on different GPUs, so that few packs spread over all of them. Raises UsageError where the job has
    fewer GPUs than its profile asks for.
    """
    if len(devices) < gpus:
        raise UsageError(
            f"{gpus} GPUs must be visible, as the profile's `gpus` asks, but CUDA_VISIBLE_DEVICES names {len(devices)} "
            f"({', '.join(devices) or 'none'}); lower `gpus` in the profile, or list this node under `exclude`"
        )
    if gpus and num_processes > 1 and any(device.startswith(MIG) for device in devices[:gpus]):
        raise UsageError(
            f"num_processes must be 1 on MIG devices, since a CUDA process sees only one, but is {num_processes}; "
            "set num_processes: 1, or ask for whole GPUs"
        )
    at_once = n_slots(
        gpus=gpus, num_processes=num_processes, packs_per_gpu=packs_per_gpu, cpus=cpus, cpus_per_pack=cpus_per_pack
    )
    used = min(at_once, max(1, n_packs))
    n_groups = gpus // num_processes
    shares = []
    for index in range(used):
        first = index % n_groups * num_processes if n_groups else 0
        own = tuple(devices[first : first + num_processes]) if n_groups else ()
        share = 1 / packs_per_gpu if own else 1.0
        shares.append(Slot(devices=own, n_cores=max(1, cpus // used), memory_share=share))
    return tuple(shares)
