"""Make a fixture: a small study that an earlier version ran, parts of it broken off, and what that version says of it.

Run by hand from the root of a checkout of that version; tests/fixtures/upgrade/README.md has the commands. That
version's own code does all the work, and the stand-ins for Slurm are those of its own tests.
"""

import argparse
import contextlib
import csv
import io
import json
import lzma
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHECKOUT = Path.cwd()
WORDS = {
    "up": ("kite", "rose", "high", "bright", "wind", "sun", "laughed", "soared", "calm", "blue"),
    "down": ("string", "broke", "fell", "rain", "mud", "cried", "torn", "grey", "lost", "cold"),
}
CARD_END = """\
data_source: invented
language_setting: conversation
ratings: {definition: 4, link: 2, conduciveness: 3}
citation: Nobody (2026). Kites of invention.
licence: CC BY 4.0
"""
MOOD = """\
id: kite_mood
title: Kite Mood
file: kites.csv
format: csv
columns: {text: said, context: before, label: mood, id: row, group: thread}
kind: classification
labels: [up, down]
"""
# Fields of a card that the earliest version does not know.
NEWER_MOOD = """\
id: kite_mood
title: Kite Mood
file: {train: train.csv, dev: dev.csv, test: test.csv}
format: csv
delimiter: ";"
columns: {text: said, context: before, label: mood, id: row, group: thread}
kind: classification
labels: {1: up, 0: down}
leave_out: [unclear]
"""
WARMTH = """\
id: kite_warmth
title: Kite Warmth
file: warmth.csv
format: csv
columns: {text: said, label: warmth}
kind: regression
low: 1.0
high: 5.0
"""
GRID = """\
name: grid
cards: [../cards]
tasks: [kite_mood, kite_warmth]
pairs: {pairs}
seeds: {seeds}
backbone: tiny
adapter: {{kind: seq_bn, reduction_factor: 16}}
training:
  epochs: 6
  batch_size: 8
  lr: 1.0e-2
  dropout: 0.0
  attention_dropout: 0.0
  max_length: 16
  max_train_examples: 96
  max_eval_examples: 32
"""
EXTRAS = """\
fisher: {max_examples: 16}
embed: {encoder: minilm, max_examples: 16}
"""
HUNT = """\
name: {name}
kind: search
cards: [../cards]
tasks: [kite_mood]
n_trials: {n_trials}
seeds: [1, 2]
space:
  adapters: [seq_bn, double_seq_bn]
  lr: {{low: 1.0e-3, high: 1.0e-2}}
  batch_size: {{low: 8, high: 12}}
pruner: none
second_stage: {{n_types: 1}}
backbone: tiny
training: {{epochs: 3, max_length: 16, max_train_examples: 48, max_eval_examples: 16}}
"""
QUEUED = GRID.replace("name: grid", "name: queued").format(pairs="all_ordered", seeds="[9]")
TABLES = ("table7", "table8", "figure6", "figure7", "figure9", "figure10-empirical", "figure10-sampled")
MEANS = ("source", "target", "metric", "baseline", "transfer", "difference", "percent")
PAIRS = (*MEANS, "n_seeds_baseline", "n_seeds_transfer", "ids_baseline", "ids_transfer")
VERDICTS = ("source", "target", "verdict", "difference", "low", "high", "p_value", "n_seeds")
LOCAL = "kind: local\nnum_processes: 1\ncheckpoint_minutes: 0.0005\n"
SLURM = "kind: slurm\ncpus: 1\ntime: 20\n"


class Study:
    """A project's folder, and the earlier version's command line in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cells = folder / "runs" / "cells"
        self.environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
        self.environment |= {"EMPSLURM_RUNS": "runs", "EMPSLURM_DATA": "data", "HF_HUB_OFFLINE": "1"}

    def start(self, *words: str, path: str = "") -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "empslurm", *words]
        environment = {**self.environment, **({"PATH": f"{path}:{os.environ['PATH']}"} if path else {})}
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder, env=environment
        )

    def call(self, *words: str, expect: int = 0, path: str = "") -> Any:
        """The JSON document of one call."""
        process = self.start(*words, "--json", path=path)
        out, err = process.communicate()
        assert process.returncode == expect, (words, process.returncode, out, err)
        return json.loads(out)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def grid(self, seeds: str, pairs: str = "all_ordered", extras: str = EXTRAS) -> None:
        self.write("manifests/grid.yaml", GRID.format(pairs=pairs, seeds=seeds) + extras)

    def hunt(self, name: str, n_trials: int) -> None:
        self.write(f"manifests/{name}.yaml", HUNT.format(name=name, n_trials=n_trials))

    def one(self, start: str) -> Path:
        (found,) = self.cells.glob(f"{start}-*")
        return found


def table(rng: random.Random, n: int, first: int = 0) -> list[dict[str, str]]:
    """Invented sentences; their words say how the kite fares."""
    rows = []
    for row in range(first, first + n):
        n_up = rng.randint(0, 6)
        words = rng.choices(WORDS["up"], k=n_up) + rng.choices(WORDS["down"], k=6 - n_up)
        rng.shuffle(words)
        mood = "up" if n_up + rng.random() > 3.5 else "down"
        warmth = f"{1 + 4 * n_up / 6:.2f}"
        before = "and then" if row % 3 else ""
        rows.append(
            {"row": str(row), "thread": f"t{row // 2}", "before": before, "said": " ".join(words), "mood": mood}
            | {"warmth": warmth}
        )
    return rows


def write_table(path: Path, rows: list[dict[str, str]], columns: list[str], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, delimiter=delimiter, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue())


def write_data(study: Study, *, newer: bool) -> None:
    """Two cards and their tables."""
    rng = random.Random(1)
    columns = ["row", "thread", "before", "said", "mood"]
    study.write("cards/mood.yaml", (NEWER_MOOD if newer else MOOD) + CARD_END)
    study.write("cards/warmth.yaml", WARMTH + CARD_END)
    if newer:
        codes = {"up": "1", "down": "0"}
        for part, n in {"train": 80, "dev": 24, "test": 32}.items():
            rows = [{**row, "mood": codes[row["mood"]]} for row in table(rng, n)]
            rows[3]["mood"] = "unclear"
            write_table(study.folder / "data" / "kite_mood" / f"{part}.csv", rows, columns, ";")
    else:
        write_table(study.folder / "data" / "kite_mood" / "kites.csv", table(rng, 200), columns)
    write_table(study.folder / "data" / "kite_warmth" / "warmth.csv", table(rng, 200, 500), ["said", "warmth"])


def descendants(pid: int) -> list[int]:
    """Process ids of all that a process started, itself first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for known in found:
        found += children.get(known, [])
    return found


def break_off(study: Study, manifest: str, start: str, end: Callable[["subprocess.Popen[str]"], None]) -> None:
    """Submit a manifest, and end that when the cell whose id begins so has trained an epoch and saved a checkpoint."""
    process = study.start("submit", manifest, "--profile", "local", "--json")
    while process.poll() is None:
        for folder in study.cells.glob(f"{start}-*"):
            metrics = folder / "metrics.jsonl"
            if metrics.exists() and metrics.read_text().count("\n") and any((folder / "checkpoint").glob("*")):
                end(process)
                process.communicate()
                assert not (folder / "result.json").exists(), "too late; try again"
                return
        time.sleep(0.001)
    raise AssertionError(process.communicate())


def kill(process: "subprocess.Popen[str]") -> None:
    for pid in descendants(process.pid):
        os.kill(pid, signal.SIGKILL)


def interrupt(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGINT)


def queue(study: Study, lab: Path) -> None:
    """Send a manifest to Slurm as the version does it; its tests' stand-ins for sbatch and squeue answer."""
    from empslurm.launch.queue import COLUMNS  # of the checkout
    from tests.launch.conftest import SBATCH, SQUEUE

    lab.mkdir()
    layout = "".join(f"%-{width}s" for width in COLUMNS.values())
    programs = {
        "sbatch": SBATCH.format(folder=lab),
        "squeue": SQUEUE.format(folder=lab, layout=layout),
        "srun": "#!/bin/sh\n",
        "sacct": "#!/bin/sh\nexit 1\n",
        "scontrol": "#!/bin/sh\nprintf 'ClusterName = lab\\nMaxArraySize  = 6\\n'\n",
    }
    for name, text in programs.items():
        (lab / name).write_text(text)
        (lab / name).chmod(0o755)
    (lab / "answers").touch()
    study.call("submit", "queued", "--profile", "cluster", path=str(lab))
    shutil.copy(lab / "taken", study.folder / "queue.txt")


def make(study: Study, lab: Path, *, newer: bool) -> None:
    """Run the study, and leave of each state a cell."""
    write_data(study, newer=newer)
    study.write("slurm/local.yaml", LOCAL)
    study.write("slurm/cluster.yaml", SLURM)
    study.write("manifests/queued.yaml", QUEUED)
    study.grid("[1, 2]", pairs="none", extras="")
    study.call("submit", "grid", "--profile", "local")
    # One adapter is damaged for a while: the transfer and the task embedding that start from it fail.
    weights = study.one("kite_warmth-s2") / "output-0001" / "adapter" / "adapter.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-7])
    study.grid("[1, 2]")
    study.call("submit", "grid", "--profile", "local", expect=1)
    weights.write_bytes(whole)
    study.hunt("hunt", 2)
    for _ in ("trials", "second stage"):
        study.call("submit", "hunt", "--profile", "local")
    study.hunt("hunt_more", 3)
    break_off(study, "hunt_more", "kite_mood-s1-trial-002", kill)
    study.grid("[1, 2, 3]")
    break_off(study, "grid", "kite_mood-s3", kill)
    study.grid("[1, 2, 4]")
    break_off(study, "grid", "kite_mood-s4", interrupt)
    study.grid("[1, 2, 3, 4]")
    queue(study, lab)


def rows(path: Path) -> list[dict[str, str]]:
    with open(path) as stream:
        return list(csv.DictReader(stream))


def said(study: Study) -> dict[str, Any]:
    """What this version says of the study: states, decisions, scores. Nothing about time or machine."""
    value: dict[str, Any] = {"actions": {}, "targets": {}}
    for manifest in ("grid", "hunt", "hunt_more", "queued"):
        planned = study.call("plan", manifest)["cells"]
        value["actions"][manifest] = {cell["id"]: cell["action"] for cell in planned}
        value["targets"][manifest] = study.call("status", manifest)["targets"]
    gathered = study.call("gather", "grid")
    folder = study.folder / "runs" / "gathered" / "grid"
    value["missing"] = {cell["id"]: cell["state"] for cell in gathered["missing"]}
    value["scores"] = {}
    for row in rows(folder / "long.csv"):
        value["scores"].setdefault(row["id"], {})[f"{row['part']} {row['metric']}"] = row["value"]
    value["tables"] = {name: rows(folder / f"{name}.csv") for name in TABLES}
    value["tables"]["pairs"] = [{name: row[name] for name in PAIRS} for row in rows(folder / "pairs.csv")]
    value["verdicts"] = [{name: row[name] for name in VERDICTS} for row in rows(folder / "verdicts.csv")]
    report = study.call("gather", "hunt")
    value["search"] = {"n_finished": report["n_finished"], "tables": report["tables"]}
    return value


def resumed(study: Study) -> dict[str, Any]:
    """What this version gives for the cells that were broken off, had not begun, or had failed."""
    before = {path.parent.name for path in study.cells.glob("*/result.json")}
    for manifest in ("grid", "hunt_more"):
        study.call("resume", manifest, "--profile", "local")
    found = {}
    for path in sorted(study.cells.glob("*/result.json")):
        if path.parent.name not in before:
            result = json.loads(path.read_text())
            losses = [epoch["train_loss"] for epoch in result.get("history", [])]
            found[path.parent.name] = {"train_loss": losses, "parameters": result.get("trial", {}).get("parameters")}
    return found


def pack(folder: Path, path: Path) -> None:
    """The study as one file that has the same bytes whenever it is packed."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in sorted(folder.rglob("*")):
            info = archive.gettarinfo(file, file.relative_to(folder).as_posix())
            info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
            info.mode = 0o755 if info.isdir() else 0o644
            if info.issym():  # submitit's are absolute
                info.linkname = os.path.relpath(file.resolve(), file.parent.resolve())
            with open(file, "rb") if info.isreg() else contextlib.nullcontext() as stream:
                archive.addfile(info, stream)
    path.write_bytes(lzma.compress(data.getvalue(), preset=9 | lzma.PRESET_EXTREME))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the study is made; must not exist")
    parser.add_argument("out", type=Path, help="where the archive and what was said of it are written")
    given = parser.parse_args()
    given.folder.mkdir()
    beside = {name: given.folder.with_name(f"{given.folder.name}-{name}") for name in ("lab", "resumed")}
    study = Study(given.folder)
    make(study, beside["lab"], newer=Path("empslurm/tasks/card_form.py").exists())
    value = said(study)
    shutil.rmtree(given.folder / "runs" / "code")  # a copy of the checkout
    shutil.rmtree(given.folder / "runs" / "gathered" / "grid")  # only what is remembered of verified results stays
    shutil.rmtree(given.folder / "runs" / "gathered" / "hunt")
    shutil.copytree(given.folder, beside["resumed"])
    value["resumed"] = resumed(Study(beside["resumed"]))
    commit = subprocess.run(["git", "rev-parse", "--short=7", "HEAD"], capture_output=True, text=True, check=True)
    name = commit.stdout.strip()
    pack(given.folder, given.out / f"{name}.tar.xz")
    (given.out / f"{name}.json").write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
