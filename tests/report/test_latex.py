"""Tables as LaTeX: they compile in a paper, are at most eight columns wide, and hold any name."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from empslurm.gather import published
from empslurm.report.analyses import analyse, tables_of
from empslurm.report.formats import Entry, Table, flat, number, text
from empslurm.report.latex import LATIN, OF_T1, SIGNS, latex, to_latex
from empslurm.tasks import registry

HOSTILE = (
    *("a_b", "50%", "$x$", "<img>", "#1", "~", "^", "\\foo", "|", '"', "[x]", "*", "&", "{", "}", "`", "--", "''"),
    *("≈ ∞ ▲ ▼ × · – “x” ≤ ≥ ² ±", "Ærø, naïve, Łódź", "tab\there", "line\nend", "\x07", "?`"),
)


def wide(n_columns: int, n_rows: int = 2, **more: object) -> Table:
    """One label and numbers."""
    names = ["source", *(f"t{at}" for at in range(n_columns))]
    rows = [(text(f"s{at}"), *(number(at + column / 8) for column in range(n_columns))) for at in range(n_rows)]
    table = flat(
        name="wide", title="Scores", caption="Higher is better.", columns={name: name for name in names}, rows=rows
    )
    return replace(table, **more)  # type: ignore[arg-type]


def widths(tex: str) -> list[int]:
    """Columns of every tabular or longtable."""
    specs = re.findall(r"\\begin\{(?:tabular|longtable)\}\{((?:[lr]|p\{[^}]*\})*)\}", tex)
    return [len(re.sub(r"p\{[^}]*\}", "p", spec)) for spec in specs]


def test_a_wide_table_is_several_of_at_most_eight_columns_with_labels_repeated():
    tex = to_latex(wide(18))
    assert widths(tex) == [7, 7, 7]
    assert re.findall(r"\\label\{(.*?)\}", tex) == ["tab:wide-1", "tab:wide-2", "tab:wide-3"]
    for at in (1, 2, 3):
        assert rf"\textbf{{Scores (part {at} of 3).}}" in tex
    assert tex.count("s0 & ") == 3
    assert all(f"t{at}" in tex for at in range(18))
    assert tex.count("Higher is better.") == 1


@pytest.mark.parametrize(("n", "parts"), [(7, [8]), (8, [5, 5]), (1, [2])])
def test_eight_columns_are_not_split(n, parts):
    assert widths(to_latex(wide(n))) == parts


def test_main_columns_alone_are_printed():
    tex = to_latex(wide(18, main=("source", "t3", "t11")))
    assert widths(tex) == [3]
    assert "source & t3 & t11 \\\\" in tex
    assert "part" not in tex


def test_details_stand_below_the_numbers_in_small_letters_and_not_in_the_caption():
    tex = to_latex(wide(2, details="One seed."))
    (caption,) = re.findall(r"\\caption\{.*", tex)
    assert "One seed." not in caption
    assert r"{\footnotesize One seed.\par}" in tex
    assert tex.index(r"\end{tabular}") < tex.index("One seed.")


def test_a_long_table_goes_over_pages_with_its_head():
    tex = to_latex(wide(2, n_rows=46))
    assert tex.startswith(r"% needs \usepackage{booktabs}, \usepackage{longtable}")
    assert tex.count("source & t0 & t1") == 2
    assert r"\endhead" in tex
    assert "longtable" not in to_latex(wide(2, n_rows=45))


def test_no_number_of_the_paper_is_printed():
    assert "Table 7" not in to_latex(wide(2, number="Table 7"))


def test_long_texts_break_their_lines_and_wide_tables_have_smaller_letters():
    table = wide(5)
    rows = tuple((*row[:-1], text("word " * 20)) for row in table.rows)
    assert re.search(r"\{lrrrrp\{0\.\d\d\\linewidth\}\}", to_latex(replace(table, rows=rows)))
    assert r"\small" in to_latex(wide(5))
    names = tuple(f"column {at} of many" for at in range(6))
    assert r"\scriptsize" in to_latex(replace(table, head=(names,)))


def test_a_question_ends_without_a_stop():
    assert r"\textbf{Does it help?} Higher" in to_latex(wide(1, title="Does it help?"))


def test_letters_that_pdflatex_lacks_are_told_in_the_first_line():
    (first, *_) = to_latex(wide(1, title="感情")).splitlines()
    assert "use LuaLaTeX or XeLaTeX" in first
    assert "LuaLaTeX" not in to_latex(wide(1, title="Ærø ≈ Łódź ▲"))
    assert r"\usepackage[T1]{fontenc}" in to_latex(wide(1, title="Ðorđe"))


def test_signs_and_pairs_that_latex_would_change_are_kept_apart():
    assert latex("a--b") == "a-{}-b"
    assert latex("a—b – c") == "a---b -- c"
    assert latex("<|>") == r"\textless{}\textbar{}\textgreater{}"
    assert latex("a\tb\x07c\u200dd") == "a b?cd"


@pytest.fixture(scope="module")
def pdflatex() -> str:
    path = shutil.which("pdflatex")
    if path is None:
        pytest.skip("pdflatex is not here: LaTeX is not compiled")
    return path


def compiled(program: str, folder: Path, tables: list[Table]) -> None:
    """Compile an article with these tables and the packages that they name; what fails is in the message."""
    packages: dict[str, None] = {}
    for at, table in enumerate(tables):
        tex = to_latex(table)
        (folder / f"{at}.tex").write_text(tex, encoding="utf-8")
        packages |= dict.fromkeys(re.findall(r"\\usepackage(?:\[T1\])?\{\w+\}", tex.splitlines()[0]))
    body = "\n".join(rf"\input{{{at}}}\clearpage" for at in range(len(tables)))
    article = rf"\documentclass{{article}}{''.join(packages)}\begin{{document}}{body}\end{{document}}"
    (folder / "article.tex").write_text(article)
    command = [program, "-interaction=nonstopmode", "-halt-on-error", "-file-line-error", "article.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-1500:]
    assert "multiply defined" not in done.stdout
    assert "Missing character" not in (folder / "article.log").read_text(errors="replace")


@pytest.mark.heavy
def test_hostile_names_compile(tmp_path, pdflatex):
    rows = [
        (text(name), Entry(text=name, bold=True, underlined=True), number(at / 7)) for at, name in enumerate(HOSTILE)
    ]
    columns = {"a": "\\foo_", "b": "50% | <b>", "c": "#1"}
    table = flat(name="a b%_#", title=" ".join(HOSTILE), caption=" ".join(HOSTILE), columns=columns, rows=rows)
    letters = [(text(f"{letter} {letter}x"), text("")) for letter in sorted(LATIN | OF_T1 | {*SIGNS})]
    all_letters = flat(name="letters", title="Letters", caption="", columns={"a": "a", "b": "b"}, rows=letters)
    compiled(pdflatex, tmp_path, [replace(table, details=" ".join(HOSTILE)), all_letters, wide(18, n_rows=60)])


@pytest.mark.heavy
def test_every_table_of_the_published_results_compiles(tmp_path, pdflatex):
    gathered = published(registry())
    tables = tables_of(analyse(gathered, gathered.groups[0], ratings=()))
    assert len(tables) > 5
    assert max(width for table in tables for width in widths(to_latex(table))) <= 8
    compiled(pdflatex, tmp_path, list(tables))
