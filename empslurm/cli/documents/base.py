"""What all documents share, and the document of an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from empslurm.validation.constraints import Doc, Key

DRAFT = "http://json-schema.org/draft-07/schema#"
ABSENT: Any = None  # default of a key that a document may lack

Part = Literal["train", "validation", "test"]
CellName = Annotated[str, Doc("Id of the cell.")]
ManifestName = Annotated[str, Doc("Name of the manifest.")]
FilePaths = Annotated[tuple[str, ...], Doc("Paths of the files that were written.")]
MissingData = Annotated[Mapping[str, str], Doc("Dataset id -> how to obtain it, for datasets that are not here.")]
Refused = Annotated[
    Mapping[str, tuple[str, ...]], Doc("Path of a card -> why it is refused, one sentence per problem.")
]


@dataclass(frozen=True, kw_only=True)
class Document:
    """What every document may have."""

    warnings: Annotated[
        tuple[str, ...], Doc("Warnings, one sentence each, as printed on stderr. Absent: there were none.")
    ] = ABSENT


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What went wrong."""

    class_: Annotated[str, Key("class"), Doc("Class of the error, such as ManifestError or DataError.")]
    problems: Annotated[
        tuple[str, ...], Doc("One sentence per problem: what must hold, what was found, what to do. Usually one.")
    ]


@dataclass(frozen=True, kw_only=True)
class Error(Document):
    """The document of a verb that ends with an error; the exit status is 1 (work failed) or 2 (wrong use)."""

    error: Annotated[Problem, Doc("What went wrong.")]
