"""The answer in at most three sentences: how many pairs help, what helps most, and which runs would decide the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from empslurm.analysis.verdicts import ONE_SEED
from empslurm.metrics import METRICS
from empslurm.report.formats import capital, shown
from empslurm.report.group_results import Analyses, Significance
from empslurm.report.seeds import Next, cost_words, wanted_text
from empslurm.report.significance import PairResult
from empslurm.report.source_ranks import PERCENT, SourceRank, SourceRanks
from empslurm.report.tables import title_of
from empslurm.report.verdict_tables import counts
from empslurm.tasks import Registry

LARGE = 5.0  # percent: a change this large is named even though it was not shown


def summary(significance: Significance, analyses: Analyses) -> tuple[str, ...]:
    """At most three sentences on one data fraction."""
    registry = analyses.gathered.registry
    ranks = next((ranks for ranks in analyses.source_ranks if ranks.fraction == significance.fraction), None)
    sentences = (
        _counted(significance, registry),
        _most_helpful(significance, ranks, registry),
        _what_decides(significance.next),
    )
    return tuple(sentence for sentence in sentences if sentence)


def _counted(significance: Significance, registry: Registry) -> str:
    tally, pairs = counts(significance.pairs), significance.pairs
    n_open, data = tally["inconclusive"] + tally["undecided"], ""
    if significance.fraction != 1.0:
        data = f" with {significance.fraction * 100:g} % of the target's data"
    if tally["helps"] or tally["harms"] or tally["equivalent"]:
        alike = f" {tally['equivalent']:,} {'is' if tally['equivalent'] == 1 else 'are'} equivalent to no change,"
        return (
            f"Of {_number(len(pairs), 'pair')}{data}, {tally['helps']:,} {'helps' if tally['helps'] == 1 else 'help'}, "
            f"{tally['harms']:,} {'harms' if tally['harms'] == 1 else 'harm'},"
            f"{alike if tally['equivalent'] else ''} and {n_open:,} {'is' if n_open == 1 else 'are'} still open."
        )
    largest, whose = _largest_change(pairs, registry)
    reasons = {pair.verdict.reason for pair in pairs}
    why = ": one seed" if reasons == {ONE_SEED} else ""
    opening = f"Of {_number(len(pairs), 'pair')}{data}, none is shown to help or to harm"
    if abs(largest) >= LARGE:
        size = f"{shown(largest, 0, signed=True)} % ({whose})"
        return f"{opening}: the largest change is {size}, and not shown to be more than chance{why}."
    return f"{opening}{why}."


def _largest_change(pairs: Sequence[PairResult], registry: Registry) -> tuple[float, str]:
    """The change in percent (positive is better) and the pair's name; 0 where no change is known."""
    known = [pair for pair in pairs if np.isfinite(pair.improvement.percent)]
    if not known:
        return 0.0, ""
    largest = max(known, key=lambda pair: abs(pair.improvement.percent))
    names = (title_of(task, registry) for task in (largest.verdict.source, largest.verdict.target))
    return largest.improvement.percent, " → ".join(names)


def _most_helpful(significance: Significance, ranks: SourceRanks | None, registry: Registry) -> str:
    """The source with the largest mean gain, and the pair with the clearest help; "" where neither is known."""
    clauses = []
    first = (
        max((row for row in ranks.sources if np.isfinite(row.effect)), key=lambda row: row.effect) if ranks else None
    )
    if ranks is not None and first is not None and first.known:
        clauses.append(_source_words(first, ranks, registry))
    helps = [pair for pair in significance.pairs if pair.verdict.verdict == "helps"]
    if helps:
        clearest = min(helps, key=lambda pair: (pair.verdict.p_value, -pair.improvement.gain)).verdict
        metric = {result.target: METRICS[result.metric] for result in significance.results}[clearest.target]
        clauses.append(
            f"the clearest single help is {title_of(clearest.source, registry)} for "
            f"{title_of(clearest.target, registry)}: {_change(clearest.difference)} in "
            f"{metric.title} "
            f"(95 % interval {_change(clearest.low)} to {_change(clearest.high)})"
        )
    said = "; ".join(clauses)
    if said.startswith(("the ", "no ")):  # a task's name keeps its first letter
        said = capital(said)
    return f"{said}." if said else ""


def _source_words(first: SourceRank, ranks: SourceRanks, registry: Registry) -> str:
    title = title_of(first.source, registry)
    ties = first.worst - first.best  # sources that it is not distinguished from

    def words(value: float) -> str:
        return f"{shown(value, 1, signed=True)} %" if ranks.unit == PERCENT else _change(value)

    gain = f"mean gain {words(first.effect)}, 95 % interval {words(first.low)} to {words(first.high)}"
    if first.high <= 0:
        return f"the source that harms least over all targets is {title} ({gain})"
    if first.low <= 0:
        return f"no source is shown to help over all targets; {title} comes nearest ({gain})"
    if ties:
        return (
            f"{title} has the largest gain over all targets ({gain}), but is not shown to help more than "
            f"{_number(ties, 'other source')}"
        )
    return f"{title} helps most over all targets ({gain})"


def _change(value: float) -> str:
    return shown(value, short=True, signed=True)


def _what_decides(targets: Sequence[Next]) -> str:
    """The runs and hours that the targets need, and the targets that no run would help; "" without targets."""
    if not targets:
        return ""
    asked = [target for target in targets if target.more_runs]
    wanted = sorted({wanted_text(target.seeds.wanted) for target in targets})
    differences = f"differences of {wanted[0]}" if len(wanted) == 1 else "the wanted differences"
    small = sum(target.seeds.limit == "examples" for target in targets)
    too_many = sum(target.seeds.limit == "seeds" for target in targets)
    rest = f"; {_number(small, 'target')} {_has(small)} too few test texts: more seeds would not help" if small else ""
    rest += f"; {_number(too_many, 'target')} would need very many seeds" if too_many else ""
    if asked:
        n_runs, hours = sum(target.more_runs for target in asked), sum(target.hours for target in asked)
        cost = cost_words(n_runs, hours).replace(" run", " more run", 1)
        first = [target for target in asked if target.of_one_seed]
        if len(first) == len(asked):
            return f"Two more seeds would give verdicts: {cost}{rest}."
        if first:
            rest = f", and first verdicts on {_number(len(first), 'target')}{rest}"
            asked = [target for target in asked if not target.of_one_seed]
        return (
            f"{cost[:1].upper()}{cost[1:]}, would detect {differences} on "
            f"{_number(len(asked), 'target')} with probability .8{rest}."
        )
    if all(target.seeds.limit == "unknown" for target in targets):
        return f"Nothing can be judged yet: {targets[0].why}."
    enough = sum(not target.seeds.limit for target in targets)
    if enough:
        return f"{_number(enough, 'target')} {_has(enough)} enough seeds to detect {differences}{rest}."
    return f"{rest[2:3].upper()}{rest[3:]}." if rest else ""


def _has(n: int) -> str:
    return "has" if n == 1 else "have"


def _number(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
