"""The crate's metadata: RO-Crate 1.1, as JSON-LD. www.researchobject.org/ro-crate/specification/1.1"""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from empslurm import files
from empslurm.share.bundle.layout import CHECKSUMS, CRATE, PARTS, Entry, StudyNote

if TYPE_CHECKING:
    from empslurm.plan import Plan
    from empslurm.share.bundle.contents import Deposit

EDITION = "1.1"  # which validators know
HOME = "https://spdx.org/licenses/"
SOFTWARE = "#empslurm"
TYPES = {".md": "text/markdown", ".jsonl": "application/jsonl", ".json": "application/json"}
UNKNOWN_TIME = "1970-01-01T00:00:00Z"  # of a study whose results do not say when they were made


def metadata(note: StudyNote, plan: Plan, deposit: Deposit, entries: Sequence[Entry]) -> Entry:
    """The metadata of a bundle with these entries: its own files one by one, and its folders as a whole."""
    from rocrate.model.contextentity import ContextEntity
    from rocrate.model.dataset import Dataset
    from rocrate.model.file import File
    from rocrate.rocrate import ROCrate

    crate = ROCrate(version=EDITION)
    crate.name = f"Transfer study {note.name}"
    crate.description = describe(note)
    crate.datePublished = note.made or UNKNOWN_TIME
    crate.license = crate.add(
        ContextEntity(
            crate,
            f"{HOME}{deposit.licence}",
            properties={"@type": "CreativeWork", "name": deposit.licence, "description": "Licence of this bundle"},
        )
    )
    software = {"@type": "SoftwareApplication", "name": "empslurm", "softwareVersion": note.empslurm}
    crate.root_dataset["creator"] = crate.add(ContextEntity(crate, SOFTWARE, properties=software))
    if deposit.authors:
        crate.root_dataset["author"] = [
            crate.add(ContextEntity(crate, f"#author-{n}", properties={"@type": "Person", "name": name}))
            for n, name in enumerate(deposit.authors, start=1)
        ]
    crate.root_dataset["isBasedOn"] = [
        crate.add(ContextEntity(crate, f"#dataset-{name}", properties=_dataset(plan, note, name)))
        for name in plan.manifest.data
    ]
    there = {entry.path: entry for entry in entries}
    for name, what in PARTS.items():
        if name.endswith("/"):
            own = [path for path in there if path.startswith(name)]
            if own:
                properties = {"name": what, "description": f"{len(own):,} files"}
                crate.add(Dataset(crate, dest_path=name, properties=properties))
            continue
        properties = {"name": what, "encodingFormat": media_type(name)}
        if name in there and name != CHECKSUMS:  # which is made from all others, this file among them
            properties["contentSize"] = str(there[name].n_bytes)
        crate.add(File(crate, dest_path=name, properties=properties))
    page = "tables/report.html"
    if page in there:
        properties = {"name": "The page of the results", "encodingFormat": "text/html"}
        crate.add(File(crate, dest_path=page, properties=properties))
    return Entry(path=CRATE, data=files.to_json(crate.metadata.generate()))


def describe(note: StudyNote) -> str:
    """One sentence for catalogues."""
    state = "all" if note.n_done == note.n_cells else f"{note.n_done:,}"
    return (
        f"Results of the intermediate-task transfer study {note.name}: {state} of its {note.n_cells:,} cells, with "
        "predictions, provenance, tables and figures. It holds no text of the data."
    )


def media_type(name: str) -> str:
    """The media type of a file's name."""
    suffix = f".{name.rpartition('.')[2]}"
    return TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


def _dataset(plan: Plan, note: StudyNote, name: str) -> dict[str, Any]:
    """A dataset that the study read and that the bundle does not hold."""
    dataset = plan.manifest.registry.datasets[name]
    invented = note.raw.get(name) in note.samples
    return {
        "@type": "Dataset",
        "name": dataset.title,
        "description": "An invented sample in its place." if invented else f"Not in this bundle. {dataset.obtain}",
        "citation": dataset.citation,
        "license": dataset.licence,
        "identifier": note.raw.get(name, ""),
    }
