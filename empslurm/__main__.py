"""`python -m empslurm`."""

from empslurm.cli import entry

if __name__ == "__main__":
    entry()
