"""Write the files of a gather: tables in three forms, figures, the ids behind every number, and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from empslurm import files, reference
from empslurm.gather import Gathered, Missing, curves_table, missing_columns
from empslurm.reference import Rating
from empslurm.report import (
    figures,
    forests,
    paper,
    pooling_tables,
    settings,
    settings_compared,
    settings_headline,
    settings_tables,
    task_facts,
)
from empslurm.report import summary as summaries
from empslurm.report.analyses import analyse, tables_of
from empslurm.report.answer import answers
from empslurm.report.contents import Contents, GroupContents
from empslurm.report.formats import Table, main_columns, write_forms
from empslurm.report.gaps import POOLED, all_gaps
from empslurm.report.group_results import Analyses
from empslurm.report.headline import headline
from empslurm.report.marks import Marks, marks_of
from empslurm.report.overview import overview
from empslurm.report.page import page
from empslurm.report.pooling import pool_labs
from empslurm.report.summary import Summary, inputs_digest
from empslurm.report.tables import PAIR_COLUMNS, pair_rows, to_rows_csv
from empslurm.report.wording import plain_table

ORIGIN_COLUMNS = ("row", "column", "ids")
REPORT = "report.html"
# Starts of the names of tables that the terminal shows on request; the page and the files have all.
SHOWN = ("baselines", "table7", "table8", "verdicts", "figure6", "figure7", "seeds", "sources")
MAX_SHOWN = 3_000  # cells of a table on the terminal


def tables_of_ratings(
    gathered: Gathered, ratings: Sequence[Rating], groups: Sequence[GroupContents]
) -> tuple[Table, ...]:
    """Tables 2, 3 and 5 and Figure 8; none where the tasks are neither the paper's nor rated.

    Table 5 alone where the ratings are on the tasks' cards, since they do not say who gave them.
    """
    tasks = list(dict.fromkeys(task for group in groups for task in group.analyses.tasks))
    rated = {rating.task for rating in ratings} & {*tasks}
    of_paper = any(group.analyses.of_paper for group in groups)
    tables: list[Table | None] = []
    if of_paper or (rated and (task_facts.by_rule(rated) or rated == {*tasks})):
        agreement, compared = paper.ratings_agreement(ratings), paper.of_table2(ratings)
        tables = [
            paper.table2(ratings, gathered.registry),
            paper.table3(agreement, compared=compared),
            paper.figure8(agreement, compared=compared),
        ]
    if tables or task_facts.by_rule(task_facts.themes(tasks, gathered.registry, ratings)):
        wanted = dict.fromkeys((*reference.task_ids(), *tasks)) if of_paper else tasks
        tables.append(paper.table5(ratings, gathered.registry, wanted))
    made = tuple(table for table in tables if table is not None)
    return made if of_paper else tuple(map(plain_table, made))


def write(
    gathered: Gathered, folder: Path, *, ratings: Sequence[Rating], grouped: bool = True, margin: float | None = None
) -> Summary:
    """Write all files of a gather to `folder`; files made from the same inputs are kept as they are.

    `ratings`, `grouped`, `margin`: see `report.study`.
    Raises StoreError where `folder` cannot be written.
    """
    inputs = inputs_digest(gathered, ratings, grouped=grouped, margin=margin)
    known = summaries.load(folder, inputs)
    if known is not None:
        return known
    files.write_json(folder / summaries.NAME, {})  # an interrupted gather must not look complete
    contents = contents_of(gathered, ratings=ratings, grouped=grouped, margin=margin)
    paths = _write_long(gathered, folder)
    for table in (*contents.pooling_tables, *contents.settings, *contents.ratings):
        paths += write_table(table, folder)
    paths += forests.save(contents.pooling, folder)
    for group in contents.groups:
        paths += _write_group(group, folder / group.analyses.group.name)
    paths += [_write_missing(gathered.missing, folder), folder / REPORT]
    files.write_text(folder / REPORT, page(contents))
    summary = _summary(contents, inputs, [path.relative_to(folder).as_posix() for path in paths])
    summary = summaries.with_made(summary, folder, gathered, ratings, grouped=grouped, margin=margin)
    summaries.save(summary, folder)
    return summary


def contents_of(
    gathered: Gathered, *, ratings: Sequence[Rating], grouped: bool = True, margin: float | None = None
) -> Contents:
    """Analyse results in memory. `ratings`, `grouped`, `margin`: see `report.study`."""
    groups = tuple(
        _contents(analyse(gathered, group, ratings=ratings, grouped=grouped, margin=margin))
        for group in gathered.groups
    )
    analyses = [group.analyses for group in groups]
    compared = settings_compared.compare(settings.named(analyses))
    pooling = pool_labs(gathered, analyses, grouped=grouped, margin=margin)
    return Contents(
        gathered=gathered,
        groups=groups,
        gaps=all_gaps(gathered, analyses, pooling.lacking if pooling else ""),
        ratings=tables_of_ratings(gathered, ratings, groups),
        settings=settings_tables.settings_tables(compared),
        settings_headline=settings_headline.headline(compared),
        compared=compared,
        pooling=pooling,
        pooling_tables=pooling_tables.tables(pooling),
        pooling_headline=pooling_tables.headline(pooling),
    )


def _contents(analyses: Analyses) -> GroupContents:
    """A group with its tables; what their figures cannot show is added to `lacking`."""
    tables = tables_of(analyses)
    notes = {f"figure of {table.name}": said for table in tables if (said := figures.why_not(table))}
    notes |= {f"letters of {table.name}": said for table in tables if (said := figures.note(table))}
    return GroupContents(analyses=replace(analyses, lacking={**analyses.lacking, **notes}), tables=tables)


def _summary(contents: Contents, inputs: str, paths: Sequence[str]) -> Summary:
    def named(group: GroupContents, text: str) -> str:
        name = group.analyses.group.name
        return f"{name}: {text}" if name else text

    groups, pooling = contents.groups, contents.pooling
    opening = (*contents.pooling_headline, *contents.settings_headline)
    tables = [table for group in groups for table in group.tables]
    shown = [(table.name, table) for table in contents.settings] or [
        ((Path(group.analyses.group.name) / table.name).as_posix(), replace(table, title=named(group, table.title)))
        for group in groups
        for table in group.tables
        if table.name.startswith(SHOWN) and not table.name.endswith("versus-printed")
    ]
    shown = [*((table.name, table) for table in contents.pooling_tables), *shown]
    fits = [len(table.rows) * len(main_columns(table).columns) <= MAX_SHOWN for _, table in shown]
    return Summary(
        inputs=inputs,
        opening=opening,
        over_settings=settings_compared.over_settings(contents.compared) if contents.compared else (),
        answers=tuple(answer for group in groups for answer in answers(group)),
        headline=(
            *opening,
            *(named(group, sentence) for group in groups for sentence in headline(group.analyses)),
        ),
        judged=any(group.analyses.significance for group in groups),
        lacking=dict(
            sorted((named(group, name), why) for group in groups for name, why in group.analyses.lacking.items())
        )
        | ({POOLED: pooling.lacking} if pooling and pooling.lacking else {}),
        tables=tuple(table for fit, (_, table) in zip(fits, shown, strict=True) if fit),
        too_large=tuple(name for fit, (name, _) in zip(fits, shown, strict=True) if not fit),
        contents=tuple(
            {name: str(getattr(table, name)) for name in ("name", "number", "title", "caption", "details")}
            for table in (*contents.pooling_tables, *contents.settings, *contents.ratings, *tables)
        ),
        files=tuple(paths),
        report=REPORT,
        pooled=pooling_tables.changes(pooling) if pooling else (),
        labs=pooling_tables.contributions(pooling) if pooling else (),
        disagreements=pooling_tables.disagreements(pooling) if pooling else (),
    )


def _write_group(contents: GroupContents, folder: Path) -> list[Path]:
    analyses = contents.analyses
    group, marks = analyses.group, marks_of(analyses)
    paths = [path for table in contents.tables for path in write_table(table, folder, marks.get(table.name))]
    for significance in analyses.significance:
        picture = overview(significance, analyses)
        paths += figures.save(figures.draw_overview(picture), folder, picture.name)
    files.write_text(folder / "pairs.csv", to_rows_csv(PAIR_COLUMNS, pair_rows(analyses.tables)))
    setting = {"setting": dict(group.setting), "data": dict(group.notes), "lacking": dict(analyses.lacking)}
    files.write_json(folder / "setting.json", setting)
    return [*paths, folder / "pairs.csv", folder / "setting.json"]


def write_table(table: Table, folder: Path, marks: Marks | None = None) -> list[Path]:
    """Write a table as CSV, Markdown and LaTeX, the ids behind it, and its figure if it has one; return the paths."""
    paths = write_forms(table, folder)
    if table.origin:
        path = folder / f"{table.name}-ids.csv"
        files.write_text(
            path, to_rows_csv(ORIGIN_COLUMNS, [dict(zip(ORIGIN_COLUMNS, row, strict=True)) for row in table.origin])
        )
        paths.append(path)
    figure = figures.draw(table, marks)
    if figure is not None:
        paths += figures.save(figure, folder, "figure2" if table.name == "table6" else table.name)
    return paths


def _write_long(gathered: Gathered, folder: Path) -> list[Path]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    long = gathered.long()
    paths = [folder / "long.csv", folder / "long.parquet"]
    files.write_text(paths[0], long.to_csv(index=False, lineterminator="\n"))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(long, preserve_index=False), sink, compression="zstd")
    files.write_bytes(paths[1], sink.getvalue().to_pybytes())
    curves = curves_table(gathered)
    if len(curves):
        paths.append(folder / "curves.csv")
        files.write_text(paths[-1], curves.to_csv(index=False, lineterminator="\n"))
    return paths


def _write_missing(missing: Sequence[Missing], folder: Path) -> Path:
    columns = missing_columns(missing)
    path = folder / "missing.csv"
    files.write_text(path, to_rows_csv(columns, [{name: getattr(cell, name) for name in columns} for cell in missing]))
    return path
