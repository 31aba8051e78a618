"""The settings section: one picture of all settings (models, methods, languages), and every pair in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from empslurm.report import settings as compared
from empslurm.report.contents import MOST_CELLS, Contents, block_of
from empslurm.report.formats import shown
from empslurm.report.overview import MOST, STEPS
from empslurm.report.settings import Pair
from empslurm.report.significance import PairResult
from empslurm.report.tables import title_of


def settings(contents: Contents) -> Mapping[str, Any] | None:
    """The section's values; None where there are not two settings to compare."""
    if not contents.settings:
        return None
    groups = compared.named([group.analyses for group in contents.groups])
    pairs = {name: compared.pairs_of(analyses) for name, analyses in groups.items()}
    by_pair: dict[Pair, list[PairResult]] = {}
    for own in pairs.values():
        for key, pair in own.items():
            by_pair.setdefault(key, []).append(pair)
    order = list(dict.fromkeys(task for analyses in groups.values() for task in analyses.tasks))
    registry = contents.gathered.registry
    changes = {key: _median(own) for key, own in by_pair.items()}
    sources, targets = (_kept(order, changes, which) for which in (0, 1))
    shown_changes = [change for (source, target), change in changes.items() if source in sources and target in targets]
    reach = max((abs(change) for change in shown_changes if np.isfinite(change)), default=0.0) or 1.0
    n_sources, n_targets = (len({pair[which] for pair in by_pair}) for which in (0, 1))
    n_left = n_sources - len(sources) + n_targets - len(targets)
    return {
        "n_settings": len(pairs),
        "cut": f"{n_left:,} sources and targets with smaller changes are left out. " if n_left else "",
        "targets": [title_of(task, registry) for task in targets],
        "rows": [
            {
                "source": title_of(source, registry),
                "cells": [_cell((source, target), by_pair, changes, reach) for target in targets],
            }
            for source in sources
        ],
        "steps": [*(f"m{step}" for step in range(STEPS, 0, -1)), "", *(f"s{step}" for step in range(1, STEPS + 1))],
        "end": shown(reach, 0),
        "tables": tuple(block_of(table, table.name, MOST_CELLS) for table in contents.settings),
    }


def _kept(order: Sequence[str], changes: Mapping[Pair, float], which: int) -> list[str]:
    """The sources (`which` 0) or targets (1) with the largest changes, in the order of `order`."""
    size: dict[str, float] = {}
    for pair, change in changes.items():
        size[pair[which]] = max(size.get(pair[which], 0.0), abs(change) if np.isfinite(change) else 0.0)
    kept = {*sorted(size, key=lambda task: -size[task])[:MOST]}
    return [task for task in order if task in kept]


def _median(pairs: Sequence[PairResult]) -> float:
    """Median percent change over settings; NaN where none is defined."""
    changes = [pair.improvement.percent for pair in pairs if np.isfinite(pair.improvement.percent)]
    return float(np.median(changes)) if changes else float("nan")


def _cell(
    key: Pair, by_pair: Mapping[Pair, Sequence[PairResult]], changes: Mapping[Pair, float], reach: float
) -> Mapping[str, str]:
    """A cell of the picture: in how many settings the pair helps or harms; its colour is the median change."""
    if key not in by_pair:
        return {"classes": "own" if key[0] == key[1] else "none", "text": "", "label": ""}
    verdicts = [pair.verdict.verdict for pair in by_pair[key]]
    helps, harms = verdicts.count("helps"), verdicts.count("harms")
    text = " ".join(filter(None, (f"▲{helps}" if helps else "", f"▼{harms}" if harms else "")))
    step = int(np.clip(round(STEPS * changes[key] / reach), -STEPS, STEPS)) if np.isfinite(changes[key]) else 0
    classes = [f"{'s' if step > 0 else 'm'}{abs(step)}" if step else "", "" if helps or harms else "pale"]
    classes.append("opposed" if helps and harms else "")
    n = len(verdicts)
    label = f"helps in {helps}, harms in {harms} of {n} settings; median change {shown(changes[key], 1, signed=True)} %"
    return {"classes": " ".join(filter(None, classes)), "text": text, "label": label}
