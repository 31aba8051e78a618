"""What a search's report says, and what it must not claim."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from empslurm.analysis.search import best_so_far, best_types, importances, interval, mean_ranks
from empslurm.cells import Baseline, DataIdentity, DrawnTrial
from empslurm.config import Adapter, AdapterKind, Backbone, DataUse, Search, Training, Trial
from empslurm.report.search import SearchResults, figures, importance_table, tables, write
from empslurm.search.results import Finished
from empslurm.tasks import registry

KINDS = ("seq_bn", "lora")


def trial(number: int, score: float | None, outcome: str = "complete") -> Finished:
    use = DataIdentity(dataset="news", raw="r", split="s", use=DataUse(), labels="all", fraction=1.0)
    cell = DrawnTrial(
        target="news_empathy",
        seed=1,
        data=use,
        backbone=Backbone(),
        backbone_digest="d",
        adapter=Adapter(kind=KINDS[number % 2]),
        training=Training(lr=1e-6 * 2**number, batch_size=8 + number),
        trial=Trial(number=number, search=Search()),
    )
    return Finished(
        cell=cell,
        outcome=outcome,  # type: ignore[arg-type]
        validation=score,
        best_epoch=2,
        epochs=(0.0, score),
        started=0.0,
        wall_s=1.0,
    )


@pytest.fixture
def found() -> SearchResults:
    trials = [trial(number, number / 20 if number != 3 else None) for number in range(12)]
    trials[11] = replace(trials[11], outcome="pruned")
    baseline = Baseline.like(trials[0].cell)
    scores: dict[AdapterKind, dict[int, tuple[Baseline, float | None, int]]] = {
        "seq_bn": {1: (baseline, 0.5, 2), 2: (baseline, 0.6, 2)},
        "lora": {1: (baseline, 0.3, 1)},
    }
    return SearchResults(
        name="hunt",
        tasks=("news_empathy", "hope"),
        types=KINDS,
        sampler="tpe",
        pruner="median",
        n_trials=12,
        seeds=(1, 2),
        trials={"news_empathy": trials},
        second={"news_empathy": scores},
        n_second=4,
        waiting="",
        registry=registry(),
    )


def test_table_4_has_the_best_complete_trial_and_says_what_it_was_selected_on(found: SearchResults) -> None:
    table = tables(found)[0]
    assert [entry.text for entry in table.rows[0]] == [
        "news_empathy",
        "2",
        "18",
        "0.00102",
        "seq_bn",
        "pearson",
        "0.500",
        "11",
        "1",
    ]
    assert [entry.text for entry in table.rows[1][1:7]] == ["—"] * 6
    assert "validation part alone" in table.caption
    assert "12 trials per task cannot rank adapter types" in table.details
    assert table.rows[0][3].raw == 1e-6 * 2**10


def test_the_second_stage_has_intervals_over_seeds_and_a_single_seed_has_none(found: SearchResults) -> None:
    table = tables(found)[2]
    rows = {row[1].text: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    shown = {kind: [row[name].text for name in ("mean", "low", "high", "n_seeds")] for kind, row in rows.items()}
    assert shown == {"seq_bn": ["0.550", "−0.085", "1.185", "2"], "lora": ["0.300", "—", "—", "1"]}
    assert [row["mean"].bold for row in rows.values()] == [True, False]
    assert rows["lora"]["low"].plain == ""


def test_a_type_without_a_score_in_a_seed_has_no_mean_and_does_not_win(found: SearchResults) -> None:
    cell = found.second["news_empathy"]["lora"][1][0]
    second = {"news_empathy": {"seq_bn": {1: (cell, 0.9, 1), 2: (cell, None, 1)}, "lora": {1: (cell, 0.3, 1)}}}
    table = tables(replace(found, second=second))[2]  # type: ignore[arg-type]
    assert [[entry.text for entry in row[3:7]] for row in table.rows] == [
        ["—", "—", "—", "2"],
        ["0.300", "—", "—", "1"],
    ]
    assert [row[3].bold for row in table.rows] == [False, True]


def test_figures_are_sound_svg_with_a_mark_per_trial_that_has_a_score(found: SearchResults) -> None:
    made = {one.name: ElementTree.fromstring(one.svg) for one in figures(found)}
    assert set(made) == {f"{kind}_news_empathy" for kind in ("history", "parallel", "slices")}
    space = "{http://www.w3.org/2000/svg}"
    assert len(made["history_news_empathy"].findall(f"{space}circle")) == 11
    hollow = [dot for dot in made["history_news_empathy"].iter(f"{space}circle") if dot.get("fill") == "white"]
    assert len(hollow) == 1
    lines = [one for one in made["parallel_news_empathy"].iter(f"{space}polyline") if one.get("opacity") != "1.00"]
    assert len(lines) >= 10
    assert len(made["slices_news_empathy"].findall(f"{space}circle")) == 33


def test_a_page_needs_nothing_beside_it_and_hostile_names_stay_text(found: SearchResults, tmp_path: Path) -> None:
    paths = write(replace(found, name="<script>x</script>"), tmp_path)
    page = (tmp_path / "search.html").read_text()
    assert "<script>x" not in page
    assert "Search &lt;script&gt;x&lt;/script&gt;" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    HTMLParser().feed(page)
    assert {path.suffix for path in paths} == {".csv", ".md", ".tex", ".html"}


def test_a_page_opens_with_how_far_the_search_is_and_what_it_does_not_say(found: SearchResults, tmp_path: Path) -> None:
    write(replace(found, waiting="one is slow"), tmp_path)
    page = (tmp_path / "search.html").read_text()
    opening = page[: page.index("data-table")]
    assert "12 of 24 trials are finished: 11 complete, 1 pruned." in opening
    assert "3 of 4 cells of the second stage" in opening
    assert "Not final: one is slow." in opening
    assert "12 trials per task cannot rank adapter types: each type had 6.0 of them on average" in opening
    write(replace(found, n_trials=20), tmp_path)
    assert "cannot rank adapter types" not in (tmp_path / "search.html").read_text()


def test_importances_find_the_parameter_that_matters_and_are_left_out_with_few_trials(found: SearchResults) -> None:
    rates = [10.0 ** -(2 + at % 5) for at in range(40)]
    rows: list[dict[str, str | float]] = [
        {"adapter": KINDS[at % 2], "lr": lr, "batch_size": 8.0 + at % 3} for at, lr in enumerate(rates)
    ]
    shares = importances(rows, [lr**0.25 for lr in rates], seed=0)
    assert max(shares, key=lambda name: shares[name]) == "lr"
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(rows[:9], [0.1 * at for at in range(9)], seed=0) == {}
    assert importances(rows, [0.5] * 40, seed=0) == {}
    assert importance_table(found).rows[1][1].text == "—"


def test_ranks_are_means_over_tasks_in_which_a_type_that_was_never_tried_is_last() -> None:
    scores = {"one": {"a": 0.9, "b": 0.5}, "two": {"b": 0.2, "c": 0.2}}
    assert mean_ranks(scores, ("a", "b", "c")) == {"a": 2.0, "b": 1.75, "c": 2.25}
    assert best_types(scores, ("a", "b", "c")) == ["b", "a", "c"]


def test_intervals_and_histories() -> None:
    assert interval([0.4]).low is None
    made = interval([0.4, 0.5, 0.6])
    assert (made.low, made.high) == (pytest.approx(0.2516, abs=1e-4), pytest.approx(0.7484, abs=1e-4))
    assert best_so_far([None, 0.2, None, 0.1, 0.3]) == [None, 0.2, 0.2, 0.2, 0.3]
