"""Analyses run on gathered results, and say what is missing."""

from typing import Any

import numpy as np
import pytest

from empslurm import reference
from empslurm.analysis.verdicts import ONE_SEED
from empslurm.gather import gather, published
from empslurm.report import themes, verdict_tables
from empslurm.report.analyses import analyse, tables_of
from empslurm.report.headline import headline
from empslurm.report.importances import outcome
from empslurm.report.scores import score_tables
from empslurm.report.significance import CONTROL, NO_PREDICTIONS, target_results
from empslurm.report.tables import table_of_scores
from empslurm.report.write import tables_of_ratings
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from tests.gather.grids import finish, grid

TASKS = ("epitome_er", "news_empathy", "conv_emopol", "empdial_ei")
SKILL = {"epitome_er": 0.5, "news_empathy": 0.4, "conv_emopol": 0.6, "empdial_ei": 0.3}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Three seeds, two fractions; Conv EmoPol helps every target a lot, EmpDial EI harms."""
    root = RunsRoot(tmp_path_factory.mktemp("runs"))
    for cell in grid(TASKS, seeds=(1, 2, 3), fractions=(1.0, 0.5)):
        change = {"conv_emopol": 0.35, "empdial_ei": -0.25}.get(cell.source_task or "", 0.0)
        finish(root, cell, skill=SKILL[cell.target] + change - (0.05 if cell.data.fraction < 1 else 0))
    gathered = gather(root, None, registry())
    (group,) = gathered.groups
    return analyse(gathered, group, ratings=reference.ratings())


def _pairs(done, fraction=1.0):
    (one,) = [one for one in done.significance if one.fraction == fraction]
    return one, {(pair.verdict.source, pair.verdict.target): pair for pair in one.pairs}


def test_verdicts_are_of_seeds_and_examples(done):
    one, pairs = _pairs(done)
    assert len(pairs) == 12
    assert {pair.verdict.n_tested for pair in pairs.values()} == {12}
    helped = pairs["conv_emopol", "epitome_er"].verdict
    assert helped.difference > 0
    assert helped.with_examples
    assert (helped.n_seeds_baseline, helped.n_seeds_transfer) == (3, 3)
    assert all(result.n_groups == 10 and result.n_examples == 30 for result in one.results)


def test_a_margin_is_told_in_the_headline_the_caption_and_the_table(done):
    wide = analyse(done.gathered, done.group, ratings=(), margin=0.9)
    one, pairs = _pairs(wide)
    assert {pair.verdict.verdict for pair in pairs.values()} == {"equivalent"}
    assert "12 are equivalent within 0.9, 0 are inconclusive" in headline(wide)[0]
    caption = verdict_tables.verdict_details(one)
    assert "shown to differ by less than 0.9 in the target's metric" in caption
    assert "not the same as no effect" in caption
    assert "not the same as no effect" in verdict_tables.verdict_details(_pairs(done)[0])
    table = verdict_tables.verdict_table(one, wide)
    at = table.columns.index("p_equivalent")
    p_values: list[Any] = [row[at].raw for row in table.rows]
    assert all(0 <= p < 0.05 for p in p_values)


def test_the_papers_test_is_on_one_seed_and_disagreement_is_told(done):
    one, pairs = _pairs(done)
    assert {result.test_seed for result in one.results} == {1}
    for pair in pairs.values():
        assert pair.paper_outcome in ("helps", "harms", "inconclusive")
        assert bool(pair.disagreement) == (pair.paper_outcome != pair.verdict.verdict)
    caption = verdict_tables.verdict_details(one)
    assert f"disagrees with the verdict in {sum(bool(pair.disagreement) for pair in pairs.values())} pairs" in caption
    assert "detected with probability .8" in caption
    assert "two seeds of the same cell" in caption
    assert "comparisons of two seeds (" in caption
    assert one.same_cell[1] == 4 * 4 * 2  # four cells per target, two pairs of neighbouring seeds


def test_power_is_told_per_metric(done):
    """No number mixes macro F1 and r."""
    one, _ = _pairs(done)
    said = verdict_tables.power_statement(one)
    assert said.count("(median ") == 2
    assert "macro F1 ." in said
    assert "Pearson r ." in said
    assert said.endswith("by target in the table `seeds`.")


WIDEST, LONGEST = 8, 220


def test_captions_have_two_lines_and_wide_tables_have_main_columns(done):
    """Matrices are as wide as there are targets."""
    shown = [*tables_of(done), *tables_of_ratings(done.gathered, done.ratings, [])]
    for gathered in (published(registry()), done.gathered):
        printed = [gathered.groups[0]]
        shown += [table_of_scores(table, registry()) for group in printed for table in score_tables(gathered, group)]
    assert len({table.name for table in shown}) > 15
    for table in shown:
        assert len(table.caption) <= LONGEST, (table.name, table.caption)
        is_matrix = {*table.columns[table.n_labels :]} <= {*registry().tasks}
        assert is_matrix or len(table.columns) <= WIDEST or table.main, table.name
        assert len(table.main) <= WIDEST, table.name
        assert {*table.main} <= {*table.columns}, table.name


def test_limited_data_is_compared_with_the_full_data_baseline(done):
    one, pairs = _pairs(done, 0.5)
    full = next(table for table in done.tables if table.fraction == 1.0 and "epitome_er" in table.targets)
    half = next(table for table in done.tables if table.fraction == 0.5 and "epitome_er" in table.targets)
    pair = pairs["news_empathy", "epitome_er"]
    assert pair.verdict.baseline == pytest.approx(full.scores["epitome_er", "epitome_er"].value)
    assert pair.verdict.transfer == pytest.approx(half.scores["news_empathy", "epitome_er"].value)
    (control,) = [pair for pair in one.control if pair.verdict.target == "epitome_er"]
    assert control.verdict.source == CONTROL
    assert control.verdict.transfer == pytest.approx(half.scores["epitome_er", "epitome_er"].value)
    assert (CONTROL, "epitome_er") not in pairs
    table = themes.limited_table(done)
    assert table is not None
    assert [row[1].text for row in table.rows] == ["with transfer", "without transfer (control)"]


def test_themes_count_the_pairs_once(done):
    panels = {(panel.test, panel.fraction): panel for panel in done.themes}
    assert ("the paper's test", 1.0) in panels
    for panel in panels.values():
        assert sum(cell.n_pairs + cell.n_undecided for cell in panel.gains) == 12


def test_the_importances_say_why_they_are_not_there(done):
    assert done.importances == ()
    assert "must have at least 20 pairs" in done.lacking["Figure 2 and Table 6"]
    assert "no fisher cells" in done.lacking["Figure 10"]


def test_every_number_of_a_table_is_traceable(done):
    known = set(done.group.runs["id"])
    for table in tables_of(done):
        if table.name.startswith(("table7", "table8", "figure6", "figure7", "verdicts")) and "versus" not in table.name:
            assert table.origin, table.name
            assert all(set(ids.split()) <= known and ids for _, _, ids in table.origin), table.name


def test_one_seed_is_undecided_with_the_papers_test_beside(tmp_path):
    root = RunsRoot(tmp_path)
    for cell in grid(TASKS[:3]):
        finish(root, cell)
    gathered = gather(root, None, registry())
    made = analyse(gathered, gathered.groups[0], ratings=reference.ratings())
    (one,) = made.significance
    assert {(pair.verdict.verdict, pair.verdict.reason) for pair in one.pairs} == {("undecided", ONE_SEED)}
    assert all(pair.paper_outcome for pair in one.pairs)
    assert "every pair is undecided" in made.lacking["verdicts"]
    assert "limited data (Figure 3, bottom)" in made.lacking


def test_without_predictions_there_is_no_papers_test():
    gathered = published(registry())
    results = target_results(score_tables(gathered, gathered.groups[0])[1])
    assert {result.doubt for result in results} == {NO_PREDICTIONS}
    assert all(result.test is None for result in results)


def test_the_outcome_of_the_importances_is_the_percent_matrix():
    gathered = published(registry())
    order = tuple(registry().tasks)
    percent = outcome(score_tables(gathered, gathered.groups[0]), order)
    assert np.isfinite(percent).sum() == 306
    at = percent[order.index("news_distress"), order.index("epitome_ex")]
    assert at == pytest.approx(100 * (0.84 - 0.79) / 0.79)


def test_embeddings_are_compared_where_cells_left_them(tmp_path):
    from safetensors.numpy import save_file

    from empslurm.report.embeddings import EMBEDDING, VECTORS, data_similarity, fused_similarity

    root = RunsRoot(tmp_path)
    for cell in grid(TASKS):
        finish(root, cell)
    runs = gather(root, None, registry()).groups[0].runs
    own = runs[runs["kind"] == "baseline"].copy()
    rng = np.random.default_rng(0)
    for path in own["predictions"]:
        vectors = {EMBEDDING: rng.random(5), "empirical/layer_0.adapter_up": rng.random(7)}
        save_file(
            {name: value.astype(np.float32) for name, value in vectors.items()},
            path.replace("predictions.parquet", VECTORS),
        )
    (fused,) = fused_similarity(own.assign(kind="fisher"), TASKS)
    assert fused.similarity.tasks == TASKS
    assert fused.similarity.components == ("layer_0.adapter_up",)
    assert sorted(fused.similarity.ranks[0][1:]) == [1, 2, 3]
    alike = data_similarity(own.assign(kind="embed"), TASKS)
    assert alike is not None
    assert np.allclose(np.diag(alike.cosine), 1)
    assert data_similarity(own, TASKS) is None


# ---- runs that collapse ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def collapsing(tmp_path_factory):
    """Eight seeds: Conv EmoPol helps Epitome ER, whose baseline and transfers lose a run; EmpDial EI loses six."""
    root = RunsRoot(tmp_path_factory.mktemp("collapsing"))
    lost = {None: {2}, "conv_emopol": {3}, "empdial_ei": {1, 2, 3, 4, 5, 6, 7}}
    for cell in grid(("epitome_er", "conv_emopol", "empdial_ei"), seeds=range(1, 9)):
        gone = cell.target == "epitome_er" and cell.seed in lost[cell.source_task]
        skill = {"conv_emopol": 0.9}.get(cell.source_task or "", 0.5)
        finish(root, cell, skill=skill, constant="test" if gone else False)
    gathered = gather(root, None, registry())
    (group,) = gathered.groups
    return analyse(gathered, group, ratings=reference.ratings())


def test_runs_that_learnt_are_compared_and_those_that_did_not_are_counted(collapsing):
    one, pairs = _pairs(collapsing)
    helped, lost = pairs["conv_emopol", "epitome_er"].verdict, pairs["empdial_ei", "epitome_er"].verdict
    assert helped.verdict == "helps"
    assert (helped.n_seeds_baseline, helped.n_collapsed_baseline) == (7, 1)
    assert (helped.n_seeds_transfer, helped.n_collapsed_transfer) == (7, 1)
    assert (lost.verdict, lost.n_seeds_transfer, lost.n_collapsed_transfer) == ("undecided", 1, 7)
    assert "collapse" in lost.reason
    table = verdict_tables.verdict_table(one, collapsing)
    at = table.columns.index("n_collapsed")
    assert {row[at].text for row in table.rows if row[1].text == "Epitome ER"} == {"1/1", "7/1"}
    assert verdict_tables.collapse_statement(one).startswith("9 of 72 runs collapsed")


def test_a_source_that_makes_runs_collapse_is_a_finding_of_its_own(collapsing):
    one, _ = _pairs(collapsing)
    table = verdict_tables.collapse_table(one, registry())
    assert table is not None
    rows = {row[0].text: [entry.text for entry in row] for row in table.rows}
    assert rows["EmpDial EI"][2:4] == ["7 of 8", "1 of 8"]
    assert rows["EmpDial EI"][-1] == "collapses more often"
    assert rows["Conv EmoPol"][-1] == "inconclusive"
    said = headline(collapsing)
    assert "EmpDial EI collapses more often on Epitome ER: 7 of 8 runs, the baseline 1 of 8." in said
    assert any("verdicts compare the runs that learnt" in sentence for sentence in said)


def test_where_nothing_collapses_nothing_is_said(done):
    one, _ = _pairs(done)
    assert verdict_tables.collapse_table(one, registry()) is None
    assert verdict_tables.collapse_statement(one) == ""
