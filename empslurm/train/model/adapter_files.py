"""Adapters and heads on disk, in AdapterHub layout and safetensors, as plain `adapters` reads and writes them.

This module does without that library: importing it and building its model can take longer than a cell's first epoch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from empslurm import files
from empslurm.config import Adapter
from empslurm.errors import DamagedError, StoreError
from empslurm.train.model.families import family

Tensors = dict[str, torch.Tensor]

LAYOUT = "adapters.1.3.0"  # the release of the library that has this layout
OWN_LAYOUT = "empslurm.1"  # the same layout, for a family that the library lacks and cannot load
MAX_BYTES = 2 * 2**30
# The library's name of a tensor, and ours; ours stacks the layers: (n_layers, ...).
BOTTLENECK = {
    "adapter_down.0.weight": "down.weight",  # (n_layers, bottleneck, hidden)
    "adapter_down.0.bias": "down.bias",  # (n_layers, bottleneck)
    "adapter_up.weight": "up.weight",  # (n_layers, hidden, bottleneck)
    "adapter_up.bias": "up.bias",  # (n_layers, hidden)
}
# A head's tensors by their index in the library's module: dropout 0, linear 1, tanh 2, dropout 3, linear 4.
DENSE_WEIGHT, DENSE_BIAS = "1.weight", "1.bias"  # (hidden, hidden), (hidden,)
OUTPUT_WEIGHT, OUTPUT_BIAS = "4.weight", "4.bias"  # (n_outputs, hidden), (n_outputs,)
OUTPUT = (OUTPUT_WEIGHT, OUTPUT_BIAS)
HEAD = (DENSE_WEIGHT, DENSE_BIAS, *OUTPUT)
# The library's configuration of the adapter of Pfeiffer et al. (2020), without the two fields that a manifest sets.
SEQ_BN = {
    "adapter_residual_before_ln": False,
    "cross_adapter": False,
    "dropout": 0.0,
    "factorized_phm_W": True,
    "factorized_phm_rule": False,
    "hypercomplex_nonlinearity": "glorot-uniform",
    "init_weights": "bert",
    "init_weights_seed": None,
    "inv_adapter": None,
    "inv_adapter_reduction_factor": None,
    "is_parallel": False,
    "learn_phm": True,
    "leave_out": [],
    "ln_after": False,
    "ln_before": False,
    "mh_adapter": False,
    "original_ln_after": True,
    "original_ln_before": True,
    "output_adapter": True,
    "phm_bias": True,
    "phm_c_init": "normal",
    "phm_dim": 4,
    "phm_init_range": 0.0001,
    "phm_layer": False,
    "phm_rank": 1,
    "residual_before_ln": True,
    "scaling": 1.0,
    "shared_W_phm": False,
    "shared_phm_rule": True,
    "stochastic_depth": 0.0,
    "use_gating": False,
}


@dataclass(frozen=True, kw_only=True)
class SavedAdapter:
    """A bottleneck adapter read from disk: tensors by our names; `head` is empty where there is none."""

    adapter: Adapter
    tensors: Tensors
    head: Tensors


def _common(name: str, model_config: Any) -> dict[str, Any]:
    layout = family(model_config.model_type).layout
    return {
        "hidden_size": model_config.hidden_size,
        "model_class": layout.model_class,
        "model_name": "",
        "model_type": model_config.model_type,
        "name": name,
        "version": LAYOUT if layout.in_library else OWN_LAYOUT,
    }


def write_adapter(folder: Path, name: str, tensors: Mapping[str, torch.Tensor], adapter: Adapter, config: Any) -> None:
    """Write adapter_config.json and adapter.safetensors. `tensors`: by our names. `config`: the backbone's."""
    settings = {**SEQ_BN, "non_linearity": adapter.non_linearity, "reduction_factor": adapter.reduction_factor}
    files.write_json(folder / "adapter_config.json", {"config": settings, **_common(name, config)})
    prefix = family(config.model_type).layout.prefix
    flat = {
        f"{prefix.format(model_type=config.model_type, layer=layer)}.{name}.{path}": values
        for path, ours in BOTTLENECK.items()
        for layer, values in enumerate(tensors[ours])
    }
    write_tensors(folder / "adapter.safetensors", flat)


def write_head(
    folder: Path, name: str, labels: Sequence[str], tensors: Mapping[str, torch.Tensor], config: Any
) -> None:
    """Write head_config.json and model_head.safetensors of a classification head (no labels: regression)."""
    settings = {
        "activation_function": "tanh",
        "bias": True,
        "dropout_prob": None,
        "head_type": "classification",
        "label2id": {label: index for index, label in enumerate(labels)} or {"LABEL_0": 0},
        "layers": 2,
        "num_labels": len(tensors[OUTPUT_BIAS]),
        "use_pooler": False,
    }
    files.write_json(folder / "head_config.json", {"config": settings, **_common(name, config)})
    write_tensors(folder / "model_head.safetensors", {f"heads.{name}.{path}": tensors[path] for path in HEAD})


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write safetensors atomically."""
    files.write_bytes(path, save_tensors({name: value.detach().cpu().contiguous() for name, value in tensors.items()}))


def read_adapter(folder: Path) -> SavedAdapter:
    """Read a bottleneck adapter, with its head where there is one. Raises DamagedError naming the folder."""
    try:
        config = files.read_object(folder / "adapter_config.json")["config"]
        stored = load_tensors(files.read_bytes(folder / "adapter.safetensors", MAX_BYTES))
        tensors: Tensors = {}
        for path, ours in BOTTLENECK.items():
            pattern = re.compile(rf"\.(\d+)\.(?!attention)[\w.]*adapters\..+\.{re.escape(path)}$")
            layers = {int(match[1]): value for key, value in stored.items() if (match := pattern.search(key))}
            tensors[ours] = torch.stack([layers[layer] for layer in range(len(layers))])
        head: Tensors = {}
        if (folder / "model_head.safetensors").exists():
            name = files.read_object(folder / "head_config.json")["name"]
            kept = load_tensors(files.read_bytes(folder / "model_head.safetensors", MAX_BYTES))
            head = {path: kept[f"heads.{name}.{path}"] for path in HEAD}
        adapter = Adapter(reduction_factor=config["reduction_factor"], non_linearity=config["non_linearity"])
        unknown = {key for key, value in SEQ_BN.items() if config.get(key, value) != value}
        if unknown:
            raise ValueError(f"its {', '.join(sorted(unknown))} differs from that of a seq_bn adapter")
        return SavedAdapter(adapter=adapter, tensors=tensors, head=head)
    except (StoreError, OSError, SafetensorError, LookupError, ValueError, TypeError, RuntimeError) as error:
        raise DamagedError(
            f"{folder} must hold a bottleneck adapter, but does not load: {error}; move its cell's folder away and run "
            "the cell again"
        ) from error
