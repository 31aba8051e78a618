"""How many cells fit in the measured memory."""

from empslurm.train.memory import cells_that_fit


def test_cells_of_one_pass_are_what_the_measured_memory_holds():
    assert cells_that_fit(peak_of_one=5.0, peak_of_two=7.0, free=40.0) == 16  # 3 + 2 per cell in 36
    assert cells_that_fit(peak_of_one=5.0, peak_of_two=5.0, free=40.0) > 1
    assert cells_that_fit(peak_of_one=50.0, peak_of_two=90.0, free=40.0) == 1
