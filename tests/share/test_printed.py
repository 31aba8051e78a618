"""Two files of one kind: what counts as the same, and where a difference is."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from empslurm.share import printed
from empslurm.share.printed import COMPARED, Compared

HEAD = "source,target,value\n"


def of_csv(one: str, two: str) -> Compared:
    return COMPARED[".csv"].compare(one.encode(), two.encode())


def test_an_edited_number_is_named_by_row_and_column():
    found = of_csv(HEAD + "a,b,0.5\nc,d,0.25\n", HEAD + "a,b,0.5\nc,d,0.75\n")
    (entry,) = found.entries
    assert entry.text == "row c / d, column value: printed 0.25, recomputed 0.75"
    assert not found.same


@pytest.mark.parametrize(("two", "same", "n_digits"), [("0.3", True, 1), ("0.300000002", False, 0), ("", False, 0)])
def test_the_last_digits_may_differ_and_are_counted(two: str, same: bool, n_digits: int):
    found = of_csv(HEAD + f"a,b,{0.1 + 0.2!r}\n", HEAD + f"a,b,{two}\n")
    assert (found.same, found.n_digits) == (same, n_digits)


def test_infinite_and_undefined_numbers_are_equal_to_themselves_alone():
    assert of_csv(HEAD + "a,b,inf\n", HEAD + "a,b,inf\n").same
    assert not of_csv(HEAD + "a,b,inf\n", HEAD + "a,b,1e300\n").same
    assert not of_csv(HEAD + "a,b,-inf\n", HEAD + "a,b,inf\n").same


def test_where_a_row_is_missing_the_others_are_still_compared_with_their_own():
    one = HEAD + "a,b,1\nc,d,2\ne,f,3\n"
    two = HEAD + "a,b,1\ne,f,4\n"
    texts = [entry.text for entry in of_csv(one, two).entries]
    assert texts == [
        "row e / f, column value: printed 3, recomputed 4",
        "row c / d: printed c, d, 2, recomputed nothing",
    ]


def test_columns_that_were_renamed_are_a_difference():
    found = of_csv("a,b\n1,2\n", "a,c\n1,2\n")
    assert [entry.place for entry in found.entries] == ["the names of the columns"]


@pytest.mark.parametrize("ending", [".md", ".tex", ".json"])
def test_texts_are_compared_line_by_line(ending: str):
    compare = COMPARED[ending].compare
    assert compare(b"one\ntwo\n", b"one\ntwo\n").same
    (entry,) = compare(b"one\n| x | .91 |\nlast\n", b"one\n| x | .19 |\nlast\n").entries
    assert (entry.place, entry.printed, entry.again) == ("line 2", "| x | .91 |", "| x | .19 |")


def test_the_first_difference_of_a_long_line_is_shown():
    one, two = ("x" * 500 + digit + "y" * 500 for digit in "12")
    (entry,) = COMPARED[".md"].compare(one.encode(), two.encode()).entries
    assert entry.printed.startswith("x" * printed.AROUND + "1")
    assert len(entry.printed) == 2 * printed.AROUND


PAGE = "<p>{}</p>\n<dl><dt>made by</dt><dd>empslurm 1, 2026-01-01 {} UTC</dd></dl>\n"


def test_a_page_may_differ_in_the_time_at_which_it_was_made_and_nothing_else():
    compare = COMPARED[".html"].compare
    page = PAGE.format("A helps B.", "10:00").encode()
    assert compare(page, PAGE.format("A helps B.", "11:00").encode()).same
    (entry,) = compare(PAGE.format("A harms B.", "10:00").encode(), page).entries
    assert (entry.printed, entry.again) == ("A harms B.", "A helps B.")
    (entry,) = compare(page.replace(b"<p>", b"<p hidden>"), page).entries
    assert entry.place == "the page's markup"
    forged = page.replace(b"empslurm 1, 2026-01-01 10:00 UTC", b"empslurm 1. Every source helps.")
    assert not compare(forged, page).same


def test_parquet_files_are_compared_by_their_rows():
    frame = pd.DataFrame({"id": ["a", "b"], "value": [0.1, 0.2]})

    def written(table: pd.DataFrame, **options: str) -> bytes:
        sink = io.BytesIO()
        table.to_parquet(sink, **options)  # type: ignore[call-overload]
        return sink.getvalue()

    compare, one = COMPARED[".parquet"].compare, written(frame)
    assert compare(written(frame, compression="gzip"), one).same
    (entry,) = compare(one, written(frame.assign(value=[0.1, 0.3]))).entries
    assert entry.text == "row b, column value: printed 0.2, recomputed 0.3"
    assert not compare(b"PAR1", one).same


@pytest.mark.parametrize("name", ["a/b.svg", "x.png", "x.pdf", "notes.txt"])
def test_pictures_and_other_files_must_be_equal_in_every_byte(name: str):
    compare = printed.way_of(name).compare
    assert compare(b"one", b"one").same
    assert not compare(b"one", b"onf").same
