"""From a runs root to verified rows, grouped by what may be in one table, and a list of what is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from empslurm import ids, metrics
from empslurm.backbones.labels import labels_of_models
from empslurm.cells import TRIAL_ID
from empslurm.config import DataUse
from empslurm.gather import cache
from empslurm.gather.groups import Place, by_backbone, describe, groups, models_of
from empslurm.gather.results import folder_name
from empslurm.gather.verify import PARTS, column
from empslurm.launch.cost import Spent, spent_on
from empslurm.launch.liveness import liveness
from empslurm.launch.states import queue_of
from empslurm.plan import Plan, obstacle
from empslurm.store import predictions, suitability
from empslurm.store.runs import RunsRoot
from empslurm.tasks import Registry, overlap
from empslurm.tasks.datasets import DATASETS
from empslurm.tasks.raw import forms_digest, is_pinned
from empslurm.tasks.splits import leaks

if TYPE_CHECKING:
    import pandas as pd

    from empslurm.gather.labs import LabRuns, Told

REFUSED = "refused"
DISAGREES = "disagrees"  # labs have different numbers for it
CARD = "card"  # data of a user's card, for which empslurm has no record to compare with
NOT_PINNED = "not a pinned release: invented, altered, or never recorded"


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A cell without a usable result: not started, not finished, or refused."""

    id: str
    kind: str
    source: str | None
    target: str
    seed: int
    fraction: float
    state: str  # a cell's state (such as `lost`: its job ended), `refused` (verification failed) or `disagrees`
    why: str
    backbone: str = ""  # the label of its backbone, where the manifest has several


MISSING_COLUMNS = ("id", "kind", "source", "target", "seed", "fraction", "state", "why")


def missing_columns(missing: Sequence[Missing]) -> tuple[str, ...]:
    """The columns of the list of missing cells: with `backbone` where there are several."""
    return (*MISSING_COLUMNS, "backbone") if any(cell.backbone for cell in missing) else MISSING_COLUMNS


@dataclass(frozen=True, kw_only=True)
class Group:
    """Cells that may be in one table, because they differ in nothing but source, target, seed and data fraction."""

    name: str  # of its folder; "" for a single group
    setting: Mapping[str, Any]  # what its cells have in common; `setting`: what tells it from other groups like it
    runs: pd.DataFrame  # a row per finished cell; columns of `cache.COLUMNS`, `data` and `predictions` (a path)
    missing: tuple[Missing, ...]
    notes: Mapping[str, str]  # task -> which data its numbers rest on, where they are not a pinned release
    leaks: Mapping[tuple[str, str], str] = field(default_factory=dict)  # (source, target) -> how its test texts leak
    suitability: Mapping[tuple[str, str], Mapping[str, float]] = field(
        default_factory=dict
    )  # pair -> estimator -> value


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """Verified results and the list of missing ones: the input of `report.study`."""

    name: str  # of the manifest, or `all`
    groups: tuple[Group, ...]  # a backbone of the manifest of which nothing is done has none
    missing: tuple[Missing, ...]
    n_planned: int | None  # None without a manifest
    registry: Registry
    spent: Spent | None = None  # GPU time of the manifest's jobs, as far as it was recorded
    origin: Literal["runs", "published", "results"] = "runs"  # a runs root, the paper's tables, or anyone's table
    labs: tuple[LabRuns, ...] = ()  # of several inputs: who contributed what
    told: tuple[Told, ...] = ()  # runs on which labs disagree; they are in no group
    remarks: tuple[str, ...] = ()  # sentences about how several inputs were taken together

    @property
    def n_done(self) -> int:
        """Cells with a verified result."""
        return len({cell for group in self.groups for cell in group.runs["id"]})

    def long(self) -> pd.DataFrame:
        """All scores as a long table: one row per cell, part (`validation`, `test`) and metric; columns: `LONG`.

        `value` is in the unit of `metric` (NaN: undefined); `main` marks the metric of the cell's task. `source` is
        missing for a baseline, `fraction` is the part of the target's training data (0 to 1), `flags` are separated by
        commas, and `n_groups` counts the conversations, posts or dialogues among the `n_examples`.
        """
        import pandas as pd

        tables = [long_table(group) for group in self.groups]
        return pd.concat(tables, ignore_index=True) if tables else long_table(None)


LONG = (
    "group",
    "id",
    "kind",
    "source",
    "target",
    "seed",
    "fraction",
    "labels",
    "part",
    "metric",
    "value",
    "main",
    "flags",
    "n_examples",
    "n_groups",
    "data",
)


def long_table(group: Group | None) -> pd.DataFrame:
    """A group's scores, one row per cell, part and metric of its task; NaN where a score is undefined."""
    import pandas as pd

    if group is None or group.runs.empty:
        return pd.DataFrame({name: [] for name in LONG})
    blocks = []
    for part in PARTS:
        for names in map(metrics.of_kind, metrics.KINDS):
            own = group.runs[group.runs["metric"].isin(names)]
            for metric in names:
                block = own[["id", "kind", "source", "target", "seed", "fraction", "labels", "flags", "data"]].copy()
                block["value"], block["main"] = own[column(part, metric)], own["metric"] == metric
                block["n_examples"], block["n_groups"] = own[f"n_{part}"], own[f"n_{part}_groups"]
                blocks.append(block.assign(group=group.name, part=part, metric=metric))
    table = pd.concat(blocks)[list(LONG)]
    return table.sort_values(["id", "part", "metric"], kind="stable").reset_index(drop=True)


def gather(
    root: RunsRoot,
    plan: Plan | None,
    registry: Registry,
    *,
    sample_digests: frozenset[str] = frozenset(),
    advance: Callable[[int], None] = lambda n: None,
    fresh: bool = False,
) -> Gathered:
    """Verify and collect the results of a runs root: the cells of a plan, or all cells.

    `plan`: the plan of a manifest, or None for every cell of the runs root. `registry`: from `empslurm.tasks.registry`.
    `sample_digests`: digests of raw data that are known to be the invented sample. `advance(n)` is called whenever n
    more cells are done.

    Every checksum is verified and every score computed again from the saved predictions. A result that fails is not in
    `Gathered.groups`, but in `Gathered.missing` with the state `refused` and the reason. Verified results are cached in
    the runs root, and read again only where their files have changed. `fresh`: all are read again, and nothing is
    written.
    """
    there = {cell for cell in root.ids() if not TRIAL_ID.search(cell)}  # trials are for `report.search`
    wanted = sorted(there) if plan is None else [cell.id for cell in plan.cells if cell.kind != "trial"]
    runs, refused = cache.verified(root, [cell for cell in wanted if cell in there], advance, fresh=fresh)
    absent = [cell for cell in wanted if cell not in runs.index]
    missing = _missing(root, plan, absent, refused, there)
    return Gathered(
        name="all" if plan is None else plan.manifest.name,
        groups=_groups(root, _parts(_places(runs), plan, missing), runs, registry, sample_digests),
        missing=missing,
        n_planned=None if plan is None else len(wanted),
        registry=registry,
        spent=None if plan is None else spent_on(root, plan.manifest.name),
    )


def _missing(
    root: RunsRoot, plan: Plan | None, absent: Sequence[str], refused: Mapping[str, str], there: set[str]
) -> tuple[Missing, ...]:
    alive = liveness(queue_of(root))
    missing = []
    for cell in absent:
        state, why = "pending", "never started"
        if cell in refused:
            state, why = REFUSED, refused[cell]
        elif cell in there:
            computed = root.cell(cell).state(alive)
            state, why = computed.state, computed.why or "never started"
        if state == "pending" and plan is not None:
            why = "; ".join(filter(None, (why, obstacle(plan, plan.by_id[cell]))))  # here: it may be elsewhere
        label = plan.label(plan.by_id[cell]) if plan is not None and len(plan.labels) > 1 else None
        missing.append(Missing(id=cell, **_place(root, plan, cell), state=state, why=why, backbone=label or ""))
    return tuple(missing)


def _place(root: RunsRoot, plan: Plan | None, cell_id: str) -> dict[str, Any]:
    """Kind, source, target, seed and fraction of a missing cell, as far as they are known without a plan."""
    if plan is not None:
        cell = plan.by_id[cell_id]
        return {
            "kind": cell.kind,
            "source": cell.source_task,
            "target": cell.target,
            "seed": cell.seed,
            "fraction": cell.data.fraction,
        }
    try:
        identity = root.cell(cell_id).identity()
        known = {name: identity[name] for name in ("kind", "source", "target", "seed")}
        return {**known, "fraction": float(identity["data"]["fraction"])}
    except Exception:  # the id is enough to find the folder; `why` says what is wrong with it
        return {"kind": "?", "source": None, "target": cell_id.split("-")[0], "seed": 0, "fraction": 1.0}


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The cells of one group. `label`: what tells it from groups that differ in nothing else; "" without such."""

    name: str
    places: tuple[Place, ...]
    missing: tuple[Missing, ...] = ()
    label: str = ""


def _parts(places: Sequence[Place], plan: Plan | None, missing: Sequence[Missing]) -> list[_Part]:
    """Divide cells into groups: a manifest has one for each backbone; a whole runs root may have several."""
    if plan is None:
        return _parts_of_root(places, missing)
    own = by_backbone(places) if len(plan.labels) > 1 else {}
    if not own:
        return [_Part(name="", places=tuple(places), missing=tuple(missing))] if places else []
    by_label = {plan.labels[backbone]: cells for (backbone, _), cells in own.items()}
    return [
        _Part(
            name=folder_name(label),
            places=by_label[label],
            missing=tuple(cell for cell in missing if cell.backbone in (label, "")),
            label=label,
        )
        for label in plan.labels.values()
        if label in by_label
    ]


def _parts_of_root(places: Sequence[Place], missing: Sequence[Missing]) -> list[_Part]:
    """The groups of a runs root, by name; those that differ only in the backbone have its label as their setting."""
    alike = groups(places)
    if len(alike) == 1:
        return [_Part(name="", places=alike[0], missing=tuple(missing))]
    models = models_of(alike)
    if models:
        named = zip(labels_of_models(models), alike, strict=True)
        parts = [_Part(name=folder_name(label), places=part, label=label) for label, part in named]
    else:
        parts = [_Part(name=_name(describe(part), part), places=part) for part in alike]
    return sorted(parts, key=lambda part: part.name)


def _groups(
    root: RunsRoot, parts: Sequence[_Part], runs: pd.DataFrame, registry: Registry, samples: frozenset[str]
) -> tuple[Group, ...]:
    collected = []
    for part in parts:
        own = runs.loc[[cell.id for cell in part.places]].copy()
        notes = _data_notes(part.places, registry, samples)
        own["data"] = [notes.get(target, "pinned") for target in own["target"]]
        own["data"] = own["data"].astype("string")
        folders = own["id"].map(root.cell_paths()).astype("string")
        own["predictions"] = folders + "/" + own["output"] + f"/{predictions.NAME}"
        collected.append(
            Group(
                name=part.name,
                setting={**({"setting": part.label} if part.label else {}), **describe(part.places)},
                runs=own,
                missing=part.missing,
                notes=notes,
                leaks=_leaks(root, part.places, registry),
                suitability=_suitability(root, part.places, own),
            )
        )
    return tuple(collected)


def joined(results: Sequence[Gathered]) -> tuple[Group, ...]:
    """The groups of several results taken together, as of one runs root; each cell once, missing ones not at all."""
    import pandas as pd

    groups_of = [group for gathered in results for group in gathered.groups]
    if not groups_of:
        return ()
    runs = pd.concat([group.runs for group in groups_of])
    runs = runs[~runs.index.duplicated()]
    return tuple(
        Group(
            name=part.name,
            setting={**({"setting": part.label} if part.label else {}), **describe(part.places)},
            runs=runs.loc[[cell.id for cell in part.places]],
            missing=(),
            notes={task: note for group in groups_of for task, note in group.notes.items()},
            leaks={pair: text for group in groups_of for pair, text in group.leaks.items()},
            suitability={pair: values for group in groups_of for pair, values in group.suitability.items()},
        )
        for part in _parts_of_root(_places(runs), ())
    )


def _places(runs: pd.DataFrame) -> list[Place]:
    names = ["id", "kind", "source", "target", "seed", "fraction", "parent", "setting"]
    columns = [runs[name].astype(object).where(runs[name].notna(), None).tolist() for name in names]
    return [Place(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]


def _name(setting: Mapping[str, Any], places: Sequence[Place]) -> str:
    """A readable, unique folder name: the backbone, and a digest of the cells' settings."""
    backbone = str(setting["backbone"]).rstrip("/").rsplit("/", 1)[-1]
    distinct = sorted({cell.setting for cell in places})
    return f"{backbone}-{ids.digest(distinct, 6)}"


def _data_notes(places: Sequence[Place], registry: Registry, samples: frozenset[str]) -> dict[str, str]:
    """Tasks whose numbers rest on something other than a pinned release: `CARD`, `sample` or `NOT_PINNED`."""
    built_in = {dataset.id for dataset in DATASETS}
    notes = {}
    for cell in places:
        if cell.target in notes:
            continue
        raw, dataset = cell.parts["data"]["raw"], str(cell.parts["data"]["dataset"])
        if raw in samples:
            notes[cell.target] = "sample"
        elif dataset in registry.datasets and dataset not in built_in:
            notes[cell.target] = CARD
        elif raw not in _pinned(registry, dataset):
            notes[cell.target] = NOT_PINNED
    return notes


def _leaks(root: RunsRoot, places: Sequence[Place], registry: Registry) -> dict[tuple[str, str], str]:
    """Pairs with test texts in the training part of the source or of the target, by the split rule or by an audit."""
    data = [cell.parts["data"] for cell in places if cell.parts["data"]["dataset"] in registry.datasets]
    raw = {str(entry["dataset"]): entry["raw"] for entry in data}
    uses = {str(entry["dataset"]): DataUse(**entry["use"]) for entry in data}
    by_rule = {name: leaks(registry.datasets[name], use.splits) for name, use in uses.items()}
    tasks = [task for name, text in by_rule.items() if text for task in registry.datasets[name].tasks]
    leaking = {(task.id, task.id): by_rule[task.dataset] for task in tasks}
    audited = overlap.verdicts(root.prepared, registry.datasets, raw, uses).flags()
    asked = {(cell.source or cell.target, cell.target) for cell in places}
    return {pair: text for pair, text in {**audited, **leaking}.items() if pair in asked}


def _suitability(
    root: RunsRoot, places: Sequence[Place], runs: pd.DataFrame
) -> dict[tuple[str, str], Mapping[str, float]]:
    """What `suggest` has kept of each pair: of the source's first seed that has values."""
    alone = sorted((cell for cell in places if cell.kind == "baseline"), key=lambda cell: (cell.target, cell.seed))
    found: dict[tuple[str, str], Mapping[str, float]] = {}
    for target, cell in {cell.target: cell for cell in reversed(alone)}.items():
        max_length = int(cell.parts["training"]["max_length"])
        metric = str(runs.loc[cell.id, "metric"])
        kept = suitability.read(root, suitability.reading(target, cell.parts["data"], max_length, metric))
        for source in alone if kept is not None else ():
            values = kept.values.get(source.id) if kept is not None else None
            if values is not None and source.target != target:
                known = {name: float("nan") if value is None else value for name, value in values.items()}
                found.setdefault((source.target, target), known)
    return found


def _pinned(registry: Registry, dataset: str) -> set[str]:
    if dataset not in registry.datasets:
        return set()
    forms = [form for form in registry.datasets[dataset].forms if is_pinned(form)]
    return {forms_digest(form, {file.name: str(file.sha256) for file in form.files}) for form in forms}
