"""What must be known about a family of encoders without torch: the keys of its config.json and what they imply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from empslurm.config import ADAPTER_KINDS
from empslurm.validation.constraints import Range

Values = Mapping[str, Any]
REQUIRED: Any = object()  # a key without which a config.json is refused
LEFT_OUT: Any = object()  # a key that has no default: where it is absent, it is not in the values either

# What fits a key, as in the sections of a manifest. The bounds are far above every published encoder.
Width = Annotated[int, Range(low=1, high=65_536)]
Depth = Annotated[int, Range(low=1, high=1_000)]
Heads = Annotated[int, Range(low=1, high=4_096)]
Inner = Annotated[int, Range(low=1, high=1_000_000)]
Vocabulary = Annotated[int, Range(low=1, high=10_000_000)]
Positions = Annotated[int, Range(low=1, high=1_000_000)]
Distance = Annotated[int, Range(low=-1, high=1_000_000)]  # -1: as the number of positions says
Segments = Annotated[int, Range(low=1, high=1_000)]
TokenId = Annotated[int, Range(low=0, high=10_000_000)]
Rate = Annotated[float, Range(low=0, high=1)]
Epsilon = Annotated[float, Range(above=0, high=1)]
Theta = Annotated[float, Range(above=0, high=1e12)]
Activation = Literal[
    "gelu",
    "gelu_new",
    "gelu_fast",
    "gelu_python",
    "gelu_pytorch_tanh",
    "quick_gelu",
    "relu",
    "silu",
    "swish",
    "tanh",
    "mish",
]


@dataclass(frozen=True)
class Key:
    """One key of config.json that shapes the encoder. `default` is the one of transformers' class of the family."""

    hint: Any  # the type, with its bounds
    default: Any = REQUIRED
    rewrite: Callable[[Any], Any] = lambda value: value  # from an older way of writing the value


@dataclass(frozen=True)
class Fixed:
    """A key that the engine has in one way only: the values that mean this way, and why others are refused."""

    values: tuple[Any, ...]
    why: str

    def allows(self, value: Any) -> bool:
        """Whether it is one of the values, of the same type: 0 is not false."""
        return any(type(value) is type(fit) and value == fit for fit in self.values)


@dataclass(frozen=True)
class Refused:
    """A key that no config.json may have, whatever its value."""

    why: str


def _all_fit(values: Values) -> str:
    return ""


def _as_is(written: Values) -> Values:
    return written


def all_positions(values: Values) -> int:
    """The position table counts from the first token."""
    return int(values["max_position_embeddings"])


def after_padding(values: Values) -> int:
    """RoBERTa counts positions from behind the padding token's: 512 of its 514 are of use."""
    return int(values["max_position_embeddings"] - values["pad_token_id"] - 1)


@dataclass(frozen=True, kw_only=True)
class FamilyFacts:
    """What a plan must know about a family. A `..._key` names an entry of config.json."""

    source: str  # who proposed it
    keys: Mapping[str, Key]  # the keys that shape the encoder
    others: Mapping[str, Fixed | Refused] = field(default_factory=dict)  # what the family refuses besides
    without: Mapping[str, str] = field(default_factory=dict)  # the kinds of adapters that it cannot have, and why
    max_tokens: Callable[[Values], int] = all_positions  # the longest text that it reads
    problem: Callable[[Values], str] = _all_fit  # "KEY must ..., but ..." where values do not go together
    rewrite: Callable[[Values], Values] = _as_is  # config.json with what other releases write under other keys
    hidden_key: str = "hidden_size"
    layers_key: str = "num_hidden_layers"
    heads_key: str = "num_attention_heads"

    @property
    def adapter_kinds(self) -> tuple[str, ...]:
        """The kinds of adapters that it can have."""
        return tuple(kind for kind in ADAPTER_KINDS if kind not in self.without)

    def kind_problem(self, family: str, kind: str) -> str:
        """Why the family, which is called `family`, cannot have a kind of adapter; empty where it can."""
        if kind in self.adapter_kinds:
            return ""
        return (
            f"adapter.kind must be one of {', '.join(self.adapter_kinds)} on a backbone of the family {family}, but is "
            f"{kind}: {self.without[kind]}; write another kind or name another backbone"
        )


# The library `adapters` (1.3) trains the kinds that no bank trains. `tests/backbones/test_adapter_kinds.py` tries each
# family and kind.
NOT_IN_LIBRARY = {
    kind: "it needs the library `adapters`, which lacks the family"
    for kind, facts in ADAPTER_KINDS.items()
    if not facts.banked
}

# ---- what families share ---------------------------------------------------------------------------------------------

SIZES: Mapping[str, Key] = {
    "vocab_size": Key(Vocabulary),
    "hidden_size": Key(Width),
    "num_hidden_layers": Key(Depth),
    "num_attention_heads": Key(Heads),
    "intermediate_size": Key(Inner),
    "max_position_embeddings": Key(Positions),
}
LAYERS: Mapping[str, Key] = {
    **SIZES,
    "hidden_act": Key(Activation, "gelu"),
    "hidden_dropout_prob": Key(Rate, 0.1),
    "attention_probs_dropout_prob": Key(Rate, 0.1),
    "layer_norm_eps": Key(Epsilon, 1e-12),
}
BERT: Mapping[str, Key] = {
    **LAYERS,
    "type_vocab_size": Key(Segments, 2),
    "pad_token_id": Key(TokenId | None, 0),
}
ROBERTA: Mapping[str, Key] = {**BERT, "pad_token_id": Key(TokenId, 1)}  # its positions count from it
ABSOLUTE = {
    "position_embedding_type": Fixed(
        ("absolute", None), "positions relative to a key are not in the engine, and transformers 5 has dropped them"
    )
}

# ---- what no family may have -----------------------------------------------------------------------------------------

_CODE = "it names code that would run"
_ATTENTION = (
    "it chooses the code that computes attention, and some versions of transformers fetch and run what it names"
)
_DECODER = "the engine runs encoders, in which every token sees all others"
EVERYWHERE: Mapping[str, Fixed | Refused] = {
    "auto_map": Refused(_CODE),
    "custom_pipelines": Refused(_CODE),
    "trust_remote_code": Refused("it would allow code of the model's author to run"),
    "attn_implementation": Refused(_ATTENTION),
    "_attn_implementation": Refused(_ATTENTION),
    "_attn_implementation_internal": Refused(_ATTENTION),
    "transformers_weights": Refused("it names other weights, which the model's identity would not cover"),
    "quantization_config": Refused("its weights would not be plain numbers"),
    "compression_config": Refused("its weights would not be plain numbers"),
    "is_decoder": Fixed((False, None), _DECODER),
    "is_encoder_decoder": Fixed((False, None), _DECODER),
    "add_cross_attention": Fixed((False, None), _DECODER),
    "pruned_heads": Fixed(({}, None), "the engine has the same number of heads in each layer"),
}
# Private keys that older versions of transformers wrote themselves. Every other key with an underscore in front is
# refused: it may set what a later version keeps to itself.
PRIVATE = frozenset({"_name_or_path", "_num_labels", "_commit_hash", "_attn_implementation_autoset"})
# Keys that describe, or concern heads, training, generation or padding. They are dropped, even where their names are
# close to one that is absent.
DESCRIPTIVE = frozenset(
    {
        *("architectures", "model_type", "transformers_version", "torch_dtype", "dtype", "name_or_path", "language"),
        *("id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "task_specific_params"),
        *("bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "mask_token_id", "unk_token_id"),
        *("decoder_start_token_id", "use_cache", "gradient_checkpointing", "output_past", "output_attentions"),
        *("output_hidden_states", "return_dict", "torchscript", "use_bfloat16", "tie_word_embeddings", "tie_weights_"),
        *("chunk_size_feed_forward", "initializer_range", "initializer_cutoff_factor", "classifier_dropout"),
        *("classifier_activation", "classifier_bias", "classifier_pooling", "cls_dropout", "decoder_bias"),
        *("deterministic_flash_attn", "reference_compile", "repad_logits_with_grad", "sparse_prediction"),
        *("sparse_pred_ignore_index", "qa_dropout", "seq_classif_dropout", "sinusoidal_pos_embds", "legacy"),
        *("pooler_dropout", "pooler_hidden_act", "pooler_hidden_size", "pooler_fc_size", "pooler_num_attention_heads"),
        *("pooler_num_fc_layers", "pooler_size_per_head", "pooler_type", "directionality", "summary_activation"),
        *(
            "summary_last_dropout",
            "summary_type",
            "summary_use_proj",
            "summary_first_dropout",
            "summary_proj_to_labels",
        ),
    }
)
# Keys that no loader of an encoder acts on, but that published files have: settings of generation, of other families,
# of the tokenizer, which is checked with its own files. They are dropped as any unknown key is.
OLD_NOTES = frozenset(
    {
        *("tokenizer_class", "layer_norm_eps", "position_embedding_type", "type_vocab_size", "prefix", "xla_device"),
        *("bad_words_ids", "begin_suppress_tokens", "cross_attention_hidden_size", "diversity_penalty", "do_sample"),
        *("early_stopping", "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "forced_bos_token_id"),
        *(
            "forced_eos_token_id",
            "length_penalty",
            "max_length",
            "min_length",
            "no_repeat_ngram_size",
            "num_beam_groups",
        ),
        *("num_beams", "num_return_sequences", "output_scores", "remove_invalid_values", "repetition_penalty"),
        *(
            "return_dict_in_generate",
            "suppress_tokens",
            "temperature",
            "tf_legacy_loss",
            "tie_encoder_decoder",
            "top_k",
        ),
        *("top_p", "typical_p", "emb_size", "model_max_length", "max_seq_length", "do_lower_case", "tokenizer_name"),
    }
)
