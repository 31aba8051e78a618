"""Results of several labs (clusters, groups, machines) that studied the same pairs, taken together.

What is the same run in two labs:

- runs with the same id: cells of runs roots and bundles, and rows of tables whose column `id` says more than the other
  columns do. Their numbers must be equal. A run on which labs disagree is left out everywhere, and listed;
- rows of a table whose values are those of another lab for the same source, target and fraction, up to the digits that
  the table has: at the same seeds, or all of equally many in any order. They must be too many for chance, and not all
  be equal; or be among many such rows of the two labs.

A run that several labs have counts once, for the first of them; a row of a table counts for nobody where a lab has the
cell itself. Everything else is a run of its own, also where two tables have the same seed: seed 1 of one lab is not
seed 1 of another. Where tables would mix them up, the later lab's seeds are numbered anew in the tables of all runs.
"""

from __future__ import annotations

import math
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
MOST_DECIMALS = 6  # of one value, that count
# Seeds move a score by about .01. So a run's score is another's to d decimals with a chance of about 10^(1.5 - d).
FREE_DECIMALS = 1.5
FEWEST_DECIMALS = 5.0  # beyond these, together, by which values of a source and target are known to be another lab's
# Or by all sources and targets of both labs: the share that has the same values, with so many different ones.
ALIKE, FEWEST_ALIKE, FEWEST_DECIMALS_ALIKE = 0.5, 4, 3


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
        """What the seeds of one pair have in common. The setting is not in it: a copy may name another one."""
        return (self.source, self.target, self.fraction, self.metric)


At = tuple[tuple[int, int], str]  # a run of an input's group


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """Which runs do not count for their lab, and why."""

    told: tuple[Told, ...]
    disagreeing: frozenset[At]
    copies: frozenset[At]
    repeated: frozenset[At]
    remarks: tuple[str, ...]  # about rows with another lab's values


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
    remarks += shared.remarks
    tables, said = _tables_together(inputs, labs)
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
    digits = _digits(runs)
    for run in runs:
        if run.named:
            by_id.setdefault(run.id, []).append(run)
    told: list[Told] = []
    disagreeing, copies, repeated = set[At](), set[At](), set[At]()
    for id, same in by_id.items():
        first, *rest = _one_per_input(sorted(same, key=lambda run: (run.of_table, run.at)))  # a cell before its row
        differing = next((name for other in rest if (name := _difference(first, other, digits))), "")
        if differing:
            disagreeing |= {(run.at, id) for run in same}
            told += [_told(run, inputs[run.at[0]].name, differing) for run in (first, *rest)]
            continue
        for run in same:
            if run.at[0] != first.at[0]:
                computed_again = bool(run.seal and first.seal and run.seal != first.seal)
                (repeated if computed_again else copies).add((run.at, id))
    ids = {(run.at, run.id) for same in by_id.values() if len({run.at[0] for run in same}) > 1 for run in same}
    equal, remarks = _equal_rows(inputs, [run for run in runs if (run.at, run.id) not in ids], digits)
    return _Shared(
        told=tuple(told),
        disagreeing=frozenset(disagreeing),
        copies=frozenset(copies | equal),
        repeated=frozenset(repeated),
        remarks=tuple(remarks),
    )


def _one_per_input(runs: Sequence[_Run]) -> list[_Run]:
    """The first of each input: a baseline may be in several groups of one runs root."""
    firsts: dict[int, _Run] = {}
    for run in runs:
        firsts.setdefault(run.at[0], run)
    return list(firsts.values())


def _difference(first: _Run, second: _Run, digits: Mapping[int, int]) -> str:
    """The first score that differs, the main one before others; "" where all are equal, up to a table's digits."""
    main = column("test", first.metric) if first.metric else ""
    places = [(run.source, run.target, run.seed, run.fraction, run.metric) for run in (first, second)]
    if places[0] != places[1]:
        return main or SCORES[0]
    names = [main] if main else []
    if not (first.of_table or second.of_table):  # a table has the main score alone
        names += SCORES
    for name in names:
        one, other = first.scores[name], second.scores[name]
        within = max(TOLERANCE, _rounding(digits, first, second)) if first.of_table or second.of_table else TOLERANCE
        if not np.isclose(one, other, rtol=0, atol=within, equal_nan=True):
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


def _digits(runs: Sequence[_Run]) -> dict[int, int]:
    """Number of an input -> the digits after the point that its values have, at most six."""
    digits: dict[int, int] = {}
    for run in runs:
        digits[run.at[0]] = max(digits.get(run.at[0], 0), _decimals(run.value))
    return digits


def _decimals(value: float) -> int:
    """Digits after the point, at most six."""
    return len(f"{value:.{MOST_DECIMALS}f}".partition(".")[2].rstrip("0"))


def _rounding(digits: Mapping[int, int], one: _Run, other: _Run) -> float:
    """How far two values are apart at most if one is the other, rounded."""
    return 0.5001 * 10.0 ** -min(digits[one.at[0]], digits[other.at[0]])


@dataclass(frozen=True, kw_only=True)
class _Match:
    """Runs of one source, target and fraction that have the values of another lab."""

    runs: tuple[_Run, ...]  # empty: the values are others
    evidence: float  # minus the logarithm (base 10) of the chance that other runs have these values

    @property
    def sure(self) -> bool:
        different = {run.value for run in self.runs}  # runs that have collapsed have equal values in all labs
        return len(different) >= 2 and self.evidence >= FEWEST_DECIMALS


def _equal_rows(inputs: Sequence[Input], runs: Sequence[_Run], digits: Mapping[int, int]) -> tuple[set[At], list[str]]:
    """Rows of tables whose values are those of another lab; and what to know about them.

    A lab is compared with those before it, where cells are before tables.
    """
    by_lab: dict[int, dict[tuple[object, ...], dict[tuple[int, str], list[_Run]]]] = {}
    for run in runs:
        if np.isfinite(run.value):  # an undefined score says nothing of the run
            pairs = by_lab.setdefault(run.at[0], {})
            pairs.setdefault(run.pair, {}).setdefault((run.at[1], run.setting), []).append(run)
    order = sorted(by_lab, key=lambda at: (inputs[at].kind == "table", at))
    equal, remarks = set[At](), []
    for place, later in enumerate(order):
        if inputs[later].kind != "table":
            continue
        unclear = set[At]()
        for earlier in order[:place]:
            matches = [
                max((_match(own, other, digits) for other in others.values()), key=lambda match: match.evidence)
                for pair, others in by_lab[earlier].items()
                for own in by_lab[later].get(pair, {}).values()
            ]
            alike = [match for match in matches if match.runs]
            most = len(alike) >= ALIKE * len(matches)
            many = (
                most
                and len({run.value for match in alike for run in match.runs}) >= FEWEST_ALIKE
                and min(digits[later], digits[earlier]) >= FEWEST_DECIMALS_ALIKE
            )
            sure = {(run.at, run.id) for match in alike if many or match.sure for run in match.runs} - equal
            if sure:
                remarks.append(
                    f"{len(sure):,} {'run' if len(sure) == 1 else 'runs'} of {inputs[later].name} have the values that "
                    f"{inputs[earlier].name} has for the same pairs: they count once, for {inputs[earlier].name}."
                )
            equal |= sure
            unclear |= {(run.at, run.id) for match in alike if most for run in match.runs}
        if unclear - equal:
            remarks.append(
                f"{len(unclear - equal):,} runs of {inputs[later].name} have the values of another lab for the same "
                "pairs, on too few seeds or decimals to tell a copy from chance: they count as different runs; if they "
                "are copies, gather without them."
            )
    return equal, remarks


def _match(own: Sequence[_Run], other: Sequence[_Run], digits: Mapping[int, int]) -> _Match:
    """The runs of `own` with the values of `other`: at the same seeds, or all of equally many in any order.

    Some of the seeds are enough only where these alone are sure.
    """
    within = _rounding(digits, own[0], other[0])
    each = min(digits[own[0].at[0]], digits[other[0].at[0]]) - FREE_DECIMALS
    seeds = {run.seed: run for run in other}
    both = [run for run in own if run.seed in seeds]
    same = [run for run in both if abs(run.value - seeds[run.seed].value) <= within]
    aligned = _Match(runs=tuple(same), evidence=len(same) * each - math.log10(math.comb(len(both), len(same))))
    if same and (aligned.sure or len(same) == len(both)):
        return aligned
    mine, theirs = (sorted(runs, key=lambda run: run.value) for runs in (own, other))
    if len(mine) == len(theirs) and all(
        abs(one.value - two.value) <= within for one, two in zip(mine, theirs, strict=True)
    ):
        return _Match(runs=tuple(mine), evidence=len(mine) * each - math.log10(math.factorial(len(mine))))
    return _Match(runs=(), evidence=-math.inf)


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


def _tables_together(inputs: Sequence[Input], labs: Sequence[LabRuns]) -> tuple[list[Group], list[str]]:
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
