"""--help of every verb and action, and the answers to misspelt names."""

import argparse
import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from empslurm.cli import parser
from empslurm.cli.verbs import GROUPS, VERBS
from tests.cli.test_errors import call


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every verb with its parser, and every action of a verb with its own."""
    for verb in VERBS:
        of_verb = subparsers(parser.build(verb))[verb]
        yield verb, of_verb
        yield from ((f"{verb} {action}", of_action) for action, of_action in subparsers(of_verb).items())


def subparsers(of: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    tables = [action.choices for action in of._actions if isinstance(action, argparse._SubParsersAction)]
    return {name: found for table in tables if table for name, found in table.items()}


PARSERS = dict(parsers())


def test_help_lists_every_verb_below_a_heading_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = call("--help")
    assert status == 0
    lines = out.splitlines()
    headings = [line.strip(" :") for line in lines if line.strip(" :") in GROUPS.values()]
    assert headings == [heading for name, heading in GROUPS.items() if any(v.group == name for v in VERBS.values())]
    for name, verb in VERBS.items():
        assert sum(line.split() == [name, *verb.line.split()] for line in lines) == 1, name


@pytest.mark.parametrize("words", list(PARSERS))
def test_help_has_sentences_and_examples_that_parse(words: str) -> None:
    about = PARSERS[words]
    assert str(about.description)[0].isupper()
    assert str(about.description).endswith(".")
    heading, *examples = str(about.epilog).splitlines()
    assert heading == "examples:"
    assert 1 <= len(examples) <= 3
    status, out, _ = call(*words.split(), "--help")
    assert status == 0
    for example in examples:
        assert f"{example}\n" in f"{out}\n"
        program, *given = shlex.split(example)
        assert program == "empslurm"
        verb = parser.called_verb(given)
        options = parser.build(verb).parse_args(given)
        called = [options.verb, getattr(options, "action", "")]
        assert called[: len(words.split())] == words.split()


@pytest.mark.parametrize("words", list(PARSERS))
def test_every_argument_has_a_help_text(words: str) -> None:
    for action in PARSERS[words]._actions:
        if not isinstance(action, argparse._SubParsersAction):
            assert action.help, action.dest


@pytest.mark.parametrize(
    ("words", "guess"),
    [
        (["plam", "full_grid"], "did you mean plan?"),
        (["data", "statsu"], "did you mean stat"),
        (["search", "freze", "x", "--name", "y"], "did you mean freeze?"),
        (["plan", "fullgrid"], "did you mean full_grid?"),
        (["plan", "full_grid", "--profile", "locl"], "did you mean local?"),
        (["submit", "full_grid", "--profile", "locl"], "did you mean local?"),
        (["data", "status", "epitom"], "did you mean epitome?"),
        (["debug", "demo", "--cell", "epitom_er"], "did you mean epitome_er-s1-"),
    ],
)
def test_a_misspelt_name_gets_the_nearest_one_in_a_sentence(words: list[str], guess: str) -> None:
    status, _, err = call(*words)
    assert status == 2
    assert guess in err
    assert "usage:" not in err
    assert len(err.splitlines()) == 1
    status, out, _ = call(*words, "--json")
    assert status == 2
    assert guess in json.loads(out)["error"]["problems"][0]


def test_a_misspelt_cell_gets_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "cells" / "epitome_er-s1-0123456789ab").mkdir(parents=True)
    for verb in ("show", "logs"):
        status, _, err = call("--runs", str(tmp_path), verb, "epitome_re-s1")
        assert status == 2
        assert "did you mean epitome_er-s1-0123456789ab?" in err


def test_what_resembles_nothing_gets_no_guess() -> None:
    status, _, err = call("zzzzzz")
    assert status == 2
    assert "did you mean" not in err
    assert "known: " in err
