"""Write the pages of docs/reference/ from the code: `python docs/reference.py`; with `--check`, only compare them.

Keys, options, types, limits and defaults are read from the code, and so are their descriptions where the code has them.
What the code has no description for (the files of a runs root) is described here; a field without a text is an error.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import empslurm
from empslurm import cells, metrics
from empslurm.cli import documents, parser
from empslurm.cli.verbs import VERBS
from empslurm.config import ADAPTER_KINDS
from empslurm.gather.collect import LONG
from empslurm.gather.curves import CURVES
from empslurm.launch import profile
from empslurm.launch.journal import Event
from empslurm.launch.submission import Header, PackLine
from empslurm.manifest.schema import ManifestFile, SearchFile
from empslurm.report.tables import PAIR_COLUMNS
from empslurm.search.results import TrialOutcome
from empslurm.store import adapter_metadata, predictions
from empslurm.store.cell_folder import Progress
from empslurm.store.claims import Claim
from empslurm.tasks.card_schema import PART_NAMES, Card
from empslurm.validation.constraints import Doc, Listed, Partial
from empslurm.validation.reader import field_hints, is_union, key_of, required, unwrap, wanted

FOLDER = Path(__file__).resolve().parent / "reference"
HEADER = (
    "<!-- Written by docs/reference.py from the code. Do not edit this page: change the code, then run it again. -->\n"
)


class UndescribedError(Exception):
    """A field has no text here, or a text has no field."""


# ---- Markdown -------------------------------------------------------------------------------------------------------


def escaped(text: str) -> str:
    """Text for a cell of a table: nothing of it is markup, but what is between backticks stays code."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    plain = [re.sub(r"([*<\[\]])", r"\\\1", part) if index % 2 == 0 else part for index, part in enumerate(parts)]
    return "".join(plain).replace("|", "\\|")


def code(text: str) -> str:
    """Text as code in a cell of a table."""
    return f"`{text}`".replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; its cells are Markdown."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def anchor(name: str) -> str:
    """An address for a row of a table."""
    return f'<a id="{name}"></a>'


def page(title: str, *blocks: str) -> str:
    """A whole page: blocks with one empty line between them."""
    return "\n".join([HEADER, f"# {title}\n", *(block.strip("\n") + "\n" for block in blocks if block.strip())])


def described(names: Iterable[str], texts: Mapping[str, str], what: str) -> list[tuple[str, str]]:
    """Each name with its text, in the order of the names. Raises UndescribedError unless they match."""
    names = list(names)
    if set(names) != set(texts):
        differing = ", ".join(sorted(set(names) ^ set(texts)))
        raise UndescribedError(f"docs/reference.py must describe all keys of {what} and no others; fix: {differing}")
    return [(name, texts[name]) for name in names]


def key_table(names: Iterable[str], texts: Mapping[str, str], what: str, head: str = "key") -> str:
    """A table of names with their texts."""
    return table((head, "meaning"), ((code(name), escaped(text)) for name, text in described(names, texts, what)))


def text_table(texts: Mapping[str, str], head: str = "key") -> str:
    """A table of names that only this script lists, with their texts."""
    return key_table(texts, texts, head, head)


# ---- types in words -------------------------------------------------------------------------------------------------


def doc_of(hint: Any) -> str:
    """The text of a field's `Doc`; empty where it has none."""
    return next((mark.text for mark in unwrap(hint)[1] if isinstance(mark, Doc)), "")


def words(hint: Any) -> str:
    """The values that a key of a YAML file takes."""
    kind, marks = unwrap(hint)
    if is_union(kind):
        return joined([words(arm) for arm in get_args(kind)])
    if kind is type(None):
        return "null"
    if get_origin(kind) is Literal:
        options = [code(str(arg)) for arg in get_args(kind)]
        return options[0] if len(options) == 1 else f"one of {', '.join(options)}"
    if get_origin(kind) is tuple:
        listed = next((mark for mark in marks if isinstance(mark, Listed)), Listed(at_least=0))
        least = f" of at least {listed.at_least}" if listed.at_least > 1 else ""
        return f"a list{least}, each item {words(get_args(kind)[0])}"
    if partial_of(hint) is not None or dataclasses.is_dataclass(kind):
        return "a mapping with the keys below"
    if is_mapping_type(kind):
        key, value = get_args(kind)
        item = words(value) if partial_of(value) is None else "a mapping with keys of this section"
        return f"a mapping: {words(key)} -> {f'({item})' if '; or ' in item else item}"
    return wanted(hint)


def joined(arms: Sequence[str]) -> str:
    """Alternatives in words: `a; or b` where one of them holds a comma."""
    return ("; or " if any("," in arm or " -> " in arm for arm in arms) else " or ").join(arms)


def is_mapping_type(kind: Any) -> bool:
    return get_origin(kind) is Mapping


def partial_of(hint: Any) -> type | None:
    """The section whose fields a mapping may hold any of."""
    return next((mark.section for mark in unwrap(hint)[1] if isinstance(mark, Partial)), None)


def sections_in(hint: Any) -> Iterator[type]:
    """The sections that a value may be, or hold."""
    kind, _ = unwrap(hint)
    part = partial_of(hint)
    if part is not None:
        yield part
    elif dataclasses.is_dataclass(kind) and isinstance(kind, type):
        yield kind
    elif is_union(kind) or get_origin(kind) is tuple:
        for arm in get_args(kind):
            if arm is not Ellipsis:
                yield from sections_in(arm)
    elif is_mapping_type(kind):
        yield from sections_in(get_args(kind)[1])


def yaml(value: Any) -> str:
    """A default as a YAML file would have it, on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return f"[{', '.join(map(yaml, value))}]"
    if dataclasses.is_dataclass(value):
        value = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {yaml(item)}" for key, item in value.items()) + "}"
    text = f"{value:.15g}"
    return text.replace("e", ".0e") if "e" in text and "." not in text else text  # YAML reads 1e-06 as a string


def default_of(section: type, name: str) -> str:
    """The default of a field, in Markdown."""
    field = next(each for each in dataclasses.fields(section) if each.name == name)
    if field.default is not dataclasses.MISSING:
        return code(yaml(field.default))
    if field.default_factory is dataclasses.MISSING:
        return "**required**"
    made = field.default_factory()
    return "its defaults, below" if made and dataclasses.is_dataclass(made) else code(yaml(made))


def key_sections(section: type, prefix: str, level: int, where: str = "") -> Iterator[str]:
    """A table of a section's keys, then the sections below it, each under a heading of its own."""
    rows, below = [], []
    for name, hint in field_hints(section).items():
        path = f"{where}.{name}" if where else name
        row = (f"{anchor(f'{prefix}.{path}')}{code(name)}", escaped(words(hint)), default_of(section, name))
        rows.append((*row, escaped(doc_of(hint))))
        below += [(path, inner) for inner in dict.fromkeys(sections_in(hint)) if not issubclass(section, inner)]
    yield table(("key", "value", "default", "meaning"), rows)
    for path, inner in below:
        yield f"{'#' * level} `{path}`\n\n{first_line(inner)}"
        yield from key_sections(inner, prefix, level, path)


def first_line(thing: Any) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(thing) or "").split("\n")[0]


# ---- YAML files -----------------------------------------------------------------------------------------------------

ABOUT_KEYS = (
    "A key that is not listed here is an error, and so is a key that is given twice. `null` may be left out. Every key "
    "has an address: `manifest.md#grid.training.lr` leads to its row."
)


def manifest_page() -> str:
    """Every key of the two kinds of manifests."""
    intro = (
        "A manifest is a YAML file that says which cells a study has. `empslurm submit MANIFEST` runs them. There are "
        "two kinds: `kind: grid` (the default) and `kind: search`. An editor that understands "
        "`manifests/manifest.schema.json` shows the same texts beside each key."
    )
    return page(
        "Manifests: every key",
        intro,
        ABOUT_KEYS,
        "## Kind `grid`: baselines and transfers",
        *key_sections(ManifestFile, "grid", 3),
        "## Kind `search`: hyper-parameters",
        *key_sections(SearchFile, "search", 3),
        "## Adapter kinds",
        "Each kind has keys of its own. The defaults are those of the library `adapters`.",
        adapter_table(),
        "A transfer stacks a new adapter on the source's. Some kinds cannot be stacked, since training would give "
        "wrong results without an error:",
        "\n".join(f"- `{kind}`: {why}." for kind, why in stacking_problems()),
    )


def adapter_table() -> str:
    rows = [
        (
            f"{anchor(f'adapter.{name}')}{code(name)}",
            escaped(facts.source),
            code(facts.library),
            ", ".join(code(f"{key}: {yaml(value)}") for key, value in facts.defaults.items()),
            "yes" if facts.banked else "no",
        )
        for name, facts in ADAPTER_KINDS.items()
    ]
    return table(("`kind`", "from", "class in `adapters`", "keys and defaults", "many train at once"), rows)


def stacking_problems() -> Iterator[tuple[str, str]]:
    for name, facts in ADAPTER_KINDS.items():
        for why in (*facts.not_on.values(), *facts.not_under.values()):
            yield name, escaped(why)


def profile_page() -> str:
    """Every key of a profile."""
    intro = (
        "A profile is a YAML file in `slurm/` that says where to run: a partition of a Slurm cluster, or this machine. "
        "It never changes a result or the id of a cell. `empslurm profile NAME` writes one for the cluster at hand; "
        "`empslurm doctor --profile NAME` checks it. An editor that understands `slurm/profile.schema.json` shows the "
        "same texts beside each key."
    )
    fields = [(f"--{option}", f"Use the key `{key}`.") for option, key in profile.HAS_FIELD.items()]
    kept = [(f"--{option}", f"Not allowed: {why}.") for option, why in profile.KEPT_BACK.items()]
    return page(
        "Profiles: every key",
        intro,
        ABOUT_KEYS.replace("manifest.md#grid.training.lr", "profile.md#profile.time"),
        "## Keys",
        *key_sections(profile.ProfileFile, "profile", 3),
        "## Profiles of kind `local`",
        "Only these keys are allowed: " + ", ".join(code(name) for name in profile.LOCAL_FIELDS) + ".",
        "## Options of sbatch that `sbatch` may not set",
        table(("option", "instead"), ((code(option), escaped(text)) for option, text in (*fields, *kept))),
    )


def cards_page() -> str:
    """Every key of a card."""
    intro = (
        "A card is a YAML file that describes a dataset of your own: where its table is, and how to read it. A "
        "manifest names cards with its key `cards`. [The guide](../own-task.md) explains them with examples."
    )
    parts: dict[str, list[str]] = {}
    for name, part in PART_NAMES.items():
        parts.setdefault(part, []).append(name)
    return page(
        "Cards: every key",
        intro,
        ABOUT_KEYS.replace("manifest.md#grid.training.lr", "cards.md#card.columns.text"),
        "## Keys",
        *key_sections(Card, "card", 3),
        "## Names of official parts",
        table(
            ("part", "names, in any case"), ((code(part), ", ".join(map(code, names))) for part, names in parts.items())
        ),
    )


def metrics_page() -> str:
    """The metrics, and the flags of runs that did not learn."""
    rows = [
        (
            f"{anchor(f'metric.{metric.name}')}{code(name)}",
            escaped(metric.title),
            metric.kind,
            f"{metric.low:g} to {metric.high:g}" if metric.high != float("inf") else f"{metric.low:g} and above",
            "higher" if metric.higher_is_better else "lower",
            "yes" if name in metrics.that_choose_epochs(metric.kind) else "no",
            escaped(metric.chance.words),
        )
        for name, metric in metrics.METRICS.items()
    ]
    head = ("metric", "printed as", "kind of task", "range", "better", "may choose the best epoch", "chance level")
    return page(
        "Metrics and flags",
        "Every result holds all metrics of its kind of task. The task's own metric chooses the best epoch, on the "
        "validation part.",
        "## Metrics",
        table(head, rows),
        "## Flags",
        "A flag says that a run did not learn. `status` lists flagged cells, and the tables of `gather` mark them.",
        table(("flag", "the run ..."), ((code(name), escaped(text)) for name, text in metrics.FLAGS.items())),
    )


# ---- the command line -----------------------------------------------------------------------------------------------

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
            f"With `--json`: [its document](json.md#{name.replace(' ', '-')})." if name in documents.DOCUMENTS else "",
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


# ---- JSON documents -------------------------------------------------------------------------------------------------

SCALARS: Mapping[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "true or false",
    type(None): "null",
    Any: "any value",
}


def json_words(hint: Any) -> str:
    """The JSON type of a key."""
    kind, _ = unwrap(hint)
    if is_union(kind):
        return " or ".join(dict.fromkeys(json_words(arm) for arm in get_args(kind)))
    if get_origin(kind) is Literal:
        return ", ".join(code(str(arg)) for arg in get_args(kind))
    if get_origin(kind) is tuple:
        return f"array of {plural(json_words(get_args(kind)[0]))}"
    if is_mapping_type(kind):
        return f"object of {plural(json_words(get_args(kind)[1]))}"
    return "object" if dataclasses.is_dataclass(kind) else SCALARS[kind]


def plural(text: str) -> str:
    """The plural of a JSON type in words; alternatives stay as they are, in brackets."""
    if " or " in text:
        return f"({text})"
    kind, space, rest = text.partition(" ")
    return "any values" if text == SCALARS[Any] else f"{kind}s{space}{rest}"


def json_rows(section: type, where: str = "") -> Iterator[tuple[str, str, str]]:
    """Path, type and meaning of each key, those of nested objects after their own: `cells[].id`, `targets.*.done`."""
    needed = set(required(section))
    hints = field_hints(section)
    for name in [name for name in hints if name != "warnings" or name in needed]:  # else the page says it once
        hint, path = hints[name], f"{where}{key_of(name, hints[name])}"
        yield path, json_words(hint) + ("" if name in needed else ", may be absent"), doc_of(hint)
        for suffix, inner in nested(hint):
            yield from json_rows(inner, f"{path}{suffix}.")


def nested(hint: Any, suffix: str = "") -> Iterator[tuple[str, type]]:
    """The objects in a value, with what leads to them: `[]` for items, `.*` for the values of an object."""
    kind, _ = unwrap(hint)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        yield suffix, kind
    elif is_union(kind):
        for arm in get_args(kind):
            yield from nested(arm, suffix)
    elif get_origin(kind) is tuple:
        yield from nested(get_args(kind)[0], f"{suffix}[]")
    elif is_mapping_type(kind):
        yield from nested(get_args(kind)[1], f"{suffix}.*")


def json_page() -> str:
    """Every JSON document with its keys."""
    blocks = []
    for name in (*documents.DOCUMENTS, documents.ERROR):
        kinds = documents.document_types(name)
        blocks.append(f"## `{name}`" if name != documents.ERROR else "## Errors")
        same = next((other for other in documents.DOCUMENTS if documents.DOCUMENTS[other] == kinds), name)
        if same != name and name != documents.ERROR:
            blocks.append(f"As for [`{same}`](#{same.replace(' ', '-')}).")
            continue
        if len(kinds) > 1:
            blocks.append(f"One of {len(kinds)} documents.")
        for kind in kinds:
            rows = [(code(path), text, escaped(doc)) for path, text, doc in json_rows(kind)]
            blocks += [escaped(inspect.getdoc(kind) or ""), table(("key", "type", "meaning"), rows)]
    return page(
        "JSON documents",
        "With `--json` a verb prints one JSON document on standard output, and nothing else there. A number that is "
        "undefined is `null`. A verb that fails prints [the document of errors](#errors). Later versions may add keys.",
        "Any document may also have the key `warnings`: an array of sentences that were printed as warnings.",
        "`[]` leads to the items of an array, `.*` to the values of an object whose keys are names, such as task ids. "
        "Names of keys say the unit: `_s` seconds, `_h` hours, `_wh` watt-hours, `_bytes` bytes, `n_` a count. Times "
        "are Unix times in seconds.",
        '`empslurm.cli.documents.document_json_schema("plan")` gives the JSON Schema (draft-07) of a document in this '
        "version.",
        *blocks,
    )


# ---- the runs root --------------------------------------------------------------------------------------------------

ROOT_FOLDERS = {
    "cells/ID/": "One folder per cell. A cell's number depends on its cell.json and on nothing else.",
    "prepared/": "Parsed and tokenised data, under digests of their content. Made again when deleted.",
    "submissions/ID/": "What was submitted, and what happened to it. Needed as long as its cells run.",
    "code/DIGEST/": "Copies of the code that Slurm jobs run.",
    "searches/NAME/journal.log": "What the sampler of a search knows. Made again from its cells when lost.",
    "probes/": "Logs of `doctor --probe`. Delete them at will.",
    "trackers/": "Loss curves of trackers that write files. Delete them at will.",
    "gathered/NAME/": "Tables, figures and the report of `gather`. Delete them at will.",
    "gathered/data/": "Tables of `data stats` and `data audit`. Delete them at will.",
    "gathered/verified-*.parquet": "Which results were verified before, so that `gather` is fast. Delete it at will.",
}
CELL_FILES = {
    "cell.json": "The identity: everything that the cell's number depends on. Written once.",
    "claims/0001.json": "The first attempt: which process runs the cell. The attempt with the highest number counts.",
    "claims/0001.beat": 'Last sign of life of a running attempt: `{"time": Unix time}`.',
    "claims/0001.released": "Empty. The attempt is over, whatever came of it.",
    "parameters.json": "Trials only: what the trial drew. Written before it trains.",
    "checkpoint/": "The last checkpoint, and the one before until the last is verified. Removed when the cell is done.",
    "metrics.jsonl": "One line per epoch, for people who watch.",
    "progress.json": "Where training stands; replaced every few seconds.",
    "output-0001/": "What attempt 1 wrote: adapter, predictions, provenance.",
    "result.json": "Written last. A cell with a valid result.json is done.",
    "error.json": "The last failure. Removed when the cell is done.",
}
OUTPUT_FILES = {
    "adapter/adapter_config.json": "Configuration of the adapter, in the format of the library `adapters`.",
    "adapter/adapter.safetensors": "Weights of the adapter.",
    "adapter/head_config.json": "Configuration of the prediction head.",
    "adapter/model_head.safetensors": "Weights of the prediction head.",
    "adapter/task.json": "What the adapter measures, and how to give it text.",
    "last/adapter/": "Baselines only: the same after the last epoch, for transfers with `source: {epoch: last}`.",
    "source_adapter/": "Transfers with `source: {mode: tuned}` only: the source's adapter as it was trained further.",
    "predictions.parquet": "Predictions for each example of validation and test (trials: validation only).",
    "provenance.json": "Code, packages, machine, time.",
    "embedding.safetensors": "Cells of kind fisher and embed only: named vectors.",
}
IDENTITY = {
    "kind": "baseline, transfer, fisher (task embedding), embed (dataset embedding) or trial.",
    "target": "Id of the target task.",
    "seed": "Random seed.",
    "data": "The examples.",
    "data.dataset": "Id of the dataset.",
    "data.raw": "Digest of the raw files.",
    "data.split": "Split rule with its version and salt, such as family-1-317.",
    "data.use": "The keys of the manifest's section `data`.",
    "data.labels": "all, or manual: only labels that a person gave.",
    "data.fraction": "Share of the training part.",
    "backbone": "Name and revision of the frozen encoder.",
    "backbone_digest": "Digest of its files or of the pinned revision.",
    "recipe": "A number that grows when a change of the code changes results.",
    "source": "transfer: id of the source task. Else null.",
    "parent": "transfer and fisher: id of the cell whose adapter is used. Else null.",
    "source_use": "transfer: the keys of the manifest's section `source`. Else null.",
    "adapter": "Kind of adapter, and the keys that matter to it. null: nothing is trained, or the trial draws it.",
    "training": "The keys of the manifest's section `training` for this task. null: as for `adapter`.",
    "fisher": "fisher: the keys of the manifest's section `fisher`. Else null.",
    "embed": "embed: the keys of the manifest's section `embed`. Else null.",
    "trial": "trial only: its number, and the space that it draws from.",
}
RESULT = {
    "id": "Id of the cell.",
    "kind": "Kind of the cell.",
    "target": "Id of the target task.",
    "source": "Id of the source task. null: none.",
    "seed": "Random seed.",
    "fraction": "Share of the training part.",
    "claim": "Number of the attempt that wrote it.",
    "output": "Name of the output folder.",
    "files": "Path below the output folder -> sha256.",
    "flags": "Signs that the run did not learn.",
    "metric": "The task's own metric, which chose the best epoch.",
    "validation": "Metric -> score on the validation part at the best epoch. null: undefined.",
    "test": "The same on the test part. Trials have none.",
    "best_epoch": "The best epoch, from 1.",
    "history": "One item per epoch: `epoch`, `step`, `train_loss`, and the validation score of each metric.",
    "n_steps": "Optimiser steps.",
    "n_tokens": "Tokens that training read, padding not counted.",
    "n_train": "Training examples.",
    "n_validation": "Validation examples.",
    "n_test": "Test examples.",
    "n_truncated": "Examples that were longer than `max_length` and were cut.",
    "n_examples": "fisher and embed only: examples that the embedding was computed from.",
    "trial": "trial only: see below.",
    "seal": "sha256 over all other keys, as canonical JSON.",
}
TRIAL = {
    "parameters": "What the trial drew: `adapter`, `lr` and `batch_size`.",
    "started": "When it drew them: Unix time in seconds.",
    "n_known": "Finished trials that the sampler could learn from.",
    "outcome": "complete or pruned.",
    "wall_s": "Seconds of training.",
}
ERROR = {
    "class": "Class of the failure.",
    "message": "What went wrong.",
    "traceback": "The last 30 lines of the traceback.",
    "claim": "Number of the attempt.",
    "time": "Unix time in seconds.",
}
PROVENANCE = {
    "attempt": "Number of the attempt.",
    "code": "`commit`, `dirty` (whether there were changes that were not committed) and their `diff`.",
    "packages": "Package -> version.",
    "python": "Version of Python.",
    "platform": "Operating system.",
    "host": "Name of the machine.",
    "cpus": "CPU cores that the process may use.",
    "n_threads": "Threads of torch.",
    "device": "Device of torch, such as cpu or cuda:0.",
    "gpu": "Name, compute capability, memory, CUDA version and peak memory of the GPU. null: none.",
    "gpus": "All GPUs of the machine as nvidia-smi reports them. null: none.",
    "slurm": "Slurm's variables of the job. {}: no job.",
    "time": "When it was written, in UTC.",
    "n_processes": "Processes that trained the cell together.",
    "micro_batch": "Examples per forward pass. null: a whole batch.",
    "pack_size": "Cells that started in the same process.",
    "group_size": "Cells whose adapters were trained in one model.",
    "wall_s": "Seconds of training; for several cells in one process, this cell's share.",
    "peak_host_memory_bytes": "Peak memory of the process in bytes.",
}
PREDICTIONS = {
    "part": "validation or test.",
    "id": "Id of the example.",
    "group": "Group of the example, such as its conversation.",
    "gold": "Index of the right label, or the right value.",
    "output": "Logits, one per label; for a regression one value.",
}
MEASURE = {
    "format": "Version of the file.",
    "task": "Id of the task.",
    "title": "Name of the task, as printed.",
    "kind": "classification or regression.",
    "labels": "Labels, in index order. Empty: regression.",
    "low": "Lower end of the scale. null: classification.",
    "high": "Upper end of the scale. null: classification.",
    "centre": "The head of a regression gives (value - centre) / scale.",
    "scale": "See `centre`. 1 for a classification.",
    "metric": "The task's metric.",
    "data_source": "Where the texts come from.",
    "language_setting": "The kind of language: conversation, news, ...",
    "dataset": "Name of the dataset.",
    "citation": "Reference to cite.",
    "licence": "Licence of the dataset.",
    "source": "Id of the source task. null: a baseline.",
    "seed": "Random seed.",
    "fraction": "Share of the training part.",
    "n_train": "Training examples.",
    "backbone": "Name and revision of the frozen encoder.",
    "backbone_digest": "Digest of its files or of the pinned revision.",
    "max_length": "Tokens of context and text together.",
    "context": "history: all earlier turns. previous: the last one.",
    "settings": "The sections adapter, training and data as they were.",
    "cell": "Id of the cell.",
    "typical": "What the training texts look like, to flag a text unlike them.",
    "evidence": "Score on the test part, in exported adapters. null: not computed.",
}
HEADER_LINE = {
    "id": "Name of the submission: time, manifest, six random hex digits.",
    "manifest": "Name of the manifest.",
    "data_root": "The folder with the raw data.",
    "cards": "Paths of the cards, as copied.",
    "settings": "What jobs need of the profile. null: no Slurm.",
    "code": "The commit that submitted.",
}
PACK_LINE = {
    "id": "Id of the pack.",
    "wave": "0: waits for nothing. 1: starts from adapters of wave 0.",
    "cells": "Identities of its cells, as in cell.json.",
}
EVENT = {
    "event": "start or end.",
    "time": "Unix time in seconds.",
    "host": "Name of the machine.",
    "job": "Slurm id of the job.",
    "restart": "How often Slurm had restarted the job.",
    "reason": "Of an end: done, failed, stopped, waiting, held, or the name of a failure that is tried again.",
    "detail": "What else there is to say.",
    "steps": "Optimiser steps, where training was stopped.",
    "wall_s": "Seconds since the job's start, or since the pack's last end in it.",
    "gpu_s": "Seconds of GPUs in that time.",
    "energy_wh": "Energy of the GPUs in that time, in watt-hours.",
}
SUBMISSION_FILES = {
    "submission.jsonl": "Line 1: see below. Then one pack per line.",
    "cards/": "Copies of the cards.",
    "arrays/0001.json": "Packs of the first array's elements. Written before sbatch is called.",
    "arrays/0001.job-123": "Empty. The array has the Slurm id 123.",
    "arrays/0001.void": "Empty. The array never reached Slurm.",
    "arrays/0001/": "Batch script and logs of the array, and which elements began.",
    "packs/0003.jsonl": "What happened to pack 3, one event per line.",
    "failures.jsonl": "Cells that failed, one per line.",
    "hold.json": "Why the rest of the packs must not start.",
    "cancelled": "Empty. `cancel` was called: nothing more of it is sent.",
    "end.json": "Name of the job that tells people when all others have ended.",
    "local.json": "Without Slurm: the process that runs it.",
    "local-0.log": "Without Slurm: what the processes of slot 0 printed.",
}
GATHERED_FILES = {
    "report.html": "The report, one page that needs no network.",
    "long.csv": "All scores, one row per cell, part and metric.",
    "long.parquet": "The same as Parquet.",
    "curves.csv": "Training loss and validation score of each run, epoch by epoch.",
    "missing.csv": "Cells without a usable result.",
    "pairs.csv": "Each source and target beside its baseline, with the ids of the cells.",
    "setting.json": "What the cells of a group have in common, and what could not be computed.",
    "summary.json": "What `gather` prints. With nothing new, it is read instead of computed.",
    "NAME.csv, NAME.md, NAME.tex": "A table of the report as CSV, Markdown and LaTeX.",
    "NAME-ids.csv": "Ids of the cells behind each number of that table.",
    "NAME-versus-printed.*": "That table beside the paper's own.",
    "NAME.svg, NAME.pdf, NAME.png": "A figure; the table of the same name holds its numbers.",
}
LONG_COLUMNS = {
    "group": "Name of the group of comparable cells. Empty: there is one only.",
    "id": "Id of the cell.",
    "kind": "baseline or transfer.",
    "source": "Id of the source task; empty for a baseline.",
    "target": "Id of the target task.",
    "seed": "Random seed.",
    "fraction": "Share of the target's training part, above 0 and at most 1.",
    "labels": "all, or manual: trained only on labels that a person gave.",
    "part": "validation or test.",
    "metric": "Name of the metric.",
    "value": "The score, computed again from the predictions. Empty (NaN): undefined.",
    "main": "Whether it is the task's own metric.",
    "flags": "Signs that the run did not learn, with commas between.",
    "n_examples": "Examples of the part.",
    "n_groups": "Groups of the part.",
    "data": "pinned: the recorded release. sample: the invented sample. unpinned: anything else.",
}
CURVE_COLUMNS = {
    "group": "As in long.csv.",
    "id": "As in long.csv.",
    "kind": "As in long.csv.",
    "source": "As in long.csv.",
    "target": "As in long.csv.",
    "seed": "As in long.csv.",
    "fraction": "As in long.csv.",
    "epoch": "The epoch, from 1.",
    "train_loss": "Mean training loss of the epoch.",
    "metric": "The task's own metric.",
    "validation": "Its score on the validation part after the epoch.",
}
PAIRS = {
    "source": "Id of the source task.",
    "target": "Id of the target task.",
    "fraction": "Share of the target's training part.",
    "metric": "The target's metric.",
    "baseline": "Score of the baseline, mean over seeds.",
    "transfer": "Score with the source, mean over seeds.",
    "difference": "`transfer` minus `baseline`.",
    "percent": "Change in percent of the baseline; above 0 is better, for errors too.",
    "n_seeds_baseline": "Seeds of the baseline.",
    "n_seeds_transfer": "Seeds of the transfer.",
    "flags": "Signs that a run did not learn, with blanks between.",
    "flagged_seeds": "The seeds of those runs.",
    "state": "complete, partial (a seed is missing), undefined (a seed has no defined score) or missing.",
    "data": "As in long.csv.",
    "ids_baseline": "Ids of the baseline's cells, with blanks between.",
    "ids_transfer": "Ids of the transfer's cells, with blanks between.",
}
PREPARED_FILES = {
    "DATASET-DIGEST/examples.parquet": "All examples: id, group, context, text, and each task's label or value.",
    "DATASET-DIGEST/rejects.jsonl": "Bad rows, with the reason.",
    "DATASET-DIGEST/split.json": "Part of each group.",
    "DATASET-DIGEST/meta.json": "Counts, digests, and the files that were read.",
    "tokens/DIGEST/": "Tokens of one task for one backbone, data use and maximal length.",
    "checksums.json": "Checksums of raw files, so that they are read once.",
    "audit-*.json": "What `data audit` found.",
}


def identity_keys() -> list[str]:
    """The keys of cell.json, over all kinds of cells."""
    data = [f"data.{name}" for name in field_hints(cells.DataIdentity)]
    common = list(field_hints(cells.Cell))
    keys = ["kind", *common, *sorted(set().union(*cells.OWN.values()))]
    at = keys.index("data") + 1
    return [*keys[:at], *data, *keys[at:]]


def fields_of(section: type) -> list[str]:
    return [field.name for field in dataclasses.fields(section)]


def mirrored(section: type, names: Iterable[str], what: str) -> str:
    """A table of a stored object that is described by a type of `documents`."""
    return key_table(names, {name: doc_of(hint) for name, hint in field_hints(section).items()}, what)


def runs_root_page() -> str:
    """Files and formats below the runs root."""
    return page(
        "The runs root: every file",
        "The runs root (`runs/` unless `--runs` or `EMPSLURM_RUNS` says otherwise) is the only database. Several "
        "machines may use it at once. A file is replaced as a whole or gets a line more. JSON is UTF-8 with sorted "
        "keys.",
        text_table(ROOT_FOLDERS, "path"),
        "## A cell: `cells/ID/`",
        "The id is readable and ends with 12 hex digits of the sha256 of cell.json: `epitome_er-s1-83ee2c5a7efc` is a "
        "baseline, `epitome_er--news_empathy-s1-f37902cf91ad` a transfer.",
        text_table(CELL_FILES, "file"),
        "The state of a cell follows from these files: with a valid result.json it is *done*; if the process of the "
        "last attempt lives, *running*; if error.json is of the last attempt, *failed*; if there is an attempt and "
        "nothing else, *lost*. A cell that waits in Slurm's queue is *queued*, any other *pending*.",
        "### `cell.json`",
        key_table(identity_keys(), IDENTITY, "cell.json"),
        "### `claims/0001.json`",
        mirrored(documents.ClaimOfCell, fields_of(Claim), "a claim"),
        "### `progress.json`",
        progress_table(),
        "### `result.json`",
        text_table(RESULT),
        "[Metrics and flags](metrics.md) lists the names in `flags`, `metric`, `validation` and `test`.",
        "#### `trial`",
        key_table(fields_of(TrialOutcome), TRIAL, "a trial's result"),
        "`parameters.json` has the keys `parameters`, `started` and `n_known`.",
        "### `error.json`",
        text_table(ERROR),
        "### `output-0001/`",
        text_table(OUTPUT_FILES, "file"),
        "### `adapter/task.json`",
        key_table(["format", *fields_of(adapter_metadata.Measure)], MEASURE, "task.json"),
        "### `predictions.parquet`",
        key_table(predictions.COLUMNS, PREDICTIONS, "predictions.parquet", "column"),
        "### `provenance.json`",
        text_table(PROVENANCE),
        "## Prepared data: `prepared/`",
        text_table(PREPARED_FILES, "file"),
        "## A submission: `submissions/ID/`",
        text_table(SUBMISSION_FILES, "file"),
        "### Line 1 of `submission.jsonl`",
        key_table(fields_of(Header), HEADER_LINE, "the first line of a submission"),
        "### Other lines of `submission.jsonl`",
        key_table(fields_of(PackLine), PACK_LINE, "a pack's line"),
        "### `packs/0003.jsonl`",
        key_table(fields_of(Event), EVENT, "an event"),
        "## Results: `gathered/NAME/`",
        "Where not all cells can be compared with each other, each group has a folder of its own below this one.",
        text_table(GATHERED_FILES, "file"),
        "### `long.csv` and `long.parquet`",
        key_table(LONG, LONG_COLUMNS, "long.csv", "column"),
        "### `curves.csv`",
        key_table(CURVES, CURVE_COLUMNS, "curves.csv", "column"),
        "### `pairs.csv`",
        key_table(PAIR_COLUMNS, PAIRS, "pairs.csv", "column"),
        "### `missing.csv`",
        "The columns `id`, `kind`, `source`, `target`, `seed` and `fraction` are as in long.csv. `state` is the state "
        "of the cell, or `refused` where its result does not match its checksums. `why` is the reason.",
    )


def progress_table() -> str:
    hints = field_hints(documents.RunningCell)
    texts = {name: doc_of(hints[name]) for name in fields_of(Progress)}
    return key_table(fields_of(Progress), texts, "progress.json")


# ---- Python ---------------------------------------------------------------------------------------------------------


def public_names() -> tuple[str, ...]:
    """What `import empslurm` gives."""
    return tuple(getattr(empslurm, "__all__", ("__version__",)))


def call_of(name: str, thing: Any) -> str:
    """A name with its parameters, defaults left out."""
    if inspect.isclass(thing) and issubclass(thing, BaseException):
        return name
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return name
    shown: list[str] = []
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        stars = "*" * (parameter.kind is parameter.VAR_POSITIONAL) + "**" * (parameter.kind is parameter.VAR_KEYWORD)
        shown.append(stars + parameter.name)
    return f"{name}({', '.join(shown)})"


def python_page() -> str:
    """The names of the package."""
    rows, directives = [], []
    for name in public_names():
        thing = getattr(empslurm, name)
        if isinstance(thing, str):
            rows.append((code(name), "Version of the package, such as 0.1.0."))
            continue
        rows.append((code(call_of(name, thing)), escaped(first_line(thing))))
        directives.append(f"::: empslurm.{name}")
    return page(
        "Python: every public name",
        "`import empslurm` gives these names. All others are internal and may change in any version.",
        table(("name", "what it is"), rows),
        *(["## In full", *directives] if directives else []),
    )


# ---- all pages ------------------------------------------------------------------------------------------------------

PAGES: Mapping[str, tuple[str, Callable[[], str]]] = {
    "cli.md": ("Every verb, with its options.", cli_page),
    "manifest.md": ("Every key of a manifest, and the adapter kinds.", manifest_page),
    "profile.md": ("Every key of a profile.", profile_page),
    "cards.md": ("Every key of a card.", cards_page),
    "metrics.md": ("The metrics, and the flags of runs that did not learn.", metrics_page),
    "runs-root.md": ("Every file of a runs root, and the columns of result files.", runs_root_page),
    "json.md": ("The keys of every JSON document.", json_page),
    "python.md": ("Every public name of the package.", python_page),
}


def index_page() -> str:
    rows = [(f"[{name}]({name})", escaped(text)) for name, (text, _) in PAGES.items()]
    return page("Reference", "These pages are written from the code.", table(("page", "what it lists"), rows))


def pages() -> dict[str, str]:
    """Name of a page -> its text."""
    return {name: page_of(name) for name in ("index.md", *PAGES)}


def page_of(name: str) -> str:
    """The text of a page."""
    return PAGES[name][1]() if name in PAGES else index_page()


def outdated(folder: Path, wanted_pages: Mapping[str, str]) -> list[str]:
    """Pages that are missing, differ, or are no longer written."""
    there = {path.name for path in folder.glob("*.md")}
    differing = [
        name
        for name, text in wanted_pages.items()
        if name not in there or (folder / name).read_text(encoding="utf-8") != text
    ]
    return sorted([*differing, *(there - set(wanted_pages))])


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or with --check list those that differ; the exit status."""
    parser = argparse.ArgumentParser(description="Write the reference pages from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page differs")
    options = parser.parse_args(arguments)
    wanted_pages = pages()
    if options.check:
        names = outdated(FOLDER, wanted_pages)
        for name in names:
            print(f"docs/reference/{name} must be as the code says, but differs; run `python docs/reference.py`")
        return 1 if names else 0
    FOLDER.mkdir(exist_ok=True)
    for name in outdated(FOLDER, wanted_pages):
        if name not in wanted_pages:
            (FOLDER / name).unlink()
            continue
        (FOLDER / name).write_text(wanted_pages[name], encoding="utf-8")
        print(f"docs/reference/{name} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
