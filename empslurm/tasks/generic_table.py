"""Read a dataset whose distributed layout is not public from the user's own table, whose columns are documented.

One TSV or CSV per dataset with named columns; `group` names the conversation, post or author that must not cross a
split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from empslurm.tasks.records import read_rows
from empslurm.tasks.schema import Example, Reject

COLUMNS = ("id", "group", "context", "text")
Labels = Callable[[Mapping[str, str]], Mapping[str, str | float] | str]


def read_table(path: Path, label_columns: tuple[str, ...], labels: Labels) -> Iterator[Example | Reject]:
    """Rows of a table with COLUMNS and `label_columns`; `labels` gives a row's labels, or the reason to reject it."""
    seen: set[str] = set()
    for item in read_rows(path, (*COLUMNS, *label_columns), delimiter="\t" if path.suffix == ".tsv" else ","):
        if isinstance(item, Reject):
            yield item
            continue
        row, value = item
        usable = value["text"] and value["id"] and value["id"] not in seen
        row_labels = labels(value) if usable else "must have a text and a new id, but does not"
        if isinstance(row_labels, str):
            yield Reject(file=path.name, row=row, reason=row_labels)
            continue
        seen.add(value["id"])
        context = (value["context"],) if value["context"] else ()
        group = value["group"] or value["id"]
        yield Example(id=value["id"], group=group, context=context, text=value["text"], labels=row_labels)


def describe(file: str, dataset: str, labels: str) -> str:
    """The steps to make the table, for `data status`."""
    return (
        f"make a UTF-8 table DATA/{dataset}/{file} with the columns {', '.join(COLUMNS)} (group: what must not cross "
        "a split; "
        f"context: the earlier post, may be empty) and {labels}"
    )
