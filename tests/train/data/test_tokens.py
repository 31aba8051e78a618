"""Tokens are made once and cut by the rule; an incomplete folder in their place is replaced."""

import os
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from empslurm.backbones import resolve
from empslurm.config import Backbone
from empslurm.errors import StoreError
from empslurm.train.data.tokenizer import load_tokenizer
from empslurm.train.data.tokens import encode, tokenise

TABLE: Any = SimpleNamespace(
    texts=("a red kite flies", "yes"),
    contexts=((), ("one two three four five six seven eight nine ten", "what is it")),
    digest="table-1",
)


@pytest.fixture(scope="module")
def tokenizer():
    assert resolve(Backbone(name="minilm")).path is not None
    return load_tokenizer(Backbone(name="minilm"))


def test_the_text_keeps_its_head_and_the_context_its_tail(tokenizer) -> None:
    (single, at_single, cut_single), (pair, at_pair, cut_pair) = encode(tokenizer, TABLE.contexts, TABLE.texts, 10)
    text_of = partial(tokenizer.backend.decode, skip_special_tokens=False)
    assert text_of(single) == "[CLS] a red kite flies [SEP]"
    assert (at_single, cut_single, cut_pair) == (0, False, True)
    assert text_of(pair) == "[CLS] nine ten [SEP] what is it [SEP] yes [SEP]"
    assert text_of(pair[at_pair:]) == "yes [SEP]"


def never():
    raise AssertionError("the tokens are there, so nobody needs a tokenizer")


def test_tokens_are_made_once(tokenizer, tmp_path) -> None:
    first = tokenise(TABLE, lambda: tokenizer, "weights", 12, tmp_path)
    again = tokenise(TABLE, never, "weights", 12, tmp_path)
    assert np.array_equal(first.flat, again.flat)
    assert first.lengths.tolist() == [6, 12]
    assert again.n_truncated == 1


def test_an_incomplete_folder_is_made_anew(tokenizer, tmp_path) -> None:
    tokenise(TABLE, lambda: tokenizer, "weights", 12, tmp_path)
    (folder,) = (tmp_path / "tokens").iterdir()
    (folder / "done.json").unlink()
    assert tokenise(TABLE, lambda: tokenizer, "weights", 12, tmp_path).lengths.tolist() == [6, 12]
    assert sorted(path.name for path in folder.iterdir()) == ["done.json", "flat.npy", "starts.npy", "text_starts.npy"]


def test_a_folder_that_cannot_be_written_is_an_error_in_words(tokenizer, tmp_path) -> None:
    (tmp_path / "tokens").write_text("")
    with pytest.raises(StoreError, match="must be written, but cannot be"):
        tokenise(TABLE, lambda: tokenizer, "weights", 12, tmp_path)
    assert os.listdir(tmp_path) == ["tokens"]
