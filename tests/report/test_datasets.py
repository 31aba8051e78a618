import csv
from pathlib import Path
from typing import Any

import pytest

from empslurm.config import DataUse
from empslurm.report.datasets import Compared, compare, differences, summary, write
from empslurm.tasks import registry
from empslurm.tasks.raw import locate
from empslurm.tasks.stats import COLUMNS, dataset_stats

KNOWN = registry()


def stats(**lines: tuple[float, ...]) -> dict[str, dict[str, Any]]:
    """Epitome with invented shares of ER."""
    made = [{"statistic": "label", "label": name.removeprefix("l"), "values": values} for name, values in lines.items()]
    task = {"lines": made, "columns": COLUMNS}
    return {"epitome": {"n_examples": 3_023, "n_vocabulary": 9_000, "n_tokens": 1, "tasks": {"epitome_er": task}}}


def found(rows: tuple[Compared, ...], table: int, name: str, measure: str) -> dict[str, Compared]:
    return {row.column: row for row in rows if (row.table, row.name, row.measure) == (table, name, measure)}


def test_verdicts_follow_the_printed_digits_and_the_column() -> None:
    rows = compare(stats(l0=(66.449, 67.0, 66.4, 66.4), l1=(20.0, 30.0, 30.0, 30.0)))
    zero = found(rows, 10, "epitome_er", "0")
    assert zero["all"].verdict == "equal"
    assert zero["train"].verdict in ("equal", "another draw")
    assert found(rows, 10, "epitome_er", "1")["all"].verdict == "differs"
    assert found(rows, 10, "epitome_er", "2")["all"].verdict == "not here"
    sizes = {row.measure: row.verdict for row in rows if (row.table, row.name) == (1, "epitome")}
    assert sizes == {"n_samples": "equal", "n_vocabulary": "another rule", "n_tokens": "another rule"}
    assert found(rows, 1, "mi", "n_samples")["all"].difference is None


def test_every_published_number_is_there_whatever_is_here() -> None:
    rows = compare({})
    assert {row.verdict for row in rows} == {"not here"}
    assert {row.table for row in rows} == {1, 9, 10, 11, 12}
    assert sum(sum(counts.values()) for counts in summary(rows).values()) == len(rows)
    assert differences(rows) == []


def test_files_hold_both_numbers_and_the_difference(tmp_path: Path) -> None:
    written = write(compare(stats(l1=(20.0, 30.0, 30.0, 30.0))), KNOWN, tmp_path)
    assert {path.suffix for path in written} == {".csv", ".md", ".tex"}
    with open(tmp_path / "differences.csv") as stream:
        long = [row for row in csv.DictReader(stream) if (row["name"], row["measure"]) == ("epitome_er", "1")]
    first = [long[0][column] for column in ("column", "here", "published", "difference")]
    assert first[:3] == ["all", "20.0", "28.6"]
    assert float(first[3]) == pytest.approx(-8.6)
    markdown = (tmp_path / "table10.md").read_text()
    assert "| Epitome ER | 1 | 20.0 | 28.6 | −8.6 |" in markdown
    assert r"MI Adherent & adherent & --- & 68.5" in (tmp_path / "table10.tex").read_text()
    with open(tmp_path / "table1.csv") as stream:
        sizes = {(row["name"], row["measure"]): row for row in csv.DictReader(stream)}
    assert float(sizes["Epitome", "n_samples"]["all difference"]) == 0


def test_latex_marks_are_escaped(tmp_path: Path) -> None:
    write(compare({}), KNOWN, tmp_path)
    assert r"Empathy \& Hope & n\_samples" in (tmp_path / "table1.tex").read_text()


def test_the_papers_news_validation_part_is_the_whole_pool(real_data: Path, tmp_path: Path) -> None:
    dataset = KNOWN.datasets["news"]
    if locate(dataset, real_data, tmp_path).state == "missing":
        pytest.skip("needs news in EMPSLURM_DATA")
    rows = compare({"news": dataset_stats(dataset, real_data, tmp_path, DataUse(splits="paper"))})
    pool = [row for row in rows if row.name.startswith("news_") and row.column == "validation"]
    assert len(pool) == 3 + 2 * 5 + 8
    assert {row.verdict for row in pool} == {"equal"}
