"""A check of a study: honest ones agree, and each thing that was changed is named with its cause."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from empslurm import files, reference
from empslurm.launch.cost import Spent
from empslurm.report.summary import NAME, Summary, digest_of, sum_of
from empslurm.share import checks
from empslurm.share.checks import Checked, check
from empslurm.share.study import Study
from empslurm.store.claims import local_liveness
from empslurm.validation import decode
from tests.gather.grids import finish
from tests.share.conftest import gather, tamper


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def found(checked: Checked) -> list[tuple[str, str]]:
    return [(finding.kind, finding.where) for finding in checked.findings]


def edit(path: Path, pattern: str, text: str) -> None:
    changed, n = re.subn(pattern, text, path.read_text(), count=1)
    assert n == 1
    path.write_text(changed)


def resummed(study: Study, name: str, **fields: object) -> None:
    """Change the summary as somebody who knows how checksums are kept."""
    summary = files.read_object(study.tables / NAME)
    summary["made"]["sums"][name] = sum_of(study.tables / name)
    summary["made"] |= fields
    (study.tables / NAME).write_text(json.dumps(summary))


def test_an_honest_study_agrees_in_every_file_and_stays_as_it_is(drawn: Study) -> None:
    study = drawn
    before = contents(study.root.path)
    seen: list[int] = []
    checked = check(study, seen.append)
    assert (checked.findings, checked.follows, checked.cautions, checked.unchecked) == ((), (), (), ())
    assert (checked.n_planned, checked.n_results, sum(seen)) == (8, 8, 8)
    assert checked.n_scores == 8 * 2 * 3 + 4 * 2  # parts and metrics; regressions have one more
    listed = files.read_object(study.tables / NAME)["files"]
    assert sum(checked.n_files.values()) == len(listed) > 50
    assert contents(study.root.path) == before


def test_a_tampered_prediction_and_an_edited_table_are_both_found(study: Study) -> None:
    cell = study.plan.cells[0]
    path = study.root.cell(cell.id).path / "output-0001" / "predictions.parquet"
    assert study.gathered().missing == ()
    tamper(path)
    assert study.gathered().missing == ()  # gather remembers what it has verified
    edit(study.tables / "table8.csv", r"(Epitome ER,)[^\n]*", r"\g<1>0.987")
    checked = check(study)
    assert found(checked) == [("refused", cell.id), ("edited", "table8.csv")]
    refused, edited = checked.findings
    assert str(path) in refused.text
    assert edited.entries[0].place == "row Epitome ER, column news_empathy"
    assert edited.entries[0].printed == "0.987"
    names = {file.name for file in checked.follows}
    assert {"long.csv", "table7.csv", "report.html"} <= names
    assert "table8.md" not in names  # no result of that target was refused


def test_every_kind_of_file_is_found_where_it_was_edited(drawn: Study) -> None:
    study = drawn
    tables = study.tables
    edit(tables / "verdicts.md", r"\d\.\d\d\d|\.\d\d\d", "7.777")
    edit(tables / "report.html", "cells", "cellars")
    edit(tables / "setting.json", r"\"lacking\"", '"lackin"')
    edit(tables / "long.csv", "news_empathy", "news_emphaty")
    edit(tables / "table7-ids.csv", "-s1-", "-s7-")
    for name in ("table7.tex", "overview.png", "figure6.svg", "figure6.pdf", "long.parquet"):
        tamper(tables / name)
    (tables / "seeds.csv").unlink()
    (tables / "notes").mkdir()
    (tables / "notes" / "mine.txt").write_text("mine")
    checked = check(study)
    edited = [
        *("verdicts.md", "table7.tex", "report.html", "setting.json", "long.csv", "table7-ids.csv"),
        *("overview.png", "figure6.svg", "figure6.pdf", "long.parquet"),
    ]
    assert {where for kind, where in found(checked) if kind == "edited"} == {*edited}
    assert [where for kind, where in found(checked) if kind == "missing"] == ["seeds.csv"]
    assert len(found(checked)) == len(edited) + 1
    assert any("notes/mine.txt" in text for text in checked.cautions)
    assert not checked.follows


def test_an_edit_whose_checksum_was_changed_too_still_does_not_follow_from_the_results(study: Study) -> None:
    edit(study.tables / "table7.csv", r"(Epitome ER,)[^\n,]*", r"\g<1>0.987")
    resummed(study, "table7.csv")
    checked = check(study)
    assert found(checked) == [("differs", "table7.csv")]
    assert checked.findings[0].entries[0].printed == "0.987"


def test_a_second_gather_writes_an_edited_file_again(study: Study) -> None:
    before = contents(study.tables)
    edit(study.tables / "table7.csv", r"(Epitome ER,)[^\n,]*", r"\g<1>0.987")
    gather(study)
    after = contents(study.tables)
    for name in ("report.html", NAME):  # they say when they were made
        del before[name], after[name]
    assert after == before


def test_an_edited_summary_is_found(study: Study) -> None:
    edit(study.tables / NAME, "cells", "cellars")
    assert found(check(study)) == [("edited", NAME)]
    (study.tables / NAME).write_text("{}")
    checked = check(study)
    assert found(checked) == [("edited", NAME)]
    assert sum(checked.n_files.values()) > 50  # compared all the same


@pytest.mark.parametrize("options", [{"margin": -1.0}, {"ratings": []}])
def test_options_that_no_gather_has_are_a_finding(study: Study, options: Mapping[str, object]) -> None:
    resummed(study, "table7.csv", **options)
    checked = check(study)
    assert found(checked) == [("edited", NAME)]
    assert "options that gather accepts" in checked.findings[0].text


def test_tables_older_than_the_results_say_so_once(study: Study) -> None:
    last = study.plan.cells[-1]
    folder = study.root.cell(last.id)
    assert folder.result() is not None
    moved = folder.path.rename(folder.path.with_name("away"))
    gather(study)
    finish(study.root, last, skill=0.3)
    checked = check(study)
    assert [kind for kind, _ in found(checked)] == ["older"]
    assert last.id in checked.findings[0].text
    assert "long.csv" in {file.name for file in checked.follows}
    gather(study)
    assert check(study).findings == ()
    # A result that was made anew, seal and all, is another one than the tables rest on.
    folder.path.rename(folder.path.with_name("gone"))
    moved.rename(folder.path)
    checked = check(study)
    assert [kind for kind, _ in found(checked)] == ["older"]
    assert "replaced" in checked.findings[0].text


def test_tables_are_made_again_with_the_options_they_were_made_with(study: Study) -> None:
    ratings = tuple(rating for rating in reference.ratings() if rating.task != "hope")
    gather(study, margin=0.02, grouped=False, ratings=ratings)
    checked = check(study)
    assert checked.findings == ()
    assert checked.options[0].startswith("Made with a margin of 0.02 (the manifest has none), by resampling single")
    assert "a file's" in checked.options[0]


@pytest.fixture
def of_earlier_version(study: Study) -> Study:
    summary = files.read_object(study.tables / NAME)
    del summary["made"]
    (study.tables / NAME).write_text(json.dumps(summary))
    return study


def test_tables_of_an_earlier_version_are_compared_with_less_certainty(of_earlier_version: Study) -> None:
    study = of_earlier_version
    checked = check(study)
    assert checked.findings == ()
    assert "earlier version" in checked.cautions[0]
    edit(study.tables / "table7.csv", r"(Epitome ER,)[^\n,]*", r"\g<1>0.987")
    assert found(check(study)) == [("differs", "table7.csv")]


def test_other_versions_are_a_caution(drawn: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study, now = drawn, {"numpy": "0.1", "matplotlib": "0.1"}
    versions = {**checks._versions(), **now}
    monkeypatch.setattr(checks, "_versions", lambda: versions)
    tamper(study.tables / "overview.png")  # as another version would draw it
    resummed(study, "overview.png")
    tamper(study.tables / "overview.svg")
    checked = check(study)
    assert found(checked) == [("edited", "overview.svg")]
    assert all(f"{name} " in checked.cautions[0] for name in now)
    assert checked.unchecked[0].startswith("1 figure")


def test_without_the_summary_the_other_files_are_compared(study: Study) -> None:
    (study.tables / NAME).unlink()
    edit(study.tables / "table8.csv", r"(Epitome ER,)[^\n]*", r"\g<1>0.987")
    assert found(check(study)) == [("missing", NAME), ("differs", "table8.csv")]


def test_without_tables_seals_and_scores_are_checked(study: Study) -> None:
    for path in study.tables.rglob("*"):
        if path.is_file():
            path.unlink()
    tamper(study.root.cell(study.plan.cells[0].id).path / "output-0001" / "adapter" / "adapter.safetensors")
    checked = check(study)
    assert found(checked) == [("refused", study.plan.cells[0].id)]
    assert "gather" in checked.unchecked[0]
    assert checked.n_files == {}


def test_facts_beside_the_results_that_have_changed_since_are_said(study: Study) -> None:
    resummed(study, "table7.csv", leaks="0" * 12, suitability="0" * 12)
    checked = check(study)
    assert [finding.text.partition(";")[0] for finding in checked.findings] == [
        "an audit of the data has been made or lost since",
        "`suggest` has read texts since, which the choice of sources uses",
    ]
    gather(study)
    checked = check(replace(study, spent=Spent(job_h=5.0, n_starts=1)))
    assert checked.findings == ()  # nothing that was printed differs
    assert checked.cautions[0].startswith("The GPU time of the jobs is not as it was")


def test_a_page_is_compared_although_jobs_have_run_since(study: Study) -> None:
    edit(study.tables / "report.html", r"<body>", "<body>All pairs help.")
    resummed(study, "report.html", spent=asdict(Spent(job_h=5.0, n_starts=1)))
    assert found(check(study)) == [("differs", "report.html")]


@pytest.mark.parametrize("field", ["headline", "tables", "judged"])
def test_a_summary_that_was_edited_with_its_digest_is_found_and_not_printed(study: Study, field: str) -> None:
    gather(study)
    before = (study.tables / NAME).read_bytes()
    value = files.read_object(study.tables / NAME)
    edits = {"headline": ["All pairs help."], "tables": value["tables"][1:], "judged": not value["judged"]}
    value[field] = edits[field]
    files.write_json(study.tables / NAME, value)
    gather(study)  # which makes it again
    assert (study.tables / NAME).read_bytes() == before
    value["made"]["summary"] = digest_of(decode.reader(Summary)(value))
    files.write_json(study.tables / NAME, value)
    assert found(check(study)) == [("differs", NAME)]
    assert field in check(study).findings[0].text


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_emptied_table_is_named(study: Study, text: str) -> None:
    (study.tables / "table7.csv").write_text(text)
    assert found(check(study)) == [("edited", "table7.csv")]


def test_a_cell_that_fails_after_gather_ran_is_a_caution(study: Study) -> None:
    last = study.plan.cells[-1]
    folder = study.root.cell(last.id)
    folder.result_file.unlink()
    gather(study)
    claim = folder.take(local_liveness)
    assert claim is not None
    folder.fail(claim, kind="DataError", message="no rows")
    folder.release(claim)
    checked = check(study)
    assert checked.findings == ()
    state, left = checked.cautions
    assert state == "1 cell without a result is in another state than when gather ran."
    assert "not of the last gather" in left  # tables that only the first gather could make
    assert "source-ranks.csv" in left
