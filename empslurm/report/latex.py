"""Tables as LaTeX that an article can \\input, whatever characters their names contain."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from empslurm.report.formats import Entry, Table

MOST_COLUMNS = 8  # per tabular
MOST_ROWS = 45  # of a table that fits on one page
LONG_TEXT = 40  # letters: columns with longer entries break lines
SIZES = {"small": 75, "footnotesize": 82, "scriptsize": 90}  # letters that fit on a line of an article
GAP = 1.4  # letters between columns

SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\texttt{\char34}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after \\ it would open the length of a gap
    "*": "{*}",  # after \\ it would forbid a page break
}
PUNCTUATION = {
    "—": "---",
    "–": "--",
    "‒": "--",
    "‐": "-",
    "‑": "-",
    "“": "``",
    "”": "''",
    "„": ",,",
    "‘": "`",
    "’": "'",
    "‚": ",",
    "…": r"\dots{}",
    "•": r"\textbullet{}",
    "†": r"\textsuperscript{\textdagger}",
    "‡": r"\textsuperscript{\textdaggerdbl}",
    "§": r"\S{}",
    "¶": r"\P{}",
    "¡": "!`",
    "¿": "?`",
    "°": r"\textdegree{}",
    "€": r"\texteuro{}",
    "£": r"\pounds{}",
    "™": r"\texttrademark{}",
    "©": r"\copyright{}",
    "½": r"\textonehalf{}",
    "¼": r"\textonequarter{}",
    "¾": r"\textthreequarters{}",
    "ª": r"\textsuperscript{a}",
    "º": r"\textsuperscript{o}",
    "⁰": r"\textsuperscript{0}",
    "¹": r"\textsuperscript{1}",
    "²": r"\textsuperscript{2}",
    "³": r"\textsuperscript{3}",
    "₀": r"$_0$",
    "₁": r"$_1$",
    "₂": r"$_2$",
    "\u00a0": "~",
    "\u2009": r"\,",
    "\u202f": r"\,",
}
MATHS = {
    "±": "pm",
    "−": "-",
    "×": "times",
    "÷": "div",
    "·": "cdot",
    "∙": "cdot",
    "≈": "approx",
    "≠": "neq",
    "≡": "equiv",
    "≤": "leq",
    "≥": "geq",
    "≪": "ll",
    "≫": "gg",
    "«": "ll",
    "»": "gg",
    "¬": "neg",
    "∞": "infty",
    "∝": "propto",
    "∅": "emptyset",
    "∈": "in",
    "√": "surd",
    "✓": "surd",
    "✗": "times",
    "∑": "Sigma",
    "Σ": "Sigma",
    "∆": "Delta",
    "Δ": "Delta",
    "→": "rightarrow",
    "←": "leftarrow",
    "↔": "leftrightarrow",
    "⇒": "Rightarrow",
    "↑": "uparrow",
    "↓": "downarrow",
    "▲": "bigtriangleup",
    "△": "bigtriangleup",
    "▼": "bigtriangledown",
    "▽": "bigtriangledown",
    "●": "bullet",
    "○": "circ",
    "µ": "mu",
    **{
        letter: unicodedata.name(letter).rsplit(" ", 1)[1].lower().replace("lamda", "lambda")
        for letter in "αβγδεζηθικλμνξπρστυφχψω"
    },
}
SIGNS = SPECIAL | PUNCTUATION | {sign: f"${name}$" if name == "-" else rf"$\{name}$" for sign, name in MATHS.items()}
LIGATURES = "-',"  # two in a row would be printed as one other character
TEXTCOMP = re.compile(r"\\text(asciigrave|degree|euro|trademark|one|three)")
# Letters that pdfLaTeX prints in every font encoding, and those that need T1.
LATIN = frozenset(map(chr, [*range(0xC0, 0x180), *range(0x218, 0x21C)])) - frozenset("×÷ÐðÞþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ")
OF_T1 = frozenset("ÐðÞþĄąĐđĘęĮįŊŋŲų")


def latex(value: str) -> str:
    """`value` as LaTeX markup; letters that pdfLaTeX cannot print stay as they are (`_needs` names the first)."""
    letters = unicodedata.normalize("NFC", value)
    markup = [SIGNS.get(letter) or _letter(letter) for letter in letters]
    for at, (before, letter) in enumerate(pairwise(letters), 1):
        if before == letter and letter in LIGATURES:
            markup[at] = "{}" + markup[at]
    return "".join(markup)


def _letter(letter: str) -> str:
    """A space for tabs and line ends, "" for other invisible characters, ? for invalid ones, else the letter."""
    category = unicodedata.category(letter)
    if letter in "\t\n\r\v\f" or category in ("Zs", "Zl", "Zp"):
        return " "
    return {"Cc": "?", "Cs": "?", "Cf": "", "Cn": "?"}.get(category, letter)


def to_latex(table: Table) -> str:
    """One or more booktabs tables of at most eight columns; long tables run over several pages."""
    parts = _parts(table)
    tables = [_table(table, columns, at, len(parts)) for at, columns in enumerate(parts)]
    body = "\n".join(tables)
    return f"% {_needs(body)}\n{body}"


def _parts(table: Table) -> list[tuple[int, ...]]:
    """The columns of each table: the main ones, or all of them in parts of equal size, each with the labels."""
    columns = tuple(table.columns.index(name) for name in table.main if name in table.columns)
    columns = columns or tuple(range(len(table.columns)))
    labels = tuple(column for column in columns if column < table.n_labels)
    others = tuple(column for column in columns if column >= table.n_labels)
    room = max(1, MOST_COLUMNS - len(labels))
    if len(others) <= room:
        return [(*labels, *others)]
    n_parts = math.ceil(len(others) / room)
    size = math.ceil(len(others) / n_parts)
    return [(*labels, *others[start : start + size]) for start in range(0, len(others), size)]


def _table(table: Table, columns: Sequence[int], at: int, n_parts: int) -> str:
    """Part `at` (from 0) of a table. The first part has the caption, the last the details."""
    title = table.title + (f" (part {at + 1} of {n_parts})" if n_parts > 1 else "")
    stop = "" if title.endswith((".", "?", "!")) else "."
    caption = rf"\textbf{{{latex(title)}{stop}}}" + (f" {latex(table.caption)}" if at == 0 and table.caption else "")
    label = "tab:" + re.sub(r"[^A-Za-z0-9:.+_-]", "-", table.name) + (f"-{at + 1}" if n_parts > 1 else "")
    below = rf"{{\footnotesize {latex(table.details)}\par}}" if table.details and at == n_parts - 1 else ""
    size, specs = _layout(table, columns)
    head = [_head([line[column] for column in columns], merge=line is not table.head[-1]) for line in table.head]
    rows = [" & ".join(_entry(row[column]) for column in columns) + r" \\" for row in table.rows]
    fill = _long if len(rows) > MOST_ROWS else _floating
    return "\n".join(fill(size, specs, head, rows, rf"\caption{{{caption}}}", rf"\label{{{label}}}", below)) + "\n"


def _floating(
    size: str, specs: list[str], head: list[str], rows: list[str], caption: str, label: str, below: str
) -> list[str]:
    opening = [r"\begin{table*}", r"\centering", size, rf"\begin{{tabular}}{{{''.join(specs)}}}", r"\toprule"]
    after = [r"\par\smallskip", below] if below else []
    closing = [r"\bottomrule", r"\end{tabular}", *after, caption, label, r"\end{table*}"]
    return [*opening, *head, r"\midrule", *rows, *closing]


def _long(
    size: str, specs: list[str], head: list[str], rows: list[str], caption: str, label: str, below: str
) -> list[str]:
    """A table over several pages, with its head on each page."""
    opening = [rf"\begingroup{size}", rf"\begin{{longtable}}{{{''.join(specs)}}}", caption + label + r" \\"]
    headed = [r"\toprule", *head, r"\midrule"]
    goes_on = rf"\midrule \multicolumn{{{len(specs)}}}{{r}}{{continued on the next page}} \\"
    foot = [r"\endfirsthead", *headed, r"\endhead", goes_on, r"\endfoot", r"\bottomrule", r"\endlastfoot"]
    return [*opening, *headed, *foot, *rows, r"\end{longtable}", r"\endgroup", *([below] if below else [])]


def _layout(table: Table, columns: Sequence[int]) -> tuple[str, list[str]]:
    """The font size at which the columns fit on a line, and the column types: labels left, numbers right.

    Columns with long texts break lines and share the width that the others leave.
    """
    widths = [
        max(len(text) for text in (table.head[-1][column], *(row[column].text for row in table.rows)))
        for column in columns
    ]
    fixed = sum(width for width in widths if width <= LONG_TEXT) + GAP * len(columns)
    n_long = sum(width > LONG_TEXT for width in widths)
    needed = fixed + n_long * LONG_TEXT / 2
    size = next((name for name, room in SIZES.items() if needed <= room), [*SIZES][-1])
    share = max(0.15, 0.97 - fixed / SIZES[size]) / max(1, n_long)
    specs = [
        rf"p{{{share:.2f}\linewidth}}" if width > LONG_TEXT else "l" if column < table.n_labels else "r"
        for column, width in zip(columns, widths, strict=True)
    ]
    return rf"\{size}\setlength{{\tabcolsep}}{{3pt}}", specs


def _entry(entry: Entry) -> str:
    markup = latex(entry.text)
    if entry.underlined:
        markup = rf"\underline{{{markup}}}"
    return rf"\textbf{{{markup}}}" if entry.bold else markup


def _head(line: Sequence[str], *, merge: bool) -> str:
    parts: list[tuple[str, int]] = []
    for name in line:
        if merge and parts and name and parts[-1][0] == name:
            parts[-1] = (name, parts[-1][1] + 1)
        else:
            parts.append((name, 1))
    cells = [rf"\multicolumn{{{n}}}{{c}}{{{latex(name)}}}" if n > 1 else latex(name) for name, n in parts]
    return " & ".join(cells) + r" \\"


def _needs(body: str) -> str:
    """The packages that a document needs for this table, and the LaTeX engine where pdfLaTeX will not do."""
    letters = {letter for letter in body if not letter.isascii()}
    packages = ["booktabs"]
    packages += ["longtable"] if r"\begin{longtable}" in body else []
    packages += ["textcomp"] if TEXTCOMP.search(body) else []
    needed = "needs " + ", ".join(rf"\usepackage{{{name}}}" for name in packages)
    if letters & OF_T1:
        needed += r", \usepackage[T1]{fontenc}"
    if r"\begin{longtable}" in body:
        needed += "; longtable needs a one-column page (\\onecolumn)"
    others = sorted(letters - LATIN - OF_T1)
    if others:
        needed += f"; use LuaLaTeX or XeLaTeX with a font that has its letters: pdfLaTeX cannot print {others[0]}"
    return needed
