"""`bundle`: a study in one folder or zip file, for others to open, check and continue; never a text of the data."""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from empslurm.cli import common
from empslurm.cli.output import Output
from empslurm.errors import DataError

if TYPE_CHECKING:
    from empslurm.share.bundle.contents import Contents, Deposit
    from empslurm.share.bundle.layout import Entry
    from empslurm.share.study import Study
    from empslurm.tasks.prepare import Prepared

LARGE = 10  # kinds of files that are listed


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    from empslurm.share.bundle.contents import EXTRAS

    common.manifest_argument(parser)
    parser.add_argument(
        "--to", type=Path, required=True, metavar="PATH", help="write there: a new folder, or a file that ends in .zip"
    )
    adds = "; ".join(f"{name}: {what}" for name, what in EXTRAS.items())
    parser.add_argument("--with", dest="extras", action="append", choices=list(EXTRAS), default=[], help=f"add {adds}")
    parser.add_argument(
        "--author", dest="authors", action="append", default=[], metavar="NAME", help='an author, as "Family, Given"'
    )
    parser.add_argument(
        "--licence", default="CC-BY-4.0", metavar="SPDX", help="licence of the bundle (default: %(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be written, and its size")


def run(options: argparse.Namespace, out: Output) -> int:
    from empslurm import reference
    from empslurm.report.write import write
    from empslurm.share import bundle, study
    from empslurm.share.bundle import texts, writing

    deposit = bundle.Deposit(authors=tuple(options.authors), licence=options.licence)
    writing.refuse_used(options.to)
    chosen = study.of_manifest(options.manifest, runs=options.runs, data=options.data)
    with tempfile.TemporaryDirectory(prefix="empslurm-tables-") as scratch:
        with common.counting("verifying results", out) as advance:
            gathered = chosen.gathered(advance)
        prepared = _prepared(chosen, out)
        with out.console(error=True).status("tables, tests and figures"):
            write(gathered, Path(scratch), ratings=reference.ratings(), margin=chosen.plan.manifest.margin)
        with out.console(error=True).status("searching every file for texts of the data"):
            contents = bundle.collect(
                chosen, gathered, Path(scratch), deposit, extras=options.extras, prepared=prepared
            )
            texts.refuse(contents.entries, prepared)
        _say_before(contents, deposit, options.to, out)
        digest = None
        if not options.dry_run:
            with common.counting("writing the bundle", out, total=len(contents.entries)) as advance:
                digest = bundle.write(contents.entries, options.to, advance)
        _document(contents, options, digest, out)
        _say_after(contents, options.to, digest, out)
    return 0


def _prepared(study: Study, out: Output) -> dict[str, Prepared]:
    """The datasets of the study that are here, parsed now or before."""
    from empslurm.tasks.prepare import prepare

    found: dict[str, Prepared] = {}
    for name in study.plan.manifest.data:
        try:
            found[name] = prepare(study.plan.manifest.registry.datasets[name], study.data, study.root.prepared)
        except DataError:
            continue
    away = [name for name in study.plan.manifest.data if name not in found]
    if away:
        out.warn(
            f"the data of {', '.join(away)} is not in {study.data}, so its texts cannot be searched for in the bundle; "
            "name the data with --data to have them searched for"
        )
    return found


def _say_before(contents: Contents, deposit: Deposit, to: Path, out: Output) -> None:
    """The size, and what people must know before anything is written."""
    note = contents.note
    out.say(f"{to}: {len(contents.entries):,} files, {_size(contents.n_bytes)}")
    rows = [(what, f"{n:,}", _size(size)) for what, n, size in _parts(contents.entries)]
    out.say("  " + "; ".join(f"{what} {size}" for what, _, size in rows))
    if note.n_done < note.n_cells:
        out.warn(f"{note.n_cells - note.n_done:,} of {note.n_cells:,} cells have no result yet")
    if contents.uncommitted:
        out.warn(
            f"{len(contents.uncommitted):,} cells were trained by code that was not committed, and the bundle has the "
            f"changes as text; read `code.diff` in {contents.uncommitted[0]} before you share it"
        )
    for licence, n in Counter(contents.licences.values()).items():
        out.say(f"  data of {n} {'dataset' if n == 1 else 'datasets'}: {licence}")
    out.say(f"  licence of the bundle: {deposit.licence}; authors: {'; '.join(deposit.authors) or 'none named'}")


def _parts(entries: Sequence[Entry]) -> list[tuple[str, int, int]]:
    """(top folder or file, number of files, bytes), the largest first."""
    n_files: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for entry in entries:
        top, inner, _ = entry.path.partition("/")
        n_files[top + inner] += 1
        size[top + inner] += entry.n_bytes
    return [(top, n_files[top], n_bytes) for top, n_bytes in size.most_common()]


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.1f} MiB"


def _document(contents: Contents, options: argparse.Namespace, digest: str | None, out: Output) -> None:
    out.document(
        {
            "name": contents.note.name,
            "bundle": str(options.to),
            "written": digest is not None,
            "checksum": digest,
            "n_files": len(contents.entries),
            "n_bytes": contents.n_bytes,
            "n_cells": contents.note.n_cells,
            "n_done": contents.note.n_done,
            "adapters": contents.note.adapters,
            "unsearched": list(contents.note.unsearched),
            "uncommitted": list(contents.uncommitted),
            "parts": [{"path": what, "n_files": n, "n_bytes": size} for what, n, size in _parts(contents.entries)],
            "licences": dict(contents.licences),
        }
    )


def _say_after(contents: Contents, to: Path, digest: str | None, out: Output) -> None:
    if digest is None:
        out.line(f"nothing was written: a bundle at {to} would have {_size(contents.n_bytes)}")
        return
    away = contents.note.unsearched
    searched = f"; texts of {', '.join(away)} were not searched for" if away else ", and no text of the data"
    out.line(f"{to} holds {contents.note.n_done:,} of {contents.note.n_cells:,} cells{searched}")
    out.line(f"checksum of its checksums, for your paper: {digest}")
    out.line(f"others run `empslurm gather --results {to}` and `empslurm verify {to}`")
