"""Documents of the verbs that share a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from empslurm.cli.documents.base import Document, ManifestName
from empslurm.validation.constraints import Doc


@dataclass(frozen=True, kw_only=True)
class BundlePart:
    """A top folder of a bundle, or a file of its own."""

    path: Annotated[str, Doc("Its path in the bundle; a folder ends in /.")]
    n_files: Annotated[int, Doc("Files in it.")]
    n_bytes: Annotated[int, Doc("Size of these files.")]


@dataclass(frozen=True, kw_only=True)
class BundleDocument(Document):
    """The bundle that was written, or that --dry-run would write."""

    name: ManifestName
    bundle: Annotated[str, Doc("Where it is: a folder or a zip file.")]
    written: Annotated[bool, Doc("false: --dry-run wrote nothing.")]
    checksum: Annotated[
        str | None, Doc("sha256 of its list of checksums, which stands for all of it. null: nothing was written.")
    ]
    n_files: Annotated[int, Doc("Files in it, without the list of checksums.")]
    n_bytes: Annotated[int, Doc("Size of these files, before a zip file makes them smaller.")]
    n_cells: Annotated[int, Doc("Cells of the manifest.")]
    n_done: Annotated[int, Doc("Cells with a verified result, which are in the bundle.")]
    adapters: Annotated[bool, Doc("Whether the trained adapters are in it.")]
    unsearched: Annotated[
        tuple[str, ...], Doc("Ids of datasets that are not here, so that their texts could not be searched for.")
    ]
    uncommitted: Annotated[
        tuple[str, ...],
        Doc("Files of provenance in it that have, as text, changes of the code that were not committed."),
    ]
    parts: Annotated[tuple[BundlePart, ...], Doc("Its folders and files, the largest first.")]
    licences: Annotated[Mapping[str, str], Doc("Dataset id -> licence of its data, none of which is in the bundle.")]
