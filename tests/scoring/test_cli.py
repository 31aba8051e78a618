"""`score` and `export` as a user calls them."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from empslurm import ids
from empslurm.scoring import inputs, outputs, selection
from empslurm.scoring.run import run_id
from empslurm.store.runs import RunsRoot
from tests.project import ROOT, Project
from tests.scoring.conftest import TEXTS


def said_by(project: Project, *words: str, expect: int) -> str:
    """Standard error of one call, which must end with the expected status."""
    return " ".join(project.run(*words, expect=expect).stderr.split())


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with a context column, one bad row, more rows than a window."""
    path = tmp_path_factory.mktemp("texts") / "texts.csv"
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "reply", "post"])
        writer.writerows([place, TEXTS[place % len(TEXTS)], "It rained." if place % 2 else ""] for place in range(700))
    return path


def test_a_manifest_scores_its_baselines_in_input_order(trained: Project, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.jsonl"
    words = ["score", "--cells", "small", "--text", "reply", "--context", "post", str(texts), "-o", str(out)]
    value = trained.json(*words)
    assert (value["n_rows"], value["n_errors"]) == (700, 100)
    assert set(value["measures"]) == {"epitome_er", "epitome_ip", "news_empathy"}
    assert value["measures"]["news_empathy"]["n_seeds"] == 2
    assert value["measures"]["epitome_er"]["data_source"] == "Reddit"
    assert "diagnosis" in value["not_for"]
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["row"] for record in records] == list(range(1, 701))
    assert json.loads((tmp_path / "scores.jsonl.measures.json").read_text())["measures"] == value["measures"]
    trained.call(*words, expect=2)  # never overwritten


def test_a_stopped_run_goes_on_to_the_same_output(trained: Project, texts: Path, tmp_path: Path) -> None:
    def words(out: Path) -> list[str]:
        return ["score", "--cells", "news_empathy-s1", "--text", "reply", str(texts), "-o", str(out)]

    whole, again = tmp_path / "whole.csv", tmp_path / "again.csv"
    trained.call(*words(whole))
    short = tmp_path / "short" / "texts.csv"
    short.parent.mkdir()
    lines = texts.read_text().splitlines(keepends=True)
    short.write_text("".join(lines[:513]) + "broken")  # the first window is whole, the next is not
    work = outputs.Work(out=again, run="")
    trained.call("score", "--cells", "news_empathy-s1", "--text", "reply", str(short), "-o", str(tmp_path / "x.jsonl"))
    done = (tmp_path / "x.jsonl").read_text().splitlines(keepends=True)[:512]
    digest = outputs.RowDigest()
    root = RunsRoot(trained.path / "runs")
    work.run = run_id(selection.of_cells([root.find("news_empathy-s1")], root), "fp32", inputs.Columns(text="reply"))
    rows = list(inputs.read(texts, inputs.Columns(text="reply")))[:512]
    work.open(iter(()))
    for row in rows:
        digest.add(row)
    work.append([json.loads(line) for line in done], digest)
    work.close()
    with open(work.part, "a") as stream:
        stream.write('{"torn')
    value = trained.json(*words(again))
    assert (value["n_rows"], value["n_taken_up"]) == (700, 512)
    assert again.read_bytes() == whole.read_bytes()


def test_standard_output_gets_records_and_folders_of_exports_are_read(
    trained: Project, exported: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("one text\n\nanother\n")
    out = trained.call("score", "--cells", str(exported), "--tasks", "epitome_*", str(tmp_path / "in"))
    records = [json.loads(line) for line in out.splitlines()]
    assert [(record["file"], record["row"]) for record in records] == [("a.txt", 1), ("a.txt", 2), ("a.txt", 3)]
    assert set(records[0]["measures"]) == {"epitome_er", "epitome_ip", "epitome_er--epitome_ip"}


@pytest.mark.parametrize(
    "words",
    [
        ["--cells", "small", "nothing.txt"],
        ["--cells", "small", "t.txt", "-o", "out.xlsx"],
        ["--cells", "small", "t.txt", "--json"],
        ["--cells", "nowhere", "t.txt"],
        ["--cells", "small", "--tasks", "hope", "t.txt"],
    ],
)
def test_wrong_use_is_one_sentence(trained: Project, words: list[str]) -> None:
    (trained.path / "t.txt").write_text("x\n")
    trained.call("score", *words, expect=2)


def test_a_missing_column_is_said_before_anything_is_scored(trained: Project, texts: Path, tmp_path: Path) -> None:
    trained.call("score", "--cells", "small", str(texts), "-o", str(tmp_path / "o.csv"), expect=1)
    assert not list(tmp_path.iterdir())


def test_score_open_quote(trained: Project, tmp_path: Path) -> None:
    table = tmp_path / "texts.csv"
    table.write_text('id,text\n1,one\n2,"two\n3,three\n')
    out = tmp_path / "out.jsonl"
    said = said_by(trained, "score", "--cells", "small", str(table), "-o", str(out), expect=1)
    assert "line 3" in said
    assert "never closed" in said
    assert not out.exists()


def test_score_blank_json_lines(trained: Project, tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text('{"text": "one"}\n\n\n{"text": "two"}\n')
    out = trained.call("score", "--cells", "news_empathy-s1", str(tmp_path / "texts.jsonl"))
    records = [json.loads(line) for line in out.splitlines()]
    assert [("error" in record, record["row"]) for record in records] == [(False, 1), (False, 4)]


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_kept_columns_are_in_every_output(trained: Project, tmp_path: Path, form: str) -> None:
    (tmp_path / "texts.jsonl").write_text(
        '{"id": 7, "text": "one", "share": 1, "seen": true, "mixed": 1}\n'
        '{"id": 8, "text": "", "share": 0.5, "seen": null, "mixed": "x"}\n'
    )
    out = tmp_path / f"out.{form}"
    keep = ["--keep", "id,text,share,seen,mixed"]
    trained.call("score", "--cells", "news_empathy-s1", str(tmp_path / "texts.jsonl"), *keep, "-o", str(out))
    if form == "jsonl":
        found = [json.loads(line) for line in out.read_text().splitlines()]
    elif form == "csv":
        with open(out, newline="") as stream:
            found = list(csv.DictReader(stream))
    else:
        found = pq.read_table(out).to_pylist()
    assert "empty" in found[1]["error"]
    assert [[row[name] for name in ("id", "text", "share", "seen", "mixed")] for row in found] == {
        "jsonl": [[7, "one", 1, True, 1], [8, "", 0.5, None, "x"]],
        "csv": [["7", "one", "1", "true", "1"], ["8", "", "0.5", "", "x"]],
        "parquet": [[7, "one", 1.0, True, "1"], [8, "", 0.5, None, "x"]],
    }[form]


def test_a_kept_column_must_not_have_the_name_of_a_score(trained: Project, tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text("text,row,news_empathy\none,1,2\n")
    for name in ("row", "news_empathy"):
        words = ["score", "--cells", "small", str(tmp_path / "texts.csv"), "--keep", name]
        assert f"but {name} is there already" in said_by(trained, *words, expect=2)


def test_only_columns_that_are_kept_enter_the_run_id(trained: Project) -> None:
    root = RunsRoot(trained.path / "runs")
    chosen = selection.of_cells([root.find("news_empathy-s1")], root)
    columns = inputs.Columns(text="reply", context=("post",))
    before = ids.digest([chosen.fingerprint(), "fp32", {"text": "reply", "context": ["post"]}], 24)
    assert run_id(chosen, "fp32", columns) == before  # as it was before columns could be kept
    assert run_id(chosen, "fp32", inputs.Columns(text="reply", context=("post",), keep=("id",))) != before


def test_a_pipe_is_read_once(trained: Project) -> None:
    command = f"{sys.executable} -m empslurm score --cells news_empathy-s1 --format csv <(printf 'text\none\ntwo\n')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "EMPSLURM_RUNS": "runs", "EMPSLURM_DATA": "data"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=trained.path, env=environment, capture_output=True, text=True, check=True
    )
    assert [json.loads(line)["row"] for line in done.stdout.splitlines()] == [1, 2]


def test_export_shows_what_a_push_would_send(trained: Project, tmp_path: Path) -> None:
    words = ["export", "small", "--to", str(tmp_path), "--push", "org", "--dry-run", "--json"]
    value = json.loads(trained.call(*words, cold=True))
    assert value["pushed"] == []
    assert [one["repository"] for one in value["measures"]] == [
        "org/empslurm-epitome_er",
        "org/empslurm-epitome_ip",
        "org/empslurm-news_empathy",
    ]
    trained.call("export", "small", "--to", str(tmp_path), "--dry-run", expect=2)
