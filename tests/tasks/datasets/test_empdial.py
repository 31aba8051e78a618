from pathlib import Path

from empslurm.tasks.datasets.dialogues import EMOTIONS
from empslurm.tasks.datasets.empdial import AUTHORS, DATASET, FOLDER
from tests.tasks.helpers import bad, good, read

HEAD = "Dialog_ID,Type,Actor,Text\n"
AUTHORS_HEAD = "conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags\n"


def rebuilt(rows: str) -> dict[str, str]:
    return {f"{FOLDER}/{emotion}.csv": HEAD + (rows if emotion == "proud" else "") for emotion in EMOTIONS}


def test_rebuilt_takes_utterances_from_the_second_on(tmp_path: Path) -> None:
    rows = "d1,situation,none,s\nd1,utterance,speaker,one\nd1,utterance,listener,two\nd1,utterance,speaker,three\n"
    items = read(DATASET, tmp_path, rebuilt(rows + "d2,utterance,speaker,alone\n"))
    assert [(example.id, example.context, example.text) for example in good(items)] == [
        ("d1-1", ("one",), "two"),
        ("d1-2", ("one", "two"), "three"),
    ]
    assert [example.labels["empdial_role"] for example in good(items)] == ["listener", "speaker"]
    assert {example.labels["empdial_emo"] for example in good(items)} == {"proud"}


def test_rebuilt_rejects(tmp_path: Path) -> None:
    rows = "d1,utterance,speaker,one\nd1,utterance,robot,two\nd1,utterance,listener,\n,utterance,listener,x\n"
    items = read(DATASET, tmp_path, rebuilt(rows + "d2,utterance,speaker,y\nd1,utterance,speaker,again\n"))
    assert bad(items) == [(f"{FOLDER}/proud.csv", row) for row in (2, 3, 4, 6)]
    assert good(items) == []


def test_the_authors_files_have_commas_in_words_and_quotes_as_text(tmp_path: Path) -> None:
    rows = (
        'hit:0_conv:1,1,proud,p,1,I won_comma_ "really,5|5,\n'
        "hit:0_conv:1,2,proud,p,2,Great!,5|5,\n"
        "hit:0_conv:1,3,proud,p,1,Yes,5|5,,a|candidate_comma_list\n"
        "hit:1_conv:2,1,sad,p,1,Oh,5|5,\n"
        "hit:1_conv:2,2,gloomy,p,2,What is it?,5|5,\n"
        "hit:1_conv:2,3\n"
        "hit:1_conv:2,two,sad,p,2,What?,5|5,\n"
    )
    contents = dict.fromkeys(AUTHORS, AUTHORS_HEAD) | {AUTHORS[0]: AUTHORS_HEAD + rows}
    items = read(DATASET, tmp_path, contents, form=1)
    assert [(example.id, example.context, example.text) for example in good(items)] == [
        ("hit:0_conv:1-1", ('I won, "really',), "Great!"),
        ("hit:0_conv:1-2", ('I won, "really', "Great!"), "Yes"),
    ]
    assert [example.labels["empdial_role"] for example in good(items)] == ["listener", "speaker"]
    assert bad(items) == [(AUTHORS[0], row) for row in (5, 6, 7)]


def test_both_forms_give_one_dialogue_the_same_ids_and_groups(tmp_path: Path) -> None:
    first = good(read(DATASET, tmp_path, rebuilt("d1,utterance,speaker,one\nd1,utterance,listener,two\n")))
    rows = "d1,1,proud,p,1,one,,\nd1,2,proud,p,2,two,,\n"
    contents = dict.fromkeys(AUTHORS, AUTHORS_HEAD) | {AUTHORS[2]: AUTHORS_HEAD + rows}
    assert good(read(DATASET, tmp_path, contents, form=1)) == first
