"""Batch order and learning rate depend only on their arguments."""

import numpy as np
import pytest

from empslurm.config import Training
from empslurm.train.schedule import epoch_batches, lr_at, n_batches

LENGTHS = np.random.default_rng(0).integers(3, 120, 5_003)


@pytest.mark.parametrize("order", ["length_grouped", "random"])
def test_every_row_once_in_a_new_order_each_epoch_and_seed(order):
    training = Training(batch_size=32, batch_order=order)
    batches = epoch_batches(LENGTHS, seed=1, epoch=0, training=training)
    assert len(batches) == n_batches(len(LENGTHS), 32) == 157
    assert sorted(np.concatenate(batches)) == list(range(len(LENGTHS)))
    again = epoch_batches(LENGTHS, seed=1, epoch=0, training=training)
    assert all((one == two).all() for one, two in zip(batches, again, strict=True))
    for other in ({"seed": 2, "epoch": 0}, {"seed": 1, "epoch": 1}):
        assert not np.array_equal(batches[0], epoch_batches(LENGTHS, training=training, **other)[0])


def test_grouping_by_length_saves_padding():
    def padded(order):
        batches = epoch_batches(LENGTHS, seed=1, epoch=0, training=Training(batch_size=32, batch_order=order))
        return sum(len(batch) * LENGTHS[batch].max() for batch in batches)

    assert padded("length_grouped") < 1.1 * LENGTHS.sum() < padded("random") / 1.5


def test_few_batches_are_not_sorted_as_a_whole_so_that_epochs_mix():
    """If all 8 batches were sorted together, every epoch would have the same examples in a batch."""
    lengths = np.arange(256)

    def together(epoch):
        batches = epoch_batches(lengths, seed=1, epoch=epoch, training=Training(batch_size=32))
        return {(int(one), int(two)) for batch in batches for one in batch for two in batch if one < two}

    first, second = together(0), together(1)
    assert len(first & second) / len(first) < 2 / 7  # a fully random order: 1/8; sorted as a whole: 1


def test_the_order_never_moves():
    """Results depend on it: a change here needs a new recipe number."""
    first = epoch_batches(LENGTHS, seed=1, epoch=0, training=Training(batch_size=4))[0]
    assert first.tolist() == [561, 4240, 4246, 494]


def test_learning_rate_warms_up_and_decays():
    training = Training(lr=1.0, warmup_fraction=0.1)
    rates = [lr_at(step, 100, training) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == pytest.approx(1.0)
    assert rates[99] == pytest.approx(1 / 90)
    assert lr_at(50, 100, Training(lr=1.0, schedule="constant")) == 1.0
