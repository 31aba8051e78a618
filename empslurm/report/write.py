"""Everything that a gather leaves behind: tables in three forms, figures, ids behind every number, and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from empslurm import files
from empslurm.gather import Gathered, Missing
from empslurm.reference import Rating
from empslurm.report import figures, findings, paper
from empslurm.report.formats import Table, to_csv, to_latex, to_markdown
from empslurm.report.study import Study, study
from empslurm.report.tables import (
    PAIR_COLUMNS,
    pair_rows,
    table_of_improvements,
    table_of_scores,
    to_rows_csv,
)

ORIGIN_COLUMNS = ("row", "column", "ids")


@dataclass(frozen=True, kw_only=True)
class Section:
    """One group: its study and its tables."""

    study: Study
    tables: tuple[Table, ...]


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was made: what to show, and every file."""

    folder: Path
    sections: tuple[Section, ...]
    ratings: tuple[Table, ...]  # of the ratings, which no group changes
    files: tuple[Path, ...]
    report: Path

    @property
    def lacking(self) -> dict[str, str]:
        """What could not be made, and why, over all groups."""
        return {name: why for section in self.sections for name, why in section.study.lacking.items()}


def tables_of_ratings(gathered: Gathered, ratings: Sequence[Rating]) -> tuple[Table, ...]:
    """Tables 2, 3 and 5 and Figure 8."""
    found = paper.ratings_agreement(ratings)
    return (
        paper.table2(ratings, gathered.registry),
        paper.table3(found),
        paper.figure8(found),
        paper.table5(ratings, gathered.registry),
    )


def tables_of_study(given: Study) -> tuple[Table, ...]:
    """Tables 6, 7, 8, the numbers of Figures 3, 6, 7, 9, 10, verdicts and audit of one group."""
    registry = given.gathered.registry
    made: list[Table | None] = []
    for table in given.tables:
        transfers = any(source != target for source, target in table.scores)
        made += [table_of_scores(table, registry), paper.versus_printed(table, registry)]
        if transfers:
            made += [table_of_improvements(table, registry), paper.versus_printed(table, registry, percent=True)]
    for one in given.significance:
        made += [findings.verdict_table(one, given), findings.effect_table(one)]
    made += findings.theme_tables(given.themes)
    made.append(findings.limited_table(given))
    if given.audit is not None:
        made += [paper.table6(given.audit), paper.stability_table(given.audit)]
    if given.data_similarity is not None:
        made.append(findings.data_similarity_table(given.data_similarity, registry))
    made += findings.task_similarity_tables(given.task_similarity, registry)
    return tuple(table for table in made if table is not None)


def write(gathered: Gathered, folder: Path, *, ratings: Sequence[Rating], grouped: bool = True) -> Written:
    """All files of a gather. Raises StoreError where `folder` cannot be written."""
    from empslurm.report.page import page

    paths = _write_long(gathered, folder)
    fixed = tables_of_ratings(gathered, ratings)
    for table in fixed:
        paths += write_table(table, folder)
    sections = []
    for group in gathered.groups:
        done = study(gathered, group, ratings=ratings, grouped=grouped)
        section = Section(study=done, tables=tables_of_study(done))
        sections.append(section)
        paths += _write_section(section, folder / group.name)
    paths.append(_write_missing(gathered.missing, folder))
    report = folder / "report.html"
    files.write_text(report, page(gathered, sections, fixed))
    return Written(folder=folder, sections=tuple(sections), ratings=fixed, files=(*paths, report), report=report)


def _write_section(section: Section, folder: Path) -> list[Path]:
    paths = [path for table in section.tables for path in write_table(table, folder)]
    given = section.study
    files.write_text(folder / "pairs.csv", to_rows_csv(PAIR_COLUMNS, pair_rows(given.tables)))
    setting = {"setting": dict(given.group.setting), "data": dict(given.group.notes), "lacking": dict(given.lacking)}
    files.write_json(folder / "setting.json", setting)
    return [*paths, folder / "pairs.csv", folder / "setting.json"]


def write_table(table: Table, folder: Path) -> list[Path]:
    """One table as CSV, Markdown and LaTeX, the ids behind it, and the figure that it is the numbers of."""
    made = []
    for ending, render in (("csv", to_csv), ("md", to_markdown), ("tex", to_latex)):
        path = folder / f"{table.name}.{ending}"
        files.write_text(path, render(table))
        made.append(path)
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
