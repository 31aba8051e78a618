"""Jinja2 with autoescape: only templates turn text into markup."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
# A page may load nothing: everything that it needs is inside it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


@cache
def environment() -> Environment:
    """The environment for `templates/`; an undefined name in a template is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(file: str, **values: Any) -> str:
    """Render a template. Values are escaped as text, unless they are markup that was rendered before."""
    return environment().get_template(file).render(**values)


def document(file: str, **values: Any) -> str:
    """Render a whole page, with the style and the script that all pages share."""
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return render(file, policy=POLICY, style=style, script=script, **values)
