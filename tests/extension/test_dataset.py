"""A dataset in code is one module and one entry: counted, planned, trained and gathered, and nothing else moves."""

import json

import pytest

from empslurm import reference
from tests.extension.tree import Tree, copy_of_tree

MODULE = '''\
"""Lanterns: how a lantern's owner feels (an invented dataset)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from empslurm.tasks.generic_table import describe, read_table
from empslurm.tasks.schema import Dataset, Example, Form, RawFile, Reject, Task

FILE = "lanterns.tsv"
MOODS = ("down", "up")


def _labels(value: Mapping[str, str]) -> dict[str, str | float] | str:
    return {"lantern_mood": value["mood"]} if value["mood"] in MOODS else "mood must be down or up, but is not"


def read(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
    return read_table(paths[FILE], ("mood",), _labels)


DATASET = Dataset(
    id="lanterns",
    title="Lanterns",
    family="lanterns",
    tasks=(
        Task(
            id="lantern_mood",
            title="Lantern Mood",
            dataset="lanterns",
            kind="classification",
            labels=MOODS,
            data_source="invented",
            language_setting="conversation",
        ),
    ),
    forms=(Form(name="own table", files=(RawFile(name=FILE),), read=read),),
    citation="Nobody (2026). Lanterns of invention.",
    licence="CC BY 4.0",
    obtain=describe(FILE, "lanterns", "mood (down or up)"),
)
'''
MANIFEST = """\
name: lanterns
tasks: [all]
pairs: none
backbone: tiny
training: {epochs: 1, max_length: 16}
"""
N_ROWS = 200
ROOTS = ("--data", "data", "--runs", "runs")
SENTENCES = {"down": "the lantern fell down and broke", "up": "the lantern went up and stayed"}
REGISTRY = "empslurm/tasks/datasets/__init__.py"


def rows() -> str:
    """An invented raw file: threads of two, both moods, and a row that is bad."""
    lines = ["id\tgroup\tcontext\ttext\tmood"]
    for index in range(N_ROWS):
        mood = ("down", "up")[index % 2]
        lines.append(f"{index}\tthread {index // 2}\t\t{SENTENCES[mood]} on day {index}\t{mood}")
    return "\n".join([*lines, "bad\t\t\tno lantern at all\tsideways\n"])


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """CONTRIBUTING's two steps, and raw data."""
    tree = copy_of_tree(tmp_path_factory.mktemp("tree"))
    tree.write("empslurm/tasks/datasets/lanterns.py", MODULE)
    tree.insert(REGISTRY, ", mi, news\n", ", lanterns")
    tree.insert(REGISTRY, "    eqt.DATASET,\n", "    lanterns.DATASET,\n")
    tree.write("data/lanterns/lanterns.tsv", rows())
    return tree


def test_it_is_counted_beside_datasets_that_are_not_here(tree: Tree) -> None:
    value = json.loads(tree.verb(*ROOTS, "data", "stats", "--json"))
    lanterns = value["datasets"]["lanterns"]
    assert (lanterns["n_examples"], lanterns["n_rejects"], lanterns["published"]) == (N_ROWS, 1, {})
    assert (len(value["missing"]), value["broken"]) == (9, {})
    assert "Lantern Mood" not in tree.verb(*ROOTS, "data", "stats", "lanterns")  # no table of the paper has it
    states = {
        row["dataset"]: row["state"] for row in json.loads(tree.verb(*ROOTS, "data", "status", "--json"))["datasets"]
    }
    assert states["lanterns"] == "found"
    audited = json.loads(tree.verb(*ROOTS, "data", "audit", "--json"))
    assert [row["task"] for row in audited["tasks"]] == ["lantern_mood"]


def test_the_invented_sample_is_written_without_it(tree: Tree) -> None:
    roots = ("--data", "sample", "--runs", "runs")
    tree.verb(*roots, "data", "sample")
    value = json.loads(tree.verb(*roots, "data", "stats", "--json"))
    assert [*value["missing"]] == ["lanterns"]
    checks = "from empslurm.cli import main; main(['--data', 'sample', 'doctor', '--json'])"
    doctor = {check["what"]: check for check in json.loads(tree.python(checks))["checks"]}
    assert (doctor["data: lanterns"]["found"], doctor["data: lanterns"]["ok"]) == ("missing", None)


def test_it_is_planned_trained_and_gathered(tree: Tree) -> None:
    """`all` means it too, behind the paper's tasks."""
    tree.write("mine/everything.yaml", MANIFEST)
    tree.write("mine/lanterns.yaml", MANIFEST.replace("[all]", "[lantern_mood]"))
    everything = json.loads(tree.verb(*ROOTS, "plan", "mine/everything.yaml", "--json"))["cells"]
    assert [cell["target"] for cell in everything] == [*reference.task_ids(), "lantern_mood"]
    (cell,) = json.loads(tree.verb(*ROOTS, "plan", "mine/lanterns.yaml", "--json"))["cells"]
    assert (cell["action"], cell["provisional"]) == ("run", False)
    tree.verb(*ROOTS, "submit", "mine/lanterns.yaml", "--profile", "local")
    gathered = json.loads(tree.verb(*ROOTS, "gather", "mine/lanterns.yaml", "--json"))
    assert (gathered["n_done"], gathered["missing"]) == (1, [])


def test_tests_of_this_tree_hold_with_it_and_no_id_moves(tree: Tree) -> None:
    recorded = "tests/test_cells.py::test_ids_are_the_recorded_ones"
    # Any bytes in a manifest are read alike, whatever datasets there are.
    tree.passes("tests/tasks/test_registry.py", "tests/reference", "tests/manifest", recorded, "-k", "not test_any")
