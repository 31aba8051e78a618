"""Short names of backbones, for people, tables and folders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike

from empslurm import ids
from empslurm.backbones import is_local
from empslurm.config import Backbone

SHORT_REVISION = 7  # hex digits


def labels_of(backbones: Iterable[Backbone]) -> Mapping[Backbone, str]:
    """Backbone -> the last part of its hub id or folder, with more parts only where two would be equal.

    Upper and lower case are not told apart, since labels name folders. Revisions of one hub id get its first digits.
    """
    distinct = tuple(dict.fromkeys(backbones))
    names = {backbone.name for backbone in distinct}
    revisions: dict[str, set[str]] = {}
    for backbone in distinct:
        revisions.setdefault(backbone.name, set()).add(backbone.revision or "")
    return {
        backbone: _tail(backbone.name, names - {backbone.name}) + _mark(backbone, revisions[backbone.name])
        for backbone in distinct
    }


def is_called(backbone: Backbone, asked: str | None, below: str | PathLike[str] = "") -> bool:
    """Whether a user means a backbone: by its name, or by its folder, which may be relative to here or to `below`."""
    if asked is None or asked == backbone.name:
        return asked is not None
    folders = [folder for folder in (asked, os.path.join(below, asked)) if os.path.isdir(folder)]
    return is_local(backbone.name) and os.path.realpath(backbone.name) in map(os.path.realpath, folders)


def labels_of_models(models: Sequence[tuple[Backbone, str]]) -> list[str]:
    """A label of each (backbone, digest); folders of one name that held different files get digits of their digests."""
    distinct = dict.fromkeys(models)
    named = labels_of(backbone for backbone, _ in distinct)
    n_digests = Counter(backbone for backbone, _ in distinct)
    return [
        named[backbone] if n_digests[backbone] == 1 else f"{named[backbone]}-{ids.digest(digest, 6)}"
        for backbone, digest in models
    ]


def _tail(name: str, others: set[str]) -> str:
    """The fewest last parts of a name that are not the last parts of another."""
    n_parts = len(name.rstrip("/").split("/"))
    for n in range(1, n_parts + 1):
        tail = _last(name, n)
        if tail and all(_last(other, n).casefold() != tail.casefold() for other in others):
            return tail
    return name


def _last(name: str, n: int) -> str:
    return "/".join(name.rstrip("/").split("/")[-n:])


def _mark(backbone: Backbone, revisions: set[str]) -> str:
    """`@` and the first digits of a revision, where there are several of one hub id."""
    revision = backbone.revision or ""
    if len(revisions) == 1 or not revision:
        return ""
    shortest = next(
        (n for n in range(SHORT_REVISION, len(revision)) if len({other[:n] for other in revisions}) == len(revisions)),
        len(revision),
    )
    return f"@{revision[:shortest]}"
