"""Read a YAML file as a tree with line numbers; its size and depth are bounded, and nothing in it can run.

Plain scalars follow the core schema of YAML 1.2, decimal numbers only: `no`, `on`, `007`, `1_000`, `1e-4` and dates are
strings, so that no value silently becomes another; the typed reader says how to write what was meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from empslurm import files
from empslurm.errors import ManifestError, StoreError

MAX_BYTES = 2**20
MAX_DEPTH = 20  # no section nests deeper than five
MAX_ALIASES = 100
MAX_NODES = 20_000  # counted as if every alias were written out, so that aliases cannot multiply

NULLS = ("", "~", "null", "Null", "NULL")
BOOLS = {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,30})", re.ASCII)
DECIMAL = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", re.ASCII)
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII)
SYNTAX_FIXES = (  # words of PyYAML's problems, and what to do
    ("'\\t'", "indent with spaces, not tabs"),
    ("cannot start any token", "put the value in quotes"),
    ("mapping values are not allowed", "write one key per line, and put a value that holds `: ` in quotes"),
    ("could not find expected ':'", "write `key: value`, with a blank after the colon"),
    ("unexpected end of stream", "close the quote"),
    ("expected ',' or", "close the bracket, and separate items by commas"),
    ("expected <block end>", "indent keys of one mapping equally, and list items too"),
)
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class Scalar:
    """One value; `text` as in the file. `line` is 1-based."""

    value: bool | int | float | str | None
    text: str
    line: int
    n_nodes: int = 1


@dataclass(frozen=True, kw_only=True)
class Items:
    """A list."""

    items: tuple[Node, ...]
    line: int
    n_nodes: int


@dataclass(frozen=True, kw_only=True)
class Table:
    """A mapping as in the file: (key, line of the key, value), duplicates included."""

    entries: tuple[tuple[str, int, Node], ...]
    line: int
    n_nodes: int


Node = Scalar | Items | Table


def load(path: Path) -> Node:
    """The tree of a YAML file with one document. Raises ManifestError with one sentence."""
    text = _text(path)
    try:
        return _Composer(str(path)).compose(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = (error.problem or error.context or "is malformed").rstrip(".")
        must = f"be YAML, but is not: {_clean(what)}"
        raise _refusal(str(path), mark.line + 1 if mark else 1, must, _syntax_fix(what)) from error
    except (yaml.YAMLError, ValueError, OverflowError, IndexError) as error:  # what PyYAML's scanner lets through
        raise _refusal(str(path), 1, f"be YAML, but is not: {_clean(str(error))}", _syntax_fix("")) from error


def _syntax_fix(problem: str) -> str:
    """What to do about what PyYAML calls a problem."""
    return next((fix for words, fix in SYNTAX_FIXES if words in problem), "write `key: value`, with text in quotes")


def _refusal(file: str, line: int, must: str, fix: str) -> ManifestError:
    return ManifestError([f"the file must {must}; {fix} ({file}:{line})"])


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _clean(text: str) -> str:
    """One printable line of bounded length."""
    return UNPRINTABLE.sub("?", " ".join(text.split()))[:200]


def _text(path: Path) -> str:
    """The file's text. Raises ManifestError where it is absent, too large, not UTF-8 or binary."""
    file = str(path)
    try:
        data = files.read_bytes(path, max_bytes=MAX_BYTES)
    except FileNotFoundError as error:
        raise ManifestError(
            [f"{file} must be a YAML file, but is not there; create it or give another path"]
        ) from error
    except StoreError as error:
        raise ManifestError([str(error)]) from error
    except ValueError as error:  # a NUL in the path
        raise ManifestError(
            [f"{file!r} must be the path of a file, but cannot be one; remove the NUL character"]
        ) from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _refusal(file, 1, "be UTF-8, but is UTF-16", "save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refusal(file, line, f"be UTF-8, but byte {error.start:,} is not", "save it as UTF-8") from error
    match = UNPRINTABLE.search(text.replace("\r\n", "\n"))
    if match:
        line = text.replace("\r\n", "\n").count("\n", 0, match.start()) + 1
        raise _refusal(file, line, f"be plain text, but holds the character U+{ord(match[0]):04X}", "remove it")
    return text


class _Composer:
    """Builds the tree from PyYAML's events, without recursion: deep nesting cannot exhaust Python's stack."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.anchors: dict[str, Node] = {}
        self.n_aliases = 0
        self.n_nodes = 0

    def refuse(self, line: int, must: str, fix: str) -> ManifestError:
        return _refusal(self.file, line, must, fix)

    def compose(self, text: str) -> Node:
        events = self._content(text)
        stack: list[tuple[yaml.CollectionStartEvent, list[Node]]] = []
        while True:
            event = next(events, None)
            if event is None:
                raise self.refuse(1, "hold a mapping, but is empty", "write its keys, such as `kind: ...`")
            node = self._opened_or_made(event, stack)
            if node is None:
                continue
            self._remember(event, node)
            if not stack:
                self._must_end(events)
                return node
            stack[-1][1].append(node)

    def _content(self, text: str) -> Iterator[yaml.Event]:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
                yield event

    def _opened_or_made(
        self, event: yaml.Event, stack: list[tuple[yaml.CollectionStartEvent, list[Node]]]
    ) -> Node | None:
        """The finished node of an event, None while a collection is open."""
        line = _line(event)
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise self.refuse(line, f"hold no tags, but has {_clean(str(tag))[:80]!r}", "remove the tag")
        if isinstance(event, yaml.CollectionStartEvent):
            if len(stack) >= MAX_DEPTH:
                raise self.refuse(line, f"nest at most {MAX_DEPTH} levels deep, but nests deeper", "remove levels")
            self._count(1, line)
            stack.append((event, []))
            return None
        if isinstance(event, yaml.CollectionEndEvent):
            return self._closed(*stack.pop())
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), line)
        return self._scalar(event, line) if isinstance(event, yaml.ScalarEvent) else None

    def _count(self, n_nodes: int, line: int) -> None:
        self.n_nodes += n_nodes
        if self.n_nodes > MAX_NODES:
            must = f"hold at most {MAX_NODES:,} values, those of aliases counted each time, but holds more"
            raise self.refuse(line, must, "remove values or aliases")

    def _closed(self, start: yaml.CollectionStartEvent, children: list[Node]) -> Node:
        line = _line(start)
        size = 1 + sum(child.n_nodes for child in children)
        node: Node
        if isinstance(start, yaml.SequenceStartEvent):
            node = Items(items=tuple(children), line=line, n_nodes=size)
        else:
            pairs = zip(children[::2], children[1::2], strict=True)
            entries = tuple((self._key(key), key.line, value) for key, value in pairs)
            node = Table(entries=entries, line=line, n_nodes=size)
        if start.anchor is not None:
            self.anchors[start.anchor] = node
        return node

    def _key(self, node: Node) -> str:
        if not isinstance(node, Scalar):
            raise self.refuse(node.line, "have plain keys, but one is a list or a mapping", "write a word as the key")
        return node.text

    def _alias(self, anchor: str, line: int) -> Node:
        self.n_aliases += 1
        if self.n_aliases > MAX_ALIASES:
            raise self.refuse(line, f"hold at most {MAX_ALIASES} aliases, but holds more", "write some values out")
        if anchor not in self.anchors:  # undefined, or inside the very value it names
            raise self.refuse(
                line, f"use aliases of earlier values only, but *{_clean(anchor)} is not one", "write the value out"
            )
        node = self.anchors[anchor]
        self._count(node.n_nodes, line)
        return node

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> Scalar:
        text = str(event.value)
        self._count(1, line)
        if UNPRINTABLE.search(text):
            raise self.refuse(line, f"hold printable text, but has {text[:40]!r}", "remove the escapes")
        value = _resolve(text) if event.style is None else text
        return Scalar(value=value, text=text, line=line)

    def _remember(self, event: yaml.Event, node: Node) -> None:
        if isinstance(event, yaml.ScalarEvent) and event.anchor is not None:
            self.anchors[event.anchor] = node

    def _must_end(self, events: Iterator[yaml.Event]) -> None:
        after = next(events, None)
        if after is not None:
            raise self.refuse(_line(after), "hold one document, but holds more", "split the file at `---`")


def _resolve(text: str) -> bool | int | float | str | None:
    """A plain scalar's value."""
    if text in NULLS:
        return None
    if text in BOOLS:
        return BOOLS[text]
    if INTEGER.fullmatch(text):
        return int(text)
    if DECIMAL.fullmatch(text) or NOT_FINITE.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text
