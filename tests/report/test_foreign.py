"""Tables of other results: directions, settings, no baselines, and no mention of the paper."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from empslurm import reference
from empslurm.cli import main
from empslurm.gather import from_file
from empslurm.report import settings, settings_compared, settings_headline
from empslurm.report.analyses import analyse, tables_of
from empslurm.report.headline import headline
from empslurm.report.write import write
from empslurm.tasks import registry
from tests.report.pages import words_of

HEAD = "source,target,seed,metric,value"


def grid(metric: str, gain: float, *, baseline: str = "", tasks: tuple[str, ...] = ("aa", "bb")) -> list[str]:
    """Rows where every transfer differs from the baseline by `gain`, in each of three seeds."""
    return [
        f"{baseline if source == target else source},{target},{seed},{metric},"
        f"{0.6 + 0.01 * seed + (source != target) * (gain + 0.001 * seed):.4f}"
        for target in tasks
        for source in tasks
        for seed in (1, 2, 3)
    ]


def made(folder: Path, rows: list[str], head: str = HEAD):
    path = folder / "t.csv"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return from_file(path, registry())


def only(gathered):
    (group,) = gathered.groups
    return analyse(gathered, group, ratings=())


@pytest.mark.parametrize(
    ("metric", "gain", "verdict"),
    [
        ("mae", 0.05, "harms"),
        ("mae", -0.05, "helps"),
        ("accuracy", 0.05, "helps"),
        ("pearson", -0.05, "harms"),
    ],
)
def test_gather_mae_direction(tmp_path: Path, metric: str, gain: float, verdict: str) -> None:
    """Verdict, percent, headline, bold mark and colour (its sign) of every metric agree on the direction."""
    gathered = made(tmp_path, grid(metric, gain))
    done = only(gathered)
    pairs = done.significance[0].pairs
    assert {pair.verdict.verdict for pair in pairs} == {verdict}
    better = verdict == "helps"
    assert all((pair.improvement.percent > 0) == better for pair in pairs)
    assert all(pair.improvement.low <= pair.improvement.percent <= pair.improvement.high for pair in pairs)
    assert all((pair.verdict.difference > 0) == (gain > 0) for pair in pairs)
    said = headline(done)
    assert f"{2 * better} help, {2 * (not better)} harm" in said[0]
    assert f"{2 * better} of 2 pairs are" in said[-1]
    summary = write(gathered, tmp_path / "out", ratings=())
    scores, changes, verdicts, seeds = summary.tables
    assert (verdicts.name, len(verdicts.rows)) == ("verdicts", 2)
    assert scores.rows[0][1].bold is not better  # the baseline, where the transfer is worse
    gained: Any = changes.rows[0][2].raw
    assert (gained > 0) == better
    assert (seeds.name, len(seeds.rows)) == ("seeds", 2)


def test_gather_no_source_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, grid("f1_macro", 0.05, baseline="none"))
    assert main(["gather", "--results", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().out
    assert said.startswith("No target has a baseline, so no source can be said to help or to harm")
    assert "if `none` is the baseline, leave its source blank" in " ".join(said.split())
    rows = (tmp_path / "out" / "sources.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:3]] == [["aa", "bb"], ["aa", "none"]]
    assert "worse" in rows[2]
    assert not (tmp_path / "out" / "verdicts.csv").exists()


def test_some_targets_without_a_baseline_are_named(tmp_path: Path) -> None:
    rows = [row for row in grid("f1_macro", 0.05) if not row.startswith(",bb")]
    done = only(made(tmp_path, rows))
    assert done.lacking["baselines"].startswith("1 of 2 targets have none (bb)")
    assert [result.target for result in done.significance[0].results] == ["aa"]
    assert done.ranked == ()


def test_settings_are_compared_and_never_mixed(tmp_path: Path) -> None:
    tasks = ("aa", "bb", "cc")
    up, down = (grid("f1_macro", gain, tasks=tasks) for gain in (0.05, -0.05))
    rows = [*(f"{row},one" for row in up), *(f"{row},two" for row in down)]
    gathered = made(tmp_path, rows, HEAD + ",setting")
    groups = settings.named([analyse(gathered, group, ratings=()) for group in gathered.groups])
    found = settings_headline.headline(settings_compared.compare(groups))
    assert found[0] == "Of 6 pairs compared on both settings, 6 help on one and harm on the other."
    agreement = settings.agreements(settings.level_of(groups).pairs)
    assert [(one.n_shared, one.n_same_side, one.n_opposed) for one in agreement] == [(6, 0, 6)]
    summary = write(gathered, tmp_path / "out", ratings=())
    assert [table.name for table in summary.tables] == [
        "settings",
        "settings-agreement",
        "settings-pairs",
        "settings-interaction",
        "settings-variance",
        "settings-sources",
    ]
    assert {"settings.csv", "one/verdicts.csv", "two/verdicts.csv"} <= set(summary.files)
    assert "Settings compared" in (tmp_path / "out" / "report.html").read_text()


WORDS = re.compile(r"frozen encoder|verified result|embed cells|fisher cells|Figure \d|Table \d|paper|empathy", re.I)


def test_foreign_results_are_told_without_the_paper(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gathered = made(tmp_path, grid("f1_macro", 0.05))
    out = tmp_path / "out"
    for more in ((), ("--tables",)):
        assert main(["gather", "--results", str(tmp_path / "t.csv"), "--out", str(out), *more]) == 0
        printed = capsys.readouterr().out.replace("table7", "").replace("figure6", "")
        assert WORDS.findall(printed) == []
    for path in out.rglob("*"):
        assert not path.name.startswith(("table2", "table3", "table5", "figure8"))
    assert WORDS.findall(words_of(out / "report.html")) == []
    assert gathered.n_done == 12


def test_results_of_the_papers_tasks_keep_its_names(tmp_path: Path) -> None:
    gathered = made(tmp_path, grid("f1_macro", 0.05, tasks=("epitome_er", "epitome_ex")))
    summary = write(gathered, tmp_path / "out", ratings=reference.ratings())
    assert {"table2.csv", "table5.csv"} <= set(summary.files)
    assert summary.tables[0].number == "Table 7"


def verdicts(done) -> dict[tuple[str, str], str]:
    return {
        (pair.verdict.source, pair.verdict.target): pair.verdict.verdict
        for one in done.significance
        for pair in one.pairs
    }


def test_a_source_may_have_any_name(tmp_path: Path) -> None:
    rows = [row.replace("bb,", "(none),", 1) if row.startswith("bb,aa") else row for row in grid("f1_macro", 0.05)]
    assert ("(none)", "aa") in verdicts(only(made(tmp_path, rows)))


def test_a_blank_setting_is_compared_too(tmp_path: Path) -> None:
    rows = [*(f"{row}," for row in grid("f1_macro", 0.05)), *(f"{row},two" for row in grid("f1_macro", -0.05))]
    gathered = made(tmp_path, rows, HEAD + ",setting")
    groups = settings.named([analyse(gathered, group, ratings=()) for group in gathered.groups])
    assert list(groups) == ["(no name)", "two"]


def test_the_same_side_is_of_gains_also_below_a_baseline_that_is_not_positive(tmp_path: Path) -> None:
    rows = [
        f"{source},{target},{seed},pearson,{base + 0.1 * (source != '') + 0.001 * seed:.3f},{setting}"
        for setting in ("A", "B")
        for target, base in (("aa", 0.5), ("bb", -0.05), ("cc", -0.3))
        for source in ("", "x", "y")
        for seed in (1, 2)
    ]
    gathered = made(tmp_path, rows, HEAD + ",setting")
    groups = settings.named([analyse(gathered, group, ratings=()) for group in gathered.groups])
    (found,) = settings.agreements(settings.level_of(groups).pairs)
    assert (found.n_shared, found.n_compared, found.n_same_side) == (6, 6, 6)


def test_an_undefined_run_leaves_no_mean_of_the_lucky_ones(tmp_path: Path) -> None:
    rows = [row for row in grid("f1_macro", 0.05) if not row.startswith("bb,aa")]
    done = only(made(tmp_path, [*rows, "bb,aa,1,f1_macro,0.95", "bb,aa,2,f1_macro,", "bb,aa,3,f1_macro,"]))
    (pair,) = [pair for pair in done.significance[0].pairs if pair.verdict.target == "aa"]
    assert pair.verdict.verdict == "undecided"
    assert pair.verdict.transfer != pair.verdict.transfer
    assert headline(done)[-1].endswith("1 of 1 pairs are above the baseline.")


def test_runs_on_a_part_of_the_data_are_judged_or_named(tmp_path: Path) -> None:
    half = [f"{row},.5" for row in grid("f1_macro", 0.05)]
    head = HEAD + ",fraction"
    done = only(made(tmp_path, half, head))
    assert set(verdicts(done).values()) == {"helps"}
    assert done.significance[0].baseline_fraction == 0.5
    other = [f"{row},1" for row in grid("f1_macro", 0.05, tasks=("cc", "dd"))]
    done = only(made(tmp_path, [*half, *other], head))
    assert "aa, bb: no verdict on their runs with less data" in done.lacking["full-data baselines"]


def test_other_predictions_of_the_same_score_are_another_gather(tmp_path: Path) -> None:
    lines = ["source,target,seed,metric,value", ",aa,1,accuracy,0.5", ",aa,2,accuracy,0.5"]
    lines += ["bb,aa,1,accuracy,0.5", "bb,aa,2,accuracy,0.5"]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    for run in ("aa-s1", "aa-s2", "bb--aa-s1", "bb--aa-s2"):
        (tmp_path / f"{run}.csv").write_text("id,gold,predicted\n1,x,x\n2,y,x\n")
    digests = set()
    for guess in ("x", "z"):
        (tmp_path / "bb--aa-s2.csv").write_text(f"id,gold,predicted\n1,x,x\n2,y,{guess}\n")
        gathered = from_file(tmp_path / "t.csv", registry(), tmp_path)
        digests.add(write(gathered, tmp_path / "out", ratings=()).inputs)
    assert len(digests) == 2


def test_flags_of_the_table_stay_and_are_told_as_they_are(tmp_path: Path) -> None:
    head = HEAD + ",flags"
    rows = [f"{row},{'rerun' if row.startswith('bb') else ''}" for row in grid("f1_macro", 0.05)]
    summary = write(made(tmp_path, rows, head), tmp_path / "out", ratings=())
    assert "a run is flagged: rerun." in summary.tables[0].details
    assert "one answer" not in summary.tables[0].details


def test_one_task_with_a_name_of_the_papers_makes_no_table_the_papers(tmp_path: Path) -> None:
    summary = write(
        made(tmp_path, grid("f1_macro", 0.05, tasks=("news", "hope"))), tmp_path / "out", ratings=reference.ratings()
    )
    assert not {"table2.csv", "table7-versus-printed.csv"} & set(summary.files)


def test_predictions_must_be_in_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, grid("f1_macro", 0.05, tasks=("x" * 300, "b/../c")))
    words = ["gather", "--results", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out"), "--predictions"]
    assert main([*words, str(tmp_path / "nowhere")]) == 2
    assert main([*words, str(tmp_path)]) == 0
    assert "--predictions must be a folder" in capsys.readouterr().err


def test_a_run_that_fell_far_below_the_others_is_marked_wherever_it_counts(tmp_path: Path) -> None:
    """Without predictions, the scores alone show it."""
    rng = np.random.default_rng(1)
    lines = ["source,target,seed,metric,value"]
    for source, level in (("", 0.6), ("a", 0.66), ("b", 0.6), ("c", 0.6), ("d", 0.6)):
        for seed in range(1, 9):
            fell = (source, seed) in {("", 3), ("b", 5), ("d", 1), ("d", 2)}
            lines.append(f"{source},mood,{seed},f1_macro,{(0.2 if fell else level) + rng.normal(0, 0.01):.4f}")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    done = only(from_file(tmp_path / "t.csv", registry()))
    scores = done.tables[0].scores
    assert scores["mood", "mood"].flagged == "collapsed in 1 of 8 seeds (3)"
    assert scores["d", "mood"].flagged == "collapsed in 2 of 8 seeds (1, 2)"
    assert scores["a", "mood"].flagged == ""
    table = tables_of(done)[0]
    assert "a run fell far below the other runs of its target" in table.details
    found = {pair.verdict.source: pair.verdict for pair in done.significance[0].pairs}
    assert {name: one.verdict for name, one in found.items()} == {
        "a": "helps", "b": "inconclusive", "c": "inconclusive", "d": "inconclusive",
    }  # fmt: skip
    assert (found["d"].n_seeds_transfer, found["d"].n_collapsed_transfer, found["d"].n_collapsed_baseline) == (6, 2, 1)
