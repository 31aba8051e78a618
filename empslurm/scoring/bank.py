"""All chosen adapters on one frozen backbone: token batches in, every adapter's head outputs out, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from empslurm import ids
from empslurm.backbones import resolve
from empslurm.config import BANKED, Precision
from empslurm.errors import BackboneError, DamagedError, UsageError
from empslurm.scoring.selection import Member
from empslurm.train import input_similarity
from empslurm.train.data.batch import cut
from empslurm.train.data.tokens import Tokens
from empslurm.train.evaluate import token_batches
from empslurm.train.model import adapter_bank as banks
from empslurm.train.model.backbone import load_encoder
from empslurm.train.model.encoder import Encoder

# Padded tokens times adapters of one pass: this limits memory, and on a CPU keeps a layer's values in its cache.
CELL_TOKENS = {"cpu": 16_384, "cuda": 262_144}


class Bank:
    """The backbone and stacks of adapters that are alike; a member is identified by its index in `members`."""

    def __init__(self, members: Sequence[Member], device: torch.device, precision: Precision = "fp32") -> None:
        """Raises BackboneError, UsageError for another kind of adapter, DamagedError for one that does not load."""
        settings = [(member.measure, member.measure.settings["adapter"]["kind"]) for member in members]
        other = next((measure for measure, kind in settings if kind not in BANKED), None)
        if other is not None:
            raise UsageError(
                f"{other.cell} must hold an adapter of kind {' or '.join(BANKED)} to be scored in one pass with "
                f"others, but holds {other.settings['adapter']['kind']}; exclude it with --tasks, or export it and "
                "load it with `adapters`"
            )
        measure = members[0].measure
        resolved = resolve(measure.backbone)
        if resolved.digest != measure.backbone_digest:
            here = f"the one here has {resolved.digest}" if resolved.digest else "it is not here"
            raise BackboneError(
                f"{measure.cell} must have the backbone that it was trained with, {measure.backbone.name} with digest "
                f"{measure.backbone_digest}, but {here}; copy that backbone to this machine"
            )
        torch.set_float32_matmul_precision("medium" if precision == "fp32_medium" else "highest")
        self.members, self.device, self.precision = tuple(members), device, precision
        model = load_encoder(measure.backbone).to(device)
        self.encoder = Encoder(model, dropout=0.0, attention_dropout=0.0, bf16=precision == "bf16")
        self.stacks = [(indices, self._stack([members[index] for index in indices])) for indices in _alike(members)]

    def _stack(self, members: Sequence[Member]) -> banks.Bank:
        stack = banks.Bank.from_folders(self.encoder, [(member.adapter, member.source) for member in members])
        config = self.encoder.config
        _, n_layers, _, hidden_size = stack.fixed["new.down.weight"].shape
        if (n_layers, hidden_size) != (config.num_hidden_layers, config.hidden_size):
            raise BackboneError(
                f"{members[0].adapter} must fit {members[0].measure.backbone.name}, but has {n_layers} layers of width "
                f"{hidden_size} instead of {config.num_hidden_layers} of {config.hidden_size}; export its cell again"
            )
        for member, width in zip(members, stack.n_outputs, strict=True):
            if width != member.measure.n_outputs:
                raise DamagedError(
                    f"{member.adapter} must have {member.measure.n_outputs} outputs as its task.json says, but has "
                    f"{width}; export it again"
                )
        return stack

    def represent(
        self, tokens: Tokens, rows: NDArray[np.int64], progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """(n_members, n_rows, hidden): what each member's head reads of some rows. `progress`: gets the rows done."""
        values = np.zeros((len(self.members), len(rows), self.encoder.config.hidden_size), np.float32)
        most = max(stack.n_cells for _, stack in self.stacks)
        budget = max(1, CELL_TOKENS["cuda" if self.device.type == "cuda" else "cpu"] // most)
        with torch.autocast(self.device.type, torch.bfloat16, self.precision == "bf16"):
            for batch in token_batches(tokens.lengths[rows], budget):
                cut_rows = cut(tokens, rows[batch], self.device)
                for indices, stack in self.stacks:
                    values[np.ix_(np.asarray(indices), batch)] = stack.represent(cut_rows).float().cpu().numpy()
                if progress is not None:
                    progress(len(batch))
        return values

    def score(
        self, tokens: Tokens, chosen: Sequence[int]
    ) -> tuple[Mapping[int, NDArray[np.float64]], NDArray[np.float64]]:
        """Head outputs (n_rows, n_outputs) of the chosen members, and the backbone's embeddings (n_rows, hidden)."""
        stacks = [(indices, stack) for indices, stack in self.stacks if set(indices) <= set(chosen)]
        assert sorted(index for indices, _ in stacks for index in indices) == sorted(chosen)
        n_rows, most = len(tokens.lengths), max(len(indices) for indices, _ in stacks)
        outputs = {
            index: np.zeros((n_rows, width))
            for indices, stack in stacks
            for index, width in zip(indices, stack.n_outputs, strict=True)
        }
        points = np.zeros((n_rows, self.encoder.config.hidden_size))
        budget = max(1, CELL_TOKENS["cuda" if self.device.type == "cuda" else "cpu"] // most)
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, self.precision == "bf16"):
            for batch in token_batches(tokens.lengths, budget):
                below = self.encoder.below(cut(tokens, batch, self.device), None)
                points[batch] = input_similarity.embed(self.encoder, below).cpu().numpy()
                for indices, stack in stacks:
                    by_member = stack.logits(below, slice(0, stack.n_cells), stack.free, None)
                    for index, logits in zip(indices, by_member, strict=True):
                        outputs[index][batch] = logits.float().cpu().numpy()
        return outputs, points


def _alike(members: Sequence[Member]) -> list[list[int]]:
    """Indices of members that can be stacked: the same tokens, the same adapter shape, all or none with a source."""
    groups: dict[object, list[int]] = {}
    for index, member in enumerate(members):
        adapter = ids.canonical_json(member.measure.settings["adapter"])
        groups.setdefault((member.measure.input_rule, adapter, member.source is None), []).append(index)
    return list(groups.values())
