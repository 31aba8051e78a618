"""The packaged tables: complete, consistent with one another, and equal to the paper in places checked by eye."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest

from empslurm import reference
from empslurm.errors import DataError
from empslurm.reference.loaders import FILES, FOLDER
from empslurm.tasks import registry

TASKS = reference.task_ids()


def test_every_packaged_file_names_its_table() -> None:
    assert {path.name for path in FOLDER.glob("*.csv")} == set(FILES)
    for name in FILES:
        assert "Table" in reference.provenance(name).source
    assert any("collapsed" in note for note in reference.provenance("table7.csv").notes)
    with pytest.raises(DataError, match="name one of"):
        reference.provenance("table13.csv")


def test_ratings_and_themes_agree() -> None:
    ratings = {(rating.task, rating.aspect): rating for rating in reference.ratings()}
    assert len(ratings) == 54
    assert ratings["condolence", "conduciveness"].values == (3.0, 4.0)
    rows = reference.themes()
    assert Counter(row.theme for row in rows) == {"direct": 6, "abstract": 6, "adjacent": 6}
    assert {row.task for row in rows} == set(TASKS)
    for row in rows:
        means = [ratings[row.task, aspect].mean for aspect in ("definition", "link", "conduciveness")]
        assert means == [row.definition, row.link, row.conduciveness]
        assert sum(means) / 3 == pytest.approx(row.mean, abs=0.006)
    assert {row.task for row in rows if row.deviates} == {"hope", "mi_adherent", "empdial_qact", "conv_emopol"}


def test_scores_hold_every_pair_and_a_baseline_per_target() -> None:
    scores = {(score.source, score.target): score for score in reference.scores()}
    assert set(scores) == {(source, target) for source in TASKS for target in TASKS}
    seen = {
        ("condolence", "mi_adherent"): 0.40,
        ("epitome_ex", "empdial_emo"): 0.04,
        ("news_distress", "epitome_ex"): 0.84,
        ("news_emotion", "news_emotion"): 0.73,
        ("news_empathy", "news_distress"): 0.85,
        ("empdial_qact", "condolence"): 0.25,
        ("news_empathy", "news_empathy"): 0.92,
    }
    assert {pair: scores[pair].value for pair in seen} == seen
    kinds = registry().tasks
    assert all(score.metric == kinds[score.target].metric for score in scores.values())
    assert scores["empdial_role", "hope"].underlined
    assert not scores["hope", "hope"].underlined


def test_tasks_and_sizes_are_those_of_the_registry() -> None:
    known = registry()
    for row in reference.tasks():
        task = known.tasks[row.task]
        assert (row.title, row.dataset, row.kind) == (task.title, task.dataset, task.kind)
        assert (row.data_source, row.language_setting) == (task.data_source, task.language_setting)
        assert row.n_labels == (len(task.labels) or None)
    sizes = {size.dataset: size for size in reference.dataset_sizes()}
    assert set(sizes) == {known.tasks[task].dataset for task in TASKS}
    assert (sizes["hope"].n_samples, sizes["hope"].n_vocabulary, sizes["hope"].n_tokens) == (1282, 6461, 31415)


def test_small_tables() -> None:
    assert [row.alpha for row in reference.agreement()] == [0.86, 0.83, 0.46, 0.72]
    first = reference.hyper_parameters()[0]
    assert (first.task, first.epochs, first.batch_size, first.lr) == ("condolence", 8, 32, 0.00028)
    assert len(reference.importances()) == 12
    assert reference.importances()[0].importance == 0.399


def test_label_shares_sum_to_a_hundred() -> None:
    known = registry().tasks
    shares = reference.label_shares()
    for task in {share.task for share in shares}:
        own = [share for share in shares if share.task == task]
        assert {share.label for share in own} == set(known[task].labels)
        for part in ("all", "train", "validation", "test"):
            assert sum(getattr(share, part) for share in own) == pytest.approx(100, abs=0.25)
    parts = {row.task: row for row in reference.split_statistics() if row.statistic == "percent"}
    assert set(parts) == set(TASKS)
    assert all(row.train + row.validation + row.test == pytest.approx(100, abs=0.15) for row in parts.values())


def test_ratings_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("# a comment\ntask,aspect,ann,bo,cy\nx,link,1,,3\n")
    (rating,) = reference.ratings(path)
    assert rating.annotators == ("ann", "bo", "cy")
    assert math.isnan(rating.values[1])
    assert rating.mean == 2.0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "is empty"),
        ("task,aspect,a\nx,link,1\n", "two annotators"),
        ("task,aspect,a,b\nx,link,1\n", "has 3"),
        ("task,aspect,a,b\nx,link,1,high\n", "own.csv:2 must have a number from 1 to 5 in column b, but has 'high'"),
        ("task,aspect,a,b\n# note\n\nx,link,1,6\n", "own.csv:4 must have a number from 1 to 5 in column b"),
        ("task,aspect,a,b\nx,link,1,inf\n", "'inf'"),
        ("task;aspect;a;b\nx;link;1;2,5\n", "'2,5'; write such a number, with a decimal point"),
        ("task,aspect,a,a\nx,link,1,2\n", "every column once, but has a twice"),
        (",task,aspect,a,b\n0,x,link,1,2\n", "column 1 has none"),
        ("task,aspect,a,b,\nx,link,1,2,\n", "column 5 has none"),
        ('task,aspect,a,b\nx,link,1,2\n"y,link,1,2\nz,link,1,2\n', "line 3: a quote opens there"),
        ("task,aspect,a,b\nx,link,1,2\nx,link,2,3\n", "own.csv:3 .* the link of x is rated twice"),
        ("task,aspect,a,b\n,link,1,2\n", "own.csv:2 must name its task"),
        ("task,aspect,a,b\nx,,1,2\n", "own.csv:2 must name its aspect"),
        ("task,aspect,a,b\n", "has none; write rows below"),
    ],
)
def test_a_wrong_ratings_file_is_a_sentence(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=found):
        reference.ratings(path)
    with pytest.raises(DataError, match="readable"):
        reference.ratings(tmp_path / "none.csv")


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_ratings_are_read_with_any_separator_and_names_stay_text(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "own.csv"
    lines = ["task,aspect,1,02", '"007",link,NaN, 2.5 ', "NA,link,3,"]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).replace(",", mark).encode())
    first, second = reference.ratings(path)
    assert (first.task, first.annotators, first.mean) == ("007", ("1", "02"), 2.5)
    assert (second.task, second.mean) == ("NA", 3.0)
