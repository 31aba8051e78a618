"""The settings section: the answer, every pair in every setting, one picture of all settings, and the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from empslurm.report.contents import MOST_CELLS, Contents, block_of
from empslurm.report.formats import shown
from empslurm.report.overview import MOST, STEPS
from empslurm.report.settings import NOT_COMPARED, Held, Pair
from empslurm.report.settings_compared import Compared
from empslurm.report.significance import PairResult
from empslurm.report.tables import title_of
from empslurm.report.wording import MARKS, Words

MOST_PAIRS = 40  # rows of the matrix


def settings(contents: Contents) -> Mapping[str, Any] | None:
    """The section's values; None where there are not two settings to compare."""
    compared = contents.compared
    if compared is None:
        return None
    pairs, words, registry = compared.pairs, compared.words, compared.registry
    by_pair: dict[Pair, list[PairResult]] = {}
    for own in pairs.values():
        for key, pair in own.items():
            by_pair.setdefault(key, []).append(pair)
    order = list(dict.fromkeys(task for analyses in compared.groups.values() for task in analyses.tasks))
    changes = {key: _median(own) for key, own in by_pair.items()}
    sources, targets = (_kept(order, changes, which) for which in (0, 1))
    shown_changes = [change for (source, target), change in changes.items() if source in sources and target in targets]
    reach = _reach(shown_changes)
    n_sources, n_targets = (len({pair[which] for pair in by_pair}) for which in (0, 1))
    n_left = n_sources - len(sources) + n_targets - len(targets)
    return {
        "words": words,
        "n_settings": len(pairs),
        "answer": contents.settings_headline,
        "matrix": _matrix(compared, changes),
        "cut": f"{n_left:,} sources and targets with smaller changes are left out. " if n_left else "",
        "targets": [title_of(task, registry) for task in targets],
        "rows": [
            {
                "source": title_of(source, registry),
                "cells": [_cell((source, target), by_pair, changes, reach, words) for target in targets],
            }
            for source in sources
        ],
        "steps": [*(f"m{step}" for step in range(STEPS, 0, -1)), "", *(f"s{step}" for step in range(1, STEPS + 1))],
        "end": shown(reach, 0),
        "tables": tuple(block_of(table, table.name, MOST_CELLS) for table in contents.settings),
    }


def _matrix(compared: Compared, changes: Mapping[Pair, float]) -> Mapping[str, Any]:
    """Every pair (rows) in every setting (columns): those called most often first, then the largest changes."""

    def importance(pair: Held) -> tuple[int, float]:
        change = changes[pair.source, pair.target]
        return -pair.count("helps") - pair.count("harms"), -abs(change) if np.isfinite(change) else 0.0

    kept = sorted(compared.held, key=importance)[:MOST_PAIRS]
    registry = compared.registry
    outcomes = {(pair.source, pair.target): pair.outcome for pair in compared.interactions.pairs}
    results = {
        (name, key): own[key]
        for name, own in compared.pairs.items()
        for key in ((pair.source, pair.target) for pair in kept)
        if key in own
    }
    reach = _reach([result.improvement.percent for result in results.values()])
    n_left = len(compared.held) - len(kept)
    return {
        "settings": list(compared.pairs),
        "cut": f"{n_left:,} more pairs are in the table of pairs below. " if n_left else "",
        "end": shown(reach, 0),
        "rows": [
            {
                "source": title_of(pair.source, registry),
                "target": title_of(pair.target, registry),
                "cells": [
                    _verdict_cell(results.get((name, (pair.source, pair.target))), reach) for name in compared.pairs
                ],
                "holds": pair.words,
                "differs": outcomes[pair.source, pair.target] == "differs",
            }
            for pair in kept
        ],
    }


def _verdict_cell(result: PairResult | None, reach: float) -> Mapping[str, str]:
    """A cell of the matrix: the verdict's mark; its colour is the change."""
    if result is None:
        return {"classes": "none", "text": "", "label": NOT_COMPARED}
    verdict, change = result.verdict.verdict, result.improvement.percent
    classes = [_colour(change, reach), "" if verdict in ("helps", "harms") else "pale"]
    label = f"{verdict}, {shown(change, 1, signed=True)} %"
    return {"classes": " ".join(filter(None, classes)), "text": MARKS[verdict], "label": label}


def _reach(changes: Sequence[float]) -> float:
    """The change at the end of the colours."""
    return max((abs(change) for change in changes if np.isfinite(change)), default=0.0) or 1.0


def _colour(change: float, reach: float) -> str:
    step = int(np.clip(round(STEPS * change / reach), -STEPS, STEPS)) if np.isfinite(change) else 0
    return f"{'s' if step > 0 else 'm'}{abs(step)}" if step else ""


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
    key: Pair, by_pair: Mapping[Pair, Sequence[PairResult]], changes: Mapping[Pair, float], reach: float, words: Words
) -> Mapping[str, str]:
    """A cell of the picture: in how many settings the pair helps or harms; its colour is the median change."""
    if key not in by_pair:
        return {"classes": "own" if key[0] == key[1] else "none", "text": "", "label": ""}
    verdicts = [pair.verdict.verdict for pair in by_pair[key]]
    helps, harms = verdicts.count("helps"), verdicts.count("harms")
    text = " ".join(filter(None, (f"▲{helps}" if helps else "", f"▼{harms}" if harms else "")))
    classes = [_colour(changes[key], reach), "" if helps or harms else "pale", "opposed" if helps and harms else ""]
    n = len(verdicts)
    label = (
        f"helps in {helps}, harms in {harms} of {n} {words.many}; median change {shown(changes[key], 1, signed=True)} %"
    )
    return {"classes": " ".join(filter(None, classes)), "text": text, "label": label}
