"""Results of several labs (clusters, groups, machines) that studied the same pairs, taken together.

What is the same run in two labs:

- runs with the same id: cells of runs roots and bundles, and rows of tables whose column `id` says more than the other
  columns do. Their numbers must be equal. A run on which labs disagree is left out everywhere, and listed;
- without such ids, rows of two tables with equal values at every seed that both have of one setting, source, target and
  fraction, where these are at least two seeds and six decimals together: nobody repeats a run that exactly by chance.

A run that several labs have counts once, for the first of them. Everything else is a run of its own, also where two
tables have the same seed: seed 1 of one lab is not seed 1 of another. Where tables would mix them up, the later lab's
seeds are numbered anew in the tables of all runs.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from empslurm.gather.collect import DISAGREES, Gathered, Group, Missing, joined
from empslurm.gather.results import folder_name, names_a_run
from empslurm.gather.verify import SCORES, TOLERANCE, column

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["table", "runs root", "bundle"]
FEWEST_SEEDS, FEWEST_DECIMALS = 2, 6  # by which rows of two tables are known to be one run
MOST_DECIMALS = 6  # of one value, that count


@dataclass(frozen=True, kw_only=True)
class Input:
    """One lab's results as read. `name`: unique among all inputs."""

    name: str
    path: str
    kind: Kind
    gathered: Gathered


@dataclass(frozen=True, kw_only=True)
class LabRuns:
    """What one lab contributes in one setting."""

    lab: str
    setting: str  # "" where the lab has one
    kind: Kind
    group: Group  # the runs that count for this lab
    n_runs: int  # that it has
    n_copies: int  # of these, runs that an earlier lab has too: the same files or rows
    n_repeated: int  # the same numbers as an earlier lab's, computed again
    n_disagreeing: int  # left out: another lab has other numbers under the same id

    @property
    def name(self) -> str:
        """Of the lab, and of its setting where it has several."""
        return f"{self.lab}, {self.setting}" if self.setting else self.lab


@dataclass(frozen=True, kw_only=True)
class Told:
    """What one lab says of a run on which labs disagree."""

    id: str
    lab: str
    source: str  # "" of a baseline
    target: str
    seed: int
    fraction: float
    score: str  # part and metric that differ, such as test.pearson
    value: float


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A run of one lab. `at`: numbers of its input and of the group in it."""

    at: tuple[int, int]
    id: str
    named: bool  # whether equal ids mean equal runs
    of_table: bool
    setting: str
    source: str
    target: str
    seed: int
    fraction: float
    metric: str
    seal: str
    scores: Mapping[str, float]

    @property
    def value(self) -> float:
        """Its main score on the test part."""
        return self.scores[column("test", self.metric)] if self.metric else float("nan")

    @property
    def pair(self) -> tuple[object, ...]:
        """What the seeds of one pair have in common."""
        return (self.setting, self.source, self.target, self.fraction, self.metric)


At = tuple[tuple[int, int], str]  # a run of an input's group


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """Which runs do not count for their lab, and why."""

    told: tuple[Told, ...]
    disagreeing: frozenset[At]
    copies: frozenset[At]
    repeated: frozenset[At]
    n_unclear: int  # rows of two tables that are equal, but on too few seeds or decimals to be known as one run


def together(inputs: Sequence[Input]) -> Gathered:
    """Several labs' results as one `Gathered`, whose `labs` says who contributed what.

    Cells are divided into groups as those of one runs root; rows of tables by the name of their setting.
    """
    runs = list(_runs(inputs))
    shared = _compare(inputs, runs)
    labs, remarks = [], []
    for at, one in enumerate(inputs):
        own = [_contribution(one, (at, index), group, shared) for index, group in enumerate(one.gathered.groups)]
        labs += own
        if not own:
            remarks.append(f"{one.name} has no finished run.")
    if shared.n_unclear:
        remarks.append(
            f"{shared.n_unclear:,} runs have the value of another lab's run with the same seed, on too few seeds or "
            "decimals to tell a copy from chance: they count as different runs; give runs ids to tell them apart."
        )
    tables, said = _tables_together(inputs, labs, runs)
    cells = _cells_together(inputs, labs, apart={group.name for group in tables})
    if len(tables) + len(cells) == 1:
        tables, cells = ([replace(group, name="") for group in groups] for groups in (tables, cells))
    return Gathered(
        name=_name([one.name for one in inputs]),
        groups=(*tables, *cells),
        missing=(*_missing(inputs, runs), *_disagreeing(shared)),
        n_planned=None,
        registry=max((one.gathered.registry for one in inputs), key=lambda known: len(known.tasks)),
        origin="results" if any(one.kind == "table" for one in inputs) else "runs",
        labs=tuple(labs),
        told=shared.told,
        remarks=(*remarks, *said),
    )


def _name(names: Sequence[str]) -> str:
    whole = "+".join(names)
    return whole if len(whole) <= 60 else f"{names[0][:40]}+{len(names) - 1}-more"


# ---- the same run ----------------------------------------------------------------------------------------------------


def _runs(inputs: Sequence[Input]) -> Iterator[_Run]:
    columns = ["id", "source", "target", "seed", "fraction", "metric", "seal", *SCORES]
    for at, one in enumerate(inputs):
        of_table = one.kind == "table"
        for index, group in enumerate(one.gathered.groups):
            setting = str(group.setting.get("setting", "")) if of_table else ""
            table = group.runs[columns].astype(object)
            for row in table.where(group.runs[columns].notna(), None).to_dict("records"):
                source, target, seed = row["source"] or "", str(row["target"]), int(row["seed"])
                fraction = float(row["fraction"])
                yield _Run(
                    at=(at, index),
                    id=str(row["id"]),
                    named=not of_table or names_a_run(str(row["id"]), (setting, source, target, seed, fraction)),
                    of_table=of_table,
                    setting=setting,
                    source=source,
                    target=target,
                    seed=seed,
                    fraction=fraction,
                    metric=row["metric"] or "",
                    seal=row["seal"] or "",
                    scores={name: float("nan") if row[name] is None else float(row[name]) for name in SCORES},
                )


def _compare(inputs: Sequence[Input], runs: Sequence[_Run]) -> _Shared:
    by_id: dict[str, list[_Run]] = {}
    for run in runs:
        if run.named:
            by_id.setdefault(run.id, []).append(run)
    told: list[Told] = []
    disagreeing, copies, repeated = set[At](), set[At](), set[At]()
    for id, same in by_id.items():
        first, *rest = _one_per_input(same)
        differing = next((name for other in rest if (name := _difference(first, other))), "")
        if differing:
            disagreeing |= {(run.at, id) for run in same}
            told += [_told(run, inputs[run.at[0]].name, differing) for run in (first, *rest)]
            continue
        for run in same:
            if run.at[0] != first.at[0]:
                computed_again = bool(run.seal and first.seal and run.seal != first.seal)
                (repeated if computed_again else copies).add((run.at, id))
    equal, n_unclear = _equal_rows(runs)
    return _Shared(
        told=tuple(told),
        disagreeing=frozenset(disagreeing),
        copies=frozenset(copies | equal),
        repeated=frozenset(repeated),
        n_unclear=n_unclear,
    )


def _one_per_input(runs: Sequence[_Run]) -> list[_Run]:
    """The first of each input: a baseline may be in several groups of one runs root."""
    firsts: dict[int, _Run] = {}
    for run in runs:
        firsts.setdefault(run.at[0], run)
    return list(firsts.values())


def _difference(first: _Run, second: _Run) -> str:
    """The first score that differs, the main one before others; "" where all are equal."""
    main = column("test", first.metric) if first.metric else ""
    places = [(run.source, run.target, run.seed, run.fraction, run.metric) for run in (first, second)]
    if places[0] != places[1]:
        return main or SCORES[0]
    names = [main] if main else []
    if not (first.of_table or second.of_table):  # a table has the main score alone
        names += SCORES
    for name in names:
        one, other = first.scores[name], second.scores[name]
        if not np.isclose(one, other, rtol=0, atol=TOLERANCE, equal_nan=True):
            return name
    return ""


def _told(run: _Run, lab: str, differing: str) -> Told:
    return Told(
        id=run.id,
        lab=lab,
        source=run.source,
        target=run.target,
        seed=run.seed,
        fraction=run.fraction,
        score=differing,
        value=run.scores[differing],
    )


def _equal_rows(runs: Sequence[_Run]) -> tuple[set[At], int]:
    """Rows of tables that are those of an earlier table; and how many equal ones cannot be told from chance."""
    pairs: dict[tuple[object, ...], dict[int, dict[int, _Run]]] = {}
    for run in runs:
        if run.of_table:
            pairs.setdefault(run.pair, {}).setdefault(run.at[0], {})[run.seed] = run
    equal, unclear = set[At](), set[At]()
    for labs in pairs.values():
        for later in labs:
            for earlier in (other for other in labs if other < later):
                shared = sorted(labs[later].keys() & labs[earlier].keys())
                rows = [(labs[earlier][seed], labs[later][seed]) for seed in shared]
                rows = [(one, other) for one, other in rows if not (one.named and other.named)]
                same = [other for one, other in rows if _equal(one.value, other.value)]
                decimals = sum(_decimals(run.value) for run in same)
                if same and len(same) == len(rows):
                    sure = len(rows) >= FEWEST_SEEDS and decimals >= FEWEST_DECIMALS
                    (equal if sure else unclear).update((run.at, run.id) for run in same)
    return equal, len(unclear - equal)


def _equal(one: float, other: float) -> bool:
    return one == other  # an undefined score is equal to nothing: it says nothing of the run


def _decimals(value: float) -> int:
    """Digits after the point, at most six."""
    return len(f"{value:.{MOST_DECIMALS}f}".partition(".")[2].rstrip("0"))


# ---- who contributed what --------------------------------------------------------------------------------------------


def _contribution(one: Input, at: tuple[int, int], group: Group, shared: _Shared) -> LabRuns:
    ids = group.runs["id"].tolist()
    disagreeing, copies, repeated = (
        {id for id in ids if (at, id) in runs} for runs in (shared.disagreeing, shared.copies, shared.repeated)
    )
    dropped = group.runs["id"].isin(disagreeing | copies | repeated)
    several = len(one.gathered.groups) > 1
    return LabRuns(
        lab=one.name,
        setting=str(group.setting.get("setting") or group.name) if several else "",
        kind=one.kind,
        group=replace(group, runs=group.runs[~dropped], missing=()),
        n_runs=len(ids),
        n_copies=len(copies),
        n_repeated=len(repeated),
        n_disagreeing=len(disagreeing),
    )


def _names(group: Group, run: Mapping[Hashable, Any]) -> bool:
    """Whether a row's id is one that its table gave it."""
    source = run["source"] if isinstance(run["source"], str) else ""
    place = (str(group.setting.get("setting", "")), source, str(run["target"]), int(run["seed"]), run["fraction"])
    return names_a_run(str(run["id"]), place)


def _missing(inputs: Sequence[Input], runs: Sequence[_Run]) -> tuple[Missing, ...]:
    """Cells that no lab has finished, and results that were refused."""
    done = {run.id for run in runs}
    missing = [cell for one in inputs for cell in one.gathered.missing]
    kept = {cell.id: cell for cell in missing if cell.state == "refused" or cell.id not in done}
    return tuple(kept.values())


def _disagreeing(shared: _Shared) -> tuple[Missing, ...]:
    rows: dict[str, list[Told]] = {}
    for told in shared.told:
        rows.setdefault(told.id, []).append(told)
    return tuple(
        Missing(
            id=id,
            kind="transfer" if said[0].source else "baseline",
            source=said[0].source or None,
            target=said[0].target,
            seed=said[0].seed,
            fraction=said[0].fraction,
            state=DISAGREES,
            why="labs disagree on " + said[0].score + ": " + ", ".join(f"{one.lab} {one.value:.6g}" for one in said),
        )
        for id, said in rows.items()
    )


# ---- all runs together -----------------------------------------------------------------------------------------------


def _cells_together(inputs: Sequence[Input], labs: Sequence[LabRuns], *, apart: set[str]) -> list[Group]:
    """The groups of all cells. `apart`: names that tables have."""
    kinds = {one.name: one.kind for one in inputs}
    own = [one.group for one in labs if kinds[one.lab] != "table" and len(one.group.runs)]
    if not own:
        return []
    groups = joined([replace(inputs[0].gathered, groups=tuple(own))])
    named = []
    for group in groups:
        name = group.name
        if apart:
            name = name or folder_name(str(group.setting["backbone"]).rstrip("/").rsplit("/", 1)[-1])
            name = f"{name}-cells" if name in apart else name
        named.append(replace(group, name=name))
    return named


def _tables_together(
    inputs: Sequence[Input], labs: Sequence[LabRuns], runs: Sequence[_Run]
) -> tuple[list[Group], list[str]]:
    """The groups of all rows of tables, by the name of their setting; and what to know about them."""
    import pandas as pd

    paths = {one.name: one.path for one in inputs if one.kind == "table"}
    by_setting: dict[str, list[LabRuns]] = {}
    for lab in labs:
        if lab.lab in paths:
            by_setting.setdefault(str(lab.group.setting.get("setting", "")), []).append(lab)
    groups, remarks = [], []
    mixed = len(paths) < len(inputs)
    for setting, own in by_setting.items():
        kept, said = _one_metric(own, setting)
        remarks += said
        kept, said = _seeds_apart(kept, setting)
        remarks += said
        table = pd.concat([_ids_apart(lab) for lab in kept if len(lab.group.runs)] or [own[0].group.runs])
        several = len(by_setting) > 1 or mixed
        described = {"origin": ", ".join(dict.fromkeys(paths[lab.lab] for lab in own))}
        described |= {"setting": setting} if setting or several else {}
        name = folder_name(setting or "tables") if several else ""
        groups.append(Group(name=name, setting=described, runs=table, missing=(), notes={}))
    if "" in by_setting and len(by_setting[""]) > 1:
        remarks.append(
            "The tables name no setting, so all their runs are analysed together as one; if the labs' settings differ, "
            "name them in a column `setting`."
        )
    return groups, remarks


def _one_metric(labs: Sequence[LabRuns], setting: str) -> tuple[list[LabRuns], list[str]]:
    """Only runs with the target's first metric can be in one table."""
    metrics: dict[str, str] = {}
    kept, remarks = [], []
    for lab in labs:
        runs = lab.group.runs
        for target, metric in runs[["target", "metric"]].itertuples(index=False):
            metrics.setdefault(str(target), str(metric))
        fits = np.array(
            [metrics[str(target)] == metric for target, metric in runs[["target", "metric"]].itertuples(index=False)],
            dtype=bool,
        )
        others = sorted(set(runs["target"][~fits]))
        if others:
            where = f" in setting {setting}" if setting else ""
            remarks.append(
                f"{lab.lab} scores {', '.join(others[:5])}{', ...' if len(others) > 5 else ''}{where} by another "
                "metric than an earlier lab: these runs are left out where all runs are analysed together."
            )
        kept.append(replace(lab, group=replace(lab.group, runs=runs[fits])))
    return kept, remarks


def _seeds_apart(labs: Sequence[LabRuns], setting: str) -> tuple[list[LabRuns], list[str]]:
    """Number a lab's seeds anew where they are those of an earlier lab's runs of the same target."""
    taken: set[tuple[str, int]] = set()  # (target, seed)
    places: set[tuple[object, ...]] = set()
    named_alone = True
    kept, remarks = [], []
    for lab in labs:
        runs = lab.group.runs.copy()
        records = runs.to_dict("records")
        named = all(_names(lab.group, run) for run in records)
        own_places = {_place(run) for run in records}
        # Runs with ids of their own come from one plan, in which equal seeds mean equal random numbers.
        mixes = own_places & places if named and named_alone else {key for key in _keys(runs) if key in taken}
        if mixes:
            used = {seed for _, seed in taken}
            free = (seed for seed in range(1, len(used) + len(runs) + 2) if seed not in used)
            anew = {seed: next(free) for seed in sorted(set(runs["seed"].tolist()))}
            runs["seed"] = runs["seed"].map(anew)
            remarks.append(
                f"{lab.lab} and an earlier lab use the same seeds{f' in setting {setting}' if setting else ''}: where "
                f"all runs are analysed together, its seeds {_list(anew.keys())} are {_list(anew.values())}."
            )
        taken |= set(_keys(runs))
        places |= {_place(run) for run in runs.to_dict("records")}
        named_alone = named_alone and named
        kept.append(replace(lab, group=replace(lab.group, runs=runs)))
    return kept, remarks


def _keys(runs: pd.DataFrame) -> list[tuple[str, int]]:
    return [(str(target), int(seed)) for target, seed in runs[["target", "seed"]].itertuples(index=False)]


def _place(run: Mapping[Hashable, Any]) -> tuple[object, ...]:
    source = run["source"] if isinstance(run["source"], str) else ""
    return (source, run["target"], run["fraction"], run["seed"])


def _list(numbers: Any) -> str:
    """Whole numbers as text, such as `1 to 4` or `1, 3`."""
    values = sorted(numbers)
    if len(values) > 2 and values[-1] - values[0] == len(values) - 1:
        return f"{values[0]} to {values[-1]}"
    return ", ".join(map(str, values[:6])) + (", ..." if len(values) > 6 else "")


def _ids_apart(lab: LabRuns) -> pd.DataFrame:
    """The lab's runs; ids that only repeat other columns get the lab's name, since another lab may have them too."""
    runs = lab.group.runs.copy()
    prefix = "-".join(lab.lab.split())
    ids = [
        str(run["id"]) if _names(lab.group, run) else f"{prefix}:{run['id']}"
        for run in lab.group.runs.to_dict("records")
    ]
    runs["id"] = np.array(ids, dtype=object)
    runs = runs.astype({"id": "string"})
    return runs.set_index("id", drop=False).rename_axis(None)
