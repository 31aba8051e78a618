"""`suggest`: which sources are worth trying for a target, before their transfers are trained.

`inputs` reads what is there, `answer` ranks the sources, `next_grid` writes the manifest that tries the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def suggest(
    target: str,
    *,
    grids: Sequence[str | Path] = (),
    cells: Sequence[str | Path] = (),
    cards: Sequence[str | Path] = (),
    k: int = 3,
    runs: str | Path | None = None,
    data: str | Path | None = None,
) -> pd.DataFrame:
    """Which sources are worth trying for a target: a row per source, the best first; nothing is trained.

    `grids`: finished ones to learn from: manifests, runs roots, tables of results (default: the manifest of `cells`,
    else the whole runs root). `cells`: whose adapters could be sources: one manifest, or ids of cells, or folders of
    exported adapters (default: all of `grids`). `cards`: of the target's dataset, and folders of cards. Columns:
    `Suggestion.frame`. The values of the estimators are kept in the runs root.

    Raises UsageError where nothing can be said; ManifestError, DataError.
    """
    from empslurm.suggestion.answer import answer
    from empslurm.suggestion.inputs import ask

    return answer(ask(target, grids=grids, cells=cells, cards=cards, k=k, runs=runs, data=data)).frame()
