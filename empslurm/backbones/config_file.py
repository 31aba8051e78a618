"""Read a backbone's config.json as plain JSON, and refuse what could run code or would be lost without a word.

Loading libraries act on what a config.json says: some keys name code, and published versions ran it. So a backbone is
built from nothing of the file but the keys that shape the family's encoder, each checked for its type and bounds:

- keys that shape the encoder are checked; an absent one has the family's default, and the sizes must be there;
- keys that name code, or mean an encoder that the engine does not have, are refused by name, as is every private key
  (with an underscore in front) that older versions of transformers did not write;
- any other key is dropped, unless its name is close to one that is absent: that is a misspelt key.

Two loaders read the whole file themselves, after this check. That of tokenizers takes `tokenizer_class` from it, which
is checked with the tokenizer's files. That of sentence encoders takes any key, so unknown ones are refused there.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from empslurm import files
from empslurm.backbones.families import FAMILIES, FamilyFacts
from empslurm.backbones.families.facts import (
    DESCRIPTIVE,
    EVERYWHERE,
    LEFT_OUT,
    OLD_NOTES,
    PRIVATE,
    REQUIRED,
    Refused,
    Values,
)
from empslurm.errors import BackboneError, StoreError
from empslurm.validation import decode
from empslurm.validation.reader import shown

MAX_BYTES = 8 * 2**20  # a hundred thousand labels need less
SIMILAR = 0.8  # of two names, by difflib: `layer_norm_esp`, `hidden_dropout`
# With the library peft installed, loaders read this file beside the model and put what it names on top.
PEFT = "adapter_config.json"
HARMLESS = DESCRIPTIVE | PRIVATE | OLD_NOTES
SHARDS = "model.safetensors.index.json"  # which file has which weights, where they are in several


def read(folder: Path, *, others: bool = True) -> tuple[str, Values]:
    """The family of the model in a folder, and the keys of its config.json that shape the encoder, checked.

    Every key of the family is there, with its default where the file lacks it. Without `others`, for a library that
    reads the file itself, a key that is unknown or of another release is refused. Raises BackboneError, in one line.
    """
    path = folder / "config.json"
    written = plain(path, dict, "save the model again by `save_pretrained`")
    _refuse_pickles(folder / SHARDS)
    if (folder / PEFT).exists():
        raise BackboneError(
            f"{folder} must hold an encoder alone, but has an {PEFT}, which loaders may put on top; move that file away"
        )
    family = written.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        raise BackboneError(
            f"{path} must be of an encoder of the families {', '.join(FAMILIES)}, but its model_type is "
            f"{shown(family)}; name another backbone in the manifest"
        )
    if others:
        written = FAMILIES[family].rewrite(written)
    problem = _refusal(FAMILIES[family], written)
    if problem:
        raise BackboneError(f"{path} must {problem}")
    unknown = sorted(set(written) - {*FAMILIES[family].keys, *FAMILIES[family].others, *EVERYWHERE} - HARMLESS)
    if unknown and not others:
        raise BackboneError(
            f"{path} must not have the unknown key {shown(unknown[0])}, but does, and the loader of sentence encoders "
            "may act on it; remove the key if the model works without it"
        )
    try:
        values = _values(FAMILIES[family], written)
    except decode.Unfit as error:
        raise BackboneError(f"{path}: {error}; save the model again by `save_pretrained`") from error
    problem = inconsistency(FAMILIES[family], values)
    if problem:
        raise BackboneError(f"{path}: {problem}; correct it, or name another backbone in the manifest")
    return family, values


def _refuse_pickles(index: Path) -> None:
    """Raise BackboneError where an index of weights names what is not a safetensors file beside it."""
    if not index.exists():
        return
    fix = "save the model again by `save_pretrained`"
    names = plain(index, dict, fix).get("weight_map")
    if not isinstance(names, dict):
        raise BackboneError(f"{index} must have a weight_map, but does not; {fix}")
    for name in names.values():
        if not isinstance(name, str) or not re.fullmatch(r"[\w-][\w.-]*\.safetensors", name):
            raise BackboneError(f"{index} must name *.safetensors files beside it, but names {shown(name)}; {fix}")


def refuse_lacking_weights(folder: Path) -> None:
    """Raise BackboneError where a folder lacks what a loader reads: model.safetensors, or all files of an index.

    Each must be whole: its header is read, and the length that it gives is compared, but no weight.
    """
    from safetensors import SafetensorError, safe_open

    names = ("model.safetensors",)
    if not (folder / names[0]).exists() and (folder / SHARDS).exists():
        _refuse_pickles(folder / SHARDS)
        names = tuple(sorted(set(plain(folder / SHARDS, dict, "save the model again")["weight_map"].values())))
    lacking = next((name for name in names if not (folder / name).is_file()), None)
    if lacking is not None:
        raise BackboneError(
            f"{folder} must hold its weights as safetensors, but {lacking} is not there; load the model where you "
            "trust it, write it to a folder by `save_pretrained`, and name that folder (./path) in the manifest"
        )
    for name in names:
        try:
            with safe_open(folder / name, framework="numpy"):
                pass
        except (OSError, SafetensorError) as error:
            why = " ".join(str(error).split())
            raise BackboneError(
                f"{folder / name} must be a whole safetensors file, but is damaged ({why}); save or copy the model "
                "there again"
            ) from error


def plain(path: Path, kind: type, fix: str) -> Any:
    """The value of a JSON file of bounded size, of the type `kind`, without duplicate keys. Raises BackboneError."""
    try:
        data = files.read_bytes(path, MAX_BYTES)
        value = files.parse_json(data)
        json.loads(data, object_pairs_hook=_without_twins)
    except (OSError, StoreError) as error:
        said = "is not there" if isinstance(error, FileNotFoundError) else f"is not: {error}"
        raise BackboneError(f"{path} must be a readable file, but {said}; {fix}") from error
    except (ValueError, RecursionError) as error:
        why = str(error) if type(error) is ValueError else type(error).__name__
        raise BackboneError(f"{path} must hold plain JSON, but does not ({why}); {fix}") from error
    if not isinstance(value, kind):
        what = "an object" if kind is dict else "a list"
        raise BackboneError(f"{path} must hold {what}, but holds {shown(value)}; {fix}")
    return value


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs. Raises ValueError for a key that is there twice: readers differ in which counts."""
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise ValueError(f"the key {shown(key)} is there twice")
        made[key] = value
    return made


def _refusal(facts: FamilyFacts, written: Mapping[str, Any]) -> str:
    """What the file must not have, and what to do; empty where nothing is refused."""
    rules = {**EVERYWHERE, **facts.others}
    for key, value in written.items():
        rule = rules.get(key)
        if isinstance(rule, Refused):
            return (
                f"not have {key}, but does: {rule.why}; name another backbone, or correct the file if you know that "
                "the model works so"
            )
        if rule is not None and not rule.allows(value):
            return (
                f"have {key}: {json.dumps(rule.values[0])} or lack it, but has {shown(value)}: {rule.why}; name "
                "another backbone in the manifest"
            )
        if rule is None and key.startswith("_") and key not in PRIVATE:
            return (
                f"not have the private key {shown(key)}, but does, which may set what a library keeps to itself; "
                "remove the key"
            )
    return misspelt(written, facts.keys, {*DESCRIPTIVE, *PRIVATE, *rules})


def misspelt(written: Iterable[str], known: Iterable[str], others: Iterable[str]) -> str:
    """The first key that is probably another one misspelt: unknown, and close to a known one that is absent."""
    there = set(written)
    absent = [key for key in known if key not in there]
    for key in sorted(there - set(known) - set(others)):
        near = difflib.get_close_matches(key[:100], absent, n=1, cutoff=SIMILAR)
        if near:
            return (
                f"not have the unknown key {shown(key)} and lack {near[0]}, but does; write `{near[0]}` if that is "
                "meant, and else remove the key"
            )
    return ""


def _values(facts: FamilyFacts, written: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the family's keys, defaults included. Raises decode.Unfit with the key."""
    values = {}
    for name, key in facts.keys.items():
        if name in written:
            values[name] = checked(name, key.hint, key.rewrite(written[name]))
        elif key.default is REQUIRED:
            raise decode.Unfit("be there, but is not", name)
        elif key.default is not LEFT_OUT:
            values[name] = key.default
    return values


def checked(name: str, hint: Any, value: Any) -> Any:
    """A value of JSON that fits an annotation. Raises decode.Unfit with the name."""
    try:
        fitting = decode.reader(hint)(value)
    except decode.Unfit as error:
        raise error.within(name) from None
    return list(fitting) if isinstance(fitting, tuple) else fitting


def inconsistency(facts: FamilyFacts, values: Values) -> str:
    """Why values that are sound one by one do not go together; empty where they do."""
    width, n_heads, padding = values[facts.hidden_key], values[facts.heads_key], values["pad_token_id"]
    if width % n_heads:
        return f"{facts.hidden_key} must be divisible by {facts.heads_key}, but is {width} for {n_heads}"
    if padding is not None and padding >= values["vocab_size"]:
        return f"pad_token_id must be below vocab_size, {values['vocab_size']}, but is {padding}"
    if facts.max_tokens(values) < 1:
        return (
            "max_position_embeddings must leave room for a text behind the padding token, but is "
            f"{values['max_position_embeddings']}"
        )
    return facts.problem(values)
