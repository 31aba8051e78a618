"""Several labs on the page, in tables and sentences: pooled changes, who contributed what, and who departs."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from empslurm import reference
from empslurm.gather import Gathered, Input, from_file, together
from empslurm.report import forests
from empslurm.report.pooling import ONE_ESTIMATE, ONE_LAB, Pooling, pool_labs
from empslurm.report.pooling_tables import headline
from empslurm.report.summary import Summary, inputs_digest
from empslurm.report.write import contents_of, write
from empslurm.tasks import registry
from tests.gather import lab_tables
from tests.gather.lab_tables import HEAD, TARGETS, read, rows
from tests.gather.lab_tables import write as table
from tests.report.pages import words_of


def pooling(gathered: Gathered, margin: float | None = None) -> Pooling:
    found = contents_of(gathered, ratings=(), margin=margin).pooling
    assert found is not None
    return found


def alone(gathered: Gathered, margin: float | None = None) -> Pooling:
    """Without the analysis of all runs together."""
    found = pool_labs(gathered, (), grouped=True, margin=margin)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def biased(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    """Eight seeds in four labs; the gains of `west` are shifted by .03."""
    folder = tmp_path_factory.mktemp("biased")
    gathered = read(lab_tables.four(folder, shift=0.03))
    return folder / "out", write(gathered, folder / "out", ratings=reference.ratings())


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Pooling:
    return pooling(read(lab_tables.four(tmp_path_factory.mktemp("alike"))))


def of_csv(folder: Path, name: str) -> list[dict[str, str]]:
    with open(folder / f"{name}.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_pooled_changes_agree_with_all_runs_together(alike: Pooling) -> None:
    assert len(alike.pooled) == len(alike.pairs) == 9
    for pair in alike.pairs:
        change, low, high = pair.together
        assert low < pair.pooled.estimate < high
        assert pair.pooled.low < change < pair.pooled.high
        assert pair.pooled.low < lab_tables.GAINS[pair.source] < pair.pooled.high
        assert sum(pair.weights.values()) == pytest.approx(1)
    verdicts = {(pair.source, pair.target): pair.verdict for pair in alike.pairs}
    assert all(verdicts["good", target] == "helps" and verdicts["bad", target] == "harms" for target in TARGETS)
    assert all(verdicts["none", target] == "inconclusive" for target in TARGETS)
    assert alike.flagged == ()
    assert "No lab is shown to depart from the others over all pairs." in headline(alike)


def test_the_biased_lab_is_flagged_and_no_other(biased: tuple[Path, Summary]) -> None:
    folder, summary = biased
    labs = {row["lab"]: row for row in of_csv(folder, "labs")}
    assert {lab: row["departs"] for lab, row in labs.items()} == {
        **dict.fromkeys(("east", "north", "south"), "no"),
        "west": "yes",
    }
    assert float(labs["west"]["low"]) < 0.03 < float(labs["west"]["high"])
    assert [lab.departs for lab in summary.labs] == [False, False, False, True]
    (said,) = (sentence for sentence in summary.headline if sentence.startswith("Beware: "))
    assert "west departs from the other labs over 9 pairs: its gains are shifted by +.0" in said


def test_pooled_changes_are_also_given_without_it(biased: tuple[Path, Summary]) -> None:
    for row in of_csv(biased[0], "pooled"):
        true = lab_tables.GAINS[row["source"]]
        assert float(row["pooled"]) - float(row["without_flagged"]) == pytest.approx(0.03 / 4, abs=0.006)
        assert float(row["without_flagged"]) == pytest.approx(true, abs=0.012)


def test_the_files_the_page_and_the_sentences(biased: tuple[Path, Summary]) -> None:
    folder, summary = biased
    assert summary.opening[0].startswith("Pooled over 4 labs, of 9 pairs, ")
    assert {"pooled.csv", "pooled-labs.csv", "labs.csv", "forests/good--t1.svg"} <= {*summary.files}
    assert len([*folder.glob("forests/*.svg")]) == len([*folder.glob("forests/*.png")]) == 9
    page = words_of(folder / "report.html")
    for said in ("Several labs together", "pooled over labs", "all runs together", "Who contributed what", "good → t1"):
        assert said in page
    assert len(of_csv(folder, "pooled-labs")) == 9 * 4
    assert not (folder / "disagreements.csv").exists()


def test_a_second_gather_reads_the_same_summary(biased: tuple[Path, Summary]) -> None:
    folder, summary = biased
    gathered = read([folder.parent / f"{lab}.csv" for lab in lab_tables.FOUR])
    again = write(gathered, folder, ratings=reference.ratings())
    assert (again.pooled, again.labs) == (summary.pooled, summary.labs)
    assert again.inputs == inputs_digest(gathered, reference.ratings(), grouped=True)
    assert again.inputs != inputs_digest(replace(gathered, remarks=("x",)), reference.ratings(), grouped=True)
    fewer = replace(gathered, labs=gathered.labs[:3])
    assert again.inputs != inputs_digest(fewer, reference.ratings(), grouped=True)


def test_an_error_is_pooled_with_its_sign(tmp_path: Path) -> None:
    """For an error a fall is a gain."""
    errors = [
        write_lab(tmp_path, name, [line.replace("accuracy", "mae") for line in rows(seeds)])
        for name, seeds in lab_tables.FOUR.items()
    ]
    verdicts = {(pair.source, pair.target): pair.verdict for pair in alone(read(errors)).pairs}
    assert verdicts["bad", "t1"] == "helps"
    assert verdicts["good", "t1"] == "harms"


def write_lab(folder: Path, name: str, lines: list[str], head: str = HEAD) -> Path:
    return table(folder, name, lines, head)


def test_a_margin_gives_equivalence(tmp_path: Path) -> None:
    found = alone(read(lab_tables.four(tmp_path)), margin=0.03)
    verdicts = {(pair.source, pair.target): pair.verdict for pair in found.pairs}
    assert {verdicts["none", target] for target in TARGETS} == {"equivalent"}
    assert "are equivalent" in " ".join(headline(found))


def test_pairs_of_one_lab_are_listed_with_the_reason(tmp_path: Path) -> None:
    paths = [
        write_lab(tmp_path, "a", rows((1, 2))),
        write_lab(tmp_path, "b", rows((3, 4), targets=("t1",))),
        write_lab(tmp_path, "c", rows((5,), targets=("t1", "t2"), lab=5)),
    ]
    found = alone(read(paths))
    reasons = {(pair.source, pair.target): pair.reason for pair in found.pairs}
    assert reasons == {
        **{(source, "t1"): "" for source in ("good", "bad", "none")},
        **{(source, "t2"): ONE_ESTIMATE for source in ("good", "bad", "none")},
        **{(source, "t3"): ONE_LAB for source in ("good", "bad", "none")},
    }
    said = " ".join(headline(found))
    assert "Two labs say little about all labs" in said
    assert "6 more cannot be pooled (pooled.csv says why)" in said
    assert {lab.runs.name: lab.reason != "" for lab in found.labs} == dict.fromkeys("abc", True)


def test_without_two_estimates_it_is_a_gap(tmp_path: Path) -> None:
    paths = [write_lab(tmp_path, name, rows((seed,), lab=seed)) for name, seed in (("a", 1), ("b", 2))]
    gathered = read(paths)
    contents = contents_of(gathered, ratings=())
    assert contents.pooling is not None
    assert contents.pooling.lacking == f"{ONE_ESTIMATE} (9 pairs)"
    (gap,) = (gap for gap in contents.gaps if gap.what == "changes pooled over labs")
    assert "at least two labs that each have two seeds" in gap.fill
    assert contents.pooling_headline[0].startswith("No change can be pooled over labs: ")


def test_other_metrics_are_not_pooled_and_that_is_said(tmp_path: Path) -> None:
    paths = lab_tables.four(tmp_path)
    other = [line.replace("accuracy", "f1_macro") for line in rows((9, 10), targets=("t1",))]
    found = alone(read([*paths, write_lab(tmp_path, "z", other)]))
    assert {one.lab for pair in found.pairs for one in pair.estimates} == {*lab_tables.FOUR}
    assert any("z scores t1 by f1_macro, other labs by accuracy" in remark for remark in found.remarks)


def test_changes_from_other_baselines_are_not_pooled_and_that_is_said(tmp_path: Path) -> None:
    """Lab a has baselines with all data too, from which a tenth of the data is a loss; the others have no such ones."""

    def lines(lab: int, fractions: tuple[float, ...]) -> list[str]:
        rng = np.random.default_rng(lab)
        return [
            f"{source},t,{seed},{fraction},accuracy,"
            f"{(0.7 if fraction == 1 else 0.5) + (0.1 if source else 0) + rng.normal(0, 0.005):.5f}"
            for fraction in fractions
            for seed in (1, 2, 3)
            for source in ("", "good")
        ]

    head = "source,target,seed,fraction,metric,value"
    labs = {"a": (1.0, 0.1), "b": (0.1,), "c": (0.1,)}
    paths = [table(tmp_path, name, lines(at, own), head) for at, (name, own) in enumerate(labs.items())]
    found = alone(read(paths))
    (pair,) = found.pooled
    assert [one.lab for one in pair.estimates] == ["b", "c"]
    assert pair.fraction == 0.1
    assert pair.pooled.estimate == pytest.approx(0.1, abs=0.02)
    assert any("At data fraction 0.1, a measures the changes of t from baselines" in said for said in found.remarks)


def test_one_input_has_no_labs(tmp_path: Path) -> None:
    contents = contents_of(from_file(write_lab(tmp_path, "a", rows((1, 2))), registry()), ratings=())
    assert (contents.pooling, contents.pooling_tables, contents.pooling_headline) == (None, (), ())


# ---- test examples ---------------------------------------------------------------------------------------------------


def with_predictions(folder: Path, name: str, seed: int, examples: str) -> Input:
    """Two seeds of a baseline and three sources, with predictions on 40 examples."""
    own = folder / f"predictions-{name}"
    own.mkdir()
    lines = []
    for source, skill in (("", 0.6), ("good", 0.8), ("bad", 0.5), ("none", 0.6)):
        for at in (1, 2):
            rng = np.random.default_rng([seed, at, len(source)])
            gold = np.random.default_rng(len(examples)).integers(0, 2, 200)
            said = np.where(rng.random(200) < skill, gold, 1 - gold)
            id = f"{name}-{source or 'base'}-{at}"
            answers = "".join(
                f"{examples}{n},{one},{two}\n" for n, (one, two) in enumerate(zip(gold, said, strict=True))
            )
            (own / f"{id}.csv").write_text(f"id,gold,predicted\n{answers}")
            lines.append(f"{id},{source},t1,{at},accuracy,{(gold == said).mean():.6f}")
    path = table(folder, name, lines, f"id,{HEAD}")
    return Input(name=name, path=path.name, kind="table", gathered=from_file(path, registry(), own))


def test_a_shared_test_set_is_recognised_and_widens_the_interval(tmp_path: Path) -> None:
    (tmp_path / "same").mkdir()
    (tmp_path / "other").mkdir()
    same = alone(together([with_predictions(tmp_path / "same", f"l{at}", at, "x") for at in (1, 2, 3)]))
    other = alone(together([with_predictions(tmp_path / "other", f"l{at}", at, "x" * at) for at in (1, 2, 3)]))
    assert all(pair.same_examples for pair in same.pairs)
    assert not any(pair.same_examples for pair in other.pairs)
    assert all(lab.with_examples for lab in (*same.labs, *other.labs))
    for pair in same.pairs:
        shared = np.mean([one.example_variance for one in pair.estimates])
        assert pair.pooled.standard_error**2 > 0.9 * shared  # it does not shrink with the number of labs
    assert not same.flagged


def test_labs_without_predictions_beside_others_are_said(tmp_path: Path) -> None:
    one = with_predictions(tmp_path, "a", 1, "x")
    plain = from_file(table(tmp_path, "b", rows((3, 4), targets=("t1",))), registry())
    found = alone(together([one, Input(name="b", path="b.csv", kind="table", gathered=plain)]))
    assert any("the errors of b cover seeds alone" in remark for remark in found.remarks)


# ---- figures ---------------------------------------------------------------------------------------------------------


def test_the_first_figures_are_of_pairs_on_which_labs_differ(alike: Pooling) -> None:
    odd = replace(alike.pairs[-1], q_p_bh=0.001)
    ordered = forests.in_order(replace(alike, pairs=(*alike.pairs[:-1], odd)))
    assert ordered[0] is odd
    kinds = [row.kind for row in forests.rows_of(odd)]
    assert kinds == ["lab"] * 4 + ["pooled", "together"]
    figure = forests.draw(odd, alike.registry)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[0].startswith("east  ")
    assert labels[4].startswith("pooled over labs  ")


def test_many_pairs_have_a_bounded_number_of_figures(
    alike: Pooling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forests, "MOST_DRAWN", 2)
    assert len(forests.save(alike, tmp_path)) == 4
    names = forests.strips(alike.pairs[0])
    assert 0 <= names["zero"] <= 100
    assert all(0 <= row["at"] <= 100 for row in names["rows"])
