"""Baselines are compared with chance by an interval, for labels and for ratings."""

import numpy as np
import pytest

from empslurm.gather import gather
from empslurm.metrics import METRICS, score
from empslurm.report import baseline_tables
from empslurm.report.analyses import analyse
from empslurm.report.baselines import against_chance
from empslurm.report.group_results import Analyses
from empslurm.report.scores import Score, score_tables
from empslurm.report.significance import Loaded
from empslurm.report.tables import pair_rows
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from tests.gather.grids import baseline, finish, transfer

N = 300


def loaded(metric: str, skill: float, n_seeds: int = 2) -> Loaded:
    rng = np.random.default_rng(3)
    gold = rng.choice(3, N, p=[0.6, 0.3, 0.1]).astype(float) if metric == "f1_macro" else rng.normal(3, 1, N)
    if metric == "f1_macro":
        outputs = [np.where(rng.random(N) < skill, gold, rng.integers(0, 3, N)) for _ in range(n_seeds)]
    else:
        outputs = [skill * gold + rng.normal(0, 1, N) for _ in range(n_seeds)]
    return Loaded(
        metric=metric,
        gold=gold,
        groups=np.arange(N) // 2,
        n_labels=3 if metric == "f1_macro" else 0,
        outputs=np.stack(outputs),
        rows=np.zeros(n_seeds, np.int64),
        seeds=np.arange(n_seeds),
    )


@pytest.mark.parametrize("metric", ["f1_macro", "pearson"])
def test_what_has_learnt_is_above_chance_and_what_has_not_is_not(metric: str) -> None:
    good, bad = (against_chance("x", loaded(metric, skill)) for skill in (0.8, 0.0))
    assert good.above
    assert good.chance < good.low < good.score < good.high
    assert bad.low < bad.high < good.low
    if metric == "pearson":
        assert not bad.above
        assert bad.chance == 0.0


@pytest.mark.parametrize("metric", METRICS)
def test_chance_of_every_metric_is_one_answer_to_all(metric: str) -> None:
    """An error above chance is a smaller one."""
    rng = np.random.default_rng(5)
    labelled = METRICS[metric].kind == "classification"
    gold = rng.choice(3, N, p=[0.6, 0.3, 0.1]).astype(float) if labelled else rng.normal(50, 10, N)
    right = np.where(rng.random(N) < 0.9, gold, rng.integers(0, 3, N)) if labelled else gold + rng.normal(0, 3, N)
    wrong = rng.permutation(right) if labelled else 100 - gold
    shape = Loaded(
        metric=metric,
        gold=gold,
        groups=np.arange(N) // 2,
        n_labels=3 if labelled else 0,
        outputs=np.stack([right, right]),
        rows=np.zeros(2, np.int64),
        seeds=np.arange(2),
    )
    good = against_chance("x", shape)
    bad = against_chance("x", Loaded(**{**vars(shape), "outputs": np.stack([wrong, right])}))
    assert (good.above, good.n_above, bad.n_above) == (True, 2, 1)
    if metric in ("pearson", "spearman"):
        assert good.chance == 0.0
    elif metric == "mae":
        assert good.chance == pytest.approx(np.abs(gold - np.median(gold)).mean())
        assert good.score < good.chance
    else:
        answers = np.eye(3)[np.full(N, np.bincount(gold.astype(int)).argmax())]
        assert good.chance == pytest.approx(score("classification", 3, gold, answers)[metric])


def test_the_majority_class_itself_is_not_above_chance() -> None:
    given = loaded("f1_macro", 0.5)
    same = Loaded(**{**vars(given), "outputs": np.zeros_like(given.outputs)})
    found = against_chance("x", same)
    assert found.score == found.chance
    assert not found.above


def test_a_constant_regression_has_no_score_and_no_interval() -> None:
    given = loaded("pearson", 0.5)
    found = against_chance("x", Loaded(**{**vars(given), "outputs": np.ones_like(given.outputs)}))
    assert np.isnan([found.score, found.low, found.high]).all()
    assert not found.above


def test_tables_hold_the_baselines_that_are_there(tmp_path) -> None:
    root = RunsRoot(tmp_path)
    for seed in (1, 2):
        finish(root, baseline("epitome_er", seed), skill=0.9)
        finish(root, baseline("news_empathy", seed), skill=0.9)
    gathered = gather(root, None, registry())
    done = analyse(gathered, gathered.groups[0], ratings=())
    made = {table.name: table for table in baseline_tables.tables(done)}
    assert sorted(made) == ["baselines-f1_macro", "baselines-pearson"]
    ((_, score, _, _, above, seeds, _),) = made["baselines-pearson"].rows
    assert (above.text, seeds.text) == ("yes", "2 of 2")
    assert 0.7 < float(score.text) < 1


def test_rows_are_resampled_where_that_is_asked_for(tmp_path) -> None:
    """The runs' test examples are in groups of three."""
    root = RunsRoot(tmp_path)
    for seed in (1, 2):
        finish(root, baseline("epitome_er", seed), skill=0.6)
    gathered = gather(root, None, registry())

    def made(grouped: bool) -> Analyses:
        return analyse(gathered, gathered.groups[0], ratings=(), grouped=grouped)

    by_group, by_row = made(True), made(False)
    (one,), (other,) = by_group.baselines, by_row.baselines
    assert (one.target, one.metric, one.fraction, one.score) == ("epitome_er", "f1_macro", 1.0, other.score)
    assert (one.low, one.high) != (other.low, other.high)
    intervals = [baseline_tables.tables(done)[0].rows[0][2].text for done in (by_group, by_row)]
    assert intervals[0] != intervals[1]


def test_seeds_that_did_not_learn_are_told_beside_the_mean_that_hides_them(tmp_path) -> None:
    root = RunsRoot(tmp_path)
    for seed in (1, 2, 3, 4):
        finish(root, baseline("epitome_er", seed), skill=0.9, constant="test" if seed in (2, 3) else False)
        finish(root, transfer(baseline("news_empathy", seed), baseline("epitome_er", seed)), constant=seed == 4)
    gathered = gather(root, None, registry())
    tables = score_tables(gathered, gathered.groups[0])
    (made,) = baseline_tables.tables(analyse(gathered, gathered.groups[0], ratings=()))
    ((_, _, _, _, above, seeds, _),) = made.rows
    assert above.text == "yes; 2 of 4 seeds (2, 3) did not learn"
    assert seeds.text == "2 of 4"
    (row,) = pair_rows(tables)
    assert row["flagged_seeds"] == (
        "baseline: constant in 2 of 4 seeds (2, 3); "
        "transfer: constant in 1 of 4 seeds (4); validation_constant in 1 of 4 seeds (4)"
    )


def test_a_seed_worse_than_one_answer_to_all_is_told_apart_from_one_that_did_not_learn() -> None:
    def score(*flags: tuple[str, ...]) -> Score:
        return Score(
            source="t", target="t", metric="pearson", value=0.3, deviation=0.1, seeds=(1, 2, 3), values=(0.2, 0.3, 0.4),
            n_missing=0, flags=(), flags_of_seeds=flags, sample=False, pinned=True, leaks=False, n_examples=9,
            ids=("a", "b", "c"), predictions=("", "", ""),
        )  # fmt: skip

    both = score(("constant", "worse_than_constant"), ("worse_than_constant",), ())
    assert (both.not_learnt, both.worse) == ((1,), (2,))
    assert score((), ("validation_constant",), ()).worse == ()
