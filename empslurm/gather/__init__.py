"""Read and verify results and list what is missing; no unverified result enters a table.

`gather` reads a runs root, `from_file` any table of results, `published` the paper's printed scores; each returns a
`Gathered`. `together` makes one of several labs'. Computing with results is in `analysis`, showing them in `report`.
"""

from empslurm.gather.collect import Gathered, Group, Missing, gather, joined, missing_columns
from empslurm.gather.curves import curves_table
from empslurm.gather.inputs import from_file, published
from empslurm.gather.labs import Input, LabRuns, Told, together

__all__ = [
    "Gathered",
    "Group",
    "Input",
    "LabRuns",
    "Missing",
    "Told",
    "curves_table",
    "from_file",
    "gather",
    "joined",
    "missing_columns",
    "published",
    "together",
]
