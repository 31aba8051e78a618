"""Several labs in tables and sentences: the pooled change of every pair, who contributed what, and what disagrees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from empslurm.metrics import METRICS
from empslurm.report.formats import Entry, Table, flat, number, shown, text, whole
from empslurm.report.pooling import Estimate, LabSummary, PooledPair, Pooling
from empslurm.report.tables import title_of

MOST_NAMED = 4  # labs or runs in a sentence


# ---- tables ----------------------------------------------------------------------------------------------------------


def tables(pooling: Pooling | None) -> tuple[Table, ...]:
    """Rows: a pair; a lab's estimate of a pair; a lab; what a lab says of a run on which labs disagree."""
    if pooling is None:
        return ()
    found = (_pooled(pooling), _estimates(pooling), _labs(pooling), _disagreements(pooling))
    return tuple(table for table in found if table.rows)


def _signed(value: float) -> Entry:
    return number(value, 3, short=True, signed=True)


def _pooled(pooling: Pooling) -> Table:
    several = len({pair.fraction for pair in pooling.pairs}) > 1
    flagged = bool(pooling.flagged)
    columns = {
        "source": "source",
        "target": "target",
        **({"fraction": "data"} if several else {}),
        "metric": "metric",
        "n_labs": "labs",
        "pooled": "pooled change",
        "low": "low",
        "high": "high",
        "verdict": "verdict",
        "p_value": "p",
        "p_bh": "p, corrected",
        **({"without_flagged": "without labs that depart"} if flagged else {}),
        "tau": "tau",
        "i2": "I²",
        "q": "Q",
        "q_p": "p of Q",
        "q_p_bh": "p of Q, corrected",
        "prediction_low": "another lab, low",
        "prediction_high": "another lab, high",
        "together": "all runs together",
        "together_low": "low, together",
        "together_high": "high, together",
        "same_examples": "same test examples",
        "reason": "why not pooled",
    }
    rows, origin = [], []
    for pair in pooling.pairs:
        pooled = pair.pooled
        rows.append(
            (
                text(title_of(pair.source, pooling.registry)),
                text(title_of(pair.target, pooling.registry)),
                *((number(pair.fraction, 2),) if several else ()),
                text(METRICS[pair.metric].title),
                whole(pooled.n_labs),
                *map(_signed, (pooled.estimate, pooled.low, pooled.high)),
                Entry(text=pair.verdict, bold=pair.verdict in ("helps", "harms")),
                number(pooled.p_value),
                number(pair.p_bh),
                *((_signed(pair.without_flagged),) if flagged else ()),
                number(pooled.tau, 3, short=True),
                number(pooled.i2, 2),
                number(pooled.q, 1),
                number(pooled.q_p),
                number(pair.q_p_bh),
                *map(_signed, (pooled.prediction_low, pooled.prediction_high, *pair.together)),
                text("yes" if pair.same_examples else "no or unknown"),
                text(pair.reason),
            )
        )
        origin.append((pair.source, pair.target, " ".join(one.lab.replace(" ", "-") for one in pair.estimates)))
    return flat(
        name="pooled",
        title="Pooled over labs: does the source help?",
        caption="Change from the target alone in the target's metric: the mean over labs by random effects, with its "
        "95 % interval. The verdict is after Benjamini-Hochberg correction over all pooled pairs.",
        details="tau: standard deviation of the labs' true changes; I²: share of the labs' differences that is not "
        "noise; Q: heterogeneity, its p-value allows for errors that are estimated from few seeds; another lab: where "
        "its true change would lie, from three labs on. All runs together: the change as if one lab had made all "
        "runs. With two labs, an interval over labs is very wide.",
        columns=columns,
        rows=rows,
        n_labels=2,
        origin=origin,
        main=("source", "target", "n_labs", "pooled", "low", "high", "verdict", "q_p_bh"),
    )


def _estimates(pooling: Pooling) -> Table:
    """The estimates of pairs that at least two labs have."""
    several = len({pair.fraction for pair in pooling.pairs}) > 1
    rows = []
    for pair in pooling.pairs:
        for one in pair.estimates if len(pair.estimates) > 1 else ():
            weight = _weight(pair, one)
            rows.append(
                (
                    text(title_of(pair.source, pooling.registry)),
                    text(title_of(pair.target, pooling.registry)),
                    text(one.lab),
                    *((number(pair.fraction, 2),) if several else ()),
                    *map(_signed, (one.difference, one.low, one.high)),
                    number(one.standard_error, 4),
                    number(weight, 3),
                    whole(one.n_seeds_baseline),
                    whole(one.n_seeds_transfer),
                    text("seeds and test examples" if one.with_examples else "seeds"),
                    text(one.reason),
                )
            )
    return flat(
        name="pooled-labs",
        title="Each lab's own change",
        caption="The change that each lab's own runs give, with its 95 % interval, and its weight in the pooled "
        "change.",
        columns={
            "source": "source",
            "target": "target",
            "lab": "lab",
            **({"fraction": "data"} if several else {}),
            "difference": "change",
            "low": "low",
            "high": "high",
            "standard_error": "standard error",
            "weight": "weight",
            "n_seeds_baseline": "seeds of the baseline",
            "n_seeds_transfer": "seeds of the transfer",
            "errors": "error covers",
            "reason": "why without an error",
        },
        rows=rows,
        n_labels=3,
        main=("source", "target", "lab", "difference", "low", "high", "weight"),
    )


def _weight(pair: PooledPair, one: Estimate) -> float:
    """A lab's weight in the pooled change; NaN where it is not pooled."""
    return pair.weights.get(one.lab, float("nan")) if not pair.reason else float("nan")


def _labs(pooling: Pooling) -> Table:
    rows = []
    for lab in pooling.labs:
        runs, away = lab.runs, lab.departure
        rows.append(
            (
                text(runs.name),
                text(runs.kind),
                *map(whole, (runs.n_runs, len(runs.group.runs), runs.n_copies, runs.n_repeated, runs.n_disagreeing)),
                text(", ".join(map(str, lab.seeds))),
                whole(lab.n_pairs),
                whole(lab.n_alone),
                text({True: "seeds and test examples", False: "seeds", None: ""}[lab.with_examples]),
                Entry(text="yes" if away.flagged else "no" if not lab.reason else "not tested", bold=away.flagged),
                *map(_signed, (away.shift, away.low, away.high)),
                number(away.scatter, 2),
                number(away.p_value),
                whole(away.n_pairs),
                text(lab.reason),
            )
        )
    return flat(
        name="labs",
        title="Who contributed what",
        caption="A run that several labs have counts once, for the first of them. Departs: whether the lab's gains "
        "differ from the mean of the other labs by more than noise and than these differ among themselves, over all "
        "pairs that it shares with two of them.",
        details="Copies: the same files or rows as an earlier lab's; repeated: the same numbers under the same id, "
        "computed again; disagreeing: other numbers under the same id, left out everywhere. Shift: the mean of its "
        "gains minus the others', in the unit of the scores, with its 95 % interval before correction. Scatter: how "
        "far its gains vary around that shift, over what is usual among the others. p: the smaller of both p-values, "
        "after Bonferroni's correction over tests and labs. A lab that departs is set aside before the others are "
        "compared; it stays in the pooled changes. Another setting may depart for good reasons.",
        columns={
            "lab": "lab",
            "kind": "read from",
            "n_runs": "runs",
            "n_counted": "counted here",
            "n_copies": "copies",
            "n_repeated": "repeated",
            "n_disagreeing": "disagreeing",
            "seeds": "seeds",
            "n_pairs": "pairs",
            "n_alone": "of no other lab",
            "errors": "errors cover",
            "departs": "departs",
            "shift": "shift",
            "low": "low",
            "high": "high",
            "scatter": "scatter",
            "p_value": "p",
            "n_compared": "pairs compared",
            "reason": "why not tested",
        },
        rows=rows,
        main=("lab", "n_runs", "n_counted", "n_pairs", "departs", "shift", "p_value"),
    )


def _disagreements(pooling: Pooling) -> Table:
    return flat(
        name="disagreements",
        title="Runs on which labs disagree",
        caption="The same id with other numbers. These runs are left out of everything else here.",
        columns={
            "id": "id",
            "lab": "lab",
            "source": "source",
            "target": "target",
            "seed": "seed",
            "fraction": "data",
            "score": "score that differs",
            "value": "value",
        },
        rows=[
            (
                text(told.id),
                text(told.lab),
                text(told.source),
                text(told.target),
                whole(told.seed),
                number(told.fraction, 2),
                text(told.score),
                number(told.value, 6),
            )
            for told in pooling.told
        ],
        n_labels=4,
    )


# ---- sentences -------------------------------------------------------------------------------------------------------


def headline(pooling: Pooling | None) -> tuple[str, ...]:
    """What several labs say together, the answer first; empty for one input."""
    if pooling is None:
        return ()
    said = (
        _disagreement_sentence(pooling),
        _pooled_sentence(pooling),
        _heterogeneity_sentence(pooling),
        _flag_sentence(pooling),
        _contribution_sentence(pooling),
        *pooling.remarks,
    )
    return tuple(filter(None, said))


def _disagreement_sentence(pooling: Pooling) -> str:
    runs = dict.fromkeys(told.id for told in pooling.told)
    if not runs:
        return ""
    of_runs = "1 run" if len(runs) == 1 else f"{len(runs):,} runs"
    first = [told for told in pooling.told if told.id == next(iter(runs))]
    values = ", ".join(f"{told.lab} {told.value:.6g}" for told in first[:MOST_NAMED])
    return (
        f"Labs have different numbers under the same id for {of_runs}, which {'is' if len(runs) == 1 else 'are'} left "
        f"out of everything; disagreements.csv lists them (first: {first[0].id}, {first[0].score}: {values})."
    )


def _pooled_sentence(pooling: Pooling) -> str:
    if pooling.lacking:
        return f"No change can be pooled over labs: {pooling.lacking}."
    pooled = pooling.pooled
    tally = Counter[str](pair.verdict for pair in pooled)
    labs = {one.lab for pair in pooled for one in pair.estimates if pair.weights.get(one.lab)}
    counts = [
        f"{tally[outcome]:,} {one if tally[outcome] == 1 else many}"
        for outcome, one, many in (
            ("helps", "helps", "help"),
            ("harms", "harms", "harm"),
            ("equivalent", "is equivalent", "are equivalent"),
            ("inconclusive", "is inconclusive", "are inconclusive"),
        )
        if tally[outcome] or outcome in ("helps", "harms")
    ]
    two = " Two labs say little about all labs, so the intervals are very wide." if len(labs) == 2 else ""
    pairs = f"{len(pooled):,} {'pair' if len(pooled) == 1 else 'pairs'}"
    left = len(pooling.pairs) - len(pooled)
    rest = f" {left:,} more cannot be pooled (pooled.csv says why)." if left else ""
    return f"Pooled over {len(labs)} labs, of {pairs}, {', '.join(counts)}.{two}{rest}"


def _heterogeneity_sentence(pooling: Pooling) -> str:
    pooled = pooling.pooled
    if not pooled:
        return ""
    differ = [pair for pair in pooled if pair.differs]
    if not differ:
        return "For no single pair are the labs shown to differ by more than noise."
    worst = min(differ, key=lambda pair: pair.q_p_bh)
    name = f"{title_of(worst.source, pooling.registry)} on {title_of(worst.target, pooling.registry)}"
    return (
        f"The labs differ by more than noise for {len(differ):,} of {len(pooled):,} pairs, most clearly for {name} "
        f"(I² {100 * worst.pooled.i2:.0f} %)."
    )


def _flag_sentence(pooling: Pooling) -> str:
    tested = [lab for lab in pooling.labs if np.isfinite(lab.departure.p_value)]
    if not tested:
        return ""
    if not pooling.flagged:
        return "No lab is shown to depart from the others over all pairs."
    said = "; ".join(_departure(lab) for lab in pooling.flagged[:MOST_NAMED])
    more = len(pooling.flagged) - MOST_NAMED
    tail = f"; and {more} more in labs.csv" if more > 0 else ""
    many = len(pooling.flagged) > 1
    return (
        f"Beware: {said}{tail}. {'They stay' if many else 'It stays'} in the pooled changes; pooled.csv also has them "
        f"without {'them' if many else 'it'}."
    )


def _departure(lab: LabSummary) -> str:
    away = lab.departure
    p_value = f"corrected p {'< .001' if away.p_value < 0.001 else shown(away.p_value, 3, short=True)}"
    if away.p_shift <= away.p_scatter or np.isnan(away.p_scatter):
        ends = " to ".join(shown(end, 3, short=True, signed=True) for end in (away.low, away.high))
        how = f"its gains are shifted by {shown(away.shift, 3, short=True, signed=True)} on average ({ends})"
    else:
        how = f"its gains scatter {away.scatter:.1f} times as much as usual"
    return f"{lab.runs.name} departs from the other labs over {away.n_pairs:,} pairs: {how}, {p_value}"


def _contribution_sentence(pooling: Pooling) -> str:
    n_copies = sum(lab.runs.n_copies for lab in pooling.labs)
    n_repeated = sum(lab.runs.n_repeated for lab in pooling.labs)
    names: Sequence[str] = [f"{lab.runs.name} {len(lab.runs.group.runs):,}" for lab in pooling.labs]
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    said = f"Runs that count: {listed}."
    if n_copies:
        said += f" {n_copies:,} {'is a copy' if n_copies == 1 else 'are copies'} of an earlier lab's and count once."
    if n_repeated:
        word = "was" if n_repeated == 1 else "were"
        said += f" {n_repeated:,} {word} computed again by another lab, with the same numbers, and count once."
    return said


# ---- for programs ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PooledChange:
    """One pair for programs. None: unknown."""

    source: str
    target: str
    fraction: float
    metric: str
    labs: tuple[str, ...]
    verdict: str
    pooled: float | None
    low: float | None
    high: float | None
    p_value: float | None
    p_bh: float | None
    tau: float | None
    i2: float | None
    q: float | None
    q_p: float | None
    q_p_bh: float | None
    prediction_low: float | None
    prediction_high: float | None
    together: float | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """One lab for programs. None: not tested."""

    lab: str
    kind: str
    n_runs: int
    n_counted: int
    n_copies: int
    n_repeated: int
    n_disagreeing: int
    n_pairs: int
    departs: bool | None
    shift: float | None
    p_value: float | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """What one lab says of a run on which labs disagree, for programs. None: undefined."""

    id: str
    lab: str
    source: str
    target: str
    seed: int
    fraction: float
    score: str
    value: float | None


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def changes(pooling: Pooling) -> tuple[PooledChange, ...]:
    """Every pair, in the order of the table."""
    return tuple(
        PooledChange(
            source=pair.source,
            target=pair.target,
            fraction=pair.fraction,
            metric=pair.metric,
            labs=tuple(one.lab for one in pair.estimates),
            verdict=pair.verdict,
            pooled=_known(pair.pooled.estimate),
            low=_known(pair.pooled.low),
            high=_known(pair.pooled.high),
            p_value=_known(pair.pooled.p_value),
            p_bh=_known(pair.p_bh),
            tau=_known(pair.pooled.tau),
            i2=_known(pair.pooled.i2),
            q=_known(pair.pooled.q),
            q_p=_known(pair.pooled.q_p),
            q_p_bh=_known(pair.q_p_bh),
            prediction_low=_known(pair.pooled.prediction_low),
            prediction_high=_known(pair.pooled.prediction_high),
            together=_known(pair.together[0]),
            reason=pair.reason,
        )
        for pair in pooling.pairs
    )


def disagreements(pooling: Pooling) -> tuple[Disagreement, ...]:
    """Every run on which labs disagree, as each lab has it."""
    return tuple(Disagreement(**{**vars(told), "value": _known(told.value)}) for told in pooling.told)


def contributions(pooling: Pooling) -> tuple[Contribution, ...]:
    """Every lab."""
    return tuple(
        Contribution(
            lab=lab.runs.name,
            kind=lab.runs.kind,
            n_runs=lab.runs.n_runs,
            n_counted=len(lab.runs.group.runs),
            n_copies=lab.runs.n_copies,
            n_repeated=lab.runs.n_repeated,
            n_disagreeing=lab.runs.n_disagreeing,
            n_pairs=lab.n_pairs,
            departs=lab.departure.flagged if not lab.reason else None,
            shift=_known(lab.departure.shift),
            p_value=_known(lab.departure.p_value),
            reason=lab.reason,
        )
        for lab in pooling.labs
    )
