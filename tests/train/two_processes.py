"""What each of two processes executes: train a pack of one cell, with a lack of memory staged on rank 1.

torchrun ... two_processes.py FOLDER {nothing,step,evaluation,least} ...

Starting both takes far longer than training, so that one start serves all that is staged, each in a folder of its own.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from accelerate.utils import broadcast_object_list

from empslurm.store.runs import RunsRoot
from empslurm.train import evaluate, group
from empslurm.train.evaluate import token_batches
from empslurm.train.loop import Settings, Trainer
from empslurm.train.member import Member
from empslurm.train.model.adapter_bank import Bank
from empslurm.train.processes import least
from tests.train.world import InventedNode, Strict, baseline, claimed


def main(folder: Path, staged: str) -> InventedNode:
    """One process. It restores every class that it patches."""
    folder.mkdir(exist_ok=True)
    node = InventedNode(RunsRoot(folder / "runs"))
    rank = node.accelerator.process_index
    assert node.accelerator.num_processes == 2
    sizes: list[list[int | None]] = []
    told = {"n": 0}
    begin, real = Trainer.__init__, Bank.logits

    def start(
        self: Trainer, members: Any, data: Any, model: Any, accelerator: Any, settings: Settings, lost: Any
    ) -> None:
        sizes.append([settings.group_size, settings.micro_batch])
        begin(self, members, data, model, accelerator, settings, lost)

    def logits(self: Bank, below: Any, cells: Any, free: Any, masks: Any) -> list[torch.Tensor]:
        mine = rank == 1 and staged == ("evaluation" if masks is None else "step")
        told["n"] += mine
        if mine and told["n"] == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate what is not there")
        return real(self, below, cells, free, masks)

    cell, made = baseline(), {"rank": rank}
    if staged == "least":
        made["least"] = least(node.accelerator, 7 if rank == 0 else 3)
    else:
        claims: list[Any] = [member.claim for member in claimed(node.root, [cell])] if rank == 0 else [None]
        broadcast_object_list(claims)
        member = Member(cell=cell, folder=node.root.cell(cell.id), claim=claims[0])

        tally = Strict(accelerator=node.accelerator)
        with (
            patch.object(Trainer, "__init__", start),
            patch.object(Bank, "logits", logits),
            # some for each rank
            patch.object(evaluate, "token_batches", partial(token_batches, max_tokens=64)),
        ):
            done = list(group.train_members([member], node, Settings(), tally))
        made |= {"sizes": sizes, "done": len(done), "losses": [entry["train_loss"] for entry in member.history]}
    (folder / f"rank-{rank}.json").write_text(json.dumps(made))
    return node


if __name__ == "__main__":
    for name in sys.argv[2:]:
        last = main(Path(sys.argv[1], name), name)
    last.accelerator.end_training()
