"""What README, CONTRIBUTING, docs and Makefile say is true: files, links, commands, YAML, code, figures and names."""

import json
import re
import shlex
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from empslurm.cli import parser
from empslurm.cli.verbs import VERBS
from empslurm.manifest.load import load_manifest
from empslurm.metrics import METRICS, that_choose_epochs
from empslurm.tasks.cards import read_cards

ROOT = Path(__file__).parents[1]
PACKAGE, DOCS = ROOT / "empslurm", ROOT / "docs"
PAGES = ("README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted(DOCS.glob("*.md"))))
# Examples: a reader's own files, and what the demo writes.
OWN = {"manifests/mine.yaml", "manifests/next.yaml", "slurm/mine.yaml", "cards/kites.yaml", "demo/data/truth.md"}
FILE = re.compile(r"(?<![\w./-])(?:\w+/)+\w+\.(?:py|md|yaml|json)\b")
NAME = "NAME"  # stands for a name of the reader's choice
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


@cache
def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [textwrap.dedent(body) for _, name, body in FENCE.findall(text_of(page)) if name == language]


def prose(page: str) -> str:
    return FENCE.sub("", text_of(page))


def named_files(document: str) -> set[str]:
    return {name for name in FILE.findall(text_of(document)) if NAME not in name} - OWN


def test_every_file_that_a_document_names_is_there() -> None:
    named = {(document, name) for document in (*PAGES, "Makefile") for name in named_files(document)}
    assert {document for document, _ in named} >= {"README.md", "CONTRIBUTING.md", "Makefile", "docs/extending.md"}
    lost = [
        (document, name) for document, name in named if not any((top / name).exists() for top in (ROOT, PACKAGE, DOCS))
    ]
    assert lost == []


# ---- links -----------------------------------------------------------------------------------------------------------


@cache
def anchors(path: Path) -> frozenset[str]:
    """The addresses on a page, as Markdown and MkDocs make them of headings, and those that it names itself."""
    text = FENCE.sub("", path.read_text())
    words = [re.sub(r"[^\w\s-]", "", head).strip().lower() for head in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
    return frozenset([re.sub(r"[-\s]+", "-", head) for head in words] + re.findall(r'<a id="([^"]+)"', text))


def links(page: str) -> Iterator[tuple[Path, str]]:
    for link in LINK.findall(prose(page)):
        if "://" not in link:
            name, _, anchor = link.partition("#")
            yield ((ROOT / page).parent / name if name else ROOT / page), anchor


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_page_and_a_heading(page: str) -> None:
    dead = [f"{path}#{anchor}" for path, anchor in links(page) if not path.is_file()]
    assert dead == []
    assert [f"{path}#{anchor}" for path, anchor in links(page) if anchor and anchor not in anchors(path)] == []


def test_the_navigation_has_every_page() -> None:
    listed = re.findall(r"^ +- .*?([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


# ---- commands, YAML and code -----------------------------------------------------------------------------------------


def commands(page: str) -> list[list[str]]:
    """The words of every `$ empslurm ...` of the page, without comments."""
    lines = [line for block in blocks(page, "console") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[2:] for line in lines if line.startswith("$ empslurm ")]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_one(page: str) -> None:
    for words in commands(page):
        parser.build(words[0]).parse_args(words)  # SystemExit, and argparse's sentence, where it is none
    verbs = re.findall(r"`empslurm (\w+)", prose(page))
    assert [verb for verb in verbs if verb not in VERBS] == []
    targets = re.findall(r"(?:`|^\$ )make ([a-z0-9-]+)", text_of(page), re.MULTILINE)
    known = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [target for target in targets if target not in known] == []


def test_the_cards_and_manifests_of_the_documents_are_valid(tmp_path: Path) -> None:
    found = {"id": 0, "name": 0}
    for folder in ("cards", "manifests"):
        (tmp_path / folder).mkdir()
    yaml = [block for page in PAGES for block in blocks(page, "yaml")]
    for block in yaml:
        if block.startswith("id:"):
            found["id"] += 1
            (tmp_path / "cards" / f"{found['id']}.yaml").write_text(block)
    assert len(read_cards([tmp_path / "cards"], ())) == found["id"]
    for block in yaml:
        if re.search(r"^name:", block, re.MULTILINE) and "tasks:" in block:
            found["name"] += 1
            path = tmp_path / "manifests" / f"{found['name']}.yaml"
            path.write_text(block)
            assert load_manifest(path).tasks
    assert min(found.values()) >= 2, found


def squeezed(code: str) -> str:
    """Code as it can be compared wherever it stands: without white space and commas."""
    return re.sub(r"[\s,]", "", code)


def test_the_code_of_the_extensions_is_what_their_tests_run() -> None:
    tested = squeezed("".join(path.read_text() for path in sorted((ROOT / "tests/extension").glob("test_*.py"))))
    shown = blocks("docs/extending.md", "python")
    assert len(shown) >= 6
    assert [block for block in shown if squeezed(block) not in tested] == []


def test_the_notebook_is_shown_as_it_is() -> None:
    assert (DOCS / "notebook.py").read_text() in "\n".join(blocks("docs/notebooks.md", "python"))


# ---- names and figures -----------------------------------------------------------------------------------------------


def first_cells(table: str) -> list[str]:
    """The first column of the map's table with this title, each `name` in it."""
    _, _, text = text_of("docs/architecture.md").partition(f"| {table} | what |\n|---|---|\n")
    rows = text.split("\n\n")[0].splitlines()
    return [name for row in rows for name in re.findall(r"`([\w/]+)`", row.split("|")[1])]


def test_the_map_has_every_module_and_package_once() -> None:
    modules = [path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")]
    packages = [f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")]
    assert sorted(first_cells("module of `empslurm/`")) == sorted(modules)
    assert sorted(first_cells("package of `empslurm/`")) == sorted(packages)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/extending.md"])
def test_tables_that_a_contributor_extends_are_in_their_files(page: str) -> None:
    places = re.findall(r"`([A-Z_]+)` (?:of|in) `(empslurm/[\w/]+\.py)`", text_of(page))
    assert {name for name, _ in places} >= {"METRICS", "ADAPTER_KINDS", "KINDS", "RUNNERS", "FAILURES", "ANALYSES"}
    for name, path in places:
        assert re.search(rf"^{name}\b.* = ", (ROOT / path).read_text(), re.MULTILINE), (name, path)


def test_the_docs_list_the_metrics_there_are() -> None:
    _, _, table = text_of("docs/results.md").partition("| metric | range | better |\n|---|---|---|\n")
    better = {
        name: row.split("|")[3].strip()
        for row in table.split("\n\n")[0].splitlines()
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert better == {name: "higher" if metric.higher_is_better else "lower" for name, metric in METRICS.items()}
    _, _, table = text_of("docs/own-task.md").partition("| `kind` | `metric` |\n|---|---|\n")
    by_kind = {
        row.split("|")[1].strip(): re.findall(r"`(\w+)`", row.split("|")[2])
        for row in table.split("\n\n")[0].splitlines()
    }
    assert by_kind == {kind: [*that_choose_epochs(kind)] for kind in ("classification", "regression")}


WORDS = (
    *("cell", "pack", "wave", "claim", "runs root", "profile", "manifest", "card", "seal", "verdict", "family"),
    *("source", "target", "baseline", "transfer", "snapshot", "lost", "setting", "bundle", "lab"),
)


def test_the_glossary_has_the_words_that_are_ours() -> None:
    glossary = text_of("docs/architecture.md").partition("## Glossary")[2].partition("\n## ")[0]
    assert set(re.findall(r"\*\*([\w ]+)\*\*", glossary)) == set(WORDS)


def short(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".removeprefix("0")


def test_the_figures_of_the_verdicts_page_are_the_measured_ones() -> None:
    page = text_of("docs/verdicts.md")
    measured = json.loads((ROOT / "benchmarks/results/verdict_simulation.json").read_text())
    rows = [row["methods"] for table in ("scores", "answers", "collapse") for row in measured[table]]
    assert f"In {len(rows)} settings" in page
    for title, method in (
        ("verdict", "verdict"),
        ("Welch's t-test on the seeds", "Welch"),
        ("bootstrap test, one seed (the paper's)", "paper's test, one seed"),
    ):
        rates = [row[method]["false_positive_rate"] for row in rows]
        assert f"| {title} | {short(min(rates), 3)} | {short(max(rates), 3)} |" in page
    collapse = {row["name"]: row["methods"] for row in measured["collapse"]}
    for n_seeds in (2, 3, 5, 8):
        row = collapse[f"18 tasks, {n_seeds} seeds, equal, 0% collapse"]
        powers = (row["Welch"]["power"], row["verdict"]["power"], row["verdict"]["power_corrected"])
        assert f"| {n_seeds} | {' | '.join(short(power, 2) for power in powers)} |" in page
    scores = {row["name"]: row["methods"]["verdict"]["power"] for row in measured["scores"]}
    many, few = (short(scores[name], 2) for name in ("baseline with nine seeds", "cells of equal kind"))
    assert f"found {many} instead of {few} of the effects" in " ".join(page.split())
    errors = [row["error_rate"] for row in measured["equivalence"]]
    assert f"in {short(min(errors), 3)} to {short(max(errors), 3)} of the cases" in page
    assert len(measured["short"]) == 4
    promises = measured["promises"]
    assert f"in {len(promises)} simulated settings" in page
    for name in ("promised", "reached"):
        values = [row[name] for row in promises]
        assert f"{short(min(values), 2)} to {short(max(values), 2)}" in page


def test_the_figures_of_the_choosing_page_are_the_measured_ones() -> None:
    page = " ".join(text_of("docs/choosing.md").split())
    real, planted, times = (
        json.loads((ROOT / f"benchmarks/results/{name}.json").read_text())
        for name in ("suggest_real", "suggest_planted", "suggest")
    )
    for study in ("grid", "paper"):
        for row in real[study]["targets_left_out"].values():
            tau = "{:.2f} ({:.2f} to {:.2f})".format(*(value + 0.0 for value in row["tau"]))
            others = [f"{row['ndcg'][0]:.2f}", *(f"{row[f'regret_{k}'][0]:.1f}" for k in (1, 3, 5))]
            assert f"| {' | '.join([tau, *others])} |".replace("-0.00", "0.00") in page
    total = planted["total"]
    assert total["n_corpora"] >= 10
    assert f"first three in {total['found']['suggest']:.2f} of {total['n_targets']} targets" in page
    assert f"90 % intervals hold {total['coverage']:.2f} of {total['n_pairs']} measured gains" in page
    for way, found in total["found"].items():
        assert f"| {found:.2f} | {total['tau'][way] + 0.0:.2f} |" in page
    for row in times.values():
        assert (
            f"| {row['n_sources']} | {row['n_training_texts']:,} | {row['n_read']:,} | {row['wall_s'] / 60:.1f} min"
            in page
        )


def test_the_figures_of_the_pooling_page_are_the_measured_ones() -> None:
    page = text_of("docs/pooling.md")
    rows = json.loads((ROOT / "benchmarks/results/pooling.json").read_text())["rows"]
    alike = [row for row in rows if not row["shift"] and not row["scatter"] and row["targets"] == 3]
    shown = 0
    for labs, seeds, mark in re.findall(
        r"(?m)^\| (\d), (\d)(, with the same test examples|, which differ.*?)? \|", page
    ):
        (row,) = (
            row
            for row in alike
            if (row["labs"], row["seeds"]) == (int(labs), int(seeds))
            and (row["tau"] > 0, row["examples"] > 0) == (mark.startswith(", which"), mark.startswith(", with"))
            and row["same_examples"]
        )
        own = next(line for line in page.splitlines() if line.startswith(f"| {labs}, {seeds}{mark} |"))
        assert f"| {row['covers']:.0%} | {row['width']:.1f} |".replace("%", " %") in own
        if not row["tau"]:
            assert f"| {row['q']:.0%} ({row['q_chi2']:.0%}) |".replace("%", " %") in own
        shown += 1
    assert shown == 7
    (shifted,) = (row for row in rows if row["shift"] == 2 and row["labs"] == 4)
    assert f"by two in {shifted['flagged']:.0%}".replace("%", " %") in page


def test_the_figures_of_budgets_are_the_measured_ones() -> None:
    page = text_of("docs/costs.md")
    kinds = json.loads((ROOT / "benchmarks/results/budget.json").read_text())["kinds"].values()
    for situation, shares in {"nothing": (0.1, 0.35, 0.5, 0.75), "rest": (0.1, 0.35, 0.5, 0.75)}.items():
        for share in shares:
            of_kinds = [kind[f"{situation}, {share}"] for kind in kinds]
            ways = ("budget", "plan's order", "random order")
            means = [sum(kind[way]["decided_per_hour"]["mean"] for kind in of_kinds) / len(of_kinds) for way in ways]
            assert f"| {share:.2f} | {' | '.join(f'{mean:.2f}' for mean in means)} |".replace("| 0.", "| .", 1) in page
            assert all(0.95 <= kind["spent"]["mean"] <= 1.05 for kind in of_kinds)


def test_the_figures_of_the_comparison_of_settings_are_the_measured_ones() -> None:
    page = text_of("docs/verdicts.md")
    rows = json.loads((ROOT / "benchmarks/results/interaction_simulation.json").read_text())["rows"]
    called = {
        (row["table"], row["settings"], row["seeds"], row.get("unequal", row.get("effect"))): row
        for row in rows
        if row["sources"] == 17
    }
    for settings, seeds in ((2, 3), (2, 5), (3, 3), (3, 5)):
        alike = [short(called["alike", settings, seeds, unequal]["called"], 3) for unequal in (0, 1)]
        power = [short(called["power", settings, seeds, effect]["called"], 2) for effect in (2.0, 3.0)]
        assert f"| {settings} | {seeds} | {' | '.join([*alike, *power])} |" in page
