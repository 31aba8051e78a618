"""digests.json: which data and backbones the results of a runs root were made with, where they are not on this machine.

A bundle and the study that is continued from one have it. Where data or a backbone is here, its own digest counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated

from empslurm import files
from empslurm.config import Backbone
from empslurm.store.runs import RunsRoot
from empslurm.validation import decode
from empslurm.validation.constraints import Later


@dataclass(frozen=True, kw_only=True)
class Digests:
    """Digests by name; a name that is absent is not known."""

    raw: Mapping[str, str] = field(default_factory=dict)  # dataset id -> digest of its raw files
    samples: tuple[str, ...] = ()  # those of `raw` that are the invented sample
    backbones: Mapping[str, str] = field(default_factory=dict)  # `model_name` -> digest, encoders too
    version: Annotated[int, Later()] = 1


def model_name(backbone: Backbone) -> str:
    """One text for a backbone: its name and, where it has one, its revision."""
    return f"{backbone.name}@{backbone.revision}" if backbone.revision else backbone.name


def read(root: RunsRoot) -> Digests:
    """What the runs root notes; nothing where it has no note. Raises DamagedError."""
    try:
        noted: Digests = decode.load(root.digests, Digests, "take it from the bundle again")
    except FileNotFoundError:
        return Digests()
    return noted


def write(root: RunsRoot, digests: Digests) -> None:
    """Write the note. Raises StoreError."""
    files.write_json(root.digests, asdict(digests))
