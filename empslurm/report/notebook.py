"""For notebooks: tables as data frames and figures, under the names that their files have in a gather."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from empslurm import files
from empslurm.errors import UsageError
from empslurm.gather import missing_columns
from empslurm.report import figures
from empslurm.report.contents import Contents, GroupContents
from empslurm.report.formats import Entry, Table
from empslurm.report.marks import marks_of
from empslurm.report.overview import Overview, overview
from empslurm.report.summary import NAME
from empslurm.report.tables import PAIR_COLUMNS, pair_rows
from empslurm.validation.reader import unknown

if TYPE_CHECKING:
    import pandas as pd

ENDINGS = ("svg", "png", "pdf")
# Columns of files that hold names, which may look like numbers.
NAMES = frozenset(
    (
        *("source", "target", "task", "id", "ids", "row", "column", "group", "setting", "ids_baseline", "ids_transfer"),
        *("source_theme", "target_theme", "next", "best_source", "flags", "why", "disagreement_or_reason"),
        *("lab", "seeds", "reason"),
    )
)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Analysed results in memory, from `report.study`.

    `setting`, an argument of `frame` and `figure`, is one of `settings`; with one setting it may be left out.
    """

    contents: Contents

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of the groups that are analysed separately; one group alone is named ""."""
        return tuple(self._groups)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that `frame` knows, over all settings: those of the CSV files of a gather, without `.csv`."""
        return tuple(dict.fromkeys([name for group in self._groups.values() for name in self._frames(group)]))

    @property
    def figures(self) -> tuple[str, ...]:
        """The names that `figure` knows, over all settings."""
        return tuple(dict.fromkeys([name for group in self._groups.values() for name in self._drawable(group)]))

    def frame(self, name: str, setting: str = "") -> pd.DataFrame:
        """A table as a new data frame, at full precision.

        Columns have the plain names of the CSV file (`source`, `target`, `difference`, ...). Scores, differences and
        intervals are in the target's metric; columns whose names start with `percent` are in percent of the baseline.
        Labels are strings (missing: NA); other columns are Int64, float64 (missing: NaN) or string.
        Raises UsageError for a name or setting that is not known.
        """
        frames = self._frames(self._group(setting))
        _must_know(name, frames, "table")
        table = frames[name]
        return frame_of(table) if isinstance(table, Table) else table.copy()

    def figure(self, name: str, setting: str = "") -> Any:
        """A new matplotlib Figure: of a table, or an overview (`overview`; with half of the data `overview-f50`).

        Raises UsageError for a name or setting that is not known, or for a table that is too large to draw.
        """
        group = self._group(setting)
        drawable = self._drawable(group)
        _must_know(name, drawable, "figure")
        picture = drawable[name]
        if isinstance(picture, Overview):
            return figures.draw_overview(picture)
        if why := figures.why_not(picture):
            raise UsageError(why)
        return figures.draw(picture, marks_of(group.analyses).get(picture.name))

    @cached_property
    def _groups(self) -> Mapping[str, GroupContents]:
        return {group.analyses.group.name: group for group in self.contents.groups}

    def _group(self, setting: str) -> GroupContents:
        return self._groups[_setting(setting, self._groups)]

    def _tables(self, group: GroupContents) -> tuple[Table, ...]:
        of_all = (*self.contents.pooling_tables, *self.contents.settings, *self.contents.ratings)
        return (*group.tables, *of_all)

    def _frames(self, group: GroupContents) -> dict[str, Table | pd.DataFrame]:
        import pandas as pd

        gathered, name = self.contents.gathered, group.analyses.group.name
        columns = missing_columns(gathered.missing)
        missing = [{column: asdict(cell)[column] for column in columns} for cell in gathered.missing]
        long = gathered.long()
        return {
            **{table.name: table for table in self._tables(group)},
            "pairs": pd.DataFrame(pair_rows(group.analyses.tables), columns=list(PAIR_COLUMNS)),
            "long": long[long["group"] == name].reset_index(drop=True),
            "missing": pd.DataFrame(missing, columns=list(columns)),
        }

    def _drawable(self, group: GroupContents) -> dict[str, Table | Overview]:
        overviews = [overview(significance, group.analyses) for significance in group.analyses.significance]
        tables = {table.name: table for table in self._tables(group) if figures.has_figure(table)}
        return {**{picture.name: picture for picture in overviews}, **tables}


@dataclass(frozen=True, kw_only=True)
class Written:
    """The files of a folder that `gather` wrote, from `report.load`; nothing is computed again.

    `setting`, an argument of `frame` and `figure_file`, is one of `settings`; with one setting it may be left out.
    """

    folder: Path
    settings: tuple[str, ...]
    files: tuple[str, ...]  # paths below the folder, as its last gather listed them

    @property
    def names(self) -> tuple[str, ...]:
        """The names that `frame` knows, over all settings: those of the CSV files, without `.csv`."""
        return tuple(sorted({name for setting in self.settings for name in self._files(setting, ("csv",))}))

    @property
    def figures(self) -> tuple[str, ...]:
        """The names that `figure_file` knows, over all settings."""
        return tuple(sorted({name for setting in self.settings for name in self._files(setting, ENDINGS)}))

    def frame(self, name: str, setting: str = "") -> pd.DataFrame:
        """A table as a new data frame, at the precision of its file, with the same columns as `Study.frame`.

        Raises UsageError for a name or setting that is not known.
        """
        import pandas as pd

        own = _setting(setting, self.settings)
        files = self._files(own, ("csv",))
        _must_know(name, files, "table")
        if name == "long":
            long = pd.read_parquet(self.folder / "long.parquet")
            return long[long["group"] == own].reset_index(drop=True)
        words = pd.read_csv(files[name], dtype=str, keep_default_na=False, na_filter=False)
        return pd.DataFrame(
            {column: _typed(words[column], named=not at or column in NAMES) for at, column in enumerate(words.columns)}
        )

    def figure_file(self, name: str, setting: str = "", ending: str = "svg") -> Path:
        """The path of a figure's file. `ending`: svg, png or pdf.

        Raises UsageError for a name, setting or ending that is not known.
        """
        _must_know(ending, ENDINGS, "ending")
        files = self._files(_setting(setting, self.settings), (ending,))
        _must_know(name, files, "figure")
        return files[name]

    def _files(self, setting: str, endings: Iterable[str]) -> dict[str, Path]:
        """Name -> file: the files of the setting, and those of all settings together."""
        folders = ("", setting) if setting else ("",)
        chosen = [self.folder / name for name in self.files if PurePosixPath(name).suffix[1:] in endings]
        return {path.stem: path for path in chosen if path.parent in [self.folder / part for part in folders]}


def written(folder: Path) -> Written:
    """The contents of a folder that `gather` wrote. With several settings, each has its own subfolder."""
    if not (folder / NAME).is_file():
        raise UsageError(f"{folder} must be a folder that `gather` wrote, but has no {NAME}; give its --out")
    listed = tuple(map(str, files.read_object(folder / NAME).get("files", ())))
    inner = [PurePosixPath(name).parent.as_posix() for name in listed if PurePosixPath(name).name == "setting.json"]
    settings = tuple("" if name == "." else name for name in sorted(inner))
    return Written(folder=folder, settings=settings, files=listed)


def frame_of(table: Table) -> pd.DataFrame:
    """A table as a data frame: plain column names, full precision."""
    import pandas as pd

    columns = {
        name: _column([row[at] for row in table.rows], named=at < table.n_labels)
        for at, name in enumerate(table.columns)
    }
    return pd.DataFrame(columns)


def _column(entries: list[Entry], *, named: bool) -> pd.Series:
    """Int64 or float64 where every entry is a number or missing; else strings. `named`: always strings."""
    import pandas as pd

    plain = [None if entry.plain == "" else entry.plain for entry in entries]
    numbers = [entry.raw for entry in entries if isinstance(entry.raw, int | float)]
    there = [value for value in plain if value is not None]
    if named or not numbers or not all(isinstance(value, int | float) for value in there):
        return pd.Series([None if value is None else str(value) for value in plain], dtype="string")
    if all(isinstance(value, int) for value in numbers):
        return pd.Series(plain, dtype="Int64")
    return pd.Series(plain, dtype="float64")


def _typed(words: pd.Series, *, named: bool) -> pd.Series:
    """A column of a file as Int64, float64 or strings. `named`: always strings."""
    import pandas as pd

    there = words[words != ""]
    if named or there.empty:
        return words.mask(words == "").astype("string")
    if there.str.fullmatch(r"[-+]?\d+").all():
        return pd.to_numeric(words.mask(words == "")).astype("Int64")
    try:
        return words.mask(words == "").astype("float64")
    except ValueError:
        return words.mask(words == "").astype("string")


def _setting(setting: str, known: Iterable[str]) -> str:
    """The setting's name; "" means the only one. Raises UsageError for one that is not known."""
    names = list(known)
    if setting == "" and len(names) == 1:
        return names[0]
    _must_know(setting, names, "setting")
    return setting


def _must_know(name: str, known: Iterable[str], what: str) -> None:
    names = list(known)
    if name not in names:
        must, fix = unknown(name, names, what)
        raise UsageError(f"`{name}` must {must}; {fix}")
