"""Every verb's JSON document has a type with a text for each key, and what verbs print is as the types say."""

import argparse
import importlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

from docs.pages import runs_root
from empslurm.cli import documents, main, parser
from empslurm.cli.documents import base
from empslurm.cli.output import Output
from empslurm.cli.verbs import VERBS
from tests import schemas
from tests.project import Project, once, trained_on_sample
from tests.validation.test_descriptions import properties

MANIFEST = """
name: small
tasks: [epitome_er, news_empathy]
seeds: [1]
backbone: tiny
training: {epochs: 1, batch_size: 8, max_length: 24, max_train_examples: 16, max_eval_examples: 16}
"""
SEARCH = """
name: find
kind: search
tasks: [epitome_er]
n_trials: 2
backbone: tiny
space: {adapters: [seq_bn]}
second_stage: {n_types: 1}
training: {epochs: 1, max_length: 24, max_train_examples: 16, max_eval_examples: 16}
"""


def actions_of(verb: str) -> list[str]:
    """The actions that a verb may be followed by."""
    return list(below(below(parser.build(verb))[verb]))


def below(above: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of what may follow a verb, or of the verbs themselves."""
    actions = [action for action in above._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(actions[0].choices) if actions else {}


def prints_a_document(verb: str) -> bool:
    module = importlib.import_module(f"empslurm.cli.{VERBS[verb].module}")
    return re.search(r"\.document\(", inspect.getsource(module)) is not None


def test_every_verb_and_action_that_prints_a_document_has_a_type():
    wanted = []
    for verb in VERBS:
        actions = actions_of(verb)
        wanted += [f"{verb} {action}" for action in actions]
        wanted += [verb] if not actions and prints_a_document(verb) else []
    assert sorted(wanted) == sorted(documents.DOCUMENTS), "describe the document in empslurm/cli/documents/"


@pytest.mark.parametrize("name", [*documents.DOCUMENTS, documents.ERROR])
def test_a_schema_is_of_draft_7_and_describes_every_key(name: str):
    schema = documents.document_json_schema(name)
    schemas.validator(name).check_schema(schema)
    assert schema["$schema"] == base.DRAFT
    described = {where: inner.get("description", "") for where, inner in properties(schema)}
    assert described
    lacking = [where for where, text in described.items() if not (text[:1].strip() and text.endswith("."))]
    assert not lacking, "give each field of these a Doc that ends with a full stop"


def test_keys_that_no_type_has_and_keys_that_are_missing_are_found():
    document = {"id": "a", "file": None, "text": ""}
    assert schemas.problems("logs", document) == []
    assert schemas.problems("logs", {**document, "warnings": ["one"]}) == []
    assert len(schemas.problems("logs", {**document, "colour": "red"})) == 1
    assert len(schemas.problems("logs", {"id": "a", "file": None})) == 1
    assert len(schemas.problems("logs", {**document, "file": 3})) == 1
    assert len(schemas.problems("error", {"error": {"class": "UsageError"}})) == 1


def test_one_of_several_documents_is_enough():
    nothing = {"manifest": "small", "submitted": 0, "decisions": {"reuse": 4}}
    here = {"manifest": "small", "submitted": 4, "states": {"done": 4}, "failed": {}}
    assert schemas.problems("submit", nothing) == schemas.problems("submit", here) == []
    assert schemas.problems("submit", {**nothing, **here})


def test_a_document_of_this_process_is_compared_with_its_schema(monkeypatch: pytest.MonkeyPatch):
    def run(options: argparse.Namespace, out: Output) -> int:
        out.document({"level": "ordinal", "agreement": []})
        return 0

    monkeypatch.setattr("empslurm.cli.agreement.run", run)
    with pytest.raises(AssertionError, match="annotators"):
        main(["agreement", "--json"])


def test_a_command_line_names_its_document():
    assert schemas.name_of(["--data", "d", "data", "status", "epitome"]) == "data status"
    assert schemas.name_of(["search", "find", "report"]) == "search report"
    assert schemas.name_of(["gather", "demo"]) == "gather"


# What needs no training: the hook of `tests/conftest.py` compares each document with its schema.


def test_documents_of_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    (tmp_path / "small.yaml").write_text(MANIFEST)
    for words in (["data", "status"], ["plan", "small.yaml"], ["status", "small.yaml"], ["cancel", "small.yaml"]):
        assert main([*words, "--json"]) == 0
        schemas.check(words, json.loads(capsys.readouterr().out))
    assert main(["show", "none", "--json"]) == 2
    assert set(json.loads(capsys.readouterr().out)) == {"error"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Cells that have run to their end, and what the tests of this module add."""
    return Project(path=once(tmp_path_factory, "documents", lambda path: trained_on_sample(path, MANIFEST)))


@pytest.mark.heavy
def test_documents_of_finished_cells(finished: Project):
    plan = finished.json("plan", "small", "--profile", "small")
    assert {cell["action"] for cell in plan["cells"]} == {"reuse"}
    names = [cell["id"] for cell in plan["cells"]]
    assert finished.json("submit", "small", "--profile", "local")["submitted"] == 0
    assert finished.json("status", "small")["totals"]["done"] == len(names)
    assert finished.json("show", names[-1])["result"]["id"] == names[-1]
    assert finished.json("explain", names[0], names[-1])["differences"]
    assert finished.json("logs", names[0])["text"]
    assert finished.json("gather", "small", "--out", "out")["n_done"] == len(names)
    assert finished.json("prepare", "small")["tasks"]
    assert finished.json("data", "stats", "news", "--out", "tables")["datasets"]
    assert finished.json("data", "prepare", "news", "--backbone", "tiny")["tasks"]
    assert finished.json("data", "audit", "news", "epitome", "--backbone", "tiny", "--out", "tables")["overlaps"]
    assert finished.json("export", "small", "--to", "exported")["measures"]
    assert finished.json("debug", "small", "--steps", "1")["results"]
    (finished.path / "in.txt").write_text("I am so sorry to hear that.\n")
    assert finished.json("score", "--cells", "small", "-o", "scores.jsonl", "in.txt")["n_rows"] == 1


@pytest.mark.heavy
def test_the_reference_lists_the_files_of_a_cell_and_their_keys(finished: Project):
    plan = finished.json("plan", "small")
    folders = {cell["kind"]: finished.path / "runs" / "cells" / cell["id"] for cell in plan["cells"]}
    for kind, folder in folders.items():
        names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        below = {name.removeprefix("output-0001/") for name in names if name.startswith("output-0001/")}
        assert names - {f"output-0001/{name}" for name in below} <= {*runs_root.CELL_FILES}
        assert {name for name in below if not name.startswith("last/adapter/")} <= {*runs_root.OUTPUT_FILES}
        assert any(name.startswith("last/adapter/") for name in below) == (kind == "baseline")
        result = json.loads((folder / "result.json").read_text())
        assert set(result) == {*runs_root.RESULT} - {"n_examples", "trial"}
        assert set(json.loads((folder / "cell.json").read_text())) <= {*runs_root.IDENTITY}
        output = folder / result["output"]
        assert set(json.loads((output / "provenance.json").read_text())) == {*runs_root.PROVENANCE}
        assert set(json.loads((output / "adapter" / "task.json").read_text())) == {*runs_root.MEASURE}
    finished.json("gather", "small", "--out", "out")
    assert {"long.csv", "long.parquet", "report.html"} <= {path.name for path in (finished.path / "out").iterdir()}
    assert (
        finished.path / "out" / "missing.csv"
    ).read_text().strip() == "id,kind,source,target,seed,fraction,state,why"


@pytest.mark.heavy
def test_documents_of_a_search(finished: Project):
    (finished.path / "find.yaml").write_text(SEARCH)
    first = finished.json("submit", "find.yaml", "--profile", "local")
    assert first["states"] == {"done": 2}
    assert finished.json("status", "find.yaml")["studies"]["epitome_er"]["complete"]
    assert finished.json("submit", "find.yaml", "--profile", "local")["submitted"] == 1
    report = finished.json("search", "report", "find.yaml", "--out", "found")
    assert report["second_stage"]["n_through"] == 1
    assert finished.json("gather", "find.yaml", "--out", "found")["tables"].keys() == report["tables"].keys()
    assert finished.json("search", "freeze", "find.yaml", "--name", "mine")["tasks"][0]["task"] == "epitome_er"
