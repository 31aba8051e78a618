"""empslurm for scripts and notebooks: what the verbs find out, as values. `import empslurm` has these functions.

A manifest is given by its file, by the name of one in manifests/, or as `load_manifest` returned it. `runs` is the runs
root (default: EMPSLURM_RUNS, else runs/) and `data` the raw data (EMPSLURM_DATA, else data/). Nothing here trains,
submits or writes results. Every error that a user can cause is an `EmpslurmError`.
"""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from empslurm import backbones as models
from empslurm import provenance, resources
from empslurm.config import LIBRARY, Backbone
from empslurm.errors import UsageError
from empslurm.manifest import load
from empslurm.plan import Inputs, Known, expand
from empslurm.search.results import finished_trials, with_second_stage
from empslurm.store import digests
from empslurm.store.runs import RunsRoot
from empslurm.tasks import Registry, registry
from empslurm.tasks.raw import locate, sample_sums
from empslurm.validation.reader import refusal

if TYPE_CHECKING:
    from empslurm.gather import Gathered
    from empslurm.manifest.load import Manifest
    from empslurm.plan import Plan
    from empslurm.reference import Rating
    from empslurm.report.notebook import Study, Written
    from empslurm.store.cell_folder import CellState


# ---- what is planned -------------------------------------------------------------------------------------------------


def load_manifest(manifest: str | Path) -> Manifest:
    """Read a manifest and resolve its defaults, presets and patterns.

    `manifest`: a YAML file, or the name of one in manifests/ or of one that comes with empslurm, such as `full_grid`.
    Raises ManifestError with all problems of the file, UsageError where there is no such file.
    """
    return load.load_manifest(find_manifest(str(manifest)))


def planned(manifest: str | Path | Manifest, *, runs: str | Path | None = None, data: str | Path | None = None) -> Plan:
    """Every cell that a manifest asks for, parents before children; `plan.cells` has them.

    Reads the raw data's digests where data is present, and finished trials of a search; trains and writes nothing.
    Raises ManifestError, UsageError.
    """
    chosen = load_manifest(manifest) if isinstance(manifest, str | Path) else manifest
    root = RunsRoot(resources.runs(runs))
    plan = expand(chosen, inputs(chosen, resources.data(data), root))
    if chosen.search is not None:
        return with_second_stage(plan, finished_trials(root, plan.cells))
    return plan


def status(
    manifest: str | Path | Manifest, *, runs: str | Path | None = None, data: str | Path | None = None
) -> Mapping[str, CellState]:
    """Cell id -> its state, in the plan's order: `.state` is done, failed, running, queued, lost or pending.

    Computed from the files of the runs root and, where Slurm is present, from its queue. Raises as `planned`, and
    StoreError.
    """
    from empslurm.launch.states import states

    return states(planned(manifest, runs=runs, data=data).by_id, RunsRoot(resources.runs(runs)))


# ---- results ---------------------------------------------------------------------------------------------------------


def gathered(
    manifest: str | Path | Manifest | None = None,
    *,
    runs: str | Path | None = None,
    data: str | Path | None = None,
    ratings: Sequence[Rating] | None = None,
    grouped: bool = True,
    margin: float | None = None,
) -> Study:
    """Verify the results of a manifest (None: all of the runs root) and analyse them, as `gather` does.

    `ratings`: of the tasks' constructs (default: the paper's Table 2). `grouped`: resample conversations, posts or
    dialogues; False: single examples. `margin`: a difference in the target's metric that counts as no effect (default:
    the manifest's). Raises as `planned`, and StoreError; UsageError for the manifest of a search.
    """
    root = RunsRoot(resources.runs(runs))
    plan = None if manifest is None else planned(manifest, runs=runs, data=data)
    if plan is not None and plan.manifest.search is not None:
        raise UsageError(
            f"the manifest must describe a grid, but {plan.manifest.name} describes a search; run "
            f"`empslurm search report {plan.manifest.name}`"
        )
    if plan is not None and margin is None:
        margin = plan.manifest.margin
    known = registry() if plan is None else plan.manifest.registry
    results = collect(plan, root, known, resources.data(data))
    return _study(results, ratings, grouped=grouped, margin=margin)


def published(*, ratings: Sequence[Rating] | None = None) -> Study:
    """The paper's own Tables 7 and 8, analysed. `ratings`: as in `gathered`."""
    from empslurm import gather

    return _study(gather.published(registry()), ratings)


def from_table(
    file: str | Path,
    *,
    predictions: str | Path | None = None,
    ratings: Sequence[Rating] | None = None,
    grouped: bool = True,
    margin: float | None = None,
) -> Study:
    """Analyse anybody's results: a table with the columns source, target, seed, metric and value, a row per run.

    `predictions`: a folder with ID.csv or ID.parquet of each run. The others as in `gathered`. Raises DataError.
    """
    from empslurm import gather

    folder = None if predictions is None else Path(predictions)
    results = gather.from_file(Path(file), registry(), folder)
    return _study(results, ratings, grouped=grouped, margin=margin)


def load_gathered(folder: str | Path) -> Written:
    """The tables and figures in a folder that `gather` wrote; computes nothing. Raises UsageError."""
    from empslurm import report

    return report.load(folder)


def _study(
    results: Gathered, ratings: Sequence[Rating] | None, *, grouped: bool = True, margin: float | None = None
) -> Study:
    from empslurm import report

    return report.study(results, ratings=ratings, grouped=grouped, margin=margin)


# ---- shared with the verbs -------------------------------------------------------------------------------------------


def find_manifest(name: str) -> Path:
    """A file as it is named, or NAME.yaml of manifests/ or of those that come with empslurm. Raises UsageError."""
    found = resources.find("manifests", name)
    if found is not None:
        return found
    if "/" in name or name.endswith((".yaml", ".yml")):
        raise UsageError(f"{name!r} must be a YAML file, but {_instead(name)}")
    raise refusal(name, resources.names("manifests"), "manifest or a YAML file")


def _instead(name: str) -> str:
    """What a path is that is no file, and what to do."""
    if os.path.isdir(name):
        return "is a folder; name a file in it"
    folder, last = os.path.split(name)
    if folder and not os.path.isdir(folder):
        return f"its folder {folder} does not exist; give another path"
    names = [file.name for file in Path(folder or ".").glob("*.y*ml")]  # none where it may not be listed
    near = difflib.get_close_matches(last[:100], names, n=1)
    return f"does not exist; {f'did you mean {os.path.join(folder, near[0])}?' if near else 'give another path'}"


def other_data(path: Path, data: Path) -> str:
    """The advice to use the data folder of a manifest's or card's study, where that is not the one in use."""
    folder = os.path.normpath(path.parent / ".." / "data")
    if not os.path.isdir(folder) or os.path.realpath(folder) == os.path.realpath(data):
        return ""
    return f", or add `--data {shlex.quote(folder)}`"


def inputs(manifest: Manifest, data: Path, root: RunsRoot) -> Inputs:
    """Digests of the data and the backbones as they are on this machine, pinned ones where nothing is here.

    Raises UsageError where two backbones of the manifest are one model.
    """
    raw: dict[str, str | None] = {}
    missing: dict[str, str] = {}
    notes: dict[str, str] = {}
    noted = digests.read(root)
    for dataset_id in manifest.data:
        located = locate(manifest.registry.datasets[dataset_id], data, root.prepared)
        raw[dataset_id] = located.raw_digest
        if located.state == "missing":
            raw[dataset_id] = noted.raw.get(dataset_id, located.raw_digest)
            missing[dataset_id] = located.problem + other_data(manifest.path, data)
        elif located.state != "found" or located.problem:
            notes[dataset_id] = located.problem or f"{dataset_id} is {located.state} data"
    backbones = {backbone: _known(models.resolve(backbone), noted) for backbone in manifest.backbones}
    _refuse_twins(manifest, backbones)
    return Inputs(
        raw=raw,
        missing=missing,
        notes=notes,
        backbones=backbones,
        encoder=_known(models.resolve_encoder(manifest.embed.encoder), noted) if manifest.embed else None,
        library=provenance.installed(LIBRARY),
    )


def _known(resolved: models.ResolvedBackbone, noted: digests.Digests) -> Known:
    return Known(
        digest=resolved.digest or noted.backbones.get(digests.model_name(resolved.backbone)),
        problem=resolved.problem,
        family=resolved.family,
        hidden_size=models.hidden_size(resolved),
        max_tokens=models.max_tokens(resolved),
    )


def _refuse_twins(manifest: Manifest, backbones: Mapping[Backbone, Known]) -> None:
    """Raise UsageError where two backbones are the same model: a pair that holds on both would hold on one."""
    first: dict[str, Backbone] = {}
    for backbone, known in backbones.items() if len(backbones) > 1 else ():
        if known.digest is None:
            continue
        public = models.published(backbone, known.digest)
        model = public.hub_id if public.exact and public.hub_id == models.MINILM_HUB_ID else known.digest
        other = first.setdefault(model, backbone)
        if other != backbone:
            raise UsageError(
                f"the backbones of {manifest.path} must be different models, but {other.name} and {backbone.name} are "
                "the same; remove one"
            )


def collect(
    plan: Plan | None,
    root: RunsRoot,
    known: Registry,
    data: Path,
    advance: Callable[[int], None] = lambda n: None,
    *,
    fresh: bool = False,
    samples: frozenset[str] = frozenset(),
) -> Gathered:
    """Verified results of a plan, or of the whole runs root. `advance`: is called with the number of cells checked.

    `fresh`: read all results again, whatever was verified before, and write nothing. `samples`: digests of raw data
    that are the invented sample, besides those found below `data`.
    """
    from empslurm.gather import gather

    samples |= sample_digests(root, known, data)
    return gather(root, plan, known, sample_digests=samples, advance=advance, fresh=fresh)


def sample_digests(root: RunsRoot, known: Registry, data: Path) -> frozenset[str]:
    """Digests of raw data that are known to be the invented sample, here or where the results were made."""
    noted = frozenset(digests.read(root).samples)
    if not sample_sums(data):
        return noted
    located = [locate(dataset, data, root.prepared) for dataset in known.datasets.values()]
    return noted | {item.raw_digest for item in located if item.state == "sample" and item.raw_digest}
