from pathlib import Path

import pytest

from empslurm.errors import DataError
from empslurm.tasks.datasets.news import DATASET, DEV, GOLD, TRAIN
from tests.tasks.helpers import bad, good, read

TRAIN_HEAD = "essay_id\tarticle_id\tessay\tempathy\tdistress\temotion\n"
DEV_ROWS = 'essay_id\tarticle_id\tessay\n7\t2\tan "invented essay\n8\t3\tanother one\n'


def test_gold_is_joined_by_line_and_the_first_emotion_counts(tmp_path: Path) -> None:
    items = read(
        DATASET,
        tmp_path,
        {
            TRAIN: TRAIN_HEAD + "1\t2.0\tabout a kite\t4.5\t1\tAnger/Disgust\n",
            DEV: DEV_ROWS,
            GOLD: "1.0\t7.0\tHope\tx\n7\t2\tSadness\ty\tz\n",
        },
    )
    assert [(example.id, example.group) for example in good(items)] == [
        ("train-1", "2"),
        ("dev-1", "2"),
        ("dev-2", "3"),
    ]
    assert good(items)[0].labels == {"news_distress": 1.0, "news_empathy": 4.5, "news_emotion": "Anger"}
    assert good(items)[1].labels == {"news_distress": 7.0, "news_empathy": 1.0, "news_emotion": "Hope"}
    assert good(items)[1].text == 'an "invented essay'
    assert all(example.context == () for example in good(items))


def test_bad_rows(tmp_path: Path) -> None:
    rows = ("1\t2\t\t4\t1\tAnger\n", "1\t2\tx\t8\t1\tAnger\n", "1\t2\tx\t4\tmuch\tAnger\n", "1\t2\tx\t4\t1\tGlee\n")
    items = read(
        DATASET, tmp_path, {TRAIN: TRAIN_HEAD + "".join(rows) + "1\t\tx\t4\t1\tJoy\n", DEV: DEV_ROWS[:25], GOLD: ""}
    )
    assert bad(items) == [(TRAIN, row) for row in range(1, 6)]
    assert good(items) == []


def test_gold_of_another_length_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one line for each of the 2 rows"):
        read(DATASET, tmp_path, {TRAIN: TRAIN_HEAD, DEV: DEV_ROWS, GOLD: "1\t1\tHope\n"})
