"""No cell's bits depend on the cells that are optimised with it, and a stop changes nothing."""

import pytest
import torch

from empslurm.config import Training
from empslurm.train.optimise import Optimiser

SHAPES = {"down": (2, 5), "bias": (3,), "up": (2, 7, 2)}  # no multiples of a vector's width
TRAINING = Training(lr=0.01, weight_decay=0.1, max_grad_norm=0.5)


def start(cells: list[int]) -> dict[str, torch.Tensor]:
    """Free tensors of these cells; a cell's values depend only on its number."""
    return {
        name: torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(cell)) for cell in cells])
        for name, shape in SHAPES.items()
    }


def steps(optimiser: Optimiser, cells: list[int], first: int, last: int) -> None:
    """Take steps with gradients that depend only on (cell, step)."""
    for step in range(first, last):
        for gradient in optimiser.gradients:
            for index, cell in enumerate(cells):
                generator = torch.Generator().manual_seed(1000 * cell + step)
                gradient[index] = torch.randn(gradient.shape[1:], generator=generator)
        optimiser.step(lr=0.01 / (step + 1))


@pytest.mark.parametrize("before", [0, 1, 2])
@pytest.mark.parametrize("after", [0, 1, 16])
def test_a_cells_bits_depend_neither_on_the_others_nor_on_its_place(before: int, after: int) -> None:
    """A vectorised kernel rounds the tail of a tensor differently: where the tail begins must not matter."""
    for cell in range(100, 120):
        alone = Optimiser(start([cell]), TRAINING, group_size=1)
        steps(alone, [cell], 0, 6)
        cells = [*range(before), cell, *range(10, 10 + after)]
        packed = Optimiser(start(cells), TRAINING, group_size=1)
        steps(packed, cells, 0, 6)
        for name, value in packed.free.items():
            assert torch.equal(value[before], alone.free[name][0])


@pytest.mark.parametrize("group_size", [1, 2, 5])
def test_a_stop_changes_nothing(group_size: int) -> None:
    cells = [1, 2, 3, 4, 5]
    whole = Optimiser(start(cells), TRAINING, group_size=group_size)
    steps(whole, cells, 0, 6)
    first = Optimiser(start(cells), TRAINING, group_size=group_size)
    steps(first, cells, 0, 3)
    values = {name: value.detach().clone() for name, value in first.free.items()}
    again = Optimiser(values, TRAINING, group_size=group_size)
    again.load(3, [first.moments(place) for place in range(5)])
    steps(again, cells, 3, 6)
    for name, value in again.free.items():
        assert torch.equal(value, whole.free[name])


def test_groups_of_any_size_clip_each_cell_by_its_own_norm() -> None:
    cells = [1, 2, 3]
    one, all_ = (Optimiser(start(cells), TRAINING, group_size=size) for size in (1, 3))
    steps(one, cells, 0, 4)
    steps(all_, cells, 0, 4)
    for name, value in one.free.items():
        torch.testing.assert_close(value, all_.free[name], rtol=1e-6, atol=1e-7)
