"""The families of encoders, one module each. Their facts without torch are in `backbones.families`.

A module `NAME` (the `model_type` with `_` for `-`) holds `FAMILY`. It is imported when a model of it is loaded, since
the classes of `transformers` take time to import.
"""

from __future__ import annotations

from importlib import import_module

from empslurm.train.model.blocks import Family


def family(model_type: str) -> Family:
    """The family of a model type in `backbones.families.FAMILIES`."""
    module = import_module(f"{__name__}.{model_type.replace('-', '_')}")
    found: Family = module.FAMILY
    return found
