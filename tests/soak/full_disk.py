"""Train on a full or read-only file system, then make room, and compare with an undisturbed run.

python -m tests.soak.full_disk

Each trial has its own tmpfs with some space left, from none to enough for some of the cells. Needs the right to mount;
ends with status 77 without it.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from empslurm.store.claims import local_liveness
from empslurm.store.runs import RunsRoot
from tests.soak.kills import Soak, outcome

NO_MOUNT = 77
SIZE_KIB = 4_096
FREE_KIB = (0, 4, 12, 40, 100, 180, 300)  # a cell writes about 100 KiB, all cells about 450


@contextmanager
def tmpfs(folder: Path) -> Iterator[Path]:
    """A small file system in memory. Raises OSError where it cannot be mounted."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_KIB}k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        raise OSError(done.stderr.decode().strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path, free_kib: int) -> Path:
    """Fill the file system, then free `free_kib` of it."""
    filler = folder / "filler"
    n_bytes = 0
    try:
        with open(filler, "wb", buffering=0) as stream:
            while True:
                n_bytes += stream.write(b"x" * 4_096)
    except OSError:
        with open(filler, "r+b") as stream:
            stream.truncate(max(0, n_bytes - free_kib * 1_024))
    return filler


def trial(soak: Soak, root: RunsRoot, *, hinder: Any, help: Any) -> dict[str, Any]:
    """One start that must fail and one that must succeed; returns what is wrong with either."""
    hinder()
    status, said = soak.start(root, 0.0, None)
    wrong = []
    if status != 1 or ("the file system says" not in said and "No space left" not in said):
        wrong.append(f"a hindered start ended with {status}: {said[-1_500:]}")
    if "Traceback" in said:
        wrong.append(f"a traceback: {said[-1_500:]}")
    states = {id: root.cell(id).state(local_liveness).state for id in soak.cells}
    for id, state in states.items():
        if state == "done" and outcome(root.cell(id)) != outcome(soak.calm.cell(id)):
            wrong.append(f"{id} was finished with other bytes")
    help()
    again, said_again = soak.start(root, 0.0, None)
    if again != 0:
        wrong.append(f"a start with room again ended with {again}: {said_again[-1_500:]}")
    wrong += [f"{id} differs" for id in soak.cells if outcome(root.cell(id)) != outcome(soak.calm.cell(id))]
    left = [str(path.relative_to(root.path)) for path in (root.path / "cells").rglob(".*.tmp")]
    wrong += [f"left over: {', '.join(left)}"] if left else []
    said_first = [line for line in said.splitlines() if " must " in line or "No space" in line][:1]
    return {"states": sorted(states.values()), "said": said_first, "wrong": wrong}


def full(soak: Soak, folder: Path, free_kib: int) -> dict[str, Any]:
    with tmpfs(folder) as place:
        root = _root(soak, place)
        return trial(soak, root, hinder=lambda: fill(place, free_kib), help=lambda: (place / "filler").unlink()) | {
            "free_kib": free_kib
        }


def read_only(soak: Soak, folder: Path) -> dict[str, Any]:
    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)

    with tmpfs(folder) as place:
        root = _root(soak, place)
        return trial(soak, root, hinder=lambda: remount("ro"), help=lambda: remount("rw")) | {"read_only": True}


def _root(soak: Soak, place: Path) -> RunsRoot:
    root = RunsRoot(place / "runs")
    soak.lend_prepared(root)
    return root


def main() -> int:
    """0 when every trial recovered to the same bytes; 77 where nothing can be mounted."""
    with tempfile.TemporaryDirectory(prefix="empslurm-full-") as name:
        folder = Path(name)
        try:
            with tmpfs(folder / "probe"):
                pass
        except OSError as error:
            sys.stderr.write(f"a tmpfs must be mounted for this, but cannot be: {error}; run it as root\n")
            return NO_MOUNT
        soak = Soak(folder, seed=1)
        soak.undisturbed()
        free = [int(word) for word in sys.argv[1:]] or FREE_KIB
        trials = [full(soak, folder / f"full-{kib}", kib) for kib in free]
        trials.append(read_only(soak, folder / "read-only"))
    sys.stdout.write(json.dumps(trials, indent=1) + "\n")
    return int(any(made["wrong"] for made in trials))


if __name__ == "__main__":
    sys.exit(main())
