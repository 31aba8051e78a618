from pathlib import Path

import pytest

from empslurm.errors import DataError
from empslurm.tasks.datasets.condolence import DATASET, FILE
from tests.tasks.helpers import bad, good, read


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    rows = "id\tgroup\tcontext\ttext\tempathy\nc1\tp1\tmy kite is gone\tso sorry\t4.5\nc2\t\t\toh\t1\n"
    flawed = "c1\tp1\t\tagain\t2\nc3\tp1\t\t\t2\nc4\tp1\t\tx\t5.5\n\tp1\t\tx\t2\n"
    items = read(DATASET, tmp_path, {FILE: rows + flawed})
    assert [(example.id, example.group, example.context, example.labels) for example in good(items)] == [
        ("c1", "p1", ("my kite is gone",), {"condolence": 4.5}),
        ("c2", "c2", (), {"condolence": 1.0}),
    ]
    assert bad(items) == [(FILE, row) for row in (3, 4, 5, 6)]


def test_other_columns_are_an_error_that_names_them(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"must have the columns id, group, context, text, empathy, but lacks group \(it has id, text"
    ):
        read(DATASET, tmp_path, {FILE: "id\ttext\n"})
