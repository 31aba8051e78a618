"""Types, limits and defaults of fields, in words."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from docs.pages.markdown import anchor, code, escaped, table
from empslurm.validation.constraints import Doc, Listed, Partial
from empslurm.validation.reader import field_hints, is_union, unwrap, wanted


def doc_of(hint: Any) -> str:
    """The text of a field's `Doc`; empty where it has none."""
    return next((mark.text for mark in unwrap(hint)[1] if isinstance(mark, Doc)), "")


def words(hint: Any) -> str:
    """The values that a key of a YAML file takes."""
    kind, marks = unwrap(hint)
    if is_union(kind):
        return joined([words(arm) for arm in get_args(kind)])
    if kind is type(None):
        return "null"
    if get_origin(kind) is Literal:
        options = [code(str(arg)) for arg in get_args(kind)]
        return options[0] if len(options) == 1 else f"one of {', '.join(options)}"
    if get_origin(kind) is tuple:
        listed = next((mark for mark in marks if isinstance(mark, Listed)), Listed(at_least=0))
        least = f" of at least {listed.at_least}" if listed.at_least > 1 else ""
        return f"a list{least}, each item {words(get_args(kind)[0])}"
    if partial_of(hint) is not None or dataclasses.is_dataclass(kind):
        return "a mapping with the keys below"
    if is_mapping_type(kind):
        key, value = get_args(kind)
        item = words(value) if partial_of(value) is None else "a mapping with keys of this section"
        return f"a mapping: {words(key)} -> {f'({item})' if '; or ' in item else item}"
    return wanted(hint)


def joined(arms: Sequence[str]) -> str:
    """Alternatives in words: `a; or b` where one of them holds a comma."""
    return ("; or " if any("," in arm or " -> " in arm for arm in arms) else " or ").join(arms)


def is_mapping_type(kind: Any) -> bool:
    return get_origin(kind) is Mapping


def partial_of(hint: Any) -> type | None:
    """The section whose fields a mapping may hold any of."""
    return next((mark.section for mark in unwrap(hint)[1] if isinstance(mark, Partial)), None)


def sections_in(hint: Any) -> Iterator[type]:
    """The sections that a value may be, or hold."""
    kind, _ = unwrap(hint)
    part = partial_of(hint)
    if part is not None:
        yield part
    elif dataclasses.is_dataclass(kind) and isinstance(kind, type):
        yield kind
    elif is_union(kind) or get_origin(kind) is tuple:
        for arm in get_args(kind):
            if arm is not Ellipsis:
                yield from sections_in(arm)
    elif is_mapping_type(kind):
        yield from sections_in(get_args(kind)[1])


def yaml(value: Any) -> str:
    """A default as a YAML file would have it, on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return f"[{', '.join(map(yaml, value))}]"
    if dataclasses.is_dataclass(value):
        value = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {yaml(item)}" for key, item in value.items()) + "}"
    text = f"{value:.15g}"
    return text.replace("e", ".0e") if "e" in text and "." not in text else text  # YAML reads 1e-06 as a string


def default_of(section: type, name: str) -> str:
    """The default of a field, in Markdown."""
    field = next(each for each in dataclasses.fields(section) if each.name == name)
    if field.default is not dataclasses.MISSING:
        return code(yaml(field.default))
    if field.default_factory is dataclasses.MISSING:
        return "**required**"
    made = field.default_factory()
    return "its defaults, below" if made and dataclasses.is_dataclass(made) else code(yaml(made))


def key_sections(section: type, prefix: str, level: int, where: str = "") -> Iterator[str]:
    """A table of a section's keys, then the sections below it, each under a heading of its own."""
    rows, below = [], []
    for name, hint in field_hints(section).items():
        path = f"{where}.{name}" if where else name
        row = (f"{anchor(f'{prefix}.{path}')}{code(name)}", escaped(words(hint)), default_of(section, name))
        rows.append((*row, escaped(doc_of(hint))))
        below += [(path, inner) for inner in dict.fromkeys(sections_in(hint)) if not issubclass(section, inner)]
    yield table(("key", "value", "default", "meaning"), rows)
    for path, inner in below:
        yield f"{'#' * level} `{path}`\n\n{first_line(inner)}"
        yield from key_sections(inner, prefix, level, path)


def first_line(thing: Any) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(thing) or "").split("\n")[0]
