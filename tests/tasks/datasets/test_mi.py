from pathlib import Path

from empslurm.tasks.datasets.mi import DATASET, FILE
from tests.tasks.helpers import bad, good, read

HEAD = "dialog_id,turn,author,text,final agreed label\n"


def test_listeners_sentences_with_all_that_was_said_before(tmp_path: Path) -> None:
    rows = "1,1,speaker,my kite is gone,-\n1,2,listener,Hello,Other\n1,2,listener,Buy one,Direct\n"
    rows += "2,1,listener,Good,Affirm\n"
    items = read(DATASET, tmp_path, {FILE: HEAD + rows})
    assert [(example.id, example.context) for example in good(items)] == [
        ("1-2", ("my kite is gone", "Hello")),
        ("2-0", ()),
    ]
    assert [example.labels for example in good(items)] == [
        {"mi_behavior": "Direct", "mi_adherent": "non-adherent"},
        {"mi_behavior": "Affirm", "mi_adherent": "adherent"},
    ]
    assert bad(items) == []


def test_bad_rows(tmp_path: Path) -> None:
    rows = "1,1,listener,x,Sing\n1,1,nobody,x,Affirm\n1,1,listener,,Affirm\n2,1,listener,x,Warn\n1,3,listener,x,Warn\n"
    items = read(DATASET, tmp_path, {FILE: HEAD + rows + "3,1,listener\n"})
    assert bad(items) == [(FILE, row) for row in (1, 2, 3, 5, 6)]
    assert [example.id for example in good(items)] == ["2-0"]
