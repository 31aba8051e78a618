"""Shared parts of the training benchmarks: the invented work, its cost in operations, a stopwatch, and the engine."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from empslurm.cells import Baseline, DataIdentity
from empslurm.config import Adapter, Backbone, DataUse, Training
from empslurm.store.claims import local_liveness
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from empslurm.tasks.prepare import TaskTable
from empslurm.tasks.schema import Part
from empslurm.train import memory
from empslurm.train.data.task_data import TaskData
from empslurm.train.data.tokens import Tokens
from empslurm.train.loop import Settings, Trainer
from empslurm.train.member import Member
from empslurm.train.model.adapter_bank import Bank, CellTensors, initial
from empslurm.train.model.encoder import Encoder
from empslurm.train.model.families import family
from empslurm.train.schedule import epoch_batches

MEAN_TOKENS, SPREAD, LONGEST = 35, 0.5, 128
PAD, FIRST_TOKEN = 1, 0
ROBERTA = {"vocab_size": 50_265, "max_position_embeddings": 514, "type_vocab_size": 1}
WORDS = {"vocab_size": ROBERTA["vocab_size"]}  # the same for every family
# The family and the values of its configuration that differ from the family's own.
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "roberta-base": ("roberta", ROBERTA),
    "roberta-base-3": ("roberta", {**ROBERTA, "num_hidden_layers": 3}),  # a quarter of the time: for a busy machine
    "minilm": (
        "roberta",
        {**ROBERTA, "hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536, "vocab_size": 30_522},
    ),
    "tiny": (
        "roberta",
        {**ROBERTA, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    ),
    "bert-base": ("bert", WORDS),
    "xlm-roberta-base": ("xlm-roberta", ROBERTA),
    "camembert-base": ("camembert", ROBERTA),
    "electra-base": (
        "electra",
        {**WORDS, "hidden_size": 768, "embedding_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
    ),
    "distilbert-base": ("distilbert", WORDS),
    "mpnet-base": ("mpnet", {**WORDS, "max_position_embeddings": 514}),
    "deberta-v3-base-6": (  # half of its layers: for all twelve AdapterTrainer needs more than 15 GB
        "deberta-v2",
        {
            "num_hidden_layers": 6,
            **WORDS,
            "hidden_size": 768,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "relative_attention": True,
            "position_buckets": 256,
            "pos_att_type": ["p2c", "c2p"],
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
    ),
    "modernbert-base": ("modernbert", {**WORDS, "pad_token_id": PAD, "reference_compile": False}),
}
# Matrix products that reach a device's peak: too large for a processor's caches, large enough to fill a GPU.
PEAK_SIZES = {"cpu": (4096, 1024, 4096), "cuda": (8192, 8192, 8192)}
MATMUL = {"fp32": "highest", "fp32_medium": "medium", "bf16": "highest"}


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to train: precision as in a manifest, and the rate of attention dropout."""

    name: str
    precision: str = "fp32"
    attention_dropout: float = 0.1
    dropout: float = 0.1


WAYS = (
    Way(name="fp32"),
    Way(name="fp32_medium", precision="fp32_medium"),
    Way(name="bf16", precision="bf16"),
    Way(name="fp32 without attention dropout", attention_dropout=0.0),
    Way(name="bf16 without attention dropout", precision="bf16", attention_dropout=0.0),
)


# ---- the same work for all ------------------------------------------------------------------------------------------


def workload(n: int, *, length: int | None = None, seed: int = 0, n_eval: int = 1) -> TaskData:
    """`n` examples with three labels and log-normal lengths around 35 tokens, or all of `length`.

    `n_eval`: number of training examples that are also the validation and the test part.
    """
    rng = np.random.default_rng(seed)
    drawn = np.exp(rng.normal(np.log(MEAN_TOKENS) - SPREAD**2 / 2, SPREAD, n))
    lengths = np.full(n, length) if length else np.clip(np.rint(drawn), 5, LONGEST).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    flat = rng.integers(10, 20_000, starts[-1]).astype(np.int32)
    flat[starts[:-1]] = FIRST_TOKEN
    names = tuple(str(index) for index in range(n))
    table = TaskTable(
        ids=names,
        groups=names,
        contexts=((),) * n,
        texts=("",) * n,
        targets=rng.integers(0, 3, n),
        parts=np.full(n, "train"),
        digest="",
    )
    tokens = Tokens(
        flat=flat, starts=starts, text_starts=np.zeros(n, np.int32), n_truncated=0, pad_id=PAD, segments=False
    )
    rows: dict[Part, NDArray[np.int64]] = {
        "train": np.arange(n),
        "validation": np.arange(n_eval),
        "test": np.arange(n_eval),
    }
    return TaskData(task=registry().tasks["epitome_er"], table=table, tokens=tokens, rows=rows, centre=0.0, scale=1.0)


def shape(name: str) -> Any:
    """The configuration of a random encoder."""
    model_type, values = SHAPES[name]
    return family(model_type).config(**values)


def n_matrix_parameters(config: Any) -> int:
    """Weights of the frozen matrices: all but embeddings, biases and norms."""
    known = family(config.model_type)
    with torch.device("meta"):
        model = known.model(config, **known.arguments)
    return sum(module.weight.numel() for module in model.modules() if isinstance(module, torch.nn.Linear))


def operations_per_token(config: Any, *, ours: bool) -> float:
    """Operations of forward and backward pass; the first layer has no backward pass, as nothing below it is trained.

    `ours`: the engine's, which behind the last layer's attention computes first tokens only, one in MEAN_TOKENS.
    """
    n_layers, per_layer = config.num_hidden_layers, n_matrix_parameters(config) / config.num_hidden_layers
    behind = per_layer - 3 * config.hidden_size**2
    saved = 2 * behind * (1 - 1 / MEAN_TOKENS) if ours and n_layers > 1 else 0.0
    return float(2 * (per_layer * (2 * n_layers - 1) - saved))


# ---- time -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Took:
    """The cost of some steps: seconds of wall time and of all processor threads, and their real tokens."""

    wall_s: float
    cpu_s: float
    tokens: int


class Stopwatch:
    """A stopwatch that starts when it is made; it waits for the device only at both ends."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._wait()
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def took(self, tokens: int) -> Took:
        """The time since the start."""
        self._wait()
        return Took(wall_s=time.perf_counter() - self._wall, cpu_s=time.process_time() - self._cpu, tokens=tokens)


@contextlib.contextmanager
def matmul_precision(value: str) -> Any:
    """Set torch's precision of float32 products within the context; "highest" again at the end."""
    torch.set_float32_matmul_precision(value)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


def product_rate(device: torch.device, precision: str, sizes: Sequence[int], n_tries: int = 5) -> float:
    """Operations per second of a product (n, k) x (k, m): the best of some tries, after a warm-up.

    `sizes`: n, k, m. Measured by processor time on a CPU, which may be shared; by wall time on a GPU.
    """
    n, k, m = sizes
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(size, dtype=kind, device=device) for size in ((n, k), (k, m)))
    repeats = 1 if device.type == "cpu" else max(1, round(2e12 / (2 * n * k * m)))
    best = 0.0
    with matmul_precision(MATMUL[precision]):
        for number in range(n_tries + 1):
            watch = Stopwatch(device)
            for _ in range(repeats):
                torch.mm(left, right)
            took = watch.took(0)
            spent = took.cpu_s / torch.get_num_threads() if device.type == "cpu" else took.wall_s
            if number:
                best = max(best, repeats * 2 * n * k * m / max(spent, 1e-9))
    return best


def matrix_peak(device: torch.device, precision: str, sizes: Sequence[int] = ()) -> float:
    """The rate of a large matrix product, in operations per second."""
    return product_rate(device, precision, sizes or PEAK_SIZES[device.type])


# ---- ours -----------------------------------------------------------------------------------------------------------


def autocast(device: torch.device, precision: str) -> Any:
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def local_accelerator(device: torch.device, precision: str) -> Any:
    """The accelerator interface that the loop needs, without global state: several precisions share this process."""
    return SimpleNamespace(
        device=device,
        num_processes=1,
        process_index=0,
        is_main_process=True,
        autocast=lambda: autocast(device, precision),
        wait_for_everyone=lambda: None,
    )


@cache
def random_encoder(
    shape_name: str, device: torch.device, *, bf16: bool, dropout: float, attention_dropout: float
) -> Encoder:
    """A frozen random encoder of a shape, on the device; racers of the same shape share it."""
    config = shape(shape_name)
    known = family(config.model_type)
    torch.manual_seed(0)
    with torch.device(device):
        model = known.model(config, **known.arguments)
    return Encoder(model.to(device), dropout=dropout, attention_dropout=attention_dropout, bf16=bf16)


def cell_of(training: Training, seed: int = 1) -> Baseline:
    """A baseline cell without a real dataset."""
    identity = DataIdentity(dataset="x", raw="", split="", use=DataUse(), labels="all", fraction=1.0)
    return Baseline(
        target="epitome_er",
        seed=seed,
        data=identity,
        backbone=Backbone(name="x"),
        backbone_digest="",
        adapter=Adapter(),
        training=training,
    )


def claimed(root: RunsRoot, training: Training, n_cells: int) -> list[Member]:
    """Claimed cells that differ in their seed, so that each has its own folder."""
    members = []
    for seed in range(1, n_cells + 1):
        cell = cell_of(training, seed)
        folder = root.cell(cell.id)
        folder.create(cell)
        claim = folder.take(local_liveness)
        assert claim is not None
        members.append(Member(cell=cell, folder=folder, claim=claim))
    return members


def random_bank(encoder: Encoder, n_cells: int, *, stacked: bool, first_seed: int = 0) -> Bank:
    """A bank of new cells, each from its own seed; `stacked`: on a source with the same weights."""
    adapter = Adapter()
    cells = [initial(encoder, adapter, 3, first_seed + index) for index in range(n_cells)]
    if stacked:
        cells = [CellTensors(new=cell.new, head=cell.head, source=cell.new) for cell in cells]
    return Bank(encoder, cells, adapter, free=("new", "head"))


class Engine:
    """The engine's training steps on a random encoder of a shape."""

    def __init__(
        self,
        shape_name: str,
        way: Way,
        data: TaskData,
        device: torch.device,
        *,
        n_cells: int = 1,
        stacked: bool = False,
        batch_size: int = 32,
        group_size: int | None = None,
        fitting: bool = False,
        first_seed: int = 0,
    ) -> None:
        """`group_size`: cells per pass; by default one on a CPU, and on a GPU all, or as many as fit (`fitting`).
        `first_seed`: the seed of the first cell."""
        self.way, self.device, self.data, self.n_cells = way, device, data, n_cells
        training = Training(
            epochs=1000, batch_size=batch_size, dropout=way.dropout, attention_dropout=way.attention_dropout
        )
        encoder = random_encoder(
            shape_name,
            device,
            bf16=way.precision == "bf16",
            dropout=way.dropout,
            attention_dropout=way.attention_dropout,
        )
        self.bank = random_bank(encoder, n_cells, stacked=stacked, first_seed=first_seed)
        cell = cell_of(training)
        members = [Member(cell=cell, folder=None, claim=None) for _ in range(n_cells)]  # type: ignore[arg-type]
        self.accelerator = local_accelerator(device, way.precision)
        self.group_size = group_size or (n_cells if device.type == "cuda" else 1)
        if fitting:
            self.group_size = memory.group_size(self.bank, data, batch_size, self.accelerator)
        settings = Settings(group_size=self.group_size)
        self.trainer = Trainer(members, data, self.bank, self.accelerator, settings, lambda *_: None)
        self.batches = epoch_batches(data.tokens.lengths, seed=1, epoch=0, training=training)

    def step(self) -> int:
        """One optimiser step of all cells on the loop's next batch; returns its real tokens."""
        rows = self.batches[self.trainer.step % len(self.batches)]
        with matmul_precision(MATMUL[self.way.precision]):
            self.trainer.train_step(rows)
        return int(self.data.tokens.lengths[rows].sum())

    def steps(self, n: int, warm: int = 0) -> Took:
        """The cost of n optimiser steps, after `warm` steps that are not counted."""
        for _ in range(warm):
            self.step()
        watch = Stopwatch(self.device)
        return watch.took(sum(self.step() for _ in range(n)))

    def losses(self, n: int) -> list[list[float]]:
        """Mean losses of n steps, a list of n_cells each; waits for the device at every step."""
        steps = []
        for _ in range(n):
            self.trainer.losses.zero_()
            self.step()
            steps.append(self.trainer.losses.tolist())
        return steps
