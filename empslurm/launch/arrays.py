"""From packs to Slurm arrays: what waits for the same baselines shares an array; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from empslurm.plan import Pack

# Packs whose parents are nearly the same share an array, so that a full grid is one array per seed: each of its
# targets waits for all sources but itself. At 0.8 a pack waits for at most a fifth more than its own parents.
ALIKE = 0.8


@dataclass(frozen=True, kw_only=True)
class Group:
    """Packs, by their place in the submission, that may start once the cells `parents` have ended."""

    wave: int
    places: tuple[int, ...]
    parents: frozenset[str]


def groups(packs: Sequence[Pack], unfinished: Collection[str]) -> tuple[Group, ...]:
    """Packs by wave, seed and the parents that are still to come, in the order in which they must be sent."""
    by_start: dict[tuple[int, int], list[Group]] = {}
    for index, pack in enumerate(packs):
        waits = frozenset(parent for parent in pack.parents if parent in unfinished)
        # What waits for nothing shares one array, whatever its seed.
        peers = by_start.setdefault((pack.wave, pack.cells[0].seed if waits else -1), [])
        at = next((at for at, group in enumerate(peers) if _alike(group.parents, waits)), None)
        if at is None:
            peers.append(Group(wave=pack.wave, places=(index,), parents=waits))
        else:
            old = peers[at]
            peers[at] = Group(wave=pack.wave, places=(*old.places, index), parents=old.parents | waits)
    return tuple(group for key in sorted(by_start) for group in by_start[key])


def _alike(first: frozenset[str], second: frozenset[str]) -> bool:
    return first == second or len(first & second) >= ALIKE * len(first | second)


def chunks(group: Group, n_elements: int, packs_per_element: int = 1) -> Iterator[tuple[tuple[int, ...], ...]]:
    """The elements of each array that a group is sent as: at most `n_elements`, each a tuple of packs."""
    places, step = group.places, packs_per_element
    elements = [places[start : start + step] for start in range(0, len(places), step)]
    for start in range(0, len(elements), n_elements):
        yield tuple(elements[start : start + n_elements])
