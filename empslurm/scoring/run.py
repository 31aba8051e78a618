"""Score a stream of rows into a file or another stream: windows in, windows out, in input order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from empslurm import files, ids, reference
from empslurm.config import Precision
from empslurm.scoring.inputs import Columns, Row, windows
from empslurm.scoring.outputs import RowDigest, Work
from empslurm.scoring.scorer import FLAGS, WINDOW_CHARS, WINDOW_ROWS, Scorer
from empslurm.scoring.selection import Chosen
from empslurm.store.adapter_metadata import Evidence


@dataclass(kw_only=True)
class Tally:
    """How many rows a run has done; `n_taken_up`: those of an earlier run that it resumed."""

    n_rows: int = 0
    n_errors: int = 0
    n_flagged: int = 0
    n_taken_up: int = 0


Progress = Callable[[int], None]  # gets the number of rows done


def to_file(scorer: Scorer, rows: Iterator[Row], out: Path, columns: Columns, progress: Progress) -> Tally:
    """Score into OUT, resuming from OUT.part if there is one; describe the measures in OUT.measures.json."""
    work = Work(out=out, run=run_id(scorer.chosen, scorer.precision, columns))
    with closing(work):
        digest = work.open(rows)
        files.write_json(about_path(out), about(scorer.chosen, scorer.evidence))
        tally = Tally(n_rows=digest.n_rows, n_taken_up=digest.n_rows)
        progress(tally.n_rows)
        for window in windows(rows, WINDOW_ROWS, WINDOW_CHARS):
            work.append(list(_records(scorer, window, tally)), _added(digest, window))
            progress(tally.n_rows)
        work.finish(scorer.chosen.groups, columns.keep)
    return tally


def run_id(chosen: Chosen, precision: Precision, columns: Columns) -> str:
    """Digest of everything that affects a record, except the rows themselves."""
    read = {"text": columns.text, "context": columns.context}
    keep = {"keep": columns.keep} if columns.keep else {}  # so that runs of versions without --keep still resume
    return ids.digest([chosen.fingerprint(), precision, {**read, **keep}], 24)


def _added(digest: RowDigest, window: Any) -> RowDigest:
    for row in window:
        digest.add(row)
    return digest


def to_stream(scorer: Scorer, rows: Iterator[Row], stream: TextIO, progress: Progress) -> Tally:
    """Score into a stream, as JSONL."""
    tally = Tally()
    for window in windows(rows, WINDOW_ROWS, WINDOW_CHARS):
        for record in _records(scorer, window, tally):
            stream.write(files.to_line(record) + "\n")
        stream.flush()
        progress(tally.n_rows)
    return tally


def _records(scorer: Scorer, window: Any, tally: Tally) -> Iterator[dict[str, Any]]:
    for row, record in zip(window, scorer.score_rows(window), strict=True):
        tally.n_rows += 1
        tally.n_errors += "error" in record
        flags = chain.from_iterable(measure["flags"] for measure in record.get("measures", {}).values())
        tally.n_flagged += any(True for _ in flags)
        yield {**({"file": row.file} if row.file else {}), "row": row.number, **row.kept, **record}


def about_path(out: Path) -> Path:
    """The path of the description of an output's measures."""
    return out.with_name(out.name + ".measures.json")


def about(chosen: Chosen, evidence: Mapping[str, Evidence | None]) -> dict[str, Any]:
    """What a reader of the scores must know of every measure."""
    return {
        "measures": {
            group.name: _about(group.measure, evidence[group.name], len(group.members)) for group in chosen.groups
        },
        "left_out": list(chosen.problems),
        "flags": dict(FLAGS),
        "not_for": _not_for(group.measure.task for group in chosen.groups),
    }


def _about(measure: Any, evidence: Evidence | None, n_seeds: int) -> dict[str, Any]:
    return {
        "task": measure.task,
        "title": measure.title,
        "source": measure.source,
        "kind": measure.kind,
        "labels": list(measure.labels),
        "scale": [measure.low, measure.high],
        "n_seeds": n_seeds,
        "test": ids.plain(evidence) if evidence is not None else None,
        "data_source": measure.data_source,
        "language_setting": measure.language_setting,
        "dataset": measure.dataset,
        "licence": measure.licence,
        "citation": measure.citation,
        "backbone": measure.backbone.name,
        "max_length": measure.max_length,
        "context": measure.input_rule[1],
        "cell": measure.cell,
    }


def _not_for(tasks: Iterable[str]) -> str:
    """What measures must not be used for. Tasks of cards may be about anything, in any language."""
    texts = "its texts"
    if set(tasks) & set(reference.task_ids()):
        texts = (
            "English texts from one place; people, relationships and cultures differ in how they express and read "
            "empathy"
        )
    return (
        "Not for diagnosis, and not for decisions about a person or about moderation. A measure repeats how one "
        f"dataset's annotators labelled {texts}. Read it over many texts, with its test score, never as a fact about "
        "one writer."
    )
