"""Result files to tidy long tables, and a list of what is missing: nothing enters a table unverified."""

from empslurm.gather.collect import Gathered, Group, Missing, gather
from empslurm.gather.inputs import from_file, published

__all__ = ["Gathered", "Group", "Missing", "from_file", "gather", "published"]
