"""The JSON document of each verb: its keys, their types and their meaning.

`DOCUMENTS` has one entry per verb, or per `VERB ACTION`. To describe a new document, write a dataclass that inherits
from `Document`, give each field a `Doc`, and add it to `DOCUMENTS`. A key that may be absent has the default `ABSENT`.
`docs/pages` writes these types to docs/reference/json.md; the tests compare every document with its schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empslurm.cli.documents.base import DRAFT, Document, Error
from empslurm.cli.documents.checks import CleanDocument, VerifyDocument
from empslurm.cli.documents.data import DataAudit, DataFetch, DataPrepare, DataSample, DataStats, DataStatus
from empslurm.cli.documents.look import (
    CancelDocument,
    CellDocument,
    CompletionDocument,
    DebugDocument,
    ExplainDocument,
    ExplainManifests,
    LogDocument,
    StatusDocument,
)
from empslurm.cli.documents.results import (
    AgreementDocument,
    ExportDocument,
    GatherDocument,
    ScoreDocument,
    SearchFreeze,
    SearchReport,
    SuggestDocument,
)
from empslurm.cli.documents.share import BundleDocument
from empslurm.cli.documents.study import (
    ImportDocument,
    InitDocument,
    NothingToRun,
    PlanDocument,
    PrepareDocument,
    RunHere,
    SentToSlurm,
)
from empslurm.cli.documents.tools import DemoDocument, DoctorDocument, ProfileDocument, RateDocument
from empslurm.validation.reader import json_schema

ERROR = "error"  # the name of the error document, which is no verb
# A verb, or a verb and its action -> its document. Several types: which one it prints depends on what there was to do.
DOCUMENTS: Mapping[str, tuple[type[Document], ...]] = {
    "data status": (DataStatus,),
    "data stats": (DataStats,),
    "data audit": (DataAudit,),
    "data fetch": (DataFetch,),
    "data prepare": (DataPrepare,),
    "data sample": (DataSample,),
    "bundle": (BundleDocument,),
    "demo": (DemoDocument,),
    "init": (InitDocument,),
    "suggest": (SuggestDocument,),
    "plan": (PlanDocument,),
    "prepare": (PrepareDocument,),
    "submit": (NothingToRun, RunHere, SentToSlurm),
    "resume": (NothingToRun, RunHere, SentToSlurm),
    "cancel": (CancelDocument,),
    "import": (ImportDocument,),
    "status": (StatusDocument,),
    "logs": (LogDocument,),
    "show": (CellDocument,),
    "explain": (ExplainDocument, ExplainManifests),
    "debug": (DebugDocument,),
    "gather": (GatherDocument, SearchReport),
    "rate": (RateDocument,),
    "verify": (VerifyDocument,),
    "clean": (CleanDocument,),
    "agreement": (AgreementDocument,),
    "score": (ScoreDocument,),
    "export": (ExportDocument,),
    "search report": (SearchReport,),
    "search freeze": (SearchFreeze,),
    "completion": (CompletionDocument,),
    "profile": (ProfileDocument,),
    "doctor": (DoctorDocument,),
}


def document_types(name: str) -> tuple[type[Document], ...]:
    """The types of a verb's document (`data status`, `plan`, ...), or of `error`. Raises KeyError."""
    return (Error,) if name == ERROR else DOCUMENTS[name]


def document_json_schema(name: str) -> dict[str, Any]:
    """A JSON Schema (draft-07) of a verb's document, or of `error`. Raises KeyError."""
    schemas = [{"description": kind.__doc__, **json_schema(kind)} for kind in document_types(name)]
    return {"$schema": DRAFT, "title": name, **(schemas[0] if len(schemas) == 1 else {"anyOf": schemas})}
