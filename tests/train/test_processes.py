"""Several processes of one pack: if one runs out of memory, all continue with the same smaller sizes."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from empslurm.store.runs import RunsRoot
from empslurm.train import memory
from empslurm.train.checkpoint import Checkpoint, State
from empslurm.train.group import _as_before
from empslurm.train.loop import Settings
from tests.train.world import InventedNode

SCRIPT = Path(__file__).with_name("two_processes.py")
ROOT = Path(__file__).parents[2]
STAGED = ("nothing", "step", "evaluation", "least")


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each of two processes reports, by staged failure and rank. They train one new pack after the other."""
    folder = tmp_path_factory.mktemp("processes")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(SCRIPT)]
    done = subprocess.run(
        [*command, str(folder), *STAGED],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {
        staged: [json.loads((folder / staged / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
        for staged in STAGED
    }


@pytest.mark.parametrize("staged", ["step", "evaluation"])
def test_out_of_memory_on_one_rank_makes_all_go_on_with_smaller_pieces(said, staged):
    even, failing = said["nothing"], said[staged]
    assert [rank["sizes"] for rank in even] == [[[1, None]]] * 2
    assert [rank["sizes"] for rank in failing] == [[[1, None], [1, 4]]] * 2  # half of a batch of 8, on both
    assert failing[0]["losses"] == pytest.approx(even[0]["losses"], rel=1e-4)
    assert [rank["done"] for rank in failing] == [1, 1]


def test_the_smallest_group_size_of_all_ranks_counts(said):
    assert [rank["least"] for rank in said["least"]] == [3, 3]  # rank 0 says 7, rank 1 says 3


@pytest.mark.parametrize(("share", "expected"), [(1.0, 15), (0.5, 6), (0.25, 1), (0.1, 1)])
def test_a_process_sizes_its_group_by_its_share_of_the_memory(monkeypatch, share, expected):
    """A cell takes 2 GB, plus 3 GB that all cells share; of the GPU's 45 GB, 40 are free and this process holds 2."""
    free = {"new": torch.empty(10**9, dtype=torch.int8, device="meta")}  # 3 GB for the optimiser
    model: Any = SimpleNamespace(free=free, n_cells=100)
    data: Any = None
    accelerator = SimpleNamespace(device=torch.device("cuda"), num_processes=1)
    monkeypatch.setattr(memory, "_peak", lambda _model, _data, _size, n, _accelerator: (3 + 2 * n) * 1e9)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (40e9, 45e9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 2e9)
    assert memory.group_size(model, data, 8, accelerator, share) == expected


def test_a_pack_keeps_the_sizes_that_its_checkpoints_name(tmp_path):
    state = State(id="x", step=1, history=(), best_epoch=None, n_tokens=1, wall_s=0.0)
    kept_sizes = Checkpoint(state=replace(state, group_size=6, micro_batch=4), tensors={})
    old = Checkpoint(state=state, tensors={})  # written before sizes were kept
    node = InventedNode(RunsRoot(tmp_path))
    settings = Settings()
    assert _as_before(settings, [kept_sizes], node) == settings  # a CPU's passes have one cell
    node.accelerator = type("A", (), {"device": torch.device("cuda")})()
    kept = _as_before(settings, [kept_sizes, kept_sizes], node)
    assert (kept.group_size, kept.micro_batch) == (6, 4)
    assert _as_before(settings, [old], node) == settings
    smaller = Settings(group_size=2)  # a size chosen after a lack of memory is kept
    assert _as_before(smaller, [kept_sizes], node) == smaller
