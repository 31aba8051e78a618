"""A backbone loads whole, in float32, from one file of weights or several, or is refused in a sentence."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from empslurm.backbones import resolve
from empslurm.config import Backbone
from empslurm.errors import BackboneError
from empslurm.train.embeddings import sentence_mean
from empslurm.train.model.backbone import load_encoder
from tests.backbones.files import vocabulary
from tests.train.model.encoders import random_encoder


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return all(one.dtype == other.dtype and torch.equal(one, other) for one, other in pairs)


def saved(model: Any, folder: Path, **options: str) -> None:
    model.save_pretrained(folder, **options)
    vocabulary(folder)


def test_weights_in_half_precision_are_loaded_in_float32(tmp_path: Path) -> None:
    model = random_encoder("bert", 1)
    saved(model.half(), tmp_path)
    loaded = load_encoder(Backbone(name=str(tmp_path)))
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    assert same(loaded, model.float())


def test_weights_in_several_files_are_all_loaded_and_all_in_the_digest(tmp_path: Path) -> None:
    model = random_encoder("mpnet", 1)
    saved(model, tmp_path, max_shard_size="10KB")
    backbone = Backbone(name=str(tmp_path))
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert same(load_encoder(backbone), model)
    index = tmp_path / "model.safetensors.index.json"
    before = resolve(backbone).digest
    index.write_text(index.read_text() + "\n")
    assert resolve(backbone).digest != before
    next(tmp_path.glob("*.safetensors")).unlink()
    assert re.search(r"must hold its weights as safetensors, but model-\S+ is not there", resolve(backbone).problem)


def test_a_folder_whose_weights_no_loader_finds_is_refused_by_the_plan(tmp_path: Path) -> None:
    saved(random_encoder("bert", 1), tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "weights.safetensors")
    resolved = resolve(Backbone(name=str(tmp_path)))
    assert resolved.path is None
    assert "but model.safetensors is not there" in resolved.problem


def test_weights_that_are_missing_are_not_drawn_at_random(tmp_path: Path) -> None:
    saved(random_encoder("modernbert", 1), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(
        {name: value for name, value in tensors.items() if "layers.1" not in name}, tmp_path / "model.safetensors"
    )
    with pytest.raises(BackboneError, match=r"must hold every weight of its encoder, but lacks layers\.1\.\S+ and"):
        load_encoder(Backbone(name=str(tmp_path)))


def test_a_sentence_encoder_computes_in_float32() -> None:
    minilm = resolve(Backbone(name="minilm")).path
    assert minilm is not None
    encoder = sentence_mean.load_encoder(minilm, "cpu")
    assert {value.dtype for value in encoder.parameters()} == {torch.float32}
