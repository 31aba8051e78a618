"""Public datasets as they come, by card: official parts, label names, semicolons, decimal commas, left-out rows."""

import json
import random
from pathlib import Path

import pytest

from tests.project import Project, create

HEAD = """\
data_source: invented
language_setting: conversation
citation: Nobody (2026). Kites of invention.
licence: CC BY 4.0
"""
MOOD = (
    """\
id: kite_mood
title: Kite Mood
file: {train: train.csv, dev: dev.csv, test: test.csv}
format: csv
delimiter: ";"
columns: {text: said, label: mood, id: row, group: thread}
kind: classification
labels: {1: up, 0: down}
leave_out: [unclear]
"""
    + HEAD
)
WARMTH = (
    """\
id: kite_warmth
title: Kite Warmth
file: warmth.csv
format: csv
delimiter: ";"
decimal: ","
columns: {text: said, label: warmth}
kind: regression
low: 1.0
high: 5.0
shares: {validation: 0.2, test: 0.3}
"""
    + HEAD
)
SAVED = (
    """\
id: kite_saved
title: Kite Saved
file: saved.parquet
format: parquet
columns: {text: said, label: up}
kind: classification
labels: ['False', 'True']
hub: {name: ./saved, splits: {train: train, validation: validation, test: test}}
"""
    + HEAD
)
MANIFEST = """\
name: own
cards: [../cards]
tasks: [kite_mood, kite_warmth, kite_saved]
pairs: [kite_saved -> kite_mood, kite_mood -> kite_warmth]
seeds: [1]
backbone: tiny
training: {epochs: 1, batch_size: 8, max_length: 16, max_train_examples: 32, max_eval_examples: 16}
"""
PARTS = {"train": 80, "dev": 20, "test": 24}


def write_mood(folder: Path, rng: random.Random) -> None:
    """Rows and threads start again in every part; the first test rows stand in train too."""
    folder.mkdir(parents=True)
    for part, n in PARTS.items():
        lines = ["row;thread;said;mood"]
        for row in range(n):
            said = f"the kite of day {row} went there" if row < 4 else f"a {part} kite, number {row * 7919}"
            lines.append(f"{row};t{row // 2};{said};{'unclear' if row % 10 == 9 else rng.choice('01')}")
        (folder / f"{part}.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose three cards are saved, planned, prepared and trained."""
    import datasets

    rng, path = random.Random(1), tmp_path_factory.mktemp("own")
    project = create(path, {"own": MANIFEST})
    (path / "cards").mkdir()
    for name, text in (("mood", MOOD), ("warmth", WARMTH), ("saved", SAVED)):
        (path / "cards" / f"{name}.yaml").write_text(text)
    write_mood(path / "data" / "kite_mood", rng)
    lines = [f"it was kite {row};{rng.uniform(1, 5):.2f}".replace(".", ",") for row in range(200)]
    (path / "data" / "kite_warmth").mkdir()
    (path / "data" / "kite_warmth" / "warmth.csv").write_text("\n".join(["said;warmth", *lines]) + "\n")
    tables = {}
    for name, n in {"train": 60, "validation": 16, "test": 20}.items():
        rows = {"said": [f"{name} kite {row}" for row in range(n)], "up": [row % 2 == 0 for row in range(n)]}
        tables[name] = datasets.Dataset.from_dict(rows)
    datasets.DatasetDict(tables).save_to_disk(path / "cards" / "saved")
    return project


def test_own_cards_go_through_everything(own: Project) -> None:
    planned = own.json("plan", "own")
    told = "\n".join(planned["warnings"])
    assert "kite_saved must be below data, but is missing: run `empslurm prepare`" in told
    assert "it saves the splits train, validation, test of ./saved" in told
    assert "kite_mood: its card leaves out rows labelled unclear" in told
    assert "kite_mood: 22 test examples can show only large effects" in told
    transfer = next(
        cell for cell in planned["cells"] if (cell["source"], cell["target"]) == ("kite_saved", "kite_mood")
    )
    assert "will not be there: kite_saved must be below data, but is missing" in transfer["why"]
    prepared = own.json("prepare", "own")
    assert {name: task["n"] for name, task in prepared["tasks"].items() if name != "kite_warmth"} == {
        "kite_mood": {"train": 72, "validation": 18, "test": 22},
        "kite_saved": {"train": 60, "validation": 16, "test": 20},
    }
    assert any("12 rows are left out on purpose by their label: unclear (12)" in note for note in prepared["notes"])
    audited = own.json("data", "audit", "kite_mood", "kite_saved", "--cards", "cards", "--backbone", "tiny")
    leaking = {(row["task"], row["earlier"], row["later"]): row for row in audited["between"]}
    row = leaking["kite_mood", "train", "test"]
    assert (row["n_later"], row["in_shared_groups"], row["exact"]) == (22, 22, 4)
    assert leaking["kite_saved", "train", "test"]["exact"] == 0
    own.call("submit", "own", "--profile", "local")
    assert own.json("status", "own")["totals"]["done"] == 5
    cells = [json.loads(path.read_text()) for path in sorted((own.path / "runs" / "cells").glob("*/cell.json"))]
    splits = {cell["target"]: cell["data"]["split"] for cell in cells}
    assert splits == {
        "kite_mood": "official-1-0",
        "kite_saved": "official-1-0",
        "kite_warmth": "family-1-0-0.2-0.3",
    }
    own.call("gather", "own")
    pages = {path.name: path.read_text() for path in (own.path / "runs" / "gathered" / "own").glob("*.html")}
    assert any("kite_mood (official parts) leaks" in page for page in pages.values()), [*pages]
    stats = own.json("data", "stats", "kite_mood", "--cards", "cards")["datasets"]["kite_mood"]
    assert (stats["left_out"], stats["n_rejects"]) == ({"unclear": 12}, 0)
    assert [line["label"] for line in stats["tasks"]["kite_mood"]["lines"] if line["label"]] == ["up", "down"]
    assert "its card leaves out rows labelled unclear" in own.call("data", "status", "kite_mood", "--cards", "cards")
    (own.path / "texts.csv").write_text("text\na kite went up\n")
    own.call("score", "--cells", "own", "texts.csv", "-o", "scores.jsonl")
    scored = json.loads((own.path / "scores.jsonl").read_text())
    assert "up" in json.dumps(scored)
    assert "down" in json.dumps(scored)


def test_a_split_with_an_empty_part_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    manifest = MANIFEST.replace("tasks: [kite_mood, kite_warmth, kite_saved]", "tasks: [kite_warmth]")
    manifest = "".join(line for line in manifest.splitlines(keepends=True) if not line.startswith("pairs"))
    project = create(tmp_path, {"own": manifest + "pairs: []\n"})
    (tmp_path / "cards").mkdir()
    card = WARMTH.replace("label: warmth}", "label: warmth, group: who}").replace("shares:", "# shares:")
    (tmp_path / "cards" / "warmth.yaml").write_text(card)
    (tmp_path / "data").mkdir()
    lines = ["said;warmth;who", *(f"kite {row};2,5;one" for row in range(60))]
    (tmp_path / "data" / "warmth.csv").write_text("\n".join(lines) + "\n")
    must = "kite_warmth must have examples in train, validation and test to be trained, but"
    assert any(must in text for text in project.json("plan", "own")["warnings"])
    stats = project.json("data", "stats", "kite_warmth", "--cards", "cards")["datasets"]["kite_warmth"]
    assert any(must in text for text in stats["notes"])
    (problem,) = project.json("prepare", "own", expect=1)["error"]["problems"]
    assert "has none: whole groups are drawn" in problem
