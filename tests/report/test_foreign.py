"""Somebody else's results: directions, settings, no baselines, and no word of a paper that the reader does not know."""

import re
from pathlib import Path

import pytest

from empslurm import reference
from empslurm.cli import main
from empslurm.gather import from_file
from empslurm.report import findings, settings
from empslurm.report.study import study
from empslurm.report.write import write
from empslurm.tasks import registry

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
    return study(gathered, group, ratings=())


@pytest.mark.parametrize(
    ("metric", "gain", "verdict"),
    [
        ("mae", 0.05, "harm"),
        ("mae", -0.05, "improvement"),
        ("accuracy", 0.05, "improvement"),
        ("pearson", -0.05, "harm"),
    ],
)
def test_gather_mae_direction(tmp_path: Path, metric: str, gain: float, verdict: str) -> None:
    """Verdict, percent, headline, bold mark and colour (its sign) of every metric go one way."""
    gathered = made(tmp_path, grid(metric, gain))
    done = only(gathered)
    pairs = done.significance[0].pairs
    assert {pair.verdict.verdict for pair in pairs} == {verdict}
    better = verdict == "improvement"
    assert all((pair.improvement.percent > 0) == better for pair in pairs)
    assert all(pair.improvement.low <= pair.improvement.percent <= pair.improvement.high for pair in pairs)
    assert all((pair.verdict.difference > 0) == (gain > 0) for pair in pairs)
    said = findings.headline(done)
    assert f"{2 * better} help, {2 * (not better)} harm" in said[0]
    assert f"{2 * better} of 2 pairs are" in said[-1]
    summary = write(gathered, tmp_path / "out", ratings=())
    scores, changes = summary.tables
    assert scores.rows[0][1].bold is not better  # the baseline, where the transfer is worse
    assert (changes.rows[0][2].raw > 0) == better


def test_gather_no_source_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, grid("f1_macro", 0.05, baseline="none"))
    assert main(["gather", "--results", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().out
    assert said.startswith("No target has a baseline, so no source can be said to help or to harm")
    assert "is `none` the baseline? then leave its source blank" in " ".join(said.split())
    rows = (tmp_path / "out" / "sources.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:3]] == [["aa", "bb"], ["aa", "none"]]
    assert "worse" in rows[2]
    assert not (tmp_path / "out" / "verdicts.csv").exists()


def test_some_targets_without_a_baseline_are_named(tmp_path: Path) -> None:
    rows = [row for row in grid("f1_macro", 0.05) if not row.startswith(",bb")]
    done = only(made(tmp_path, rows))
    assert done.lacking["baselines"] == "1 of 2 targets have none (bb), so no verdict either"
    assert [result.target for result in done.significance[0].results] == ["aa"]
    assert done.ranked == ()


def test_settings_are_compared_and_never_mixed(tmp_path: Path) -> None:
    tasks = ("aa", "bb", "cc")
    up, down = (grid("f1_macro", gain, tasks=tasks) for gain in (0.05, -0.05))
    rows = [*(f"{row},one" for row in up), *(f"{row},two" for row in down)]
    gathered = made(tmp_path, rows, HEAD + ",setting")
    studies = settings.named([study(gathered, group, ratings=()) for group in gathered.groups])
    found = settings.headline(studies)
    assert "of 6 pairs that two or more of them have, 6 help in one at least" in found[0]
    assert "0 in each that has them, 6 help in one and harm in another" in found[0]
    agreement = settings.agreements({name: settings.pairs_of(one) for name, one in studies.items()})
    assert [(one.n_shared, one.n_same_side, one.n_opposed) for one in agreement] == [(6, 0, 6)]
    summary = write(gathered, tmp_path / "out", ratings=())
    assert [table.name for table in summary.tables] == ["settings", "settings-agreement", "settings-pairs"]
    assert {"settings.csv", "one/verdicts.csv", "two/verdicts.csv"} <= set(summary.files)
    assert "Settings beside one another" in (tmp_path / "out" / "report.html").read_text()


WORDS = re.compile(r"frozen encoder|verified result|embed cells|fisher cells|Figure \d|Table \d|paper|empathy", re.I)


def test_foreign_results_are_told_without_the_paper(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gathered = made(tmp_path, grid("f1_macro", 0.05))
    out = tmp_path / "out"
    assert main(["gather", "--results", str(tmp_path / "t.csv"), "--out", str(out)]) == 0
    printed = capsys.readouterr().out.replace("table7", "").replace("figure6", "")
    assert WORDS.findall(printed) == []
    for path in out.rglob("*"):
        assert not path.name.startswith(("table2", "table3", "table5", "figure8"))
    body = re.sub(r"<(style|script)>.*?</\1>", "", (out / "report.html").read_text(), flags=re.S)
    text = re.sub(r"<[^>]+>", " ", body)
    assert WORDS.findall(text) == []
    assert gathered.n_done == 12


def test_results_of_the_papers_tasks_keep_its_names(tmp_path: Path) -> None:
    gathered = made(tmp_path, grid("f1_macro", 0.05, tasks=("epitome_er", "epitome_ex")))
    summary = write(gathered, tmp_path / "out", ratings=reference.ratings())
    assert {"table2.csv", "table5.csv"} <= set(summary.files)
    assert summary.tables[0].number == "Table 7"
