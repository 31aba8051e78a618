"""The page of the JSON documents, from their types."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from docs.pages.markdown import code, escaped, page, table
from docs.pages.types import doc_of, is_mapping_type
from empslurm.cli import documents as json_documents
from empslurm.validation.reader import field_hints, is_union, key_of, required, unwrap

SCALARS: Mapping[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "true or false",
    type(None): "null",
    Any: "any value",
}


def json_words(hint: Any) -> str:
    """The JSON type of a key."""
    kind, _ = unwrap(hint)
    if is_union(kind):
        return " or ".join(dict.fromkeys(json_words(arm) for arm in get_args(kind)))
    if get_origin(kind) is Literal:
        return ", ".join(code(str(arg)) for arg in get_args(kind))
    if get_origin(kind) is tuple:
        return f"array of {plural(json_words(get_args(kind)[0]))}"
    if is_mapping_type(kind):
        return f"object of {plural(json_words(get_args(kind)[1]))}"
    return "object" if dataclasses.is_dataclass(kind) else SCALARS[kind]


def plural(text: str) -> str:
    """The plural of a JSON type in words; alternatives stay as they are, in brackets."""
    if " or " in text:
        return f"({text})"
    kind, space, rest = text.partition(" ")
    return "any values" if text == SCALARS[Any] else f"{kind}s{space}{rest}"


def json_rows(section: type, where: str = "") -> Iterator[tuple[str, str, str]]:
    """Path, type and meaning of each key, those of nested objects after their own: `cells[].id`, `targets.*.done`."""
    needed = set(required(section))
    hints = field_hints(section)
    for name in [name for name in hints if name != "warnings" or name in needed]:  # else the page says it once
        hint, path = hints[name], f"{where}{key_of(name, hints[name])}"
        yield path, json_words(hint) + ("" if name in needed else ", may be absent"), doc_of(hint)
        for suffix, inner in nested(hint):
            yield from json_rows(inner, f"{path}{suffix}.")


def nested(hint: Any, suffix: str = "") -> Iterator[tuple[str, type]]:
    """The objects in a value, with what leads to them: `[]` for items, `.*` for the values of an object."""
    kind, _ = unwrap(hint)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        yield suffix, kind
    elif is_union(kind):
        for arm in get_args(kind):
            yield from nested(arm, suffix)
    elif get_origin(kind) is tuple:
        yield from nested(get_args(kind)[0], f"{suffix}[]")
    elif is_mapping_type(kind):
        yield from nested(get_args(kind)[1], f"{suffix}.*")


def json_page() -> str:
    """Every JSON document with its keys."""
    blocks = []
    for name in (*json_documents.DOCUMENTS, json_documents.ERROR):
        kinds = json_documents.document_types(name)
        blocks.append(f"## `{name}`" if name != json_documents.ERROR else "## Errors")
        same = next((other for other in json_documents.DOCUMENTS if json_documents.DOCUMENTS[other] == kinds), name)
        if same != name and name != json_documents.ERROR:
            blocks.append(f"As for [`{same}`](#{same.replace(' ', '-')}).")
            continue
        if len(kinds) > 1:
            blocks.append(f"One of {len(kinds)} json_documents.")
        for kind in kinds:
            rows = [(code(path), text, escaped(doc)) for path, text, doc in json_rows(kind)]
            blocks += [escaped(inspect.getdoc(kind) or ""), table(("key", "type", "meaning"), rows)]
    return page(
        "JSON documents",
        "With `--json` a verb prints one JSON document on standard output, and nothing else there. A number that is "
        "undefined is `null`. A verb that fails prints [the document of errors](#errors). Later versions may add keys.",
        "Any document may also have the key `warnings`: an array of sentences that were printed as warnings.",
        "`[]` leads to the items of an array, `.*` to the values of an object whose keys are names, such as task ids. "
        "Names of keys say the unit: `_s` seconds, `_h` hours, `_wh` watt-hours, `_bytes` bytes, `n_` a count. Times "
        "are Unix times in seconds.",
        '`empslurm.cli.documents.document_json_schema("plan")` gives the JSON Schema (draft-07) of a document in this '
        "version.",
        *blocks,
    )
