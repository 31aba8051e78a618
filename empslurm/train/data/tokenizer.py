"""Load a backbone's tokenizer, and what it puts around a text. Runs no code of a folder.

Every fast tokenizer works that begins with a special token and puts one between context and text. What surrounds a
text is read from the tokenizer itself, by encoding a probe: generic tokenizers say it nowhere else.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empslurm.backbones import config_file, resolve, tokenizer_files
from empslurm.backbones.tokenizer_files import REMEDY
from empslurm.config import Backbone
from empslurm.errors import BackboneError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Classes, in lower case, that set BERT's normaliser by tokenizer_config.json, whatever tokenizer.json says.
CASED_BY_SETTINGS = (
    *("bert", "electra", "distilbert", "convbert", "funnel", "layoutlm", "lxmert", "mobilebert", "squeezebert"),
    *("dprcontextencoder", "dprquestionencoder", "dprreader"),
)
CASED_ONLY = ("mpnet", "splinter")  # the same without the setting for Chinese characters
PROBES = ("a", "the", "1", "я", "あ", "中")  # the first that the vocabulary knows
RARE = "\U000f1234 \u0378"  # no vocabulary has it

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
    family, config = resolved.family, resolved.values
    if backbone.name == "tiny":  # a model that is made here, with the tokenizer of the folder's
        family, config = config_file.read(resolved.path)
    settings = tokenizer_files.read(resolved.path)
    problem = class_problem(settings)
    if problem:
        raise _refused(backbone, *problem)
    try:
        library = _load(backbone, resolved.path, family, settings)
        return _described(backbone, library, config)
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


def class_problem(settings: Mapping[str, Any]) -> tuple[str, str] | None:
    """What a tokenizer must have, and what it has instead, where the class that its files name is not a fast one.

    Loaders call `from_pretrained` of any public class of the library that is named there: ask before they do.
    """
    from transformers import PreTrainedTokenizerFast
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    name = settings.get("tokenizer_class")
    if name is None:
        return None
    names = [f"{name.removesuffix('Fast')}Fast", name] if isinstance(name, str) else []
    classes = [known for each in names if (known := tokenizer_class_from_name(each)) is not None]
    if any(isinstance(known, type) and issubclass(known, PreTrainedTokenizerFast) for known in classes):
        return None
    return "has a fast version", f"its tokenizer_class {_line(name)} has none"


def _load(backbone: Backbone, folder: Path, family: str, settings: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """The library's tokenizer, which does what tokenizer.json says. Raises BackboneError if it is no fast one."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.set_verbosity_error()
    with warnings.catch_warnings():
        # A fast version gives the unknown token for what sentencepiece may cut into bytes: as everywhere it is used.
        warnings.simplefilter("ignore")
        library = AutoTokenizer.from_pretrained(folder, use_fast=True, local_files_only=True, trust_remote_code=False)
    if not isinstance(library, PreTrainedTokenizerFast):
        raise _refused(backbone, "has a fast version", f"its {type(library).__name__} has none")
    keep_to_file(library, folder, family, settings)
    return library


def keep_to_file(library: Any, folder: Path, family: str, settings: Mapping[str, Any]) -> None:
    """Let a fast tokenizer of the library do what the folder's tokenizer.json says, where there is one.

    Transformers 5 takes only the vocabulary and the template from it if the class has a way of its own to cut text, so
    the same folder would give other tokens than with 4.57. Four settings count beside the file, as in 4.57: those of
    case, accents and Chinese characters for classes such as BERT's, and `add_prefix_space`.
    """
    from tokenizers import Tokenizer as Backend
    from tokenizers import normalizers, pre_tokenizers

    path = folder / tokenizer_files.WHOLE
    if not path.is_file():
        return
    backend: Any = Backend.from_file(str(path))
    kind = (settings.get("tokenizer_class") or family).removesuffix("Fast").removesuffix("Tokenizer").lower()
    normalizer, cutter = backend.normalizer, backend.pre_tokenizer
    if kind in (*CASED_BY_SETTINGS, *CASED_ONLY) and isinstance(normalizer, normalizers.BertNormalizer):
        normalizer.lowercase = settings.get("do_lower_case", True)
        normalizer.strip_accents = settings.get("strip_accents")
        if kind in CASED_BY_SETTINGS:
            normalizer.handle_chinese_chars = settings.get("tokenize_chinese_chars", True)
    if isinstance(cutter, pre_tokenizers.ByteLevel):
        cutter.add_prefix_space = settings.get("add_prefix_space", False)
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    added = sorted(library.added_tokens_decoder.items())
    backend.add_tokens([token for _, token in added if token.content not in known])
    backend.encode_special_tokens = library.backend_tokenizer.encode_special_tokens
    library._tokenizer = backend


def _described(backbone: Backbone, library: PreTrainedTokenizerBase, config: Mapping[str, Any]) -> Tokenizer:
    """A loaded tokenizer with what surrounds its texts. Raises BackboneError."""
    from transformers import PreTrainedTokenizerFast

    backend: Any = library.backend_tokenizer
    backend.no_truncation()  # a tokenizer.json may hold both, and they would cut or pad in silence
    backend.no_padding()
    backend.encode_special_tokens = False  # a separator between turns stays one token
    single, pair, probe = _template(backbone, backend)
    tokens = {number: repr(token) for token, number in backend.get_vocab(with_added_tokens=True).items()}
    tokens = {number: "a special token" for gap in (*single, *pair) for number in gap} | tokens
    size, largest = config["vocab_size"], max(tokens)
    if largest >= size:
        raise BackboneError(
            f"backbone {backbone.name} must know every token of its tokenizer, but {tokens[largest]} has the id "
            f"{largest} and config.json says vocab_size {size}; call `model.resize_token_embeddings(len(tokenizer))` "
            "and save both again"
        )
    separator = library.sep_token or backend.id_to_token(pair[1][0])
    turns = backend.encode(f"{probe} {separator} {probe}", add_special_tokens=False).ids
    if turns.count(backend.token_to_id(separator)) != 1:
        raise _refused(backbone, "reads its separator as one token", f"it cuts {separator} into pieces")
    # A generic tokenizer has them for every model in one release of the library, and for none in the next.
    generic = type(library) is PreTrainedTokenizerFast and "model_input_names" not in library.init_kwargs
    claims = generic or "token_type_ids" in library.model_input_names
    return Tokenizer(
        backend=backend,
        single=(single[0], single[1]),
        pair=(pair[0], pair[1], pair[2]),
        separator=separator,
        pad_id=pair[0][0] if library.pad_token_id is None else library.pad_token_id,
        segments=claims and config.get("type_vocab_size", 0) > 1,
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
