"""An adapter kind is one entry: it is offered, refused where it does not fit, trained and gathered, and moves no id."""

import json
import shlex

import pytest

from tests.extension.tree import Tree, copy_of_tree
from tests.manifest.test_load import WRITE_SCHEMA

ENTRY = """\
    "par_bn": KindFacts(
        source="He et al. (2021)",
        library="ParBnConfig",
        defaults={"reduction_factor": 2, "non_linearity": "relu"},
        size_problem=lambda adapter, hidden_size: "" if hidden_size >= 32 else "par_bn needs 32 hidden units",
        not_on=dict.fromkeys(
            ("seq_bn", "par_bn"), "par_bn beside a layer overwrites what a bottleneck below it adds to that layer"
        ),
    ),
"""
MANIFEST = """\
name: parallel
tasks: [news_empathy]
pairs: none
backbone: tiny
adapter: {kind: par_bn, reduction_factor: 4}
training: {epochs: 1, max_length: 16, max_train_examples: 16, max_eval_examples: 16}
"""
SEARCH = "name: parallel\nkind: search\ntasks: [news_empathy]\nn_trials: 1\nspace: {adapters: [par_bn, lora]}\n"
REFUSED = """\
from pathlib import Path
from empslurm.errors import ManifestError
from empslurm.manifest.load import load_manifest
try:
    load_manifest(Path("mine/stacks.yaml"))
except ManifestError as error:
    print(error)
"""
ROOTS = ("--data", "data", "--runs", "runs")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """CONTRIBUTING's steps: the entry, and the schema written again."""
    tree = copy_of_tree(tmp_path_factory.mktemp("tree"))
    tree.insert("empslurm/config.py", '    "prompt_tuning": KindFacts(\n', ENTRY)
    tree.python(shlex.split(WRITE_SCHEMA.partition("write it again: ")[2])[2])
    return tree


def test_no_id_moves_and_tests_of_this_tree_hold_with_it(tree: Tree) -> None:
    """Also what the entry says of stacks and sizes: each kind is tried on each."""
    tree.passes(
        "tests/manifest/test_load.py",
        "tests/train/model/test_single_adapter.py",
        "tests/test_cells.py::test_ids_are_the_recorded_ones",
        "-k",
        "schema or defaults or (stacks and par_bn) or recorded",
    )


def test_the_schema_offers_it(tree: Tree) -> None:
    schema = json.loads((tree.path / "manifests" / "manifest.schema.json").read_text())
    assert "par_bn" in schema["else"]["properties"]["adapter"]["properties"]["kind"]["enum"]
    tree.write("mine/search.yaml", SEARCH)
    cells = json.loads(tree.verb(*ROOTS, "plan", "mine/search.yaml", "--json"))["cells"]
    assert [cell["kind"] for cell in cells] == ["trial"]


def test_a_stack_or_a_size_that_the_entry_forbids_is_a_sentence(tree: Tree) -> None:
    tree.write("mine/stacks.yaml", MANIFEST.replace("[news_empathy]", "news_*").replace("none", "all_ordered"))
    told = tree.python(REFUSED)
    assert "adapter must stack, but par_bn beside a layer overwrites what a bottleneck below it adds" in told
    sizes = "from empslurm.config import Adapter; print([Adapter(kind='par_bn').size_problem(n) for n in (16, 32)])"
    assert tree.python(sizes) == "['par_bn needs 32 hidden units', '']\n"


def test_a_baseline_with_it_is_trained_and_gathered(tree: Tree) -> None:
    tree.verb(*ROOTS, "data", "sample")
    tree.write("mine/parallel.yaml", MANIFEST)
    tree.verb(*ROOTS, "submit", "mine/parallel.yaml", "--profile", "local")
    gathered = json.loads(tree.verb(*ROOTS, "gather", "mine/parallel.yaml", "--json"))
    assert (gathered["n_done"], gathered["missing"]) == (1, [])
    saved = next((tree.path / "runs").rglob("adapter/adapter_config.json"))
    assert json.loads(saved.read_text())["config"]["is_parallel"]
