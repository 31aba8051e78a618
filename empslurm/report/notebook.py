"""For notebooks: tables as data frames at full precision, and figures, by the names of the files of a gather."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from empslurm import files
from empslurm.errors import UsageError
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
MISSING_COLUMNS = ("id", "kind", "source", "target", "seed", "fraction", "state", "why")
# Columns of files that hold names, which may look like numbers.
NAMES = frozenset(
    (
        *("source", "target", "task", "id", "ids", "row", "column", "group", "setting", "ids_baseline", "ids_transfer"),
        *("source_theme", "target_theme", "next", "best_source", "flags", "why", "disagreement_or_reason"),
    )
)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Analysed results. `setting` is a group's name; it is needed only where there are several groups."""

    contents: Contents

    @property
    def settings(self) -> tuple[str, ...]:
        """The groups that are analysed apart."""
        return tuple(self._groups)

    @property
    def names(self) -> tuple[str, ...]:
        """What `frame` knows, of any setting."""
        return tuple(dict.fromkeys([name for group in self._groups.values() for name in self._frames(group)]))

    @property
    def figures(self) -> tuple[str, ...]:
        """What `figure` knows, of any setting."""
        return tuple(dict.fromkeys([name for group in self._groups.values() for name in self._drawable(group)]))

    def frame(self, name: str, setting: str = "") -> pd.DataFrame:
        """A table with typed columns; a missing number is NaN, a missing word NA. Raises UsageError."""
        frames = self._frames(self._group(setting))
        _must_know(name, frames, "table")
        made = frames[name]
        return frame_of(made) if isinstance(made, Table) else made.copy()

    def figure(self, name: str, setting: str = "") -> Any:
        """A new matplotlib Figure: of a table by its name, or an overview. Raises UsageError."""
        group = self._group(setting)
        drawable = self._drawable(group)
        _must_know(name, drawable, "figure")
        found = drawable[name]
        if isinstance(found, Overview):
            return figures.draw_overview(found)
        if why := figures.why_not(found):
            raise UsageError(why)
        return figures.draw(found, marks_of(group.analyses).get(found.name))

    @cached_property
    def _groups(self) -> Mapping[str, GroupContents]:
        return {group.analyses.group.name: group for group in self.contents.groups}

    def _group(self, setting: str) -> GroupContents:
        return self._groups[_setting(setting, self._groups)]

    def _tables(self, group: GroupContents) -> tuple[Table, ...]:
        return (*group.tables, *self.contents.settings, *self.contents.ratings)

    def _frames(self, group: GroupContents) -> dict[str, Table | pd.DataFrame]:
        import pandas as pd

        gathered, name = self.contents.gathered, group.analyses.group.name
        missing = [{column: asdict(cell)[column] for column in MISSING_COLUMNS} for cell in gathered.missing]
        long = gathered.long()
        return {
            **{table.name: table for table in self._tables(group)},
            "pairs": pd.DataFrame(pair_rows(group.analyses.tables), columns=list(PAIR_COLUMNS)),
            "long": long[long["group"] == name].reset_index(drop=True),
            "missing": pd.DataFrame(missing, columns=list(MISSING_COLUMNS)),
        }

    def _drawable(self, group: GroupContents) -> dict[str, Table | Overview]:
        overviews = [overview(significance, group.analyses) for significance in group.analyses.significance]
        tables = {table.name: table for table in self._tables(group) if figures.has_figure(table)}
        return {**{picture.name: picture for picture in overviews}, **tables}


@dataclass(frozen=True, kw_only=True)
class Written:
    """A folder that `gather` wrote. `setting` is a group's name; it is needed only where there are several groups."""

    folder: Path
    settings: tuple[str, ...]
    files: tuple[str, ...]  # below the folder, as its last gather listed them

    @property
    def names(self) -> tuple[str, ...]:
        """What `frame` knows, of any setting."""
        return tuple(sorted({name for setting in self.settings for name in self._files(setting, ("csv",))}))

    @property
    def figures(self) -> tuple[str, ...]:
        """What `figure_file` knows, of any setting."""
        return tuple(sorted({name for setting in self.settings for name in self._files(setting, ENDINGS)}))

    def frame(self, name: str, setting: str = "") -> pd.DataFrame:
        """A table with typed columns, at the precision of its file. Raises UsageError."""
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
        """The file of a figure. Raises UsageError."""
        _must_know(ending, ENDINGS, "ending")
        files = self._files(_setting(setting, self.settings), (ending,))
        _must_know(name, files, "figure")
        return files[name]

    def _files(self, setting: str, endings: Iterable[str]) -> dict[str, Path]:
        """Name -> file, of the setting and of all settings together."""
        folders = ("", setting) if setting else ("",)
        chosen = [self.folder / name for name in self.files if PurePosixPath(name).suffix[1:] in endings]
        return {path.stem: path for path in chosen if path.parent in [self.folder / part for part in folders]}


def written(folder: Path) -> Written:
    """What lies in a folder; each setting has a folder of its own where there are several."""
    if not (folder / NAME).is_file():
        raise UsageError(f"{folder} must be a folder that `gather` wrote, but has no {NAME}; give its --out")
    listed = tuple(map(str, files.read_object(folder / NAME).get("files", ())))
    inner = [PurePosixPath(name).parent.as_posix() for name in listed if PurePosixPath(name).name == "setting.json"]
    settings = tuple("" if name == "." else name for name in sorted(inner))
    return Written(folder=folder, settings=settings, files=listed)


def frame_of(table: Table) -> pd.DataFrame:
    """A table's columns by their plain names, at full precision: whole numbers, numbers or words."""
    import pandas as pd

    columns = {
        name: _column([row[at] for row in table.rows], named=at < table.n_labels)
        for at, name in enumerate(table.columns)
    }
    return pd.DataFrame(columns)


def _column(entries: list[Entry], *, named: bool) -> pd.Series:
    """Numbers where every entry is one, or missing; else words."""
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
    """A column of a file: whole numbers, numbers or words."""
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
    """The setting that is meant: where there is one only, no name is needed."""
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
