"""A reviewer's check of a study: every seal and score afresh, and every printed number made again.

Three steps, each with its own words. First all results are verified from their bytes, never from what an earlier gather
remembered. Then the analysis runs again, with the options of the gather that wrote the tables, into a temporary folder.
Then each file is compared (`printed`). A file whose checksum is no longer that of its gather was edited; one that is
intact but differs follows from results that have changed since, or from another version. The causes come first.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from empslurm import files, reference
from empslurm.errors import StoreError
from empslurm.share import printed
from empslurm.share.printed import Compared, Entry
from empslurm.share.study import Study
from empslurm.validation import decode

if TYPE_CHECKING:
    from empslurm.gather import Gathered
    from empslurm.report.summary import Made, Summary

PAGE = "verification.html"
FEW = 5  # names or entries that a sentence or finding shows
Advance = Callable[[int], None]
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that does not agree: where, and what. `entries`: the first places of a file that differ."""

    kind: str  # a key of KINDS
    where: str  # a file or a cell
    text: str
    entries: tuple[Entry, ...] = ()
    n_entries: int = 0


# Kinds of findings, causes first.
KINDS: Mapping[str, str] = {
    "refused": "results that fail their check",
    "older": "tables that are older than the results",
    "edited": "files that were changed after gather wrote them",
    "missing": "files that are missing",
    "differs": "files that do not follow from the results",
    "retrained": "cells that do not train to their results again",
}


@dataclass(frozen=True, kw_only=True)
class Follows:
    """Files that differ because of findings, so that they need no explanation of their own."""

    name: str
    n_entries: int


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was checked, and what was found. `results`: the verified results, for the cells to train again."""

    name: str
    results: Gathered
    n_planned: int
    n_results: int  # that passed
    n_refused: int
    n_scores: int  # that were computed again
    n_files: Mapping[str, int]  # kind of file -> files that were compared
    findings: tuple[Finding, ...]
    follows: tuple[Follows, ...]
    cautions: tuple[str, ...]
    unchecked: tuple[str, ...]  # what could not be checked, and why
    options: tuple[str, ...]  # of the gather that wrote the tables, one sentence each


def check(study: Study, advance: Advance = lambda n: None, say: Say = lambda text: None) -> Checked:
    """Check seals, scores and tables of a study; writes nothing there.

    `advance(n)`: n more results were verified. `say`: called with what begins. Raises StoreError where the runs root
    cannot be listed.
    """
    say("verifying results")
    summary, broken = _summary_of(study)
    # Without the raw data, nobody can tell an invented sample; the note of the gather is taken for it.
    noted = summary.made.samples if summary is not None and summary.made is not None and not study.data.is_dir() else ()
    gathered = replace(study, samples=study.samples | frozenset(noted)).gathered(advance, fresh=True)
    refused = {cell.id: cell.why for cell in gathered.missing if cell.state == "refused"}
    findings = [Finding(kind="refused", where=cell, text=why) for cell, why in refused.items()]
    checked = Checked(
        name=study.name,
        results=gathered,
        n_planned=gathered.n_planned or 0,
        n_results=gathered.n_done,
        n_refused=len(refused),
        n_scores=sum(int(group.runs[list(_scores())].notna().sum().sum()) for group in gathered.groups),
        n_files={},
        findings=tuple(findings),
        follows=(),
        cautions=(),
        unchecked=(),
        options=(),
    )
    if summary is None and not broken and not _has_tables(study.tables):
        lacking = f"No tables were compared, since `gather` has not written {study.tables}."
        return replace(checked, unchecked=(lacking,))
    say("making the tables again")
    return _compare_tables(study, gathered, checked, summary, broken)


def _scores() -> tuple[str, ...]:
    from empslurm.gather.verify import SCORES

    return SCORES


def _summary_name() -> str:
    from empslurm.report.summary import NAME

    return NAME


# ---- tables ----------------------------------------------------------------------------------------------------------


def _summary_of(study: Study) -> tuple[Summary | None, str]:
    """The summary of the gather that wrote the tables, and why it cannot be read; None and "" where there is none."""
    from empslurm.report.summary import NAME, Summary

    path = study.tables / NAME
    try:
        summary: Summary = decode.load(path, Summary, "run `empslurm gather` again")
    except FileNotFoundError:
        return None, ""
    except StoreError as error:
        return None, str(error)
    if summary.made is not None and not _possible(summary.made):
        return None, f"{path} must note options that gather accepts, but does not; run `empslurm gather` again"
    return summary, ""


def _has_tables(folder: Path) -> bool:
    """Whether a folder has files besides the page of an earlier check."""
    try:
        return any(path.name != PAGE and not path.name.startswith(".") for path in folder.iterdir())
    except OSError:
        return False


def _possible(made: Made) -> bool:
    """Whether a gather may have had these options: the file may have been edited."""
    annotators = {rating.annotators for rating in made.ratings}
    places = [(rating.task, rating.aspect) for rating in made.ratings]
    return (
        (made.margin is None or made.margin > 0)
        and all(len(rating.values) == len(rating.annotators) for rating in made.ratings)
        and len(annotators) == 1
        and len(places) == len(set(places))
    )


def _compare_tables(
    study: Study, gathered: Gathered, checked: Checked, summary: Summary | None, broken: str
) -> Checked:
    """Make the tables again and compare. `broken`: why the summary cannot be read; "" where it is not there."""
    from empslurm.report.summary import NAME, Summary
    from empslurm.report.write import write

    made = summary.made if summary is not None else None
    margin = made.margin if made is not None else study.plan.manifest.margin
    ratings = made.ratings_of() if made is not None else reference.ratings()
    with tempfile.TemporaryDirectory(prefix="empslurm-verify-") as scratch:
        grouped = made.grouped if made is not None else True
        then, cautions = _as_it_was(study, gathered, made)
        write(then, Path(scratch), ratings=ratings, grouped=grouped, margin=margin)
        again: Summary = decode.load(Path(scratch) / NAME, Summary)  # read back, to be compared with one that was read
        comparison = _Comparison(study=study, gathered=gathered, old=summary, new=again, folder=Path(scratch))
        found = comparison.run()
        found.cautions[:0] = cautions
    damaged = [Finding(kind="edited", where=NAME, text=broken)] if broken else []
    if summary is None and not broken:
        text = "gather writes it with the other files, but it is not there, so its options are not known"
        damaged = [Finding(kind="missing", where=NAME, text=text)]
    return replace(
        checked,
        n_files=found.n_files,
        findings=_ordered([*checked.findings, *damaged, *found.findings]),
        follows=tuple(found.follows),
        cautions=(*checked.cautions, *_cautions(made, summary, found.cautions)),
        unchecked=(*checked.unchecked, *found.unchecked),
        options=_options(made, study),
    )


def _as_it_was(study: Study, gathered: Gathered, made: Made | None) -> tuple[Gathered, list[str]]:
    """The results with what goes on beside them as it was when gather ran, and what has changed since, as sentences.

    That is the time of jobs, and the states of cells without a result: no score depends on them, but the page says
    them.
    """
    cautions = []
    if made is not None and repr(made.spent) != repr(gathered.spent):
        cautions.append("The GPU time of the jobs is not as it was: more have run since, or their notes are not here.")
        gathered = replace(gathered, spent=made.spent)
    listed = _listed(study, made)
    moved = {
        cell.id: replace(cell, state=listed[cell.id][0], why=listed[cell.id][1])
        for cell in gathered.missing
        if cell.state != "refused" and listed.get(cell.id, (cell.state, cell.why)) != (cell.state, cell.why)
    }
    if moved:
        cells = "1 cell without a result is" if len(moved) == 1 else f"{len(moved):,} cells without a result are"
        cautions.append(f"{cells} in another state than when gather ran.")
        groups = tuple(
            replace(group, missing=tuple(moved.get(cell.id, cell) for cell in group.missing))
            for group in gathered.groups
        )
        missing = tuple(moved.get(cell.id, cell) for cell in gathered.missing)
        gathered = replace(gathered, groups=groups, missing=missing)
    return gathered, cautions


def _listed(study: Study, made: Made | None) -> dict[str, tuple[str, str]]:
    """Cell -> its state and the reason, in the list of missing cells that gather wrote; none where it was edited."""
    name = "missing.csv"
    data = _read(study.tables / name)
    if made is None or data is None or _sum(study.tables / name) != made.sums.get(name):
        return {}
    head, *rows = printed.rows_of(data) or [[]]
    if not {"id", "state", "why"} <= set(head):
        return {}
    at = [head.index(column) for column in ("id", "state", "why")]
    return {row[at[0]]: (row[at[1]], row[at[2]]) for row in rows if len(row) == len(head)}


def _ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Causes before what they explain."""
    return tuple(sorted(findings, key=lambda finding: list(KINDS).index(finding.kind)))


def _cautions(made: Made | None, summary: Summary | None, others: Sequence[str]) -> list[str]:
    """What a reader must know of how the tables were made."""
    if made is None:
        earlier = (
            "The tables were written by an earlier version, which kept neither options nor checksums: they were made "
            "again with the default options, and an edit cannot be told from the effect of changed results."
        )
        return [*([earlier] if summary is not None else []), *others]
    now = _versions()
    other = [f"{name} {then} then, {now.get(name, 'absent')} now" for name, then in made.versions.items()]
    other = [text for text, (name, then) in zip(other, made.versions.items(), strict=True) if now.get(name) != then]
    if made.code != _code():
        other.append("other code of empslurm")
    if not other:
        return list(others)
    return [f"The tables were made with other versions, so last digits may differ: {', '.join(other)}.", *others]


@cache
def _versions() -> dict[str, str]:
    from empslurm.report.summary import versions

    return versions()


def _code() -> str:
    from empslurm.report.summary import code_digest

    return code_digest()


def _options(made: Made | None, study: Study) -> tuple[str, ...]:
    """The options of the gather, as sentences."""
    if made is None:
        return ()
    own = study.plan.manifest.margin
    margin = "without a margin" if made.margin is None else f"with a margin of {made.margin:g}"
    differs = "" if made.margin == own else f" (the manifest has {'none' if own is None else f'{own:g}'})"
    what = "whole conversations, posts or dialogues" if made.grouped else "single examples"
    of_paper = repr(made.ratings_of()) == repr(reference.ratings())  # not ==, since a NaN is not equal to itself
    ratings = "the paper's" if of_paper else f"a file's, {len({item.task for item in made.ratings})} tasks"
    return (
        f"Made {margin}{differs}, by resampling {what}; ratings of constructs: {ratings}.",
        f"Made by empslurm {made.versions.get('empslurm', '?')} from {len(made.results):,} results.",
    )


@dataclass(kw_only=True)
class _Found:
    findings: list[Finding]
    follows: list[Follows]
    cautions: list[str]
    unchecked: list[str]
    n_files: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    """The printed files and the same ones made again. `old` None: the summary cannot be read."""

    study: Study
    gathered: Gathered
    old: Summary | None
    new: Summary
    folder: Path

    @property
    def made(self) -> Made | None:
        return None if self.old is None else self.old.made

    def run(self) -> _Found:
        older = self._older()
        causes = bool(older) or any(cell.state == "refused" for cell in self.gathered.missing)
        found = _Found(findings=list(older), follows=[], cautions=[], unchecked=[], n_files={})
        kinds: Counter[str] = Counter()
        n_digits, undrawn = 0, 0
        for name in self._names():
            way = printed.way_of(name)
            old, new = _read(self.study.tables / name), _read(self.folder / name)
            if old is None:
                known = self.old is not None and name in self.old.files
                if known or not causes:
                    text = (
                        "gather wrote it, but it is not there"
                        if known
                        else "this version writes it, but it is not there"
                    )
                    found.findings.append(Finding(kind="missing", where=name, text=text))
                else:
                    found.follows.append(Follows(name=name, n_entries=1))
                continue
            intact = self._intact(name)
            if new is not None and way.drawn and old != new and intact and self._drawn_otherwise():
                undrawn += 1
                continue
            kinds[way.kind] += 1
            compared = Compared(same=False) if new is None else way.compare(old, new)
            n_digits += compared.n_digits
            if compared.same and (intact is not False or old == new):
                continue
            self._sort(name, compared, intact, causes, found)
        self._summary(causes, found)
        found.n_files = dict(kinds)
        if n_digits:
            found.cautions.append(f"{n_digits:,} numbers agree to nine digits, but not in the last ones.")
        if undrawn:
            figures = "1 figure was" if undrawn == 1 else f"{undrawn:,} figures were"
            found.unchecked.append(
                f"{figures} not compared byte by byte, since another release of matplotlib or of what it uses drew "
                "them; the checksums are those of gather, and the tables were compared."
            )
        found.cautions += self._extra()
        return found

    def _names(self) -> list[str]:
        """The files that gather listed, then those that it would write now."""
        return list(dict.fromkeys([*(self.old.files if self.old is not None else ()), *self.new.files]))

    def _intact(self, name: str) -> bool | None:
        """Whether a file is as gather wrote it; None where no checksum was kept."""
        if self.made is None or name not in self.made.sums:
            return None
        return _sum(self.study.tables / name) == self.made.sums[name]

    def _drawn_otherwise(self) -> bool:
        """Whether another version drew the figures."""
        from empslurm.report.summary import DRAWING, ZLIB

        then = {} if self.made is None else self.made.versions
        return self.made is not None and any(then.get(name) != _versions().get(name) for name in (*DRAWING, ZLIB))

    def _sort(
        self,
        name: str,
        compared: Compared,
        intact: bool | None,
        causes: bool,
        found: _Found,
    ) -> None:
        """Decide what a file that differs means."""
        n = len(compared.entries)
        if intact is False:
            text = "was changed after gather wrote it"
            if not n:
                text += ", although what it says is the same" if compared.same else ", and is not made any more"
            elif causes:
                text += "; some of the differences may follow from the findings above"
            shown = self._unexplained_first(compared.entries)[:FEW]
            found.findings.append(Finding(kind="edited", where=name, text=text, entries=shown, n_entries=n))
        elif causes:
            found.follows.append(Follows(name=name, n_entries=n))
        else:
            text = "differs from what the results give"
            if self.made is not None and (self.made.code != _code() or self.made.versions != _versions()):
                text += "; other versions made it, so look with those before you call it wrong"
            shown = compared.entries[:FEW]
            found.findings.append(Finding(kind="differs", where=name, text=text, entries=shown, n_entries=n))

    def _unexplained_first(self, entries: Sequence[Entry]) -> tuple[Entry, ...]:
        """Entries whose place names no task of a refused result first."""
        tasks = {
            task for cell in self.gathered.missing if cell.state == "refused" for task in (cell.source, cell.target)
        }
        known = self.gathered.registry.tasks
        names = {text for task in tasks if task for text in (task, known[task].title if task in known else task)}
        return tuple(sorted(entries, key=lambda entry: any(name in entry.place for name in names)))

    # ---- causes ------------------------------------------------------------------------------------------------------

    def _older(self) -> list[Finding]:
        """What the tables could not know: results that have come, changed or gone since, and new facts beside them."""
        from empslurm.report.summary import leaks_digest, seals, suitability_digest

        now = seals(self.gathered)
        refused = {cell.id for cell in self.gathered.missing if cell.state == "refused"}
        if self.made is not None:
            then: Mapping[str, str | None] = self.made.results
        else:
            then = dict.fromkeys(self._printed_ids(set(now)))
        changes = {
            "came after gather had run": [cell for cell in now if cell not in then],
            "have been replaced since": [cell for cell, seal in then.items() if seal and now.get(cell, seal) != seal],
            "are no longer there": [cell for cell in then if cell not in now and cell not in refused],
        }
        texts = [
            f"results {what}: {len(cells):,}, {such(cells, 3)}; run `empslurm gather` again"
            for what, cells in changes.items()
            if cells
        ]
        if self.made is not None and self.made.leaks != leaks_digest(self.gathered):
            texts.append("an audit of the data has been made or lost since; run `empslurm gather` again")
        if self.made is not None and self.made.suitability != suitability_digest(self.gathered):
            texts.append(
                "`suggest` has read texts since, which the choice of sources uses; run `empslurm gather` again"
            )
        return [Finding(kind="older", where=str(self.study.tables), text=text) for text in texts]

    def _printed_ids(self, now: set[str]) -> list[str]:
        """The cells of the printed list of scores; embeddings, which have no scores, count as they are now."""
        data = _read(self.study.tables / "long.csv")
        rows = [] if data is None else printed.rows_of(data)
        at = rows[0].index("id") if rows and "id" in rows[0] else None
        listed = {row[at] for row in rows[1:] if at is not None and at < len(row)}
        scored = {cell.id for cell in self.study.plan.cells if cell.kind in ("baseline", "transfer")}
        return sorted(listed | (now - scored))

    # ---- the rest of the folder --------------------------------------------------------------------------------------

    def _summary(self, causes: bool, found: _Found) -> None:
        """Check the summary, which terminals and programs read: its digest, then what it says."""
        from empslurm.report.summary import NAME, digest_of

        if self.old is None:
            return
        if self.made is not None and digest_of(self.old) != self.made.summary:
            found.findings.append(Finding(kind="edited", where=NAME, text="was changed after gather wrote it"))
            return
        said, says = (_said(summary) for summary in (self.old, self.new))
        differing = [name for name in says if said[name] != says[name]]
        if not differing:
            return
        if causes:
            found.follows.append(Follows(name=NAME, n_entries=len(differing)))
            return
        text = f"differs from what the results give, in {', '.join(differing)}"
        found.findings.append(Finding(kind="differs", where=NAME, text=text))

    def _extra(self) -> list[str]:
        """Files in the folder that gather did not list."""
        from empslurm.store.folders import walk

        listed = {*self._names(), _summary_name(), PAGE}
        there = [path.relative_to(self.study.tables).as_posix() for path in walk(self.study.tables)]
        extra = [name for name in there if name not in listed]
        if not extra:
            return []
        return [
            f"{len(extra):,} files beside the tables are not of the last gather and were not checked: {such(extra)}."
        ]


def _said(summary: Summary) -> dict[str, str]:
    """What a summary says, by field, as text that can be compared; not what it was made from, nor which files."""
    apart = ("inputs", "made", "files")
    return {field.name: repr(getattr(summary, field.name)) for field in fields(summary) if field.name not in apart}


def _read(path: Path) -> bytes | None:
    """The bytes of a file; None where it is missing or cannot be read."""
    try:
        return files.read_bytes(path)
    except (FileNotFoundError, StoreError):
        return None


def _sum(path: Path) -> str:
    from empslurm.report.summary import sum_of

    try:
        return sum_of(path)
    except OSError:
        return ""


def such(names: Sequence[str], most: int = FEW) -> str:
    """The first of several names, as a clause."""
    more = len(names) - most
    return f"such as {', '.join(names[:most])}" if more > 0 else ", ".join(names)
