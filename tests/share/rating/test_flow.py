"""Two raters fill forms of invented tasks: through the command line to agreement, themes and importances."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from empslurm import reference
from empslurm.cli import main
from empslurm.reference import Rating
from empslurm.report import paper
from tests.report.pages import words_of
from tests.share.rating import made

Captured = pytest.CaptureFixture[str]


def said(capsys: Captured) -> str:
    return " ".join(capsys.readouterr().out.split())


@pytest.fixture
def forms(tmp_path: Path) -> tuple[Path, Path]:
    """A's CSV, as a German Excel writes it, and B's spreadsheet; both renamed."""
    cards = made.cards(tmp_path / "cards")
    words = ["rate", *made.TASKS, "--card", str(cards), "--raters", "A", "B", "--to", str(tmp_path / "forms")]
    assert main(words) == 0
    rows = made.filled(made.rows_of(tmp_path / "forms" / "A.csv"), 0)
    first = made.save(tmp_path / "from Ann.csv", rows, delimiter=";", encoding="utf-8-sig")
    levels = {task: [int(level) for level in of_both[1]] for task, of_both in made.LEVELS.items()}
    return first, made.save_xlsx(tmp_path / "forms" / "B.xlsx", tmp_path / "ratings (2).xlsx", levels)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_filled_forms_go_through_to_agreement_themes_and_importances(
    forms: tuple[Path, Path], tmp_path: Path, capsys: Captured
) -> None:
    merged, out = tmp_path / "ratings.csv", tmp_path / "out"
    capsys.readouterr()
    assert main(["agreement", *map(str, forms), "--to", str(merged)]) == 0
    printed = said(capsys)
    assert f"{forms[0]} (rater A, 18 of 18 ratings), {forms[1]} (rater B, 18 of 18 ratings)" in printed
    assert "Table 3: Agreement between annotators" in printed
    assert "Figure 8: Counts of differences" in printed
    assert "printed" not in printed  # the paper's numbers are of other tasks
    # By hand: A and B differ by one in 9 of 18 ratings, and never by more.
    ratings = reference.ratings(merged)
    assert sorted({rating.task for rating in ratings}) == sorted(made.TASKS)
    differences = np.array([abs(rating.values[0] - rating.values[1]) for rating in ratings])
    assert np.bincount(differences.astype(int)).tolist() == [9, 9]

    table = made.results(tmp_path / "scores.csv")
    assert main(["gather", "--results", str(table), "--ratings", str(merged), "--out", str(out)]) == 0
    table3, figure8, table5 = (rows_of(out / f"{name}.csv") for name in ("table3", "figure8", "table5"))
    expected = {one.aspect: one for one in paper.ratings_agreement(ratings)}
    assert [float(row["alpha"]) for row in table3] == [expected[name].alpha for name in expected]
    assert list(table3[0]) == ["aspect", "alpha", "spearman", "p_value", "n_units"]
    assert [int(row["difference_0"]) + int(row["difference_1"]) for row in figure8] == [6, 6, 6]
    themes = {row["task"]: row["theme"] for row in table5}
    assert themes == {
        "kite_mood": "direct", "kite_care": "direct", "kite_talk": "abstract",
        "kite_help": "adjacent", "kite_wind": "adjacent", "kite_role": "adjacent",
    }  # fmt: skip
    assert [float(row["mean"]) for row in table5 if row["task"] == "kite_talk"] == [pytest.approx(10 / 3)]
    (figure3,) = (path for path in out.rglob("figure3-default.csv"))
    counts = {(row["source_theme"], row["target_theme"]): row for row in rows_of(figure3)}
    assert sum(int(row["n_pairs"]) for row in counts.values()) == 30
    assert int(counts["direct", "adjacent"]["helps"]) == 6
    assert int(counts["adjacent", "direct"]["harms"]) == 6
    (table6,) = (path for path in out.rglob("table6.csv"))
    importances = {row["feature"]: row for row in rows_of(table6)}
    drops = {name: row["importance"] for name, row in importances.items()}
    assert all(float(drops[name]) == float(drops[name]) for name in ("C1 Definition", "C2 Link", "C3 Conducive"))
    assert max((name for name in drops if drops[name]), key=lambda name: float(drops[name])) == "C1 Definition"
    assert "printed" not in importances["C1 Definition"]
    page = words_of(out / "report.html")
    assert "Themes by a rule on the mean: direct from 3.58, abstract from 3.08, adjacent below." in page
    assert "The themes of 6 tasks follow a rule on their mean ratings" in page


def test_the_document_has_forms_means_and_gaps(forms: tuple[Path, Path], capsys: Captured) -> None:
    rows = made.rows_of_semicolons(forms[0])
    rows[1]["link"] = rows[2]["conduciveness"] = ""
    made.save(forms[0], rows)
    capsys.readouterr()
    assert main(["agreement", *map(str, forms), "--json", "--level", "ordinal"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["annotators"] == ["A", "B"]
    assert document["level"] == "ordinal"
    first, second = document["forms"]
    assert (first["n_rated"], second["n_rated"]) == (16, 18)
    assert first["gaps"] == [[rows[1]["task"], "link"], [rows[2]["task"], "conduciveness"]]
    units = {one["aspect"]: one["n_units"] for one in document["agreement"]}
    assert units == {"definition": 6, "link": 5, "conduciveness": 5, "overall": 16}
    means = {one["task"]: one for one in document["tasks"]}
    alone = float(made.LEVELS[rows[1]["task"]][1][1])  # B's rating, where A gave none
    assert means[rows[1]["task"]]["means"]["link"] == alone
    assert document["written"] is None
    assert main(["agreement", *map(str, forms)]) == 0
    assert f"A left 2 blank, not rated: link of {rows[1]['task']}" in said(capsys)


def test_a_third_rater_counts_in_alpha_and_in_no_correlation(forms: tuple[Path, Path], tmp_path: Path) -> None:
    rows = [{**row, "rater": "third"} for row in made.rows_of_semicolons(forms[0])]
    third = made.save(tmp_path / "third.csv", rows, delimiter="\t")
    assert main(["agreement", *map(str, forms), str(third), "--to", str(tmp_path / "all.csv")]) == 0
    (rating, *_) = reference.ratings(tmp_path / "all.csv")
    assert rating.annotators == ("A", "B", "third")
    found = paper.ratings_agreement(reference.ratings(tmp_path / "all.csv"))
    assert found[-1].n_annotators == 3
    assert found[-1].spearman != found[-1].spearman
    assert 0.8 < found[-1].alpha < 1
    assert sum(found[-1].difference_counts.values()) == 3 * 18
    assert "which is of two annotators only" in paper.table3(found, compared=False).caption


def test_ratings_of_some_tasks_leave_a_gap_that_says_what_fills_it(
    forms: tuple[Path, Path], tmp_path: Path, capsys: Captured
) -> None:
    merged, out = tmp_path / "ratings.csv", tmp_path / "out"
    assert main(["agreement", *map(str, forms), "--to", str(merged)]) == 0
    lines = [line for line in merged.read_text().splitlines() if not line.startswith("kite_role")]
    merged.write_text("\n".join(lines) + "\n")
    table = made.results(tmp_path / "scores.csv")
    capsys.readouterr()
    words = ["gather", "--results", str(table), "--ratings", str(merged), "--out", str(out), "--json"]
    assert main(words) == 0
    lacking = json.loads(capsys.readouterr().out)["lacking"]
    assert lacking["themes of some tasks"] == "not rated on all three criteria: kite_role"
    assert lacking["importances"].endswith("; not rated on all criteria: kite_role")
    page = words_of(out / "report.html")
    assert "rate them: `empslurm rate`" in page
    assert "rate the tasks (`empslurm rate`, then --ratings FILE)" in page  # which fills the gap of the importances
    assert (out / "table5.csv").exists()
    assert len(rows_of(next(out.rglob("figure3-default.csv")))) == 9


def test_table_5_keeps_the_papers_themes_and_marks_those_of_the_rule(tmp_path: Path) -> None:
    from empslurm.tasks import registry

    known = registry([made.cards(tmp_path / "cards", ["kite_mood"])])
    own = [Rating(task="kite_mood", aspect=name, annotators=("A", "B"), values=(4.0, 5.0)) for name in made.NAMES]
    table = paper.table5([*reference.ratings(), *own], known, (*reference.task_ids(), "kite_mood"))
    assert table is not None
    rows = {row[1].text: row[0].text for row in table.rows}
    assert rows["Kite Mood†"] == "direct"
    assert rows["Empathy Hope*"] == "abstract"
    assert len(rows) == 19
    assert "0 of 18 tasks differ" in table.caption
    assert "†: theme by a rule on the mean" in table.caption
