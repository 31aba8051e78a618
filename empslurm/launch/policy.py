"""What happened to a pack, kept as lines beside its submission, and what follows from it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from empslurm import files
from empslurm.cells import CELL_ID

Reason = Literal["done", "failed", "stopped", "killed", "waiting", "held", "device"]

KILLS_IN_PLACE = 1  # a pack whose process was killed goes on from its checkpoint on the same node, ...
KILLS_ALLOWED = 2  # ... the next time on another one
DEVICE = "device"  # the class of a failure, and the reason of an end: torch cannot use the GPUs of this node
DEVICE_NODES = 3  # so many nodes may turn out not to have usable GPUs before a pack's cells stay failed
LOSSES_OF_NODE = 2  # starts that never ended, after which a node is left out
STALLS = 5  # stops in a row that found training where the one before had left it: the time is too short
HOLD_PACKS = 3  # so many packs ...
HOLD_CELLS = 5  # ... with so many cells failing alike hold the rest back
HOLD = "hold.json"
# How a process died, and what to do, by whether Python told an error: only a silent end speaks for want of memory.
DEATHS = {
    False: (
        "died {n} times without a word, as for lack of host memory",
        "raise mem_gb, or look at `empslurm logs`",
    ),
    True: ("ended {n} times with an error", "`empslurm logs` shows all of it; mend that, then resume"),
}
FIRST_WAIT_S, LONGEST_WAIT_S, MAX_WAITS = 15, 900, 20  # for a source that is requeued or still runs


@dataclass(frozen=True, kw_only=True)
class Journal:
    """The events of one pack, oldest first: `start` and `end` of each time that a job had it."""

    path: Path

    def add(self, event: Literal["start", "end"], **fields: Any) -> None:
        files.append_line(self.path, files.to_line({"event": event, "time": time.time(), **fields}))

    def events(self) -> list[dict[str, Any]]:
        return files.read_lines(self.path)


def journal(submission: Path, place: int) -> Journal:
    """The journal of the pack at `place` of the submission whose file is `submission`."""
    return Journal(path=submission.parent / "packs" / f"{place:04d}.jsonl")


def count(events: Iterable[Mapping[str, Any]], reason: Reason) -> int:
    """How often a pack ended for a reason."""
    return sum(event.get("event") == "end" and event.get("reason") == reason for event in events)


def bad_nodes(events: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Nodes whose GPUs cannot be used, or on which a pack was lost without a word or killed too often."""
    ended = {_incarnation(event) for event in events if event.get("event") == "end"}
    losses: dict[str, int] = {}
    for event in events:
        lost = event.get("event") == "start" and _incarnation(event) not in ended
        if lost or event.get("reason") == "killed":
            losses[str(event.get("host"))] = losses.get(str(event.get("host")), 0) + 1
        if event.get("reason") == DEVICE:  # once is enough
            losses[str(event.get("host"))] = LOSSES_OF_NODE
    return tuple(sorted(host for host, n in losses.items() if n >= LOSSES_OF_NODE))


def _incarnation(event: Mapping[str, Any]) -> tuple[object, object]:
    return event.get("job"), event.get("restart")


def may_find_device(events: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a pack may still look for a node with usable GPUs."""
    return count(events, "device") < DEVICE_NODES


def stalled(events: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a pack is stopped again and again before training comes any further."""
    steps = [event.get("steps") for event in events if event.get("event") == "end" and event.get("reason") == "stopped"]
    return len(steps) >= STALLS and len(set(steps[-STALLS:])) == 1


def wait_s(events: Iterable[Mapping[str, Any]]) -> int | None:
    """How long a pack waits for its sources before it looks again; None when it has waited often enough."""
    n = count(events, "waiting")
    return None if n >= MAX_WAITS else min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**n)


def signature(error: Mapping[str, Any]) -> str:
    """What failures have in common when they have one cause: class and sentence without ids, paths and numbers."""
    text = re.sub(CELL_ID, "CELL", str(error.get("message", "")))
    text = re.sub(r"(/[\w.-]+)+", "PATH", text)
    return f"{error.get('class')}: {re.sub(r'[0-9]+', '0', text)[:300]}"


def common_cause(failures: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What to hold a submission for: the first signature that enough cells of enough packs share."""
    seen: dict[str, tuple[set[str], set[int], str]] = {}
    for failure in failures:
        cells, packs, _ = seen.setdefault(str(failure.get("signature")), (set(), set(), str(failure.get("message"))))
        cells.add(str(failure.get("cell")))
        packs.add(int(failure.get("pack", -1)))
    for text, (cells, packs, message) in seen.items():
        if len(cells) >= HOLD_CELLS and len(packs) >= HOLD_PACKS:
            return {"signature": text, "cells": sorted(cells), "message": message}
    return None
