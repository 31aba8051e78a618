"""Load a backbone's tokenizer, and what it puts around a text. Runs no code of a folder.

Every fast tokenizer works that begins with a special token and puts one between context and text. What surrounds a
text is read from the tokenizer itself, by encoding a probe: generic tokenizers say it nowhere else.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empslurm.backbones import config_file, resolve
from empslurm.config import Backbone
from empslurm.errors import BackboneError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SETTINGS = "tokenizer_config.json"
MAX_MIB = {".json": 256, ".txt": 256, ".model": 256, SETTINGS: 16}  # of one file
# Keys of tokenizer_config.json that name code, or make the library read what the folder's digest does not cover.
REFUSED = ("auto_map", "init_inputs", "fast_tokenizer_files", "__slow_tokenizer")
NEVER_OPENED = ("special_tokens_map_file",)  # written by the library, often with a path of its own machine
TWO_SEGMENTS = ("bert", "roberta", "xlm-roberta", "camembert", "electra")  # if config.json lacks type_vocab_size
PROBES = ("a", "the", "1", "я", "あ", "中")  # the first that the vocabulary knows
RARE = "\U000f1234 \u0378"  # no vocabulary has it
REMEDY = "save another tokenizer there by `save_pretrained`, or name another backbone in the manifest"

Gaps = tuple[tuple[int, ...], ...]  # special ids before the first text, then after each


@dataclass(frozen=True, kw_only=True, eq=False)
class Tokenizer:
    """A fast tokenizer, and the ids that it puts around one text and around a context and a text."""

    backend: Any  # a `tokenizers.Tokenizer` that neither cuts nor pads
    single: tuple[tuple[int, ...], tuple[int, ...]]  # before and after the text
    pair: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # before the context, between, after the text
    separator: str  # between two turns of a context
    pad_id: int  # attention never reads it
    segments: bool  # the backbone distinguishes two segments (BERT yes, RoBERTa no)

    @property
    def n_single(self) -> int:
        """Special tokens around one text."""
        return sum(map(len, self.single))

    @property
    def n_pair(self) -> int:
        """Special tokens around a context and a text."""
        return sum(map(len, self.pair))

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text without special tokens, never cut."""
        return [encoding.ids for encoding in self.backend.encode_batch_fast(list(texts), add_special_tokens=False)]


def load_tokenizer(backbone: Backbone) -> Tokenizer:
    """The backbone's tokenizer, from local files only. Raises BackboneError."""
    resolved = resolve(backbone)
    if resolved.path is None:
        raise BackboneError(resolved.problem)
    family, config = config_file.read(resolved.path)
    settings = _settings(resolved.path)
    try:
        library = _load(backbone, resolved.path, settings)
        return _described(backbone, library, family, config)
    except (BackboneError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the library's Rust code is no Exception
        reason = _line(str(error) or type(error).__name__)
        raise BackboneError(
            f"backbone {backbone.name} must have a tokenizer that loads, but it does not: {reason}; {REMEDY}"
        ) from error


def _line(value: object) -> str:
    """What a folder says, as part of a sentence."""
    return " ".join(str(value).split())[:200].encode(errors="backslashreplace").decode()


def _settings(folder: Path) -> Mapping[str, Any]:
    """The values of tokenizer_config.json, empty if it is absent. Raises BackboneError."""
    for path in sorted(folder.iterdir()):
        limit = MAX_MIB.get(path.name, MAX_MIB.get(path.suffix))
        if limit is not None and path.is_file() and path.stat().st_size > limit * 2**20:
            raise BackboneError(
                f"{path} must hold at most {limit} MiB, but holds {path.stat().st_size // 2**20}; {REMEDY}"
            )
    try:  # not by `files`: the library itself writes a model_max_length of 31 digits
        settings = json.loads((folder / SETTINGS).read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise BackboneError(f"{folder / SETTINGS} must hold a JSON object, but cannot be read as one; {REMEDY}")
    for key, value in settings.items():
        names_file = key.endswith("_file") and key not in NEVER_OPENED and isinstance(value, str)
        if key in REFUSED and value:
            raise BackboneError(
                f"{folder / SETTINGS} must not name code or files by the key {key}, but does; remove the key if the "
                "tokenizer is a usual one, or name another backbone in the manifest"
            )
        if names_file and _is_elsewhere(value, folder):
            raise BackboneError(
                f"{folder / SETTINGS} must name only files of its folder, but {key} is {_line(value)}; remove the key"
            )
    return settings


def _is_elsewhere(name: str, folder: Path) -> bool:
    """Whether the library would open a file outside the folder, which the backbone's digest does not cover."""
    return os.path.exists(name) and os.path.dirname(os.path.realpath(name)) != os.path.realpath(folder)


def _load(backbone: Backbone, folder: Path, settings: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """The library's tokenizer; one that is no fast tokenizer is refused before anything of it is read."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name
    from transformers.utils import logging

    logging.set_verbosity_error()
    name = settings.get("tokenizer_class")
    if name is not None:
        names = [f"{name.removesuffix('Fast')}Fast", name] if isinstance(name, str) else []
        classes = [known for each in names if (known := tokenizer_class_from_name(each)) is not None]
        if not any(isinstance(known, type) and issubclass(known, PreTrainedTokenizerFast) for known in classes):
            raise BackboneError(
                f"backbone {backbone.name} must have a tokenizer with a fast version, but its tokenizer_class "
                f"{_line(name)} has none; {REMEDY}"
            )
    with warnings.catch_warnings():
        # A fast version gives the unknown token for what sentencepiece may cut into bytes: as everywhere it is used.
        warnings.simplefilter("ignore")
        library = AutoTokenizer.from_pretrained(folder, use_fast=True, local_files_only=True, trust_remote_code=False)
    if not isinstance(library, PreTrainedTokenizerFast):
        raise BackboneError(
            f"backbone {backbone.name} must have a tokenizer with a fast version, but its {type(library).__name__} has "
            f"none; {REMEDY}"
        )
    return library


def _described(
    backbone: Backbone, library: PreTrainedTokenizerBase, family: str, config: Mapping[str, Any]
) -> Tokenizer:
    """A loaded tokenizer with what surrounds its texts. Raises BackboneError."""
    from transformers import PreTrainedTokenizerFast

    backend: Any = library.backend_tokenizer
    backend.no_truncation()  # a tokenizer.json may hold both, and they would cut or pad in silence
    backend.no_padding()
    backend.encode_special_tokens = False  # a separator between turns stays one token
    single, pair, probe = _template(backbone, backend)
    tokens = {number: repr(token) for token, number in backend.get_vocab(with_added_tokens=True).items()}
    tokens = {number: "a special token" for gap in (*single, *pair) for number in gap} | tokens
    size, largest = config.get("vocab_size"), max(tokens)
    if isinstance(size, int) and largest >= size:
        raise BackboneError(
            f"backbone {backbone.name} must know every token of its tokenizer, but {tokens[largest]} has the id "
            f"{largest} and config.json says vocab_size {size}; call `model.resize_token_embeddings(len(tokenizer))` "
            "and save both again"
        )
    separator = library.sep_token or backend.id_to_token(pair[1][0])
    turns = backend.encode(f"{probe} {separator} {probe}", add_special_tokens=False).ids
    if turns.count(backend.token_to_id(separator)) != 1:
        raise _refused(backbone, "reads its separator as one token", f"it cuts {separator} into pieces")
    n_types = config.get("type_vocab_size", 2 if family in TWO_SEGMENTS else 0)
    # A generic tokenizer has them for every model in one release of the library, and for none in the next.
    generic = type(library) is PreTrainedTokenizerFast and "model_input_names" not in library.init_kwargs
    claims = generic or "token_type_ids" in library.model_input_names
    return Tokenizer(
        backend=backend,
        single=(single[0], single[1]),
        pair=(pair[0], pair[1], pair[2]),
        separator=separator,
        pad_id=pair[0][0] if library.pad_token_id is None else library.pad_token_id,
        segments=claims and isinstance(n_types, int) and n_types > 1,
    )


def _refused(backbone: Backbone, must: str, but: str) -> BackboneError:
    return BackboneError(f"backbone {backbone.name} must have a tokenizer that {must}, but {but}; {REMEDY}")


def _template(backbone: Backbone, backend: Any) -> tuple[Gaps, Gaps, str]:
    """The special ids around one text and around two, and a text that the vocabulary knows. Raises BackboneError."""
    backend.encode(RARE)  # raises if there is no token for what is unknown
    probe = next((text for text in PROBES if backend.encode(text, add_special_tokens=False).ids), None)
    if probe is None:
        raise _refused(backbone, "cuts text into tokens", f"it gives none for any of {', '.join(PROBES)}")
    single, pair = _gaps(backend, (probe,)), _gaps(backend, (probe, probe))
    if single is None or pair is None:
        raise _refused(backbone, "adds special tokens before, between and after texts only", "it changes the texts")
    if not (single[0] and pair[0]):
        raise _refused(backbone, "puts a special token first, since heads read the first token", "it puts none there")
    if not pair[1]:
        raise _refused(backbone, "puts a special token between a context and a text", "it puts none there")
    return single, pair, probe


def _gaps(backend: Any, texts: Sequence[str]) -> Gaps | None:
    """The special ids before, between and after texts, None if the tokenizer puts some inside or changes the order."""
    whole = backend.encode(*texts)
    gaps: list[list[int]] = [[] for _ in range(len(texts) + 1)]
    reached = 0
    for token, of_text in zip(whole.ids, whole.sequence_ids, strict=True):
        if of_text is None:
            gaps[reached].append(token)
        else:
            reached = of_text + 1
    built = list(gaps[0])
    for text, gap in zip(texts, gaps[1:], strict=True):
        built += [*backend.encode(text, add_special_tokens=False).ids, *gap]
    return tuple(map(tuple, gaps)) if built == whole.ids else None
