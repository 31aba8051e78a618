"""Every JSON document that a test sees is compared with the schema of its verb.

`watch` does so for verbs that run in the process of the tests, whether or not they print JSON; `check` for documents
that another process printed.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from empslurm import cli
from empslurm.cli import documents
from empslurm.cli.output import Output
from empslurm.cli.verbs import VERBS


@cache
def validator(name: str) -> Any:
    """Of a verb's documents, or of `error`."""
    from jsonschema import Draft7Validator

    return Draft7Validator(documents.document_json_schema(name))


def problems(name: str, document: Any) -> list[str]:
    """Where a document is not as its schema says."""
    return [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in validator(name).iter_errors(document)
    ]


def name_of(words: Sequence[str]) -> str:
    """The entry of DOCUMENTS that a command line asks for."""
    verb = next(word for word in words if word in VERBS)
    return next((name for word in words if (name := f"{verb} {word}") in documents.DOCUMENTS), verb)


def check(words: Sequence[str], document: Any) -> None:
    """The document that a command line printed must be as its schema says."""
    _check(name_of(words), document)


def _check(name: str, document: Any) -> None:
    is_error = "error" in document and set(document) <= {"error", "warnings"}
    found = problems(documents.ERROR if is_error else name, document)
    assert not found, f"{name}: {found[:5]}; describe the keys in empslurm/cli/documents/"


def watch() -> None:
    """From now on, compare what verbs hand to `Output.document` in this process."""
    names: list[str] = []
    plain_call, plain_document = cli._call, Output.document

    def call(options: argparse.Namespace, out: Output) -> int:
        action = getattr(options, "action", None)
        names.append(f"{options.verb} {action}" if action else options.verb)
        try:
            return plain_call(options, out)
        finally:
            names.pop()

    def document(self: Output, value: Any) -> None:
        if names:
            whole = {**value, "warnings": self._warnings} if self._warnings else value
            _check(names[-1], json.loads(json.dumps(whole, allow_nan=False)))
        plain_document(self, value)

    replace: Callable[[Any, str, Any], None] = setattr
    replace(cli, "_call", call)
    replace(Output, "document", document)
