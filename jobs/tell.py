"""Run on a node when all jobs of a submission have ended: print one line that counts its cells by state.

python jobs/tell.py --runs RUNS --submission FILE
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from empslurm.errors import EmpslurmError
from empslurm.launch import submission as submissions
from empslurm.launch.states import states
from empslurm.store.runs import RunsRoot


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 if every cell is done, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="runs root")
    parser.add_argument("--submission", type=Path, required=True, metavar="FILE", help="submission.jsonl")
    options = parser.parse_args(arguments)
    try:
        submitted = submissions.load(options.submission)
        state_of = states([cell.id for cell in submitted.cells], RunsRoot(options.runs))
    except EmpslurmError as error:
        print(error)
        return 1
    tally = Counter(state.state for state in state_of.values())
    print(f"{submitted.manifest}: " + ", ".join(f"{n} {state}" for state, n in tally.most_common()))
    return 0 if set(tally) == {"done"} else 1


if __name__ == "__main__":
    sys.exit(main())
