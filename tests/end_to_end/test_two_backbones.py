"""One manifest, two backbones: from a plan while one is not here to tables that put them side by side."""

import shutil
from pathlib import Path

import pytest

import empslurm
from empslurm.backbones import resolve
from empslurm.cli import prepare
from empslurm.config import Backbone
from empslurm.errors import BackboneError, UsageError
from empslurm.scoring import selection
from empslurm.store.runs import RunsRoot
from tests.backbones.files import weights_and_vocabulary
from tests.project import create

MANIFEST = """\
name: two
tasks: [epitome_er, news_empathy]
backbone: [tiny, ../models/other]
training: {epochs: 1, batch_size: 8, max_length: 16, max_train_examples: 16, max_eval_examples: 16}
"""


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
    assert project.run("plan", "two").stdout.count("must be a folder") == 3  # twice for cells in a row, and the warning
    project.call("submit", "two", "--profile", "local")
    ((cause, n_cells),) = (item.values() for item in project.json("status", "two")["left_out"])
    assert ("models/other must be a folder" in cause, n_cells) == (True, 4)
    assert "left out by `submit`" in project.run("status", "two").stdout
    missing = project.json("gather", "two")["missing"]
    assert len(missing) == 4
    assert all("never started; backbone" in cell["why"] and "must be a folder" in cell["why"] for cell in missing)

    # Once it is there, the rest runs, and what is done is not run again.
    write_backbone(tmp_path / "models" / "other")
    done = {path: path.read_bytes() for path in tmp_path.glob("runs/cells/*/result.json")}
    assert project.json("submit", "two", "--profile", "local")["states"] == {"done": 4}
    assert all(path.read_bytes() == before for path, before in done.items())
    status = project.json("status", "two")
    assert {label: states["done"] for label, states in status["backbones"].items()} == {"tiny": 4, "other": 4}
    path, runs, data = (tmp_path / name for name in ("manifests/two.yaml", "runs", "data"))
    study = empslurm.gathered(path, runs=runs, data=data)
    assert study.settings == ("tiny", "other")
    assert {"tiny: percent", "other: percent"} < set(study.frame("settings-pairs", "other"))

    # Scoring and export use one backbone; where there are two, it must be named.
    said = project.run("export", "two", "--to", "exported", expect=2).stderr
    assert "out of tiny, other" in said
    assert "--backbone tiny" in said
    words = ("export", "two", "--to", "exported", "--push", "lab", "--dry-run", "--backbone", "models/../models/other")
    assert {measure["repository"] for measure in project.json(*words)["measures"]} == {
        "lab/empslurm-epitome_er-other",
        "lab/empslurm-news_empathy-other",
    }
    plan = empslurm.planned(path, runs=runs, data=data)
    for backbone in ("other", str(tmp_path / "models" / "other"), "../models/other"):
        chosen = selection.of_plan(plan, RunsRoot(runs), ["news_*"], backbone)
        assert {member.measure.backbone for member in chosen.members} == {plan.manifest.backbones[1]}
        assert chosen.problems == ()


def test_one_model_under_two_names_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "config.json").write_text('{"model_type": "bert"}')
        weights_and_vocabulary(tmp_path / "models" / name)
    manifest = MANIFEST.replace("[tiny, ../models/other]", "[../models/one, ../models/two]")
    create(tmp_path, {"two": manifest})
    with pytest.raises(UsageError, match=r"must be different models, but .*one and .*two are the same"):
        empslurm.planned(tmp_path / "manifests" / "two.yaml", runs=tmp_path / "runs", data=tmp_path / "data")
    weights_and_vocabulary(tmp_path / "models" / "two", "other")
    plan = empslurm.planned(tmp_path / "manifests" / "two.yaml", runs=tmp_path / "runs", data=tmp_path / "data")
    assert list(plan.labels.values()) == ["one", "two"]


def test_what_can_be_fetched_is_fetched_and_the_rest_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    here, absent = Backbone(name="tiny"), Backbone(name="./absent")

    def fetched(backbone: Backbone) -> Path:
        if backbone == absent:
            raise BackboneError("./absent must be a folder, but is not")
        return Path("here")

    monkeypatch.setattr(prepare, "fetch", fetched)
    folders, problems = prepare.fetch_all({absent: "absent", here: "tiny"})
    assert (folders, problems) == ({here: Path("here")}, {"absent": "./absent must be a folder, but is not"})
    with pytest.raises(BackboneError, match="absent must be a folder"):
        prepare.fetch_all({absent: "absent"})
