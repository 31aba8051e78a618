"""The pages of docs/reference/, written from the code: `python -m docs.pages`; with `--check`, only compare them.

Keys, options, types, limits and defaults are read from the code, and so are their descriptions where the code has them.
The files of a runs root are described in `runs_root`; a field without a text is an error.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from docs.pages.commands import cli_page
from docs.pages.documents import json_page
from docs.pages.markdown import escaped, page, table
from docs.pages.python_names import python_page
from docs.pages.runs_root import runs_root_page
from docs.pages.yaml_files import cards_page, manifest_page, metrics_page, profile_page

FOLDER = Path(__file__).resolve().parents[1] / "reference"
PAGES: Mapping[str, tuple[str, Callable[[], str]]] = {
    "cli.md": ("Every verb, with its options.", cli_page),
    "manifest.md": ("Every key of a manifest, and the adapter kinds.", manifest_page),
    "profile.md": ("Every key of a profile.", profile_page),
    "cards.md": ("Every key of a card.", cards_page),
    "metrics.md": ("The metrics, and the flags of runs that did not learn.", metrics_page),
    "runs-root.md": ("Every file of a runs root, and the columns of result files.", runs_root_page),
    "json.md": ("The keys of every JSON document.", json_page),
    "python.md": ("Every public name of the package.", python_page),
}


def index_page() -> str:
    rows = [(f"[{name}]({name})", escaped(text)) for name, (text, _) in PAGES.items()]
    return page("Reference", "These pages are written from the code.", table(("page", "what it lists"), rows))


def pages() -> dict[str, str]:
    """Name of a page -> its text."""
    return {name: page_of(name) for name in ("index.md", *PAGES)}


def page_of(name: str) -> str:
    """The text of a page."""
    return PAGES[name][1]() if name in PAGES else index_page()


def outdated(folder: Path, wanted_pages: Mapping[str, str]) -> list[str]:
    """Pages that are missing, differ, or are no longer written."""
    there = {path.name for path in folder.glob("*.md")}
    differing = [
        name
        for name, text in wanted_pages.items()
        if name not in there or (folder / name).read_text(encoding="utf-8") != text
    ]
    return sorted([*differing, *(there - set(wanted_pages))])


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or with --check list those that differ; the exit status."""
    parser = argparse.ArgumentParser(description="Write the reference pages from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page differs")
    options = parser.parse_args(arguments)
    wanted_pages = pages()
    if options.check:
        names = outdated(FOLDER, wanted_pages)
        for name in names:
            print(f"docs/reference/{name} must be as the code says, but differs; run `python -m docs.pages`")
        return 1 if names else 0
    FOLDER.mkdir(exist_ok=True)
    for name in outdated(FOLDER, wanted_pages):
        if name not in wanted_pages:
            (FOLDER / name).unlink()
            continue
        (FOLDER / name).write_text(wanted_pages[name], encoding="utf-8")
        print(f"docs/reference/{name} is written")
    return 0
