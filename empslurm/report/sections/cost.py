"""The cost section: time, tokens, energy and devices of a group's cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from empslurm.launch.cost import intensities, mass
from empslurm.report.contents import GroupContents
from empslurm.report.group_results import Analyses

if TYPE_CHECKING:
    import pandas as pd

SHOWN_DEVICES = 8
NOT_MEASURED = "not measured"


def costs(group: GroupContents) -> Mapping[str, Any] | None:
    """The section's values; None for a table of results, which never says what it cost."""
    analyses = group.analyses
    if analyses.from_results and not analyses.of_paper:
        return None
    spent = analyses.gathered.spent
    jobs = f"Jobs of this manifest: {spent}." if spent is not None and spent.n_starts else ""
    return {"jobs": jobs, "facts": cost(analyses), "unknown": "These results do not say what they cost."}


def cost(analyses: Analyses) -> list[tuple[str, str]]:
    """(value, what it is) of a group's cells, also for what was not measured; empty where nothing was recorded."""
    runs = analyses.group.runs
    facts = []
    if runs["wall_s"].notna().any():
        hours = float(runs["wall_s"].sum()) / 3600
        facts.append((f"{hours:.2f} h", "of training, wall time" + _part(runs["wall_s"])))
    tokens = runs["n_tokens"].dropna()
    if len(tokens):
        facts.append((f"{float(tokens.sum()) / 1e6:,.1f} M", "tokens trained on"))
    energy = _energy(analyses)
    if not facts and energy is None and runs["device"].isna().all():
        return []
    facts.append(energy or (NOT_MEASURED, "energy"))
    facts += _carbon(analyses)
    names = ["device", "driver", "gpu_memory_mib", "mig_profile"]
    columns = [runs[name].astype(object).where(runs[name].notna(), None).tolist() for name in names]
    devices = Counter(hardware_line(*values) for values in zip(*columns, strict=True))
    facts += [(f"{n:,}", f"cells on {device}") for device, n in devices.most_common(SHOWN_DEVICES)]
    return facts


def _part(known: pd.Series) -> str:
    """How many cells a sum covers, where it is not all of them."""
    n = int(known.notna().sum())
    return "" if n == len(known) else f" ({n:,} of {len(known):,} cells recorded it)"


def _energy(analyses: Analyses) -> tuple[str, str] | None:
    """Energy of the cells if recorded, else of the manifest's jobs; None (which is not 0) where neither recorded it."""
    joules, spent = analyses.group.runs["energy_j"], analyses.gathered.spent
    if joules.notna().any():
        return f"{float(joules.sum()) / 3.6e6:.2f} kWh", "of energy, as recorded" + _part(joules)
    if spent is not None and spent.energy_wh > 0:
        return f"{spent.energy_wh / 1000:.2f} kWh", "of energy, as the jobs of this manifest read it from their GPUs"
    return None


def _carbon(analyses: Analyses) -> list[tuple[str, str]]:
    """CO2e of the jobs, where a profile stated the intensity of its grid: it is never assumed."""
    spent = analyses.gathered.spent
    if spent is None or not spent.grid_g_per_kwh:
        return []
    at = intensities(spent.grid_g_per_kwh)
    if not spent.stated_wh:
        return [(NOT_MEASURED, f"CO2e, since the energy is not known ({at})")]
    energy = f"{spent.stated_wh / 1000:.3g} kWh of the GPUs of this manifest's jobs"
    return [(f"{mass(spent.co2e_g)} CO2e", f"from {energy}, {at} as their profiles say")]


def hardware_line(device: str | None, driver: str | None, memory_mib: float | None, mig_profile: str | None) -> str:
    """The hardware of a cell, in words."""
    if device is None:
        return f"hardware that was {NOT_MEASURED}"
    if device == "cpu":
        return device
    part = f" MIG {mig_profile}" if mig_profile and " MIG " not in device else ""  # torch's name may have it already
    memory = f"{memory_mib / 1024:.1f} GiB" if memory_mib else f"memory {NOT_MEASURED}"
    return f"{device}{part}, {memory}, driver {driver or NOT_MEASURED}"
