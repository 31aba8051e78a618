"""From finished grids and trained adapters to the ranking of sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from empslurm import reference
from empslurm.cells import Baseline
from empslurm.errors import UsageError
from empslurm.gather import Gathered
from empslurm.report.source_choice import Part
from empslurm.scoring.selection import Member
from empslurm.store.runs import RunsRoot
from empslurm.suggestion import grids as grids_of
from empslurm.suggestion import reading
from empslurm.suggestion import sources as sources_of
from empslurm.suggestion.grids import Advance, Finished, Grid
from empslurm.suggestion.ranking import Ranking, rank
from empslurm.suggestion.reading import Readings, Wanted
from empslurm.suggestion.sources import Sources
from empslurm.suggestion.words import in_words, unit
from empslurm.tasks import Registry
from empslurm.tasks.raw import locate
from empslurm.validation.reader import refusal

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked, and what there is to answer it with."""

    target: str
    k: int
    grids: tuple[Grid, ...]
    tables: tuple[Gathered, ...]  # of anybody's results
    members: tuple[Member, ...]  # adapters that could be sources
    problems: tuple[str, ...]  # why others cannot
    registry: Registry  # with the target's card
    cards: tuple[Path, ...]  # of every manifest that is named, and those that were given
    root: RunsRoot  # where values of sources are kept
    data: Path


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """The answer. `rankings`: one of our own cells, then one for each setting of each table of results."""

    question: Question
    metric: str  # of the target; "" where it is not known
    rankings: tuple[Ranking, ...]
    sources: Sources
    finished: Finished | None
    baseline: Baseline | None  # of the target; None where no adapter says what it would be
    readings: Readings
    problems: tuple[str, ...]

    def frame(self) -> pd.DataFrame:
        """A row per source of each setting, the best first.

        `setting` and `source`; `expected`, `low` and `high`: improvement, and its 90 % interval, in `unit`: the
        target's metric, or for an error percent of the baseline's;
        `best`: probability of being among the k best; `reasons`: in words; `tried`: whether the transfer has finished;
        `seconds`: that reading the target's texts with this adapter took; `popularity`, and each feature's value.
        """
        import pandas as pd

        rows = [
            {
                "setting": ranking.setting,
                "source": one.source,
                "unit": unit(ranking, self.metric),
                "expected": one.expected,
                "low": one.low,
                "high": one.high,
                "best": one.best,
                "reasons": in_words(one),
                "tried": one.tried,
                "seconds": one.seconds,
                "popularity": one.popularity,
                **one.values,
            }
            for ranking in self.rankings
            for one in ranking.candidates
        ]
        frame = pd.DataFrame(rows)
        return frame.astype(dict.fromkeys(("setting", "source", "unit", "reasons"), "string"))


def answer(question: Question, advance: Advance = lambda what, done, total: None) -> Suggestion:
    """Rank the sources of a target. `advance`: gets what is done so far.

    Raises UsageError where nothing can be said at all; what cannot be used is left out with a sentence.
    """
    target, registry, ratings = question.target, question.registry, reference.ratings(None)
    usable = sources_of.usable(question.members, question.problems, target)
    digest = sources_of.backbone_of(usable.members.values())
    finished, left_out = grids_of.finished(question.grids, digest, registry, ratings, advance)
    preferred = () if finished is None else (finished.parents, finished.ids)
    sources = sources_of.choose(usable, digest, preferred)
    problems = [*sources.problems, *left_out]
    own = bool(sources.members) or (finished is not None and bool(finished.targets))
    if own and target not in registry.tasks:
        raise refusal(target, registry.tasks, "task, or that of a card that --card names")
    baseline = _baseline(question, sources, finished) if own else None
    readings = Readings()
    if baseline is not None:
        readings = reading.read_all(
            _wanted(baseline, finished),
            sources.read,
            root=question.root,
            data=question.data,
            registry=registry,
            advance=advance,
        )
        problems += readings.problems
    rankings = []
    if own:
        if finished is None:
            facts = grids_of.without_results(registry, ratings)
            part = Part(analyses=replace(facts, group=replace(facts.group, suitability=readings.values)), targets=())
        else:
            part = finished.part(readings.values)
        ranking = rank(target, tuple(sources.members), part, k=question.k)
        rankings.append(_with_seconds(ranking, sources, readings, target))
    for table in question.tables:
        for setting, part in grids_of.of_table(table, ratings):
            found = _of_table(question, table.name, setting, part, problems)
            rankings += [found] if found is not None else []
    if not any(ranking.candidates for ranking in rankings):
        raise UsageError(
            "; ".join(
                [
                    f"there must be a source to suggest for {target}: a trained adapter of another task, or finished "
                    "transfers from it, but there is none; run a grid first, or name one with --from",
                    *problems[:5],
                ]
            )
        )
    return Suggestion(
        question=question,
        metric=_metric(question, rankings),
        rankings=tuple(ranking for ranking in rankings if ranking.candidates),
        sources=sources,
        finished=finished,
        baseline=baseline,
        readings=readings,
        problems=tuple(problems),
    )


def _baseline(question: Question, sources: Sources, finished: Finished | None) -> Baseline | None:
    """The target's baseline, as it was run or as it would be beside the sources; None where nothing says how."""
    known = None if finished is None else finished.baselines.get(question.target)
    if known is not None or not sources.members:
        return known
    dataset = question.registry.dataset_of(question.target)
    located = locate(dataset, question.data, question.root.prepared)
    return sources.baseline(question.target, dataset, located.raw_digest)


def _wanted(baseline: Baseline, finished: Finished | None) -> list[Wanted]:
    """The target's texts, and fewer of each other finished target."""
    roots = () if finished is None else tuple(dict.fromkeys(finished.roots.values()))
    others = [] if finished is None else [finished.baselines.get(one.target) for one in finished.targets]
    return [
        Wanted(cell=baseline, most=reading.MOST_OF_TARGET, known_in=roots),
        *(
            Wanted(cell=cell, most=reading.MOST_OF_OTHERS, known_in=roots)
            for cell in others
            if cell is not None and cell.target != baseline.target
        ),
    ]


def _with_seconds(ranking: Ranking, sources: Sources, readings: Readings, target: str) -> Ranking:
    """The ranking with what it cost to know each source."""
    read = sources.read
    if target not in readings.seconds or not read:
        return ranking
    each = readings.seconds[target] / readings.n_sources[target]
    candidates = [replace(one, seconds=each) if one.source in read else one for one in ranking.candidates]
    return replace(ranking, candidates=tuple(candidates))


def _of_table(question: Question, name: str, setting: str, part: Part, problems: list[str]) -> Ranking | None:
    """The ranking of one setting of a table; None, with a sentence, where it compares nothing."""
    where = f"{name}, {setting}" if setting else name
    if not part.targets:
        problems.append(
            f"{where} must compare a transfer with a baseline to say what helps, but has no target with both; add "
            "its baselines: rows with a blank source"
        )
        return None
    if question.target not in {one.target for one in part.targets}:
        problems.append(f"{where} has no result of {question.target}: only what its sources gave to others counts")
    return rank(question.target, (), part, k=question.k, setting=where)


def _metric(question: Question, rankings: Sequence[Ranking]) -> str:
    task = question.registry.tasks.get(question.target)
    return task.metric if task is not None and rankings and not rankings[0].setting else ""
