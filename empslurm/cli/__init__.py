"""The verbs, a module each. The only part that prints and exits: 0 done, 1 work failed, 2 wrong use.

Here belongs what is asked and shown; what a verb does is elsewhere, where scripts find it too. Heavy libraries are
imported by the verb that needs them, not with this package.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import empslurm
from empslurm.cli.output import Output, StdoutError, flush, open_closed_streams, silence
from empslurm.errors import EmpslurmError, ManifestError
from empslurm.launch import environment

# verb -> (module of empslurm.cli, one line for --help); a module is imported when its verb is called
VERBS: dict[str, tuple[str, str]] = {
    "init": ("init", "write a new folder with a manifest, profiles and cards that run at once"),
    "data": ("data", "the datasets: status, sample, stats"),
    "demo": ("demo", "a first look in minutes: an invented corpus with a planted truth, a grid, what was found"),
    "plan": ("plan", "the dry run: every cell with its decision, waves and packs"),
    "prepare": ("prepare", "everything that needs network or is shared, once, on the login node"),
    "submit": ("submit", "run what is missing; failed cells stay failed"),
    "resume": ("submit", "as submit, and failed cells too"),
    "cancel": ("cancel", "end the queued and running jobs of a manifest; what they saved stays"),
    "status": ("status", "cells by state and target, running ones, failures"),
    "logs": ("cell", "what the process of a cell said"),
    "show": ("cell", "everything about one cell"),
    "explain": ("cell", "which fields of two cells' identities differ"),
    "debug": ("debug", "one cell in this process for a few steps; changes nothing"),
    "gather": ("gather", "the tables so far, and plainly what is missing"),
    "agreement": ("agreement", "how far the annotators of the construct ratings agree"),
    "score": ("score", "every trained adapter's measure of any text, in one pass"),
    "export": ("export", "adapters with model cards, as AdapterHub has them"),
    "search": ("search", "a hyper-parameter search: report what it found, freeze its winners as a preset"),
    "profile": ("profile", "ask the cluster and write a profile for it"),
    "doctor": ("doctor", "check python, packages, device, Slurm, data, backbone, disk; with --profile a cluster"),
}

CLOSED = 0o007  # texts and what is predicted of them are nobody else's business, whatever the user's umask allows

Handler = Callable[[argparse.Namespace, Output], int]


def _common() -> argparse.ArgumentParser:
    """The options of every verb, which may stand before it too."""
    common = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    common.add_argument("--runs", type=Path, default=argparse.SUPPRESS, help="runs root (EMPSLURM_RUNS, else runs/)")
    common.add_argument("--data", type=Path, default=argparse.SUPPRESS, help="raw data (EMPSLURM_DATA, else data/)")
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="one JSON document on stdout")
    return common


def _parser(verb: str | None) -> argparse.ArgumentParser:
    """The whole parser; only the called verb's own arguments are built."""
    common = _common()
    parser = argparse.ArgumentParser(prog="empslurm", description=empslurm.__doc__, parents=[common])
    parser.add_argument(
        "--version", action=_Version, help="show the version and, where it is known, the commit; then exit"
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, (module, line) in VERBS.items():
        added = verbs.add_parser(name, help=line, description=line, parents=[common])
        if name == verb:
            importlib.import_module(f"empslurm.cli.{module}").arguments(added, name, common)
    return parser


class _Version(argparse.Action):
    """`--version`: the release and, where it is known, the commit."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from empslurm import provenance

        code = provenance.code()
        changed = " with changes" if code.dirty else ""
        commit = f" (commit {code.commit[:12]}{changed})" if code.commit else ""
        print(f"empslurm {empslurm.__version__}{commit}")
        parser.exit()


def _verb(arguments: Sequence[str]) -> str | None:
    """The verb among the arguments: the first word that is one and no option's value, as in `--data data`."""
    rest = list(arguments)
    with contextlib.suppress(argparse.ArgumentError):  # which the whole parser will tell
        _, rest = _common().parse_known_args(arguments)
    return next((word for word in rest if word in VERBS), None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the exit status. A user's error is one sentence on stderr, never a traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb = _verb(words)
    options = _parser(verb).parse_args(words)
    options.runs = getattr(options, "runs", None) or Path(os.environ.get("EMPSLURM_RUNS") or "runs")
    options.data = getattr(options, "data", None) or Path(os.environ.get("EMPSLURM_DATA") or "data")
    out = Output(json=getattr(options, "json", False))
    environment.forget_ranks()
    os.umask(os.umask(0o077) | CLOSED)
    try:
        return _call(options, out)
    except KeyboardInterrupt:
        out.say("stopped")
        return 130
    except BrokenPipeError:  # the reader of stdout has what it wants
        silence(sys.stdout)
        return 0
    except StdoutError as error:
        silence(sys.stdout)
        out.say(f"empslurm: {error}")
        return error.exit_code


def _call(options: argparse.Namespace, out: Output) -> int:
    try:
        handler: Handler = importlib.import_module(f"empslurm.cli.{VERBS[options.verb][0]}").run
        return handler(options, out)
    except StdoutError:
        raise
    except EmpslurmError as error:
        problems = list(error.problems) if isinstance(error, ManifestError) else [str(error)]
        out.fail(type(error).__name__, problems)
        return error.exit_code


def entry() -> None:
    """The console script."""
    open_closed_streams()
    try:
        status: int | str | None = main()
    except SystemExit as end:  # of argparse, which may have printed
        status = end.code
    sys.exit(flush(status))
