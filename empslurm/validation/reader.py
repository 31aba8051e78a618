"""Read YAML nodes into frozen dataclasses by their annotations; all problems are collected, one sentence each."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from empslurm.errors import ManifestError, UsageError
from empslurm.validation.constraints import Doc, Duration, Key, Listed, Partial, Pattern, Range
from empslurm.validation.yaml_tree import Items, Node, Scalar, Table

MAX_PROBLEMS = 100  # a file with more is no manifest; suggesting a key for each would take minutes
FAILED: Final = object()  # instead of a value whose problem is noted
SWITCHES = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
NO_RANGE = Range()


class Reader:
    """Reads sections of one file, remembers the line of each value, and raises all problems in `finish`."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._lines: dict[str, int] = {}
        self._problems: list[tuple[int, str]] = []

    def problem(self, where: str, must: str, fix: str, *, line: int | None = None) -> None:
        """Note a problem at `where` (such as `training.lr`). must: what must hold and what was found."""
        at = self._line(where) if line is None else line
        self._problems.append((at, f"{where or 'the file'} must {must}; {fix} ({self.file}:{at})"))
        if len(self._problems) >= MAX_PROBLEMS:
            self.finish()

    def adopt(self, where: str, problems: Iterable[str]) -> None:
        """Note problems of another file, each a whole sentence."""
        self._problems += [(self._line(where), sentence) for sentence in problems]

    def finish(self) -> None:
        """Raise ManifestError when anything was noted, in the order of the file."""
        if self._problems:
            raise ManifestError([sentence for _, sentence in sorted(self._problems, key=lambda item: item[0])])

    def _line(self, where: str) -> int:
        """The line of a value, or of what surrounds it."""
        while where and where not in self._lines:
            where = where[: max(where.rfind("."), where.rfind("["), 0)]
        return self._lines.get(where, 1)

    def section(self, cls: type, node: Node, where: str = "", *, partial: bool = False) -> dict[str, Any]:
        """The valid values of a mapping for the fields of `cls`. partial: required fields may be absent."""
        if not isinstance(node, Table):
            self.problem(where, f"be a mapping, but is {in_words(node)}", "write `key: value` lines", line=node.line)
            return {}
        hints = field_hints(cls)
        values: dict[str, Any] = {}
        for key, path, child in self._entries(node, where):
            if key not in hints:
                self.problem(path, *unknown(key, hints, "key"))
                continue
            value = self.value(hints[key], child, path)
            if value is not FAILED:
                values[key] = value
        if not partial:
            present = {key for key, _, _ in node.entries}
            for name in [name for name in required(cls) if name not in present]:
                self.problem(where, f"have the key `{name}`, but does not", f"add `{name}:`", line=node.line)
        return values

    def _entries(self, node: Table, where: str) -> Iterable[tuple[str, str, Node]]:
        """Key, path and value of a mapping's entries; of a repeated key, the first."""
        first: dict[str, int] = {}
        for key, line, child in node.entries:
            path = f"{where}.{shown(key)}" if where else shown(key)
            if key in first:
                self.problem(
                    path, f"be given once, but was given in line {first[key]} too", "remove one of the two", line=line
                )
                continue
            first[key] = self._lines[path] = line
            yield key, path, child

    def value(self, hint: Any, node: Node, where: str) -> Any:
        """The value of a node as the annotation wants it; FAILED where it does not fit, which is noted."""
        plain = unwrap(hint)[0]
        arms = get_args(plain) if is_union(plain) else (hint,)
        for arm in arms:
            kind, arm_marks = unwrap(arm)
            if isinstance(node, Items) and get_origin(kind) is tuple:
                return self._list(kind, arm_marks, node, where)
            if isinstance(node, Table) and is_mapping(kind):
                return self._mapping(kind, arm_marks, node, where)
            if isinstance(node, Scalar) and not is_mapping(kind) and get_origin(kind) is not tuple:
                value = fit(kind, arm_marks, node.value)
                if value is not FAILED:
                    return value
        must = f"be {' or '.join(wanted(arm) for arm in arms)}, but is {in_words(node)}"
        self.problem(where, must, suggestion(arms, node), line=self._lines.get(where, node.line))
        return FAILED

    def _list(self, hint: Any, marks: Sequence[Any], node: Items, where: str) -> Any:
        """A tuple; an item whose problem is noted is FAILED, so that the others can still be checked."""
        values = []
        for index, child in enumerate(node.items):
            path = f"{where}[{index}]"
            self._lines[path] = child.line
            values.append(self.value(get_args(hint)[0], child, path))
        listed = next((mark for mark in marks if isinstance(mark, Listed)), None)
        if listed and len(values) < listed.at_least:
            n_lacking = listed.at_least - len(values)
            fix = f"add {n_lacking} more" if values else f"write a list of {listed.at_least} or more"
            self.problem(where, f"hold at least {listed.at_least}, but holds {len(values)}", fix)
            return FAILED
        if listed and listed.unique:
            seen = set()
            for index, value in enumerate(values):
                if value in seen and value is not FAILED:
                    self.problem(f"{where}[{index}]", "occur once, but is a repetition", "remove it")
                seen.add(value)
        return tuple(values)

    def _mapping(self, hint: Any, marks: Sequence[Any], node: Table, where: str) -> Any:
        if dataclasses.is_dataclass(hint):
            section: type = hint if isinstance(hint, type) else type(hint)
            values = self.section(section, node, where)
            return section(**values) if set(required(section)) <= set(values) else FAILED
        part = next((mark for mark in marks if isinstance(mark, Partial)), None)
        if part:
            return self.section(part.section, node, where, partial=True)
        key_hint, value_hint = get_args(hint)
        entries = {}
        for key, path, child in self._entries(node, where):
            if fit(*unwrap(key_hint), key) is FAILED:
                self.problem(path, f"be {wanted(key_hint)}, but is not", "rename the key")
                continue
            value = self.value(value_hint, child, path)
            if value is not FAILED:
                entries[key] = value
        return entries


def unwrap(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """An annotation without `Annotated`, and its marks."""
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        return inner, tuple(marks)
    return hint, ()


def is_union(hint: Any) -> bool:
    """Whether an annotation is `X | Y`, in either spelling."""
    return get_origin(hint) in (Union, types.UnionType)


def is_mapping(hint: Any) -> bool:
    """Whether a YAML mapping is what the annotation wants."""
    return dataclasses.is_dataclass(hint) or get_origin(hint) is Mapping


@functools.cache
def field_hints(cls: type) -> Mapping[str, Any]:
    """Field name -> annotation, marks kept."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def required(cls: Any) -> list[str]:
    """Names of the fields without a default."""
    missing = dataclasses.MISSING
    fields = dataclasses.fields(cls)
    return [field.name for field in fields if field.default is missing and field.default_factory is missing]


def fit(kind: Any, marks: Sequence[Any], value: Any) -> Any:
    """A scalar as the annotation wants it, FAILED where its type or its limits do not fit."""
    limit = next((mark for mark in marks if isinstance(mark, Range)), NO_RANGE)
    if kind is float:
        number = float(value) if type(value) in (int, float) else math.nan
        return number if math.isfinite(number) and limit.holds(number) else FAILED
    if kind is int:
        duration = next((mark for mark in marks if isinstance(mark, Duration)), None)
        if duration and isinstance(value, str):
            value = duration.minutes(value)
        return value if type(value) is int and limit.holds(value) else FAILED
    if kind is str:
        held = all(mark.holds(value) for mark in marks if isinstance(mark, Pattern)) if type(value) is str else False
        return value if held else FAILED
    if get_origin(kind) is Literal:
        return next((arg for arg in get_args(kind) if type(arg) is type(value) and arg == value), FAILED)
    return value if type(value) is kind else FAILED  # bool and None


def shown(value: Any) -> str:
    """A value as part of a sentence: printable, one line, bounded."""
    text = value if isinstance(value, str) and re.fullmatch(r"[\w.*?-]+", value, re.ASCII) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def in_words(node: Node) -> str:
    """The value or kind of a node, in words."""
    if isinstance(node, Scalar):
        if node.value is None:
            return "empty"
        if isinstance(node.value, str):
            text = repr(node.value)
            return f"the string {text if len(text) <= 60 else text[:57] + '...'}"
        return node.text if len(node.text) <= 60 else node.text[:57] + "..."
    return "a list" if isinstance(node, Items) else "a mapping"


def wanted(hint: Any) -> str:
    """The values that an annotation accepts, in words."""
    kind, marks = unwrap(hint)
    words = "".join(f" {mark}" for mark in marks if isinstance(mark, Range))
    if any(isinstance(mark, Duration) for mark in marks):
        return f"minutes ({words.strip()}), HH:MM:SS or D-HH:MM:SS"
    if kind is float or kind is int:
        return f"{'a number' if kind is float else 'an integer'}{words}"
    if kind is str:
        return next((str(mark) for mark in marks if isinstance(mark, Pattern)), "a string")
    if get_origin(kind) is Literal:
        options = [str(arg) for arg in get_args(kind)]
        return options[0] if len(options) == 1 else f"one of {', '.join(options)}"
    if kind is bool:
        return "true or false"
    if get_origin(kind) is tuple:
        return "a list"
    return "empty" if kind is type(None) else "a mapping"


def suggestion(arms: Sequence[Any], node: Node) -> str:
    """What to do about a value of the wrong form."""
    kinds = [unwrap(arm)[0] for arm in arms]
    marks = [mark for arm in arms for mark in unwrap(arm)[1]]
    if not isinstance(node, Scalar):
        return _compound_fix(kinds) or "write one value"
    if node.value is None:
        return "write a value or remove the key"
    text = str(node.value).strip()
    if bool in kinds and text.lower() in SWITCHES:
        return f"write {SWITCHES[text.lower()]}"
    if float in kinds or int in kinds:
        limit = next((mark for mark in marks if isinstance(mark, Range)), NO_RANGE)
        duration = next((mark for mark in marks if isinstance(mark, Duration)), None)
        fix = _number_fix(node.value, limit, duration, whole=float not in kinds)
        if fix or str not in kinds:
            return fix or "write a number"
    if str in kinds and isinstance(node.value, int | float):
        return f"write '{node.text[:57]}', with the quotes"
    options = [str(arg) for kind in kinds if get_origin(kind) is Literal for arg in get_args(kind)]
    near = difflib.get_close_matches(text[:100], options, n=1)
    if near:
        return f"did you mean {near[0]}?"
    items = [get_args(kind)[0] for kind in kinds if get_origin(kind) is tuple]
    entries = [arm for item in items for arm in (get_args(item) if is_union(unwrap(item)[0]) else (item,))]
    fits_a_list = len(text) <= 57 and any(fit(*unwrap(entry), node.value) is not FAILED for entry in entries)
    if options and fits_a_list:
        return f"write [{text}]"
    if options:
        return f"write {options[0]}" if len(options) == 1 else "write one of these"
    if bool in kinds:
        return "write true or false"
    pattern = next((mark for mark in marks if isinstance(mark, Pattern)), None)
    if pattern is not None:
        return pattern.fix or _similar(text[:100], pattern)
    listed = next((mark for mark in marks if isinstance(mark, Listed) and mark.fix), None)
    if listed is not None and "," not in text:
        return listed.fix
    if fits_a_list or (len(text) <= 57 and "," in text):
        return f"write [{text}]"
    return _compound_fix(kinds) or "write a text"


def _compound_fix(kinds: Sequence[Any]) -> str:
    """How to write a list or a mapping; empty where neither is wanted."""
    if any(get_origin(kind) is tuple for kind in kinds):
        return "write a list, such as `[first, second]`"
    return "write `key: value` lines below the key" if any(is_mapping(kind) for kind in kinds) else ""


def _similar(text: str, pattern: Pattern) -> str:
    """The fix for a string that does not match: a similar string that does, else the pattern in words."""
    plain = " ".join(text.split())
    joined = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("_.-")
    name = re.sub(r"[^A-Za-z0-9_]+", "_", plain).strip("_").lower()
    for similar in (plain, plain.lower(), joined, joined.lower(), name):
        if similar and len(similar) <= 57 and pattern.holds(similar):
            return f"write {similar}"
    return f"write {pattern}"


def _number_fix(value: Any, limit: Range, duration: Duration | None, *, whole: bool) -> str:
    """What to write instead of a value that is not a number within the limit; empty where the number fits."""
    if isinstance(value, str):
        minutes = duration.minutes(value.strip()) if duration else None
        if duration and minutes is None:
            return "write all of hours, minutes and seconds, such as 01:30:00"
        return _range_fix(minutes, limit) if minutes is not None else _spelled(value.strip(), limit, whole=whole)
    if isinstance(value, bool):
        return f"write {'a whole number' if whole else 'a number'}"
    if not math.isfinite(value):
        return "write a finite number"
    if whole and isinstance(value, float):
        if not value.is_integer():
            return "write a whole number"
        return _range_fix(value, limit) or f"write {value:.0f}"
    return _range_fix(value, limit)


def _range_fix(number: float, limit: Range) -> str:
    """How far to raise or lower a number; empty where it is within the limit."""
    if limit.high is not None and number > limit.high:
        return f"lower it to at most {limit.high:,.15g}"
    if limit.low is not None and number < limit.low:
        return f"raise it to at least {limit.low:,.15g}"
    return f"raise it above {limit.above:,.15g}" if limit.above is not None and number <= limit.above else ""


def _spelled(text: str, limit: Range, *, whole: bool) -> str:
    """How YAML wants a number that was read as a string."""
    try:
        number = float(text[:100].replace("_", ""))
    except ValueError:
        return "write a number"
    if not math.isfinite(number):
        return "write a finite number"
    if not limit.holds(number):
        return _range_fix(number, limit)
    if whole:
        return f"write {number:.0f}" if number.is_integer() and abs(number) < 1e15 else "write a whole number"
    exponent = re.fullmatch(r"([-+]?\d+)([eE][-+]?\d+)", text)
    return f"write {exponent[1]}.0{exponent[2]}" if exponent else f"write {number!r}"


def unknown(name: str, known: Iterable[str], what: str) -> tuple[str, str]:
    """`must` and `fix` for an unknown name: a similar name, then all names."""
    options = sorted(known)
    near = difflib.get_close_matches(name[:100], options, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"be a known {what}, but is not", f"{guess}known: {', '.join(options) or 'none'}"


def refusal(name: str, known: Iterable[str], what: str) -> UsageError:
    """The error of an unknown name, with the nearest known one and the list of all."""
    must, fix = unknown(name, known, what)
    bounded = name if len(name) <= 60 else name[:57] + "..."
    return UsageError(f"{bounded!r} must {must}; {fix}")


def json_schema(hint: Any) -> dict[str, Any]:
    """A JSON Schema of what the annotation admits; descriptions are the `Doc` beside the fields."""
    kind, marks = unwrap(hint)
    if kind is Any:
        return {}
    if is_union(kind):
        return {"anyOf": [json_schema(arm) for arm in get_args(kind)]}
    if dataclasses.is_dataclass(kind):
        return _object_schema(kind, partial=False)
    if get_origin(kind) is tuple:
        listed = next((mark for mark in marks if isinstance(mark, Listed)), Listed(at_least=0, unique=False))
        items = {"type": "array", "items": json_schema(get_args(kind)[0]), "minItems": listed.at_least}
        return {**items, "uniqueItems": True} if listed.unique else items
    if get_origin(kind) is Mapping:
        part = next((mark for mark in marks if isinstance(mark, Partial)), None)
        if part:
            return _object_schema(part.section, partial=True)
        return {"type": "object", "additionalProperties": json_schema(get_args(kind)[1])}
    return _scalar_schema(kind, marks)


def _scalar_schema(kind: Any, marks: Sequence[Any]) -> dict[str, Any]:
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    schema: dict[str, Any] = {"type": SCHEMA_NAMES[kind]}
    for mark in marks:
        if isinstance(mark, Range):
            bounds = {"minimum": mark.low, "exclusiveMinimum": mark.above, "maximum": mark.high}
            schema |= {name: bound for name, bound in bounds.items() if bound is not None}
        elif isinstance(mark, Pattern):
            schema["pattern"] = f"^(?:{mark.regex})$"
    durations = [mark for mark in marks if isinstance(mark, Duration)]
    if durations:
        return {"anyOf": [schema, {"type": "string", "pattern": f"^(?:{durations[0].regex})$"}]}
    return schema


SCHEMA_NAMES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


def _object_schema(cls: Any, *, partial: bool) -> dict[str, Any]:
    properties = {}
    for field in dataclasses.fields(cls):
        hint = field_hints(cls)[field.name]
        schema = json_schema(hint)
        for mark in unwrap(hint)[1]:
            if isinstance(mark, Doc):
                schema = {"description": mark.text, **schema}
        if not partial and isinstance(field.default, str | int | float):
            schema["default"] = field.default
        properties[key_of(field.name, hint)] = schema
    whole = {"type": "object", "additionalProperties": False, "properties": properties}
    needed = [key_of(name, field_hints(cls)[name]) for name in required(cls)]
    return whole if partial or not needed else {**whole, "required": needed}


def key_of(name: str, hint: Any) -> str:
    """The key of a field in JSON: its own name, unless a `Key` gives another."""
    return next((mark.name for mark in unwrap(hint)[1] if isinstance(mark, Key)), name)
