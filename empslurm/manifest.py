"""What to run: a strict YAML manifest, resolved to one frozen value; every problem at once, with file, line and fix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from empslurm.config import Adapter, Backbone, DataUse, SourceUse, Training
from empslurm.tasks import Registry


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A manifest with every default, preset and pattern resolved."""

    name: str
    path: Path
    tasks: tuple[str, ...]  # ids, in the registry's order
    pairs: tuple[tuple[str, str], ...]  # (source, target), without repetition
    seeds: tuple[int, ...]
    baseline_seeds: tuple[int, ...]  # holds `seeds`; may hold more, since one baseline serves every comparison
    fractions: tuple[float, ...]  # of a target's training part, in (0, 1]
    backbone: Backbone
    adapter: Adapter
    training: Mapping[str, Training]  # by task id
    source: SourceUse
    data: Mapping[str, DataUse]  # by id of the datasets that the tasks need
    cards: tuple[Path, ...]  # YAML cards of datasets beyond the built-in ones, absolute
    registry: Registry


def load_manifest(path: Path) -> Manifest:
    """Read and resolve a manifest. Raises ManifestError with all of its problems."""
    raise NotImplementedError
