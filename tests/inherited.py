"""What a user's shell, an allocation or an outer launcher may have set, and what must rule nothing."""

SLURM = {
    "SLURM_MEM_PER_CPU": "300",
    "SBATCH_EXPORT": "NONE",
    "SLURM_EXPORT_ENV": "NONE",
    "SLURM_ARRAY_JOB_ID": "5",
    "SLURM_ARRAY_TASK_ID": "5",
    "SLURM_JOB_ID": "5",
    "SLURM_RESTART_COUNT": "3",
    "SBATCH_PARTITION": "nowhere",
    "SBATCH_TIMELIMIT": "1",
    "SBATCH_NO_REQUEUE": "1",
    "SBATCH_JOB_NAME": "mine",
    "SQUEUE_STATES": "PENDING",
    "SQUEUE_PARTITION": "nowhere",
    "SALLOC_ACCOUNT": "nobody",
    "SRUN_CPUS_PER_TASK": "64",
}
RANKS = {
    "WORLD_SIZE": "2",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29517",
    "PMI_RANK": "1",
    "PMI_SIZE": "2",
    "PMIX_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
    "MV2_COMM_WORLD_RANK": "1",
    "ACCELERATE_USE_FSDP": "true",
}
