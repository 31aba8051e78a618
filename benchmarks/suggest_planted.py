"""Check that `suggest` finds planted sources, and that its intervals hold, on invented corpora.

    python benchmarks/suggest_planted.py [--corpora N] [--first SEED] [--again] [--folder DIR] [--out FILE]

Each corpus has a lexicon for every source: each of the same nouns has a level (0, 1, 2), drawn at random by the seed of
the corpus, so that no pretrained model can know it. A source with 240 labelled texts learns its lexicon; a target
with 24 cannot. Each target asks the lexicon of one source, its *planted best*; two other sources share a half and a
quarter of that lexicon, and the rest share nothing but what chance gives, a third. The targets of a corpus have
different planted bests, so popularity alone cannot find them. All sources are tried with all targets, and then each
target is left out in turn: `suggest` gets the finished grid without this target's transfers (its baselines stay, to
name its training texts).

- found: the share of targets whose planted best is among the first 3 that `suggest` ranks. Beside it the same share for
  popularity, for each single feature (more counts as better), for random order, and for the measured gains themselves,
  which is what a whole grid would find. Ties count as in random order.
- found_among_all: as found, where the adapters of the other targets could be sources too, as `suggest` has it if nobody
  says which adapters to take.
- found_first: the share of targets whose planted best is the first that `suggest` ranks; measured_first: whose planted
  best has the largest measured gain.
- coverage: the share of pairs whose measured gain (mean over seeds of transfer less baseline) lies in the 90 % interval
  that `suggest` gives.
- tau: Kendall's tau-b with the measured gains, for each way to choose.

Means are over targets or pairs; standard errors take corpora as the units. Each corpus is written to
benchmarks/results/suggest_planted.json as soon as it is finished; corpora that are there are kept unless --again.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scratch import ROOT, Scratch

from empslurm.analysis import source_selection
from empslurm.report.source_choice import FEATURES
from empslurm.suggestion.answer import Question, answer
from empslurm.suggestion.grids import Grid
from empslurm.suggestion.inputs import ask
from empslurm.suggestion.ranking import Ranking
from empslurm.tasks.sample.story import LOOKS, PLACES, THINGS

RESULTS = Path(__file__).parent / "results" / "suggest_planted.json"
K = 3
N_SOURCES, N_TARGETS = 8, 6
N_THINGS = 32  # of one corpus
LEVELS = (0, 1, 2)
SEEDS = (1, 2)
SIZES = {"source": {"train": 240, "validation": 24, "test": 40}, "target": {"train": 24, "validation": 24, "test": 100}}
SPREAD = 0.08  # standard deviation of ratings around their true value, as a share of the scale
TRAINING = {"epochs": 2, "batch_size": 8, "lr": 1e-3, "max_length": 24}
TRAINING_OF_TARGETS = {"epochs": 5, "batch_size": 4}
FRAMES = (
    "Found the {} {}.", "My {} is gone {}.", "Somebody left a {} {}.", "We keep your {} {}.", "Who owns this {} {}?",
    "Please return the {} {}.", "There was a {} {}.", "I want my {} back {}.", "She asked for the {} {}.",
    "One {} was handed in {}.", "They sold a {} {}.", "He forgot his {} {}.", "Look, a {} {}!", "No {} was seen {}.",
)  # fmt: skip
MEASURED, RANDOM, SUGGEST, POPULARITY = "measured", "random", "suggest", "popularity"

Values = NDArray[np.float64]


# ---- the corpus ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Invented:
    """A task of a corpus. `best`: of a target, the source that asks the same lexicon; of a source, itself."""

    name: str
    role: str  # source or target
    kind: str  # classification or regression
    frame: str
    lexicon: Mapping[str, int]  # noun -> level
    best: str


def invent(seed: int) -> list[Invented]:
    """The tasks of a corpus: sources are classifications; of the targets, every other one is a regression."""
    rng = random.Random(f"{seed}:corpus")
    things = rng.sample(THINGS, N_THINGS)
    lexicons = _lexicons(things, rng)
    while not _as_planned(lexicons):
        lexicons = _lexicons(things, rng)
    names = [f"source_{letter}" for letter in "abcdefgh"[:N_SOURCES]]
    rng.shuffle(names)
    frames = rng.sample(FRAMES, N_SOURCES + N_TARGETS)
    tasks = [
        Invented(name=name, role="source", kind="classification", frame=frame, lexicon=lexicon, best=name)
        for name, frame, lexicon in zip(names, frames[:N_SOURCES], lexicons, strict=True)
    ]
    asked = rng.sample(tasks, N_TARGETS)
    return tasks + [
        Invented(
            name=f"target_{'uvwxyz'[at]}",
            role="target",
            kind=("classification", "regression")[at % 2],
            frame=frame,
            lexicon=source.lexicon,
            best=source.name,
        )
        for at, (source, frame) in enumerate(zip(asked, frames[N_SOURCES:], strict=True))
    ]


def _lexicons(things: Sequence[str], rng: random.Random) -> list[dict[str, int]]:
    """The lexicon of each source. The first, third and so on are drawn alone.

    Each of the others has half of the one before it and a quarter of the one after it (the last: of the first).
    """
    half, quarter = N_THINGS // 2, N_THINGS // 4
    parts = [[_levels(half, rng), _levels(quarter, rng), _levels(quarter, rng)] for _ in range(N_SOURCES)]
    for at in range(1, N_SOURCES, 2):
        parts[at][0], parts[at][1] = parts[at - 1][0], parts[(at + 1) % N_SOURCES][1]
    return [dict(zip(things, [level for part in own for level in part], strict=True)) for own in parts]


def _levels(n: int, rng: random.Random) -> list[int]:
    """Levels of so many nouns, each about equally often."""
    return rng.sample([*LEVELS] * -(-n // len(LEVELS)), n)


def _as_planned(lexicons: Sequence[Mapping[str, int]]) -> bool:
    """Whether chance leaves the order that is planted: a half shared, then a quarter, then the rest."""
    for first, second in combinations(range(N_SOURCES), 2):
        near = {first, second} in ({at, (at + 1) % N_SOURCES} for at in range(0, N_SOURCES, 2))
        far = {first, second} in ({at, (at + 1) % N_SOURCES} for at in range(1, N_SOURCES, 2))
        low, high = (0.59, 0.75) if near else (0.45, 0.58) if far else (0.2, 0.43)
        if not low <= agreement(lexicons[first], lexicons[second]) <= high:
            return False
    return True


def agreement(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    """The share of nouns that have the same level in two lexicons."""
    return sum(one[thing] == other[thing] for thing in one) / len(one)


def write(task: Invented, seed: int, project: Scratch) -> None:
    """A task's tables, one for each part, and its card."""
    rng = random.Random(f"{seed}:{task.name}")
    folder = project.data / task.name
    folder.mkdir(parents=True, exist_ok=True)
    for part, n in SIZES[task.role].items():
        with (folder / f"{part}.csv").open("w", newline="") as stream:
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(("text", "label"))
            for _ in range(n):
                thing = rng.choice([*task.lexicon])
                text = task.frame.format(f"{rng.choice(LOOKS)} {thing}", f"at the {rng.choice(PLACES)}")
                table.writerow((text, _label(task, task.lexicon[thing], rng)))
    scale = {"labels": ["none", "some", "much"]} if task.kind == "classification" else {"low": 0.0, "high": 10.0}
    card = {
        "id": task.name,
        "title": task.name.replace("_", " "),
        "file": {part: f"{part}.csv" for part in SIZES[task.role]},
        "format": "csv",
        "columns": {"text": "text", "label": "label"},
        "kind": task.kind,
        **scale,
        "data_source": "invented",
        "language_setting": "invented",
        "citation": "Nobody (2026). Invented sentences about lost things.",
        "licence": "CC0",
    }
    cards = project.path / "cards"
    cards.mkdir(exist_ok=True)
    (cards / f"{task.name}.yaml").write_text(yaml.safe_dump(card))


def _label(task: Invented, level: int, rng: random.Random) -> str:
    if task.kind == "classification":
        return ("none", "some", "much")[level]
    return f"{min(10.0, max(0.0, rng.gauss(1.5 + 3.5 * level, 10 * SPREAD))):.3f}"


def manifest(tasks: Sequence[Invented]) -> dict[str, Any]:
    """All sources with all targets."""
    sources, targets = ([task.name for task in tasks if task.role == role] for role in ("source", "target"))
    per_task = dict.fromkeys(targets, TRAINING_OF_TARGETS)
    return {
        "cards": ["../cards"],
        "tasks": [*sources, *targets],
        "pairs": [{"source": sources, "target": targets}],
        "seeds": [*SEEDS],
        "backbone": "minilm",
        "training": {**TRAINING, "per_task": per_task},
    }


# ---- one corpus ------------------------------------------------------------------------------------------------------


def measure(seed: int, folder: Path) -> dict[str, Any]:
    """Run the grid of one corpus, leave out each target in turn, and compare what is said with what was measured."""
    project = Scratch(path=folder, data=folder / "data")
    for name in ("manifests", "slurm"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "slurm" / "small.yaml").write_bytes((ROOT / "slurm" / "small.yaml").read_bytes())
    tasks = invent(seed)
    for task in tasks:
        write(task, seed, project)
    project.write_manifest("planted", manifest(tasks))
    started = time.monotonic()
    project.call("runs", "submit", "planted", "--profile", "small")
    trained = time.monotonic()
    runs = folder / "runs"
    scores = {
        (cell.source_task, cell.target, cell.seed): _number(result["test"][result["metric"]])
        for _, cell, result in project.finished("runs")
    }
    by_name = {task.name: task for task in tasks}
    sources = [task.name for task in tasks if task.role == "source"]
    path = folder / "manifests" / "planted.yaml"
    targets = []
    for task in tasks:
        if task.role == "target":
            question = ask(
                task.name, grids=[path], cells=(), cards=(), k=K, runs=str(runs), data=str(project.data)
            )  # fmt: skip
            without = left_out(question)
            ranking = _ranking(_with_sources(without, sources))
            targets.append(
                {
                    **_row(task, by_name, ranking, scores),
                    "place_among_all": _place(_ranking(without), task.best),
                }
            )
    corpus = {
        "n_cells": len(scores),
        "seconds": {"grid": round(trained - started, 1), "suggest": round(time.monotonic() - trained, 1)},
        "targets": targets,
    }
    return {**{name: corpus[name] for name in ("n_cells", "seconds")}, **summary(targets), "targets": targets}


def left_out(question: Question) -> Question:
    """The same question without the finished transfers of its target."""

    def without(grid: Grid) -> Grid:
        groups = []
        for group in grid.gathered.groups:
            asked = (group.runs["kind"] == "transfer") & (group.runs["target"] == question.target)
            groups.append(replace(group, runs=group.runs[~asked]))
        return replace(grid, gathered=replace(grid.gathered, groups=tuple(groups)))

    return replace(question, grids=tuple(map(without, question.grids)))


def _with_sources(question: Question, sources: Sequence[str]) -> Question:
    """The same question where only these tasks' adapters could be sources."""
    return replace(question, members=tuple(one for one in question.members if one.measure.task in sources))


def _ranking(question: Question) -> Ranking:
    said = answer(question)
    if said.problems or len(said.rankings) != 1:
        raise RuntimeError(f"{question.target} must have one ranking without problems, but: {said.problems}")
    ranking = said.rankings[0]
    if any(one.tried for one in ranking.candidates):
        raise RuntimeError(f"{question.target} must be left out, but a source of it counts as tried")
    return ranking


def _place(ranking: Ranking, source: str) -> int:
    """1 for the first."""
    return [one.source for one in ranking.candidates].index(source) + 1


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _row(
    task: Invented,
    tasks: Mapping[str, Invented],
    ranking: Ranking,
    scores: Mapping[tuple[str | None, str, int], float],
) -> dict[str, Any]:
    """What was planted, said and measured of one target."""
    baseline = np.array([scores[None, task.name, seed] for seed in SEEDS])
    ranked = ranking.candidates
    transfer = np.array([[scores[one.source, task.name, seed] for seed in SEEDS] for one in ranked])
    gains = (transfer - baseline).mean(1)
    ways = {
        SUGGEST: np.array([one.expected for one in ranked]),
        POPULARITY: np.array([one.popularity for one in ranked]),
        **{name: np.array([one.values[name] for one in ranked]) for name in FEATURES},
        RANDOM: np.zeros(len(ranked)),
        MEASURED: gains,
    }
    planted, rng = [one.source for one in ranked].index(task.best), np.random.default_rng(0)
    quality = {
        name: source_selection.of_target(values, transfer.mean(1), float(baseline.mean()), 1, rng)
        for name, values in ways.items()
        if name in (SUGGEST, POPULARITY, RANDOM) or len(np.unique(values[np.isfinite(values)])) > 1
    }
    return {
        "target": task.name,
        "kind": task.kind,
        "planted": task.best,
        "baseline": round(float(baseline.mean()), 4),
        "place": _place(ranking, task.best),
        "found": {name: round(_among_first(ways[name], planted), 4) for name in quality},
        "tau": {name: round(float(values[0]), 4) for name, values in quality.items()},
        "width": round(ranking.width, 3),
        "sources": [
            {
                "source": one.source,
                "shared": round(agreement(tasks[one.source].lexicon, task.lexicon), 2),
                "gain": None if np.isnan(gain) else round(float(gain), 4),
                **{name: round(getattr(one, name), 4) for name in ("expected", "low", "high", "best")},
                "inside": None if np.isnan(gain) else bool(one.low <= gain <= one.high),
            }
            for one, gain in zip(ranked, gains, strict=True)
        ],
    }


def _among_first(values: Values, at: int) -> float:
    """Whether one source is among the first K; of equal values, the probability in random order."""
    values = np.where(np.isfinite(values), values, -np.inf)
    above, equal = int((values > values[at]).sum()), int((values == values[at]).sum())
    return min(1.0, max(0.0, (K - above) / equal))


# ---- all corpora -----------------------------------------------------------------------------------------------------


def summary(targets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the targets and pairs of a corpus, or of several."""
    pairs = [pair for row in targets for pair in row["sources"] if pair["inside"] is not None]
    ways = list(dict.fromkeys(name for row in targets for name in row["found"]))
    missing = {"found": K / N_SOURCES, "tau": 0.0}  # of a way that says nothing of a target: random order
    means = {
        measure: {name: _mean(row[measure].get(name, value) for row in targets) for name in ways}
        for measure, value in missing.items()
    }
    return {
        "found": means["found"],
        "found_among_all": _mean(row["place_among_all"] <= K for row in targets),
        "found_first": _mean(row["place"] == 1 for row in targets),
        "measured_first": _mean(_best(row) == row["planted"] for row in targets),
        "coverage": _mean(pair["inside"] for pair in pairs),
        "tau": means["tau"],
        "n_targets": len(targets),
        "n_pairs": len(pairs),
        "n_undefined": sum(len(row["sources"]) for row in targets) - len(pairs),
        "mean_half_width": _mean((pair["high"] - pair["low"]) / 2 for pair in pairs),
        "spread_of_gains": round(float(np.std([pair["gain"] for pair in pairs])), 4),
        "gains": _gains(targets),
    }


def _gains(targets: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean measured gain of the planted best, of the two sources next to it in what they share, and of the others."""
    places: dict[str, list[float]] = {"planted": [], "second": [], "third": [], "others": []}
    for row in targets:
        ordered = sorted(row["sources"], key=lambda pair: (pair["source"] != row["planted"], -pair["shared"]))
        for at, pair in enumerate(ordered):
            if pair["gain"] is not None:
                places[("planted", "second", "third", *["others"] * N_SOURCES)[at]].append(pair["gain"])
    return {name: _mean(values) for name, values in places.items()}


def _best(row: Mapping[str, Any]) -> str:
    """The source with the largest measured gain."""
    known = [pair for pair in row["sources"] if pair["gain"] is not None]
    return str(max(known, key=lambda pair: pair["gain"])["source"])


def _mean(values: Iterable[float]) -> float:
    return round(float(np.mean(list(values))), 4)


def total(corpora: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Over all corpora, with standard errors by corpus."""
    every = [row for corpus in corpora.values() for row in corpus["targets"]]
    found = summary(every)

    def error(values: Sequence[float]) -> float | None:
        return round(float(np.std(values, ddof=1) / np.sqrt(len(values))), 4) if len(values) > 1 else None

    def errors(measure: str, otherwise: float) -> dict[str, float | None]:
        return {
            name: error([corpus[measure].get(name, otherwise) for corpus in corpora.values()])
            for name in found[measure]
        }

    return {
        "n_corpora": len(corpora),
        "n_cells": sum(corpus["n_cells"] for corpus in corpora.values()),
        "seconds": {
            part: round(sum(corpus["seconds"][part] for corpus in corpora.values()), 1) for part in ("grid", "suggest")
        },
        **found,
        "standard_errors": {
            "found": errors("found", K / N_SOURCES),
            "found_among_all": error([corpus["found_among_all"] for corpus in corpora.values()]),
            "coverage": error([corpus["coverage"] for corpus in corpora.values()]),
            "tau": errors("tau", 0.0),
        },
    }


def show(name: str, one: Mapping[str, Any]) -> None:
    """A line for each way to choose."""
    print(
        f"{name}: {one['n_cells']} cells, {one['seconds']['grid']:.0f} + {one['seconds']['suggest']:.0f} s; "
        f"coverage {one['coverage']:.3f} of {one['n_pairs']} pairs; found among all {one['found_among_all']:.3f}, "
        f"first {one['found_first']:.3f}; measured first {one['measured_first']:.3f}; gains {one['gains']}"
    )
    for way, share in one["found"].items():
        print(f"  {way:20} found {share:.3f}   tau {one['tau'][way]:+.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=int, default=10, help="how many")
    parser.add_argument("--first", type=int, default=1, help="seed of the first corpus")
    parser.add_argument("--again", action="store_true", help="measure corpora again that are there")
    parser.add_argument("--folder", type=Path, help="keep data and runs of each corpus here (default: delete them)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    for seed in range(options.first, options.first + options.corpora):
        known = json.loads(options.out.read_text())["corpora"] if options.out.exists() else {}
        if str(seed) in known and not options.again:
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) if options.folder is None else options.folder / str(seed)
            folder.mkdir(parents=True, exist_ok=True)
            corpus = measure(seed, folder)
        corpora = dict(sorted({**known, str(seed): corpus}.items(), key=lambda item: int(item[0])))
        options.out.write_text(json.dumps({"total": total(corpora), "corpora": corpora}, indent=1) + "\n")
        show(f"corpus {seed}", corpus)
    if options.out.exists():
        show("total", json.loads(options.out.read_text())["total"])


if __name__ == "__main__":
    main()
