"""Kill training many times, at chosen points, and compare its final results with those of an undisturbed run.

python -m tests.soak.kills --seed 1 --kills 120

A warm process that has imported the libraries forks one child per start; the child runs jobs/train.py on a submission
of solo cells and of a pack until it kills itself. Then the next child resumes. Every start draws its own checkpoint
interval; sometimes the newest checkpoint is damaged between two starts, as by a power cut.
"""

import argparse
import importlib.util
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}

import empslurm.train.run  # noqa: F401  (warm: the children need not import it)
from empslurm import api
from empslurm.errors import StoreError
from empslurm.launch import submission
from empslurm.manifest.load import load_manifest
from empslurm.plan import expand, packs
from empslurm.store.cell_folder import CellDir
from empslurm.store.claims import local_liveness
from empslurm.store.runs import RunsRoot
from empslurm.tasks.sample import write_sample
from tests.soak import faults
from tests.soak.faults import MANY, POINTS, Fault

MANIFEST = """\
name: soak
tasks: [epitome_er, news_empathy, conv_emopol]
seeds: [1]
backbone: tiny
training: {epochs: 2, batch_size: 8, max_length: 24, max_train_examples: 32, max_eval_examples: 16}
"""
TARGET = "epitome_er"  # of the pack of transfers; all three baselines run before it
INTERVALS_MIN = (0.0, 0.0005, 0.002, 5.0)  # a checkpoint after every step, now and then, and with the epoch only
MAX_STARTS = 60  # of one round; without progress a round would never end
DAMAGE_SHARE = 0.15  # of kills after which the newest checkpoint is damaged
OWN = {"claim", "output", "files", "seal"}  # fields of a result that describe the run, not the numbers


@dataclass(kw_only=True)
class Tally:
    """What a soak found."""

    kills: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    rounds: int = 0
    damaged: int = 0
    cells: int = 0
    lost: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


class Soak:
    """One folder with the data, the undisturbed runs root, and one runs root per round."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.rng = folder, random.Random(seed)
        self.job = _job()
        self.data = folder / "data"
        write_sample(self.data, seed=1)
        (folder / "soak.yaml").write_text(MANIFEST)
        self.calm = RunsRoot(folder / "calm")
        self.submission = self._submit(self.calm)
        self.cells = [cell.id for cell in self.submission.cells]
        self.tally = Tally()

    def _submit(self, root: RunsRoot) -> submission.Submission:
        manifest = load_manifest(self.folder / "soak.yaml")
        plan = expand(manifest, api.inputs(manifest, self.data, root))
        chosen = [cell for cell in plan.cells if cell.kind == "baseline" or cell.target == TARGET]
        return submission.create(root, "soak", self.data, (), packs(chosen))

    # ---- starts -------------------------------------------------------------------------------------------------

    def start(self, root: RunsRoot, minutes: float, fault: Fault | None) -> tuple[int, str]:
        """Run the job in a fork; returns its wait status and its log."""
        log = self.folder / "log"
        path = self.submission.folder(self.calm).file
        arguments = ["--runs", str(root.path), "--submission", str(path), "--checkpoint-minutes", str(minutes)]
        child = os.fork()
        if child == 0:
            os._exit(_in_child(self.job, arguments, log, fault))
        self.tally.starts += 1
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return status, log.read_text()

    def undisturbed(self) -> None:
        status, said = self.start(self.calm, 5.0, None)
        assert status == 0, said

    def lend_prepared(self, root: RunsRoot) -> None:
        """Data and tokens as the undisturbed run prepared them."""
        shutil.copytree(self.calm.prepared, root.prepared)

    def fault(self) -> Fault:
        """A point of the phase with the fewest kills so far."""
        fewest = min(self.tally.kills[phase] for phase in POINTS)
        phase = self.rng.choice([phase for phase in POINTS if self.tally.kills[phase] == fewest])
        point = min(POINTS[phase], key=lambda point: (self.tally.points[f"{phase}: {point}"], self.rng.random()))
        return Fault(phase=phase, point=point, count=self.rng.randint(1, 200 if point in MANY else 4))

    def round(self, kills: int) -> None:
        """Train from an empty runs root until every cell is done, with kills in between."""
        self.tally.rounds += 1
        root = RunsRoot(self.folder / f"round-{self.tally.rounds}")
        self.lend_prepared(root)
        for _ in range(MAX_STARTS):
            enough = sum(self.tally.kills.values()) >= kills
            fault = None if enough else self.fault()
            status, said = self.start(root, self.rng.choice(INTERVALS_MIN), fault)
            if status == 0:
                break
            if status != -9 or fault is None:
                self.tally.said.append(f"status {status} with {fault}: {said[-2000:]}")
                break
            self.tally.kills[fault.phase] += 1
            self.tally.points[f"{fault.phase}: {fault.point}"] += 1
            self._look(root)
            if self.rng.random() < DAMAGE_SHARE:
                self._damage(root)
        self._compare(root)
        if not (self.tally.lost or self.tally.different or self.tally.unreadable or self.tally.said):
            shutil.rmtree(root.path)

    def _look(self, root: RunsRoot) -> None:
        """Between a kill and the next start everything can be read, and nothing counts as failed or running."""
        for folder in root.cells():
            state = folder.state(local_liveness)
            if state.state not in ("done", "lost", "pending"):
                self.tally.unreadable.append(f"{folder.id} is {state.state} after a kill: {state.why}")

    def _damage(self, root: RunsRoot) -> None:
        """Cut or alter the newest checkpoint of some cell; the one before it must be used."""
        newest = [sorted(folder.path.glob("checkpoint/*.ckpt"))[-1:] for folder in root.cells()]
        found = [path for paths in newest for path in paths]
        if not found:
            return
        path = self.rng.choice(found)
        data = bytearray(path.read_bytes())
        if self.rng.random() < 0.5:
            del data[self.rng.randrange(len(data)) :]
        else:
            data[self.rng.randrange(len(data))] ^= 0xFF
        path.write_bytes(data)
        self.tally.damaged += 1

    # ---- comparison ---------------------------------------------------------------------------------------------

    def _compare(self, root: RunsRoot) -> None:
        for id in self.cells:
            self.tally.cells += 1
            try:
                found, wanted = outcome(root.cell(id)), outcome(self.calm.cell(id))
            except StoreError as error:
                self.tally.unreadable.append(str(error))
                continue
            if found is None:
                self.tally.lost.append(f"round {self.tally.rounds}: {id}")
            elif found != wanted:
                fields = [key for key in {*found, *(wanted or {})} if found.get(key) != (wanted or {}).get(key)]
                self.tally.different.append(f"round {self.tally.rounds}: {id}: {', '.join(sorted(fields))}")


def outcome(folder: CellDir) -> dict[str, Any] | None:
    """Everything that must not depend on kills: the numbers, and the bytes of adapters and predictions."""
    result = folder.result()
    if result is None:
        return None
    output = folder.verify(result)
    value = {key: item for key, item in result.items() if key not in OWN}
    names = [name for name in result["files"] if name != "provenance.json"]
    assert any(name.endswith(".safetensors") for name in names)
    assert "predictions.parquet" in names
    return value | {name: (output / name).read_bytes() for name in names}


def _job() -> ModuleType:
    """jobs/train.py, as a module."""
    path = Path(__file__).parents[2] / "jobs" / "train.py"
    spec = importlib.util.spec_from_file_location("train_job", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _in_child(job: ModuleType, arguments: list[str], log: Path, fault: Fault | None) -> int:
    with open(log, "w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    try:
        if fault is not None:
            faults.install(fault)
        status: int = job.main(arguments)
        return status
    except BaseException as error:  # a fork must never continue as its parent
        traceback.print_exception(error)
        return 70
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def soak(folder: Path, seed: int, kills: int) -> Tally:
    """Rounds until there were enough kills; the last round runs to its end too."""
    made = Soak(folder, seed)
    made.undisturbed()
    while sum(made.tally.kills.values()) < kills and not made.tally.said:
        made.round(kills)
    return made.tally


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
    else:
        with tempfile.TemporaryDirectory(prefix="empslurm-soak-") as name:
            yield Path(name)


def main() -> int:
    """0 when nothing was lost, different or unreadable."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=120)
    parser.add_argument("--folder", type=Path, help="where to work, kept afterwards; default: a temporary folder")
    given = parser.parse_args()
    began = time.monotonic()
    with _folder(given.folder) as folder:
        tally = soak(folder, given.seed, given.kills)
    bad = [*tally.lost, *tally.different, *tally.unreadable, *tally.said]
    value = {
        "seed": given.seed,
        "kills": sum(tally.kills.values()),
        "kills_by_phase": dict(sorted(tally.kills.items())),
        "kills_by_point": dict(sorted(tally.points.items())),
        "checkpoints_damaged": tally.damaged,
        "rounds": tally.rounds,
        "starts": tally.starts,
        "cells_compared": tally.cells,
        "lost": tally.lost,
        "different": tally.different,
        "unreadable": tally.unreadable,
        "unexpected": tally.said,
        "wall_s": round(time.monotonic() - began, 1),
    }
    sys.stdout.write(json.dumps(value, indent=1) + "\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
