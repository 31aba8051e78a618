"""Pages for tests, written as `gather` writes them: of a runs root, a table of results, and settings."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from empslurm import reference
from empslurm.gather import from_file, gather
from empslurm.report.write import write
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from tests.gather.grids import finish, grid

HISTORY: list[dict[str, Any]] = [
    {"epoch": epoch, "step": 10 * epoch, "train_loss": 1 / epoch, "f1_macro": 0.2 * epoch, "pearson": 0.2 * epoch}
    for epoch in (1, 2, 3)
]


def of_runs(folder: Path) -> Path:
    """Three of the paper's tasks, all pairs, two seeds, with learning curves."""
    root = RunsRoot(folder)
    for cell in grid(("epitome_er", "news_empathy", "conv_emopol"), seeds=(1, 2)):
        finish(root, cell, history=HISTORY)
    out = root.gathered / "all"
    return out / write(gather(root, None, registry()), out, ratings=reference.ratings()).report


def of_results(folder: Path, lines: list[str], head: str = "source,target,seed,metric,value") -> Path:
    """A table of results."""
    path = folder / "mine.csv"
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return folder / write(from_file(path, registry()), folder / ".", ratings=reference.ratings()).report


def planted(n_sources: int, n_targets: int, *, setting: str = "", seeds: int = 3) -> list[str]:
    """Rows in which the first source helps every target, the second harms it, and the others have no effect."""
    rng = np.random.default_rng(7)
    effects = {"help": 0.1, "harm": -0.1}
    names = ["help", "harm", *(f"source {at}" for at in range(n_sources - 2))]
    first = f"{setting}," if setting else ""
    return [
        f"{first}{source},target {at},{seed},accuracy,{0.6 + effects.get(source, 0) + rng.normal(0, 0.005):.4f}"
        for at in range(n_targets)
        for source in ("", *names)
        for seed in range(1, seeds + 1)
    ]


def of_settings(folder: Path) -> Path:
    """Two settings of the same pairs; what helps in the first harms in the second."""
    turned = [
        line.replace(",help,", ",#,").replace(",harm,", ",help,").replace(",#,", ",harm,")
        for line in planted(3, 3, setting="b")
    ]
    lines = [*planted(3, 3, setting="a"), *turned]
    return of_results(folder, lines, head="setting,source,target,seed,metric,value")


def data_of(page: Path) -> dict[str, Any]:
    """The data that the page's script reads."""
    found = re.search(r'<script type="application/json" id="page-data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def words_of(page: Path) -> str:
    """All text that a reader may see: of the markup, and of the tables that the script makes."""
    markup = re.sub(r"<(style|script)[^>]*>.*?</\1>", "", page.read_text(), flags=re.DOTALL)
    said = [html.unescape(re.sub(r"<[^>]+>", " ", markup))]
    data = data_of(page)
    for table in data["tables"].values():
        cells = [cell if isinstance(cell, str) else cell[0] for row in table["rows"] for cell in row]
        said += [table["title"], *(head for _, head in table["columns"]), *cells]
    said += [str(view[name]) for view in data["views"] for name in ("one_seed_test", "setting", "leaks", "devices")]
    return "\n".join([*said, *data["notes"].values()])
