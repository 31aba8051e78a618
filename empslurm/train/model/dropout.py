"""Keyed dropout: a mask is a pure function of (seed, step, example, site, position, feature).

So it does not depend on the padding, the pack, the micro-batch or the number of processes. All cells of a pack see the
same masks (common random numbers), and a resumed run needs no random generator's state.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from empslurm.ids import stream
from empslurm.train.data.batch import Batch

LANES = 4  # one 64-bit word decides for four features, 16 bits each
LEVELS = 65_536  # so a rate is a multiple of 1/65536
HEAD_STRIDE = 65_536  # position of (head, query) is head * 65536 + query
GOLDEN = -7046029254386353131  # 2**64 / golden ratio, odd: steps through all 64-bit words
# The most mask values that are made at once. A GPU needs few kernels; on a CPU the values should stay in its caches.
VALUES_AT_ONCE = {"cpu": 2**20, "cuda": 2**26}
MIX_1, MIX_2 = -4658895280553007687, -7723592293110705685  # the multipliers of splitmix64


def mix(words: torch.Tensor) -> torch.Tensor:
    """Scramble int64 words in place by the finaliser of splitmix64, where each input bit affects every output bit.

    Masks make the shifts logical: arithmetic shifts of signed words would bias the upper bits.
    """
    for shift, factor in ((30, MIX_1), (27, MIX_2)):
        words.bitwise_xor_((words >> shift).bitwise_and_((1 << (64 - shift)) - 1)).mul_(factor)
    return words.bitwise_xor_((words >> 31).bitwise_and_((1 << 33) - 1))


def site_number(name: str) -> int:
    """The number of a place in the network, such as `layer.3.output.dropout`."""
    return stream("site", name)


@dataclass(frozen=True, kw_only=True)
class Sites:
    """Places in the network whose masks have one shape and dtype, so that they can be made together.

    numbers: (n_sites,) int64 on the device; made once, since every step would wait for a copy to the GPU.
    """

    names: tuple[str, ...]
    numbers: torch.Tensor

    @classmethod
    def of(cls, names: Sequence[str], device: torch.device) -> Sites:
        """The sites of these names."""
        return cls(names=tuple(names), numbers=torch.tensor([site_number(name) for name in names], device=device))


def step_key(seed: int, step: int) -> int:
    """The key from which a step's masks are made."""
    return stream("dropout", seed, step)


def factors(words: torch.Tensor, n_features: int, dropped: int, dtype: torch.dtype) -> torch.Tensor:
    """Factors (..., n_features) from words (...): 0 with probability dropped / LEVELS, else scaled to a mean of 1."""
    kept = _lanes(words, n_features) >= dropped - LEVELS // 2
    return kept.to(dtype).mul_(raised(dropped))


def raised(dropped: int) -> float:
    """The factor of a value that is kept."""
    return LEVELS / (LEVELS - dropped)


Factors = Callable[[torch.Tensor, int, int, torch.dtype], torch.Tensor]  # `factors`, or a function with the same bits


class Masks:
    """The masks of one step for one batch of examples, made on first use and kept for the step's other cells.

    key: from `step_key`, or the same as a tensor (1,) on the device. examples: (n_rows,) int64, which identify the
    examples within their task. `alike`: sites whose masks are made together, with the same bits but fewer kernels.
    `make`: the function that makes factors from words.
    """

    def __init__(
        self, key: int | torch.Tensor, examples: torch.Tensor, alike: Sequence[Sites] = (), make: Factors = factors
    ) -> None:
        self._make = make
        self._rows = mix(mix(examples * GOLDEN) + key)
        self.n_rows = len(examples)
        self._alike = {name: (sites, index) for sites in alike for index, name in enumerate(sites.names)}
        self._made: dict[tuple[str, tuple[int, ...], torch.dtype], torch.Tensor] = {}

    def __call__(
        self, site: str, shape: tuple[int, ...], rate: float, dtype: torch.dtype, batch: Batch | None = None
    ) -> torch.Tensor:
        """Factors 0 or 1 / (1 - rate) of `shape`.

        shape: (n_rows, n_features), (n_rows, length, n_features) or (n_rows, n_heads, n_queries, n_keys). With a
        `batch`, shape is (n_tokens, n_features): the values of the padded (n_rows, length, n_features) at its tokens.
        """
        key = (site, shape, dtype)
        if key not in self._made:
            names, rows = self._rows_of(site, math.prod(shape))
            words = _of_places(rows, shape[1:-1]) if batch is None else _of_tokens(rows, batch)
            made = self._make(words, shape[-1], round(rate * LEVELS), dtype)
            self._made |= {(name, shape, dtype): mask for name, mask in zip(names, made, strict=True)}
        return self._made[key]

    def _rows_of(self, site: str, size: int) -> tuple[tuple[str, ...], torch.Tensor]:
        """The sites to make now, and their words per row (n_sites, n_rows), site and row mixed. `size`: of one mask."""
        if site not in self._alike:
            return (site,), mix(self._rows ^ site_number(site))[None]
        sites, index = self._alike[site]
        n_at_once = max(1, VALUES_AT_ONCE[self._rows.device.type] // max(1, size))
        first = index - index % n_at_once
        chosen = slice(first, first + n_at_once)
        return sites.names[chosen], mix(self._rows ^ sites.numbers[chosen, None])


def _of_tokens(rows: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The words of tokens (n_sites, n_tokens) from those of rows (n_sites, n_rows), with the position mixed in."""
    return mix(rows[:, batch.rows] + batch.positions * GOLDEN)


def _of_places(rows: torch.Tensor, outer: tuple[int, ...]) -> torch.Tensor:
    """The same for all places of padded rows: (n_sites, n_rows, *outer)."""
    places = torch.zeros((), dtype=torch.int64, device=rows.device)
    if len(outer) == 2:
        heads, queries = (torch.arange(n, device=rows.device) for n in outer)
        places = heads[:, None] * HEAD_STRIDE + queries
    elif outer:
        places = torch.arange(outer[0], device=rows.device)
    return mix(rows.view(*rows.shape, *(1 for _ in outer)) + places * GOLDEN)


def _lanes(words: torch.Tensor, n_features: int) -> torch.Tensor:
    """Uniform int16 (..., n_features) from words (...): the feature is mixed in last."""
    features = torch.arange(-(-n_features // LANES), device=words.device) * GOLDEN
    return mix(words.unsqueeze(-1) + features).view(torch.int16)[..., :n_features]


class KeyedDropout(nn.Module):
    """Replaces nn.Dropout in a library's model; `box.masks` must be set before each forward pass."""

    def __init__(self, site: str, rate: float, box: MaskBox) -> None:
        super().__init__()
        self.site, self.rate, self.box = site, rate, box

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training or self.rate == 0.0 or self.box.masks is None:
            return values
        return values * self.box.masks(self.site, tuple(values.shape), self.rate, values.dtype)


class MaskBox:
    """Passes the masks of a step from the loop to a model's KeyedDropout modules; None: no dropout."""

    masks: Masks | None = None


_SITE = re.compile(r"(embeddings|layer\.\d+|heads)\..*")


def install(model: Any) -> MaskBox:
    """Replace every nn.Dropout of a model. Its site is its place in the encoder or head, without the model's name."""
    box = MaskBox()
    for name, module in list(model.named_modules()):
        for child, dropout in list(module.named_children()):
            if isinstance(dropout, nn.Dropout):
                path = f"{name}.{child}"
                match = _SITE.search(path)
                site = re.sub(r"^heads\.[^.]+", "head", match.group()) if match else path
                setattr(module, child, KeyedDropout(site, dropout.p, box))
    return box
