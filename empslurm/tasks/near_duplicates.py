"""Near duplicates among many short texts: MinHash signatures of shingles, banded, then measured exactly."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NEAR_VERSION = 1
THRESHOLD = 0.8  # Jaccard similarity of the shingle sets
SHINGLE = 5  # characters
N_BANDS, N_ROWS = 20, 6  # a pair of similarity 0.8 shares a band with probability 0.998, one of 0.1 with 0.00002
SLACK = 0.2  # an estimate further than this below the threshold is 5 standard errors off: not measured
MAX_BUCKET = 300  # members of one band's bucket that are all compared; a larger one is compared with neighbours only
SEED = 1
CHUNK = 100_000  # candidate pairs estimated at a time
WORDS = re.compile(r"[^\w\s]|_", re.UNICODE)


def normalise(text: str) -> str:
    """A text without case, punctuation and spacing; one of punctuation only stays as it is."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(WORDS.sub("", plain).split()) or plain.strip()


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """For text i its near duplicates: others[starts[i] : starts[i + 1]], itself always among them.

    starts: (n_texts + 1,) int64. others: (n_pairs,) int32.
    """

    starts: NDArray[np.int64]
    others: NDArray[np.int32]

    def of(self, text: int) -> NDArray[np.int32]:
        """Near duplicates of one text, itself included."""
        return self.others[self.starts[text] : self.starts[text + 1]]

    def of_all(self, texts: NDArray[np.int32]) -> NDArray[np.int32]:
        """Near duplicates of any of the texts, each once, sorted."""
        import numpy as np

        lengths = self.starts[texts + 1] - self.starts[texts]
        offsets = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.unique(self.others[np.repeat(self.starts[texts], lengths) + offsets])


def neighbours(texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Neighbours:
    """Near duplicates among normalised, distinct texts. `progress`: texts done."""
    import numpy as np

    if not texts:
        return Neighbours(starts=np.zeros(1, np.int64), others=np.zeros(0, np.int32))
    signatures, shingles, starts = _sign(texts, progress or (lambda _: None))
    pairs = _candidates(signatures)
    pairs = pairs[_estimates(signatures, pairs) >= THRESHOLD - SLACK]
    near = pairs[[_jaccard(shingles, starts, int(left), int(right)) >= THRESHOLD for left, right in pairs]]
    every = np.arange(len(texts), dtype=np.int32)
    first = np.concatenate([near[:, 0], near[:, 1], every])
    second = np.concatenate([near[:, 1], near[:, 0], every])
    order = np.lexsort((second, first))
    counts = np.bincount(first, minlength=len(texts))
    return Neighbours(starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), others=second[order])


def shingle(text: str) -> NDArray[np.uint32]:
    """Hashes of the distinct runs of SHINGLE characters; a shorter text is one run."""
    import numpy as np

    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    width = min(SHINGLE, len(codes))
    summed = np.full(len(codes) - width + 1, width, np.uint64)
    for offset in range(width):
        summed = summed * np.uint64(0x9E3779B97F4A7C15) + codes[offset : len(codes) - width + 1 + offset]
    return np.unique((summed ^ (summed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9) >> np.uint64(32)).astype(
        np.uint32
    )


def _sign(
    texts: Sequence[str], progress: Callable[[int], None]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.int64]]:
    """Signatures (n_texts, n_bands * n_rows), and the shingles of text i at flat[starts[i] : starts[i + 1]]."""
    import numpy as np
    from datasketch import MinHash

    n_permutations = N_BANDS * N_ROWS
    plain: Callable[[int], int] = int
    make = partial(MinHash, num_perm=n_permutations, seed=SEED, hashfunc=plain, scheme="affine32")
    shared = make().permutations
    signatures = np.empty((len(texts), n_permutations), np.uint32)
    flat = []
    for index, text in enumerate(texts):
        own = shingle(text)
        flat.append(own)
        sketch = make(permutations=shared)
        sketch.update_batch(own.tolist())
        signatures[index] = sketch.hashvalues
        if index % 1_000 == 0:
            progress(index)
    progress(len(texts))
    lengths = [len(own) for own in flat]
    return signatures, np.concatenate(flat), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _candidates(signatures: NDArray[np.uint32]) -> NDArray[np.int32]:
    """(n_pairs, 2), smaller index first: the pairs that agree in all rows of a band.

    datasketch's own index keeps a Python set per band and text, 0.7 GB for 100,000 texts; sorting does not need it.
    """
    import numpy as np

    n_texts = len(signatures)
    codes: list[NDArray[np.int64]] = []
    for band in range(N_BANDS):
        rows = np.ascontiguousarray(signatures[:, band * N_ROWS : (band + 1) * N_ROWS])
        keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * N_ROWS))).ravel()
        _, bucket = np.unique(keys, return_inverse=True)
        order = np.argsort(bucket, kind="stable")
        ends = np.flatnonzero(np.diff(bucket[order])) + 1
        members = [own for own in np.split(order, ends) if len(own) > 1]
        codes += [_pairs_of(own, n_texts) for own in members]
    if not codes:
        return np.zeros((0, 2), np.int32)
    every = np.unique(np.concatenate(codes))
    return np.stack([every // n_texts, every % n_texts], axis=1).astype(np.int32)


def _pairs_of(members: NDArray[np.int64], n_texts: int) -> NDArray[np.int64]:
    """Pairs of one bucket as first * n_texts + second. members: sorted."""
    import numpy as np

    if len(members) > MAX_BUCKET:
        firsts, seconds = members[:-1], members[1:]
    else:
        upper, lower = np.triu_indices(len(members), 1)
        firsts, seconds = members[upper], members[lower]
    return firsts * n_texts + seconds


def _estimates(signatures: NDArray[np.uint32], pairs: NDArray[np.int32]) -> NDArray[np.float64]:
    """(n_pairs,) share of equal signature values."""
    import numpy as np

    estimates = [
        (signatures[pairs[first : first + CHUNK, 0]] == signatures[pairs[first : first + CHUNK, 1]]).mean(1)
        for first in range(0, len(pairs), CHUNK)
    ]
    return np.concatenate(estimates) if estimates else np.zeros(0)


def _jaccard(shingles: NDArray[np.uint32], starts: NDArray[np.int64], row: int, other: int) -> float:
    """Similarity of two texts' shingle sets."""
    import numpy as np

    first, second = shingles[starts[row] : starts[row + 1]], shingles[starts[other] : starts[other + 1]]
    n_shared = len(np.intersect1d(first, second, assume_unique=True))
    return n_shared / (len(first) + len(second) - n_shared)
