"""Adapters as AdapterHub has them, one folder per measure; the seed that is best on validation stands at its top.

DIR/MEASURE/README.md            the model card
            adapter_config.json, adapter.safetensors, head_config.json, model_head.safetensors
            task.json            what it measures, its scale, its test score
            provenance.json      commit, packages, device, wall time
            source/              transfers: the adapter that lies below
            checksums.json       of the files above
            seed-N/              the same for every other seed
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from empslurm import files
from empslurm.errors import StoreError, UsageError
from empslurm.scoring.modelcard import card
from empslurm.scoring.selection import CHECKSUMS, SOURCE, Chosen, Group, Member
from empslurm.store import adapter_metadata
from empslurm.store.adapter_metadata import Evidence

ADAPTER = ("adapter_config.json", "adapter.safetensors")
HEAD = ("head_config.json", "model_head.safetensors")
PROVENANCE = ("packages", "python", "attempt", "device", "gpu", "n_processes", "wall_s", "time")


@dataclass(frozen=True, kw_only=True)
class Repository:
    """One measure's folder and the name it has, or would have, on the hub."""

    folder: Path
    repository: str | None  # ORG/NAME; None: it was exported without an organisation
    paths: tuple[str, ...]  # of its files, relative to the folder
    n_bytes: int


def export(
    chosen: Chosen, evidence: Mapping[str, Evidence | None], to: Path, organisation: str | None = None
) -> list[Repository]:
    """Write every measure below `to`; a folder that is there already must be of an earlier export, and is replaced.

    Raises StoreError, UsageError.
    """
    exported = []
    for group in chosen.groups:
        repository = f"{organisation}/empslurm-{group.name.replace('--', '-to-')}" if organisation else None
        folder = to / group.name
        if folder.exists() and not (folder / "README.md").is_file():
            raise UsageError(f"{folder} must be free or hold an earlier export, but holds something else; move it away")
        beside = to / f".{group.name}.{os.getpid()}.{secrets.token_hex(4)}"
        try:
            _write(group, evidence[group.name], beside, repository)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(beside, folder)
        except OSError as error:
            raise StoreError(
                f"{folder} must be written, but cannot be: {error.strerror or error}; make room"
            ) from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        written = sorted(path for path in folder.rglob("*") if path.is_file())
        exported.append(
            Repository(
                folder=folder,
                repository=repository,
                paths=tuple(path.relative_to(folder).as_posix() for path in written),
                n_bytes=sum(path.stat().st_size for path in written),
            )
        )
    return exported


def _write(group: Group, evidence: Evidence | None, folder: Path, repository: str | None) -> None:
    best = max(group.members, key=_validation)
    names = {member.measure.seed: "" if member is best else f"seed-{member.measure.seed}" for member in group.members}
    for member in sorted(group.members, key=lambda member: member is not best):
        _write_seed(member, evidence, folder / names[member.measure.seed])
    files.write_text(folder / "README.md", card(group, evidence, names, repository))


def _validation(member: Member) -> float:
    """The score that picks the seed at the top; of exported adapters the first stays there."""
    score = (member.result or {}).get("validation", {}).get(member.measure.metric)
    return -float("inf") if score is None else float(score)


def _write_seed(member: Member, evidence: Evidence | None, folder: Path) -> None:
    """Named files only: nothing else of a cell, its predictions least of all, can slip in."""
    _copy(member.adapter, folder, (*ADAPTER, *HEAD))
    if member.source is not None:
        _copy(member.source, folder / SOURCE, ADAPTER)
    measure = member.measure if evidence is None else adapter_metadata.with_evidence(member.measure, evidence)
    adapter_metadata.write(folder, measure)
    files.write_json(folder / "provenance.json", _provenance(member))
    written = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = {path.relative_to(folder).as_posix(): files.sha256_file(path) for path in written}
    files.write_json(folder / CHECKSUMS, sums)


def _copy(source: Path, target: Path, names: Sequence[str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(source / name, target / name)


def _provenance(member: Member) -> dict[str, Any]:
    """What made the adapter, without host names, paths and the text of uncommitted changes."""
    here = member.adapter / "provenance.json"
    if here.is_file():  # an exported adapter: it was cut down before
        return files.read_object(here)
    provenance = files.read_object(member.adapter.parent / "provenance.json")
    code = provenance.get("code", {})
    kept = {name: provenance[name] for name in PROVENANCE if name in provenance}
    return {**kept, "commit": code.get("commit"), "uncommitted_changes": bool(code.get("diff"))}


def push(repositories: Sequence[Repository], api: Any | None = None) -> list[str]:
    """Upload each measure that has a repository on the hub to it; their addresses. `api`: a huggingface_hub.HfApi.

    Raises StoreError naming the repository that was refused; those before it are there.
    """
    if api is None:
        from huggingface_hub import HfApi

        api = HfApi()
    addresses = []
    for exported, name in ((each, each.repository) for each in repositories if each.repository is not None):
        try:
            api.create_repo(name, repo_type="model", exist_ok=True)
            api.upload_folder(
                repo_id=name,
                folder_path=str(exported.folder),
                allow_patterns=list(exported.paths),
                commit_message="Adapters and model card",
            )
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise StoreError(
                f"{name} must take the upload, but the hub says: {reason}; log in with `hf auth login`, "
                "check the organisation, then run the same command again"
            ) from error
        addresses.append(f"{api.endpoint}/{name}")
    return addresses
