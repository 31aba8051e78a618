"""Even batches have few shapes, and the padding that they keep does not change results."""

import numpy as np
import torch

from empslurm.train.data.batch import EVEN_LENGTH, batch_of, cut, cut_here, to_host
from empslurm.train.schedule import epoch_batches
from tests.train.world import TRAINING, invented_data

DATA = invented_data(n_train=400)
CPU = torch.device("cpu")


def test_a_batch_keeps_its_real_tokens_and_nothing_else():
    made = cut(DATA.tokens, [3, 0, 5], CPU)
    lengths = DATA.tokens.lengths[[3, 0, 5]]
    assert made.shape == (3, lengths.max())
    assert len(made.rows) == lengths.sum()
    for row, example in enumerate([3, 0, 5]):
        start = DATA.tokens.starts[example]
        ids = made.inputs["input_ids"][made.rows, made.positions][made.rows == row]
        assert ids.tolist() == DATA.tokens.flat[start : start + lengths[row]].tolist()
        assert made.rows[made.firsts[row]] == row
        assert made.positions[made.firsts[row]] == 0


def test_an_even_batch_has_the_same_tokens_and_some_hidden_padding():
    rows = np.flatnonzero(DATA.tokens.lengths < 14)[:3]
    plain, even = cut(DATA.tokens, rows, CPU), cut_here(DATA.tokens, rows, even=True).on(CPU)
    (n_rows, longest), (_, shortest) = even.shape, plain.shape
    assert longest % EVEN_LENGTH == 0
    assert shortest <= longest < shortest + EVEN_LENGTH
    assert torch.equal(even.inputs["input_ids"][:, :shortest], plain.inputs["input_ids"])
    seen = even.inputs["attention_mask"]
    assert seen.sum(1).tolist() == DATA.tokens.lengths[rows].tolist()
    assert len(plain.rows) <= len(even.rows) <= n_rows * longest
    assert int(seen[even.rows, even.positions].sum()) == len(plain.rows)
    assert torch.equal(even.rows[even.firsts], torch.arange(n_rows))
    assert not even.positions[even.firsts].any()


def test_even_batches_have_few_shapes_and_little_to_spare():
    lengths, shapes, n_kept, n_steps = DATA.tokens.lengths, set(), 0, 0
    for epoch in range(5):
        for rows in epoch_batches(lengths, seed=1, epoch=epoch, training=TRAINING):
            made = cut_here(DATA.tokens, rows, even=True)
            shapes.add(made.shapes)
            n_kept += len(batch_of(made.parts(torch.from_numpy(made.values))).rows)
            n_steps += 1
    assert len(shapes) < n_steps / 5
    assert n_kept < 1.3 * 5 * lengths.sum()  # batches of 8 short texts; of 32 texts it is some 4 %


def test_no_batch_is_longer_than_the_longest_text_of_all():
    """A BERT has position embeddings for a limited number of tokens."""
    lengths = DATA.tokens.lengths
    longest = int(lengths.argmax())
    assert lengths.max() % EVEN_LENGTH
    assert cut_here(DATA.tokens, [longest], even=True).on(CPU).shape == (1, lengths.max())


def test_what_goes_along_arrives_with_the_batch():
    made = cut_here(DATA.tokens, [2, 4], along={"examples": np.array([2, 4]), "key": np.array([-(2**63)])})
    parts = made.parts(torch.from_numpy(made.values))
    assert parts["examples"].tolist() == [2, 4]
    assert parts["key"].tolist() == [-(2**63)]


def test_copies_on_the_host_stay_as_they_are():
    value = torch.ones(3, requires_grad=True)
    copy = to_host({"a": value})["a"]
    with torch.no_grad():
        value.zero_()
    assert copy.tolist() == [1.0, 1.0, 1.0]
    assert not copy.requires_grad
