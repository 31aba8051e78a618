"""Other inputs: the paper's tables, and any table of results."""

import pytest

from empslurm.errors import DataError
from empslurm.gather import from_file, published
from empslurm.report.scores import score_tables
from empslurm.report.tables import pair_rows
from empslurm.store import predictions
from empslurm.tasks import registry
from tests.gather.grids import baseline, outputs


def _tables(gathered):
    (group,) = gathered.groups
    return {table.number: table for table in score_tables(gathered, group)}


def test_the_papers_tables_are_there_whole():
    tables = _tables(published(registry()))
    assert [len(tables[number].scores) for number in (7, 8)] == [18 * 12, 18 * 6]
    assert tables[7].scores["news_distress", "epitome_ex"].value == 0.84
    assert tables[7].scores["hope", "hope"].ids == ("table7:hope",)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        # by hand, from the printed digits
        ("news_distress", "epitome_ex", 100 * (0.84 - 0.79) / 0.79),
        ("condolence", "mi_adherent", 100 * (0.40 - 0.83) / 0.83),
        ("conv_empathy", "condolence", 100 * (0.49 - 0.43) / 0.43),
        ("empdial_emo", "condolence", 100 * (0.26 - 0.43) / 0.43),
        ("news_empathy", "news_distress", 100 * (0.85 - 0.71) / 0.71),
        ("mi_adherent", "hope", 100 * (0.89 - 0.92) / 0.92),
    ],
)
def test_published_percent_improvements_are_those_computed_by_hand(source, target, expected):
    rows = {(row["source"], row["target"]): row for row in pair_rows(_tables(published(registry())).values())}
    assert len(rows) == 306
    assert rows[source, target]["percent"] == pytest.approx(expected)


RESULTS = """# anyone's results
source,target,seed,metric,value
,epitome_er,1,f1_macro,0.5
epitome_er,epitome_er,2,f1_macro,0.6
news_empathy,epitome_er,1,f1_macro,0.66
mine,epitome_er,1,f1_macro,
"""


def test_a_table_of_results_is_gathered(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text(RESULTS)
    gathered = from_file(path, registry())
    table = _tables(gathered)[7]
    assert gathered.name == "results"
    assert table.scores["epitome_er", "epitome_er"].value == pytest.approx(0.55)
    assert table.scores["mine", "epitome_er"].state == "undefined"
    assert table.sources == ("epitome_er", "news_empathy", "mine")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("source,target\na,b\n", "must have the columns source, target, seed, metric, value"),
        ("source,target,seed,metric,value\na,b,1,bleu,0.5\n", "record 1: metric must be one of"),
        ("source,target,seed,metric,value\na,b,x,pearson,0.5\n", "record 1: seed must be a whole number"),
        ("source,target,seed,metric,value\na,b,1,pearson,.5\na,b,1,pearson,.6\n", "must hold every run once"),
        ("source,target,seed,metric,value\na,b,1,pearson,.5\n,b,1,spearman,.6\n", "one metric per target"),
        ("", "must be a readable CSV"),
    ],
)
def test_a_wrong_table_is_refused_in_a_sentence(tmp_path, text, said):
    path = tmp_path / "results.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        from_file(path, registry())


def test_values_must_follow_from_the_predictions_beside_them(tmp_path):
    import numpy as np

    from empslurm import metrics

    made = outputs(baseline("epitome_er"), "test", skill=0.7, rng=np.random.default_rng(1))
    predictions.write(tmp_path / "epitome_er-s1.parquet", {"test": made})
    value = metrics.score("classification", 3, made.gold, made.outputs)["f1_macro"]
    path = tmp_path / "results.csv"
    path.write_text(f"source,target,seed,metric,value\n,epitome_er,1,f1_macro,{value}\n")
    (group,) = from_file(path, registry(), tmp_path).groups
    assert group.runs["n_test"].iloc[0] == 30
    assert group.runs["predictions"].iloc[0].endswith("epitome_er-s1.parquet")
    path.write_text(f"source,target,seed,metric,value\n,epitome_er,1,f1_macro,{value + 0.01}\n")
    with pytest.raises(DataError, match="must give the f1_macro of its run"):
        from_file(path, registry(), tmp_path)
