"""Filled forms as people and programs leave them: all that is wrong is named at once, and nothing is guessed."""

from __future__ import annotations

import datetime
import io
import math
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empslurm import reference
from empslurm.cli import main
from empslurm.errors import DataError, SheetError, UsageError
from empslurm.share.rating import forms, sheets
from empslurm.tasks import registry
from tests.hostile import examples
from tests.share.rating import made

TASKS = ("epitome_er", "hope", "news_empathy")
LEVELS = {"epitome_er": ("333", "343"), "hope": ("231", "321"), "news_empathy": ("554", "544")}


def blank(rater: str) -> list[dict[str, str]]:
    return forms.rows(rater, TASKS, registry())


def good(rater: str = "A", place: int = 0) -> list[dict[str, str]]:
    return made.filled(blank(rater), place, LEVELS)


def row(rows: list[dict[str, str]], task: str) -> dict[str, str]:
    return next(one for one in rows if one["task"] == task)


@pytest.fixture
def second(tmp_path: Path) -> Path:
    return made.save(tmp_path / "B.csv", good("B", 1))


def problems(*paths: Path) -> list[str]:
    with pytest.raises(SheetError) as caught:
        sheets.read(paths)
    return list(caught.value.problems)


def values(path: Path, second: Path) -> dict[tuple[str, str], tuple[float, ...]]:
    return {(one.task, one.aspect): one.values for one in sheets.ratings(sheets.read([path, second]))}


# ---- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_every_way_in_which_programs_write_a_csv_is_read_alike(
    tmp_path: Path, second: Path, delimiter: str, encoding: str
) -> None:
    rows = good()
    rows[0]["note"] = "naïve; “odd”, with a\nline break"
    path = made.save(tmp_path / "any.csv", rows, delimiter, encoding)
    found = values(path, second)
    assert next(iter(found)) == ("hope", "definition")  # the order of the paper's tables
    assert found["news_empathy", "conduciveness"] == (4.0, 4.0)
    assert found["hope", "definition"] == (2.0, 3.0)
    text = path.read_bytes().decode(encoding)
    path.write_bytes(f"sep={delimiter}\r\n{text}".encode(encoding.removesuffix("-sig")))
    assert values(path, second) == found


@pytest.mark.parametrize("text", ["4", " 4 ", "4.0", "4,0", "4.00", "04"])
def test_a_whole_level_is_one_however_a_program_shows_it(tmp_path: Path, second: Path, text: str) -> None:
    rows = good()
    row(rows, "hope")["link"] = text
    assert values(made.save(tmp_path / "A.csv", rows), second)["hope", "link"] == (4.0, 2.0)


def test_a_spreadsheet_is_read_as_numbers_or_texts(tmp_path: Path, second: Path) -> None:
    folder = tmp_path / "forms"
    forms.write(folder, ["A"], TASKS, registry())
    cells = {"epitome_er": [3, "3", 3.0], "hope": ["2", 3, None], "news_empathy": [5, " 5", "4"]}
    path = made.save_xlsx(folder / "A.xlsx", tmp_path / "x.XLSX", cells)
    found = values(path, second)
    assert found["epitome_er", "link"] == (3.0, 4.0)
    assert math.isnan(found["hope", "conduciveness"][0])


def test_upper_case_headers_blank_lines_and_blank_columns_count_for_nothing(tmp_path: Path, second: Path) -> None:
    path = made.save(tmp_path / "A.csv", good(), ";")
    lines = path.read_text().splitlines()
    lines[0] = lines[0].upper()
    path.write_text("\n\n" + "\n".join(f"{line};;" for line in [*lines, ";" * 14, ""]))
    assert values(path, second)["hope", "definition"] == (2.0, 3.0)


def test_the_name_of_the_rater_is_in_the_file_whatever_the_file_is_called(tmp_path: Path, second: Path) -> None:
    path = made.save(tmp_path / "B-final(2).csv", good("A"))
    assert [sheet.rater for sheet in sheets.read([path, second])] == ["A", "B"]


def test_blanks_are_gaps_and_come_back_as_gaps(tmp_path: Path, second: Path) -> None:
    rows = good()
    row(rows, "hope").update(definition="", link=" ")
    first, other = sheets.read([made.save(tmp_path / "A.csv", rows), second])
    assert set(first.gaps) == {("hope", "definition"), ("hope", "link")}
    assert (first.n_rated, other.n_rated, other.gaps) == (7, 9, ())
    merged = tmp_path / "new" / "ratings.csv"
    sheets.write(merged, sheets.ratings([first, other]))
    again = {(one.task, one.aspect): one for one in reference.ratings(merged)}
    assert again["hope", "definition"].annotators == ("A", "B")
    assert again["hope", "definition"].mean == 3.0
    assert again["hope", "conduciveness"].values == (1.0, 1.0)
    with pytest.raises(UsageError, match="must name a new file"):
        sheets.write(merged, sheets.ratings([first, other]))


# ---- what is wrong ---------------------------------------------------------------------------------------------------


def test_all_problems_of_all_files_are_named_at_once(tmp_path: Path) -> None:
    first, second = good(), good("B", 1)
    row(first, "hope").update(definition="6", link="3,5", conduciveness="high")
    row(second, "epitome_er")["link"] = "0"
    paths = made.save(tmp_path / "A.csv", first), made.save(tmp_path / "B.csv", second, ";")
    said = problems(*paths)
    assert len(said) == 4
    line = 2 + first.index(row(first, "hope"))
    assert said[0] == (
        f"{paths[0]}, line {line}: the definition of hope must be a whole level from 1 to 5, but is '6'; write one "
        "level, or leave the cell blank"
    )
    assert "the link of hope must be a whole level from 1 to 5, but is '3,5'; choose one of the two levels" in said[1]
    assert said[3].startswith(f"{paths[1]}, line {2 + second.index(row(second, 'epitome_er'))}: the link of epitome_er")


@pytest.mark.parametrize(
    "text", ["0", "6", "-1", "3.5", "3,5", ".5", "x", "4-5", "1e0", "nan", "٣", "4 5", "=4", "9" * 40]
)
def test_what_is_no_level_is_named(tmp_path: Path, second: Path, text: str) -> None:
    rows = good()
    row(rows, "hope")["link"] = text
    (said,) = problems(made.save(tmp_path / "A.csv", rows), second)
    assert "the link of hope must be a whole level" in said


@pytest.mark.parametrize("value", [3.5, True, datetime.datetime(2026, 5, 3), "=2+2", 0, 6, -1, "four", 1e300])
def test_what_is_no_level_is_named_in_a_spreadsheet_too(tmp_path: Path, second: Path, value: object) -> None:
    forms.write(tmp_path / "forms", ["A"], TASKS, registry())
    cells: dict[str, list[object]] = {task: [3, 3, 3] for task in TASKS}
    cells["hope"] = [3, value, 3]
    path = made.save_xlsx(tmp_path / "forms" / "A.xlsx", tmp_path / "A.xlsx", cells)
    (said,) = problems(path, second)
    assert ", row " in said
    assert "the link of hope must be a whole level from 1 to 5" in said
    if isinstance(value, datetime.datetime | float) and value != 1e300:
        assert "there is none between" in said


def change(rows: list[dict[str, str]], of_task: str, /, **cells: str) -> list[dict[str, str]]:
    return [{**one, **cells} if one["task"] == of_task else one for one in rows]


def renamed(rows: list[dict[str, str]], before: str, after: str) -> list[dict[str, str]]:
    return [{after if name == before else name: value for name, value in one.items()} for one in rows]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (change(good(), "hope", task="hoep"), "must name the same task, but name hope and hoep; did you mean hope?"),
        (change(good(), "hope", task=""), "must name its task"),
        (change(good(), "hope", task="epitome_er"), "must not rate epitome_er again"),
        (good()[:2], "must have the task"),
        (change(good(), "hope", rater="C"), "must be the form of one rater, but names"),
        (change(good(), "hope", rater=""), "must name its rater"),
        (change(good(), "hope", rater="A B"), "letters, digits"),
        ([{**one, "rater": "task"} for one in good()], "letters, digits"),
        (renamed(good(), "definition", "definiton"), "column definiton, which no form has; did you mean definition?"),
        (renamed(good(), "link", "correspondence"), "must have the column link"),
        ([{**one, "clarity": "3"} for one in good()], "must have no column clarity"),
        (renamed(good(), "note", "Link"), "must have every column once, but has link twice"),
        (blank("A"), "must have ratings, but all 9 are blank"),
        ([{"text": "invented", "label": "3"}], "must be a filled form with the columns rater, task, definition"),
        ([{**one, "rater": "b"} for one in good()], "must be the form of another rater"),
    ],
)  # fmt: skip
def test_a_wrong_form_is_named_with_what_to_do(
    tmp_path: Path, second: Path, rows: list[dict[str, str]], words: str
) -> None:
    said = problems(made.save(tmp_path / "first.csv", rows), second)
    assert any(words in one for one in said), said
    assert all(";" in one or "did you mean" in one for one in said)


def test_a_task_that_only_one_form_has_is_named_once_with_both_places(tmp_path: Path, second: Path) -> None:
    path = made.save(tmp_path / "A.csv", change(good(), "hope", task="hoep"))
    assert len(problems(path, second)) == 1
    third = made.save(tmp_path / "C.csv", good("C"))
    (said,) = problems(second, third, path)
    assert "did you mean hope?" in said


def test_files_that_are_no_forms(tmp_path: Path, second: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("[Content_Types].xml", "<x>")
    files: dict[str, tuple[bytes | None, str]] = {
        "absent.csv": (None, "does not exist"),
        "empty.csv": (b"", "must be a filled form with the columns"),
        "header.csv": (",".join(forms.COLUMNS).encode(), "must have a row for each task"),
        "page.html": (b"<p>", "ends with '.html'; save it as CSV or XLSX"),
        "old.xls": (b"\xd0\xcf", "ends with '.xls'"),
        "text.xlsx": (b"rater,task", "cannot be read as one (BadZipFile)"),
        "zip.xlsx": (packed.getvalue(), "cannot be read as one"),
        "quote.csv": (b'rater,task,definition,link,conduciveness\nA,"hope,1,2,3\n', "never closed"),
        "wide.csv": (b"rater,task,definition,link,conduciveness,note\nA,hope,1,2,3,ah, well\n", "must have 6 cells"),
        "short.csv": (b"rater,task,definition,link,conduciveness,note\nA,hope,1,2\n", "must have 6 cells"),
        "binary.csv": (bytes(range(256)) * 4, "must be a filled form"),
    }
    for name, (data, words) in files.items():
        path = tmp_path / name
        if data is not None:
            path.write_bytes(data)
        (said,) = problems(path, second)
        assert words in said, said
    (said,) = problems(tmp_path, second)
    assert "is no file" in said
    with pytest.raises(UsageError, match="two raters or more, but got one"):
        sheets.read([second])


def test_a_workbook_with_other_sheets_needs_one_named_ratings(tmp_path: Path, second: Path) -> None:
    from openpyxl import load_workbook

    forms.write(tmp_path / "forms", ["A"], TASKS, registry())
    book = load_workbook(tmp_path / "forms" / "A.xlsx")
    book["ratings"].title = "mine"
    book.save(tmp_path / "A.xlsx")
    (said,) = problems(tmp_path / "A.xlsx", second)
    assert "must have a sheet named ratings, but has mine, levels" in said


@given(
    data=st.binary(max_size=300)
    | st.text(alphabet='rater,task;\t"\n\r definitionlinkconduciveness\x00=3', max_size=300)
)
@examples(0.5)
def test_any_file_is_read_or_refused_in_a_sentence(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    folder = tmp_path_factory.mktemp("any")
    body = data if isinstance(data, bytes) else data.encode()
    head = b"rater,task,definition,link,conduciveness\nA,hope,1,2,3\n"
    for name, content in {"a.csv": body, "b.csv": head + body, "c.xlsx": body}.items():
        path = folder / name
        path.write_bytes(content)
        found: list[str] = []
        sheet = sheets._sheet(path, found)
        assert (sheet is None) == bool(found)


# ---- the command line ------------------------------------------------------------------------------------------------


def test_problems_end_the_command_with_1_and_a_sentence_each(
    tmp_path: Path, second: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = change(good(), "hope", definition="6", link="7")
    path, merged = made.save(tmp_path / "A.csv", rows), tmp_path / "merged.csv"
    assert main(["agreement", str(path), str(second), "--to", str(merged)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("empslurm: ") == 2
    assert not merged.exists()


def test_wrong_uses_of_agreement(tmp_path: Path, second: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = made.save(tmp_path / "A.csv", good())
    both = [str(path), str(second)]
    for words, message in {
        (*both, "--ratings", str(path)): "must have one input",
        ("--to", "x.csv"): "must come with filled forms",
        (*both, "--to", str(path)): "must name a new file",
        (str(path),): "two raters or more",
    }.items():
        assert main(["agreement", *words]) == 2
        assert message in " ".join(capsys.readouterr().err.split())


def test_a_form_given_as_a_table_of_all_ratings_is_told_how_to_become_one(tmp_path: Path) -> None:
    path = made.save(tmp_path / "A.csv", good())
    with pytest.raises(DataError, match="is the form of one; merge the filled forms"):
        reference.ratings(path)
    with pytest.raises(DataError, match="is a spreadsheet; merge the filled forms"):
        reference.ratings(tmp_path / "A.xlsx")
