"""What people and repositories read beside the crate: the README, metadata for Zenodo, the packages."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from empslurm.share.bundle.layout import CHECKSUMS, CRATE, PARTS, TABLES, ZENODO, Entry, StudyNote
from empslurm.share.bundle.texts import FEWEST, RUN

if TYPE_CHECKING:
    from empslurm.plan import Plan
    from empslurm.share.bundle.contents import Deposit


def zenodo(note: StudyNote, plan: Plan, deposit: Deposit) -> dict[str, Any]:
    """Metadata of a deposit, as Zenodo's deposit API takes them. Nothing sends them: people do."""
    from empslurm.share.bundle.crate import describe

    datasets = [plan.manifest.registry.datasets[name] for name in plan.manifest.data]
    basis = "".join(f"<li>{html.escape(f'{item.citation} Licence: {item.licence}')}</li>" for item in datasets)
    return {
        "metadata": {
            "title": f"Transfer study {note.name}: results, predictions and tables",
            "upload_type": "dataset",
            "publication_date": note.made[:10],
            "description": f"<p>{html.escape(describe(note))}</p><p>Datasets that it is based on:</p><ul>{basis}</ul>",
            "creators": [{"name": name} for name in deposit.authors],
            "access_right": "open",
            "license": deposit.licence.lower(),
            "keywords": ["transfer learning", "intermediate tasks", "adapters", "natural language processing"],
            "references": [item.citation for item in datasets],
            "version": note.empslurm,
        }
    }


def environment(provenance: Sequence[Mapping[str, Any]]) -> str:
    """The packages of the results as a pip requirements file, most used first; other versions and machines as comments.

    `provenance`: a note per finished cell.
    """
    used = [tuple(sorted((note.get("packages") or {}).items())) for note in provenance]
    lines = [f"# packages that {len(provenance):,} results were made with"]
    for number, (packages, n) in enumerate(Counter(used).most_common()):
        mark = "" if number == 0 else "# "
        lines += [f"# {n:,} results:", *(f"{mark}{name}=={version}" for name, version in packages if version)]
    for what in ("python", "platform", "device"):
        for value, n in Counter(str(note.get(what)) for note in provenance).most_common():
            lines.append(f"# {what}: {value} ({n:,} results)")
    return "\n".join(lines) + "\n"


def readme(note: StudyNote, plan: Plan, deposit: Deposit, entries: Sequence[Entry], uncommitted: Sequence[str]) -> str:
    """The README of a bundle: what it is, how to open it, whose data it rests on.

    `uncommitted`: files of provenance that have changes of the code.
    """
    there = {entry.path for entry in entries} | {CHECKSUMS, CRATE}
    listed = [
        f"- `{name}`: {what}"
        for name, what in PARTS.items()
        if name in there or any(path.startswith(name) for path in there if name.endswith("/"))
    ]
    datasets = [plan.manifest.registry.datasets[name] for name in plan.manifest.data]
    lines = [
        f"# Transfer study {note.name}",
        "",
        f"{note.n_done:,} of {note.n_cells:,} cells have a result. Open `{TABLES}/report.html` to read them.",
        "",
        "With empslurm:",
        "",
        "    empslurm gather --results BUNDLE             # the tables again, from the predictions",
        "    empslurm verify BUNDLE                       # check every seal and every printed number",
        "    empslurm init --from BUNDLE my-continuation  # continue the study",
        "",
        f"`sha256sum --check {CHECKSUMS}` checks the files without it.",
        "",
        "## What is in it",
        "",
        *listed,
        "",
        _searched(note),
        "Provenance names the computers and jobs that made the results." + _uncommitted(uncommitted),
        "" if note.adapters else "The adapters are not in it: `left-out.json` of each cell names their files.",
        "",
        "## Datasets",
        "",
    ]
    for item in datasets:
        invented = note.raw.get(item.id) in note.samples
        lines += [
            f"- **{item.title}** ({item.id}){': an invented sample in its place' if invented else ''}",
            f"  - licence: {item.licence}",
            f"  - cite: {item.citation}",
            f"  - obtain: {item.obtain}",
        ]
    by = f" by {'; '.join(deposit.authors)}" if deposit.authors else ""
    lines += ["", "## Licence", "", f"This bundle{by}: {deposit.licence}. Each dataset keeps its own licence.", ""]
    lines += ["## Deposit", "", _deposit(deposit), ""]
    return "\n".join(lines)


def _searched(note: StudyNote) -> str:
    if not note.unsearched:
        return (
            f"No text of the data is in it: every text was searched for in every file, by {RUN} words in a row, or by "
            f"all words of a shorter one, from {FEWEST} words on."
        )
    return (
        "No text of the data was put into it. Texts of these datasets were not here to be searched for: "
        f"{', '.join(note.unsearched)}."
    )


def _uncommitted(places: Sequence[str]) -> str:
    if not places:
        return ""
    return f" In {len(places):,} cells it has changes of the code that were not committed, such as `{places[0]}`."


def _deposit(deposit: Deposit) -> str:
    lacking = "" if deposit.authors else "fill in `creators`, which no --author named, "
    return (
        f"`{ZENODO}` has the metadata for a deposit at Zenodo: {lacking}check it, then upload this bundle there. "
        "Nothing was uploaded."
    )
