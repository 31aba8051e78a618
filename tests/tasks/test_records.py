import csv
from pathlib import Path

import pytest

from empslurm.errors import DataError
from empslurm.tasks.records import number, read_rows, whole
from empslurm.tasks.schema import Reject


def rows(path: Path, content: bytes, **options: bool | str) -> list[tuple[int, dict[str, str]] | Reject]:
    path.write_bytes(content)
    return list(read_rows(path, ("a", "b"), **options))  # type: ignore[arg-type]


def test_bom_crlf_nul_and_other_columns(tmp_path: Path) -> None:
    found = rows(tmp_path / "x.csv", b'\xef\xbb\xbfc,b,a\r\n1, two ,th\x00ree\r\n\r\n4,"five\nlines",6\r\n')
    assert found == [(1, {"a": "three", "b": "two"}), (3, {"a": "6", "b": "five\nlines"})]


def test_a_row_of_another_width_is_a_reject(tmp_path: Path) -> None:
    found = rows(tmp_path / "x.csv", b"a,b\n1,2\n1\n1,2,3\n3,4\n")
    assert [item.row for item in found if isinstance(item, Reject)] == [2, 3]
    ragged = rows(tmp_path / "x.csv", b"a,b\n1,2\n1\n1,2,3\n", ragged=True)
    assert [item.row for item in ragged if isinstance(item, Reject)] == [2]


def test_quotes_are_text_where_they_are_not_quoting(tmp_path: Path) -> None:
    found = rows(tmp_path / "x.tsv", b'a\tb\n"one\ttwo\n3\tfo"ur\n', delimiter="\t", quoted=False)
    assert found == [(1, {"a": '"one', "b": "two"}), (2, {"a": "3", "b": 'fo"ur'})]


def test_a_quote_that_is_never_closed_is_an_error_and_swallows_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.csv must be a delimited table, but is not at line"):
        rows(tmp_path / "x.csv", b'a,b\n1,"two\n3,4\n5,6\n')


def test_wrong_columns_are_named_and_sentences_are_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must have the columns a, b, but lacks b \(it has a, level\)"):
        rows(tmp_path / "x.csv", b"a,level\n1,2\n")
    with pytest.raises(DataError, match=r"but lacks a \(it has none\)"):
        rows(tmp_path / "x.csv", b"")
    with pytest.raises(DataError, match="1 that are not names") as caught:
        rows(tmp_path / "x.csv", b"17,my kite was lost in the rain again\n")
    assert "kite" not in str(caught.value)


def test_other_encodings_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must be UTF-8, but is not at byte 8"):
        rows(tmp_path / "x.csv", b"a,b\n1,ab\xe9d\n")
    with pytest.raises(DataError, match="must be UTF-8"):
        rows(tmp_path / "x.csv", "a,b\n1,2\n".encode("utf-16"))
    with pytest.raises(DataError, match="must be readable"):
        list(read_rows(tmp_path / "absent.csv", ("a",)))


def test_a_very_long_text_is_read_whole(tmp_path: Path) -> None:
    csv.field_size_limit(10)
    assert rows(tmp_path / "x.csv", b"a,b\n1," + b"y" * 100_000) == [(1, {"a": "1", "b": "y" * 100_000})]


@pytest.mark.parametrize(
    ("text", "value"), [("2.5", 2.5), ("1", 1), ("5", 5), ("0.99", None), ("5.1", None), ("", None), ("x", None)]
)
def test_number(text: str, value: float | None) -> None:
    assert number(text, 1, 5) == value


def test_numbers_that_are_none() -> None:
    assert [number(text) for text in ("nan", "inf", "-Infinity", "1,5", "1_5", "\u0663", "1e999", ".", "0x2")] == [
        None
    ] * 9
    assert [whole(text) for text in ("7", "007", "-1", "1.0", "²", "", "9" * 5000)] == [7, 7, *[None] * 5]
