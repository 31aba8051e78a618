"""`demo`: train a grid on an invented corpus with a planted truth, interrupt it once, and show what was found.

Every step runs a verb in a process of its own, as a user would.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from empslurm import api, files
from empslurm.cli import common
from empslurm.cli.output import Output
from empslurm.errors import EmpslurmError
from empslurm.plan import Plan
from empslurm.report.formats import shown
from empslurm.store.runs import RunsRoot
from empslurm.tasks.sample import write_sample
from empslurm.tasks.sample.truth import WORDS, Found, compare, read_truth

MANIFEST, PROFILE = "demo", "small"
LOOK_EVERY_S = 0.2
STOP_AT = 1 / 3  # of the cells; then the run is interrupted, to show that nothing is lost

Pairs = Sequence[Mapping[str, Any]]  # of the JSON document of `gather`


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed", type=int, default=1, help="draw the invented corpus with this random seed (default 1)"
    )


def run(options: argparse.Namespace, out: Output) -> int:
    options.manifest = str(api.find_manifest(MANIFEST))
    write_sample(options.data, seed=options.seed)
    out.say(f"1 of 4: wrote an invented corpus with a planted truth to {options.data}")
    plan, root = common.load_plan(options)
    out.say(f"2 of 4: training {len(plan.cells)} small adapters; after a third of them this run interrupts itself")
    before = _train_until_interrupted(plan, root, options)
    interrupted = len(before) < len(plan.cells)
    how = "interrupted after" if interrupted else "ended before it could be interrupted, with"
    out.say(f"3 of 4: {how} {len(before)} of {len(plan.cells)} adapters; the same command goes on")
    with _verb(options, "submit", options.manifest, "--profile", PROFILE) as submit:
        _ended(submit, "submit")
    n_kept = sum(_results(plan, root).get(cell) == digest for cell, digest in before.items())
    out.say("4 of 4: comparing each source with the target's baseline")
    with _verb(options, "gather", options.manifest, "--json", stdout=subprocess.PIPE) as gather:
        text, _ = gather.communicate()
        _ended(gather, "gather")
    document = json.loads(text)
    pairs: Pairs = document["pairs"]
    relations = read_truth(options.data)
    found = compare(relations, {(pair["source"], pair["target"]): pair["verdict"] for pair in pairs})
    out.document(
        {
            "seed": options.seed,
            "n_cells": len(plan.cells),
            "n_interrupted": len(before),
            "n_kept": n_kept,
            "planted": [{"source": item.source, "target": item.target, "effect": item.effect} for item in relations],
            "found": {item.effect: {"n_planted": item.n_planted, "n_found": item.n_found} for item in found},
            "pairs": pairs,
            "report": document["report"],
        }
    )
    out.line()
    for line in (*question_lines(plan, pairs), *answer_lines(pairs), *certainty_lines(pairs)):
        out.line(line)
    out.paragraph(f"Planted: {planted_words(found)}; {options.data / WORDS} explains why.")
    if interrupted:
        out.paragraph(
            f"Interrupted once, on purpose: {n_kept} of {len(before)} adapters that were ready were kept as they were."
        )
    out.line(f"Open {document['report']}")
    return 0


# ---- steps ----------------------------------------------------------------------------------------------------------


@contextmanager
def _verb(
    options: argparse.Namespace, *words: str, stdout: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[str]]:
    """Run a verb in a process of its own, which gets Ctrl-C too, and wait for it at the end."""
    command = [sys.executable, "-m", "empslurm", "--data", str(options.data), "--runs", str(options.runs), *words]
    process = subprocess.Popen(command, stdout=stdout, text=True)
    try:
        yield process
    finally:
        process.wait()


def _ended(process: subprocess.Popen[str], verb: str) -> None:
    """Raise EmpslurmError where a verb failed; the verb itself has printed why."""
    code = process.wait()
    if code != 0:
        raise EmpslurmError(
            f"`{verb}` must end with status 0 in the demo, but ended with {code}; read its message above, or run "
            "`empslurm doctor`"
        )


def _train_until_interrupted(plan: Plan, root: RunsRoot, options: argparse.Namespace) -> dict[str, str]:
    """Train until a share of the cells is done, then end it as a scheduler would; the results so far, as `_results`."""
    enough = max(1, round(STOP_AT * len(plan.cells)))
    with _verb(options, "submit", options.manifest, "--profile", PROFILE) as submit:
        while submit.poll() is None and _n_done(plan, root) < enough:
            time.sleep(LOOK_EVERY_S)
        if submit.poll() is None:
            submit.send_signal(signal.SIGTERM)  # not INT, which a shell in the background makes children ignore
            submit.wait()
        else:
            _ended(submit, "submit")
    return _results(plan, root)


def _n_done(plan: Plan, root: RunsRoot) -> int:
    return sum(root.cell(cell.id).result_file.exists() for cell in plan.cells)


def _results(plan: Plan, root: RunsRoot) -> dict[str, str]:
    """The digest of each result, by cell id."""
    paths = {cell.id: root.cell(cell.id).result_file for cell in plan.cells}
    return {id: files.sha256_file(path) for id, path in paths.items() if path.exists()}


# ---- words ----------------------------------------------------------------------------------------------------------


def question_lines(plan: Plan, pairs: Pairs) -> tuple[str, ...]:
    n_seeds = len({cell.seed for cell in plan.cells})
    return (
        "Asked: does training on one task first help another, which has few labels?",
        f"Found, of {len(pairs)} pairs with {n_seeds} seeds each:",
    )


def answer_lines(pairs: Pairs) -> Iterator[str]:
    """A line per pair that helps or harms, and one for the others."""
    called = [pair for verdict in ("helps", "harms") for pair in pairs if pair["verdict"] == verdict]
    names = [f"{pair['source_title']} {pair['verdict']} {pair['target_title']}" for pair in called]
    width = max(map(len, names), default=0)
    for name, pair in zip(names, called, strict=True):
        yield f"  {name:{width}}  {_score(pair['baseline'])} -> {_score(pair['score'])}  {_change(pair)}"
    rest = [pair for pair in pairs if pair not in called]
    equal = sum(pair["verdict"] == "equivalent" for pair in rest)
    if rest:
        yield f"  {len(rest)} other pairs: no help or harm shown" + (
            f"; {equal} shown to be within the margin" if equal else ""
        )


def _score(value: float | None) -> str:
    return shown(float("nan") if value is None else value, digits=2, short=True)


def _change(pair: Mapping[str, Any]) -> str:
    half = (pair["high"] - pair["low"]) / 2
    return f"{shown(pair['difference'], digits=2, short=True, signed=True)} ± {shown(half, digits=2, short=True)}"


def certainty_lines(pairs: Pairs) -> tuple[str, ...]:
    return (
        "Scores: macro F1 or Pearson r, alone -> with the source. ±: half of the 95 %",
        f"interval, over seeds and test texts. Calls at .05, corrected for {len(pairs)} pairs.",
    )


def planted_words(found: Sequence[Found]) -> str:
    """What was planted, and whether it was found: helps and harms first."""
    words = {
        "helps": "{n_found} of {n_planted} helps found",
        "harms": "{n_found} of {n_planted} harms found",
        "none": "{n_wrong} of {n_planted} pairs without an effect called",
    }
    return ", ".join(
        words[item.effect].format(n_found=item.n_found, n_planted=item.n_planted, n_wrong=item.n_planted - item.n_found)
        for item in sorted(found, key=lambda item: list(words).index(item.effect))
        if item.n_planted
    )
