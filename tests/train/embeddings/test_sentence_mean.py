"""A dataset embedding is the mean of its texts' sentence embeddings, each example once."""

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
    with pytest.raises(BackboneError, match="must hold a sentence-transformers model"):
        load_encoder(tmp_path, "cpu")
