"""Export adapters in AdapterHub's layout, one folder per measure, with the seed that is best on validation at its top.

DIR/MEASURE/README.md            the model card
            adapter_config.json, adapter.safetensors, head_config.json, model_head.safetensors
            task.json            what it measures, its scale, its test score
            provenance.json      commit, packages, device, wall time
            source/              transfers: the source's adapter, below the new one in the stack
            checksums.json       of the files above
            seed-N/              the same for every other seed
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from empslurm import files
from empslurm.errors import DamagedError, StoreError, UsageError
from empslurm.scoring.modelcard import card
from empslurm.scoring.selection import CHECKSUMS, SOURCE, Chosen, Group, Member
from empslurm.store import adapter_metadata
from empslurm.store.adapter_metadata import Evidence

ADAPTER = ("adapter_config.json", "adapter.safetensors")
HEAD = ("head_config.json", "model_head.safetensors")
PROVENANCE = ("packages", "python", "attempt", "device", "gpu", "n_processes", "wall_s", "time")


@dataclass(frozen=True, kw_only=True)
class Repository:
    """One exported measure: its folder, and its name on the hub."""

    folder: Path
    repository: str | None  # ORG/NAME; None: exported without an organisation
    paths: tuple[str, ...]  # its files, relative to the folder
    n_bytes: int


def export(
    chosen: Chosen,
    evidence: Mapping[str, Evidence | None],
    to: Path,
    organisation: str | None = None,
) -> list[Repository]:
    """Write every measure below `to`. An earlier export on the same backbone is replaced; another folder is an error.

    Where a backbone was asked for, the repositories are named by its label, too. Raises StoreError, UsageError.
    """
    exported = []
    for group in chosen.groups:
        _refuse_another(group, to / group.name)
    for group in chosen.groups:
        repository = f"{organisation}/{_repository(group.name, chosen.backbone)}" if organisation else None
        folder = to / group.name
        temporary = to / f".{group.name}.{os.getpid()}.{secrets.token_hex(4)}"
        try:
            _write(group, evidence[group.name], temporary, repository)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(temporary, folder)
        except OSError as error:
            raise StoreError(
                f"{folder} must be written, but cannot be: {error.strerror or error}; free space, or export to another "
                "folder"
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
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


def _refuse_another(group: Group, folder: Path) -> None:
    """Raise UsageError where a folder holds something else than an earlier export of the measure on this backbone."""
    if not folder.exists():
        return
    if not (folder / "README.md").is_file():
        raise UsageError(
            f"{folder} must be absent or hold an earlier export, but holds something else; move it away, or export to "
            "another folder"
        )
    try:
        earlier = adapter_metadata.read(folder)
    except DamagedError:
        return
    if earlier.backbone_digest != group.measure.backbone_digest:
        raise UsageError(
            f"{folder} must be absent or hold an earlier export on {group.measure.backbone.name}, but holds one on "
            f"{earlier.backbone.name}; export to another folder"
        )


def _repository(measure: str, label: str | None) -> str:
    """A measure's name on the hub. `label`: of its backbone; it has no more of the path than tells backbones apart."""
    name = f"empslurm-{measure.replace('--', '-to-')}"
    return name if label is None else f"{name}-{re.sub(r'[^A-Za-z0-9_.]+', '-', label).strip('-')}"


def _write(group: Group, evidence: Evidence | None, folder: Path, repository: str | None) -> None:
    best = max(group.members, key=_validation)
    names = {member.measure.seed: "" if member is best else f"seed-{member.measure.seed}" for member in group.members}
    for member in sorted(group.members, key=lambda member: member is not best):
        _write_seed(member, evidence, folder / names[member.measure.seed])
    files.write_text(folder / "README.md", card(group, evidence, names, repository))


def _validation(member: Member) -> float:
    """The validation score, which picks the seed at the top; -inf for exported adapters, so that the first is taken."""
    score = (member.result or {}).get("validation", {}).get(member.measure.metric)
    return -float("inf") if score is None else float(score)


def _write_seed(member: Member, evidence: Evidence | None, folder: Path) -> None:
    """Write one seed. Only named files are copied: no other file of a cell, such as its predictions, is exported."""
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
    """How the adapter was made, without host names, paths and the text of uncommitted changes."""
    exported = member.adapter / "provenance.json"
    if exported.is_file():  # an exported adapter, whose provenance is already shortened
        return files.read_object(exported)
    provenance = files.read_object(member.adapter.parent / "provenance.json")
    code = provenance.get("code", {})
    kept = {name: provenance[name] for name in PROVENANCE if name in provenance}
    return {**kept, "commit": code.get("commit"), "uncommitted_changes": bool(code.get("diff"))}


def push(repositories: Sequence[Repository], api: Any | None = None) -> list[str]:
    """Upload each measure that has a repository name to the hub; returns the addresses. `api`: a huggingface_hub.HfApi.

    Raises StoreError naming the repository that failed; those before it are uploaded.
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
                f"{name} must accept the upload, but the hub says: {reason}; log in with `hf auth login`, "
                "check the organisation, then run the same command again"
            ) from error
        addresses.append(f"{api.endpoint}/{name}")
    return addresses
