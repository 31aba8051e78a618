"""Keyed dropout: a mask is a pure function of (seed, step, example, site, position, feature) and of nothing else.

So it is the same whatever the padding, the pack, the micro-batch and the number of processes; all cells of a pack see
the same masks (common random numbers), and a resumed run needs no state of any random generator.
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
# Most values of the masks that one pass makes. A GPU wants few kernels; a CPU wants them to stay in its caches.
VALUES_AT_ONCE = {"cpu": 2**20, "cuda": 2**26}
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


@dataclass(frozen=True, kw_only=True)
class Sites:
    """Places in the network whose masks have one shape and dtype, so that one pass of the generator makes them all.

    numbers: (n_sites,) int64 on the device; made once, since a copy to a GPU at every step would be waited for.
    """

    names: tuple[str, ...]
    numbers: torch.Tensor

    @classmethod
    def of(cls, names: Sequence[str], device: torch.device) -> Sites:
        """The sites of these names."""
        return cls(names=tuple(names), numbers=torch.tensor([site_number(name) for name in names], device=device))


def step_key(seed: int, step: int) -> int:
    """What the masks of a step are made from."""
    return stream("dropout", seed, step)


def factors(words: torch.Tensor, n_features: int, dropped: int, dtype: torch.dtype) -> torch.Tensor:
    """Of words (...) the factors (..., n_features): 0 with probability dropped / LEVELS, else what makes the mean 1."""
    kept = _lanes(words, n_features) >= dropped - LEVELS // 2
    return kept.to(dtype).mul_(raised(dropped))


def raised(dropped: int) -> float:
    """What a value that is kept is multiplied by."""
    return LEVELS / (LEVELS - dropped)


Factors = Callable[[torch.Tensor, int, int, torch.dtype], torch.Tensor]  # `factors`, or what gives the same bits


class Masks:
    """The masks of one step for one batch of examples, made when asked for and kept for the other cells of the step.

    key: `step_key`'s, or the same as a tensor (1,) on the device. examples: (n_rows,) int64, what identifies each
    example within its task. `alike`: sites that are made together when one of them is asked for, which changes no bit
    and makes kernels fewer. `make`: what makes factors of words.
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
        `batch` it is (n_tokens, n_features): what the padded (n_rows, length, n_features) has at its tokens.
        """
        key = (site, shape, dtype)
        if key not in self._made:
            names, rows = self._rows_of(site, math.prod(shape))
            words = _of_places(rows, shape[1:-1]) if batch is None else _of_tokens(rows, batch)
            made = self._make(words, shape[-1], round(rate * LEVELS), dtype)
            self._made |= {(name, shape, dtype): mask for name, mask in zip(names, made, strict=True)}
        return self._made[key]

    def _rows_of(self, site: str, size: int) -> tuple[tuple[str, ...], torch.Tensor]:
        """Sites to make now, and their words of each row, site and row mixed: (n_sites, n_rows). `size`: of a mask."""
        if site not in self._alike:
            return (site,), mix(self._rows ^ site_number(site))[None]
        sites, index = self._alike[site]
        n_at_once = max(1, VALUES_AT_ONCE[self._rows.device.type] // max(1, size))
        first = index - index % n_at_once
        chosen = slice(first, first + n_at_once)
        return sites.names[chosen], mix(self._rows ^ sites.numbers[chosen, None])


def _of_tokens(rows: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Of rows (n_sites, n_rows) the words at tokens, (n_sites, n_tokens): the position is mixed in."""
    return mix(rows[:, batch.rows] + batch.positions * GOLDEN)


def _of_places(rows: torch.Tensor, outer: tuple[int, ...]) -> torch.Tensor:
    """The same at all places of padded rows: (n_sites, n_rows, *outer)."""
    places = torch.zeros((), dtype=torch.int64, device=rows.device)
    if len(outer) == 2:
        heads, queries = (torch.arange(n, device=rows.device) for n in outer)
        places = heads[:, None] * HEAD_STRIDE + queries
    elif outer:
        places = torch.arange(outer[0], device=rows.device)
    return mix(rows.view(*rows.shape, *(1 for _ in outer)) + places * GOLDEN)


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
                match = _SITE.search(path)
                site = re.sub(r"^heads\.[^.]+", "head", match.group()) if match else path
                setattr(module, child, KeyedDropout(site, dropout.p, box))
    return box
