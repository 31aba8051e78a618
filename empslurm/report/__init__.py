"""From gathered rows to the paper's tables and figures, and one page.

Here belongs which analyses are run on a group (`analyses`), the tables and figures that show them, and the page, whose
sections are in `sections`. Arithmetic on arrays is `analysis`; reading results is `gather`.

For notebooks: `study` has all of it as data frames and figures, `load` reads the files of a folder (docs/notebooks.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from empslurm.gather import Gathered
    from empslurm.reference import Rating
    from empslurm.report.notebook import Study, Written


def study(
    gathered: Gathered, *, ratings: Sequence[Rating] | None = None, grouped: bool = True, margin: float | None = None
) -> Study:
    """Analyse gathered results, as `gather` does, and keep the tables and figures in memory.

    `ratings`: of the tasks' constructs, by default the paper's. `grouped`: resample conversations, posts or dialogues,
    else rows. `margin`: the difference of a metric that is as good as none.
    """
    from empslurm import reference
    from empslurm.report.notebook import Study
    from empslurm.report.write import contents_of

    known = reference.ratings() if ratings is None else ratings
    return Study(contents=contents_of(gathered, ratings=known, grouped=grouped, margin=margin))


def load(folder: Path | str) -> Written:
    """The tables of a folder that `gather` wrote, as they are. Raises UsageError where it is none."""
    from empslurm.report.notebook import written

    return written(Path(folder))
