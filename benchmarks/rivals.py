"""The rivals: AdapterTrainer as the library's examples use it, and with its fastest settings (the fair rival).

    python benchmarks/rivals.py --together FOLDER --n 4     one of several processes on one device, for gpu.py

Both train the same shape, adapter, head, dropout and batch size as our engine. The fair rival pads to the longest text
of a batch, groups texts by length, and computes in the same precision as ours; the other pads every text to 128 tokens
in float32. A run of train() is timed from the end of one step to the end of a later one; only there the host waits for
the device. Real tokens are counted, padding is not.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from engine import LONGEST, PAD, SHAPES, Stopwatch, Took, matmul_precision, shape, workload

from empslurm.launch.node.process import KEPT_MEMORY
from empslurm.train.data.task_data import TaskData
from empslurm.train.model.families import family

PADDED = "AdapterTrainer, padded to 128"
FAIR = "AdapterTrainer, dynamic padding, grouped by length"
PROCESSES_WAIT_S = 120.0


def fair_settings(*, cuda: bool, precision: str, workers: int = 4) -> dict[str, Any]:
    """TrainingArguments that make AdapterTrainer as fast as it gets without changing it."""
    settings: dict[str, Any] = {"group_by_length": True, "bf16": precision == "bf16"}
    settings["logging_nan_inf_filter"] = False  # it reads every step's loss, which would wait for the GPU
    if cuda:
        settings |= {"optim": "adamw_torch_fused", "dataloader_num_workers": workers, "dataloader_pin_memory": True}
    return settings


@dataclass(frozen=True, kw_only=True)
class Collate:
    """Pads the examples of a batch to `fixed` tokens, or to their longest rounded up to a multiple."""

    fixed: int | None = None
    multiple: int = 1

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        lengths = [len(example["input_ids"]) for example in examples]
        width = self.fixed or -(-max(lengths) // self.multiple) * self.multiple
        input_ids = torch.full((len(examples), width), PAD)
        for row, example in enumerate(examples):
            input_ids[row, : lengths[row]] = example["input_ids"]
        real = torch.arange(width) < torch.tensor(lengths)[:, None]
        labels = torch.tensor([example["labels"] for example in examples])
        return {
            "input_ids": input_ids,
            "attention_mask": real.long(),
            "labels": labels,
            "n_tokens": sum(lengths),
        }


class Order(torch.utils.data.Sampler):  # type: ignore[type-arg]
    """A sampler that yields rows in a fixed order."""

    def __init__(self, rows: Sequence[int]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def in_turn(rows: Sequence[int], size: int, *, warm: int, n: int) -> list[int]:
    """Whole batches of `rows` in shuffled order: `warm` of them, then n others (a whole epoch where it has n).

    group_by_length sorts within many batches, so a short run would see only the longest texts.
    """
    batches = [list(rows[start : start + size]) for start in range(0, len(rows), size)]
    batches = [batches[index] for index in torch.randperm(len(batches)).tolist()]
    return [row for turn in range(-warm, n) for row in batches[turn % len(batches)]]


def library_model(config: Any, *, stacked: bool) -> Any:
    """A random model of the library `adapters` with a new adapter, on a frozen source adapter where `stacked`."""
    import adapters
    from adapters.composition import Stack

    logging.getLogger("adapters").setLevel(logging.ERROR)
    model = adapters.AutoAdapterModel.from_config(config)
    for name in ("source", "task") if stacked else ("task",):
        model.add_adapter(name, config="seq_bn")
    model.add_classification_head("task", num_labels=3)
    model.train_adapter("task")
    if stacked:
        model.active_adapters = Stack("source", "task")
    return model


class Bottleneck(torch.nn.Module):
    """An adapter of a family that the library lacks: around the norm of a layer's sum, or after a sum without one."""

    def __init__(self, hidden: int, norm: Any | None = None) -> None:
        super().__init__()
        self.down, self.up = torch.nn.Linear(hidden, hidden // 16), torch.nn.Linear(hidden // 16, hidden)
        self.norm = norm or torch.nn.Identity()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        added = self.up(torch.relu(self.down(self.norm(values))))
        normed: torch.Tensor = self.norm(values + added)
        return normed


class WrittenOut(torch.nn.Module):
    """Plain transformers with bottlenecks and a head, as a user of a family that the library lacks would write them."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        from transformers.modeling_outputs import SequenceClassifierOutput

        known, hidden = family(config.model_type), config.hidden_size
        self.output, self.config = SequenceClassifierOutput, config
        self.encoder = known.model(config, **known.arguments).requires_grad_(False)
        self.after = torch.nn.ModuleList()
        for layer in self.encoder.layers if hasattr(self.encoder, "layers") else self.encoder.encoder.layer:
            if hasattr(layer, "output"):
                layer.output.LayerNorm = Bottleneck(hidden, layer.output.LayerNorm)
            else:
                self.after.append(Bottleneck(hidden))
                layer.register_forward_hook(partial(_after, self.after[-1]))
        self.head = torch.nn.Sequential(
            torch.nn.Dropout(0.1),
            torch.nn.Linear(hidden, hidden),
            torch.nn.Tanh(),
            torch.nn.Dropout(0.1),
            torch.nn.Linear(hidden, 3),
        )

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor) -> Any:
        first = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state[:, 0]
        logits = self.head(first)
        return self.output(loss=torch.nn.functional.cross_entropy(logits, labels), logits=logits)


def _after(
    adapter: torch.nn.Module, module: Any, given: Any, output: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, ...]:
    return (adapter(output[0]), *output[1:])


class Rival:
    """AdapterTrainer on a random model of a shape; `stacked`: with the new adapter on a frozen source adapter."""

    def __init__(
        self,
        shape_name: str,
        data: TaskData,
        device: torch.device,
        *,
        fair: bool,
        precision: str = "fp32",
        stacked: bool = False,
        batch_size: int = 32,
        workers: int = 4,
    ) -> None:
        from empslurm.train.model.backbone import quiet

        quiet()
        self.data, self.device, self.fair, self.precision = data, device, fair, precision
        self.batch_size, self.workers, self.n_runs = batch_size, workers, 0
        config = shape(shape_name)
        in_library = family(config.model_type).layout.in_library
        self.model = library_model(config, stacked=stacked) if in_library else WrittenOut(config)
        starts, flat = data.tokens.starts, torch.from_numpy(data.tokens.flat).long()
        self.examples = [
            {"input_ids": flat[starts[row] : starts[row + 1]], "labels": int(data.table.targets[row])}
            for row in range(len(data.table.ids))
        ]

    def steps(self, n: int, warm: int = 1, ready: Callable[[], None] = lambda: None) -> Took:
        """The cost of n optimiser steps of train() after `warm` steps; `ready` is called in between."""
        self.n_runs += 1
        os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
        # Remove what the last run wrapped around forward().
        self.model.__dict__.pop("forward", None)
        # Like the argument tf32. On a GPU, "high" and "medium" both mean TF32.
        products = {"fp32": "highest", "fp32_medium": "medium", "bf16": "high"}[self.precision]
        with tempfile.TemporaryDirectory() as folder, matmul_precision(products):
            trainer, clock = self._trainer(folder, n, warm, ready)
            trainer.train()
        os.environ.pop("ACCELERATE_MIXED_PRECISION", None)  # a child process would use it
        assert clock.took is not None
        took: Took = clock.took
        return took

    def _trainer(self, folder: str, n: int, warm: int, ready: Callable[[], None]) -> tuple[Any, Any]:
        from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

        device, cuda = self.device, self.device.type == "cuda"
        if isinstance(self.model, WrittenOut):
            base: Any = Trainer
        else:
            from adapters import AdapterTrainer

            base = AdapterTrainer

        class Counting(base):  # type: ignore[misc]
            n_tokens = 0

            def training_step(self, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
                self.n_tokens += inputs.pop("n_tokens")
                return super().training_step(model, inputs, *rest, **named)

            def _get_train_sampler(self, *arguments: Any, **named: Any) -> Any:
                rows = list(super()._get_train_sampler(*arguments, **named))
                return Order(in_turn(rows, self.args.train_batch_size, warm=warm, n=n))

        class Clock(TrainerCallback):  # type: ignore[misc]
            took: Took | None = None

            def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
                if state.global_step == warm:
                    ready()
                    self.before, self.watch = trainer.n_tokens, Stopwatch(device)
                elif state.global_step == warm + n:
                    self.took = self.watch.took(trainer.n_tokens - self.before)

        clock = Clock()
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=self.batch_size,
            max_steps=warm + n,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=not cuda,
            seed=self.n_runs,
            **(fair_settings(cuda=cuda, precision=self.precision, workers=self.workers) if self.fair else {}),
        )
        collate = Collate(multiple=8 if cuda else 1) if self.fair else Collate(fixed=LONGEST)
        trainer = Counting(
            model=self.model, args=arguments, train_dataset=self.examples, data_collator=collate, callbacks=[clock]
        )
        trainer.remove_callback(PrinterCallback)
        return trainer, clock


class Apart:
    """A rival in a separate process, with this environment but without the settings of our own train processes."""

    def __init__(self, shape_name: str, n_examples: int, *, fair: bool, precision: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in KEPT_MEMORY}
        words = ["--serve", "--shape", shape_name, "--precision", precision, "--examples", str(n_examples)]
        words += [] if fair else ["--padded"]
        self.process = subprocess.Popen(
            [sys.executable, __file__, *words, "--threads", str(torch.get_num_threads())],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def steps(self, n: int, warm: int = 1) -> Took:
        """Like `Rival.steps`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(n, warm, file=self.process.stdin, flush=True)
        return Took(**json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def serve(rival: Rival) -> None:
    """For each line of stdin (steps, warm-up), train so many steps and print their cost."""
    for line in sys.stdin:
        n, warm = (int(word) for word in line.split())
        took = rival.steps(n, warm)
        print(json.dumps(asdict(took)), flush=True)


# ---- several processes on one device --------------------------------------------------------------------------------


def wait_for_all(folder: Path, n_processes: int) -> None:
    """Report that this process is ready, and wait until all are. Raises TimeoutError."""
    (folder / f"ready-{os.getpid()}").touch()
    end = time.monotonic() + PROCESSES_WAIT_S
    while len(list(folder.glob("ready-*"))) < n_processes:
        if time.monotonic() > end:
            raise TimeoutError(f"{n_processes} processes must get ready within {PROCESSES_WAIT_S:.0f} s, but did not")
        time.sleep(0.005)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--together", type=Path, help="a folder through which the processes synchronise")
    parser.add_argument("--n", type=int, default=1, help="number of processes; default: 1")
    parser.add_argument("--serve", action="store_true", help="train on the CPU, as stdin says")
    parser.add_argument("--padded", action="store_true", help="pad like the library's examples")
    parser.add_argument("--examples", type=int, default=1600)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--shape", choices=tuple(SHAPES), default="roberta-base")
    parser.add_argument("--precision", choices=("fp32", "fp32_medium", "bf16"), default="bf16")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--warm", type=int, default=20)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    if options.serve:
        torch.set_num_threads(options.threads)
        data, fair = workload(options.examples), not options.padded
        serve(Rival(options.shape, data, torch.device("cpu"), fair=fair, precision=options.precision))
        return
    cuda, n_cores = torch.cuda.is_available(), os.cpu_count() or 1
    if not cuda:
        torch.set_num_threads(max(1, n_cores // options.n))
    rival = Rival(
        options.shape,
        workload(options.batch_size * max(options.steps, 8)),
        torch.device("cuda" if cuda else "cpu"),
        fair=True,
        precision=options.precision,
        stacked=True,
        batch_size=options.batch_size,
        workers=max(1, min(4, n_cores // options.n - 1)),
    )
    took = rival.steps(options.steps, options.warm, lambda: wait_for_all(options.together, options.n))
    print(json.dumps(asdict(took)))


if __name__ == "__main__":
    main()
