"""The page of the command line, from its parsers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from docs.pages.markdown import anchor, code, escaped, page, table, text_table
from empslurm.cli import documents as json_documents
from empslurm.cli import parser
from empslurm.cli.verbs import VERBS

EXIT_CODES = {
    "0": "Done.",
    "1": "Work failed, or a part of it: a cell failed, a file is damaged, data is missing, Slurm refused.",
    "2": "Wrong use: an unknown option, a mistake in a manifest, an unknown cell.",
    "130": "Stopped with Ctrl-C. The same command continues from the checkpoints.",
}
VARIABLES = {
    "EMPSLURM_RUNS": "The runs root, where `--runs` is not given.",
    "EMPSLURM_DATA": "The raw data, where `--data` is not given.",
    "NO_COLOR": "Print without colours.",
    "COLUMNS": "Width of the terminal in characters.",
}


def is_parser_of_actions(action: argparse.Action) -> bool:
    return isinstance(action, argparse._SubParsersAction)


def visible(parser: argparse.ArgumentParser, leave_out: frozenset[str]) -> list[argparse.Action]:
    """The arguments of a parser, without sub-actions, help, and those whose destination is in `leave_out`."""
    return [
        action
        for action in parser._actions
        if action.help != argparse.SUPPRESS
        and not isinstance(action, argparse._HelpAction)
        and not is_parser_of_actions(action)
        and action.dest not in leave_out
    ]


def value_of(action: argparse.Action) -> str:
    """The value of an argument in a usage line: `FILE`, `{a,b}`, `PATH [PATH ...]`; empty where it takes none."""
    if action.nargs == 0:
        return ""
    name = action.metavar or action.dest
    if action.metavar is None:
        name = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    text = " ".join(name) if isinstance(name, tuple) else name
    shapes = {"?": "[{0}]", "*": "[{0} ...]", "+": "{0} [{0} ...]"}
    if isinstance(action.nargs, int):
        return " ".join([text] * action.nargs)
    return shapes.get(str(action.nargs), "{0}").format(text)


def usage(prog: str, actions: Sequence[argparse.Action]) -> str:
    """One line: the verb, its options, its arguments."""
    options = [action for action in actions if action.option_strings]
    calls = [(action, f"{action.option_strings[-1]} {value_of(action)}".strip()) for action in options]
    written = [call if action.required else f"[{call}]" for action, call in calls]
    return " ".join([prog, *written, *(value_of(action) for action in actions if not action.option_strings)])


def help_of(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """The help text with its default filled in, starting with a capital letter and ending with a full stop."""
    values = {**vars(action), "prog": parser.prog}
    text = (action.help or "") % values
    return sentence(text)


def sentence(text: str) -> str:
    """Words as a sentence."""
    text = text.strip()
    return f"{text[0].upper()}{text[1:]}{'' if text[-1] in '.!?' else '.'}" if text else ""


def option_table(parser: argparse.ArgumentParser, actions: Sequence[argparse.Action], prefix: str) -> str:
    """The arguments and options of a verb."""
    if not actions:
        return ""
    rows = []
    for action in sorted(actions, key=lambda each: bool(each.option_strings)):
        value = value_of(action)
        names = action.option_strings or [value]
        shown = ", ".join(code(f"{name} {value}".strip() if action.option_strings else name) for name in names)
        where = (action.option_strings[-1] if action.option_strings else action.dest).lstrip("-")
        text = escaped(help_of(parser, action))
        if action.choices and action.metavar is not None:
            text += " One of " + ", ".join(code(str(choice)) for choice in action.choices) + "."
        needed = " **Required.**" if action.required and action.option_strings else ""
        rows.append((f"{anchor(f'{prefix}.{where}')}{shown}", text + needed))
    return table(("argument", "meaning"), rows)


def examples(parser: argparse.ArgumentParser) -> str:
    """What stands below the options in --help: commands, as a user types them."""
    lines = [line.strip() for line in (parser.epilog or "").splitlines()]
    commands = "\n".join(line for line in lines if line and line.lower() != "examples:")
    return f"Examples:\n\n```bash\n{commands}\n```" if commands else ""


def verb_parsers() -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Each verb, or verb and action, with its line of help and its parser."""
    for verb, entry in VERBS.items():
        command = sub_parsers(parser.build(verb))[verb][1]
        actions = sub_parsers(command)
        yield verb, entry.line, command
        for name, (text, inner) in actions.items():
            yield f"{verb} {name}", text, inner


def sub_parsers(parser: argparse.ArgumentParser) -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """Name -> line of help and parser, of what a parser may be followed by."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            return {name: (helps.get(name, ""), inner) for name, inner in action.choices.items()}
    return {}


def cli_page() -> str:
    """Every verb and action with its usage and options."""
    common = parser.common_options()
    shared = frozenset(action.dest for action in common._actions)
    blocks = []
    for name, line, command in verb_parsers():
        actions = visible(command, shared)
        level = "###" if " " in name else "##"
        below = list(sub_parsers(command))
        if below:
            call = f"empslurm {name} ACTION"
            more = "Actions: " + ", ".join(f"[`{each}`](#{name}-{each})" for each in below) + "."
        else:
            call = usage(f"empslurm {name}", actions)
            more = ""
        text = sentence(command.description or line)
        blocks += [
            f"{level} `{name}`",
            escaped(text).replace("\\|", "|"),
            f"```text\n{call}\n```",
            more,
            option_table(command, actions, name.replace(" ", "-")),
            examples(command),
            f"With `--json`: [its document](json.md#{name.replace(' ', '-')})."
            if name in json_documents.DOCUMENTS
            else "",
        ]
    rows = [
        (f"[`{name}`](#{name.replace(' ', '-')})", escaped(sentence(line)))
        for name, line, _ in verb_parsers()
        if " " not in name
    ]
    return page(
        "Command line: every verb",
        "`empslurm VERB ...` and `python -m empslurm VERB ...` are the same. Every verb has `--help`.",
        table(("verb", "what it does"), rows),
        "## Common options",
        "Every verb has these options. They may also precede the verb.",
        option_table(common, visible(common, frozenset()), "common"),
        "`empslurm --version` prints the version.",
        "## Environment variables",
        text_table(VARIABLES, "variable"),
        "## Exit status",
        text_table(EXIT_CODES, "status"),
        "Results are on standard output; progress, warnings and errors are on standard error.",
        *blocks,
    )
