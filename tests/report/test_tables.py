"""Tables 7 and 8 in the paper's form, with their captions and notes."""

import csv
import io
from typing import Any

import pandas as pd
import pytest

from empslurm import reference
from empslurm.gather import gather
from empslurm.report.formats import Entry, Table, shown, to_csv, to_markdown
from empslurm.report.latex import latex, to_latex
from empslurm.report.scores import score_tables
from empslurm.report.tables import pair_rows, table_of_improvements, table_of_scores
from empslurm.report.write import write
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from tests.gather.grids import baseline, finish, grid, transfer

TASKS = ("epitome_er", "news_empathy", "epitome_ex")


def _tables(root, **options):
    gathered = gather(root, None, registry(), **options)
    (group,) = gathered.groups
    return {(table.number, table.fraction): table for table in score_tables(gathered, group)}


@pytest.fixture
def root(tmp_path):
    root = RunsRoot(tmp_path)
    for at, cell in enumerate(grid(TASKS, seeds=(1, 2))):
        finish(root, cell, skill=0.4 + 0.02 * at)
    return root


def test_sources_are_rows_and_the_baseline_is_underlined(root):
    table = _tables(root)[7, 1.0]
    assert table.targets == ("epitome_er", "epitome_ex")
    assert table.sources == ("epitome_er", "epitome_ex", "news_empathy")
    printed = table_of_scores(table, registry())
    assert [row[0].text for row in printed.rows] == ["Epitome ER", "Epitome EX", "News Empathy"]
    underlined = [[entry.underlined for entry in row[1:]] for row in printed.rows]
    assert underlined == [[True, False], [False, True], [False, False]]
    for column in (1, 2):
        values: list[Any] = [row[column].raw for row in printed.rows]
        assert [row[column].bold for row in printed.rows] == [value == max(values) for value in values]


def test_a_place_is_the_mean_over_seeds_and_names_its_cells(root):
    table = _tables(root)[7, 1.0]
    score = table.scores["news_empathy", "epitome_er"]
    values = [root.cell(cell).result()["test"]["f1_macro"] for cell in score.ids]
    assert len(values) == 2
    assert score.value == pytest.approx(sum(values) / 2)
    assert score.seeds == (1, 2)


def test_percent_improvement_is_of_the_targets_baseline(root):
    table = _tables(root)[8, 1.0]
    rows = {(row["source"], row["target"]): row for row in pair_rows([table])}
    row = rows["epitome_er", "news_empathy"]
    base = table.scores["news_empathy", "news_empathy"].value
    moved = table.scores["epitome_er", "news_empathy"].value
    assert row["percent"] == pytest.approx(100 * (moved - base) / base)
    assert table_of_improvements(table, registry()).rows[0][1].raw == pytest.approx(row["percent"])


def test_what_is_missing_flagged_or_invented_is_visible(tmp_path):
    root = RunsRoot(tmp_path)
    one, two, three = (baseline(task) for task in ("epitome_er", "news_empathy", "news_distress"))
    for cell in (one, two, transfer(one, two)):
        finish(root, cell)
    for cell in (three, transfer(one, three)):
        finish(root, cell, constant=True)
    folder = root.cell(transfer(two, three).id)
    folder.create(transfer(two, three))
    table = _tables(root, sample_digests=frozenset({"0" * 64}))[8, 1.0]
    printed = table_of_scores(table, registry())
    shown_at = {
        (row[0].text, column): row[at].text for row in printed.rows for at, column in enumerate(printed.columns)
    }
    assert shown_at["News Distress", "news_distress"] == "undef.†"
    assert shown_at["News Empathy", "news_distress"] == "—"
    for said in ("PROVISIONAL", "gave one answer to every test text", "no result yet (1 of 5)", "no defined score"):
        assert said in printed.caption + printed.details
    assert printed.caption.startswith("PROVISIONAL: ")
    assert not any(mark in entry.text for row in printed.rows for entry in row for mark in "‡§¶")  # said once
    assert all(row[1].raw is None or row[1].raw != row[1].raw for row in table_of_improvements(table, registry()).rows)


def test_a_place_with_seeds_missing_says_so(root):
    folder = root.cell(baseline("epitome_er", 3).id)
    folder.create(baseline("epitome_er", 3))
    printed = table_of_scores(_tables(root)[7, 1.0], registry())
    assert printed.rows[0][1].text.endswith("(2/3)")


def test_fractions_have_tables_of_their_own(tmp_path):
    root = RunsRoot(tmp_path)
    for cell in grid(("epitome_er", "news_empathy"), fractions=(1.0, 0.5)):
        finish(root, cell)
    tables = _tables(root)
    assert set(tables) == {(7, 1.0), (7, 0.5), (8, 1.0), (8, 0.5)}
    assert table_of_scores(tables[7, 0.5], registry()).name == "table7-f50"
    assert "50 % of the target's training data" in table_of_scores(tables[7, 0.5], registry()).title


def test_files_agree_with_the_tables(root, tmp_path):
    gathered = gather(root, None, registry())
    written = write(gathered, tmp_path / "out", ratings=reference.ratings())
    assert all((tmp_path / "out" / name).is_file() for name in written.files)
    table = _tables(root)[7, 1.0]
    with open(tmp_path / "out" / "table7.csv") as stream:
        rows = {row["source"]: row for row in csv.DictReader(stream)}
    expected = table.scores["news_empathy", "epitome_er"].value
    assert float(rows["News Empathy"]["epitome_er"]) == expected
    long = pd.read_parquet(tmp_path / "out" / "long.parquet")
    again = pd.read_csv(tmp_path / "out" / "long.csv")
    assert len(long) == len(again) == len(gathered.long())
    tex = (tmp_path / "out" / "table7.tex").read_text()
    assert r"\multicolumn{2}{c}{Epitome}" in tex
    assert tex.count(r"\underline{") == 2


def test_a_table_is_the_same_number_in_every_format():
    row = (Entry(text="a_b & 50 %"), Entry(text=".88†", bold=True, underlined=True, raw=0.8765), Entry(text="—"))
    table = Table(
        name="t", title="A | title", caption="c", head=(("x", "y", "z"),), columns=("x", "y", "z"), rows=(row,)
    )
    assert list(csv.reader(io.StringIO(to_csv(table))))[1] == ["a_b & 50 %", "0.8765", ""]
    assert "| a\\_b & 50 % | **<u>.88†</u>** | — |" in to_markdown(table)
    assert r"a\_b \& 50 \% & \textbf{\underline{.88\textsuperscript{\textdagger}}} & --- \\" in to_latex(table)


@pytest.mark.parametrize(
    ("value", "options", "expected"),
    [
        (0.876, {"digits": 2, "short": True}, ".88"),
        (-0.126, {"digits": 2, "short": True}, "−.13"),
        (-0.0001, {"digits": 2}, "0.00"),
        (1.25, {"digits": 1, "signed": True}, "+1.2"),
        (float("nan"), {}, "—"),
        (float("-inf"), {}, "−∞"),
        (1.0, {"digits": 2, "short": True}, "1.00"),
    ],
)
def test_numbers_are_printed_as_the_paper_prints_them(value, options, expected):
    assert shown(value, **options) == expected


def test_latex_keeps_hostile_text_as_text():
    assert latex("\\input{x}$%") == r"\textbackslash{}input\{x\}\$\%"


def test_details_are_a_paragraph_of_their_own_in_markdown():
    row = (Entry(text="x"),)
    table = Table(name="t", title="T", caption="c.", head=(("x",),), columns=("x",), rows=(row,), details="d.")
    assert to_markdown(table).endswith("\n\nc.\n\nd.\n")
