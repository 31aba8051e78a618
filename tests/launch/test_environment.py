"""Inherited variables change nothing for Slurm or for train processes."""

import os

import pytest

from empslurm.launch import environment
from empslurm.launch.node import process

KEPT = {"SLURM_CONF": "/x", "SLURM_CLUSTERS": "alpha", "HOME": "/me", "CUDA_VISIBLE_DEVICES": "1", "EMPSLURM_RUNS": "r"}
OPTIONS = [
    *("SLURM_JOB_ID", "SLURM_MEM_PER_CPU", "SLURM_EXPORT_ENV", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT"),
    *("SBATCH_EXPORT", "SBATCH_PARTITION", "SBATCH_TIMELIMIT", "SBATCH_NO_REQUEUE", "SBATCH_JOB_NAME"),
    *("SQUEUE_STATES", "SQUEUE_FORMAT", "SALLOC_ACCOUNT", "SRUN_DEBUG", "SCANCEL_STATE", "SINFO_FORMAT"),
    *("SACCT_FORMAT", "SCONTROL_ALL", "SPANK_X", "EMPSLURM_ARRAY", "EMPSLURM_JOB_NAME", "EMPSLURM_LOG"),
]
RANKS = [
    *("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"),
    *("PMI_RANK", "PMI_SIZE", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK", "ACCELERATE_USE_CPU"),
    "TORCHELASTIC_RUN_ID",
]


def test_slurm_gets_what_finds_the_cluster_and_no_options() -> None:
    found = environment.for_slurm({**KEPT, **dict.fromkeys([*OPTIONS, *RANKS], "1")})
    assert found == {**KEPT, **dict.fromkeys(RANKS, "1")}


def test_train_processes_get_no_ranks_and_keep_their_job() -> None:
    found = environment.for_training({**KEPT, **dict.fromkeys([*OPTIONS, *RANKS], "1")})
    assert found == {**KEPT, **dict.fromkeys(OPTIONS, "1")}


def test_the_launcher_hands_no_rank_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RANKS:
        monkeypatch.setenv(name, "2")
    assert not process.train_environment().keys() & set(RANKS)


def test_a_command_forgets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RANKS:
        monkeypatch.setenv(name, "2")
    environment.forget_ranks()
    assert not os.environ.keys() & set(RANKS)


def test_an_environment_is_replaced_and_restored() -> None:
    before = dict(os.environ)
    with environment.only({"A": "1"}):
        assert dict(os.environ) == {"A": "1"}
        os.environ["B"] = "2"
    assert dict(os.environ) == before
