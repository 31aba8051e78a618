"""Propose a profile from what a cluster says about itself; pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from empslurm.launch.site.draft import Draft
from empslurm.launch.site.facts import Site
from empslurm.launch.site.fields import FIELDS, Choice
from empslurm.launch.site.partitions import asked_for, best, has_gpus, obstacles, wants_gpus, writable
from empslurm.launch.site.profile_text import alternatives_of, text_of
from empslurm.launch.site.wording import DOUBTFUL, many


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A proposed profile, before it is written."""

    partition: str
    summary: str  # the choices in one line
    choices: tuple[Choice, ...]
    alternatives: dict[str, Any]
    warnings: tuple[str, ...]
    text: str  # of the file


def propose(site: Site, name: str, partition: str | None = None) -> Proposal:
    """Propose a profile `name` for the best partition, or for the one asked for.

    Raises UsageError where that one does not exist, SchedulerError where none can be used.
    """
    draft = Draft(site=site, partition=asked_for(site, partition) if partition else best(site))
    choices = tuple(choice for make in FIELDS if (choice := make(draft)))
    warnings = tuple(sentence for warn in WARNINGS if (sentence := warn(draft)))
    return Proposal(
        partition=draft.partition.name,
        summary=_summary(draft, choices),
        choices=choices,
        alternatives=alternatives_of(draft),
        warnings=warnings,
        text=text_of(draft, name, choices, warnings),
    )


def _summary(draft: Draft, choices: Sequence[Choice]) -> str:
    """The profile in one line."""
    value = {choice.field: choice.value for choice in choices}
    gpus = many(draft.n_gpus, "GPU") + (f" {draft.gpu_type}" if draft.gpu_type and draft.n_gpus else "")
    memory = {
        "mem_gb": f"{value.get('mem_gb')} GiB" if value.get("mem_gb") else "",
        "mem_per_cpu_gb": f"{value.get('mem_per_cpu_gb')} GiB per CPU" if value.get("mem_per_cpu_gb") else "",
    }
    parts = (
        f"partition {draft.partition.name}",
        f"account {draft.account}" if draft.account else "",
        gpus if draft.n_gpus else "no GPU",
        many(draft.cpus, "CPU"),
        *memory.values(),
        str(value["time"]),
        "whole nodes" if draft.exclusive else "",
    )
    return ", ".join(filter(None, parts))


# ---- what must not be missed -----------------------------------------------------------------------------------------


def _warn_obstacles(draft: Draft) -> str:
    reasons = obstacles(draft.site, draft.partition)
    return f"partition {draft.partition.name} takes none of your jobs now: {'; '.join(reasons)}" if reasons else ""


def _warn_doubtful(draft: Draft) -> str:
    doubtful = DOUBTFUL.search(draft.partition.name)
    return f"by its name, partition {draft.partition.name} may not be meant for hours of training" if doubtful else ""


def _warn_torch(draft: Draft) -> str:
    if wants_gpus(draft.site) or not any(map(has_gpus, draft.site.partitions)):
        return ""
    return (
        "the profile asks for no GPUs, though the cluster has some: the torch installed here is built for CPUs only; "
        "install its CUDA build and run this again, or set `gpus` if `python:` names a container with that build"
    )


def _warn_account(draft: Draft) -> str:
    if draft.account is not None or not draft.site.demands_accounts:
        return ""
    return (
        "this cluster demands an account, but none of yours is known for this partition; ask the site for one and set "
        "`account`"
    )


def _warn_wckey(draft: Draft) -> str:
    wanting = draft.site.demands_wckeys and not any(map(writable, draft.site.wckeys or ()))
    return (
        "this cluster demands a wckey, but none of yours is known; ask the site for one and set `wckey`"
        if wanting
        else ""
    )


WARNINGS: tuple[Callable[[Draft], str], ...] = (
    _warn_obstacles, _warn_doubtful, _warn_torch, _warn_account, _warn_wckey,
)  # fmt: skip
