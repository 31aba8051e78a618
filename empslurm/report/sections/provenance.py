"""The section of where the numbers come from."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import empslurm
from empslurm import reference
from empslurm.report.contents import Contents, setting

PACKAGED = ("ratings.csv", "table1.csv", "table6.csv", "table7.csv", "table8.csv")  # files of the paper's numbers


def provenance(contents: Contents) -> Mapping[str, Any]:
    """The section's values: program, code of the runs, every setting, and the sources of the paper's numbers."""
    runs = [group.analyses.group.runs for group in contents.groups]
    commits = {str(commit) for table in runs for commit in table["commit"].dropna()}
    facts = {"made by": f"empslurm {empslurm.__version__}, {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}"}
    if commits:
        facts["code of the runs"] = ", ".join(sorted(commits))
    for group in contents.groups:
        name = group.analyses.group.name
        facts |= {f"{name} {key}".strip(): value for key, value in setting(group.analyses).items()}
    for name in PACKAGED if contents.of_paper else ():
        known = reference.provenance(name)
        facts[name] = " ".join([known.source + ".", *(note[0].upper() + note[1:] + "." for note in known.notes)])
    return {"facts": facts}
