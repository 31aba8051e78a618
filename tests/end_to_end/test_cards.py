"""Tables of the user's own, by card alone, through every stage."""

import csv
import random

import pytest

from tests.project import ROOT, Project

MOOD = """\
id: kite_mood
title: Kite Mood
file: kites.csv
format: csv
columns: {text: said, context: before, label: mood, group: thread}
kind: classification
labels: [up, down]
data_source: Twitter
language_setting: social media
ratings: {definition: 4, link: 2, conduciveness: 3}
citation: Nobody (2026). Kites of invention.
licence: CC BY 4.0
"""
WARMTH = """\
id: kite_warmth
title: Kite Warmth
file: warmth.parquet
format: parquet
columns: {text: said, label: warmth}
kind: regression
low: 1.0
high: 5.0
data_source: Twitter
language_setting: social media
hub: {name: ./warmth}
citation: Nobody (2026). Kites of invention.
licence: CC BY 4.0
"""
MANIFEST = """\
name: own
cards: [../cards]
tasks: [kite_mood, kite_warmth]
seeds: [1]
backbone: tiny
training: {epochs: 2, batch_size: 8, max_length: 16, max_train_examples: 32, max_eval_examples: 16}
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with two cards; the second one's table is in a folder that the `datasets` library saved."""
    import datasets

    rng = random.Random(1)
    path = tmp_path_factory.mktemp("own")
    for name, text in (("cards/mood", MOOD), ("cards/warmth", WARMTH), ("manifests/own", MANIFEST)):
        file = path / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    (path / "slurm").symlink_to(ROOT / "slurm")
    rows = ["said,before,mood,thread"]
    warmth: dict[str, list[object]] = {"said": [], "warmth": []}
    for number in range(240):
        mood = rng.choice(("up", "down"))
        rows.append(f"the kite went {mood} on day {number},where is it,{mood},{number // 3}")
        warmth["said"].append(f"{mood} it went, said the {number}th")
        warmth["warmth"].append(round(3 + (1 if mood == "up" else -1) + rng.uniform(-0.9, 0.9), 2))
    (path / "data" / "kite_mood").mkdir(parents=True)
    (path / "data" / "kite_mood" / "kites.csv").write_text("\n".join(rows) + "\n")
    datasets.Dataset.from_dict(warmth).save_to_disk(path / "cards" / "warmth")
    return Project(path=path)


def test_cards_go_through_plan_prepare_submit_and_gather(own: Project) -> None:
    planned = own.json("plan", "own")
    assert planned["n_training_cells"] == 4
    provisional = {(cell["source"], cell["target"]) for cell in planned["cells"] if cell["provisional"]}
    assert provisional == {(None, "kite_warmth"), ("kite_mood", "kite_warmth"), ("kite_warmth", "kite_mood")}
    prepared = own.json("prepare", "own")
    assert set(prepared["tasks"]) == {"kite_mood", "kite_warmth"}
    assert (own.path / "data" / "kite_warmth" / "warmth.parquet").is_file()
    assert not any(cell["provisional"] for cell in own.json("plan", "own")["cells"])
    own.call("submit", "own", "--profile", "local")
    assert own.json("status", "own")["totals"]["done"] == 4
    shown = own.json("show", "kite_mood--kite_warmth-s1")
    assert shown["result"]["metric"] == "pearson"
    own.call("gather", "own")
    folder = own.path / "runs" / "gathered" / "own"
    with open(folder / "pairs.csv") as stream:
        pairs = {(row["source"], row["target"]): row for row in csv.DictReader(stream)}
    assert set(pairs) == {("kite_mood", "kite_warmth"), ("kite_warmth", "kite_mood")}
    assert {row["state"] for row in pairs.values()} == {"complete"}
    assert "Kite Warmth" in (folder / "table8.md").read_text()


def test_cards_are_audited_and_counted(own: Project) -> None:
    value = own.json("data", "audit", "kite_mood", "--cards", "cards")
    assert {(row["source"], row["target"]) for row in value["overlaps"]} == {("kite_mood", "kite_mood")}
    assert own.json("data", "stats", "kite_mood", "--cards", "cards")["datasets"]["kite_mood"]["n_groups"] == 80
