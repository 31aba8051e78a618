from pathlib import Path

from empslurm.tasks.datasets.hope import DATASET, LABEL_FILE, TEXT_FILE
from tests.tasks.helpers import bad, good, read


def test_labels_are_joined_to_the_texts_that_are_there(tmp_path: Path) -> None:
    head = "tweet_id,annotation1,annotation2,annotation3,gold_label\n"
    labels = head + "1,1,1,0,1\n2,0,0,0,0.0\n3,1,1,1,1\n1,0,0,0,0\n4,9,9,9,9\n"
    items = read(DATASET, tmp_path, {LABEL_FILE: labels, TEXT_FILE: "tweet_id,text\n1,a kite\n2,b\n4,c\n1,other\n"})
    assert [(example.id, example.text, example.labels) for example in good(items)] == [
        ("1", "a kite", {"hope": "supportive"}),
        ("2", "b", {"hope": "not supportive"}),
    ]
    assert bad(items) == [(LABEL_FILE, row) for row in (3, 4, 5)]
    assert DATASET.forms[0].partial
