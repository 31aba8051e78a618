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
        Doc("An encoder: a hub id, a local folder, `minilm` (comes with empslurm), or `tiny` (random, for tests)."),
    ] = "minilm"
    revision: Annotated[
        str | None, Doc("Hub ids only: the commit, so that weights cannot change under the results.")
    ] = None


# The encoder of the paper's dataset embeddings (section 4.3, Figure 9).
ENCODER = Backbone(name="sentence-transformers/all-mpnet-base-v2", revision="e8c3b32edf5434bc2275fc9bab85f82640a19130")


ANY = "any"  # in `not_on` and `not_under`: every kind of adapter


def _fits(adapter: Adapter, hidden_size: int) -> str:
    """For kinds that fit every hidden size."""
    return ""


def _compacter_size(adapter: Adapter, hidden_size: int) -> str:
    """Why `phm_dim` does not fit: it must divide both sizes of a matrix. Empty where it fits."""
    factor, terms = adapter.reduction_factor or 1, adapter.phm_dim or 1
    inner = hidden_size // factor
    if inner and inner % terms == 0 and hidden_size % terms == 0:
        return ""
    if hidden_size % terms:
        found = f"the hidden size is {hidden_size}"
        fitting = [n for n in range(1, terms) if hidden_size % n == 0]
        fix = f"write `phm_dim: {fitting[-1]}`"
    else:
        found = f"the bottleneck size is {inner}, hidden size {hidden_size} by reduction_factor {factor}"
        fitting = [n for n in range(1, hidden_size + 1) if hidden_size // n % terms == 0]
        fix = f"write `reduction_factor: {min(fitting, key=lambda n: abs(n - factor))}`"
    return f"compacter's phm_dim {terms} must divide the hidden size and the bottleneck size, but {found}; {fix}"


@dataclass(frozen=True, kw_only=True)
class KindFacts:
    """What empslurm must know about a kind of adapter."""

    source: str  # who proposed it
    library: str  # the class of the library `adapters` (1.3) that configures it
    defaults: Mapping[str, Any]  # exactly the fields of `Adapter` that it uses, with the library's own values
    banked: bool = False  # whether a bank trains many at once; other kinds train one by one, by the library
    size_problem: Callable[[Adapter, int], str] = _fits  # why it does not fit a hidden size; empty where it does
    # Kinds that it must not be stacked on, and kinds that must not be stacked on it, each with the reason: such a stack
    # would train without an error but give wrong results.
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
LIBRARY = "adapters"  # the package that trains and reads every other kind, and stacks of adapters that differ
INSTALL_LIBRARY = f"run `pip install 'empslurm[{LIBRARY}]'`"
BANKED = tuple(kind for kind, facts in ADAPTER_KINDS.items() if facts.banked)
if TYPE_CHECKING:
    AdapterKind = str
else:  # so that a manifest or a stored file with another name is refused, and the schema lists the names
    AdapterKind = Literal[tuple(ADAPTER_KINDS)]
# What a search draws from by default: the kinds of the paper's search. They are in the id of every search that names
# none, so a new kind must not be added here.
SEARCHED: tuple[AdapterKind, ...] = ("seq_bn", "double_seq_bn", "prefix_tuning", "prompt_tuning", "compacter", "lora")


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """The adapter in each layer. A field that its kind uses has the library's default unless given; others are None.

    Raises ValueError where a field is given that its kind does not use.
    """

    kind: Annotated[
        AdapterKind,
        Doc("The kind of adapter; by default the sequential bottleneck of Pfeiffer et al. (2020), as in the paper."),
    ] = "seq_bn"
    reduction_factor: Annotated[Count | None, Doc("Bottlenecks, compacter: hidden size / bottleneck size.")] = None
    non_linearity: Annotated[
        NonLinearity | None,
        Doc("Bottlenecks, compacter, prefix_tuning: the activation function."),
    ] = None
    prefix_length: Annotated[Count | None, Doc("prefix_tuning: keys and values added before those of each layer.")] = (
        None
    )
    bottleneck_size: Annotated[
        Count | None, Doc("prefix_tuning: hidden width of the network that makes the prefix.")
    ] = None
    prompt_length: Annotated[Count | None, Doc("prompt_tuning: vectors added before those of the input.")] = None
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
                raise ValueError(f"{self.kind} does not use {name}")
            if value is None and name in defaults:
                object.__setattr__(self, name, defaults[name])

    def size_problem(self, hidden_size: int) -> str:
        """Why the adapter does not fit an encoder of this width; empty when it does."""
        return ADAPTER_KINDS[self.kind].size_problem(self, hidden_size)

    @property
    def settings(self) -> dict[str, Any]:
        """The kind and the fields that it uses."""
        return {"kind": self.kind, **{name: getattr(self, name) for name in ADAPTER_KINDS[self.kind].defaults}}


def library_problem(what: str) -> str:
    """What to say where the library is needed for `what`, but not installed."""
    return f"{what} must have the package `{LIBRARY}`, but it is not installed; {INSTALL_LIBRARY}"


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
        Doc(
            "length_grouped: texts of similar length share a batch, which saves padding. random: batches are drawn "
            "without regard to length."
        ),
    ] = "length_grouped"
    schedule: Annotated[
        Literal["linear", "constant"],
        Doc("linear: the learning rate falls to 0 at the last step, the default of AdapterTrainer."),
    ] = "linear"
    max_grad_norm: Annotated[
        NonNegative, Doc("Largest global norm of the gradients; the default of AdapterTrainer. 0: no clipping.")
    ] = 1.0
    max_length: Annotated[
        Count, Doc("At most this many tokens of context and text together; the oldest context is cut first.")
    ] = 128
    dropout: Annotated[Rate, Doc("Dropout of hidden states and head; the pretrained models' own default.")] = 0.1
    attention_dropout: Annotated[Rate, Doc("Dropout of attention weights; the pretrained models' own default.")] = 0.1
    precision: Annotated[
        Precision,
        Doc(
            "fp32: full precision. fp32_medium: torch's matmul precision `medium`: TF32 on a GPU; on a CPU, oneDNN "
            "chooses the kernel. bf16: autocast, where the device supports it."
        ),
    ] = "fp32"
    max_train_examples: Annotated[
        Count | None,
        Doc("For quick runs: train on at most this many examples, the first in the seed's order. null: all."),
    ] = None
    max_eval_examples: Annotated[
        Count | None,
        Doc("For quick runs: use at most this many validation examples, and as many test examples. null: all."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class SourceUse:
    """How a source's adapter enters a transfer."""

    mode: Annotated[
        Literal["frozen", "tuned"],
        Doc("frozen: as in Pfeiffer et al. (2020). tuned: the source's adapter is trained further."),
    ] = "frozen"
    epoch: Annotated[
        Literal["best", "last"],
        Doc("Epoch of the source's adapter. best: the one whose scores the source reports. last: the final one."),
    ] = "best"
    labels: Annotated[
        LabelUse,
        Doc("Labels that sources train on, in datasets with manual and automatic ones. manual: only these."),
    ] = "all"


@dataclass(frozen=True, kw_only=True)
class Fisher:
    """A task embedding: the Fisher information of a baseline's components (Vu et al. 2020), averaged over examples."""

    max_examples: Annotated[
        Count | None,
        Doc(
            "Use at most this many training examples, the first in the seed's order; more hardly change the mean. "
            "null: all."
        ),
    ] = 5_000
    n_draws: Annotated[
        Count, Doc("Labels drawn per example for the sampled-label embedding; the mean over examples smooths them.")
    ] = 1


@dataclass(frozen=True, kw_only=True)
class Embed:
    """A dataset embedding: the mean sentence embedding of its texts (Poth et al. 2021), contexts left out.

    A long context would push the text itself past the encoder's length.
    """

    encoder: Backbone = ENCODER
    max_examples: Count | None = None  # of each task, the first by a hash of their ids. None: all, as in the paper


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
    """One trial of a search. Its parameters are drawn when it starts, so they are not part of its identity."""

    number: Annotated[int, Range(low=0)]
    search: Search


@dataclass(frozen=True, kw_only=True)
class DataUse:
    """Which examples a task's cells see, and how they are cut."""

    splits: Annotated[
        SplitRule,
        Doc("family: drawn by group, once per family of datasets. paper: drawn per task without groups, so it leaks."),
    ] = "family"
    context: Annotated[
        Context, Doc("history: all earlier turns; Table 1's token counts fit it. previous: the last one.")
    ] = "history"
