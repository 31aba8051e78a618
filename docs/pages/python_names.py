"""The page of the public names."""

from __future__ import annotations

import dataclasses
import inspect
from functools import cached_property
from typing import Any

import empslurm
from docs.pages.markdown import code, escaped, page, table
from docs.pages.types import first_line


def public_names() -> tuple[str, ...]:
    """What `import empslurm` gives."""
    return tuple(getattr(empslurm, "__all__", ("__version__",)))


def call_of(name: str, thing: Any) -> str:
    """A name with its parameters, defaults left out."""
    if inspect.isclass(thing) and issubclass(thing, BaseException):
        return name
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return name
    shown: list[str] = []
    for parameter in parameters:
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        stars = "*" * (parameter.kind is parameter.VAR_POSITIONAL) + "**" * (parameter.kind is parameter.VAR_KEYWORD)
        shown.append(stars + parameter.name)
    return f"{name}({', '.join(shown)})"


def returned_types() -> tuple[type, ...]:
    """What the functions return: their public methods and fields belong to the interface."""
    from empslurm.cells import Cell
    from empslurm.manifest.load import Manifest
    from empslurm.plan import Plan
    from empslurm.report.notebook import Study, Written
    from empslurm.store.cell_folder import CellState

    return Study, Written, Manifest, Plan, Cell, CellState


def shown_in_full(name: str, thing: Any) -> str:
    """A function or a class: how it is called, and its docstring."""
    return "\n\n".join((f"### `{name}`", f"```python\n{signature_of(name, thing)}\n```", inspect.getdoc(thing) or ""))


def signature_of(name: str, thing: Any) -> str:
    """The call with every type, a parameter a line where it is long."""
    if inspect.isclass(thing):
        return f"class {name}"
    signature = inspect.signature(thing)
    parameters = [item for item in signature.parameters.values() if item.name != "self"]
    starred = [str(item).replace("'", "") for item in parameters]
    first = next((at for at, item in enumerate(parameters) if item.kind is inspect.Parameter.KEYWORD_ONLY), None)
    if first is not None:
        starred.insert(first, "*")
    answer = f" -> {signature.return_annotation}" if signature.return_annotation is not inspect.Signature.empty else ""
    short = f"{name}({', '.join(starred)}){answer}"
    return short if len(short) <= 100 else f"{name}(\n    " + ",\n    ".join(starred) + f",\n){answer}"


def members(kind: type) -> str:
    """The public fields, properties and methods of a class."""
    rows = []
    if dataclasses.is_dataclass(kind):
        rows += [(code(field.name), code(str(field.type))) for field in dataclasses.fields(kind)]
    for name, member in vars(kind).items():
        plain = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if name.startswith("_") or not (inspect.isfunction(plain) or isinstance(plain, property | cached_property)):
            continue
        shown = call_of(name, member.__get__(None, kind)) if inspect.isfunction(plain) else name
        rows.append((code(shown), escaped(" ".join((inspect.getdoc(plain) or "").split()))))
    return table(("member", "what it is"), rows)


def python_page() -> str:
    """The names of the package."""
    rows, blocks = [], []
    for name in public_names():
        thing = getattr(empslurm, name)
        if isinstance(thing, str):
            rows.append((code(name), "Version of the package, such as 0.1.0."))
            continue
        rows.append((code(call_of(name, thing)), escaped(first_line(thing))))
        blocks.append(shown_in_full(f"empslurm.{name}", thing))
        if inspect.isclass(thing) and not issubclass(thing, Exception):
            blocks.append(members(thing))
    for kind in returned_types():
        blocks += [shown_in_full(kind.__name__, kind), members(kind)]
    return page(
        "Python: every public name",
        "`import empslurm` gives these names. All others are internal and may change in any version.",
        table(("name", "what it is"), rows),
        "## In full",
        *blocks,
    )
