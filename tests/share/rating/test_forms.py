"""Forms: what is asked, which tasks, what is known of them, the order, and that no filled file is lost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from openpyxl import load_workbook

from empslurm.analysis.features import RATINGS
from empslurm.errors import ManifestError, UsageError
from empslurm.reference import ratings
from empslurm.share.rating import forms, subjects
from empslurm.share.rating.criteria import CRITERIA, NAMES, SOURCE
from empslurm.tasks import registry
from tests.share.rating import made


def write(folder: Path, raters: tuple[str, ...] = ("A",), tasks: tuple[str, ...] = ("hope", "epitome_er")):
    return forms.write(folder, raters, tasks, registry())


def test_the_criteria_are_the_features_of_the_importances_and_the_rows_of_table_2() -> None:
    assert NAMES == RATINGS
    assert set(NAMES) == {rating.aspect for rating in ratings()}
    assert all(len(set(criterion.levels)) == 5 for criterion in CRITERIA)


def test_all_forms_ask_the_same_of_the_same_tasks_in_the_same_order(tmp_path: Path) -> None:
    write(tmp_path, tasks=tuple(registry().tasks))
    rows = made.rows_of(tmp_path / "A.csv")
    assert list(rows[0]) == list(forms.COLUMNS)
    assert all(row["rater"] == "A" and not any(row[name] for name in (*NAMES, "note")) for row in rows)
    book = load_workbook(tmp_path / "A.xlsx")
    assert book.sheetnames == ["ratings", "levels"]
    cells = [[cell or "" for cell in line] for line in book["ratings"].iter_rows(values_only=True)]
    assert cells == [list(forms.COLUMNS), *([row[name] for name in forms.COLUMNS] for row in rows)]
    page = (tmp_path / "A.html").read_text(encoding="utf-8")
    assert re.findall(r"<small>\((\w+),", page) == [row["task"] for row in rows]
    explained = [cell for line in book["levels"].iter_rows(values_only=True) for cell in line]
    for criterion in CRITERIA:
        for text in (criterion.question, *criterion.levels):
            assert text in explained
            assert page.count(text) == 18 + (text in SOURCE)
    assert SOURCE in explained


def test_a_spreadsheet_checks_every_rating_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path)
    checks = load_workbook(tmp_path / "A.xlsx")["ratings"].data_validations.dataValidation
    assert {str(check.sqref): (check.type, check.formula1, check.formula2, check.allow_blank) for check in checks} == {
        f"{letter}2:{letter}3": ("whole", "1", "5", True) for letter in "DEF"
    }
    assert all(check.showErrorMessage for check in checks)


def test_the_order_is_the_raters_own_and_stays(tmp_path: Path) -> None:
    tasks = tuple(registry().tasks)
    orders = {rater: [row["task"] for row in forms.rows(rater, tasks, registry())] for rater in ("A", "B", "ann")}
    assert len({*map(tuple, orders.values())}) == 3
    assert all(sorted(order) == sorted(tasks) for order in orders.values())
    assert orders["A"] == [row["task"] for row in forms.rows("A", tasks[::-1], registry())]
    kept = [task for task in orders["A"] if task != "hope"]  # a task more or less moves no other
    assert kept == [row["task"] for row in forms.rows("A", [task for task in tasks if task != "hope"], registry())]
    assert orders["A"][:3] == ["news_empathy", "empdial_role", "empdial_qact"]  # also in later versions


def test_what_is_known_of_a_task_is_told_and_nothing_is_made_up(tmp_path: Path) -> None:
    known = registry([made.cards(tmp_path / "cards")])
    assert subjects.facts("kite_mood", known) == {
        "dataset": "Kite Mood", "kind": "classification", "answers": "up, down", "data_source": "Twitter",
        "language_setting": "social media", "n_examples": "", "citation": "Nobody (2026). Kites of invention.",
        "licence": "CC BY 4.0",
    }  # fmt: skip
    facts = subjects.facts("news_empathy", known)
    assert (facts["answers"], facts["n_examples"]) == ("1 to 7", "1000")
    page = forms.to_html("A", forms.rows("A", ["kite_mood"], known)).decode()
    assert "examples in the dataset" not in page
    assert "5-point" not in page


def test_a_title_that_looks_like_a_formula_or_markup_is_a_title(tmp_path: Path) -> None:
    cards = tmp_path / "cards"
    cards.mkdir()
    title = '=1+1 </script><b>"&'
    (cards / "a.yaml").write_text(made.CARD.format(task="kite_mood", title="'" + title + "'"), encoding="utf-8")
    forms.write(tmp_path / "out", ["A"], ["kite_mood"], registry([cards]))
    cell = load_workbook(tmp_path / "out" / "A.xlsx")["ratings"]["C2"]
    assert (cell.value, cell.data_type) == (title, "s")
    assert made.rows_of(tmp_path / "out" / "A.csv")[0]["title"] == title
    assert "<b>&" not in (tmp_path / "out" / "A.html").read_text()
    assert "</script><b>" not in (tmp_path / "out" / "A.html").read_text()


def test_a_file_that_is_there_is_never_replaced_and_nothing_is_written_beside_it(tmp_path: Path) -> None:
    (tmp_path / "B.xlsx").write_text("filled")
    (tmp_path / "B.html").symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"may be filled, but .* has B\.html, B\.xlsx; give another folder"):
        write(tmp_path, ("A", "B"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["B.html", "B.xlsx"]
    assert (tmp_path / "B.xlsx").read_text() == "filled"
    write(tmp_path / "new", ("A", "B"))
    with pytest.raises(UsageError, match=r"A\.html, A\.csv, A\.xlsx"):
        write(tmp_path / "new")


@pytest.mark.parametrize(
    ("raters", "words"),
    [
        (("Ann B",), "letters, digits"),
        (("../A",), "letters, digits"),
        (("",), "letters, digits"),
        ((".A",), "letters, digits"),
        (("Zoë",), "letters, digits"),
        (("A" * 41,), "at most 40"),
        (("A\n",), "letters, digits"),
        (("task",), "columns of a table"),
        (("Aspect",), "columns of a table"),
        (("Ann", "B", "ann"), "Ann and ann are the same"),
        (("A", "A"), "A and A are the same"),
    ],
)
def test_names_of_raters(raters: tuple[str, ...], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        write(tmp_path / "out", raters)
    assert not (tmp_path / "out").exists()


def test_names_of_raters_that_are_good(tmp_path: Path) -> None:
    write(tmp_path, ("ann-1_x.y", "2", "B"))
    assert len(list(tmp_path.iterdir())) == 9


def test_tasks_are_ids_patterns_and_manifests_each_once_in_the_registrys_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cards = made.cards(tmp_path / "cards", ["kite_mood"])
    (tmp_path / "manifests").mkdir()
    text = "name: mine\ntasks: [kite_mood, hope]\ncards: [../cards]\nbackbone: tiny\nseeds: [1]\n"
    (tmp_path / "manifests" / "mine.yaml").write_text(text)
    (tmp_path / "manifests" / "hope.yaml").write_text("no manifest")
    assert subjects.chosen(["epitome_*", "hope", "hope"])[1] == ("hope", "epitome_er", "epitome_ex", "epitome_ip")
    assert subjects.chosen(["mine"])[1] == ("hope", "kite_mood")
    assert subjects.chosen(["manifests/mine.yaml", "hope"])[1] == ("hope", "kite_mood")
    assert subjects.chosen(["kite_*"], [cards])[1] == ("kite_mood",)
    assert subjects.chosen(["mine"], [cards])[1] == ("hope", "kite_mood")  # its cards are named twice
    assert len(subjects.chosen(["all"], [cards])[1]) == 19
    for word, said in {
        "epitome_rr": "did you mean epitome_er",
        "kite_*": "matches none",
        "mine.yaml": "must be",
    }.items():
        with pytest.raises(UsageError, match=said):
            subjects.chosen([word])
    with pytest.raises(UsageError, match="does not exist"):
        subjects.chosen(["hope"], [tmp_path / "none.yaml"])
    (cards / "kite_mood.yaml").write_text("id: [")
    with pytest.raises(ManifestError):
        subjects.chosen(["hope"], [cards])
