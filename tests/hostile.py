"""Hypothesis strategies for hostile YAML: bytes, values of every shape under known keys, and damaged good files."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from empslurm.errors import ManifestError

# A soak raises the number of examples and draws them by its own seed; the tests keep to a few hundred fixed ones.
SOAK = "EMPSLURM_FUZZ_EXAMPLES" in os.environ
MAX_EXAMPLES = int(os.environ.get("EMPSLURM_FUZZ_EXAMPLES", "200"))
MAX_S = 5.0  # of processor time for one input of a few kilobytes: more is a hang


def examples(share: float = 1.0) -> settings:
    """Hypothesis settings for a share of the examples; a soak takes all of them everywhere."""
    number = MAX_EXAMPLES if SOAK else max(1, int(MAX_EXAMPLES * share))
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(
        max_examples=number, deadline=None, database=None, derandomize=not SOAK, suppress_health_check=checks
    )


fuzzing = examples()

INDICATORS = (
    "&a ",
    "*a",
    "!!python/name:os.system ",
    "<<: ",
    "? ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "|\n",
    "%YAML 9.9\n",
    "---\n",
)
TEXTS = (
    "1e-4",
    ".nan",
    "../../x",
    "/etc/passwd",
    "$(id)",
    "; rm",
    "all",
    "*",
    "a -> b",
    "\x00",
    "\ud800",
    "é",
    "\ufeff",
)


def texts() -> st.SearchStrategy[str]:
    return st.one_of(st.text(max_size=20), st.sampled_from(TEXTS), st.sampled_from(INDICATORS))


def values(keys: list[str], good: list[object]) -> st.SearchStrategy[object]:
    """Values of every shape, known keys and good values among them, so that many checks are passed before one fails."""
    scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts(), st.sampled_from(good))
    names = st.one_of(st.sampled_from(keys), st.text(max_size=8))
    return st.recursive(
        scalars,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=4)),
        max_leaves=12,
    )


def documents(keys: list[str], good: list[object]) -> st.SearchStrategy[bytes]:
    """A mapping under known keys, as YAML bytes."""
    names = st.one_of(st.sampled_from(keys), st.text(max_size=8))
    mapping = st.dictionaries(names, values(keys, good), max_size=8)
    return mapping.map(lambda value: yaml.dump(value, allow_unicode=True).encode("utf-8", "surrogatepass"))


def _inner(value: Any) -> list[Any]:
    """An object or list and all that are in it, at any depth."""
    items = value.values() if isinstance(value, dict) else value
    return [value, *(inner for item in items if isinstance(item, dict | list) for inner in _inner(item))]


def altered(draw: Callable[..., Any], value: Any, good: list[object]) -> Any:
    """A JSON object or list with some of its values, at any depth, exchanged for others, gone or come."""
    made = deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(_inner(made)))
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        # Copied: what is drawn may be one of the good values, and be altered next.
        other = values(["a", *(key for key in keys if isinstance(key, str))], good).map(deepcopy)
        act = draw(st.sampled_from(("exchange", "exchange", "drop", "add"))) if keys else "add"
        if act == "drop":
            del place[draw(st.sampled_from(keys))]
        elif act == "exchange":
            place[draw(st.sampled_from(keys))] = draw(other)
        elif isinstance(place, dict):
            place[draw(st.text(max_size=8))] = draw(other)
        else:
            place.append(draw(other))
    return made


CELLS = (
    "",
    '"',
    "'",
    "NA",
    "nan",
    "1e999",
    "-1",
    "7",
    "3.5",
    "[]",
    "['a'",
    "x" * 300,
    "=cmd|' /C calc'!A0",
    "\r",
    "\n",
    ",",
    "\t",
)
BYTES = (
    b"\x00",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xc3",
    b"\r\n",
    b"\x1a",
    b'"',
    b"\n\n",
    b"\xed\xa0\x80",
    b"\xe2\x80\xa8",
)


# Made once: what a strategy is made of is checked each time one is made, and that takes longer than drawing from it.
OTHER = st.one_of(st.none(), st.none(), st.none(), st.none(), st.binary(max_size=200))  # None: the good bytes
PIECE = st.one_of(st.sampled_from(BYTES), st.sampled_from(CELLS).map(str.encode), st.binary(max_size=8), st.none())
ENDING = st.sampled_from(("same", "same", "same", "utf-16", "crlf", "cut"))


@st.composite
def spoiled(draw: st.DrawFn, good: bytes) -> bytes:
    """Bytes that were good: cut, doubled, with hostile pieces put in; or others altogether."""
    other = draw(OTHER)
    data = good if other is None else other
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 60)))
        piece = draw(PIECE)
        if piece is None:  # some of the good bytes once more
            place = draw(st.integers(0, len(good)))
            piece = good[place : place + 200]
        data = data[:start] + piece + data[end:]
    ending = draw(ENDING)
    if ending == "utf-16":
        return data.decode("utf-8", "replace").encode("utf-16")
    if ending == "crlf":
        return data.replace(b"\n", b"\r\n")
    return data[: draw(st.integers(0, len(data)))] if ending == "cut" else data


@contextmanager
def bounded() -> Iterator[None]:
    """Assert that what is inside takes no more than a bounded processor time."""
    began = time.process_time()
    yield
    assert time.process_time() - began < MAX_S


@st.composite
def damaged(draw: st.DrawFn, folder: Path) -> bytes:
    """A shipped file with a piece cut out and something hostile put in its place."""
    path = draw(st.sampled_from(sorted(folder.glob("*.yaml"))))
    data = path.read_bytes()
    start = draw(st.integers(0, len(data)))
    end = min(len(data), start + draw(st.integers(0, 40)))
    put = draw(st.one_of(st.binary(max_size=20), texts().map(lambda text: text.encode("utf-8", "surrogatepass"))))
    return data[:start] + put + data[end:]


def files(folder: Path, keys: list[str], good: list[object]) -> st.SearchStrategy[bytes]:
    """All of the above."""
    return st.one_of(st.binary(max_size=200), documents(keys, good), damaged(folder))


def gives_value_or_sentences(load: Callable[[], object], cls: type) -> None:
    """Assert that loading gives an instance, or printable sentences of one line each."""
    value: object = None
    problems: tuple[str, ...] = ()
    try:
        value = load()
    except ManifestError as error:
        problems = error.problems
    assert isinstance(value, cls) or problems
    for problem in problems:
        assert " must " in problem
        assert "\n" not in problem
        assert problem.encode()
