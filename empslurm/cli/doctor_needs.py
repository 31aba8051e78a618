"""What one manifest or card needs, for `doctor`: its datasets, backbones, and the tables of its cards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from empslurm import api, provenance
from empslurm.backbones import ResolvedBackbone, resolve, resolve_encoder
from empslurm.backbones.families import FAMILIES
from empslurm.config import BANKED, INSTALL_LIBRARY, LIBRARY, Backbone, DataUse
from empslurm.errors import DataError, StoreError
from empslurm.launch.site.checks import Check
from empslurm.manifest.load import Manifest, load_manifest
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from empslurm.tasks.datasets import DATASETS
from empslurm.tasks.raw import locate, steps
from empslurm.tasks.schema import PARTS, Dataset
from empslurm.validation import yaml_tree

CARD_KEYS = {"file", "columns"}  # which a card has and a manifest has not


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What is checked. `subject`: the manifest or card that asks for it, empty for all there is; `path`: its file."""

    subject: str
    path: Path | None = None
    datasets: tuple[Dataset, ...]
    backbones: tuple[Backbone, ...]
    kinds: tuple[str, ...] = ()  # of the adapters that sit in a backbone
    encoders: tuple[Backbone, ...] = ()  # of dataset embeddings
    uses: dict[str, DataUse]


def everything() -> Needs:
    """All built-in datasets (none is required) and the packaged backbone."""
    return Needs(
        subject="", datasets=tuple(registry().datasets.values()), backbones=(Backbone(name="minilm"),), uses={}
    )


def needs_of(name: str) -> Needs:
    """What a manifest needs, by name or file, or a card, by file. Raises ManifestError, UsageError."""
    path = api.find_manifest(name)
    node = yaml_tree.load(path)
    keys = {key for key, _, _ in node.entries} if isinstance(node, yaml_tree.Table) else set()
    if keys & CARD_KEYS:
        datasets = registry((path,)).datasets
        own = tuple(dataset for name, dataset in datasets.items() if name not in registry().datasets)
        return Needs(subject=path.stem, path=path, datasets=own, backbones=(), uses={})
    manifest = load_manifest(path)
    return Needs(
        subject=manifest.name,
        path=path,
        datasets=tuple(manifest.registry.datasets[id] for id in manifest.data),
        backbones=manifest.backbones,
        kinds=_kinds(manifest),
        encoders=(manifest.embed.encoder,) if manifest.embed else (),
        uses=dict(manifest.data),
    )


def _kinds(manifest: Manifest) -> tuple[str, ...]:
    """The kinds of adapters that a manifest trains, each once."""
    adapters = manifest.search.search.adapters if manifest.search else manifest.adapter.values()
    return tuple(dict.fromkeys(adapter.kind for adapter in adapters))


def checks(needs: Needs, data_root: Path, root: RunsRoot) -> Iterator[Check]:
    """The datasets, the tables of cards, the backbones and whether they can have the adapters, and the encoders.

    What a subject needs and is missing is a problem.
    """
    for dataset in needs.datasets:
        yield from _data(dataset, needs, data_root, root)
    for backbone in needs.backbones:
        resolved = resolve(backbone)
        yield _model(f"backbone: {backbone.name}", resolved)
        for kind in needs.kinds if resolved.family else ():
            problem = FAMILIES[resolved.family].kind_problem(resolved.family, kind)
            if problem:
                yield Check(what=f"adapter: {kind}", ok=False, found="not for this backbone", fix=problem)
    for encoder in needs.encoders:
        yield _model(f"encoder: {encoder.name}", resolve_encoder(encoder))
    yield from _library(needs.kinds)


def _library(kinds: Sequence[str]) -> Iterator[Check]:
    """Whether the library is here that these kinds of adapters need."""
    wanted = ", ".join(kind for kind in kinds if kind not in BANKED)
    if wanted:
        here = provenance.installed(LIBRARY)
        found = f"{'installed' if here else 'not installed'}; needed for {wanted}"
        yield Check(what=LIBRARY, ok=here, found=found, fix="" if here else INSTALL_LIBRARY)


def _model(what: str, resolved: ResolvedBackbone) -> Check:
    found = str(resolved.path or ("refused" if resolved.refused else "missing"))
    return Check(what=what, ok=resolved.path is not None, found=found, fix=resolved.problem)


def _data(dataset: Dataset, needs: Needs, data_root: Path, root: RunsRoot) -> Iterator[Check]:
    what = f"data: {dataset.id}"
    try:
        located = locate(dataset, data_root, root.prepared)
    except DataError as error:
        yield Check.of(what, error)
        return
    if located.state == "missing":
        fix = "run `empslurm data status`, which says how to obtain it"
        if needs.path is not None:
            fix = steps(dataset, data_root) + api.other_data(needs.path, data_root)
        yield Check(what=what, ok=False if needs.subject else None, found="missing", fix=fix)
        return
    good = located.state in ("found", "sample")
    yield Check(what=what, ok=good, found=located.state, fix="" if good else located.problem)
    if needs.subject and dataset.id not in {built_in.id for built_in in DATASETS}:
        yield from _table(dataset, needs.uses.get(dataset.id, DataUse()), data_root)


def _table(dataset: Dataset, use: DataUse, data_root: Path) -> Iterator[Check]:
    """Read a card's table, and say what its rows turned out to be. Writes nothing that stays."""
    from empslurm.tasks.prepare import empty_part, load_task, prepare
    from empslurm.tasks.stats import few_examples, remarks

    what = f"table: {dataset.id}"
    with tempfile.TemporaryDirectory(prefix="empslurm-") as folder:
        try:
            prepared = prepare(dataset, data_root, Path(folder))
            parts = {task: load_task(prepared, task, use, "all").parts for task in dataset.tasks}
        except (DataError, StoreError) as error:
            yield Check.of(what, error)
            return
        found = f"{prepared.meta.n_examples:,} examples, {prepared.meta.n_rejects:,} bad rows"
        yield Check(what=what, ok=True, found=found)
        yield from (_remark(what, text, ok=None) for text in remarks(prepared))
        for task, of_rows in parts.items():
            sizes: dict[str, int] = {part: int((of_rows == part).sum()) for part in PARTS}
            ok = False if empty_part(sizes) else None
            yield from (_remark(what, text, ok=ok) for text in few_examples(dataset, task, sizes))


def _remark(what: str, text: str, *, ok: bool | None) -> Check:
    """A sentence that says what was found and, if anything is to be done, what."""
    return Check(what=what, ok=ok, found=text, fix="")
