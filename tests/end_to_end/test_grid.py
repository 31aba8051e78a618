"""From a manifest to results, and what a user asks on the way."""

import json

from tests.project import Project


def test_every_cell_is_done_with_a_result_that_verifies(trained: Project) -> None:
    totals = trained.json("status", "small")["totals"]
    assert totals["done"] == sum(totals.values()) == 8
    shown = trained.json("show", "epitome_er--news_empathy-s1")
    assert shown["result"]["metric"] == "pearson"
    assert len(shown["result"]["history"]) == 2
    assert [claim["number"] for claim in shown["claims"]] == [1]
    assert any(name.endswith("adapter/adapter_config.json") for name in shown["files"])
    assert not (trained.path / "runs" / "cells" / shown["id"] / "checkpoint").exists()


def test_a_second_submit_runs_nothing(trained: Project) -> None:
    before = trained.files()
    assert trained.json("submit", "small", "--profile", "local")["submitted"] == 0
    assert trained.files() == before


def test_plan_reuses_what_is_done_and_shares_it_between_manifests(copy: Project) -> None:
    other = (copy.path / "manifests" / "small.yaml").read_text().replace("name: small", "name: other")
    (copy.path / "manifests" / "other.yaml").write_text(other.replace("seeds: [1, 2]", "seeds: [2, 3]"))
    assert copy.json("plan", "other")["actions"] == {"reuse": 4, "run": 4}


def test_only_what_is_gone_is_run_again(copy: Project) -> None:
    cells = sorted((copy.path / "runs" / "cells").iterdir())
    before = {path.name: (path / "result.json").read_bytes() for path in cells}
    (cells[0] / "result.json").unlink()
    assert copy.json("plan", "small")["actions"] == {"reuse": 7, "run": 1}
    assert copy.json("submit", "small", "--profile", "local")["submitted"] == 1
    after = {path.name: (path / "result.json").read_bytes() for path in cells}
    again, first = json.loads(after.pop(cells[0].name)), json.loads(before.pop(cells[0].name))
    assert after == before
    for key in ("test", "validation", "history", "best_epoch"):
        assert again[key] == first[key]
    assert again["files"]["predictions.parquet"] == first["files"]["predictions.parquet"]


def test_explain_names_the_fields_that_differ(trained: Project) -> None:
    one, two = "epitome_er--news_empathy-s1", "epitome_er--news_empathy-s2"
    fields = [found["field"] for found in trained.json("explain", one, two)["differences"]]
    assert fields == ["parent", "seed"]


def test_logs_show_what_the_process_said(trained: Project) -> None:
    assert "news_empathy-s1-" in trained.call("logs", "news_empathy-s1")


def test_debug_trains_in_this_process_and_changes_nothing(trained: Project) -> None:
    before = trained.files()
    value = trained.json("debug", "small", "--cell", "epitome_er--news_empathy-s2", "--steps", "3")
    assert [result["kind"] for result in value["results"]] == ["baseline", "transfer"]
    assert trained.files() == before


def test_an_unknown_cell_and_an_ambiguous_one_are_wrong_use(trained: Project) -> None:
    trained.call("show", "epitome_er", expect=2)
    trained.call("show", "nothing", expect=2)
    trained.call("plan", "nowhere", expect=2)
