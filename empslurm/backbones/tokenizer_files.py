"""Check what loaders read of a tokenizer's files, before they do: no code, no files that the digest does not cover."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from empslurm.backbones import config_file
from empslurm.errors import BackboneError
from empslurm.validation.reader import shown

SETTINGS = "tokenizer_config.json"
WHOLE = "tokenizer.json"  # all that a fast tokenizer does
VOCABULARIES = (WHOLE, "vocab*", "*.model")
MAX_MIB = {".json": 256, ".txt": 256, ".model": 256, SETTINGS: 16}  # of one file
# Keys of tokenizer_config.json that name code, or make some release of the library read another file, or none.
REFUSED = (
    *("auto_map", "init_inputs", "fast_tokenizer_files", "__slow_tokenizer", "from_slow"),
    *("vocab", "merges", "tokenizer_object", "gguf_file"),
)
NEVER_OPENED = ("special_tokens_map_file",)  # written by the library, often with a path of its own machine
REMEDY = "save another tokenizer there by `save_pretrained`, or name another backbone in the manifest"


def refuse_lacking(folder: Path) -> None:
    """Raise BackboneError where a folder has no file from which any tokenizer could be made."""
    if not any(path.is_file() for pattern in VOCABULARIES for path in folder.glob(pattern)):
        raise BackboneError(
            f"{folder} must hold a tokenizer ({WHOLE}, a vocabulary or a sentencepiece .model), but holds none; "
            "save the model's tokenizer there by `save_pretrained`"
        )


def read(folder: Path) -> Mapping[str, Any]:
    """The values of tokenizer_config.json, with the `tokenizer_class` of config.json where it names none.

    Loaders take the class from there, too. Raises BackboneError.
    """
    for path in sorted(folder.iterdir()):
        limit = MAX_MIB.get(path.name, MAX_MIB.get(path.suffix))
        if limit is not None and path.is_file() and path.stat().st_size > limit * 2**20:
            raise BackboneError(
                f"{path} must hold at most {limit} MiB, but holds {path.stat().st_size // 2**20}; {REMEDY}"
            )
    settings = _settings(folder / SETTINGS)
    for key, value in settings.items():
        if key in REFUSED and value:
            raise BackboneError(
                f"{folder / SETTINGS} must not name code or files by the key {key}, but does; remove the key if the "
                "tokenizer is a usual one, or name another backbone in the manifest"
            )
        if key not in NEVER_OPENED and isinstance(value, str) and _is_elsewhere(key, value, folder):
            raise BackboneError(
                f"{folder / SETTINGS} must name only files of its folder, but {key} is {shown(value)}; remove the key"
            )
    if settings.get("tokenizer_class") is None:
        config = config_file.plain(folder / "config.json", dict, REMEDY)
        return {**settings, "tokenizer_class": config.get("tokenizer_class")}
    return settings


def _settings(path: Path) -> dict[str, Any]:
    try:  # not by `files`: the library itself writes a model_max_length of 31 digits
        settings = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise BackboneError(f"{path} must hold a JSON object, but cannot be read as one; {REMEDY}")
    return settings


def _is_elsewhere(key: str, name: str, folder: Path) -> bool:
    """Whether the library could open a file that the backbone's digest does not cover, or another tokenizer.json."""
    if not (key.endswith("_file") or os.sep in name) or not os.path.isfile(name):
        return False
    if key == "tokenizer_file" and os.path.basename(name) != WHOLE:
        return True
    return os.path.dirname(os.path.realpath(name)) != os.path.realpath(folder)
