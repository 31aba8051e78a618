"""One study, from a manifest or from a bundle: its plan, its runs root, and where its tables are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from empslurm import api
from empslurm.errors import UsageError
from empslurm.store.runs import RunsRoot

if TYPE_CHECKING:
    from empslurm.gather import Gathered
    from empslurm.launch.cost import Spent
    from empslurm.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study on disk. Nothing here writes."""

    name: str
    plan: Plan
    root: RunsRoot
    data: Path  # the raw data; of a bundle, a folder that is not there
    tables: Path  # the folder that `gather` wrote; it may not be there
    samples: frozenset[str] = (
        frozenset()
    )  # digests of raw data known to be the invented sample, besides those of `data`
    spent: Spent | None = None  # of a bundle: what its jobs cost

    def gathered(self, advance: Callable[[int], None] = lambda n: None, *, fresh: bool = False) -> Gathered:
        """Verified results. `advance(n)` is called whenever n more cells are done. Raises StoreError.

        `fresh`: read all results again, whatever was verified before, and write nothing.
        """
        registry = self.plan.manifest.registry
        results = api.collect(self.plan, self.root, registry, self.data, advance, fresh=fresh, samples=self.samples)
        return results if self.spent is None else replace(results, spent=self.spent)


def of_manifest(manifest: str | Path, *, runs: Path, data: Path) -> Study:
    """The study of a manifest. Raises ManifestError; UsageError for the manifest of a search."""
    plan = api.planned(manifest, runs=runs, data=data)
    if plan.manifest.search is not None:
        raise UsageError(
            f"the manifest must describe a grid, but {plan.manifest.name} describes a search; name the manifest of a "
            "grid"
        )
    root, name = RunsRoot(runs), plan.manifest.name
    return Study(name=name, plan=plan, root=root, data=data, tables=root.gathered / name)
