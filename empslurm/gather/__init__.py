"""Result files to tidy long tables, and a list of what is missing: nothing enters a table unverified."""

from empslurm.gather.collect import Gathered, Group, Missing, gather

__all__ = ["Gathered", "Group", "Missing", "gather"]
