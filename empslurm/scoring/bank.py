"""All chosen adapters on one frozen backbone: token batches in, every adapter's head outputs out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from adapters.composition import Stack

from empslurm.backbones import resolve
from empslurm.config import Training
from empslurm.errors import BackboneError, DamagedError
from empslurm.scoring.choose import WEIGHTS, Member
from empslurm.train import likeness
from empslurm.train.backbone import load_model


class Bank:
    """The backbone with all members in it."""

    def __init__(self, members: Sequence[Member], device: torch.device) -> None:
        """Raises BackboneError, or DamagedError naming the adapter that does not load."""
        measure = members[0].measure
        resolved = resolve(measure.backbone)
        if resolved.digest != measure.backbone_digest:
            raise BackboneError(
                f"{measure.cell} must sit in the backbone {measure.backbone.name} with digest "
                f"{measure.backbone_digest}, but the one here has {resolved.digest}; get the right one"
            )
        self.model: Any = load_model(measure.backbone, Training(dropout=0.0, attention_dropout=0.0))
        self.device = device
        self.members = tuple(members)
        self._stacks = [self._load(member, f"m{place}") for place, member in enumerate(members)]
        self.model.to(device).eval()

    def _load(self, member: Member, name: str) -> tuple[str, Any]:
        """Put one member into the model; its head's name and its composition."""
        try:
            for folder in filter(None, (member.adapter, member.source)):
                if not (folder / WEIGHTS[0]).is_file():
                    raise ValueError(f"no {WEIGHTS[0]}")
            self.model.load_adapter(str(member.adapter), load_as=name, with_head=True, use_safetensors=True)
            width = self.model.heads[name].config["num_labels"]
            if width != member.measure.n_outputs:
                raise ValueError(f"its head has {width} outputs instead of {member.measure.n_outputs}")
            if member.source is None:
                return name, name
            below = f"{name}_source"
            self.model.load_adapter(str(member.source), load_as=below, with_head=False, use_safetensors=True)
            return name, Stack(below, name)
        except Exception as error:
            raise DamagedError(
                f"{member.adapter} must hold an adapter for {member.measure.backbone.name}, but does not load: "
                f"{(str(error).splitlines() or [type(error).__name__])[0]}; export it again, or leave it out by --tasks"
            ) from error

    def forward(self, inputs: dict[str, torch.Tensor], chosen: Sequence[int]) -> list[torch.Tensor]:
        """Head outputs of the chosen members, (n_rows, n_outputs) each; inputs (n_rows, longest) each."""
        outputs = []
        for place in chosen:
            head, stack = self._stacks[place]
            self.model.active_adapters = stack
            self.model.active_head = head
            outputs.append(self.model(**inputs).logits.float())
        return outputs

    def embed(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """(n_rows, hidden_size): the frozen backbone's mean-pooled unit-length states; no adapter takes part."""
        self.model.active_adapters = None
        return likeness.embed(self.model, inputs)
