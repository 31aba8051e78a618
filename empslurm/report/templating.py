"""Jinja2 with autoescape: text becomes markup in templates, and nowhere else."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
# Nothing may be loaded, from anywhere: what a page needs is in it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


@cache
def environment() -> Environment:
    """The templates of `templates/`; a name that a template does not know is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(file: str, **values: Any) -> str:
    """A template with its values, which are text unless they were rendered before."""
    return environment().get_template(file).render(**values)


def document(file: str, **values: Any) -> str:
    """A whole page, with the style and the script that all pages share."""
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return render(file, policy=POLICY, style=style, script=script, **values)
