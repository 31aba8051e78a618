"""The command line, a module per verb. Only this package prints and exits: 0 done, 1 work failed, 2 wrong use.

It holds what is asked and shown. The work is done in other packages, so that scripts can use it too. The verb that
needs a heavy library imports it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from empslurm.cli import parser
from empslurm.cli.output import Output, StdoutError, flush, open_closed_streams, silence
from empslurm.cli.verbs import VERBS
from empslurm.errors import EmpslurmError, ManifestError, SheetError
from empslurm.launch import environment

CLOSED = 0o007  # texts and predictions are private, whatever the user's umask allows

Handler = Callable[[argparse.Namespace, Output], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status. A user's error is one sentence on stderr, never a traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if os.environ.get("_ARGCOMPLETE") and "COMP_LINE" in os.environ:  # a shell asks what may follow
        from empslurm.cli import completion

        completion.answer()
    out = Output(json="--json" in words)
    try:
        return _run(words, out)
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


def _run(words: Sequence[str], out: Output) -> int:
    try:
        options = parser.build(parser.called_verb(words)).parse_args(words)
        options.runs, options.data = parser.runs_root(options), parser.data_root(options)
        out.json = getattr(options, "json", False)
        environment.forget_ranks()
        os.umask(os.umask(0o077) | CLOSED)
        return _call(options, out)
    except StdoutError:
        raise
    except EmpslurmError as error:
        problems = list(error.problems) if isinstance(error, ManifestError | SheetError) else [str(error)]
        out.fail(type(error).__name__, problems)
        return error.exit_code


def _call(options: argparse.Namespace, out: Output) -> int:
    handler: Handler = importlib.import_module(f"empslurm.cli.{VERBS[options.verb].module}").run
    return handler(options, out)


def entry() -> None:
    """The console script."""
    open_closed_streams()
    try:
        status: int | str | None = main()
    except SystemExit as end:  # of argparse, which may have printed
        status = end.code
    sys.exit(flush(status))
