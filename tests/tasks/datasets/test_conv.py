from pathlib import Path

from empslurm.tasks.datasets.conv import DATASET, DEV, GOLD, TRAIN
from tests.tasks.helpers import bad, good, read

HEAD = "conversation_id\tturn_id\ttext\tarticle_id\tEmotionalPolarity\tEmotion\tEmpathy\n"
DEV_HEAD = "conversation_id\tturn_id\ttext\tarticle_id\n"


def test_turns_are_sorted_as_numbers_and_the_context_is_all_that_was_said(tmp_path: Path) -> None:
    train = "".join(f'5\t{turn}\tturn "{turn}\t9\t1.0\t2.0\t3.3333\n' for turn in (0, 1, 10, 2))
    items = read(DATASET, tmp_path, {TRAIN: HEAD + train, DEV: DEV_HEAD + "6\t0\thello\t9\n", GOLD: "0.5\t1.5\t4.5\n"})
    assert [example.id for example in good(items)] == ["5-0", "5-1", "5-2", "5-10", "6-0"]
    assert good(items)[3].context == ('turn "0', 'turn "1', 'turn "2')
    assert good(items)[0].context == ()
    # The gold file's columns are polarity, intensity, empathy: in this order only are its means those of the paper.
    assert good(items)[4].labels == {"conv_emopol": 0.5, "conv_emoint": 1.5, "conv_empathy": 4.5}
    assert {example.group for example in good(items)} == {"9"}


def test_a_turn_without_usable_labels_is_a_reject_but_stays_in_the_context(tmp_path: Path) -> None:
    rows = "5\t0\tone\t9\tunknown\t2\t3\n5\t1\ttwo\t9\t1\t2\t3\n5\t1\ttwice\t9\t1\t2\t3\n5\tlast\tx\t9\t1\t2\t3\n"
    rows += "5\t2\t\t9\t1\t2\t3\n5\t3\tlow\t9\t-1\t2\t3\n" + f"5\t{'9' * 5000}\tx\t9\t1\t2\t3\n"
    items = read(DATASET, tmp_path, {TRAIN: HEAD + rows, DEV: DEV_HEAD, GOLD: ""})
    assert bad(items) == [(TRAIN, row) for row in (1, 3, 4, 5, 6, 7)]
    assert [(example.id, example.context) for example in good(items)] == [("5-1", ("one",))]
