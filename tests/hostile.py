"""Hypothesis strategies for hostile YAML: bytes, values of every shape under known keys, and damaged good files."""

import os
from collections.abc import Callable
from pathlib import Path

import yaml
from hypothesis import settings
from hypothesis import strategies as st

from empslurm.errors import ManifestError

# A soak raises the number of examples; the tests keep to a few hundred.
fuzzing = settings(max_examples=int(os.environ.get("EMPSLURM_FUZZ_EXAMPLES", "200")), deadline=None, database=None)

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
    value, problems = None, ()
    try:
        value = load()
    except ManifestError as error:
        problems = error.problems
    assert isinstance(value, cls) or problems
    for problem in problems:
        assert " must " in problem
        assert "\n" not in problem
        assert problem.encode()
