"""Make sure that no text of the data is in a bundle: every text is searched for in every file.

Two texts are alike where eight words in a row are, whatever their case, marks and spacing; a text of fewer words counts
where it is a whole name, such as the group of an example.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from empslurm import files
from empslurm.errors import UsageError
from empslurm.share.bundle.layout import Entry
from empslurm.tasks.prepare import Prepared

RUN = 8  # words in a row
FEWEST = 4  # words of a text that is looked for as a whole
# Scripts without spaces between words, in which each letter counts as a word: Thai, Lao, Burmese, Khmer, kana, Chinese.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(f"[{UNSPACED}]|[^\\W{UNSPACED}]+")
TAG = re.compile(r"<[^>]*>")
ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
BREAK = re.compile(r"\\[nrt\"]")
BINARY = (".safetensors", ".png", ".pdf", ".npy", ".npz")  # weights, pictures and arrays of numbers
MARKED = (".html", ".svg")


def refuse(entries: Iterable[Entry], prepared: Mapping[str, Prepared]) -> None:
    """Raise UsageError naming the file and the dataset where a file of a bundle holds a text of the data."""
    runs, names = _index(entries)
    for dataset, known in prepared.items():
        table = known.table
        for column in ("text", "context"):
            for value in table[column].to_pylist():
                for text in [value] if isinstance(value, str) else value or ():
                    where = _found(text, runs, names)
                    if where is not None:
                        raise UsageError(
                            f"a bundle must hold no text of the data, but {where} would hold one of {dataset}; where "
                            "it is the id or the group of an example, give the card columns of short names for `id` "
                            "and `group`, and run the study again"
                        )


def _found(text: str, runs: Mapping[int, str], names: Mapping[str, str]) -> str | None:
    """The file that holds a text, if one does."""
    words = _words(text)
    if len(words) >= RUN:
        return next((where for key in _hashes(words) if (where := runs.get(key)) is not None), None)
    return names.get(" ".join(words)) if len(words) >= FEWEST else None


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold())


def _hashes(words: list[str]) -> Iterator[int]:
    return (hash(tuple(words[at : at + RUN])) for at in range(len(words) - RUN + 1))


def _index(entries: Iterable[Entry]) -> tuple[dict[int, str], dict[str, str]]:
    """Hash of eight words in a row -> a file that has them; a whole name -> a file that has it."""
    runs: dict[int, str] = {}
    names: dict[str, str] = {}
    for entry in entries:
        for text, whole in _texts(entry):
            words = _words(text)
            if whole:
                names.setdefault(" ".join(words), entry.path)
            for key in _hashes(words):
                runs.setdefault(key, entry.path)
    return runs, names


def _texts(entry: Entry) -> Iterator[tuple[str, bool]]:
    """The texts of a file, and whether each is a whole name."""
    if entry.path.endswith(BINARY):
        return
    data = entry.data if entry.source is None else files.read_bytes(entry.source, max_bytes=2**31)
    if entry.path.endswith(".parquet"):
        yield from ((value, True) for value in _strings(data))
        return
    text = data.decode("utf-8", errors="replace")
    if entry.path.endswith(MARKED):
        text = html.unescape(TAG.sub(" ", text))
    text = ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    yield BREAK.sub(" ", text), False


def _strings(data: bytes) -> Iterator[str]:
    """The different texts of a table's columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.ParquetFile(pa.BufferReader(data)).read()
    for column in table.columns:
        kind: Any = column.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            yield from (value for value in column.unique().to_pylist() if value is not None)
