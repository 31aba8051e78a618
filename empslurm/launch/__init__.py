"""From decisions to running processes: here on this machine, or as Slurm arrays."""
