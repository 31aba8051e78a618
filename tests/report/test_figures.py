"""Figures look the same on every machine, whatever matplotlib settings its user has; no name or size breaks them."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from empslurm.report import figures, fonts, heat_maps
from empslurm.report.formats import Table, flat, number, text
from empslurm.report.heat_maps import HeatMap
from empslurm.report.marks import Marks
from empslurm.report.overview import MOST
from tests.project import ROOT

# Draws a figure in a fresh process, as `gather` does, and prints matplotlib's settings after it.
DRAW = """
import pathlib, sys
from tests.report.test_figures import grid
from empslurm.report import figures
figures.save(figures.draw(grid(2, 2)), pathlib.Path(sys.argv[1]), 'drawn')
"""


def grid(n_rows: int, n_columns: int, name: str = "figure7", row: str = "row", column: str = "column") -> Table:
    """A table of improvements."""
    values = [[(at - place) / 7 for place in range(n_columns)] for at in range(n_rows)]
    return flat(
        name=name,
        title="Percent improvement",
        caption="",
        columns={"source": "source", **{str(place): f"{column} {place}" for place in range(n_columns)}},
        rows=[
            (text(f"{row} {at}"), *(number(value, 1, signed=True) for value in line)) for at, line in enumerate(values)
        ],
    )


def drawn(folder: Path, **variables: str) -> bytes:
    """The SVG that a fresh process draws under these variables, saying nothing."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MPL")}
    environment |= {"PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run(
        [sys.executable, "-c", DRAW, str(folder)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return (folder / "drawn.svg").read_bytes()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The figure of a user without own settings."""
    return drawn(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_gather_mplbackend(tmp_path: Path, plain: bytes, backend: str) -> None:
    assert drawn(tmp_path, MPLBACKEND=backend) == plain


@pytest.mark.parametrize(
    "lines",
    [
        b"text.usetex: True\n",
        b"font.size: 30\nfont.family: serif\nfigure.dpi: 7\nsvg.fonttype: path\n",
        b"\xff\xfe: no",
    ],
    ids=["usetex", "style", "damaged"],
)
@pytest.mark.parametrize("where", ["MATPLOTLIBRC", "MPLCONFIGDIR", "here"])
def test_gather_matplotlibrc(tmp_path: Path, plain: bytes, where: str, lines: bytes) -> None:
    folder = tmp_path if where == "here" else tmp_path / "rc"
    folder.mkdir(exist_ok=True)
    (folder / "matplotlibrc").write_bytes(lines)
    assert drawn(tmp_path, **({} if where == "here" else {where: str(folder)})) == plain


@pytest.mark.parametrize(
    "variables",
    [{"MPLCONFIGDIR": "/proc/no/such"}, {"HOME": "/proc/none"}, {"PYTHONWARNINGS": "error"}],
    ids=lambda variables: next(iter(variables)),
)
def test_a_folder_of_settings_that_cannot_be_written(tmp_path: Path, plain: bytes, variables: dict[str, str]) -> None:
    assert drawn(tmp_path, **variables) == plain


def test_a_program_that_draws_for_itself_keeps_its_settings(tmp_path: Path) -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 31.0, "text.usetex": True}):
        figures.save(figures.draw(grid(2, 2)), tmp_path, "drawn")
        assert matplotlib.rcParams["font.size"] == 31.0
        assert matplotlib.rcParams["text.usetex"]
    assert (tmp_path / "drawn.png").stat().st_size > 1_000


def figure_of(table: Table) -> Any:
    """The figure of a table that has one."""
    figure = figures.draw(table)
    assert figure is not None
    return figure


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x" * 300, "感情" * 9, "a $b$ c_d %", "bad $\\frac$ {", "a\x07\x1bb\nc", "\udcff"])
def test_gather_glyphs_and_long_names(tmp_path: Path, name: str) -> None:
    """pytest turns warnings into errors: axes that collapse, or letters that are missing, would be one."""
    table = grid(2, 2, row=name, column=name)
    figure = figure_of(table)
    svg, png, pdf = figures.save(figure, tmp_path, "drawn")
    (axes,) = figure.axes[:1]
    assert min(axes.get_window_extent().width, axes.get_window_extent().height) > 50
    labels = [label.get_text() for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    assert len(labels) == 4
    assert all(len(label) <= fonts.LETTERS for label in labels)
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", svg.read_text())
    assert min(png.stat().st_size, pdf.stat().st_size) > 1_000
    assert max(figure.get_size_inches()) < 10


def test_a_long_name_keeps_both_its_ends() -> None:
    figure = figure_of(grid(1, 1, row="from " + "x" * 99 + " here"))
    (label,) = figure.axes[0].get_yticklabels()
    assert re.fullmatch(r"from x+…x+ here 0", label.get_text())


def test_letters_that_no_font_has_stay_text_in_the_svg_and_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fonts, "_fonts_for", lambda letters: {})
    table = grid(1, 2, column="感")
    svg, *_ = figures.save(figures.draw(table), tmp_path, "drawn")
    assert "感 0" in svg.read_text()
    note = figures.note(table)
    assert note.startswith("no font of this machine has some letters of figure7 (such as 感)")
    assert "SVG keeps them as text" in note
    assert figures.note(grid(1, 2)) == ""


def test_a_font_that_has_the_letters_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The alphabet of the usual font is staged to lack `c`; another one that is there has it."""
    known = fonts._letters_of
    monkeypatch.setattr(
        fonts, "_letters_of", lambda path: known(path) - ({"c"} if path.endswith("DejaVuSans.ttf") else set())
    )
    table = grid(1, 1)
    figure = figure_of(table)
    families = figure.axes[0].get_xticklabels()[0].get_fontfamily()
    assert families[0] == fonts.FONT
    assert len(families) == 2
    assert figures.note(table) == ""


# ---- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(MOST + 1, 3), (3, MOST + 1), (300, 300)])
@pytest.mark.parametrize("name", ["figure6", "figure7", "figure9", "figure10", "figure8"])
def test_a_table_too_large_to_be_read_is_not_drawn(name: str, shape: tuple[int, int]) -> None:
    table = grid(*shape, name=name)
    assert figures.draw(table) is None
    assert figures.why_not(table).startswith(f"a figure must have at most {MOST} rows and columns")
    assert f"{name}.csv has its numbers" in figures.why_not(table)
    assert figures.note(table) == ""


def test_the_papers_size_is_drawn_and_a_table_without_a_figure_needs_no_reason() -> None:
    figure = figure_of(grid(18, 18))
    width, height = figure.get_size_inches()
    assert 8 < width < 12
    assert 5 < height < 9
    assert figures.why_not(grid(18, 18)) == ""
    table = grid(300, 3, name="baselines")
    assert (figures.draw(table), figures.why_not(table), figures.note(table)) == (None, "", "")


@pytest.mark.parametrize("side", [2, 18, MOST])
def test_no_picture_has_more_dots_than_programs_open(side: int) -> None:
    width, height = heat_maps.size_of((side, side), left=3.0, below=3.0)
    figure = heat_maps.blank_figure(width, height)
    assert max(width, height) * figures._dpi(figure) <= figures.PIXELS
    assert figures._dpi(figure) >= 100


# ---- what a figure says ----------------------------------------------------------------------------------------------

VERDICTS = {
    ("a", "0"): "helps",
    ("a", "1"): "harms",
    ("b", "0"): "undecided",
    ("b", "1"): "inconclusive",
    ("c", "1"): "equivalent",
}


def marked(folder: Path, verdicts: dict[tuple[str, str], str], sources: tuple[str, ...] = ("a", "b", "c")) -> str:
    """The text of the SVG of a map with these verdicts; its targets are 0 and 1."""
    figure = figures.draw(grid(len(sources), 2, name="figure6"), Marks(verdicts=verdicts, sources=sources))
    svg, *_ = figures.save(figure, folder, "drawn")
    return " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg.read_text(encoding="utf-8")))


def test_a_figure_has_axis_titles_a_named_colour_bar_and_no_number(tmp_path: Path) -> None:
    said = marked(tmp_path, {})
    assert "Percent improvement" in said
    assert "Figure" not in said
    for words in ("source", "target", "change in % of the baseline", "(better)", "(worse)"):
        assert words in said


def test_verdicts_are_marks_and_the_legend_names_those_that_occur(tmp_path: Path) -> None:
    said = marked(tmp_path, VERDICTS)
    assert (said.count("▲"), said.count("▼"), said.count("=")) == (2, 2, 2)  # once in a cell, once in the legend
    for words in ("▲ helps", "▼ harms", "= equivalent", "undecided", "inconclusive"):
        assert words in said
    assert "harms" not in marked(tmp_path, {("a", "0"): "helps"})


def test_pairs_that_are_all_undecided_are_not_hatched_but_told(tmp_path: Path) -> None:
    said = marked(tmp_path, dict.fromkeys(VERDICTS, "undecided"))
    assert "all pairs are undecided" in said


def test_the_diagonal_is_told_from_what_is_missing(tmp_path: Path) -> None:
    said = marked(tmp_path, {}, sources=("0", "b"))
    assert "source = target" in said
    assert "no result" not in said
    assert "source = target" not in marked(tmp_path, {})


def test_changes_beyond_the_scale_are_named_in_the_colour_bar(tmp_path: Path) -> None:
    assert heat_maps.ends(35.0, clipped=True)[35.0] == "+35 or more\n(better)"
    assert heat_maps.ends(0.05, clipped=False)[-0.05] == "−0.05\n(worse)"
    assert [heat_maps.rounded(value) for value in (34.2, 35.0, 0.0123, 0.0, 120.0)] == [35.0, 35.0, 0.013, 1.0, 120.0]
    table = grid(30, 30)
    (bar,) = figure_of(table).axes[1:]
    assert [label.get_text() for label in bar.get_yticklabels()][-1].startswith("+")
    assert "or more" in bar.get_yticklabels()[-1].get_text()


def test_faded_cells_are_whiter_and_missing_ones_blank() -> None:
    chart = HeatMap(
        title="",
        rows=("a", "b"),
        columns=("0", "1"),
        row_title="source",
        column_title="target",
        values=np.array([[1.0, 1.0], [np.nan, np.nan]]),
        texts={},
        colours=figures.DIVERGING,
        low=-1,
        high=1,
        bar="",
        faded=frozenset({(0, 1)}),
        diagonal=frozenset({(1, 1)}),
        blank=True,
    )
    colours = heat_maps._cell_colours(chart)
    assert colours[0, 1].sum() > colours[0, 0].sum()
    assert colours[1, 0].tolist() == [1, 1, 1, 1]
    assert chart.missing == {(1, 0)}
    assert 0.9 < colours[1, 1, 0] < 1


def test_equal_figures_give_equal_files_and_text_stays_text(tmp_path: Path) -> None:
    one, two = (tmp_path / name for name in ("one", "two"))
    for folder in (one, two):
        folder.mkdir()
        figures.save(figures.draw(grid(2, 2)), folder, "drawn")
    for ending in ("svg", "pdf"):
        assert (one / f"drawn.{ending}").read_bytes() == (two / f"drawn.{ending}").read_bytes()
    pdf = (one / "drawn.pdf").read_bytes()
    assert b"/CreationDate" not in pdf
    assert b"/Type3" not in pdf
