"""Check what sentence-transformers reads of a folder: it imports the classes that modules.json names, as code.

Only the three modules that most published encoders consist of are let through: the model, its pooling, and a
normalisation. Others have weights in folders of their own, which would not be part of a cell's identity.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from empslurm.backbones import config_file, tokenizer_files
from empslurm.backbones.families import FAMILIES
from empslurm.backbones.families.facts import Fixed, Positions, Values, Width
from empslurm.errors import BackboneError
from empslurm.validation import decode
from empslurm.validation.constraints import Pattern
from empslurm.validation.reader import shown

FIX = "name another encoder below `embed` in the manifest"
ORDERS = (("Transformer", "Pooling"), ("Transformer", "Pooling", "Normalize"))
CLASS = re.compile(r"sentence_transformers(\.[a-z_]+)*\.(Transformer|Pooling|Normalize)", re.ASCII)
Keys = Mapping[str, Any]  # key -> what fits it: an annotation, or the values of a Fixed
Mode = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]

MODULE: Keys = {
    "idx": int,
    "name": Annotated[str, Pattern(regex=r"\w{1,40}", words="letters, digits and _")],
    "path": Annotated[str, Pattern(regex=r"(\d{1,3}_\w{1,40})?", words="empty or a folder such as 1_Pooling")],
    "type": Annotated[str, Pattern(regex=CLASS.pattern, words="the library's Transformer, Pooling or Normalize")],
    "kwargs": Fixed(([],), "they would be handed to the module"),
}
_HANDED = Fixed(({}, None), "it would be handed to a loader")
_TEXT = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
SETTINGS: Keys = {
    "max_seq_length": Positions | None,
    "do_lower_case": bool,
    "transformer_task": Literal["feature-extraction"],
    "module_output_name": Literal["token_embeddings"],
    "modality_config": Fixed((_TEXT,), "only texts are embedded"),
    "unpad_inputs": Fixed((None, False), "it needs an attention that is not installed"),
    **dict.fromkeys(("model_args", "tokenizer_args", "config_args", "processing_kwargs"), _HANDED),
    **dict.fromkeys(("model_kwargs", "processor_kwargs", "config_kwargs"), _HANDED),
}
POOLING: Keys = {
    "word_embedding_dimension": Width,
    "embedding_dimension": Width,
    **{
        f"pooling_mode_{mode}": bool
        for mode in (
            "cls_token",
            "max_tokens",
            "mean_tokens",
            "mean_sqrt_len_tokens",
            "weightedmean_tokens",
            "lasttoken",
        )
    },
    "pooling_mode": Mode,
    "include_prompt": bool,
}
WHOLE: Keys = {
    "__version__": Mapping[str, str],
    "model_type": Literal["SentenceTransformer"],
    "prompts": Mapping[str, str],
    "default_prompt_name": str | None,
    "similarity_fn_name": Literal["cosine", "dot", "euclidean", "manhattan"] | None,
    "truncate_dim": Width | None,
}
# The library reads these where SETTINGS_FILE is absent; they are not part of a cell's identity.
SETTINGS_FILE = "sentence_bert_config.json"
OLDER = tuple(
    f"sentence_{name}_config.json" for name in ("roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)


def read(folder: Path) -> tuple[str, Values]:
    """The family and the checked keys of an encoder's config.json. Raises BackboneError, in one line.

    A folder without modules.json is a plain model, over whose tokens the library takes the mean.
    """
    family, values = config_file.read(folder, others=False)
    tokenizer_files.read(folder)
    facts = FAMILIES[family]
    for name in OLDER:
        if (folder / name).exists():
            raise BackboneError(f"{folder} must have its settings in {SETTINGS_FILE}, but has {name}; rename that file")
    settings = _object(folder / SETTINGS_FILE, SETTINGS)
    longest, limit = settings.get("max_seq_length"), facts.max_tokens(values)
    if longest is not None and longest > limit:
        raise BackboneError(
            f"{folder / SETTINGS_FILE} must have a max_seq_length of at most {limit}, which the model reads, but has "
            f"{longest}; lower it"
        )
    _object(folder / "config_sentence_transformers.json", WHOLE)
    for path in _pooling(folder):
        pooling = _object(path, POOLING, needed=True)
        width = pooling.get("embedding_dimension", pooling.get("word_embedding_dimension"))
        if width != values[facts.hidden_key]:
            raise BackboneError(
                f"{path} must pool vectors of the model's width, {values[facts.hidden_key]}, but of {width}; {FIX}"
            )
    return family, values


def _pooling(folder: Path) -> list[Path]:
    """The configuration of the pooling that modules.json names; none without that file."""
    path = folder / "modules.json"
    if not path.exists():
        return []
    modules = [_fitting(path, f"[{index}]", MODULE, item) for index, item in enumerate(_list(path))]
    if any(not {"idx", "name", "path", "type"} <= set(module) for module in modules):
        raise BackboneError(f"{path} must give idx, name, path and type of each module, but does not; {FIX}")
    kinds = tuple(module["type"].rpartition(".")[2] for module in modules)
    if kinds not in ORDERS or len({module["name"] for module in modules}) < len(modules):
        raise BackboneError(
            f"{path} must name a Transformer, a Pooling and perhaps a Normalize, in this order, but names "
            f"{shown(', '.join(kinds))}; {FIX}"
        )
    if modules[0]["path"]:
        raise BackboneError(
            f"{path} must have its Transformer in the folder itself, but in {modules[0]['path']}; {FIX}"
        )
    if not modules[1]["path"]:
        raise BackboneError(f"{path} must have its Pooling in a folder of its own, but has none; {FIX}")
    return [folder / modules[1]["path"] / "config.json"]


def _list(path: Path) -> list[Any]:
    items: list[Any] = config_file.plain(path, list, FIX)
    return items


def _object(path: Path, keys: Keys, *, needed: bool = False) -> dict[str, Any]:
    """A file's object, each of whose keys is known and fits; empty where a file that is not needed is absent."""
    if not needed and not path.exists():
        return {}
    return _fitting(path, "", keys, config_file.plain(path, dict, FIX))


def _fitting(path: Path, where: str, keys: Keys, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BackboneError(f"{path}: {where} must be an object, but is {shown(value)}; {FIX}")
    fitting = {}
    for name, item in value.items():
        hint = keys.get(name)
        if hint is None:
            raise BackboneError(f"{path} must not have the unknown key {shown(name)}, but does; {FIX}")
        if isinstance(hint, Fixed):
            if not hint.allows(item):
                said = json.dumps(hint.values[0])
                raise BackboneError(f"{path} must have {name}: {said}, but has {shown(item)}: {hint.why}; {FIX}")
            continue
        try:
            fitting[name] = config_file.checked(name, hint, item)
        except decode.Unfit as error:
            raise BackboneError(f"{path}: {error}; {FIX}") from error
    return fitting
