from pathlib import Path

import pytest

from empslurm.errors import DataError
from empslurm.tasks.datasets.epitome import DATASET, FILES
from tests.tasks.helpers import bad, good, read

HEAD = "sp_id,rp_id,seeker_post,response_post,level,rationales\n"


def write(er: str, ex: str, ip: str) -> dict[str, str]:
    return {name: HEAD + rows for name, rows in zip(FILES.values(), (er, ex, ip), strict=True)}


def test_the_first_of_a_repeated_pair_counts_and_posts_may_have_lines(tmp_path: Path) -> None:
    rows = 's1,r1,"my kite\nis gone","oh, no",{},\ns1,r2,my kite,get up,0,x\ns1,r1,other,other,2,\n'
    items = read(DATASET, tmp_path, write(rows.format(1), rows.format(2), rows.format(0)))
    first, second = good(items)
    assert (first.id, first.group, first.context, first.text) == ("s1-r1", "s1", ("my kite\nis gone",), "oh, no")
    assert first.labels == {"epitome_er": "1", "epitome_ex": "2", "epitome_ip": "0"}
    assert (second.id, second.context) == ("s1-r2", ("my kite",))
    assert bad(items) == []


def test_bad_rows_are_rejects_without_text_and_other_tasks_keep_their_label(tmp_path: Path) -> None:
    rows = "s1,r1,a,b,1,\n"
    wrong = "s1,r1,a,b,secret words,\n,r2,a,b,1,\ns3,r3,a,,1,\n"
    items = read(DATASET, tmp_path, write(rows, wrong, rows))
    assert bad(items) == [(FILES["epitome_ex"], row) for row in (1, 2, 3)]
    assert "secret" not in str([item for item in items if item not in good(items)])
    assert [example.labels for example in good(items)] == [{"epitome_er": "1", "epitome_ip": "1"}]


def test_no_usable_row_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must hold posts"):
        read(DATASET, tmp_path, write("", "", ""))
