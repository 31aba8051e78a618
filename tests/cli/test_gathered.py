"""What `gather` says in a terminal: the answer in one screen, tables where they are asked for, nothing cut off."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from empslurm import reference
from empslurm.cli import main
from empslurm.cli.gathered import MOST_FAILED, MOST_PAIRS, say
from empslurm.cli.output import Output
from empslurm.gather import Missing, gather
from empslurm.report.gaps import all_gaps
from empslurm.report.write import write
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from tests.gather.grids import finish, grid

FOUR = ("epitome_er", "epitome_ip", "news_empathy", "empdial_ei")
HEAD = "source,target,seed,metric,value"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> RunsRoot:
    """Four tasks, all pairs and two seeds."""
    root = RunsRoot(tmp_path_factory.mktemp("four") / "runs")
    for cell in grid(FOUR, seeds=(1, 2)):
        finish(root, cell, skill=0.9 if cell.source_task == "epitome_ip" else 0.5)
    return root


def words(root: RunsRoot, *more: str) -> list[str]:
    return ["--runs", str(root.path), "--data", str(root.path / "nothing"), "gather", *more]


def results(folder: Path, n_targets: int, gain: float = 0.1, settings: Sequence[str] = ("",)) -> list[str]:
    """A table of results, one source, and the command that gathers it."""
    rows = [
        f"{source},t{target:02},{seed},accuracy,{0.5 + (gain if source else 0) + 0.001 * seed * (2 if source else 1)}"
        + f",{setting}"
        for setting in settings
        for target in range(n_targets)
        for source in ("", "x")
        for seed in (1, 2, 3)
    ]
    (folder / "t.csv").write_text("\n".join([f"{HEAD},setting", *rows]) + "\n")
    return ["gather", "--results", str(folder / "t.csv"), "--out", str(folder / "out")]


def test_the_answer_is_first_the_page_last_and_all_is_one_screen(
    root: RunsRoot, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(words(root)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Of 12 pairs, ")
    assert lines[-1] == str(root.gathered / "all" / "report.html")
    assert len(lines) <= 36, "\n".join(lines)
    rows = [line for line in lines if "±" in line and "alone" not in line and "half" not in line]
    assert len(rows) == len(FOUR)
    assert "alone -> with" in lines[2]
    said = " ".join(" ".join(lines).split())
    assert "32 cells have a verified result; 0 are missing" in said
    assert "--tables prints the main tables here; all are files in" in said
    assert "Power: " in said
    assert "Table 7: " not in said


def test_tables_are_printed_where_they_are_asked_for(root: RunsRoot, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(root, "--tables")) == 0
    said = capsys.readouterr().out
    assert said.startswith("Of 12 pairs, ")
    folder = root.gathered / "all"
    assert said.splitlines()[-1] == str(folder / "report.html")
    for part in (
        "Table 7: ",
        "Figure 6: ",
        "Baselines against chance",
        "Does the source help?",
        "How many more seeds?",
    ):
        assert part in said
    assert "missing: Figure 10: " in said
    assert f"{folder}/*.{{csv,md,tex}}:" in said
    verdicts = said.partition("Does the source help?")[2].partition("How many more seeds?")[0].split()
    assert "target" in verdicts
    assert "paper's" not in verdicts[: verdicts.index("Epitome")]  # the main columns alone


@pytest.mark.parametrize("width", [20, 60, 80, 100, 200])
@pytest.mark.parametrize("more", [(), ("--tables",)])
def test_nothing_is_wider_than_the_terminal(
    published: Path,
    root: RunsRoot,
    width: int,
    more: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only paths are: they can be copied."""
    monkeypatch.setenv("COLUMNS", str(width))
    for command in (["gather", "--published", "--out", str(published)], words(root)):
        assert main([*command, *more]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line for line in lines if cell_len(line) > width and "/" not in line] == []


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_column_of_the_main_tables_is_cut_off(
    published: Path, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["gather", "--published", "--tables", "--out", str(published)]) == 0
    said = capsys.readouterr().out
    for number, digits in (("Table 7", 2), ("Table 8", 2), ("Figure 6", 1), ("Figure 7", 1)):
        name = number.lower().replace(" ", "")
        shown = said.partition(f"{number}: ")[2].split()
        rows = list(csv.reader((published / f"{name}.csv").read_text().splitlines()))[1:]
        values = [f"{abs(float(value)):.{digits}f}" for row in rows for value in row[1:] if value]
        for value in {value.removeprefix("0") if digits == 2 else value for value in values}:
            assert any(word.lstrip("+−") == value for word in shown), (name, value)


def test_many_targets_and_harms_are_counted_not_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = results(tmp_path, 30, gain=-0.1)
    assert main(command) == 0
    said = capsys.readouterr().out
    assert said.count(" -> ") == 20 + 1  # and the head
    assert "10 more targets: verdicts.csv has all." in said
    harms = " ".join(said.partition("Harm: ")[2].split())
    assert harms.startswith("x on t00 (−.")
    assert f"; and {30 - MOST_PAIRS} more in verdicts.csv" in harms
    assert main([*command, "--tables"]) == 0
    said = capsys.readouterr().out
    assert said.count(" -> ") == 30 + 1
    assert "x on t29" in " ".join(said.split())


@pytest.mark.parametrize(("n_sources", "shown"), [(1, 0), (2, 2), (7, MOST_PAIRS)])
def test_pairs_that_help_are_named_unless_the_table_has_all(
    tmp_path: Path, n_sources: int, shown: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        f"{f's{at}' if at else ''},aa,{seed},accuracy,{0.5 + 0.05 * at + 0.001 * (seed if at % 2 else -seed)}"
        for at in range(n_sources + 1)
        for seed in (1, 2, 3)
    ]
    (tmp_path / "t.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    assert main(["gather", "--results", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out")]) == 0
    helps = " ".join(capsys.readouterr().out.partition("Help: ")[2].partition("\n\n")[0].split())
    assert helps.count(" on aa (+.") == shown
    if shown:
        assert helps.startswith(f"s{n_sources} on aa (+.")  # the largest change first
    assert ("; and 2 more in verdicts.csv" in helps) == (n_sources > MOST_PAIRS)


def test_settings_are_named_and_share_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"model{at}" for at in range(8)]
    command = results(tmp_path, 10, settings=names)
    assert main(command) == 0
    said = capsys.readouterr().out
    flat = " ".join(said.split())
    assert flat.startswith("Of 10 pairs compared on at least two of 8 settings, 10 help on every one that has them")
    for name in names[:6]:
        assert flat.count(f"{name}: Of 10 pairs, 10 help") == 1
    assert "model6: Of 10 pairs" not in flat
    assert said.count("7 more targets:") == 6
    assert "... and 2 more settings or amounts of data: the page has all" in flat


def test_cells_that_failed_are_named_with_their_reasons(
    root: RunsRoot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gathered = gather(root, None, registry())
    given = [("failed", f"OutOfMemoryError: trace\n  line\nno memory on node {at}") for at in range(6)]
    given += [("refused", "predictions.parquet must match its checksum"), ("pending", "never started")]
    missing = tuple(
        Missing(
            id=f"cell-{at}",
            kind="baseline",
            source=None,
            target="hope",
            seed=1,
            fraction=1.0,
            state=state,
            why=why,
            backbone="mpnet" if state == "failed" else "",
        )
        for at, (state, why) in enumerate(given)
    )
    gathered = replace(gathered, missing=missing, n_planned=40)
    written = write(gathered, tmp_path / "out", ratings=reference.ratings())
    say(gathered, tmp_path / "out", written, Output(json=False), tables=False)
    said = " ".join(capsys.readouterr().out.split())
    assert "32 of 40 cells have a verified result; 8 are missing: 6 failed, 1 refused, 1 pending; --tables" in said
    assert "refused: cell-6: predictions.parquet must match its checksum" in said
    assert "failed: cell-0: OutOfMemoryError: no memory on node 0" in said
    assert said.count("OutOfMemoryError") == MOST_FAILED - 1
    assert "... and 2 more refused or failed" in said
    assert "No table has mpnet: its 6 cells are missing." in said
    assert any(gap.what == "6 failed baseline cells on mpnet" for gap in all_gaps(gathered, []))
    there = (replace(gathered.groups[0], setting={"setting": "mpnet"}),)
    say(replace(gathered, groups=there), tmp_path / "out", written, Output(json=False), tables=False)
    assert "No table has" not in capsys.readouterr().out
    assert "cell-7" not in said
    say(gathered, tmp_path / "out", written, Output(json=False), tables=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "cell-7 never started" in said
    assert "pending: 1 cells" in said


def test_an_empty_root_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = RunsRoot(tmp_path / "runs")
    root.path.mkdir()
    assert main(words(root)) == 0
    assert capsys.readouterr().out.startswith("No cell has a result yet.\n")


def test_programs_get_the_best_sources_and_the_counts(root: RunsRoot, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(root, "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    (verdicts,) = found["verdicts"]
    assert (verdicts["group"], verdicts["fraction"], sum(verdicts["counts"].values())) == ("", 1.0, 12)
    assert {row["target"] for row in found["best_sources"]} == set(FOUR)
    rows = {
        (row["source"], row["target"]): row
        for row in csv.DictReader((root.gathered / "all" / "verdicts.csv").read_text().splitlines())
    }
    for row in found["best_sources"]:
        same = rows[row["source_title"], row["target_title"]]
        assert row["verdict"] == same["verdict"]
        for name, column in (("baseline", "baseline"), ("score", "transfer"), ("low", "low"), ("high", "high")):
            assert row[name] == pytest.approx(float(same[column]))
    assert found["cautions"][0]["text"].startswith("Data that empslurm has no record of: ")


def test_a_pipe_gets_what_a_terminal_gets_without_colours(
    root: RunsRoot, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert main(words(root)) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert max(cell_len(line) for line in said.splitlines() if "/" not in line) <= 80
