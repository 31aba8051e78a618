"""From the rows of a card's tables to examples, rejects and rows left out, the same in every format."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from empslurm.errors import DataError
from empslurm.tasks.card_schema import DELIMITERS, PART_NAMES, Card, Columns, files_of, label_names, part_named
from empslurm.tasks.records import number
from empslurm.tasks.schema import Example, LeftOut, Part, Reject
from empslurm.validation import table_file
from empslurm.validation.table_file import MISSING_WORDS, Row, text_of

READING = 3  # raise it when the same table gives other examples; ids stay the same
BOOLEANS = ("true", "false")
WITH_POINT = re.compile(r"([-+]?\d+)\.(\d*)", re.ASCII)
WITH_COMMA = re.compile(r"[-+]?\d*,\d+", re.ASCII)
LIKE_A_LABEL = re.compile(r"[\w.,:+/-]{1,24}( [\w.,:+/-]{1,12})?")
HALF = re.compile("[\ud800-\udfff]")
MAX_SHOWN = 5  # wrong labels or parts
WANTED = {"classification": "one of the card's labels", "regression": "a number within the card's scale"}


class _UnfitError(Exception):
    """Why a row gives no example. by_label: because of its label. value: the wrong label, where it may be shown."""

    def __init__(self, reason: str, *, by_label: bool = False, value: str = "") -> None:
        super().__init__(reason)
        self.by_label = by_label
        self.value = value


@dataclass(frozen=True, kw_only=True)
class _Values:
    """A few distinct wrong values of a column, for an error; a value that may be a text is never shown."""

    shown: dict[str, None] = field(default_factory=dict)

    def note(self, text: str) -> str:
        """The value for a sentence; an empty string where it is not shown."""
        if not text:
            return "empty"
        if len(self.shown) < MAX_SHOWN and LIKE_A_LABEL.fullmatch(text):
            self.shown[text] = None
        return text if text in self.shown else ""


def read(card: Card, paths: Mapping[str, Path]) -> Iterator[Example | Reject | LeftOut]:
    """The rows of a card's files. Raises DataError, also where rows have unknown parts."""
    make, seen = _Maker(card), set[str]()
    for name, part_of_file in files_of(card).items():
        for row in _rows(card, paths[name]):
            part = part_of_file
            try:
                if row.flaw:
                    raise _UnfitError(row.flaw)
                part = part or make.part(row)
                item = make(name, row, part)
                if isinstance(item, Example) and item.id in seen:
                    raise _UnfitError("must have a new id, but a row above has the same one")
            except _UnfitError as error:
                yield Reject(
                    file=name,
                    row=row.number,
                    reason=str(error),
                    part=part,
                    by_label=error.by_label,
                    value=error.value,
                )
                continue
            if isinstance(item, Example):
                seen.add(item.id)
            yield item
    make.check_parts()


def _rows(card: Card, path: Path) -> Iterator[Row]:
    """The rows of a file with the columns that the card names."""
    columns = _names(card.columns)
    if card.format == "jsonl":
        return table_file.json_rows(table_file.read_text(path).split("\n"), path.name, columns)
    if card.format in ("parquet", "arrow"):
        return table_file.arrow_rows(path, card.format, columns)
    return table_file.delimited_rows(
        table_file.lines_of(table_file.read_text(path)),
        path.name,
        columns,
        delimiter=card.delimiter or DELIMITERS[card.format],
        advice=f"{'write' if card.delimiter else 'add'} `delimiter: {{}}`",
    )


def _names(columns: Columns) -> list[str]:
    single = (columns.text, columns.label, columns.id, columns.group, columns.part)
    return [*dict.fromkeys(name for name in (*single, *_contexts(columns)) if name is not None)]


def _contexts(columns: Columns) -> tuple[str, ...]:
    if columns.context is None:
        return ()
    return (columns.context,) if isinstance(columns.context, str) else columns.context


class _Maker:
    """Makes examples from a card's rows, and remembers which labels and parts did not fit."""

    def __init__(self, card: Card) -> None:
        self.card = card
        decimal = card.decimal or "."
        self._label: Callable[[str], str | float | None]
        self._label = _finder(label_names(card), decimal) if card.kind == "classification" else self._rating
        self._left_out = _finder({label: label for label in card.leave_out}, decimal)
        self._codes = {_number(label, decimal): label for label in card.leave_out} if card.kind == "regression" else {}
        self._gaps = MISSING_WORDS if card.format in DELIMITERS else ()
        self._labels, self._parts = _Values(), _Values()
        self._n_without_part = 0

    def __call__(self, name: str, row: Row, part: Part | None) -> Example | LeftOut:
        """The example of a row. part: the file's. Raises _UnfitError."""
        columns, cells = self.card.columns, row.cells
        value = _cell(cells, columns.label)
        left_out = self._reason_to_leave(value)
        if left_out is not None:
            return LeftOut(file=name, row=row.number, label=left_out)
        text, label = _cell(cells, columns.text), self._label(value)
        if not text or text in self._gaps:
            found = f"but is {text}, which means a missing value" if text else "but is empty"
            raise _UnfitError(f"{columns.text} must hold a text, {found}")
        if label is None:
            raise self._no_label(self._filled(value))
        id = self._filled(_cell(cells, columns.id)) if columns.id else f"{name}-{row.number}"
        if id and columns.id and part:  # ids often start again in every part
            id = f"{part}-{id}"
        group = self._filled(_cell(cells, columns.group)) if columns.group else id
        if not id or not group:
            empty = columns.group if id else columns.id
            raise _UnfitError(f"must have an id and a group, but has an empty one ({empty})")
        turns = (self._filled(turn) for column in _contexts(columns) for turn in _turns(cells, column))
        context, labels = tuple(filter(None, turns)), {self.card.id: label}
        return Example(id=id, group=group, context=context, text=text, labels=labels, part=part, file=name)

    def _filled(self, text: str) -> str:
        """A cell's text; empty where it is a word for a missing value."""
        return "" if text in self._gaps else text

    def _reason_to_leave(self, value: str) -> str | None:
        """The label by which a row is left out on purpose. Ratings are compared as numbers."""
        reason = self._left_out(value)
        if reason is None and self._codes:
            rating = _number(value, self.card.decimal or ".")
            reason = None if rating is None else self._codes.get(rating)
        return reason

    def check_parts(self) -> None:
        """Raise DataError where rows had an unknown part."""
        if self._n_without_part:
            others = ", ".join(self._parts.shown) or "nothing, or texts"
            raise DataError(
                f"{self.card.columns.part} must hold a part in every row ({', '.join(PART_NAMES)}; in any case), but "
                f"{self._n_without_part:,} rows hold others: {others}; write parts there, or remove columns.part"
            )

    def part(self, row: Row) -> Part | None:
        """The part in a row's own column; None where the card names none. Raises _UnfitError."""
        if self.card.columns.part is None:
            return None
        text = _cell(row.cells, self.card.columns.part)
        part = part_named(text)
        if part is None:
            self._n_without_part += 1
            self._parts.shown.update({"an empty cell": None} if not text else {})
            self._parts.note(text)
            raise _UnfitError(f"{self.card.columns.part} must hold a part, but does not")
        return part

    def _rating(self, text: str) -> float | None:
        """A number within the scale."""
        return _number(text, self.card.decimal or ".", self.card.low, self.card.high)

    def _no_label(self, value: str) -> _UnfitError:
        """Why a value is not a label."""
        seen = self._labels.note(value)
        must = f"{self.card.columns.label} must be {WANTED[self.card.kind]}, but is {seen or 'not'}"
        comma = self.card.kind == "regression" and self.card.format in DELIMITERS and WITH_COMMA.fullmatch(value)
        reason = f"{must}; add `decimal: ','`" if comma and self.card.decimal is None else must
        return _UnfitError(reason, by_label=True, value=value if value in self._labels.shown else "")


def _finder(names: Mapping[str, str], decimal: str) -> Callable[[str], str | None]:
    """A function from a value to its label: as written, as a boolean in any case, or as a number with zeros at its end.

    pandas writes 1.0 for 1 in a column with gaps.
    """
    loose: dict[str, str] = {}
    for value, name in names.items():
        loose.setdefault(_loosened(value, decimal), name)

    def find(text: str) -> str | None:
        return names.get(text, loose.get(_loosened(text, decimal)))

    return find


def _number(text: str, decimal: str, low: float | None = None, high: float | None = None) -> float | None:
    """A number within bounds; with a decimal comma, a point may mean thousands, so such a text is refused."""
    if decimal == ",":
        text = "" if "." in text else text.replace(",", ".")
    return number(text, low, high)


def _loosened(text: str, decimal: str) -> str:
    if decimal == "," and WITH_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    if text.lower() in BOOLEANS:
        return text.lower()
    parts = WITH_POINT.fullmatch(text)
    return ".".join(filter(None, (parts[1], parts[2].rstrip("0")))) if parts else text


def same_label(label: str, other: str, decimal: str) -> bool:
    """Whether two labels of a card match the same value. decimal: the card's decimal mark."""
    return _loosened(label, decimal) == _loosened(other, decimal)


def _cell(cells: Mapping[str, Any], column: str) -> str:
    """One value as text. Raises _UnfitError."""
    try:
        return _whole(text_of(cells[column]), column)
    except TypeError as error:
        raise _UnfitError(f"{column} must hold one value, but holds {error}") from error


def _whole(text: str, column: str) -> str:
    """The text. Raises _UnfitError where it holds half a character: JSON may cut an emoji in half."""
    if HALF.search(text):
        raise _UnfitError(f"{column} must hold whole characters, but holds half of one (such as \\ud83d)")
    return text


def _turns(cells: Mapping[str, Any], column: str) -> list[str]:
    """A cell of a context column: one turn, or a list of turns. Raises _UnfitError."""
    value = cells[column]
    try:
        return [_whole(text_of(item), column) for item in (value if isinstance(value, list) else [value])]
    except TypeError as error:
        raise _UnfitError(f"{column} must hold a text or a list of texts, but holds {error}") from error
