"""Run on a node by `empslurm doctor --probe`: report what the training Python can do, or race for files.

accelerate launch jobs/probe.py --report FILE --gpus N
python jobs/probe.py --race FOLDER --at TIME
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from empslurm import files
from empslurm.errors import EmpslurmError


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 on success, 1 where a file could not be written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--report", type=Path, metavar="FILE", help="write what this Python can do to FILE")
    what.add_argument("--race", type=Path, metavar="FOLDER", help="create files in FOLDER before another process does")
    parser.add_argument("--gpus", type=int, default=0, help="number of GPUs that the profile asks for")
    parser.add_argument("--at", type=float, default=0.0, metavar="TIME", help="Unix time at which the race begins")
    options = parser.parse_args(arguments)
    try:
        if options.race is not None:
            from empslurm.launch.site.probe_node import race

            print(json.dumps(race(options.race, options.at)))
        else:
            from empslurm.train.probe import report

            files.write_json(options.report, report(options.gpus))
    except EmpslurmError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
