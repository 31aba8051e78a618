"""Keyed dropout: a mask is a pure function of (seed, step, example, site, position, feature) and of nothing else.

So it is the same whatever the padding, the pack, the micro-batch and the number of processes; all cells of a pack see
the same masks (common random numbers), and a resumed run needs no state of any random generator.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from empslurm.train.batch import Batch
from empslurm.train.order import stream

LANES = 4  # one 64-bit word decides for four features, 16 bits each
LEVELS = 65_536  # so a rate is a multiple of 1/65536
HEAD_STRIDE = 65_536  # position of (head, query) is head * 65536 + query
GOLDEN = -7046029254386353131  # 2**64 / golden ratio, odd: steps through all 64-bit words
MIX_1, MIX_2 = -4658895280553007687, -7723592293110705685  # the multipliers of splitmix64


def mix(words: torch.Tensor) -> torch.Tensor:
    """Scramble int64 words in place: the finaliser of splitmix64, in which each input bit moves every output bit.

    Shifts are made logical by masks: the arithmetic shift of signed words would bias the upper bits.
    """
    for shift, factor in ((30, MIX_1), (27, MIX_2)):
        words.bitwise_xor_((words >> shift).bitwise_and_((1 << (64 - shift)) - 1)).mul_(factor)
    return words.bitwise_xor_((words >> 31).bitwise_and_((1 << 33) - 1))


def site_number(name: str) -> int:
    """A place in the network as a number, such as of `layer.3.output.dropout`."""
    return stream("site", name)


class Masks:
    """The masks of one step for one batch of examples, made when asked for and kept for the other cells of the step.

    examples: (n_rows,) int64, what identifies each example within its task.
    """

    def __init__(self, seed: int, step: int, examples: torch.Tensor) -> None:
        base = torch.full_like(examples, stream("dropout", seed, step))
        self._rows = mix(base + mix(examples * GOLDEN))
        self.n_rows = len(examples)
        self._made: dict[tuple[str, tuple[int, ...], torch.dtype], torch.Tensor] = {}

    def __call__(
        self, site: str, shape: tuple[int, ...], rate: float, dtype: torch.dtype, batch: Batch | None = None
    ) -> torch.Tensor:
        """Factors 0 or 1 / (1 - rate) of `shape`.

        shape: (n_rows, n_features), (n_rows, length, n_features) or (n_rows, n_heads, n_queries, n_keys). With a
        `batch` it is (n_tokens, n_features): what the padded (n_rows, length, n_features) has at its tokens.
        """
        key = (site, shape, dtype)
        if key not in self._made:
            dropped = round(rate * LEVELS)
            words = self._of_places(site, shape[1:-1]) if batch is None else self._of_tokens(site, batch)
            kept = _lanes(words, shape[-1]) >= dropped - LEVELS // 2
            self._made[key] = kept.to(dtype).mul_(LEVELS / (LEVELS - dropped))
        return self._made[key]

    def _of_tokens(self, site: str, batch: Batch) -> torch.Tensor:
        """(n_tokens,): row, then site and position are mixed in, each avalanched."""
        rows = mix(self._rows ^ site_number(site))
        return mix(rows[batch.rows] + batch.positions * GOLDEN)

    def _of_places(self, site: str, outer: tuple[int, ...]) -> torch.Tensor:
        """The same for all places of padded rows: (n_rows, *outer)."""
        device = self._rows.device
        places = torch.zeros((), dtype=torch.int64, device=device)
        if len(outer) == 2:
            places = torch.arange(outer[0], device=device)[:, None] * HEAD_STRIDE + torch.arange(
                outer[1], device=device
            )
        elif outer:
            places = torch.arange(outer[0], device=device)
        rows = mix(self._rows ^ site_number(site)).view(-1, *(1 for _ in outer))
        return mix(rows + places * GOLDEN)


def _lanes(words: torch.Tensor, n_features: int) -> torch.Tensor:
    """Uniform int16 (..., n_features) of words (...): the feature is mixed in last, and avalanched."""
    features = torch.arange(-(-n_features // LANES), device=words.device) * GOLDEN
    return mix(words.unsqueeze(-1) + features).view(torch.int16)[..., :n_features]


class KeyedDropout(nn.Module):
    """Stands in for nn.Dropout in a model of a library; `box.masks` is set before each forward pass."""

    def __init__(self, site: str, rate: float, box: MaskBox) -> None:
        super().__init__()
        self.site, self.rate, self.box = site, rate, box

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training or self.rate == 0.0 or self.box.masks is None:
            return values
        return values * self.box.masks(self.site, tuple(values.shape), self.rate, values.dtype)


class MaskBox:
    """Where the loop leaves the masks of the step for the KeyedDropout modules of one model; None: no dropout."""

    masks: Masks | None = None


_SITE = re.compile(r"(embeddings|layer\.\d+|heads)\..*")


def install(model: Any) -> MaskBox:
    """Replace every nn.Dropout of a model; its site is its place in encoder or head, whatever the model's name."""
    box = MaskBox()
    for name, module in list(model.named_modules()):
        for child, dropout in list(module.named_children()):
            if isinstance(dropout, nn.Dropout):
                path = f"{name}.{child}"
                found = _SITE.search(path)
                site = re.sub(r"^heads\.[^.]+", "head", found.group()) if found else path
                setattr(module, child, KeyedDropout(site, dropout.p, box))
    return box
