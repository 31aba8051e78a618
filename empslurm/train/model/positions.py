"""How attention knows positions, where they are not already in the embeddings: a bias, turned queries, or both."""

from __future__ import annotations

import torch

FAR = -1e30  # added to the scores of keys that a query must not see


class Positions:
    """Positions that are in the embeddings (absolute): attention has nothing to add."""

    plain = True  # whether scores are scaled products of queries and keys plus `bias`, so that torch can fuse them
    n_terms = 1  # sums of products in a score; their number is in its scale

    def turned(self, values: torch.Tensor) -> torch.Tensor:
        """Queries or keys (n, n_heads, length, width) after what positions do to them."""
        return values

    def bias(self, length: int) -> torch.Tensor | None:
        """Constant terms of the scores, (1, n_heads or 1, length, length)."""
        return None

    def terms(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor | None:
        """Terms of the scores that depend on queries and keys, (n, n_heads, length, length), before scaling."""
        return None


ABSOLUTE = Positions()


class RelativeBias(Positions):
    """A learnt bias per distance and head (MPNet)."""

    def __init__(self, table: torch.Tensor) -> None:
        """`table`: (n_heads, most, most), for the longest text."""
        self.table = table

    def bias(self, length: int) -> torch.Tensor | None:
        return self.table[None, :, :length, :length]


class Rotary(Positions):
    """Queries and keys turned by their position (Su et al. 2021), and attention within a window (ModernBERT)."""

    def __init__(self, base: float, width: int, window: int | None, device: torch.device) -> None:
        """`base`: of the wave lengths. `width`: of a head. `window`: the farthest key on each side; None: all."""
        powers = torch.arange(0, width, 2, dtype=torch.float32, device=device) / width
        self.frequencies, self.window = base**-powers, window

    def turned(self, values: torch.Tensor) -> torch.Tensor:
        places = torch.arange(values.shape[-2], dtype=torch.float32, device=values.device)
        angles = places[:, None] * self.frequencies
        cosine, sine = (wave.repeat(1, 2).to(values.dtype) for wave in (angles.cos(), angles.sin()))
        first, second = values.chunk(2, dim=-1)
        return values * cosine + torch.cat([-second, first], dim=-1) * sine

    def bias(self, length: int) -> torch.Tensor | None:
        if self.window is None or length <= self.window + 1:
            return None
        places = torch.arange(length, device=self.frequencies.device)
        far = (places[:, None] - places).abs() > self.window
        return torch.zeros(far.shape, device=far.device).masked_fill_(far, FAR)[None, None]


class Disentangled(Positions):
    """Products of contents with embeddings of distances (DeBERTa: He et al. 2021, section 3.1)."""

    plain = False

    def __init__(self, keys: torch.Tensor | None, queries: torch.Tensor | None, index: torch.Tensor) -> None:
        """The projected embeddings of distances.

        `keys`: (n_heads, n_distances, width), for the queries' contents; `queries`: the same for the keys' contents;
        None: the model lacks this term. `index`: (2 * most - 1,) int64, the row for the distances 1 - most ... most - 1
        of a query's position minus a key's.
        """
        self.keys, self.queries = keys, queries
        self.most = (len(index) + 1) // 2
        n_distances = next(each for each in (keys, queries) if each is not None).shape[1]
        self.from_query = (n_distances // 2 + index.flip(0)).clamp(0, n_distances - 1)
        self.from_key = (n_distances // 2 - index.flip(0)).clamp(0, n_distances - 1)
        self.n_terms = 1 + sum(each is not None for each in (keys, queries))

    def terms(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor | None:
        length = query.shape[-2]
        window = slice(self.most - length, self.most + length - 1)
        parts = []
        if self.keys is not None:
            known = self.keys[:, self.from_query[window]].to(query.dtype)
            parts.append(by_distance(torch.matmul(query, known.transpose(-1, -2))))
        if self.queries is not None:
            known = self.queries[:, self.from_key[window]].to(key.dtype)
            parts.append(by_distance(torch.matmul(key, known.transpose(-1, -2))).transpose(-1, -2))
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def by_distance(values: torch.Tensor) -> torch.Tensor:
    """Entry [i, j - i + length - 1] of each matrix to [i, j]: (..., length, 2 * length - 1) -> (..., length, length).

    A flat copy read with rows that are one shorter moves each row one place to the left, so that nothing is gathered.
    """
    length, wide = values.shape[-2:]
    flat = values.flatten(-2)[..., length - 1 : length - 1 + length * (wide - 1)]
    return flat.view(*flat.shape[:-1], length, wide - 1)[..., :length] if wide > 1 else values
