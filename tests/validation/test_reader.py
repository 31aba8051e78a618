"""Sections are read strictly by their annotations, and all problems of a file are reported at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from empslurm.config import Training
from empslurm.errors import ManifestError
from empslurm.validation import yaml_tree
from empslurm.validation.constraints import Doc, Duration, Listed, Partial, Pattern, Range
from empslurm.validation.reader import MAX_PROBLEMS, Reader, field_hints, fit, json_schema, unwrap


@dataclass(frozen=True, kw_only=True)
class Inner:
    lr: Annotated[float, Range(above=0, high=1), Doc("The rate.")] = 0.5
    n: Annotated[Annotated[int, Range(low=1)] | None, Doc("How many.")] = None


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: Annotated[str, Pattern(regex="[a-z]+", words="lower-case letters")]
    mode: Literal["fast", "slow"] = "slow"
    on: bool = False
    inner: Inner = field(default_factory=Inner)
    seeds: Annotated[tuple[int, ...], Listed()] = (1,)
    by_name: Mapping[str, Inner] = field(default_factory=dict)
    some: Annotated[Mapping[str, Any], Partial(section=Inner)] = field(default_factory=dict)
    either: Literal["all"] | tuple[str, ...] | Inner = "all"
    time: Annotated[int, Range(low=1), Duration()] = 60


def read(tmp_path: Path, text: str) -> Outer:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    reader = Reader("x.yaml")
    given = reader.section(Outer, yaml_tree.load(path))
    reader.finish()
    return Outer(**given)


def problems(tmp_path: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(ManifestError) as caught:
        read(tmp_path, text)
    return caught.value.problems


def test_every_form_of_annotation_is_read(tmp_path):
    text = """
name: abc
mode: fast
on: true
inner: {lr: 1, n: 3}
seeds: [3, 4]
by_name: {a: {lr: 0.25}}
some: {n: null}
either: [x, y]
time: 1-02:03:04
"""
    made = read(tmp_path, text)
    assert made == Outer(
        name="abc",
        mode="fast",
        on=True,
        inner=Inner(lr=1.0, n=3),
        seeds=(3, 4),
        by_name={"a": Inner(lr=0.25)},
        some={"n": None},
        either=("x", "y"),
        time=(24 + 2) * 60 + 4,
    )
    assert type(made.inner.lr) is float


def test_the_sentence_of_the_house_style(tmp_path):
    assert problems(tmp_path, "name: a\n\ninner:\n  lr: 1e-4\n") == (
        "inner.lr must be a number above 0 and at most 1, but is the string '1e-4'; write 1.0e-4 (x.yaml:4)",
    )


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("inner: {lr: yes}", "is the string 'yes'; write a number"),
        ("inner: {lr: .nan}", "is .nan; write a finite number"),
        ("inner: {lr: .inf}", "is .inf; write a finite number"),
        ("inner: {lr: 1.0e999}", "is 1.0e999; write a finite number"),
        ("inner: {lr: true}", "is true; write a number"),
        ("inner: {lr: 0}", "above 0 and at most 1, but is 0; raise it above 0"),
        ("inner: {lr: 5}", "but is 5; lower it to at most 1"),
        ("inner: {lr: 5e0}", "but is the string '5e0'; lower it to at most 1"),
        ("inner: {n: 0}", "but is 0; raise it to at least 1"),
        ("inner: {n: 1.5}", "but is 1.5; write a whole number"),
        ("inner: {lr: }", "is empty; write a value or remove the key"),
        ("inner: {n: true}", "inner.n must be an integer at least 1 or empty, but is true"),
        ("inner: {n: 2.0}", "is 2.0; write 2"),
        ("inner: {n: 1_000}", "is the string '1_000'; write 1000"),
        ("inner: {n: 007}", "is the string '007'; write 7"),
        ("inner: 3", "inner must be a mapping, but is 3; write `key: value` lines"),
        ("inner: [1]", "inner must be a mapping, but is a list; write `key: value` lines"),
        ("on: yes", "on must be true or false, but is the string 'yes'; write true"),
        ("on: 1", "on must be true or false, but is 1; write true or false"),
        ("mode: fsat", "one of fast, slow, but is the string 'fsat'; did you mean fast?"),
        ("mode: loud", "one of fast, slow, but is the string 'loud'; write one of these"),
        ("seeds: []", "seeds must hold at least 1, but holds 0; write a list of 1 or more"),
        ("seeds: 1", "seeds must be a list, but is 1; write [1]"),
        ("seeds: x", "seeds must be a list, but is the string 'x'; write a list, such as"),
        ("seeds: {a: 1}", "seeds must be a list, but is a mapping; write a list"),
        ("seeds: [1, 2, 1]", "seeds[2] must occur once, but is a repetition"),
        ("seeds: [1, x]", "seeds[1] must be an integer, but is the string 'x'"),
        ("by_name: {a: {ln: 1}}", "by_name.a.ln must be a known key, but is not; did you mean n? known: lr, n"),
        ("some: {lr: 2}", "some.lr must be a number above 0"),
        ("either: al", "either must be all or a list or a mapping, but is the string 'al'; did you mean all?"),
        ("time: 0", "but is 0; raise it to at least 1"),
        ("time: 20:00", "HH:MM:SS or D-HH:MM:SS, but is the string '20:00'; write all of hours, minutes and seconds"),
        ("mod: fast", "mod must be a known key, but is not; did you mean mode? known: by_name, "),
        ("on: true\non: false", "on must be given once, but was given in line 2 too; remove one of the two (x.yaml:3)"),
    ],
)
def test_each_problem_has_its_fix(tmp_path, line, sentence):
    (problem,) = problems(tmp_path, f"name: a\n{line}\n")
    assert sentence in problem
    assert "(x.yaml:" in problem


def test_required_keys_and_patterns(tmp_path):
    assert "must have the key `name`, but does not; add `name:`" in problems(tmp_path, "on: true")[0]
    assert "name must be lower-case letters, but is the string 'AB'; write ab" in problems(tmp_path, "name: AB")[0]
    assert "is the string 'A;b'; write lower-case letters" in problems(tmp_path, "name: A;b")[0]
    assert "is 3; write '3', with the quotes" in problems(tmp_path, "name: 3")[0]
    assert "the file must be a mapping, but is a list" in problems(tmp_path, "[1]")[0]


def test_all_problems_come_at_once_in_the_order_of_the_file(tmp_path):
    found = problems(tmp_path, "name: 3\nzzz: 1\ninner:\n  lr: x\n  n: 0\nseeds: [x, 1.5]\n")
    assert [int(sentence.rsplit(":", 1)[1][:-1]) for sentence in found] == [1, 2, 4, 5, 6, 6]


def test_a_flood_of_problems_is_cut(tmp_path):
    assert len(problems(tmp_path, "".join(f"key{n}: 1\n" for n in range(5000)))) == MAX_PROBLEMS


def test_long_and_odd_values_are_shown_bounded_and_on_one_line(tmp_path):
    (problem,) = problems(tmp_path, f'name: "{"x" * 5000}\\n"\n')
    assert len(problem) < 300
    assert "\n" not in problem


def test_defaults_of_the_shipped_sections_are_within_their_limits():
    values = Training()
    for name, hint in field_hints(Training).items():
        kind, marks = unwrap(hint)
        if kind in (int, float):
            assert fit(kind, marks, getattr(values, name)) == getattr(values, name), name


def test_json_schema_says_what_the_types_say():
    schema = json_schema(Outer)
    assert schema["required"] == ["name"]
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert properties["inner"]["properties"]["lr"] == {
        "description": "The rate.",
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1,
        "default": 0.5,
    }
    assert properties["seeds"] == {"type": "array", "items": {"type": "integer"}, "minItems": 1, "uniqueItems": True}
    assert properties["mode"] == {"enum": ["fast", "slow"], "default": "slow"}
    assert properties["inner"]["properties"]["n"] == {
        "description": "How many.",
        "anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}],
    }
    assert "default" not in properties["some"]["properties"]["lr"]
