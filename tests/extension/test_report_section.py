"""A section of the report and an analysis of a group are a module and an entry each."""

import csv
import json
from pathlib import Path

from tests.extension.tree import Tree, copy_of_tree

SECTION = '''"""The largest score of each group."""

from empslurm.report.contents import GroupContents


def largest(group: GroupContents) -> dict[str, float]:
    """For its template."""
    return {"value": max(score.value for table in group.analyses.tables for score in table.scores.values())}
'''
TEMPLATE = "<p>The largest score is {{ '%.2f' % value }}.</p>\n"
ANALYSIS = '''"""How far the scores of a group lie apart."""

from empslurm.report.formats import Table, flat, number, text
from empslurm.report.group_results import Analyses, Finding


def spread(analyses: Analyses) -> Finding:
    """Largest minus smallest score, per metric."""
    values = {table.metric: [score.value for score in table.scores.values()] for table in analyses.tables}
    return Finding(result={metric: max(scores) - min(scores) for metric, scores in values.items()})


def tables(analyses: Analyses) -> list[Table]:
    """A row per metric."""
    rows = [(text(metric), number(value)) for metric, value in analyses.results["spread"].items()]
    columns = {"metric": "metric", "spread": "spread"}
    return [flat(name="spread", title="Spread of the scores", caption="", columns=columns, rows=rows)]
'''


def gathered(tree: Tree) -> Path:
    """The folder of a gather of two invented scores."""
    tree.write("scores.csv", "source,target,seed,metric,value\n,a,1,accuracy,0.5\nb,a,1,accuracy,0.75\n")
    said = json.loads(tree.verb("gather", "--results", "scores.csv", "--out", "out", "--json"))
    return tree.path / str(said["folder"])


def test_a_section_is_on_the_page_with_its_link(tmp_path: Path) -> None:
    tree = copy_of_tree(tmp_path)
    tree.write("empslurm/report/sections/largest.py", SECTION)
    tree.write("empslurm/report/templates/sections/largest.html", TEMPLATE)
    page, imported = "empslurm/report/page.py", "from empslurm.report.sections.missing import missing\n"
    tree.insert(page, imported, "from empslurm.report.sections.largest import largest\n")
    entry = 'Section(anchor="largest", link="largest score", title="The largest score", build=largest),\n    '
    tree.insert(page, 'Section(anchor="cost"', entry)
    text = (gathered(tree) / "report.html").read_text()
    navigation = text.split("<nav")[1].split("</nav>")[0]
    assert '<a href="#largest">largest score</a>' in navigation
    section = text[text.index('<section aria-labelledby="largest-title"') :].split("</section>")[0]
    assert '<h2 id="largest-title">The largest score</h2>' in section
    assert "<p>The largest score is 0.75.</p>" in section


def test_an_analysis_is_run_and_its_table_written(tmp_path: Path) -> None:
    tree = copy_of_tree(tmp_path)
    tree.write("empslurm/report/spread.py", ANALYSIS)
    analyses = "empslurm/report/analyses.py"
    tree.insert(analyses, "from empslurm.report.verdicts import judge\n", "from empslurm.report import spread\n")
    entry = 'Analysis(name="spread", run=spread.spread, tables=spread.tables),\n    '
    tree.insert(analyses, 'Analysis(name="sources"', entry)
    with (gathered(tree) / "spread.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["metric", "spread"], ["accuracy", "0.25"]]
