"""Result files to tidy long tables, and a list of what is missing: nothing enters a table unverified.

Here belongs what reads and checks results, ours or somebody else's. What is computed from them is `analysis`, and what
is shown of them `report`.
"""

from empslurm.gather.collect import Gathered, Group, Missing, gather
from empslurm.gather.curves import curves_table
from empslurm.gather.inputs import from_file, published

__all__ = ["Gathered", "Group", "Missing", "curves_table", "from_file", "gather", "published"]
