"""The paper's tables of ratings, and the agreement that it printed."""

import json

import pytest

from empslurm import reference
from empslurm.cli import main
from empslurm.report import paper
from empslurm.tasks import registry


def test_table_3_is_reproduced():
    table = paper.table3(paper.ratings_agreement(reference.ratings()))
    rows = {row[0].text: row for row in table.rows}
    assert [rows[name][1].text for name in ("Definition", "Link", "Conduciveness", "overall")] == [
        ".86",
        ".83",
        ".46",
        ".72",
    ]
    assert all(row[3].raw == pytest.approx(0) and row[6].raw == pytest.approx(0) for row in table.rows)


def test_table_2_has_every_rating():
    table = paper.table2(reference.ratings(), registry())
    assert (len(table.rows), len(table.columns)) == (18, 7)
    assert "54 of 54 rows" in table.caption
    assert [entry.text for entry in table.rows[0]] == ["Condolence", "5", "5", "2", "2", "3", "4"]


def test_table_5_groups_by_theme():
    table = paper.table5(reference.ratings(), registry())
    assert table is not None
    assert [row[0].text for row in table.rows] == ["direct"] * 6 + ["abstract"] * 6 + ["adjacent"] * 6
    assert table.caption.startswith("Means of the annotators' ratings. 0 of 18 tasks differ")


def test_agreement_as_a_document(capsys):
    assert main(["agreement", "--json"]) == 0
    found = {row["aspect"]: row for row in json.loads(capsys.readouterr().out)["agreement"]}
    aspects = ("definition", "link", "conduciveness", "overall")
    assert [round(found[name]["alpha"], 2) for name in aspects] == [0.86, 0.83, 0.46, 0.72]
    assert [round(found[name]["spearman"], 2) for name in aspects] == [0.91, 0.89, 0.49, 0.70]
    assert found["conduciveness"]["difference_counts"] == {"0": 5, "1": 9, "2": 4}


def test_another_level_and_other_ratings(tmp_path, capsys):
    path = tmp_path / "ratings.csv"
    path.write_text("task,aspect,x,y,z\nmine,clarity,1,2,2\nyours,clarity,3,3,4\nours,clarity,5,5,5\n")
    assert main(["agreement", "--json", "--ratings", str(path), "--level", "ordinal"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["level"], found["annotators"]) == ("ordinal", ["x", "y", "z"])
    assert found["agreement"][0]["spearman"] is None
    assert 0.7 < found["agreement"][0]["alpha"] < 1


def test_a_wrong_ratings_file_is_a_sentence(tmp_path, capsys):
    path = tmp_path / "ratings.csv"
    path.write_text("task,score\nmine,3\n")
    assert main(["agreement", "--ratings", str(path)]) == 1
    assert "must have the columns task, aspect and two annotators" in capsys.readouterr().err
