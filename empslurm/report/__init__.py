"""Tables, figures and the page, made from gathered results.

This package holds the list of analyses that run on a group (`analyses`), the tables and figures that show them, and the
page with its sections (`sections`). Calculations on arrays are in `analysis`; reading results is in `gather`.

For notebooks: `study` analyses results in memory, `load` opens a folder that `gather` wrote (docs/notebooks.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from empslurm.errors import UsageError

if TYPE_CHECKING:
    from empslurm.gather import Gathered
    from empslurm.reference import Rating
    from empslurm.report.notebook import Study, Written


def study(
    gathered: Gathered, *, ratings: Sequence[Rating] | None = None, grouped: bool = True, margin: float | None = None
) -> Study:
    """Analyse gathered results and keep the tables and figures in memory; no file is written.

    `gathered`: from `gather.gather`, `gather.from_file` or `gather.published`.
    `ratings`: ratings of the tasks' constructs, used as features of the importances; by default the paper's.
    `grouped`: resample whole conversations, posts or dialogues where examples belong to them; False: single examples.
    `margin`: above 0, in the unit of each target's metric: a difference that is too small to matter. Pairs that are
    shown to differ by less get the verdict `equivalent`; without a margin no pair does.

    The tables and their numbers are those that `empslurm gather` writes for the same results.
    Raises UsageError for a margin that is not above 0.
    """
    from empslurm import reference
    from empslurm.report.notebook import Study
    from empslurm.report.write import contents_of

    refuse_margin(margin)
    known = reference.ratings() if ratings is None else ratings
    return Study(contents=contents_of(gathered, ratings=known, grouped=grouped, margin=margin))


def refuse_margin(margin: float | None, name: str = "margin") -> None:
    """Raise UsageError where a margin is not above 0, or is not a number. `name`: what the user calls it."""
    if margin is not None and not 0 < margin < float("inf"):
        raise UsageError(f"{name} must be a number above 0, but is {margin:g}; write for example 0.02")


def load(folder: Path | str) -> Written:
    """Open a folder that `empslurm gather` wrote, without computing anything again.

    `folder`: the `--out` of that gather.
    Raises UsageError where `gather` did not write it, DamagedError where its `summary.json` is damaged.
    """
    from empslurm.report.notebook import written

    return written(Path(folder))
