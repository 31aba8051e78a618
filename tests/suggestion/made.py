"""What tests of suggestions start from: a small grid that is trained once, and tables of results that train nothing."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from empslurm.suggestion import reading
from empslurm.suggestion.answer import Question, Suggestion, answer
from empslurm.suggestion.grids import Advance
from empslurm.suggestion.inputs import ask
from tests.project import Project, once, trained_on_sample

MANIFEST = """\
name: small
tasks: [conv_empathy, conv_emoint, condolence, news_empathy]
pairs: all_ordered
seeds: [1]
backbone: tiny
training: {epochs: 1, batch_size: 8, lr: 0.02, max_length: 16, max_train_examples: 32, max_eval_examples: 24}
"""
GRID = ("condolence", "conv_emoint", "conv_empathy", "news_empathy")
FEW = 40  # texts of each task that these tests read
HELPS = {"one": 0.2, "two": 0.1, "three": 0.05, "four": 0.0, "five": -0.1}  # what each source gives every target
CARD = """\
id: kite_mood
title: Kite Mood
file: kites.csv
format: csv
columns: {text: said, label: mood}
kind: classification
labels: [up, down]
data_source: Twitter
language_setting: social media
citation: Nobody (2026). Kites of invention.
licence: CC BY 4.0
"""


def trained(factory: pytest.TempPathFactory) -> Project:
    """The grid, trained. Tests leave it as it is."""
    return Project(path=once(factory, "suggestion", lambda path: trained_on_sample(path, MANIFEST)))


def read(factory: pytest.TempPathFactory) -> Project:
    """The same, where a few texts of `hope` and of the finished targets are read. Tests leave it as it is."""
    project = trained(factory)

    def make(path: Path) -> None:
        shutil.copytree(project.path, path, symlinks=True, dirs_exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            few(patch)
            suggested(Project(path=path), "hope")

    return Project(path=once(factory, "suggestion-read", make))


def copy(project: Project, to: Path) -> Project:
    """A copy that a test may write to."""
    shutil.copytree(project.path, to, symlinks=True)
    return Project(path=to)


def few(patch: pytest.MonkeyPatch, most: int = FEW) -> None:
    """Read so many texts of each task at most."""
    patch.setattr(reading, "MOST_OF_TARGET", most)
    patch.setattr(reading, "MOST_OF_OTHERS", most)


def asked(
    project: Project,
    target: str,
    *,
    grids: Sequence[str | Path] = (),
    cells: Sequence[str | Path] = (),
    cards: Sequence[str | Path] = (),
    k: int = 3,
) -> Question:
    """The question, about a project."""
    path = project.path
    return ask(target, grids=grids, cells=cells, cards=cards, k=k, runs=path / "runs", data=path / "data")


def suggested(
    project: Project,
    target: str,
    *,
    grids: Sequence[str | Path] = (),
    cells: Sequence[str | Path] = (),
    cards: Sequence[str | Path] = (),
    k: int = 3,
    advance: Advance = lambda what, done, total: None,
) -> Suggestion:
    """The suggestion, for a project."""
    return answer(asked(project, target, grids=grids, cells=cells, cards=cards, k=k), advance)


def table(
    file: Path,
    helps: Mapping[str, Mapping[str, float]] | None = None,
    *,
    seeds: int = 3,
    baselines: bool = True,
    metric: str = "accuracy",
    own: Mapping[str, float] | None = None,
    targets: Sequence[str] = tuple(HELPS),
) -> Path:
    """A table of results. `helps`: setting -> what each source gives; `own`: what they give to target `one` instead."""
    rows = ["source,target,seed,metric,value,setting"]
    for setting, given in (helps or {"": HELPS}).items():
        rng = np.random.default_rng(3)
        for target in targets:
            for source in ("", *given) if baselines else given:
                for seed in range(seeds):
                    gain = (own or given)[source] if target == "one" and source else given.get(source, 0.0)
                    value = 0.5 + 0.005 * rng.normal() + gain
                    if source != target:
                        rows.append(f"{source},{target},{seed},{metric},{value:.4f},{setting}")
    file.write_text("\n".join(rows) + "\n")
    return file
