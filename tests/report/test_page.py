"""The page as a file: tables have places, links lead somewhere, hostile text stays text, large pages are cut."""

import json
import re

import pytest

from empslurm import reference
from empslurm.gather import from_file, published
from empslurm.report import contents, page, page_data
from empslurm.report.page import AFTER_THE_GROUPS, BEFORE_THE_GROUPS, OF_EACH_GROUP
from empslurm.report.write import contents_of, write
from empslurm.tasks import registry
from tests.report.pages import data_of, of_results, of_runs, of_settings, planted, words_of


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return of_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    return of_results(tmp_path_factory.mktemp("foreign"), planted(4, 5))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return of_settings(tmp_path_factory.mktemp("settings"))


def test_the_page_names_no_address_but_its_own(report):
    text = report.read_text().replace("http://www.w3.org/2000/svg", "")  # only a name; it is never requested
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)[^\"]*\"", text)
    assert not re.findall(r"url\(|@import|https?://", text)
    assert "default-src &#39;none&#39;" in text


EVIL = "<img src=x onerror=alert(1)>\"'</script><script>alert(2)</script>"


def test_hostile_names_stay_text(tmp_path):
    quoted = '"' + EVIL.replace('"', '""') + '"'
    lines = [f"{source},{quoted},{seed},pearson,0.{5 + seed}" for source in ("", "epitome_er", "b") for seed in (1, 2)]
    text = of_results(tmp_path, lines).read_text()
    assert "<img" not in text
    assert text.count("</script>") == 2  # the page's own
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert EVIL in words_of(tmp_path / "report.html")


def test_names_that_mean_something_to_a_script_are_names(tmp_path):
    lines = [
        f"{source},{target},{seed},accuracy,0.{5 + seed}"
        for target in ("__proto__", "constructor")
        for source in ("", "toString")
        for seed in (1, 2)
    ]
    data = data_of(of_results(tmp_path, lines))
    (view,) = data["views"]
    assert set(view["metrics"].values()) == {"accuracy"}
    assert len(view["runs"]) == 4


def test_what_is_missing_is_one_list_at_the_end_with_what_would_fill_it(report):
    text = report.read_text()
    place = text.index('id="missing"')
    assert place > text.index('id="picture"')
    listed = text[place : text.index("</section>", place)]
    assert listed.count("<tr>") >= 4
    assert "similarity of the datasets" in listed
    assert "embed: {}" in listed
    assert "Missing:" not in text


def test_a_table_of_foreign_results_is_told_in_its_own_words(foreign):
    said = words_of(foreign)
    for word in ("adapter", "encoder", "verified", "embed cells", "Figure ", "Table ", "Lahnala", "empath", "paper"):
        assert word not in said
    assert "mine: a table of results, " in said
    assert "mine.csv, with 75 scores." in said


@pytest.mark.parametrize("kind", ["report", "foreign", "settings"])
def test_links_lead_to_places_that_are_there_once(kind, request):
    text = request.getfixturevalue(kind).read_text()
    markup = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    places = re.findall(r'\sid="([^"]+)"', markup)
    assert len(places) == len(set(places))
    links = re.findall(r'href="#([^"]+)"', markup)
    assert set(links) <= set(places)
    assert len(links) >= 8
    tables = re.findall(r'data-table="([^"]+)"', markup)
    assert sorted(tables) == sorted(data_of(request.getfixturevalue(kind))["tables"])


def test_each_setting_has_sections_of_its_own_and_where_they_disagree_is_shown(settings):
    text = settings.read_text()
    for number in (1, 2):
        assert f'id="s{number}-picture"' in text
        assert f'href="#s{number}-targets"' in text
    assert text.count(' opposed"') == 6  # help in one setting, harm in the other
    assert "▲1 ▼1" in text


def test_every_table_of_every_analysis_stands_on_the_page():
    starts = [start for section in OF_EACH_GROUP for start in section.tables]
    made = contents_of(published(registry()), ratings=reference.ratings())
    for table in made.groups[0].tables:
        assert table.name.startswith((*starts, "verdicts", "sources")), table.name
    anchors = [section.anchor for part in (BEFORE_THE_GROUPS, OF_EACH_GROUP, AFTER_THE_GROUPS) for section in part]
    assert len(anchors) == len(set(anchors))


def test_a_cell_and_a_row_open_the_pair_that_they_show(foreign):
    data, text = data_of(foreign), foreign.read_text()
    (view,) = data["views"]
    rows = data["tables"][view["table"]]["rows"]
    plain = [[cell if isinstance(cell, str) else cell[0] for cell in row] for row in rows]
    picture = text[text.index('<table class="picture') :]
    heads = re.findall(r'<th scope="col" title="([^"]+)"', picture)
    seen = 0
    for line in re.findall(r'<tr><th scope="row" title="([^"]+)">.*?</th>(.*?)</tr>', picture, re.DOTALL):
        for column, (classes, inside) in enumerate(re.findall(r'<td class="c ([^"]*)">(.*?)</td>', line[1])):
            row = re.search(r'data-row="(\d+)">([^<]+)<', inside)
            if row:
                source, target, verdict, *_ = plain[int(row[1])]
                assert (source, target) == (line[0], heads[column])
                assert verdict in classes.split()
                seen += 1
    assert seen == len(rows) == 20
    for number, name in re.findall(r'class="name" data-row="(\d+)">([^<]+)<', text):
        assert plain[int(number)][0] == name


def test_runs_of_the_panel_are_those_of_the_table(foreign):
    (view,) = data_of(foreign)["views"]
    (table,) = (table for name, table in data_of(foreign)["tables"].items() if name == view["table"])
    names = [name for name, _ in table["columns"]]
    for row, (source, target) in zip(table["rows"], view["pairs"], strict=True):
        alone, moved = view["runs"][f"{target},{target}"], view["runs"][f"{source},{target}"]
        means = [sum(run[1] for run in runs) / len(runs) for runs in (alone, moved)]
        assert float(row[names.index("baseline")]) == pytest.approx(means[0], abs=6e-4)
        assert float(row[names.index("transfer")]) == pytest.approx(means[1], abs=6e-4)


def test_of_too_many_pairs_those_with_the_largest_changes_are_kept_and_the_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "MOST_PAIRS", 20)
    monkeypatch.setattr(page, "FEWEST_PAIRS", 20)
    found = of_results(tmp_path, planted(5, 8))
    data = data_of(found)
    (view,) = data["views"]
    assert len(view["pairs"]) == len(data["tables"][view["table"]]["rows"]) == 20
    verdicts = [row[2] if isinstance(row[2], str) else row[2][0] for row in data["tables"][view["table"]]["rows"]]
    assert sum(verdict in ("helps", "harms") for verdict in verdicts) == 16  # all that there are
    assert "20 of 40 rows are shown, those with the largest changes; verdicts.csv has all." in found.read_text()
    assert len((tmp_path / "verdicts.csv").read_text().splitlines()) == 1 + 40


def test_what_does_not_fit_is_left_to_the_files_beside_curves_first(tmp_path, monkeypatch):
    whole = data_of(of_runs(tmp_path))
    size = len(json.dumps([whole["tables"], whole["views"]], separators=(",", ":")))
    for most, curves, runs in ((size + 9, True, True), (size - 9, False, True), (10, False, False)):
        monkeypatch.setattr(page_data, "MOST_BYTES", most)
        found = of_runs(tmp_path / str(most))
        data = data_of(found)
        (view,) = data["views"]
        assert (view["runs"] is not None) is runs
        if runs:
            assert any(run[6] for own in view["runs"].values() for run in own) is curves
        assert ("curves.csv" in data["notes"]["curves"]) is not curves
        assert {"curves.csv", "long.csv"} <= {path.name for path in found.parent.iterdir()}


def test_nothing_at_all_makes_a_page_too(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("source,target,seed,metric,value\na,t,1,accuracy,0.5\n")
    written = write(from_file(path, registry()), tmp_path, ratings=reference.ratings())
    assert "Does training on task A first help task B?" in (tmp_path / written.report).read_text()
