"""Intermediate-task transfer studies with adapters, fanned out over Slurm.

For scripts and notebooks: the names in `__all__`. `import empslurm` loads neither torch nor
pandas; the first use of a name may.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from empslurm.api import from_table, gathered, load_gathered, load_manifest, planned, published, status
    from empslurm.errors import EmpslurmError
    from empslurm.scoring.scorer import Scorer
    from empslurm.share.inputs import pooled
    from empslurm.suggestion import suggest

__version__ = "0.1.0"

__all__ = [
    "EmpslurmError",
    "Scorer",
    "__version__",
    "from_table",
    "gathered",
    "load_gathered",
    "load_manifest",
    "planned",
    "pooled",
    "published",
    "status",
    "suggest",
]

# Public names that are defined elsewhere than in `api`.
_HOMES = {
    "EmpslurmError": "empslurm.errors",
    "Scorer": "empslurm.scoring.scorer",
    "pooled": "empslurm.share.inputs",
    "suggest": "empslurm.suggestion",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'empslurm' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES.get(name, "empslurm.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
