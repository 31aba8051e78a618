"""Make sure that no text of the data is in a bundle: every text is searched for in every file.

A file holds a text where six words of it are there in a row, or all words of a shorter one, whatever their case, marks
and spacing. A text of fewer than four words cannot be told from the words of any page, and is not searched for.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from empslurm import files
from empslurm.errors import UsageError
from empslurm.share.bundle.layout import Entry
from empslurm.tasks.prepare import Prepared

RUN = 6  # words in a row
FEWEST = 4  # words of a shorter text
# Scripts without spaces between words, in which each letter counts as a word: Thai, Lao, Burmese, Khmer, kana, Chinese.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(f"[{UNSPACED}]|[^\\W_{UNSPACED}]+")
TAG = re.compile(r"<[^>]*>")
ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
BREAK = re.compile(r"\\[nrt\"]")
BINARY = (".safetensors", ".png", ".pdf", ".npy", ".npz")  # weights, pictures and arrays of numbers
MARKED = (".html", ".svg")


def refuse(entries: Iterable[Entry], prepared: Mapping[str, Prepared]) -> None:
    """Raise UsageError naming the file and the dataset where a file of a bundle holds a text of the data."""
    runs = _index(entries)
    for dataset, known in prepared.items():
        table = known.table
        for column in ("text", "context"):
            for value in table[column].to_pylist():
                for text in [value] if isinstance(value, str) else value or ():
                    where = _found(text, runs)
                    if where is not None:
                        raise UsageError(
                            f"a bundle must hold no text of the data, but {where} would hold one of {dataset}; take "
                            "it out of that file, or, where it is the id or the group of an example, give the card "
                            "columns of short names for `id` and `group`, and run the study again"
                        )


def _found(text: str, runs: Mapping[int, str]) -> str | None:
    """The file that holds a text, if one does."""
    words = _words(text)
    if len(words) < FEWEST:
        return None
    return next((where for key in _hashes(words, min(len(words), RUN)) if (where := runs.get(key)) is not None), None)


def _words(text: str) -> list[str]:
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _hashes(words: list[str], n: int) -> Iterator[int]:
    return (hash(tuple(words[at : at + n])) for at in range(len(words) - n + 1))


def _index(entries: Iterable[Entry]) -> dict[int, str]:
    """Hash of four to six words in a row -> a file that has them."""
    runs: dict[int, str] = {}
    for entry in entries:
        for text in _texts(entry):
            words = _words(text)
            for n in range(FEWEST, RUN + 1):
                for key in _hashes(words, n):
                    runs.setdefault(key, entry.path)
    return runs


def _texts(entry: Entry) -> Iterator[str]:
    """The texts of a file."""
    if entry.path.endswith(BINARY):
        return
    data = entry.data if entry.source is None else files.read_bytes(entry.source, max_bytes=2**31)
    if entry.path.endswith(".parquet"):
        yield from _strings(data)
        return
    text = data.decode("utf-8", errors="replace")
    text = BREAK.sub(" ", ESCAPE.sub(lambda found: chr(int(found[1], 16)), text))
    if entry.path.endswith(MARKED):
        yield html.unescape(TAG.sub(" ", text))  # a text may go over tags,
        text = html.unescape(text)  # and may be in one
    yield text


def _strings(data: bytes) -> Iterator[str]:
    """The different texts of a table's columns, and of its notes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.ParquetFile(pa.BufferReader(data)).read()
    for note in (table.schema.metadata or {}).values():
        yield BREAK.sub(" ", note.decode("utf-8", errors="replace"))
    for column in table.columns:
        if _has_text(column.type):
            plain = column.unique().to_pylist() if pa.types.is_string(column.type) else column.to_pylist()
            yield from _inside(plain)


def _has_text(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _has_text(kind.value_type)
    if pa.types.is_nested(kind):
        return any(_has_text(kind.field(at).type) for at in range(kind.num_fields))
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _inside(value: Any) -> Iterator[str]:
    """Every text in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _inside(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _inside(item)
