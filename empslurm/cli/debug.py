"""`debug`: train a cell for a few steps in this process, where breakpoint() works; the runs root stays unchanged."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from empslurm.cells import Baseline, Trained, Transfer
from empslurm.cli import common
from empslurm.cli.completion import cell_ids, completed
from empslurm.cli.names import planned
from empslurm.cli.output import Output
from empslurm.errors import UnknownCellError
from empslurm.plan import Plan, obstacle
from empslurm.store.claims import local_liveness
from empslurm.store.runs import RunsRoot

EVAL_EXAMPLES = 64
TrainedCell = TypeVar("TrainedCell", bound=Trained)


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    common.manifest_argument(parser)
    text = "train this cell (default: the first that can run)"
    completed(parser.add_argument("--cell", metavar="ID", help=text), cell_ids)
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="end after N optimiser steps (default 20)")


def choose(plan: Plan, name: str | None) -> Trained:
    """The cell with this id or beginning of it; without one the first that can run. Raises UnknownCellError."""
    trained = [cell for cell in plan.cells if isinstance(cell, Trained)]
    if name is not None:
        return planned(trained, name, f"cell of {plan.manifest.name} that is trained")
    obstacles = [obstacle(plan, cell) for cell in trained]
    if "" in obstacles:
        return trained[obstacles.index("")]
    if not obstacles:
        raise UnknownCellError(f"{plan.manifest.name} must train a cell to be debugged, but trains none; name another")
    raise UnknownCellError(f"no cell of {plan.manifest.name} can run here yet: {obstacles[0]}")


def shorten(cell: TrainedCell, n_steps: int) -> TrainedCell:
    """A copy of the cell, with another identity, and so little data that an epoch is `n_steps` steps."""
    training = replace(
        cell.training,
        epochs=1,
        max_train_examples=n_steps * cell.training.batch_size,
        max_eval_examples=EVAL_EXAMPLES,
    )
    return replace(cell, training=training)


def run(options: argparse.Namespace, out: Output) -> int:
    plan, root = common.load_plan(options)
    cell = choose(plan, options.cell)
    with tempfile.TemporaryDirectory(prefix="empslurm-debug-") as scratch_name:
        scratch = RunsRoot(Path(scratch_name))
        _borrow(root.prepared, scratch.prepared)
        wanted = [shorten(cell, options.steps)]
        if isinstance(cell, Transfer):
            (baseline,) = (other for other in plan.cells if isinstance(other, Baseline) and other.id == cell.parent)
            parent = shorten(baseline, options.steps)
            wanted = [parent, shorten(replace(cell, parent=parent.id), options.steps)]
        results = _train(plan, wanted, scratch, options.data, out)
    out.document({"cell": cell.id, "steps": options.steps, "results": results})
    out.line(f"{cell.id}: {options.steps} steps ran without an error; nothing was kept")
    return 0


def _borrow(prepared: Path, scratch: Path) -> None:
    """Link what is prepared already; what is missing is made in the scratch folder."""
    scratch.mkdir(parents=True)
    for entry in prepared.iterdir() if prepared.is_dir() else ():
        if entry.name != "tokens" and not entry.name.startswith("."):
            (scratch / entry.name).symlink_to(entry.resolve())


def _train(plan: Plan, cells: list[Trained], root: RunsRoot, data_root: Path, out: Output) -> list[dict[str, object]]:
    from accelerate import Accelerator

    from empslurm.train.context import Node
    from empslurm.train.group import train_members
    from empslurm.train.loop import Settings
    from empslurm.train.member import Held, Member
    from empslurm.train.tally import Tally

    class Strict(Tally):
        """Raises every failure: its traceback is what a user of `debug` wants to see."""

        def lost(self, held: Held, error: Exception) -> None:
            raise error

    node = Node(root, data_root, plan.manifest.registry, Accelerator(mixed_precision=cells[-1].mixed_precision))
    tally, results = Strict(accelerator=node.accelerator, say=out.say), []
    for cell in cells:
        folder = root.cell(cell.id)
        folder.create(cell)
        claim = folder.take(local_liveness)
        assert claim is not None
        member = Member(cell=cell, folder=folder, claim=claim)
        list(train_members([member], node, Settings(checkpoint_every_s=float("inf")), tally))
        result = folder.result() or {}
        results.append({key: result[key] for key in ("kind", "source", "target", "history", "test", "flags")})
    return results
