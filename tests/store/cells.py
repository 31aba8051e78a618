"""A cell, its folder, and claims of invented processes."""

import socket
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from empslurm import files
from empslurm.cells import Baseline, DataIdentity
from empslurm.config import Adapter, Backbone, DataUse, Training
from empslurm.store.cell_folder import CellDir
from empslurm.store.claims import Claim, kernel


def make_cell(**changes: Any) -> Baseline:
    data = DataIdentity(dataset="epitome", raw="0" * 64, split="family-1-0", use=DataUse(), labels="all", fraction=1.0)
    cell = Baseline(
        target="epitome_er",
        seed=1,
        data=data,
        backbone=Backbone(name="tiny"),
        backbone_digest="tiny-1",
        adapter=Adapter(),
        training=Training(),
    )
    return replace(cell, **changes)


def finish(folder: CellDir, claim: Claim, content: bytes = b"weights", result: Mapping[str, Any] | None = None) -> bool:
    files.write_bytes(folder.output(claim) / "adapter" / "adapter.safetensors", content)
    return folder.save(claim, result or {"test": {"f1_macro": 0.5}})


def dead_claim(number: int = 1, **changes: Any) -> Claim:
    fields: dict[str, Any] = {
        "nonce": "dead",
        "host": socket.gethostname(),
        "pid": 2**22 + 1,
        "process_start": 1.0,
        "started": 0.0,
    }
    fields["kernel"] = kernel()
    return Claim(number=number, **{**fields, **changes})


def plant(folder: CellDir, claim: Claim) -> None:
    files.create_exclusive(folder.path / "claims" / f"{claim.number:04d}.json", files.to_json(asdict(claim)))
