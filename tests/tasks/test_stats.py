from pathlib import Path
from typing import Any

import numpy as np
import pytest

from empslurm import reference
from empslurm.config import DataUse
from empslurm.tasks import registry
from empslurm.tasks.prepare import TaskTable, prepare
from empslurm.tasks.raw import locate
from empslurm.tasks.sample import write_sample
from empslurm.tasks.schema import Task
from empslurm.tasks.stats import COLUMNS, WORD, dataset_stats, size, task_stats, words

KNOWN = registry()


def task(kind: str, labels: tuple[str, ...] = ()) -> Task:
    return Task(id="t", title="T", dataset="d", kind=kind, labels=labels, data_source="x", language_setting="y")  # type: ignore[arg-type]


def table(targets: list[float], parts: list[str], *, whole: bool) -> TaskTable:
    ids = tuple(map(str, range(len(targets))))
    kind = np.int64 if whole else np.float64
    return TaskTable(
        ids=ids,
        groups=ids,
        contexts=((),) * len(ids),
        texts=ids,
        targets=np.asarray(targets, kind),
        parts=np.asarray(parts),
        digest="",
    )


def test_label_shares_per_part() -> None:
    found = task_stats(
        task("classification", ("a", "b", "c")), table([0, 0, 1, 0], ["train"] * 2 + ["test"] * 2, whole=True)
    )
    lines = {line.label or line.statistic: line.values for line in found}
    assert lines == {
        "n": (4, 2, 0, 2),
        "percent": (100, 50, 0, 50),
        "a": (75, 100, None, 50),
        "b": (25, 0, None, 50),
        "c": (0, 0, None, 0),
    }


def test_central_tendency_per_part() -> None:
    found = task_stats(task("regression"), table([1, 2, 6, 3], ["train", "train", "train", "validation"], whole=False))
    lines: dict[str, Any] = {line.statistic: line.values for line in found}
    assert lines["median"] == (2.5, 2, 3, None)
    assert lines["mean"] == (3, 3, 3, None)
    assert lines["std"] == (pytest.approx(2.1602, abs=1e-4), pytest.approx(2.6458, abs=1e-4), None, None)
    assert (lines["min"][0], lines["max"][0]) == (1, 6)


def test_what_a_token_is() -> None:
    assert words("I don't KNOW, 'tis 3.5!") == ["I", "don't", "KNOW", ",", "'", "tis", "3", ".", "5", "!"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("我爱北京 ABC中文。", "我|爱|北|京|ABC|中|文|。"),
        ("ミラは笑った。", "ミ|ラ|は|笑|っ|た|。"),
        ("ฉันรักแมว", "ฉั|น|รั|ก|แ|ม|ว"),
        ("မြန်မာ", "မြ|န်|မာ"),
        ("안녕하세요 세계!", "안녕하세요|세계|!"),
        ("हिन्दी में लिखा", "हिन्दी|में|लिखा"),
        ("می\u200cخواهم بروم", "می\u200cخواهم|بروم"),
        ("cafe\u0301 d'e\u0301te\u0301", "cafe\u0301|d'e\u0301te\u0301"),
    ],
)
def test_scripts_without_spaces_count_characters_and_others_words(text: str, expected: str) -> None:
    assert words(text) == expected.split("|")


def test_spaced_languages_count_as_the_papers_rule_does() -> None:
    texts = (
        "Größe, naïve 'tis “so” – ¯\\_(ツ)_/¯",
        "Кто там? Мы’тут",
        "❤️ 1️⃣ 👩\u200d❤️\u200d👩 ok",
        "שלום עולם",
        "x\u200by _a_ ½ m²",
    )
    for text in texts:
        assert words(text) == WORD.findall(text)


def test_tokens_of_text_previous_turn_and_history(tmp_path: Path) -> None:
    rows = "sp_id,rp_id,seeker_post,response_post,level\n1,1,The kite fell.,Oh no!,0\n1,2,The kite fell.,Oh,0\n"
    for name in ("emotional-reactions", "explorations", "interpretations"):
        (tmp_path / f"{name}-reddit.csv").write_text(rows)
    found = size(prepare(KNOWN.datasets["epitome"], tmp_path, tmp_path / "cache"))
    assert (found.n_examples, found.n_tokens_text, found.n_tokens, found.n_tokens_previous) == (2, 4, 12, 12)
    assert found.n_vocabulary == len({"The", "kite", "fell", ".", "Oh", "no", "!"})


def test_every_dataset_of_the_sample_and_the_papers_news_slices(tmp_path: Path) -> None:
    write_sample(tmp_path / "data")
    for dataset in KNOWN.datasets.values():
        if locate(dataset, tmp_path / "data", tmp_path / "cache").state == "missing":
            continue
        found = dataset_stats(dataset, tmp_path / "data", tmp_path / "cache")
        assert found["state"] == "sample"
        for one in found["tasks"].values():
            assert one["columns"] == COLUMNS
            assert one["n"]["all"] == one["n"]["train"] + one["n"]["validation"] + one["n"]["test"]
    paper = dataset_stats(KNOWN.datasets["news"], tmp_path / "data", tmp_path / "cache", DataUse(splits="paper"))
    n = paper["tasks"]["news_emotion"]["n"]
    assert "nested slices" in paper["leaks"]
    assert n["all"] == n["train"] + n["validation"] + n["test"] > paper["n_examples"]


@pytest.mark.parametrize(("name", "n_examples"), [("epitome", 3_023), ("conv", 11_176), ("news", 1_000)])
def test_real_files_reach_the_papers_shares(name: str, n_examples: int, real_data: Path, tmp_path: Path) -> None:
    if locate(KNOWN.datasets[name], real_data, tmp_path).state == "missing":
        pytest.skip(f"needs {name} in EMPSLURM_DATA")
    found = dataset_stats(KNOWN.datasets[name], real_data, tmp_path)
    assert (found["n_examples"], found["n_rejects"]) == (n_examples, 0)
    published = {(row.task, row.label): row.all for row in reference.label_shares()}
    measured = {(row.task, row.statistic): row.all for row in reference.split_statistics()}
    for id, one in found["tasks"].items():
        for line in one["lines"]:
            if name == "epitome" and line["label"]:
                assert line["values"][0] == pytest.approx(published[id, line["label"]], abs=0.0501)
            elif name == "conv" and line["statistic"] in ("min", "median", "max", "mean", "std"):
                assert line["values"][0] == pytest.approx(measured[id, line["statistic"]], abs=0.00501)
