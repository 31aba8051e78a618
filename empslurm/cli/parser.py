"""The command line: options of every verb, help texts with examples, and the parser of the verb that is called."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import empslurm
from empslurm import resources
from empslurm.cli.output import Output
from empslurm.cli.verbs import GROUPS, VERBS
from empslurm.validation.reader import refusal

SUMMARY = "Intermediate-task transfer studies with adapters, here or on a Slurm cluster."
ENTRY = re.compile(r" +\S+  +")  # a name and the margin of what is said about it


class Formatter(argparse.HelpFormatter):
    """Help whose paragraphs are folded. Indented lines stay lines: a list's entries fold, commands do not."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines: list[str] = []
        for line in text.splitlines():
            entry = ENTRY.match(line)
            if line.startswith(" ") and entry is None:
                lines.append(indent + line)
                continue
            hanging = indent + " " * (entry.end() if entry else 0)
            lines += textwrap.wrap(line, width, initial_indent=indent, subsequent_indent=hanging) or [""]
        return "\n".join(lines)


class Parser(argparse.ArgumentParser):
    """A parser that answers an unknown verb or action with a sentence. Raises UsageError there."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"formatter_class": Formatter, **settings})
        self.asked = self.prog  # whose --help an error points to

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            raise refusal(value, action.choices, str(action.metavar).lower())
        super()._check_value(action, value)

    def error(self, message: str) -> NoReturn:
        """Print the usage and a sentence; exit with 2."""
        super().error(f"{message}; see `{self.asked} --help`")


def texts(line: str, about: str, examples: Sequence[str]) -> dict[str, Any]:
    """Settings of a parser: `line` for the list that it is in, `about` and the examples for its own --help."""
    epilog = "\n".join(["examples:", *(f"  {command}" for command in examples)])
    return {"help": line, "description": about or f"{line[:1].upper()}{line[1:]}.", "epilog": epilog}


def folder(text: str) -> Path:
    """The folder that an option names. An empty text, as of a variable that is not set, is none."""
    if not text:
        raise argparse.ArgumentTypeError("must name a folder, but is empty")
    return Path(text)


def common_options() -> Parser:
    """The options of every verb, which may precede it too."""
    common = Parser(add_help=False, exit_on_error=False)
    group = common.add_argument_group("options of every verb")
    text = "keep results in this runs root (default: $EMPSLURM_RUNS, else runs)"
    group.add_argument("--runs", type=folder, metavar="DIR", default=argparse.SUPPRESS, help=text)
    text = "read raw data from this folder (default: $EMPSLURM_DATA, else data)"
    group.add_argument("--data", type=folder, metavar="DIR", default=argparse.SUPPRESS, help=text)
    text = "print one JSON document on stdout instead of text"
    group.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=text)
    return common


def runs_root(options: argparse.Namespace) -> Path:
    """The runs root of a command line."""
    return resources.runs(getattr(options, "runs", None))


def data_root(options: argparse.Namespace) -> Path:
    """The folder of raw data of a command line."""
    return resources.data(getattr(options, "data", None))


class Version(argparse.Action):
    """`--version`: the release and, where it is known, the commit. Raises DamagedError, StdoutError."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from empslurm import provenance

        code = provenance.code()
        changed = ", with changes" if code.dirty else ""
        commit = f" (commit {code.commit[:12]}{changed})" if code.commit else ""
        Output(json=False).line(f"empslurm {empslurm.__version__}{commit}")
        parser.exit()


def _verbs_by_group() -> str:
    """The table of verbs for `empslurm --help`."""
    width = max(map(len, VERBS)) + 2
    lines = []
    for group, heading in GROUPS.items():
        own = {name: verb for name, verb in VERBS.items() if verb.group == group}
        lines += ["", f"  {heading}:"] if own else []
        lines += [f"    {name:{width}}{verb.line}" for name, verb in own.items()]
    return "\n".join(lines)


def build(verb: str | None) -> Parser:
    """The whole parser; only the called verb's own arguments are built."""
    common = common_options()
    parser = Parser(
        prog="empslurm",
        usage="%(prog)s [--runs DIR] [--data DIR] [--json] VERB ...",
        description=f"{SUMMARY}\n{_verbs_by_group()}",
        epilog="`empslurm VERB --help` explains a verb, with examples.",
        parents=[common],
    )
    parser.asked = f"empslurm {verb}" if verb else "empslurm"
    parser.add_argument("--version", action=Version, help="show the version and, where it is known, the commit")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, prog="empslurm", help=argparse.SUPPRESS)
    for name, entry in VERBS.items():
        added = verbs.add_parser(name, parents=[common], **texts(entry.line, entry.about, entry.examples))
        if name == verb:
            importlib.import_module(f"empslurm.cli.{entry.module}").arguments(added, name, common)
    return parser


def called_verb(words: Sequence[str]) -> str | None:
    """The verb among the words: the first that is one and no option's value, as in `--data data`."""
    rest = list(words)
    with contextlib.suppress(argparse.ArgumentError):  # the whole parser reports it
        _, rest = common_options().parse_known_args(words)
    return next((word for word in rest if word in VERBS), None)
