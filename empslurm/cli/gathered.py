"""What `gather` says to people: the answer first, in about one screen; tables and lists where they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from empslurm.cli.output import Output
from empslurm.cli.printed import Cell, TextTable

if TYPE_CHECKING:
    from empslurm.gather import Gathered, Missing
    from empslurm.report.answer import Answer, Change
    from empslurm.report.formats import Entry, Table
    from empslurm.report.summary import Summary

MOST_ANSWERS = 6  # groups and data fractions
MOST_TARGETS = 20  # of all answers together
FEWEST_TARGETS = 3  # of one answer
MOST_PAIRS = 5  # that help, and that harm, of one answer
MOST_SENTENCES = 12  # beside the answers
MOST_NAMED = 4  # analyses that could not be made
MOST_FAILED = 5  # cells that are named with their reasons
FAILED = ("refused", "disagrees", "failed", "lost")  # states of cells that somebody must look at
LONGEST = 200  # characters of a reason
SHOWN_MISSING = 12  # of one state, where tables are asked for; the file has all


def say(gathered: Gathered, folder: Path, written: Summary, out: Output, *, tables: bool) -> None:
    """Print the answer, the warnings, what is missing, and last the path of the page. `tables`: print everything."""
    _sentences(written.opening, out)
    for answer in written.answers if tables else written.answers[:MOST_ANSWERS]:
        _answer(answer, out, most=_share(written), whole=tables)
    if not written.answers and gathered.origin != "results":
        out.paragraph("No cell has a result yet.")
    _left_out(len(written.answers) - MOST_ANSWERS, "settings or amounts of data", out, said=not tables)
    out.line()
    _beware(written, out, whole=tables)
    out.line()
    if tables:
        from empslurm.report.formats import main_columns

        for table in written.tables:
            show(main_columns(table), out)
        for name in written.too_large:
            out.paragraph(f"too large for a terminal: {name}.csv")
        for name, why in written.lacking.items():
            out.paragraph(f"missing: {name}: {why}")
    else:
        _not_made(written, out)
    _missing(gathered, out, whole=tables)
    if tables:
        for line in listed(folder, [name for name in written.files if name != written.report]):
            where, colon, names = line.partition(": ")
            out.line(where + colon.rstrip())  # a path is never folded, so that it can be copied
            if names:
                out.paragraph(names)
    else:
        _with_path("--tables prints the main tables here; all are files in", folder, out)
    out.line(str(folder / written.report))


def _share(written: Summary) -> int:
    """How many targets an answer may show."""
    return max(FEWEST_TARGETS, MOST_TARGETS // max(1, min(len(written.answers), MOST_ANSWERS)))


def _named(answer: Answer, text: str) -> str:
    return f"{answer.group}: {text}" if answer.group else text


def _sentences(sentences: Sequence[str], out: Output) -> None:
    for sentence in sentences:
        out.paragraph(sentence)


def _left_out(n: int, what: str, out: Output, *, said: bool = True) -> None:
    if said and n > 0:
        out.paragraph(f"... and {n:,} more {what}: the page has all")


# ---- the answer ------------------------------------------------------------------------------------------------------


def _answer(answer: Answer, out: Output, *, most: int, whole: bool) -> None:
    """The counts, a row per target with its best source, and the pairs that help and harm."""
    from empslurm.report.answer import best_table

    _sentences([_named(answer, sentence) for sentence in answer.sentences], out)
    most = len(answer.best) if whole else most
    if answer.best:
        table = best_table(answer, most)
        out.text_table("", text_table(table))
        more = len(answer.best) - most
        left = f"{more:,} more targets: {_file(answer)} has all. " if more > 0 else ""
        out.paragraph(left + table.caption, style="dim")
    for word, pairs in (("Help", _further_helps(answer)), ("Harm", answer.harms)):
        if pairs:
            out.paragraph(_named(answer, f"{word}: {_pairs(pairs, answer, len(pairs) if whole else MOST_PAIRS)}"))


def _file(answer: Answer) -> str:
    """The file of the answer's pairs."""
    part = "" if answer.fraction == 1.0 else f"-f{answer.fraction * 100:g}"
    return f"{answer.group}/verdicts{part}.csv" if answer.group else f"verdicts{part}.csv"


def _further_helps(answer: Answer) -> tuple[Change, ...]:
    """All pairs that help; none where every one is its target's best source, and so has a row in the table."""
    best = {(change.source, change.target) for change in answer.best}
    return answer.helps if any((change.source, change.target) not in best for change in answer.helps) else ()


def _pairs(pairs: Sequence[Change], answer: Answer, most: int) -> str:
    """The first pairs with their changes, and how many more there are."""
    from empslurm.report.answer import change_words

    named = [f"{change.source_title} on {change.target_title} ({change_words(change)})" for change in pairs[:most]]
    more = len(pairs) - most
    return "; ".join(named) + (f"; and {more:,} more in {_file(answer)}" if more > 0 else ".")


def _beware(written: Summary, out: Output, *, whole: bool) -> None:
    """Print the warnings, and the rest of the headline."""
    shown = {*written.opening, *(_named(answer, text) for answer in written.answers for text in answer.sentences)}
    warnings = [_named(answer, warning) for answer in written.answers for warning in answer.warnings]
    rest = [sentence for sentence in written.headline if sentence not in shown]
    said = [(text, "bold") for text in warnings] + [(text, "") for text in rest]
    for text, style in said if whole else said[:MOST_SENTENCES]:
        out.paragraph(text, style=style)
    _left_out(len(said) - MOST_SENTENCES, "sentences", out, said=not whole)


def _not_made(written: Summary, out: Output) -> None:
    """Name the analyses that could not be made. Missing verdicts and baselines are said elsewhere."""
    names = [name for name in written.lacking if not name.endswith(("verdicts", "baselines"))]
    if names:
        more = len(names) - MOST_NAMED
        tail = f" and {more} more" if more > 0 else ""
        out.paragraph(f"Not made: {', '.join(names[:MOST_NAMED])}{tail}; --tables says why.")


# ---- what is missing -------------------------------------------------------------------------------------------------


def _missing(gathered: Gathered, out: Output, *, whole: bool) -> None:
    """Print how many cells have results; the others by state, and those that failed by name."""
    if gathered.origin != "runs":
        how = "as given" if gathered.origin == "results" else "as the paper prints them"
        out.paragraph(f"{sum(len(group.runs) for group in gathered.groups):,} scores, {how}")
        return
    planned = "" if gathered.n_planned is None else f" of {gathered.n_planned:,}"
    said = f"{gathered.n_done:,}{planned} cells have a verified result; {len(gathered.missing):,} are missing"
    states = Counter(cell.state for cell in gathered.missing)
    if states and not whole:
        said += f": {', '.join(f'{n:,} {state}' for state, n in states.items())}; --tables lists them"
    out.paragraph(said)
    if gathered.spent is not None and gathered.spent.n_starts:
        out.paragraph(f"Spent: {gathered.spent}.")
    _absent_backbones(gathered, out)
    if whole:
        _lists(gathered, out)
        return
    failed = [cell for state in FAILED for cell in gathered.missing if cell.state == state]
    for cell in failed[:MOST_FAILED]:
        out.paragraph(f"{cell.state}: {cell.id}: {_reason(cell)}", style="red")
    more = len(failed) - MOST_FAILED
    if more > 0:
        out.paragraph(f"... and {more:,} more {' or '.join(state for state in FAILED if state in states)}")


def _absent_backbones(gathered: Gathered, out: Output) -> None:
    """Name the backbones of the manifest that no table can have yet."""
    there = {group.setting.get("setting") for group in gathered.groups}
    for label, n in Counter(cell.backbone for cell in gathered.missing if cell.backbone).items():
        if label not in there:
            many = "its 1 cell is" if n == 1 else f"its {n:,} cells are"
            out.paragraph(f"No table has {label}: {many} missing.", style="bold")


def _reason(cell: Missing) -> str:
    """The reason in one line: the error's class and its last line."""
    lines = [line.strip() for line in cell.why.splitlines() if line.strip()]
    if not lines:
        return "no reason is known"
    kind = lines[0].partition(": ")[0]
    why = lines[0] if len(lines) == 1 else lines[-1] if lines[-1].startswith(kind) else f"{kind}: {lines[-1]}"
    return why if len(why) <= LONGEST else f"{why[:LONGEST]}... (`show {cell.id}` has all)"


def _lists(gathered: Gathered, out: Output) -> None:
    for state in dict.fromkeys(cell.state for cell in gathered.missing):
        own = [cell for cell in gathered.missing if cell.state == state]
        rows = [(cell.id, cell.why) for cell in own[:SHOWN_MISSING]]
        more = f", of which {SHOWN_MISSING} are shown" if len(own) > SHOWN_MISSING else ""
        out.table(f"{state}: {len(own):,} cells{more}", ("cell", "why"), rows)


# ---- tables and files ------------------------------------------------------------------------------------------------


def show(table: Table, out: Output) -> None:
    """A table for people, its caption below; one too wide for the terminal is shown in parts."""
    title = f"{table.number}: {table.title}" if table.number else table.title
    out.text_table(title, text_table(table), f"{table.caption} {table.details}".strip())


def text_table(table: Table) -> TextTable:
    """A table as the terminal prints it."""
    head = tuple(" ".join(filter(None, words)) for words in zip(*table.head, strict=True))
    rows = tuple(tuple(Cell(text=entry.text, style=_style(entry)) for entry in row) for row in table.rows)
    right = tuple(at >= table.n_labels for at in range(len(head)))
    return TextTable(head=head, rows=rows, right=right, n_labels=table.n_labels)


def _style(entry: Entry) -> str:
    return " ".join(name for name, on in (("bold", entry.bold), ("underline", entry.underlined)) if on)


def _with_path(text: str, path: Path, out: Output) -> None:
    """Print words and a path; a path that does not fit gets a line of its own, and is never folded."""
    if len(f"{text} {path}") <= out.console().width:
        out.line(f"{text} {path}")
        return
    out.paragraph(text)
    out.line(str(path))


def listed(folder: Path, names: Sequence[str]) -> list[str]:
    """Files for people, a line for each folder and set of endings: `folder/*.{csv,md}: table7, table8`."""
    endings: dict[tuple[Path, str], list[str]] = {}
    for path in (folder / name for name in names):
        endings.setdefault((path.parent, path.stem), []).append(path.suffix.lstrip("."))
    alike: dict[tuple[Path, tuple[str, ...]], list[str]] = {}
    for (parent, stem), suffixes in endings.items():
        alike.setdefault((parent, tuple(suffixes)), []).append(stem)
    return [
        str(parent / f"{stems[0]}.{suffixes[0]}")
        if len(stems) == len(suffixes) == 1
        else f"{parent}/*.{'{' + ','.join(suffixes) + '}' if len(suffixes) > 1 else suffixes[0]}: {', '.join(stems)}"
        for (parent, suffixes), stems in alike.items()
    ]
