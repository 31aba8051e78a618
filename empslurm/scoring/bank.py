"""All chosen adapters on one frozen backbone: token batches in, every adapter's head outputs out, in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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

# Padded tokens times adapters of one pass: what bounds memory, and on a CPU keeps a layer's values in its cache.
CELL_TOKENS = {"cpu": 16_384, "cuda": 262_144}


class Bank:
    """The backbone and stacks of adapters that are alike; members are known by their place in `members`."""

    def __init__(self, members: Sequence[Member], device: torch.device, precision: Precision = "fp32") -> None:
        """Raises BackboneError, UsageError for another kind of adapter, DamagedError naming one that does not load."""
        settings = [(member.measure, member.measure.settings["adapter"]["kind"]) for member in members]
        other = next((measure for measure, kind in settings if kind not in BANKED), None)
        if other is not None:
            raise UsageError(
                f"{other.cell} must hold an adapter of kind {' or '.join(BANKED)} to be scored in one pass with "
                f"others, but holds {other.settings['adapter']['kind']}; leave it out by --tasks, or export it and "
                "load it by `adapters`"
            )
        measure = members[0].measure
        resolved = resolve(measure.backbone)
        if resolved.digest != measure.backbone_digest:
            raise BackboneError(
                f"{measure.cell} must sit in the backbone {measure.backbone.name} with digest "
                f"{measure.backbone_digest}, but the one here has {resolved.digest}; get the right one"
            )
        torch.set_float32_matmul_precision("medium" if precision == "fp32_medium" else "highest")
        self.device, self.precision = device, precision
        model = load_encoder(measure.backbone).to(device)
        self.encoder = Encoder(model, dropout=0.0, attention_dropout=0.0, bf16=precision == "bf16")
        self.stacks = [(places, self._stack([members[index] for index in places])) for places in _alike(members)]

    def _stack(self, members: Sequence[Member]) -> banks.Bank:
        stack = banks.Bank.from_folders(self.encoder, [(member.adapter, member.source) for member in members])
        config = self.encoder.config
        _, n_layers, _, hidden_size = stack.fixed["new.down.weight"].shape
        if (n_layers, hidden_size) != (config.num_hidden_layers, config.hidden_size):
            raise BackboneError(
                f"{members[0].adapter} must fit {members[0].measure.backbone.name}, but has {n_layers} layers of width "
                f"{hidden_size} instead of {config.num_hidden_layers} of {config.hidden_size}; take its own backbone"
            )
        for member, width in zip(members, stack.n_outputs, strict=True):
            if width != member.measure.n_outputs:
                raise DamagedError(
                    f"{member.adapter} must have {member.measure.n_outputs} outputs as its task.json says, but has "
                    f"{width}; export it again"
                )
        return stack

    def score(
        self, tokens: Tokens, chosen: Sequence[int]
    ) -> tuple[Mapping[int, NDArray[np.float64]], NDArray[np.float64]]:
        """Head outputs (n_rows, n_outputs) of the chosen members, and the backbone's embeddings (n_rows, hidden)."""
        stacks = [(places, stack) for places, stack in self.stacks if set(places) <= set(chosen)]
        assert sorted(index for places, _ in stacks for index in places) == sorted(chosen)
        n_rows, most = len(tokens.lengths), max(len(places) for places, _ in stacks)
        outputs = {
            index: np.zeros((n_rows, width))
            for places, stack in stacks
            for index, width in zip(places, stack.n_outputs, strict=True)
        }
        points = np.zeros((n_rows, self.encoder.config.hidden_size))
        budget = max(1, CELL_TOKENS["cuda" if self.device.type == "cuda" else "cpu"] // most)
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, self.precision == "bf16"):
            for batch in token_batches(tokens.lengths, budget):
                below = self.encoder.below(cut(tokens, batch, self.device), None)
                points[batch] = input_similarity.embed(self.encoder, below).cpu().numpy()
                for places, stack in stacks:
                    by_member = stack.logits(below, slice(0, stack.n_cells), stack.free, None)
                    for index, logits in zip(places, by_member, strict=True):
                        outputs[index][batch] = logits.float().cpu().numpy()
        return outputs, points


def _alike(members: Sequence[Member]) -> list[list[int]]:
    """Places of members that can be stacked: the same tokens, the same adapter shape, with or without a source."""
    groups: dict[object, list[int]] = {}
    for index, member in enumerate(members):
        adapter = ids.canonical_json(member.measure.settings["adapter"])
        groups.setdefault((member.measure.input_rule, adapter, member.source is None), []).append(index)
    return list(groups.values())
