from pathlib import Path

from empslurm.tasks.datasets.dialogues import EMOTIONS
from empslurm.tasks.datasets.empdial_ei import DATASET, FOLDER
from tests.tasks.helpers import bad, good, read


def test_utterances_with_an_intent_count_and_those_with_an_emotion_are_context(tmp_path: Path) -> None:
    rows = (
        "d1,situation,none,s,proud\nd1,utterance,speaker,one,proud\nd1,utterance,listener,two,questioning\n"
        "d1,utterance,speaker,three,shouting\nd1,utterance,listener,four,wishing\nd2,utterance,speaker,first,neutral\n"
    )
    head = "Dialog_ID,Type,Actor,Text,Label\n"
    contents = {f"{FOLDER}/{emotion}.csv": head + (rows if emotion == "sad" else "") for emotion in EMOTIONS}
    items = read(DATASET, tmp_path, contents)
    assert [(example.id, example.group, example.context) for example in good(items)] == [
        ("d1-1", "d1", ("one",)),
        ("d1-3", "d1", ("one", "two", "three")),
        ("d2-0", "d2", ()),
    ]
    assert [example.labels["empdial_ei"] for example in good(items)] == ["questioning", "wishing", "neutral"]
    assert all(example.automatic == {"empdial_ei"} for example in good(items))
    assert bad(items) == [(f"{FOLDER}/sad.csv", 4)]
