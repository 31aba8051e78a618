"""What each pack of a job has spent: wall time, GPU time and, as far as the GPUs report it, energy."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from empslurm import provenance

POWER_EVERY_S = 30.0


class Meter:
    """Counts from the job's start, or from a pack's last end in it."""

    def __init__(self, indices: Sequence[int], *, gpus: int, n_slots: int) -> None:
        """`indices`: the packs of the job, which train on `n_slots` equal parts of its GPUs."""
        self.gpus, self.share = gpus, 1 / min(len(indices), n_slots)
        self.energy_ws = 0.0  # of all of the job's GPUs
        self.looked = time.monotonic()
        self.since: dict[int, tuple[float, float]] = {}
        self.restart(indices)

    def restart(self, indices: Iterable[int]) -> None:
        """Count these packs from now on: a pack that waits for a slot uses none of the job's time."""
        self.since |= dict.fromkeys(indices, (time.monotonic(), self.energy_ws))

    def skip(self) -> None:
        """Leave the time up to now out of the energy: nothing was training."""
        self.looked = time.monotonic()

    def look(self) -> None:
        """Read the GPUs' power, if the last reading is old enough."""
        passed_s = time.monotonic() - self.looked
        if self.gpus and passed_s > POWER_EVERY_S:
            self.energy_ws += watts() * passed_s
            self.skip()

    def spent(self, index: int) -> dict[str, float]:
        """What a pack has spent; its next count starts here."""
        since, energy_ws = self.since[index]
        wall_s, energy_ws = time.monotonic() - since, self.energy_ws - energy_ws
        self.restart([index])
        spent = {"wall_s": round(wall_s, 1), "gpu_s": round(wall_s * self.gpus * self.share, 1)}
        return {**spent, "energy_wh": round(energy_ws * self.share / 3600, 3)} if energy_ws else spent


def watts() -> float:
    """Current power of this job's GPUs in watts, as far as they report it."""
    readings = (str(gpu.get("power.draw")) for gpu in provenance.gpus() or ())
    return sum(float(reading) for reading in readings if reading.replace(".", "", 1).isdigit())
