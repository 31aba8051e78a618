"""Everything that a gather leaves behind: tables in three forms, figures, ids behind every number, and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from empslurm import files
from empslurm.gather import Gathered, Group, Missing
from empslurm.reference import Rating
from empslurm.report import figures, paper, result_tables, settings, sources
from empslurm.report import summary as summaries
from empslurm.report.analyses import Study, study
from empslurm.report.baselines import baseline_tables
from empslurm.report.formats import Table, write_forms
from empslurm.report.page import Section, page
from empslurm.report.summary import Summary, inputs_digest
from empslurm.report.tables import (
    PAIR_COLUMNS,
    pair_rows,
    table_of_improvements,
    table_of_scores,
    to_rows_csv,
)
from empslurm.report.wording import plain_table

ORIGIN_COLUMNS = ("row", "column", "ids")
REPORT = "report.html"
# On the terminal; the page and the files have all.
SHOWN = ("baselines", "table7", "table8", "figure6", "figure7", "seeds", "sources")
MAX_SHOWN = 3_000  # cells of a table on the terminal


def tables_of_ratings(gathered: Gathered, ratings: Sequence[Rating], studies: Sequence[Study]) -> tuple[Table, ...]:
    """Tables 2, 3 and 5 and Figure 8; none where the results are neither the paper's nor of tasks that were rated."""
    tasks, of_paper = {task for one in studies for task in one.tasks}, any(one.of_paper for one in studies)
    if not of_paper and not (tasks and tasks <= {rating.task for rating in ratings}):
        return ()
    found = paper.ratings_agreement(ratings)
    made = (paper.table2(ratings, gathered.registry), paper.table3(found), paper.figure8(found))
    if of_paper:
        return (*made, paper.table5(ratings, gathered.registry))
    return tuple(map(plain_table, made))


def tables_of_study(given: Study) -> tuple[Table, ...]:
    """Tables 6, 7, 8, the numbers of Figures 3, 6, 7, 9, 10, verdicts and audit of one group."""
    registry = given.gathered.registry
    made: list[Table | None] = []
    for table in given.tables:
        transfers = any(source != target for source, target in table.scores) and not given.ranked
        made.append(table_of_scores(table, registry))
        made += [paper.versus_printed(table, registry)] if given.of_paper else []
        if transfers:
            made.append(table_of_improvements(table, registry))
            made += [paper.versus_printed(table, registry, percent=True)] if given.of_paper else []
    made += baseline_tables(given.tables, registry)
    for one in given.significance:
        made += [result_tables.verdict_table(one, given), result_tables.next_table(one, given)]
        made += [result_tables.collapse_table(one, registry), result_tables.effect_table(one)]
    made += result_tables.theme_tables(given.themes)
    made.append(result_tables.limited_table(given))
    if given.audit is not None:
        made += [paper.table6(given.audit), paper.stability_table(given.audit)]
    if given.data_similarity is not None:
        made.append(result_tables.data_similarity_table(given.data_similarity, registry))
    made += result_tables.task_similarity_tables(given.task_similarity, registry)
    if given.ranked:
        made.append(sources.sources_table(given.ranked, registry))
    found = tuple(table for table in made if table is not None)
    return found if given.of_paper else tuple(map(plain_table, found))


def write(
    gathered: Gathered, folder: Path, *, ratings: Sequence[Rating], grouped: bool = True, margin: float | None = None
) -> Summary:
    """All files of a gather; where they are there already, from the same inputs, they are left alone.

    `margin`: see `verdicts.decide`.
    Raises StoreError where `folder` cannot be written.
    """
    inputs = inputs_digest(gathered, ratings, grouped=grouped, margin=margin)
    known = summaries.load(folder, inputs)
    if known is not None:
        return known
    files.write_json(folder / summaries.NAME, {})  # until all files are new, none of them may be taken for whole
    sections = tuple(_section(gathered, group, ratings, grouped, margin) for group in gathered.groups)
    fixed = tables_of_ratings(gathered, ratings, [section.study for section in sections])
    compared = settings.named([section.study for section in sections])
    together = settings.settings_tables(compared)
    paths = _write_long(gathered, folder)
    for table in (*together, *fixed):
        paths += write_table(table, folder)
    for section in sections:
        paths += _write_section(section, folder / section.study.group.name)
    paths += [_write_missing(gathered.missing, folder), folder / REPORT]
    said = settings.headline(compared)
    files.write_text(folder / REPORT, page(gathered, sections, fixed, together, said))
    made = _summary(sections, fixed, together, said, inputs, [path.relative_to(folder).as_posix() for path in paths])
    summaries.save(made, folder)
    return made


def _section(
    gathered: Gathered, group: Group, ratings: Sequence[Rating], grouped: bool, margin: float | None
) -> Section:
    done = study(gathered, group, ratings=ratings, grouped=grouped, margin=margin)
    tables = tables_of_study(done)
    told = {f"figure of {table.name}": said for table in tables if (said := figures.why_not(table))}
    told |= {f"letters of {table.name}": said for table in tables if (said := figures.note(table))}
    return Section(study=replace(done, lacking={**done.lacking, **told}), tables=tables)


def _summary(
    sections: Sequence[Section],
    fixed: Sequence[Table],
    together: Sequence[Table],
    said: Sequence[str],
    inputs: str,
    paths: Sequence[str],
) -> Summary:
    def named(section: Section, text: str) -> str:
        return f"{section.study.group.name}: {text}" if section.study.group.name else text

    tables = [table for section in sections for table in section.tables]
    shown = together or [
        replace(table, title=named(section, table.title))
        for section in sections
        for table in section.tables
        if table.name.startswith(SHOWN) and not table.name.endswith("versus-printed")
    ]
    return Summary(
        inputs=inputs,
        headline=(
            *said,
            *(named(section, sentence) for section in sections for sentence in result_tables.headline(section.study)),
        ),
        judged=any(section.study.significance for section in sections),
        lacking=dict(
            sorted((named(section, name), why) for section in sections for name, why in section.study.lacking.items())
        ),
        tables=tuple(table for table in shown if len(table.rows) * len(table.columns) <= MAX_SHOWN),
        contents=tuple(
            {"name": table.name, "number": table.number, "title": table.title, "caption": table.caption}
            for table in (*together, *fixed, *tables)
        ),
        files=tuple(paths),
        report=REPORT,
    )


def _write_section(section: Section, folder: Path) -> list[Path]:
    paths = [path for table in section.tables for path in write_table(table, folder)]
    given = section.study
    files.write_text(folder / "pairs.csv", to_rows_csv(PAIR_COLUMNS, pair_rows(given.tables)))
    setting = {"setting": dict(given.group.setting), "data": dict(given.group.notes), "lacking": dict(given.lacking)}
    files.write_json(folder / "setting.json", setting)
    return [*paths, folder / "pairs.csv", folder / "setting.json"]


def write_table(table: Table, folder: Path) -> list[Path]:
    """One table as CSV, Markdown and LaTeX, the ids behind it, and the figure that it is the numbers of."""
    made = write_forms(table, folder)
    if table.origin:
        path = folder / f"{table.name}-ids.csv"
        files.write_text(
            path, to_rows_csv(ORIGIN_COLUMNS, [dict(zip(ORIGIN_COLUMNS, row, strict=True)) for row in table.origin])
        )
        made.append(path)
    figure = figures.draw(table)
    if figure is not None:
        made += figures.save(figure, folder, "figure2" if table.name == "table6" else table.name)
    return made


def _write_long(gathered: Gathered, folder: Path) -> list[Path]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    long = gathered.long()
    paths = [folder / "long.csv", folder / "long.parquet"]
    files.write_text(paths[0], long.to_csv(index=False, lineterminator="\n"))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(long, preserve_index=False), sink, compression="zstd")
    files.write_bytes(paths[1], sink.getvalue().to_pybytes())
    return paths


def _write_missing(missing: Sequence[Missing], folder: Path) -> Path:
    columns = ("id", "kind", "source", "target", "seed", "fraction", "state", "why")
    path = folder / "missing.csv"
    files.write_text(path, to_rows_csv(columns, [{name: getattr(cell, name) for name in columns} for cell in missing]))
    return path
