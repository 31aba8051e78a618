"""`completion`: what a shell needs to complete empslurm's words, and the answers that it then asks for.

The package argcomplete speaks with the shell. Where it is not installed, nothing is completed and nothing else changes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable

from empslurm import resources
from empslurm.cli import parser
from empslurm.cli.output import Output
from empslurm.errors import StoreError, UsageError
from empslurm.store.runs import RunsRoot

SHELLS = {  # shell -> how to load the lines at its start
    "bash": 'add to ~/.bashrc: eval "$(empslurm completion bash)"',
    "zsh": 'add to ~/.zshrc, after compinit: eval "$(empslurm completion zsh)"',
    "fish": "write to a file: empslurm completion fish > ~/.config/fish/completions/empslurm.fish",
}
FILES = (".yaml", ".yml")


# ---- what may be completed -------------------------------------------------------------------------------------------


def completed(action: argparse.Action, names: Callable[..., Iterable[str]]) -> None:
    """Complete an argument by `names`, called with `prefix` and `parsed_args` among others."""
    action.completer = names  # type: ignore[attr-defined]  # argcomplete reads it


def _is_text(name: str) -> bool:
    """Whether a file's name can be sent to a shell: a name that is not UTF-8 would end the answer."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def manifest_names(prefix: str, **_: object) -> list[str]:
    """Manifests of manifests/ by name, and YAML files by path."""
    return [*filter(_is_text, resources.names("manifests")), *_yaml_files(prefix)]


def profile_names(prefix: str, **_: object) -> list[str]:
    """Profiles of slurm/ by name, and YAML files by path."""
    return [*filter(_is_text, resources.names("slurm")), *_yaml_files(prefix)]


def cell_ids(parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """The cells of the runs root."""
    try:
        return RunsRoot(parser.runs_root(parsed_args)).ids()
    except StoreError:
        return []


def _yaml_files(prefix: str) -> list[str]:
    """YAML files whose path begins with `prefix`, and folders once something is typed."""
    folder = prefix[: prefix.rfind("/") + 1]
    try:
        entries = sorted(os.scandir(os.path.expanduser(folder) or "."), key=lambda entry: entry.name)
    except OSError:
        return []
    return [
        f"{folder}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in entries
        if not entry.name.startswith(".")
        and _is_text(entry.name)
        and (entry.name.endswith(FILES) or (prefix and entry.is_dir()))
    ]


# ---- the shell -------------------------------------------------------------------------------------------------------


def answer() -> None:
    """Answer a shell that asks for completions, and end this process; return where argcomplete is not installed."""
    try:
        import argcomplete
        from argcomplete.lexers import split_line
    except ImportError:
        return
    try:
        *_, words, _ = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))
    except (KeyError, ValueError):  # no shell asks
        return
    argcomplete.autocomplete(parser.build(parser.called_verb(words[1:])), always_complete_options=False)


def arguments(added: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    added.add_argument("shell", metavar="SHELL", choices=tuple(SHELLS), help="print the lines for bash, zsh or fish")


def run(options: argparse.Namespace, out: Output) -> int:
    try:
        from argcomplete.shell_integration import shellcode
    except ImportError as error:
        raise UsageError(
            "completion needs the package argcomplete, but it is not installed; run `pip install argcomplete`"
        ) from error
    code = shellcode(["empslurm"], shell=options.shell)
    out.document({"shell": options.shell, "code": code, "load": SHELLS[options.shell]})
    for line in (*code.splitlines(), f"# {SHELLS[options.shell]}"):
        out.line(line)
    return 0
