"""Train finished cells again, and compare the outcome with what their results say.

The cells are trained as `submit` trains them here, by processes of jobs/train.py, in a runs root below the temporary
folder: parsed and tokenised again from the raw data, with the recorded number of threads. A transfer starts from the
adapter that the study has of its source; where that is left out or fails its check, the source is trained again first.

On a CPU with the same code, versions, threads and machine the bits must be the same (docs/architecture.md, Resuming).
Elsewhere sums round differently, so the main score may differ by `MOST_OF_SCORE`.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from empslurm import backbones, files, provenance
from empslurm.cells import SCORED, Baseline, Cell, Transfer
from empslurm.config import BANKED, LIBRARY, library_problem
from empslurm.errors import EmpslurmError, StoreError, UnknownCellError, UsageError
from empslurm.gather.verify import TOLERANCE
from empslurm.launch import environment, local, submission
from empslurm.launch.liveness import liveness
from empslurm.launch.profile import Profile
from empslurm.launch.states import queue_of
from empslurm.metrics import METRICS
from empslurm.plan import packs
from empslurm.share.study import Study
from empslurm.store import predictions
from empslurm.store.cell_folder import LAST_ADAPTER, PROVENANCE, CellDir
from empslurm.store.results import ADAPTER, LEFT_OUT
from empslurm.store.runs import RunsRoot
from empslurm.tasks.raw import locate

MOST_OF_SCORE = 0.02  # difference of a metric of a fixed range; of an error, the same share of its value
SAME_BITS, SAME_PREDICTIONS, SAME_SCORE, DIFFERS, FAILED = "bits", "predictions", "score", "differs", "failed"
AGREE = (SAME_BITS, SAME_PREDICTIONS, SAME_SCORE)
COMPARED = ("python", "platform", "host", "device", "n_threads", "n_processes")  # of a cell's provenance


@dataclass(frozen=True, kw_only=True)
class Retrained:
    """A cell that was trained again. Scores are in the metric of its target, on the test part; None: undefined."""

    cell: str
    outcome: str  # one of AGREE, DIFFERS, FAILED
    text: str  # a sentence
    metric: str = ""
    score: float | None = None  # that the result says
    again: float | None = None
    elsewhere: tuple[str, ...] = ()  # what is not as it was: versions, device, threads, machine

    @property
    def agrees(self) -> bool:
        return self.outcome in AGREE


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The cells to train again, and why others cannot be."""

    cells: tuple[Cell, ...]
    unchecked: tuple[str, ...]


Count = Callable[[int, int], None]  # cells that have ended, all cells


# ---- choosing --------------------------------------------------------------------------------------------------------


def named(study: Study, wanted: int | Sequence[str]) -> int | tuple[str, ...]:
    """What is asked for, with whole ids. Raises UnknownCellError for a name that fits no scored cell, or several."""
    if isinstance(wanted, int):
        return wanted
    ids = [cell.id for cell in study.plan.cells if cell.kind in SCORED]
    return tuple(dict.fromkeys(_named(ids, name) for name in wanted))


def _named(ids: Sequence[str], name: str) -> str:
    starting = [cell for cell in ids if cell.startswith(name)]
    if name in starting or len(starting) == 1:
        return name if name in starting else starting[0]
    what = f"but {len(starting)} have it" if starting else "but none has it"
    raise UnknownCellError(
        f"{name!r} must be the start of one id of a baseline or transfer, {what}; write a number to draw cells, or "
        "whole ids with commas between"
    )


def draw(study: Study, finished: Sequence[str], wanted: int | Sequence[str]) -> Drawn:
    """Cells to train again: some of the finished ones at random, or those with the ids given.

    The draw has no seed: nobody can know it before.
    """
    cells = {name: cell for name in finished if (cell := study.plan.by_id[name]).kind in SCORED}
    if not isinstance(wanted, int):
        lacking = [
            f"{name} was not trained again: it has no result that passed its check."
            for name in wanted
            if name not in cells
        ]
        return Drawn(cells=tuple(cells[name] for name in wanted if name in cells), unchecked=tuple(lacking))
    chosen = random.SystemRandom().sample(list(cells.values()), min(wanted, len(cells)))
    few = f"Only {len(cells):,} cells have a result that can be trained again." if len(cells) < wanted else ""
    order = {cell.id: at for at, cell in enumerate(study.plan.cells)}
    return Drawn(cells=tuple(sorted(chosen, key=lambda cell: order[cell.id])), unchecked=(few,) if few else ())


def obstacle(study: Study, cell: Cell, data: Path, scratch: RunsRoot) -> str:
    """Why a cell cannot be trained here: data, backbone or library is missing, or is another one. Else empty."""
    registry = study.plan.manifest.registry
    needed = [cell]
    if isinstance(cell, Transfer) and not _adapter_here(study, cell):
        needed.append(study.plan.by_id[cell.parent])
    for each in needed:
        dataset = registry.datasets[each.data.dataset]
        located = locate(dataset, data, scratch.prepared)
        if located.state == "missing":
            return located.problem
        if located.raw_digest != each.data.raw:
            return f"{dataset.id} below {data} has other files than {each.id} was trained on"
    kinds = [adapter.kind for adapter in cell.adapters if adapter.kind not in BANKED]
    if kinds and not provenance.installed(LIBRARY):
        return library_problem(f"an adapter of kind {kinds[0]}")
    resolved = backbones.resolve(cell.backbone)
    if resolved.problem:
        return resolved.problem
    if resolved.digest != cell.backbone_digest:
        return f"the backbone {cell.backbone.name} here is not the one that {cell.id} was trained on"
    return ""


def _adapter_here(study: Study, cell: Transfer) -> bool:
    """Whether the study has the adapter that a transfer starts from, intact."""
    parent = study.root.cell(cell.parent)
    name = LAST_ADAPTER if cell.source_use.epoch == "last" else ADAPTER
    try:
        result = parent.result()
        if result is None:
            return False
        output = parent.verify(result)
    except StoreError:
        return False
    own = [file for file in result["files"] if file.startswith(f"{name}/")]
    return bool(own) and all((output / file).is_file() for file in own)


# ---- training --------------------------------------------------------------------------------------------------------


def retrain(
    study: Study, drawn: Drawn, data: Path, count: Count, say: Callable[[str], None]
) -> tuple[tuple[Retrained, ...], tuple[str, ...]]:
    """Train the drawn cells again: how each agrees, and sentences on those that could not be trained here.

    `data`: the raw data. `count(done, all)` is called while they train. Raises StoreError where the temporary folder
    cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="empslurm-retrain-") as folder:
        scratch = RunsRoot(Path(folder) / "runs")
        scratch.path.mkdir()
        problems = {cell.id: obstacle(study, cell, data, scratch) for cell in drawn.cells}
        cells = [cell for cell in drawn.cells if not problems[cell.id]]
        unchecked = [f"{name} was not trained again: {why}" for name, why in problems.items() if why]
        if not cells:
            return (), tuple(unchecked)
        parents = _parents(study, cells, scratch)
        wanted = list({cell.id: cell for cell in [*parents, *cells]}.values())
        done = 0
        for setting, group in _alike(study, wanted):
            before = done

            def look(_: Sequence[int], group: Sequence[Cell] = group, before: int = before) -> None:
                count(before + sum(scratch.cell(cell.id).result_file.exists() for cell in group), len(wanted))

            with setting.environment():
                _train(study, group, scratch, data, look, say)
            done += len(group)
        return tuple(_compare(study, cell, scratch) for cell in cells), tuple(unchecked)


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """How a cell was run, as far as it can be repeated here."""

    on_cpu: bool
    n_threads: int | None

    @contextmanager
    def environment(self) -> Iterator[None]:
        """The environment for such runs."""
        own = {"OMP_NUM_THREADS": str(self.n_threads)} if self.n_threads else {}
        own |= {"CUDA_VISIBLE_DEVICES": ""} if self.on_cpu else {}
        with environment.only({**os.environ, **own}):
            yield


def _alike(study: Study, cells: Sequence[Cell]) -> list[tuple[_Setting, list[Cell]]]:
    """Cells by how they were run. With several ways, baselines come first, since transfers may start from them."""
    setting_of = {cell.id: _setting(study.root.cell(cell.id)) for cell in cells}
    several = len(set(setting_of.values())) > 1
    groups: dict[tuple[bool, _Setting], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((several and not isinstance(cell, Baseline), setting_of[cell.id]), []).append(cell)
    return [(key[1], groups[key]) for key in sorted(groups, key=lambda key: key[0])]


def _setting(cell: CellDir) -> _Setting:
    note = _note(cell)
    threads = note.get("n_threads")
    return _Setting(
        on_cpu=note.get("device") == "cpu",
        n_threads=threads if isinstance(threads, int) and threads > 0 else None,
    )


def _parents(study: Study, cells: Sequence[Cell], scratch: RunsRoot) -> list[Cell]:
    """Copy the sources' cells to the scratch folder; those that must be trained again, since they cannot be used."""
    again: dict[str, Cell] = {}
    chosen = {cell.id for cell in cells}
    for cell in cells:
        if not isinstance(cell, Transfer) or cell.parent in chosen or cell.parent in again:
            continue
        if _adapter_here(study, cell):
            _copy(study.root.cell(cell.parent), scratch.cell(cell.parent))
        else:
            again[cell.parent] = study.plan.by_id[cell.parent]
    return list(again.values())


def _copy(cell: CellDir, target: CellDir) -> None:
    """Copy what training reads of a finished cell, so that nothing can be written to the study's own."""
    if target.path.exists():
        return
    result = cell.result()
    assert result is not None
    with files.storage_errors(target.path, "written"):
        target.path.mkdir(parents=True)
        for path in (cell.identity_file, cell.result_file):
            shutil.copyfile(path, target.path / path.name)
        for other in cell.path.glob(LEFT_OUT):  # of a bundle: the files that it leaves out
            shutil.copyfile(other, target.path / other.name)
        shutil.copytree(cell.path / result["output"], target.path / result["output"])


def _train(
    study: Study,
    cells: Sequence[Cell],
    scratch: RunsRoot,
    data: Path,
    look: local.Look,
    say: Callable[[str], None],
) -> None:
    """Train cells in processes of this machine, one after another."""
    manifest = study.plan.manifest
    profile = Profile(name="local", kind="local")
    created = submission.create(scratch, manifest.name, data, manifest.cards, packs(cells))
    slots = local.slots(profile, len(created.packs))
    if local.run(scratch, created, profile, slots[:1], look=look, say=say) == local.EXIT_INTERRUPTED:
        raise KeyboardInterrupt


# ---- comparing -------------------------------------------------------------------------------------------------------


def _compare(study: Study, cell: Cell, scratch: RunsRoot) -> Retrained:
    old, new = study.root.cell(cell.id), scratch.cell(cell.id)
    try:
        then, now = old.result(), new.result()
        if now is None:
            state = new.state(liveness(queue_of(scratch)))
            why = state.why or "its process ended without a result"
            return Retrained(cell=cell.id, outcome=FAILED, text=f"could not be trained again: {why}")
        assert then is not None
        return _judge(old, new, then, now)
    except EmpslurmError as error:
        return Retrained(cell=cell.id, outcome=FAILED, text=f"could not be compared: {error}")


def _judge(old: CellDir, new: CellDir, then: Mapping[str, Any], now: Mapping[str, Any]) -> Retrained:
    """Compare a result with that of the second training."""
    metric = str(then["metric"])
    scores = [result["test"].get(metric) for result in (then, now)]
    elsewhere = differences(_note(old), _note(new))
    one = Retrained(
        cell=old.id, outcome=DIFFERS, text="", metric=metric, score=scores[0], again=scores[1], elsewhere=elsewhere
    )
    kept = {name: digest for name, digest in then["files"].items() if name in now["files"] and name != PROVENANCE}
    weights = {name for name in kept if name.endswith(".safetensors")}
    if weights and all(now["files"][name] == kept[name] for name in {*weights, predictions.NAME}):
        return replace(one, outcome=SAME_BITS, text="the same bits: adapter and predictions")
    parts = [
        predictions.read(folder.path / result["output"] / predictions.NAME)
        for folder, result in ((old, then), (new, now))
    ]
    gap = max(
        (float(np.max(np.abs(parts[0][part].outputs - parts[1][part].outputs), initial=0.0)) for part in parts[0])
        if _same_examples(*parts)
        else [float("inf")]
    )
    apart = difference(metric, *scores)
    value = f"{metric} {_shown(scores[0])} then, {_shown(scores[1])} now"
    if gap == float("inf"):
        return replace(one, text=f"other examples, groups or right answers are in the predictions; {value}")
    if gap == 0.0 and apart > TOLERANCE:
        return replace(one, text=f"the same predictions with another score: {value}")
    if gap == 0.0 and (elsewhere or not weights):
        return replace(one, outcome=SAME_PREDICTIONS, text="the same predictions in every bit")
    if gap == 0.0:
        return replace(one, text="the same predictions from another adapter, although nothing that is recorded differs")
    if not elsewhere:
        return replace(one, text=f"other bits, although nothing that is recorded differs; {value}")
    if apart > MOST_OF_SCORE:
        return replace(one, text=f"another score: {value}, more than {MOST_OF_SCORE:g} apart")
    return replace(one, outcome=SAME_SCORE, text=f"the same score within {MOST_OF_SCORE:g}: {value}")


def _same_examples(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    return set(one) == set(two) and all(
        (one[part].ids, one[part].groups) == (two[part].ids, two[part].groups)
        and one[part].outputs.shape == two[part].outputs.shape
        and np.array_equal(one[part].gold, two[part].gold, equal_nan=True)
        for part in one
    )


def difference(metric: str, score: float | None, again: float | None) -> float:
    """How far two scores are apart: in the metric, or for one without an upper end as a share; undefined: 0 or inf."""
    if score is None or again is None:
        return 0.0 if score is again else float("inf")
    apart = abs(score - again)
    if METRICS[metric].high == float("inf"):
        return apart / max(abs(score), 1e-12)
    return apart


def _shown(score: float | None) -> str:
    return "undefined" if score is None else f"{score:.4f}"


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """What is not as it was where a cell was trained, as `name then -> now`; also why equal bits are not promised."""
    old, new = (_told(note) for note in (then, now))
    changed = [f"{name} {_plain(old[name])} -> {_plain(new[name])}" for name in old if old[name] != new[name]]
    if _code(then).get("diff") != _code(now).get("diff"):
        changed.append("code that was not committed")
    if str(now.get("device")).startswith("cuda"):
        changed.append("sums on a GPU, which depend on how many cells share a pass")
    return tuple(changed)


def _told(note: Mapping[str, Any]) -> dict[str, object]:
    """What a provenance tells of where a cell was trained, by name."""
    packages = note.get("packages") or {}
    return {
        **{name: note.get(name) for name in COMPARED},
        "gpu": (note.get("gpu") or {}).get("name"),
        "commit": str(_code(note).get("commit"))[:10],
        **{name: packages.get(name) for name in provenance.PACKAGES if name != "submitit"},
    }


def _code(note: Mapping[str, Any]) -> Mapping[str, Any]:
    return note.get("code") or {}


def _plain(value: object) -> str:
    return "unknown" if value is None else str(value)[:60]


def _note(cell: CellDir) -> dict[str, Any]:
    """The provenance of a finished cell; empty where it is missing or damaged."""
    try:
        result = cell.result()
        return {} if result is None else files.read_object(cell.path / str(result["output"]) / PROVENANCE)
    except (FileNotFoundError, StoreError):
        return {}


def asked(text: str) -> int | tuple[str, ...]:
    """What `--retrain` asks for: a number of cells, or their ids with commas between. Raises UsageError."""
    text = text.strip()
    if text.isascii() and text.isdigit() and int(text) >= 1:
        return int(text)
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names or text.lstrip("+-").isdigit():
        raise UsageError(f"--retrain must be a number of cells, 1 or more, or cell ids, but is {text!r}; write 3")
    return names
