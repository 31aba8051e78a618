"""Read and verify results and list what is missing; no unverified result enters a table.

`gather` reads a runs root, `from_file` any table of results, `published` the paper's printed scores; each returns a
`Gathered`. Computing with results is in `analysis`, showing them in `report`.
"""

from empslurm.gather.collect import Gathered, Group, Missing, gather, joined, missing_columns
from empslurm.gather.curves import curves_table
from empslurm.gather.inputs import from_file, published

__all__ = [
    "Gathered",
    "Group",
    "Missing",
    "curves_table",
    "from_file",
    "gather",
    "joined",
    "missing_columns",
    "published",
]
