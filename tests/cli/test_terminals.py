"""Whatever takes what is printed: a narrow terminal, a full disk, a closed stream or a reader who leaves."""

import csv
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from empslurm.cli import main
from empslurm.cli.printed import Cell, TextTable, folded, lines
from tests.inherited import RANKS
from tests.project import ROOT

MANY = "name: many\ntasks: [epitome_*, news_*, empdial_*]\nseeds: [1, 2, 3]\nbackbone: tiny\n"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """An empty folder with one manifest, of enough cells to fill a pipe."""
    (tmp_path / "many.yaml").write_text(MANY)
    return tmp_path


def shell(line: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a shell's line does in which EMPSLURM is the command; Python buffers its output, as it does for users."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONUNBUFFERED", "COLUMNS")}
    environment = {**inherited, "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **variables}
    command = line.replace("EMPSLURM", f"{sys.executable} -m empslurm")
    encoding = variables.get("PYTHONIOENCODING", "utf-8")
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, encoding=encoding, cwd=folder, env=environment, check=False
    )


# ---- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["data status", "--json data status", "plan many.yaml", "--help"])
def test_cli_pipe_head(here: Path, words: str) -> None:
    for _ in range(2):
        done = shell(f"EMPSLURM {words} | head -1 > /dev/null; echo ${{PIPESTATUS[0]}}", here)
        assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_reader_who_never_reads(here: Path) -> None:
    done = shell("EMPSLURM plan many.yaml | true; echo ${PIPESTATUS[0]}", here)
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.parametrize("words", ["data status", "--json data status", "--json plan many.yaml", "--help", "--version"])
def test_cli_full_stdout(here: Path, words: str) -> None:
    done = shell(f"EMPSLURM {words} > /dev/full", here)
    assert done.returncode == 1
    assert done.stderr.startswith("empslurm: standard output must be writable, but is not: No space left")
    assert len(done.stderr.splitlines()) == 1


def test_an_error_that_stdout_does_not_take_either(here: Path) -> None:
    done = shell("EMPSLURM --json plan nope.yaml > /dev/full", here)
    assert done.returncode == 1
    assert "standard output must be writable" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", ["2>&-", "2>&- >&-", "<&- 2>&- >&-", "2> /dev/full", "2>&- --json", "--no-such"])
def test_cli_closed_stderr(here: Path, closed: str) -> None:
    done = shell(f"EMPSLURM plan nope.yaml {closed}", here)
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("closed", [">&-", ">&- --json", "<&-", "2>&-", "2>/dev/full"])
def test_a_closed_stream_turns_no_exit_code(here: Path, closed: str) -> None:
    done = shell(f"EMPSLURM data status {closed}", here)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_stream_is_no_place_for_the_next_file(here: Path) -> None:
    """Without a null device in its place the next file that is opened would be stderr, and hold what is said there."""
    code = (
        "from empslurm.cli import output as o; o.open_closed_streams(); import os; print(os.open('file', os.O_CREAT))"
    )
    assert int(shell(f'{sys.executable} -c "{code}" 2>&- <&-', here).stdout) > 2


def test_work_goes_on_when_the_reader_of_stderr_leaves(here: Path) -> None:
    code = "from empslurm.cli.output import Output as O; o = O(json=False); [o.say('x' * 9_999) for _ in range(99)]"
    done = shell(f"{sys.executable} -c \"{code}; o.line('whole')\" 2> >(true)", here)
    assert (done.returncode, done.stdout) == (0, "whole\n")


# ---- environments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["", "0", "garbage", "²", "-5", "9" * 30, "1"])
def test_columns_that_are_no_width(here: Path, columns: str) -> None:
    done = shell("EMPSLURM data status", here, COLUMNS=columns)
    assert (done.returncode, done.stderr) == (0, "")
    assert max(len(line) for line in done.stdout.splitlines() if "─" in line) <= 80


@pytest.mark.parametrize(
    "variables",
    [
        {"TERM": "dumb", "NO_COLOR": "1"},
        {"LANG": "C", "LC_ALL": "C"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
    ids=lambda variables: "-".join(variables),
)
def test_a_terminal_of_any_kind(here: Path, published: Path, variables: dict[str, str]) -> None:
    for words in ("data status", f"gather --published --tables --out {published}"):
        done = shell(f"EMPSLURM {words}", here, **variables)
        assert (done.returncode, done.stderr) == (0, "")
        assert "\x1b" not in done.stdout


def test_colour_is_the_terminals_and_no_color_takes_it_away(here: Path) -> None:
    def on_terminal(**variables: str) -> bytes:
        leader, follower = pty.openpty()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **variables}
        subprocess.run(
            [sys.executable, "-m", "empslurm", "data", "status"],
            stdout=follower,
            cwd=here,
            env=environment,
            check=True,
        )
        os.close(follower)
        shown = os.read(leader, 100_000)
        os.close(leader)
        return shown

    assert b"\x1b[1m" in on_terminal()
    assert b"\x1b[3" not in on_terminal(NO_COLOR="1")


# ---- tables ----------------------------------------------------------------------------------------------------------

WORDS = st.text(alphabet=st.sampled_from(list("abcXYZ019.,-−→—感情ヒ한é \u0301")), max_size=60)
LONG = st.sampled_from(["x" * 300, "感" * 90, "Empathetic Dialogues EI", "−12.3 (0.4)", "one two " * 30])


@st.composite
def tables(draw: st.DrawFn) -> TextTable:
    n_columns = draw(st.integers(1, 20))
    n_labels = draw(st.integers(0, n_columns))
    texts = st.one_of(WORDS, LONG, st.sampled_from([".81", "—", ""]))
    row = st.tuples(*[texts.map(lambda text: Cell(text=text))] * n_columns)
    return TextTable(
        head=tuple(draw(st.lists(texts, min_size=n_columns, max_size=n_columns))),
        rows=tuple(draw(st.lists(row, max_size=4))),
        right=tuple(draw(st.lists(st.booleans(), min_size=n_columns, max_size=n_columns))),
        n_labels=n_labels,
    )


def put_together(table: TextTable, width: int) -> dict[tuple[int, int], str]:
    """Every text of a table (row -1: the head) from what was printed of it, without its spaces.

    Each row is printed under a style of its own place, so that pieces tell where they belong.
    """
    marked = TextTable(
        head=table.head,
        rows=tuple(
            tuple(Cell(text=cell.text, style=f"link {at},{place}") for place, cell in enumerate(row))
            for at, row in enumerate(table.rows)
        ),
        right=table.right,
        n_labels=table.n_labels,
    )
    found: dict[tuple[int, int], set[str]] = {}
    for part in split(list(lines(marked, width))):
        pieces: dict[tuple[int, int], str] = {}
        for line in part:
            for span in line.spans:
                if str(span.style).startswith("link "):
                    at, place = map(int, str(span.style).removeprefix("link ").split(","))
                    pieces[at, place] = pieces.get((at, place), "") + line.plain[span.start : span.end]
        for key, text in pieces.items():
            found.setdefault(key, set()).add("".join(text.split()))
    assert all(len(texts) == 1 for texts in found.values()), "a repeated label reads differently"
    return {key: texts.pop() for key, texts in found.items()}


def split(printed: list) -> Iterator[list]:  # type: ignore[type-arg]
    """The parts of a printed table: what stands from one rule to the next."""
    part: list = []  # type: ignore[type-arg]
    for line in printed:
        if set(line.plain.strip()) == {"─"}:
            yield part
            part = []
        part.append(line)
    yield part


@settings(deadline=None, max_examples=300)
@given(table=tables(), width=st.integers(40, 200))
def test_gather_table_cropped(table: TextTable, width: int) -> None:
    """No value of a table is lost at any width from 40 on, and no line is wider than the terminal."""
    printed = list(lines(table, width))
    assert max(cell_len(line.plain) for line in printed) <= width
    found = put_together(table, width)
    for at, row in enumerate(table.rows):
        for place, cell in enumerate(row):
            assert found.get((at, place), "") == "".join(cell.text.split())
    everything = "".join("".join(line.plain.split()) for line in printed)
    for name in table.head:
        for word in name.split():
            assert set(word) <= set(everything)


@settings(deadline=None, max_examples=100)
@given(table=tables(), width=st.integers(0, 39))
def test_nothing_crashes_on_a_terminal_that_is_too_narrow(table: TextTable, width: int) -> None:
    assert max(cell_len(line.plain) for line in lines(table, width)) <= max(width, 20)
    put_together(table, width)


@given(text=WORDS | LONG, width=st.integers(2, 50))
def test_folding_loses_nothing_but_spaces(text: str, width: int) -> None:
    found = folded(text, width)
    assert max(map(cell_len, found)) <= width
    assert "".join("".join(found).split()) == "".join(text.split())


def test_words_are_kept_whole_while_there_is_room() -> None:
    assert folded("one two three", 7) == ["one two", "three"]
    assert folded("感情の 言葉", 6) == ["感情の", "言葉"]
    assert folded("abcdefgh ij", 3) == ["abc", "def", "gh", "ij"]


def test_the_head_is_folded_and_whole() -> None:
    table = TextTable(
        head=("source", "x" * 90), rows=((Cell(text="a"), Cell(text="1")),), right=(False, True), n_labels=1
    )
    printed = [line.plain for line in lines(table, 40)]
    assert "".join(printed).count("x") == 90
    assert max(map(len, printed)) <= 40


def test_a_column_is_folded_before_the_last_one_stands_apart() -> None:
    """The baselines of four tasks lacked their last column at 80 columns: it stood below, as a table of its own."""
    head = ("target", "baseline", "95 % interval", "chance", "above chance", "seeds above it", "test examples")
    texts = ("News Empathy", "0.566", "0.433 to 0.660", "0.000", "yes", "3 of 3", "30")
    row = tuple(Cell(text=text) for text in texts)
    printed = [line.plain for line in lines(TextTable(head=head, rows=(row,), right=(False,) * 7), 80)]
    assert max(map(len, printed)) <= 80
    assert sum(set(line.strip()) == {"─"} for line in printed) == 1
    assert "0.433 to 0.660" in "\n".join(printed)


@pytest.mark.parametrize("width", [40, 57, 80, 120])
def test_every_value_of_the_papers_tables_is_printed(
    width: int, published: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 80 columns the sixth target of Table 7 was cropped to its name's first letters."""
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["gather", "--published", "--tables", "--out", str(published)]) == 0
    printed = capsys.readouterr().out.partition("Table 7: ")[2].partition("Sources are rows")[0].splitlines()[1:]
    shown = [word for line in printed for word in line.split() if word.startswith(".")]
    rows = list(csv.reader((published / "table7.csv").read_text().splitlines()))[1:]
    values = [value for row in rows for value in row[1:]]
    assert sorted(shown) == sorted(f"{float(value):.2f}".removeprefix("0") for value in values)
    assert max(map(len, printed)) <= width


def test_a_table_says_the_same_to_an_ascii_terminal(here: Path) -> None:
    done = shell("EMPSLURM data status", here, PYTHONIOENCODING="ascii")
    assert " ---" in done.stdout
    assert "\\u2500" not in done.stdout


def test_json_is_one_document_whatever_the_width(here: Path) -> None:
    done = shell("EMPSLURM --json data status", here, COLUMNS="5")
    assert json.loads(done.stdout)["datasets"]


def test_debug_inherited_world_size(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command is one process: what an outer launcher exported is taken away before any verb begins."""
    for name, value in RANKS.items():
        monkeypatch.setenv(name, value)
    assert main(["--data", str(here), "data", "status"]) == 0
    assert not RANKS.keys() & os.environ.keys()
