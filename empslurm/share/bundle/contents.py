"""What is in the bundle of a study: cells and notes of its runs root, its manifest and cards, its tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import empslurm
from empslurm import api, files, ids
from empslurm.config import Backbone
from empslurm.errors import DamagedError, StoreError, UsageError
from empslurm.share.bundle import crate, deposit, every_eval_ever, opening
from empslurm.share.bundle.layout import (
    ENVIRONMENT,
    EVALS,
    PLAN,
    PROJECT,
    README,
    RUNS,
    SPLITS,
    STUDY,
    TABLES,
    VERSION,
    ZENODO,
    Entry,
    StudyNote,
    is_foreign,
)
from empslurm.share.study import Study
from empslurm.store import digests, results
from empslurm.store.cell_folder import PROVENANCE, CellDir
from empslurm.store.claims import CLAIM_FILE
from empslurm.tasks.prepare import Prepared

if TYPE_CHECKING:
    from empslurm.gather import Gathered
    from empslurm.plan import Plan

ADAPTERS, EVERY_EVAL_EVER = "adapters", "every-eval-ever"
# What `--with` adds to a bundle.
EXTRAS: Mapping[str, str] = {
    ADAPTERS: "the trained adapters, so that others can continue the study and score texts",
    EVERY_EVAL_EVER: "scores and predictions in the schema of Every Eval Ever",
}
SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Deposit:
    """What only people know about a bundle."""

    authors: tuple[str, ...] = ()  # "Family, Given", as a repository wants them
    licence: str = "CC-BY-4.0"  # of the bundle: an SPDX name

    def __post_init__(self) -> None:
        """Raises UsageError."""
        if not SPDX.fullmatch(self.licence):
            raise UsageError(
                f"--licence must be an SPDX name such as CC-BY-4.0, but is {self.licence[:80]!r}; see spdx.org/licenses"
            )
        empty = [name for name in self.authors if not name.strip() or "\n" in name]
        if empty:
            raise UsageError(f'--author must be a name, but is {empty[0]!r}; write "Family, Given"')


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Everything that a bundle will hold, but for its checksums."""

    note: StudyNote
    entries: tuple[Entry, ...]
    licences: Mapping[str, str]  # dataset id -> its licence
    uncommitted: tuple[str, ...]  # files of provenance that have changes of the code, as text

    @property
    def n_bytes(self) -> int:
        """Size of all files. Raises OSError."""
        return sum(entry.n_bytes for entry in self.entries)


def collect(
    study: Study,
    gathered: Gathered,
    tables: Path,
    deposit_as: Deposit,
    *,
    extras: Sequence[str] = (),
    prepared: Mapping[str, Prepared] | None = None,
) -> Contents:
    """What the bundle of a study holds. `tables`: a folder that `report.write` wrote from `gathered`.

    `extras`: keys of `EXTRAS`. `prepared`: datasets that are here, by id; the others have no digest of their splits.
    Raises UsageError where nothing can be given away yet, StoreError where a file cannot be read, or where others could
    not open the bundle.
    """
    _refuse_unready(study, gathered)
    plan, here = study.plan, dict(prepared or {})
    note = _note(study, gathered, adapters=ADAPTERS in extras, searched=here)
    provenance = _provenance(study)
    uncommitted = tuple(path for path, value in provenance.items() if (value.get("code") or {}).get("diff"))
    entries = [
        *_of_cells(study, adapters=ADAPTERS in extras),
        *_of_root(study),
        *_of_project(plan),
        *_below(tables, TABLES),
        Entry(path=PLAN, data="".join(f"{files.to_line(cell.identity())}\n" for cell in plan.cells).encode()),
        Entry(path=STUDY, data=files.to_json(asdict(note))),
        Entry(path=SPLITS, data=files.to_json(_splits(plan, here))),
        Entry(path=ENVIRONMENT, data=deposit.environment([*provenance.values()]).encode()),
        Entry(path=ZENODO, data=files.to_json(deposit.zenodo(note, plan, deposit_as))),
    ]
    if EVERY_EVAL_EVER in extras:
        entries += every_eval_ever.entries(gathered, note, EVALS)
    entries.append(Entry(path=README, data=deposit.readme(note, plan, deposit_as, entries, uncommitted).encode()))
    entries.append(crate.metadata(note, plan, deposit_as, entries))
    entries.sort(key=lambda entry: entry.path)
    opening.rehearse(entries)
    used = {name: plan.manifest.registry.datasets[name].licence for name in plan.manifest.data}
    return Contents(note=note, entries=tuple(entries), licences=used, uncommitted=uncommitted)


def _refuse_unready(study: Study, gathered: Gathered) -> None:
    """Raise UsageError where a bundle would be empty, or would hold what nobody should trust."""
    plan = study.plan
    if not gathered.n_done:
        raise UsageError(
            f"a bundle must hold results, but no cell of {study.name} has one in {study.root.path}; run `empslurm "
            f"submit {study.name}` first, or name the runs root with --runs"
        )
    refused = [cell for cell in gathered.missing if cell.state == "refused"]
    if refused:
        raise UsageError(
            f"every result must pass its check before it is given away, but {len(refused)} do not: {refused[0].why}"
        )
    if any(plan.is_provisional(cell) for cell in plan.cells):
        raise UsageError(
            f"every id must be final in a bundle, but some are provisional; run `empslurm prepare {study.name}`"
        )


def _note(study: Study, gathered: Gathered, *, adapters: bool, searched: Mapping[str, Prepared]) -> StudyNote:
    plan, inputs = study.plan, study.plan.inputs
    known = {**inputs.backbones, **({_encoder(plan): inputs.encoder} if inputs.encoder is not None else {})}
    finished = [str(time) for group in gathered.groups for time in group.runs["finished"].dropna()]
    return StudyNote(
        version=VERSION,
        empslurm=empslurm.__version__,
        name=study.name,
        manifest=_manifest_path(plan),
        n_cells=len(plan.cells),
        n_done=gathered.n_done,
        raw={name: digest for name, digest in inputs.raw.items() if digest is not None},
        samples=tuple(sorted(_samples(study))),
        notes=dict(inputs.notes),
        backbones=plan.manifest.backbones,
        models={digests.model_name(name): model.digest for name, model in known.items() if model.digest is not None},
        adapters=adapters,
        spent=gathered.spent,
        made=max(finished, default=""),
        unsearched=tuple(name for name in plan.manifest.data if name not in searched),
    )


def _samples(study: Study) -> frozenset[str]:
    registry = study.plan.manifest.registry
    return api.sample_digests(study.root, registry, study.data) & set(study.plan.inputs.raw.values())


def _encoder(plan: Plan) -> Backbone:
    assert plan.manifest.embed is not None
    return plan.manifest.embed.encoder


# ---- the runs root ---------------------------------------------------------------------------------------------------


def _of_cells(study: Study, *, adapters: bool) -> Iterator[Entry]:
    """The files of every cell that has a result or failed."""
    for cell in study.plan.cells:
        folder = study.root.cell(cell.id)
        place = f"{RUNS}/cells/{cell.id}"
        result = folder.result()
        if result is None:
            yield from _of_failed(folder, place)
            continue
        output = str(result["output"])
        absent = set(results.left_out(folder.path)) | (set() if adapters else results.of_adapters(result))
        yield Entry(path=f"{place}/{folder.identity_file.name}", source=folder.identity_file)
        yield Entry(path=f"{place}/{folder.result_file.name}", source=folder.result_file)
        for name, sha256 in result["files"].items():
            if name not in absent:
                yield Entry(path=f"{place}/{output}/{name}", source=folder.path / output / name, sha256=sha256)
        if absent:
            yield Entry(path=f"{place}/{results.LEFT_OUT}", data=files.to_json({"files": sorted(absent)}))


def _of_failed(folder: CellDir, place: str) -> Iterator[Entry]:
    """What says how a cell failed; nothing of one that never did."""
    if folder.error() is None or not folder.identity_file.is_file():
        return
    yield Entry(path=f"{place}/{folder.identity_file.name}", source=folder.identity_file)
    yield _without("traceback", "", folder.error_file, f"{place}/{folder.error_file.name}")
    for entry in _below(folder.claims_folder, f"{place}/{folder.claims_folder.name}"):
        if entry.source is not None and CLAIM_FILE.fullmatch(entry.source.name):
            entry = _without("log", None, entry.source, entry.path)
        yield entry


def _without(key: str, empty: str | None, source: Path, place: str) -> Entry:
    """A note without one of its values, which tells of folders of this machine."""
    try:
        note = files.read_object(source)
    except (FileNotFoundError, StoreError):
        return Entry(path=place, source=source)
    return Entry(path=place, data=files.to_json({**note, key: empty} if key in note else note))


def _of_root(study: Study) -> Iterator[Entry]:
    """What else a gather reads in a runs root: audits of the data, and what `suggest` has kept."""
    for path in sorted(study.root.prepared.glob("audit-*.json")):
        yield Entry(path=f"{RUNS}/{study.root.prepared.name}/{path.name}", source=path)
    yield from _below(study.root.suitability, f"{RUNS}/{study.root.suitability.name}")


def _below(folder: Path, place: str) -> Iterator[Entry]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and not is_foreign(path.name):
            yield Entry(path=f"{place}/{path.relative_to(folder).as_posix()}", source=path)


def _provenance(study: Study) -> dict[str, dict[str, Any]]:
    """Path in the bundle -> the provenance of every finished cell that has one."""
    notes = {}
    for cell in study.plan.cells:
        folder = study.root.cell(cell.id)
        result = folder.result()
        if result is not None:
            try:
                place = f"{RUNS}/cells/{cell.id}/{result['output']}/{PROVENANCE}"
                notes[place] = files.read_object(folder.path / str(result["output"]) / PROVENANCE)
            except (FileNotFoundError, StoreError):
                continue
    return notes


# ---- the manifest and what it names ----------------------------------------------------------------------------------


def _project(plan: Plan) -> Path:
    """The project's folder: the parent of the manifest's. The manifest itself may be a link."""
    return plan.manifest.path.absolute().parent.resolve().parent


def _manifest_path(plan: Plan) -> str:
    path = plan.manifest.path.absolute()
    return f"{PROJECT}/{path.parent.resolve().name}/{path.name}"


def _of_project(plan: Plan) -> Iterator[Entry]:
    """The manifest, its cards, and the preset of a search that it names; where they are in the project.

    Of links the files that they point to: the project must be whole on other machines.
    """
    project = _project(plan)
    yield Entry(path=_manifest_path(plan), data=files.read_bytes(plan.manifest.path))
    cards = [
        file for card in plan.manifest.cards for file in (sorted(card.glob("*.yaml")) if card.is_dir() else [card])
    ]
    for card in dict.fromkeys(cards):
        yield Entry(path=f"{PROJECT}/{card.relative_to(project).as_posix()}", data=files.read_bytes(card))
    if plan.manifest.preset is not None:
        frozen = plan.manifest.preset.absolute().parent.resolve() / plan.manifest.preset.name
        yield Entry(path=f"{PROJECT}/{frozen.relative_to(project).as_posix()}", data=files.read_bytes(frozen))


def _splits(plan: Plan, prepared: Mapping[str, Prepared]) -> dict[str, dict[str, Any]]:
    """Digests and counts by dataset. The group's names stay at home: they may be names of people or whole texts."""
    found: dict[str, dict[str, Any]] = {}
    for name, use in plan.manifest.data.items():
        own: dict[str, Any] = {"raw": plan.inputs.raw[name], "rule": ids.plain(use)}
        if name in prepared:
            meta = prepared[name].meta
            own |= {"n_examples": meta.n_examples, "split": ids.plain(meta.split)}
        found[name] = own
    return found


def check(entry: Entry, sha256: str) -> None:
    """Raise DamagedError where a file that a seal names has changed since it was verified."""
    if entry.sha256 is not None and entry.sha256 != sha256:
        raise DamagedError(
            f"{entry.source} must match its checksum in result.json, but does not; move the cell's folder away and run "
            "it again"
        )
