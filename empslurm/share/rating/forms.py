"""Write the forms of each rater: a page for the browser, a CSV and a spreadsheet, all with the same columns."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from empslurm import files
from empslurm.errors import UsageError
from empslurm.report.templating import POLICY
from empslurm.share.rating.criteria import CRITERIA, INSTRUCTIONS, LEVELS, NAMES, SOURCE
from empslurm.share.rating.subjects import FACTS, facts
from empslurm.tasks import Registry

HERE = Path(__file__).parent
RATER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
RESERVED = ("task", "aspect")  # columns of a table of ratings, where raters are columns too
COLUMNS = ("rater", "task", "title", *NAMES, "note", *FACTS)
SHEET, EXPLAINED = "ratings", "levels"  # names of the spreadsheet's two sheets
WIDTHS = {"rater": 10, "task": 18, "title": 22, "note": 40, "answers": 40, "citation": 50, "licence": 30}


@dataclass(frozen=True, kw_only=True)
class Written:
    """The forms in a folder."""

    folder: Path
    raters: tuple[str, ...]
    tasks: tuple[str, ...]
    files: tuple[Path, ...]


def write(folder: Path, raters: Sequence[str], tasks: Sequence[str], known: Registry) -> Written:
    """Write RATER.html, RATER.csv and RATER.xlsx for each rater. Nothing is written where one of them exists already.

    Raises UsageError for a wrong name and for a file that is there, StoreError where the folder cannot be written.
    """
    refuse_raters(raters)
    made = {folder / f"{rater}{suffix}": (rater, make) for rater in raters for suffix, make in FORMS.items()}
    there = [path.name for path in made if path.exists() or path.is_symlink()]
    if there:
        raise UsageError(
            f"a form must be a new file, since one that is there may be filled, but {folder} has {', '.join(there)}; "
            "give another folder with --to, or move these files away"
        )
    for path, (rater, make) in made.items():
        files.write_bytes(path, make(rater, rows(rater, tasks, known)))
    return Written(folder=folder, raters=tuple(raters), tasks=tuple(tasks), files=tuple(made))


def refuse_raters(raters: Sequence[str]) -> None:
    """Raise UsageError where a name cannot be that of a rater, or names two."""
    for rater in raters:
        if not RATER.fullmatch(rater):
            raise UsageError(
                f"the name of a rater must have letters, digits, -, _ and . only, begin with a letter or digit and "
                f"have at most 40 of them, but is {rater[:60]!r}; write for example --raters A B"
            )
        if rater.lower() in RESERVED:
            raise UsageError(
                f"the name of a rater must not be {' or '.join(RESERVED)}, which are columns of a table of ratings, "
                f"but is {rater}; choose another name"
            )
    names = [rater.lower() for rater in raters]
    twice = [rater for rater in raters if names.count(rater.lower()) > 1]
    if twice:
        raise UsageError(
            f"every rater must have a name of their own, in upper or lower case, but {' and '.join(twice)} are the "
            "same; name each rater once"
        )


def rows(rater: str, tasks: Sequence[str], known: Registry) -> list[dict[str, str]]:
    """The rows of a rater's form, by column. The order follows from the names of rater and task alone."""
    shuffled = sorted(tasks, key=lambda task: files.sha256_bytes(f"{rater}\n{task}".encode()))
    return [
        {
            "rater": rater,
            "task": task,
            "title": known.tasks[task].title,
            **dict.fromkeys((*NAMES, "note"), ""),
            **facts(task, known),
        }
        for task in shuffled
    ]


# ---- the three forms -------------------------------------------------------------------------------------------------


def to_csv(rater: str, of_rater: Sequence[Mapping[str, str]]) -> bytes:
    """A CSV file. It begins with a byte order mark, by which spreadsheet programs know that it is UTF-8."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(of_rater)
    return stream.getvalue().encode("utf-8-sig")


def to_xlsx(rater: str, of_rater: Sequence[Mapping[str, str]]) -> bytes:
    """A spreadsheet: ratings with a check of each cell, and what the levels mean on the second sheet."""
    from openpyxl import Workbook
    from openpyxl.styles import Alignment, Font
    from openpyxl.utils import get_column_letter
    from openpyxl.worksheet.datavalidation import DataValidation

    book = Workbook()
    sheet, explained = book.active, book.create_sheet(EXPLAINED)
    sheet.title = SHEET
    _fill(sheet, [COLUMNS, *([row[name] for name in COLUMNS] for row in of_rater)])
    for at, name in enumerate(COLUMNS, 1):
        letter = get_column_letter(at)
        sheet.column_dimensions[letter].width = WIDTHS.get(name, 16)
        criterion = next((one for one in CRITERIA if one.name == name), None)
        if criterion is None:
            continue
        check = DataValidation(
            type="whole", operator="between", formula1=str(LEVELS[0]), formula2=str(LEVELS[-1]), allow_blank=True
        )
        check.errorTitle, check.error = criterion.title, "Write a whole level from 1 to 5, or leave the cell blank."
        check.promptTitle, check.prompt = criterion.title, criterion.question[:250]
        check.showErrorMessage = check.showInputMessage = True
        check.add(f"{letter}2:{letter}{len(of_rater) + 1}")
        sheet.add_data_validation(check)
    sheet.freeze_panes = "D2"
    meanings = [
        (criterion.title, criterion.question if level == 1 else "", str(level), meaning)
        for criterion in CRITERIA
        for level, meaning in zip(LEVELS, criterion.levels, strict=True)
    ]
    notes = [("", "", "", text) for text in (*INSTRUCTIONS, SOURCE)]
    _fill(explained, [("criterion", "question", "level", "meaning"), *meanings, *notes])
    for letter, width in zip("ABCD", (16, 60, 8, 100), strict=True):
        explained.column_dimensions[letter].width = width
    for each in (sheet, explained):
        for line in each.iter_rows():
            for cell in line:
                cell.alignment = Alignment(wrap_text=True, vertical="top")
        for cell in each[1]:
            cell.font = Font(bold=True)
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def _fill(sheet: Any, lines: Sequence[Sequence[str]]) -> None:
    """Write cells as text, whatever they look like: a title that begins with = is no formula. A blank stays empty."""
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    for row, line in enumerate(lines, 1):
        for column, text in enumerate(line, 1):
            if text:
                cell = sheet.cell(row=row, column=column)
                cell.value = ILLEGAL_CHARACTERS_RE.sub("", text)
                cell.data_type = "s"


def to_html(rater: str, of_rater: Sequence[Mapping[str, str]]) -> bytes:
    """A page that needs no network: it keeps the answers in the browser, and saves them as the rater's CSV."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("form.css", "form.js"))
    subjects = [
        {**row, "facts": [(name, row[column]) for column, name in FACTS.items() if row[column]]} for row in of_rater
    ]
    tasks = "\n".join(sorted(row["task"] for row in of_rater))
    data = {
        "rater": rater,
        "columns": COLUMNS,
        "criteria": NAMES,
        "rows": [dict(row) for row in of_rater],
        # The answers are kept under this name: another set of tasks is another form.
        "kept": f"empslurm-rating-{rater}-{files.sha256_bytes(tasks.encode())[:12]}",
    }
    text = environment.get_template("form.html").render(
        policy=POLICY,
        style=style,
        script=script,
        rater=rater,
        subjects=subjects,
        criteria=[asdict(criterion) for criterion in CRITERIA],
        instructions=INSTRUCTIONS,
        source=SOURCE,
        n_ratings=len(of_rater) * len(CRITERIA),
        data=data,
    )
    return text.encode()


FORMS = {".html": to_html, ".csv": to_csv, ".xlsx": to_xlsx}  # ending -> function of the rater's name and rows
