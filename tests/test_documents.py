"""README, CONTRIBUTING, docs and Makefile name only what exists, and list exactly the metrics that there are."""

import re
from pathlib import Path

from empslurm.metrics import METRICS, that_choose_epochs

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "empslurm"
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "Makefile", "docs/cards.md", "docs/results.md", "docs/notebooks.md")
# Examples: a reader's own files, and what the demo writes.
OWN = {"manifests/mine.yaml", "slurm/mine.yaml", "cards/kites.yaml", "demo/data/truth.md"}
FILE = re.compile(r"(?<![\w./-])(?:\w+/)+\w+\.(?:py|md|yaml|json)\b")
NAME = "NAME"  # any name that the reader chooses


def named_files(document: str) -> set[str]:
    return {name for name in FILE.findall((ROOT / document).read_text()) if NAME not in name} - OWN


def test_every_file_that_a_document_names_is_there() -> None:
    named = {(document, name) for document in DOCUMENTS for name in named_files(document)}
    assert {document for document, _ in named} >= {"README.md", "CONTRIBUTING.md", "Makefile"}
    lost = [(document, name) for document, name in named if not any((top / name).exists() for top in (ROOT, PACKAGE))]
    assert lost == []


def first_cells(table: str) -> list[str]:
    """The first column of the README's table with this title, each `name` in it."""
    _, _, text = (ROOT / "README.md").read_text().partition(f"| {table} | what |\n|---|---|\n")
    rows = text.split("\n\n")[0].splitlines()
    return [name for row in rows for name in re.findall(r"`([\w/]+)`", row.split("|")[1])]


def test_the_readme_names_every_module_and_package_once() -> None:
    modules = [path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")]
    packages = [f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")]
    assert sorted(first_cells("module of `empslurm/`")) == sorted(modules)
    assert sorted(first_cells("package of `empslurm/`")) == sorted(packages)


def test_contributing_names_tables_that_are_in_their_files() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    places = re.findall(r"`([A-Z_]+)` (?:of|in) `(empslurm/[\w/]+\.py)`", text)
    assert {name for name, _ in places} >= {"METRICS", "ADAPTER_KINDS", "KINDS", "RUNNERS", "FAILURES", "ANALYSES"}
    for name, path in places:
        assert re.search(rf"^{name}\b.* = ", (ROOT / path).read_text(), re.MULTILINE), (name, path)


def test_the_docs_list_the_metrics_there_are() -> None:
    results = (ROOT / "docs/results.md").read_text()
    _, _, table = results.partition("| metric | range | better |\n|---|---|---|\n")
    better = {
        name: row.split("|")[3].strip()
        for row in table.split("\n\n")[0].splitlines()
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert better == {name: "higher" if metric.higher_is_better else "lower" for name, metric in METRICS.items()}
    row = next(line for line in (ROOT / "docs/cards.md").read_text().splitlines() if line.startswith("| `metric` |"))
    by_kind = [re.findall(r"`(\w+)`", names) for names in row.split("|")[2].split(";")]
    assert by_kind == [[*that_choose_epochs(kind)] for kind in ("classification", "regression")]
