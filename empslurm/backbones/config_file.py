"""Read a backbone's config.json as plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from empslurm import files
from empslurm.backbones.families import FAMILIES
from empslurm.errors import BackboneError, StoreError


def read(folder: Path) -> tuple[str, Mapping[str, Any]]:
    """The family of the model in a folder, and the values of its config.json. Raises BackboneError."""
    try:
        values = files.read_object(folder / "config.json")
    except (OSError, StoreError) as error:
        raise BackboneError(f"{folder} must hold a config.json, but {error}; save it by `save_pretrained`") from error
    family = values.get("model_type")
    if family not in FAMILIES:
        raise BackboneError(
            f"{folder} must hold an encoder of the families {', '.join(FAMILIES)}, but is {family}; name another "
            "backbone in the manifest"
        )
    return str(family), values
