"""Texts per second with 18 adapters in one pass, against one pass per adapter with plain `adapters`; memory by rows.

    python benchmarks/scoring.py [--shape minilm|roberta-base] [--texts N] [--rounds N] [--rows N N]

Plain: like the library's examples, in batches of 32 in input order, padded to the maximum length of 128, fp32.
The ladder changes one thing at a time: order (similar lengths together, padded to the longest of a batch), shared
layers (layers below the first adapter run once), batching (all adapters in one pass), precision (fp32_medium: products
in the precision that the processor computes faster; bf16 on request). All rungs give the same outputs within rounding,
which is checked, and each round runs every rung once, in turn. Rates are by wall time, and by processor time, which is
reliable on a busy machine. Adapters have random weights and the eighteen tasks' numbers of outputs; texts are invented,
with log-normal lengths around 35 tokens. Memory: the whole verb in child processes on short texts. Writes
benchmarks/results/scoring_SHAPE.json and scoring_memory.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import adapters
import numpy as np
import torch
from transformers import AutoTokenizer, RobertaConfig, RobertaModel

from empslurm import backbones, tasks
from empslurm.config import Adapter, Backbone
from empslurm.scoring import selection
from empslurm.scoring.bank import CELL_TOKENS
from empslurm.scoring.inputs import Row
from empslurm.scoring.scorer import Scorer
from empslurm.scoring.selection import Chosen
from empslurm.store import adapter_metadata
from empslurm.store.adapter_metadata import Measure, Typical
from empslurm.train.data.batch import cut
from empslurm.train.evaluate import token_batches
from empslurm.train.model import adapter_bank as banks
from empslurm.train.model import adapter_files
from empslurm.train.model.backbone import load_encoder

OUT = Path(__file__).parent / "results"
WORDS = "i you we feel that this so sorry happy about was were the day night work friend maybe really"
MAX_LENGTH, BATCH_SIZE, N_THREADS = 128, 32, 2


def make_backbone(shape: str, folder: Path) -> Backbone:
    """MiniLM, or a random model of RoBERTa-base's shape with MiniLM's tokenizer."""
    if shape == "minilm":
        return Backbone(name="minilm")
    source = backbones.resolve(Backbone(name="minilm")).path
    tokenizer = AutoTokenizer.from_pretrained(source)
    torch.manual_seed(0)
    config = RobertaConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, max_position_embeddings=514)
    RobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Backbone(name=str(folder))


def make_adapters(backbone: Backbone, folder: Path) -> Chosen:
    """One adapter with random weights per task of the paper."""
    rng = torch.Generator().manual_seed(1)
    config = load_encoder(backbone).config
    hidden, n_layers = config.hidden_size, config.num_hidden_layers
    inner = hidden // 16

    def draw(*shape: int) -> torch.Tensor:
        return 0.02 * torch.randn(shape, generator=rng)

    known = tasks.registry()
    for task in known.tasks.values():
        n_outputs = len(task.labels) or 1
        shapes = {
            "down.weight": (inner, hidden),
            "down.bias": (inner,),
            "up.weight": (hidden, inner),
            "up.bias": (hidden,),
        }
        tensors = {name: draw(n_layers, *shape) for name, shape in shapes.items()}
        of_head = ((hidden, hidden), (hidden,), (n_outputs, hidden), (n_outputs,))
        head = {name: draw(*shape) for name, shape in zip(adapter_files.HEAD, of_head, strict=True)}
        adapter_files.write_adapter(folder / task.id, task.id, tensors, Adapter(), config)
        adapter_files.write_head(folder / task.id, task.id, task.labels, head, config)
        adapter_metadata.write(folder / task.id, _measure(task, known, backbone, hidden))
        (folder / task.id / selection.CHECKSUMS).write_text("{}")
    return selection.of_folders([folder])


def _measure(task: Any, known: Any, backbone: Backbone, hidden: int) -> Measure:
    dataset = known.dataset_of(task.id)
    return Measure(
        task=task.id,
        title=task.title,
        kind=task.kind,
        labels=task.labels,
        low=task.low,
        high=task.high,
        centre=0.0,
        scale=1.0,
        metric=task.metric,
        data_source=task.data_source,
        language_setting=task.language_setting,
        dataset=dataset.title,
        citation=dataset.citation,
        licence=dataset.licence,
        source=None,
        seed=1,
        fraction=1.0,
        n_train=0,
        backbone=backbone,
        backbone_digest=str(backbones.resolve(backbone).digest),
        max_length=MAX_LENGTH,
        context="history",
        settings={
            "adapter": {"kind": "seq_bn", "reduction_factor": 16, "non_linearity": "relu"},
            "training": {},
            "data": {},
        },
        cell=f"{task.id}-random",
        typical=Typical(
            low_length=1,
            high_length=MAX_LENGTH,
            context_share=0,
            centroid=(1.0,) * hidden,
            low_similarity=-1,
            n_examples=0,
        ),
    )


def invent(n_texts: int, median_words: float, seed: int = 2) -> list[str]:
    """Texts of common words with log-normal lengths."""
    rng = np.random.default_rng(seed)
    words = np.array(WORDS.split())
    lengths = np.clip(rng.lognormal(np.log(median_words), 0.6, n_texts).round(), 1, 400).astype(int)
    return [" ".join(rng.choice(words, length)) for length in lengths]


class Rungs:
    """The rungs of the ladder; each returns one array of logits, (n_texts, n_outputs), per task."""

    def __init__(self, chosen: Chosen, texts: Sequence[str]) -> None:
        self.chosen, self.texts = chosen, texts
        backbone = chosen.groups[0].measure.backbone
        path = backbones.resolve(backbone).path
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = adapters.AutoAdapterModel.from_pretrained(path)
        for group in chosen.groups:
            self.model.load_adapter(str(group.members[0].adapter), load_as=group.name, use_safetensors=True)
        self.model.eval()
        self.scorer = Scorer(chosen)
        self.encoder = self.scorer.bank.encoder
        folders = [(group.members[0].adapter, None) for group in chosen.groups]
        self.together = banks.Bank.from_folders(self.encoder, folders)
        self.alone = [banks.Bank.from_folders(self.encoder, [folder]) for folder in folders]

    def plain(self) -> list[np.ndarray[Any, Any]]:
        """Like the examples of `adapters`."""
        order = np.arange(len(self.texts))
        return self._library(order, padding="max_length")

    def ordered(self) -> list[np.ndarray[Any, Any]]:
        lengths = [
            len(ids) for ids in self.tokenizer(list(self.texts), truncation=True, max_length=MAX_LENGTH)["input_ids"]
        ]
        return self._library(np.argsort(lengths), padding="longest")

    def _library(self, order: np.ndarray[Any, Any], padding: str) -> list[np.ndarray[Any, Any]]:
        outputs = []
        for group in self.chosen.groups:
            self.model.active_adapters = group.name
            self.model.active_head = group.name
            logits = np.zeros((len(order), group.measure.n_outputs))
            for start in range(0, len(order), BATCH_SIZE):
                rows = order[start : start + BATCH_SIZE]
                batch = self.tokenizer(
                    [self.texts[row] for row in rows],
                    padding=padding,
                    truncation=True,
                    max_length=MAX_LENGTH,
                    return_tensors="pt",
                )
                with torch.no_grad():
                    logits[rows] = self.model(**batch).logits.numpy()
            outputs.append(logits)
        return outputs

    def shared(self) -> list[np.ndarray[Any, Any]]:
        """Similar lengths, layers below the first adapter once, then one adapter at a time."""
        return self._stacks(self.alone, CELL_TOKENS["cpu"])

    def batched(self) -> list[np.ndarray[Any, Any]]:
        """All adapters in one pass."""
        return self._stacks([self.together], CELL_TOKENS["cpu"] // len(self.chosen.groups))

    def medium(self) -> list[np.ndarray[Any, Any]]:
        """All adapters in one pass, with products in the precision that the processor computes faster."""
        torch.set_float32_matmul_precision("medium")
        try:
            return self.batched()
        finally:
            torch.set_float32_matmul_precision("highest")

    def _stacks(self, stacks: Sequence[banks.Bank], budget: int) -> list[np.ndarray[Any, Any]]:
        rows = [Row(file="", number=1, text=text) for text in self.texts]
        tokens, _ = self.scorer.tokens((MAX_LENGTH, "none"), rows)
        outputs = [np.zeros((len(rows), group.measure.n_outputs)) for group in self.chosen.groups]
        with torch.inference_mode():
            for batch in token_batches(tokens.lengths, budget):
                below = self.encoder.below(cut(tokens, batch, torch.device("cpu")), None)
                cell_logits = [
                    own for stack in stacks for own in stack.logits(below, slice(0, stack.n_cells), {}, None)
                ]
                for output, logits in zip(outputs, cell_logits, strict=True):
                    output[batch] = logits.numpy()
        return outputs

    def verb(self) -> list[np.ndarray[Any, Any]]:
        """The whole verb `score`: also records, and the backbone's embedding for the flags."""
        records = self.scorer.score(self.texts)
        return [
            np.array([_numbers(record["measures"][group.name]) for record in records]) for group in self.chosen.groups
        ]


def _numbers(scored: dict[str, Any]) -> list[float]:
    return list(scored["probabilities"].values()) if "probabilities" in scored else [scored["value"]]


RUNGS: dict[str, Callable[[Rungs], list[np.ndarray[Any, Any]]]] = {
    "plain": Rungs.plain,
    "+ order": Rungs.ordered,
    "+ shared layers": Rungs.shared,
    "+ batching": Rungs.batched,
    "+ precision": Rungs.medium,
    "score, flags and records included": Rungs.verb,
}


def ladder(chosen: Chosen, texts: Sequence[str], n_rounds: int) -> list[dict[str, Any]]:
    """Run every rung once per round, in turn; return medians."""
    rungs = Rungs(chosen, texts)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in RUNGS}
    expected: list[np.ndarray[Any, Any]] = []
    worst = dict.fromkeys(RUNGS, 0.0)
    for round_ in range(n_rounds):
        for name, rung in RUNGS.items():
            wall, processor = time.perf_counter(), time.process_time()
            outputs = rung(rungs)
            seconds[name].append((time.perf_counter() - wall, time.process_time() - processor))
            expected = expected or outputs
            compared = [
                _softened(group.measure.kind, values) for group, values in zip(chosen.groups, expected, strict=True)
            ]
            same = expected if name != "score, flags and records included" else compared
            worst[name] = max(worst[name], *(float(np.abs(a - b).max()) for a, b in zip(same, outputs, strict=True)))
            rates = ", ".join(f"{len(texts) / value:.2f}" for value in seconds[name][-1])
            print(
                f"round {round_ + 1} {name}: {rates} texts per second of wall clock and of processor time", flush=True
            )
    medians = {
        name: [statistics.median(column) for column in zip(*pairs, strict=True)] for name, pairs in seconds.items()
    }
    return [
        {
            "rung": name,
            "texts_per_s": round(len(texts) / wall, 2),
            "texts_per_processor_s": round(len(texts) / processor, 2),
            "ratio_to_plain": round(medians["plain"][0] / wall, 2),
            "ratio_to_plain_processor_time": round(medians["plain"][1] / processor, 2),
            "largest_difference": float(f"{worst[name]:.2g}"),
        }
        for name, (wall, processor) in medians.items()
    ]


def _softened(kind: str, logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Logits in the form that a record has."""
    raised = np.exp(logits)
    return logits if kind == "regression" else raised / raised.sum(1, keepdims=True)


def memory(rows: Sequence[int], scratch: Path) -> list[dict[str, Any]]:
    """Peak memory of the whole verb in a child process, with short texts and two tiny adapters."""
    folder = scratch / "tiny"
    make_adapters(Backbone(name="tiny"), folder)
    figures = []
    for n_rows in rows:
        source, out = scratch / f"{n_rows}.txt", scratch / f"{n_rows}.jsonl"
        source.write_text("\n".join(invent(n_rows, 6)) + "\n")
        words = ["score", "--cells", str(folder), "--tasks", "epitome_er,news_empathy", str(source), "-o", str(out)]
        child = subprocess.Popen([sys.executable, "-m", "empslurm", *words], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        assert out.read_bytes().count(b"\n") == n_rows
        figures.append(
            {"n_rows": n_rows, "peak_memory_mib": usage.ru_maxrss // 1024, "processor_s": round(usage.ru_utime, 1)}
        )
        print(figures[-1], flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=("minilm", "roberta-base"), default="minilm")
    parser.add_argument("--texts", type=int, default=64, help="texts for the ladder, 0 to skip it; default: 64")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--rows", type=int, nargs="*", default=[10_000, 100_000], help="rows for the memory part; none to skip it"
    )
    options = parser.parse_args()
    torch.set_num_threads(N_THREADS)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if options.texts:
            chosen = make_adapters(make_backbone(options.shape, scratch / "backbone"), scratch / "adapters")
            rungs = ladder(chosen, invent(options.texts, 28), options.rounds)
            save(
                f"scoring_{options.shape}.json",
                {
                    "shape": options.shape,
                    "n_adapters": len(chosen.groups),
                    "n_texts": options.texts,
                    "n_rounds": options.rounds,
                    "n_threads": N_THREADS,
                    "load_average": round(os.getloadavg()[0], 1),
                    "ladder": rungs,
                },
            )
        if options.rows:
            save("scoring_memory.json", {"n_adapters": 2, "rows": memory(options.rows, scratch)})


def save(name: str, result: dict[str, Any]) -> None:
    """Print a result, and save it below benchmarks/results."""
    OUT.mkdir(exist_ok=True)
    text = json.dumps(result, indent=1) + "\n"
    (OUT / name).write_text(text)
    print(text)


if __name__ == "__main__":
    main()
