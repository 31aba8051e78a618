"""Compare `empslurm submit` with one AdapterTrainer process per transfer, start-up and scoring included.

    python benchmarks/processes.py [--data DIR --target TASK --sources TASK ...] [--backbone NAME] [--rounds N]

In each round (one seed), `submit` trains the transfers from all sources to the target as one pack (cells that one job
trains together). Then a script that uses AdapterTrainer like the library's examples trains each transfer in a separate
process: it loads the backbone and the source's adapter, tokenises, pads to the maximum length, trains, scores every
epoch, keeps the best and predicts the test part. Both get the same examples, adapters, settings and seed, but each
draws its own initial weights and order. Baselines are trained before and are not timed, so for `submit` the data is
already parsed and tokenised, as for every pack of a study after the first; the script tokenises each time. Without
--data, the corpus is the invented sample.
Writes benchmarks/results/processes.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scratch import Scratch, scratch

RESULTS = Path(__file__).parent / "results" / "processes.json"
BATCH_SIZE, MAX_LENGTH = 32, 128


@dataclass(frozen=True, kw_only=True)
class Took:
    """One process or pack: wall seconds to its first optimiser step and in total; processor seconds; scores."""

    first_step_s: float
    wall_s: float
    cpu_s: float
    scores: tuple[float, ...]


def timed(command: Sequence[str], folder: Path, begun: Callable[[], bool]) -> tuple[float, float, float]:
    """Wall seconds until `begun()` and in total, processor seconds. Raises RuntimeError with the process's output."""
    before, start, first = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), 0.0
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        while process.poll() is None:
            if not first and begun():
                first = time.perf_counter() - start
            time.sleep(0.02)
    if process.returncode or not first:
        raise RuntimeError((folder / "log").read_text()[-2000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return first, time.perf_counter() - start, cpu


# ---- ours -----------------------------------------------------------------------------------------------------------


def write_manifest(project: Scratch, options: argparse.Namespace, name: str, seeds: list[int], pairs: Any) -> None:
    training = {"epochs": options.epochs, "batch_size": BATCH_SIZE, "lr": options.lr, "max_length": MAX_LENGTH}
    training |= {"max_train_examples": options.examples, "max_eval_examples": options.examples}
    sections = {
        "tasks": [options.target, *options.sources],
        "pairs": pairs,
        "seeds": seeds,
        "backbone": options.backbone,
    }
    project.write_manifest(name, {**sections, "training": training})


def ours(project: Scratch, options: argparse.Namespace, seed: int) -> Took:
    """Train the transfers of one seed with `submit`."""
    cells = project.path / "runs" / "cells"
    there = set(cells.glob("*/progress.json"))

    def begun() -> bool:
        return len(set(cells.glob("*/progress.json")) - there) > 0

    command = project.command("runs", "submit", f"transfers{seed}", "--profile", "local")
    first, wall, cpu = timed(command, project.path, begun)
    score_of = {
        cell.source_task: result["test"][result["metric"]]
        for _, cell, result in project.finished("runs")
        if cell.kind == "transfer" and cell.seed == seed
    }
    if set(score_of) != set(options.sources):
        raise RuntimeError(f"every transfer must have a result, but only those from {sorted(map(str, score_of))} have")
    return Took(
        first_step_s=first, wall_s=wall, cpu_s=cpu, scores=tuple(score_of[source] for source in options.sources)
    )


# ---- AdapterTrainer -------------------------------------------------------------------------------------------------


def hand_over(project: Scratch, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """The input of the AdapterTrainer processes, as JSON: the same examples as text, settings, source adapters."""
    from empslurm import backbones
    from empslurm.cells import Baseline
    from empslurm.tasks import registry
    from empslurm.tasks.prepare import prepare
    from empslurm.train.data.task_data import load
    from empslurm.train.data.tokenizer import load_tokenizer

    known, prepared = registry(), project.path / "runs" / "prepared"
    baselines = {
        cell.target: (output, cell, result)
        for output, cell, result in project.finished("runs")
        if isinstance(cell, Baseline) and cell.seed == seed
    }
    _, cell, _ = baselines[options.target]
    task = known.tasks[options.target]
    examples = prepare(known.datasets[cell.data.dataset], project.data, prepared)
    data = load(cell, task, examples, lambda: load_tokenizer(cell.backbone), prepared)
    targets = data.model_targets()
    return {
        "backbone": str(backbones.resolve(cell.backbone).path),
        "kind": task.kind,
        "n_labels": len(task.labels) or 1,
        "epochs": options.epochs,
        "lr": options.lr,
        "seed": seed,
        "fair": options.fair,
        "precision": cell.training.precision,
        "sources": {
            source: str(baselines[source][0] / baselines[source][2]["output"] / "adapter") for source in options.sources
        },
        "parts": {
            part: [
                {
                    "text": (" ".join(data.table.contexts[row]), data.table.texts[row]),
                    "label": targets[row].item(),
                }
                for row in rows
            ]
            for part, rows in data.rows.items()
        },
    }


def theirs(project: Scratch, options: argparse.Namespace, seed: int) -> list[Took]:
    """Train each transfer of one seed with AdapterTrainer, one after another."""
    value, took = hand_over(project, options, seed), []
    for source in options.sources:
        folder = project.path / f"reference-{seed}-{source}"
        folder.mkdir()
        (folder / "given.json").write_text(json.dumps({**value, "source": value["sources"][source]}))
        command = [sys.executable, __file__, "--reference", str(folder)]
        first, wall, cpu = timed(command, folder, (folder / "begun").exists)
        score = json.loads((folder / "score.json").read_text())
        took.append(Took(first_step_s=first, wall_s=wall, cpu_s=cpu, scores=(score,)))
    return took


def reference(folder: Path) -> None:
    """Train one transfer like the examples of `adapters`, or with the fair rival's settings."""
    import adapters
    import numpy as np
    import torch
    from adapters.composition import Stack
    from rivals import fair_settings
    from scipy.stats import pearsonr
    from sklearn.metrics import f1_score
    from transformers import AutoTokenizer, DataCollatorWithPadding, TrainerCallback, TrainingArguments

    value = json.loads((folder / "given.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(value["backbone"])
    classes, fair, cuda = value["kind"] == "classification", value["fair"], torch.cuda.is_available()
    padding = False if fair else "max_length"

    def encoded(example: dict[str, Any]) -> dict[str, Any]:
        texts = [text for text in example["text"] if text]
        tokens = tokenizer(*texts, truncation=True, padding=padding, max_length=MAX_LENGTH)
        return {**tokens, "labels": example["label"]}

    parts = {part: [encoded(example) for example in examples] for part, examples in value["parts"].items()}
    model = adapters.AutoAdapterModel.from_pretrained(value["backbone"])
    model.load_adapter(value["source"], load_as="source", with_head=False, use_safetensors=True)
    model.add_adapter("target", config="seq_bn")
    # with one label, the head's loss is the squared error
    model.add_classification_head("target", num_labels=value["n_labels"])
    model.train_adapter("target")
    model.active_adapters = Stack("source", "target")

    def score(prediction: Any) -> dict[str, float]:
        outputs, gold = np.asarray(prediction.predictions), prediction.label_ids
        if classes:
            return {"score": f1_score(gold, outputs.argmax(1), average="macro", labels=sorted(set(gold)))}
        return {"score": float(pearsonr(gold, outputs.reshape(-1))[0])}

    class Begun(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            (folder / "begun").touch()

    arguments = TrainingArguments(
        output_dir=str(folder / "out"),
        per_device_train_batch_size=BATCH_SIZE,
        per_device_eval_batch_size=BATCH_SIZE,
        num_train_epochs=value["epochs"],
        learning_rate=value["lr"],
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="score",
        report_to=[],
        disable_tqdm=True,
        seed=value["seed"],
        **(fair_settings(cuda=cuda, precision=value["precision"]) if fair else {}),
    )
    if fair and value["precision"] != "fp32":
        torch.set_float32_matmul_precision("high")
    trainer = adapters.AdapterTrainer(
        model=model,
        args=arguments,
        train_dataset=parts["train"],
        eval_dataset=parts["validation"],
        compute_metrics=score,
        data_collator=DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8 if cuda else None) if fair else None,
        callbacks=[Begun],
    )
    trainer.train()
    predicted = trainer.predict(parts["test"])
    model.save_adapter(str(folder / "adapter"), "target")
    (folder / "score.json").write_text(json.dumps(score(predicted)["score"]))


# ---- both -----------------------------------------------------------------------------------------------------------


def measure(project: Scratch, options: argparse.Namespace) -> dict[str, Any]:
    seeds = list(range(1, options.rounds + 1))
    write_manifest(project, options, "baselines", seeds, "none")
    project.call("runs", "submit", "baselines", "--profile", "local")
    packs, singles = [], []
    for seed in seeds:
        pairs = [{"source": options.sources, "target": options.target}]
        write_manifest(project, options, f"transfers{seed}", [seed], pairs)
        packs.append(ours(project, options, seed))
        singles.append(theirs(project, options, seed))
        print(f"round {seed}: {packs[-1]}\n{singles[-1]}", file=sys.stderr, flush=True)
    n, middle = len(options.sources), statistics.median
    differences = [  # one per round, since the cells of a round share seed, order and test examples
        statistics.mean(pack.scores) - statistics.mean(took.scores[0] for took in each)
        for pack, each in zip(packs, singles, strict=True)
    ]
    flat = [took for each in singles for took in each]
    both = list(zip(packs, singles, strict=True))
    return {
        "n_transfers": n,
        "rounds": options.rounds,
        "ratio_wall": [round(sum(took.wall_s for took in each) / pack.wall_s, 2) for pack, each in both],
        "ratio_cpu": [round(sum(took.cpu_s for took in each) / pack.cpu_s, 2) for pack, each in both],
        "empslurm": {
            "first_step_s": middle(took.first_step_s for took in packs),
            "wall_s_per_cell_after_first_step": middle((took.wall_s - took.first_step_s) / n for took in packs),
            "cells_per_hour": n * 3600 / middle(took.wall_s for took in packs),
            "mean_score": statistics.mean(score for took in packs for score in took.scores),
        },
        "AdapterTrainer": {
            "first_step_s": middle(took.first_step_s for took in flat),
            "wall_s_per_cell_after_first_step": middle(took.wall_s - took.first_step_s for took in flat),
            "cells_per_hour": 3600 / middle(took.wall_s for took in flat),
            "mean_score": statistics.mean(took.scores[0] for took in flat),
        },
        "score_differences": differences,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=lambda text: Path(text).resolve(), help="data root; default: the invented sample"
    )
    parser.add_argument("--target", default="epitome_er")
    parser.add_argument("--sources", nargs="+", default=["empdial_ei", "conv_emopol", "news_empathy"])
    parser.add_argument("--backbone", default="minilm", help="minilm (the default) or a local folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--examples", type=int, default=192, help="at most, of each part; default: 192")
    parser.add_argument("--fair", action="store_true", help="give AdapterTrainer the settings of the fair rival")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--reference", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reference:
        reference(options.reference)
        return
    load = os.getloadavg()[0]
    with scratch(options.data) as project:
        measured = measure(project, options)
    settings = {
        name: getattr(options, name) for name in ("target", "sources", "backbone", "epochs", "lr", "examples", "fair")
    }
    value = {**settings, "data": "real" if options.data else "the invented sample", **measured}
    value |= {"cores": os.cpu_count(), "load_1min": load}
    options.out.write_text(json.dumps(value, indent=1) + "\n")
    print(json.dumps(value, indent=1))


if __name__ == "__main__":
    main()
