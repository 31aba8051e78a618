"""Which inherited environment variables may reach Slurm's commands and train processes; the rest would rule them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# Options in disguise, of the user's shell or of the job that this runs in: `SBATCH_PARTITION`, `SLURM_MEM_PER_CPU`,
# `SQUEUE_STATES`. An allocation hands its own on to all that is sent from it.
SLURM = re.compile(r"(SLURM|SBATCH|SALLOC|SRUN|SQUEUE|SCANCEL|SINFO|SACCT|SCONTROL|SACCTMGR|SPRIO|SSHARE|SPANK)_\w*")
FINDS_CLUSTER = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT"})
# What tells a process that it is one of several: of torchrun, MPI, srun's own start of MPI programs, accelerate.
RANKS = re.compile(
    r"(LOCAL_|GROUP_|NODE_|ROLE_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)|ROLE_NAME|"
    r"(PMI|PMIX|PMI2|OMPI|MV2|MPI|MPIR|HYDRA|ACCELERATE|TORCHELASTIC|FSDP|PARALLELISM_CONFIG)_\w*"
)
# Of the element that a process runs in; whatever is sent from there is another one's.
OWN = frozenset({"EMPSLURM_ARRAY", "EMPSLURM_JOB_NAME", "EMPSLURM_LOG"})


def for_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    """What sbatch, squeue, scontrol, sacct and the jobs get: nothing that decides in a profile's place."""
    return {
        name: value
        for name, value in environment.items()
        if name in FINDS_CLUSTER or not (SLURM.fullmatch(name) or name in OWN)
    }


def for_training(environment: Mapping[str, str]) -> dict[str, str]:
    """What a launcher of train processes gets: it alone says how many there are, and which is which."""
    return {name: value for name, value in environment.items() if not RANKS.fullmatch(name)}


@contextmanager
def only(environment: Mapping[str, str]) -> Iterator[None]:
    """This process's environment is `environment` for a while: for libraries that hand on what they find."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def forget_ranks() -> None:
    """Take from this process what it inherited of an outer launcher: a command of empslurm is one process."""
    for name in [name for name in os.environ if RANKS.fullmatch(name)]:
        del os.environ[name]
