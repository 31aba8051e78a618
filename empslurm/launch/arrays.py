"""Group packs into Slurm arrays: packs that wait for the same baselines share an array; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from empslurm.plan import Pack

# Packs whose parents are nearly the same share an array, so that a full grid is one array per seed: each of its
# targets waits for all sources but itself. At 0.8 a pack waits for at most a fifth more than its own parents.
ALIKE = 0.8


@dataclass(frozen=True, kw_only=True)
class Group:
    """Packs (by their index in the submission) that may start once the cells in `parents` have ended."""

    wave: int
    indices: tuple[int, ...]
    parents: frozenset[str]


def groups(packs: Sequence[Pack], unfinished: Collection[str]) -> tuple[Group, ...]:
    """Group packs by wave, seed and unfinished parents, in the order in which they must be sent."""
    by_start: dict[tuple[int, int], list[Group]] = {}
    for index, pack in enumerate(packs):
        waits = frozenset(parent for parent in pack.parents if parent in unfinished)
        # Packs that wait for nothing share one array, whatever their seed.
        peers = by_start.setdefault((pack.wave, pack.cells[0].seed if waits else -1), [])
        match = next((number for number, group in enumerate(peers) if _alike(group.parents, waits)), None)
        if match is None:
            peers.append(Group(wave=pack.wave, indices=(index,), parents=waits))
        else:
            old = peers[match]
            peers[match] = Group(wave=pack.wave, indices=(*old.indices, index), parents=old.parents | waits)
    return tuple(group for key in sorted(by_start) for group in by_start[key])


def _alike(first: frozenset[str], second: frozenset[str]) -> bool:
    return first == second or len(first & second) >= ALIKE * len(first | second)


def chunks(group: Group, n_elements: int, packs_per_element: int = 1) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Split a group into arrays of at most `n_elements` elements; an element is a tuple of pack indices."""
    indices, step = group.indices, packs_per_element
    elements = [indices[start : start + step] for start in range(0, len(indices), step)]
    for start in range(0, len(elements), n_elements):
        yield tuple(elements[start : start + n_elements])
