"""One manifest, two backbones: from a plan while one is not here to tables that put them side by side."""

import csv
import shutil
from pathlib import Path
from typing import Any

from empslurm.backbones import resolve
from empslurm.config import Backbone
from tests.project import Project, create

MANIFEST = """\
name: two
tasks: [epitome_er, news_empathy]
backbone: [tiny, ../models/other]
training: {epochs: 1, batch_size: 8, max_length: 16, max_train_examples: 16, max_eval_examples: 16}
"""
LABELS = ("tiny", "other")


def write_backbone(folder: Path) -> None:
    """A small BERT with random weights and MiniLM's tokenizer."""
    import torch
    from transformers import BertConfig, BertModel

    source = resolve(Backbone(name="minilm")).path
    assert source is not None
    torch.manual_seed(1)
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    BertModel(BertConfig.from_pretrained(source, **sizes)).save_pretrained(folder)
    for file in source.iterdir():
        if file.name.startswith(("tokenizer", "vocab", "special")):
            shutil.copy(file, folder)


def test_two_backbones_from_the_manifest_to_the_groups(tmp_path: Path) -> None:
    project = create(tmp_path, {"two": MANIFEST})
    project.call("data", "sample")

    # While the folder is missing, its own cells wait, and nothing else does.
    planned = project.json("plan", "two", "--profile", "local")
    assert {label: one["actions"] for label, one in planned["backbones"].items()} == {
        "tiny": {"run": 4},
        "other": {"skip": 4},
    }
    assert {cell["backbone"] for cell in planned["cells"] if cell["provisional"]} == {"other"}
    assert any("models/other must be a folder" in text for text in planned["warnings"])
    prepared = project.json("prepare", "two", expect=1)
    assert (list(prepared["backbones"]), list(prepared["not_here"])) == (["tiny"], ["other"])
    project.call("submit", "two", "--profile", "local")
    gathered = project.json("gather", "two")
    assert [(group["name"], group["n_cells"]) for group in gathered["groups"]] == [("tiny", 4)]
    assert "No table has other: its 4 cells are missing." in project.call("gather", "two")
    with (tmp_path / "runs/gathered/two/missing.csv").open() as file:
        assert {row["backbone"] for row in csv.DictReader(file)} == {"other"}

    # Once it is there, the rest runs, and what is done is not run again.
    write_backbone(tmp_path / "models" / "other")
    done = {path: path.read_bytes() for path in tmp_path.glob("runs/cells/*/result.json")}
    assert project.json("submit", "two", "--profile", "local")["states"] == {"done": 4}
    assert all(path.read_bytes() == before for path, before in done.items())
    status = project.json("status", "two")
    assert {label: states["done"] for label, states in status["backbones"].items()} == {"tiny": 4, "other": 4}
    gathered = project.json("gather", "two")
    assert [(group["name"], group["setting"]["setting"], group["n_cells"]) for group in gathered["groups"]] == [
        ("tiny", "tiny", 4),
        ("other", "other", 4),
    ]
    with (tmp_path / "runs/gathered/two/settings-pairs.csv").open() as file:
        assert {"tiny: percent", "other: percent"} < set(csv.DictReader(file).fieldnames or ())

    # Scoring and export use one backbone; where there are two, it must be named.
    said = project.run("export", "two", "--to", "exported", expect=2).stderr
    assert "out of tiny, other" in said
    assert "--backbone tiny" in said
    exported = project.json("export", "two", "--to", "exported", "--backbone", "other", "--tasks", "news_empathy")
    assert [Path(measure["folder"]).name for measure in exported["measures"]] == ["news_empathy"]
    first, second = (next(cell["id"] for cell in cells_of(project) if cell["backbone"] == label) for label in LABELS)
    fields = {item["field"] for item in project.json("explain", first, second)["differences"]}
    assert fields == {"backbone.name", "backbone_digest"}


def cells_of(project: Project) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = project.json("plan", "two")["cells"]
    return cells


def test_one_model_under_two_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    write_backbone(tmp_path / "models" / "one")
    shutil.copytree(tmp_path / "models" / "one", tmp_path / "models" / "two")
    manifest = MANIFEST.replace("[tiny, ../models/other]", "[../models/one, ../models/two]")
    said = create(tmp_path, {"two": manifest}).run("plan", "two", expect=2).stderr
    assert "must be different models" in said
