"""Tokenise a task's texts once and keep them memory-mapped. Without torch, so that `prepare` starts fast."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empslurm import files, ids
from empslurm.errors import StoreError, UsageError
from empslurm.tasks.prepare import TaskTable
from empslurm.train.data.tokenizer import Tokenizer
from empslurm.validation import decode

TOKEN_VERSION = 1  # increase when the rule below changes, together with `cells.RECIPE`
CHUNK = 2_000  # examples tokenised at a time


FOLDER = "tokens"  # below the prepared data
DONE = "done.json"  # beside the arrays


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The fields of `Tokens` that are not arrays."""

    n_truncated: int  # examples that were cut
    pad_id: int
    segments: bool  # the backbone distinguishes two segments (BERT yes, RoBERTa no)


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Token ids of every example of a table, in its order; arrays are memory-mapped.

    flat: (n_tokens,) int32; starts: (n_examples + 1,) int64; text_starts: (n_examples,) int32, where the text's
    segment begins inside an example (0: there is no context segment).
    """

    flat: NDArray[np.int32]
    starts: NDArray[np.int64]
    text_starts: NDArray[np.int32]
    n_truncated: int  # examples that were cut
    pad_id: int
    segments: bool  # the backbone distinguishes two segments (BERT yes, RoBERTa no)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """(n_examples,) tokens, specials included."""
        return np.diff(self.starts)


def encode(
    tokenizer: Tokenizer, contexts: Sequence[Sequence[str]], texts: Sequence[str], max_length: int
) -> Iterator[tuple[list[int], int, bool]]:
    """Per example: token ids, where the text's segment starts, whether something was cut.

    A long text keeps its head, a long context its tail: the oldest turn is cut first. The separator token joins turns.
    Raises UsageError if `max_length` has no room for a token of the text.
    """
    n_single, n_pair = tokenizer.n_single, tokenizer.n_pair
    if max_length <= max(n_single, n_pair):
        raise UsageError(
            f"max_length must be larger than the {max(n_single, n_pair)} special tokens around a context and a text, "
            f"but is {max_length}; write a larger one in the manifest"
        )
    joined = [f" {tokenizer.separator} ".join(turns) for turns in contexts]
    (first, last), (begin, middle, end) = tokenizer.single, tokenizer.pair
    for context, text in zip(tokenizer.pieces(joined), tokenizer.pieces(texts), strict=True):
        room = max_length - (n_pair if context else n_single)
        kept_text = text[:room]
        space = room - len(kept_text)
        kept = context[len(context) - space :] if len(context) > space else context
        cut = len(kept_text) < len(text) or len(kept) < len(context)
        if kept:
            yield [*begin, *kept, *middle, *kept_text, *end], len(begin) + len(kept) + len(middle), cut
        else:
            yield [*first, *kept_text, *last], 0, cut


def tokenise(
    table: TaskTable,
    tokenizer: Callable[[], Tokenizer],
    backbone_digest: str,
    max_length: int,
    cache_root: Path,
) -> Tokens:
    """Tokens of a table, computed once per (examples, context rule, backbone, length), then memory-mapped.

    `tokenizer()` is called only to compute them: loading one takes seconds.
    """
    folder = cache_root / FOLDER / name_of(table, backbone_digest, max_length)
    if not (folder / DONE).exists():
        _write(folder, table, tokenizer(), max_length)
    facts: Facts = decode.load(folder / DONE, Facts)
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
    return Tokens(**arrays, **vars(facts))


def name_of(table: TaskTable, backbone_digest: str, max_length: int) -> str:
    """The name of the folder of a table's tokens."""
    return ids.digest([TOKEN_VERSION, backbone_digest, max_length, table.digest], 24)


_ARRAYS = ("flat", "starts", "text_starts")


def _write(folder: Path, table: TaskTable, tokenizer: Tokenizer, max_length: int) -> None:
    """Write a temporary folder and rename it: if two processes do so at once, one of their equal folders stays."""
    flat: list[NDArray[np.int32]] = []
    lengths: list[int] = []
    text_starts: list[int] = []
    n_truncated = 0
    for first in range(0, len(table.texts), CHUNK):
        part = slice(first, first + CHUNK)
        for whole, start, cut in encode(tokenizer, table.contexts[part], table.texts[part], max_length):
            flat.append(np.asarray(whole, np.int32))
            lengths.append(len(whole))
            text_starts.append(start)
            n_truncated += cut
    arrays: dict[str, NDArray[Any]] = {
        "flat": np.concatenate(flat) if flat else np.zeros(0, np.int32),
        "starts": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "text_starts": np.asarray(text_starts, np.int32),
    }
    _store(folder, arrays, Facts(n_truncated=n_truncated, pad_id=tokenizer.pad_id, segments=tokenizer.segments))


def _store(folder: Path, arrays: Mapping[str, NDArray[Any]], facts: Facts) -> None:
    """Rename a complete folder into place; an incomplete one there is deleted. Raises StoreError."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.{secrets.token_hex(6)}")
    try:
        temporary.mkdir(parents=True)
        for name, values in arrays.items():
            np.save(temporary / f"{name}.npy", values)
        files.write_json(temporary / DONE, asdict(facts))
        if folder.exists() and not (folder / DONE).exists():
            os.rename(folder, temporary / "incomplete")
        with contextlib.suppress(OSError):  # another process was first
            os.rename(temporary, folder)
        shutil.rmtree(folder / "incomplete", ignore_errors=True)
    except OSError as error:
        raise StoreError(
            f"{folder} must be written, but cannot be: {error.strerror or error}; free space, or allow writing there"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if not (folder / DONE).exists():
        raise StoreError(f"{folder} must hold the tokens just written, but does not; move it away and submit again")
