"""What was asked to run, as one file that both sides read: packs with their cells, and where data and code are."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from empslurm import files, provenance
from empslurm.cells import Cell, from_identity
from empslurm.errors import DamagedError
from empslurm.plan import Pack
from empslurm.store import RunsRoot


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Pack membership is fixed here, so that a requeue trains the same pack."""

    id: str
    manifest: str
    data_root: Path
    cards: tuple[Path, ...]
    packs: tuple[Pack, ...]

    def path(self, root: RunsRoot) -> Path:
        """Where the submission is kept."""
        return root.submissions / self.id / "submission.json"

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, pack by pack."""
        return tuple(cell for pack in self.packs for cell in pack.cells)


def create(root: RunsRoot, manifest: str, data_root: Path, cards: Sequence[Path], packs: Sequence[Pack]) -> Submission:
    """Record a submission; its id sorts by time."""
    made = Submission(
        id=f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{manifest}-{secrets.token_hex(3)}",
        manifest=manifest,
        data_root=data_root.resolve(),
        cards=tuple(card.resolve() for card in cards),
        packs=tuple(packs),
    )
    value = {
        "id": made.id,
        "manifest": manifest,
        "data_root": str(made.data_root),
        "cards": [str(card) for card in made.cards],
        "packs": [
            {"id": pack.id, "wave": pack.wave, "cells": [cell.identity() for cell in pack.cells]} for pack in packs
        ],
        "code": provenance.code(),
    }
    files.write_bytes(made.path(root), (files.to_line(value) + "\n").encode())
    return made


def load(path: Path) -> Submission:
    """Read a submission back. Raises DamagedError where it does not match its own ids."""
    value = files.read_object(path)
    try:
        packs = tuple(_pack(item) for item in value["packs"])
        return Submission(
            id=value["id"],
            manifest=value["manifest"],
            data_root=Path(value["data_root"]),
            cards=tuple(Path(card) for card in value["cards"]),
            packs=packs,
        )
    except (KeyError, TypeError) as error:
        raise DamagedError(f"{path} must be a submission as this version writes it, but is not: {error}") from error


def _pack(value: dict[str, Any]) -> Pack:
    pack = Pack(cells=tuple(from_identity(cell) for cell in value["cells"]), wave=value["wave"])
    if pack.id != value["id"]:
        raise DamagedError(f"a stored pack must be {value['id']}, but its cells make {pack.id}; submit again")
    return pack
