"""Which inherited environment variables Slurm's commands and train processes get; others would change what they do."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# Variables that act as options, from the user's shell or from the job that this process runs in: `SBATCH_PARTITION`,
# `SLURM_MEM_PER_CPU`, `SQUEUE_STATES`. A job that is sent from an allocation would inherit the allocation's.
SLURM = re.compile(r"(SLURM|SBATCH|SALLOC|SRUN|SQUEUE|SCANCEL|SINFO|SACCT|SCONTROL|SACCTMGR|SPRIO|SSHARE|SPANK)_\w*")
FINDS_CLUSTER = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT"})
# Variables that make a process one of several: those of torchrun, MPI, srun (for MPI programs) and accelerate.
RANKS = re.compile(
    r"(LOCAL_|GROUP_|NODE_|ROLE_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)|ROLE_NAME|"
    r"(PMI|PMIX|PMI2|OMPI|MV2|MPI|MPIR|HYDRA|ACCELERATE|TORCHELASTIC|FSDP|PARALLELISM_CONFIG)_\w*"
)
# They describe the element that this process runs in, not the jobs that are sent from it.
OWN = frozenset({"EMPSLURM_ARRAY", "EMPSLURM_JOB_NAME", "EMPSLURM_LOG"})


def for_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of sbatch, squeue, scontrol, sacct and jobs, without variables that would override a profile."""
    return {
        name: value
        for name, value in environment.items()
        if name in FINDS_CLUSTER or not (SLURM.fullmatch(name) or name in OWN)
    }


def for_training(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a launcher of train processes, without ranks: the launcher sets them itself."""
    return {name: value for name, value in environment.items() if not RANKS.fullmatch(name)}


@contextmanager
def only(environment: Mapping[str, str]) -> Iterator[None]:
    """Replace this process's environment for a while, for libraries that pass it on."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def forget_ranks() -> None:
    """Remove the ranks that an outer launcher set: a command of empslurm is one process."""
    for name in [name for name in os.environ if RANKS.fullmatch(name)]:
        del os.environ[name]
