"""A dataset embedding is the mean of its texts' sentence embeddings, each example once."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from empslurm.backbones import resolve
from empslurm.config import Backbone
from empslurm.errors import BackboneError
from empslurm.train.embeddings.sentence_mean import chosen, load_encoder, mean_embedding

TEXTS = ("a red kite", "a blue kite", "wind over the hill", "the line broke")
TABLE: Any = SimpleNamespace(ids=("1", "2", "3", "4", "2"), texts=(*TEXTS, TEXTS[1]))


@pytest.fixture(scope="module")
def encoder():
    path = resolve(Backbone(name="minilm")).path
    assert path is not None
    return load_encoder(path, "cpu")


def test_the_mean_holds_every_example_once(encoder, monkeypatch) -> None:
    monkeypatch.setattr("empslurm.train.embeddings.sentence_mean.CHUNK", 3)
    single = np.stack([encoder.encode(text, normalize_embeddings=True) for text in TEXTS])
    np.testing.assert_allclose(mean_embedding(encoder, TABLE, None), single.mean(0), atol=1e-6)
    assert mean_embedding(encoder, TABLE, None).shape == (384,)


def test_a_cap_takes_the_same_examples_every_time() -> None:
    assert len(chosen(TABLE, 2)) == 2
    assert set(chosen(TABLE, 2)) < set(chosen(TABLE, 3))
    assert sorted(chosen(TABLE, None)) == [0, 2, 3, 4]


def test_a_folder_that_is_no_encoder_is_an_error_in_words(tmp_path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BackboneError, match=r"config.json must be of an encoder of the families bert, .* is None"):
        load_encoder(tmp_path, "cpu")


def copy_of(folder: Path) -> Path:
    """A folder with links to the files of the packaged encoder, and a file of code that must not be run."""
    path = resolve(Backbone(name="minilm")).path
    assert path is not None
    shutil.copytree(path, folder, copy_function=os.symlink)
    (folder / "evil.py").write_text("from pathlib import Path\nPath('canary').touch()\nclass Module: ...\n")
    return folder


def test_weights_are_read_from_safetensors_only(tmp_path: Path) -> None:
    folder = copy_of(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(
        BackboneError, match=r"must hold a sentence-transformers model, but does not load: .*safetensors"
    ):
        load_encoder(folder, "cpu")


def test_no_code_of_the_folder_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = copy_of(tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").unlink()
    modules[2]["type"] = "evil.Module"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(BackboneError, match=r"modules.json: type must be the library's .*, but is evil.Module"):
        load_encoder(folder, "cpu")
    assert not (tmp_path / "canary").exists()


def test_what_the_library_saves_is_accepted(encoder, tmp_path: Path) -> None:
    encoder.save(str(tmp_path), create_model_card=False)
    again = load_encoder(tmp_path, "cpu")
    np.testing.assert_array_equal(again.encode(TEXTS[0]), encoder.encode(TEXTS[0]))


def test_texts_are_cut_as_the_tokenizer_file_says(encoder, tmp_path: Path) -> None:
    folder = copy_of(tmp_path / "model")
    path = folder / "tokenizer.json"
    value = json.loads(path.read_text())
    swap = {"type": "Replace", "pattern": {"String": "@bob"}, "content": "kite"}
    value["normalizer"] = {"type": "Sequence", "normalizers": [swap, value["normalizer"]]}
    path.unlink()
    path.write_text(json.dumps(value))
    again = load_encoder(folder, "cpu")
    np.testing.assert_array_equal(again.encode("a red @bob"), encoder.encode("a red kite"))


def test_a_class_that_is_no_fast_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = copy_of(tmp_path / "model")
    (folder / "tokenizer_config.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CanineTokenizer"}))
    with pytest.raises(BackboneError, match=r"a tokenizer that has a fast version, but its tokenizer_class Canine"):
        load_encoder(folder, "cpu")
