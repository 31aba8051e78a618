"""The report: one HTML file that opens from disk, asks the network for nothing, and is read in five minutes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Generic, TypeVar

from empslurm.report import html
from empslurm.report.contents import MOST_CELLS, Contents, GroupContents, setting
from empslurm.report.sections import cost, importance
from empslurm.report.sections.flags import flags
from empslurm.report.sections.heat_maps import heat_maps
from empslurm.report.sections.missing import missing
from empslurm.report.sections.opening import opening
from empslurm.report.sections.provenance import provenance
from empslurm.report.sections.ratings import ratings
from empslurm.report.sections.scores import scores
from empslurm.report.sections.settings import settings
from empslurm.report.sections.verdicts import verdicts

FEWEST_CELLS = 2_000  # of a table of each group, however many groups there are
Shown = TypeVar("Shown", Contents, GroupContents)


@dataclass(frozen=True, kw_only=True)
class Section(Generic[Shown]):
    """One section of the page, or of each group on it."""

    anchor: str  # its address on the page
    link: str  # in the navigation
    heading: str
    render: Callable[[Shown], str]
    is_there: Callable[[Shown], bool] = lambda contents: True


# The sections in the order of the page. Those of a group stand once per group, one group after the other.
BEFORE_THE_GROUPS: tuple[Section[Contents], ...] = (
    Section(
        anchor="settings",
        link="settings",
        heading="Settings beside one another",
        is_there=lambda contents: bool(contents.settings),
        render=settings,
    ),
)
OF_EACH_GROUP: tuple[Section[GroupContents], ...] = (
    Section(anchor="verdicts", link="verdicts", heading="Headline verdicts", render=verdicts),
    Section(
        anchor="heat",
        link="heat maps",
        heading="Heat maps: percent improvement over the baseline",
        render=heat_maps,
    ),
    Section(
        anchor="importance",
        link="importances",
        heading="Which features predict the improvement, and is that to be believed",
        is_there=importance.is_there,
        render=importance.importance,
    ),
    Section(anchor="scores", link="scores", heading="Scores", render=scores),
    Section(anchor="flags", link="data flags", heading="Data and run flags", render=flags),
    Section(anchor="cost", link="cost", heading="Cost", is_there=cost.is_there, render=cost.costs),
)
AFTER_THE_GROUPS: tuple[Section[Contents], ...] = (
    Section(
        anchor="ratings",
        link="ratings",
        heading="Ratings of the constructs and their agreement",
        is_there=lambda contents: bool(contents.ratings),
        render=ratings,
    ),
    Section(
        anchor="missing",
        link="missing",
        heading="Missing cells",
        is_there=lambda contents: contents.gathered.origin != "results",
        render=missing,
    ),
    Section(anchor="provenance", link="provenance", heading="Provenance", render=provenance),
)


def page(contents: Contents) -> str:
    """The whole document."""
    n_groups = len(contents.groups)
    most = max(FEWEST_CELLS, MOST_CELLS // max(1, n_groups))
    groups = [replace(group, most_cells=most, prefix=f"g{number}") for number, group in enumerate(contents.groups)]
    body = [opening(contents, _navigation(contents)), _rendered(BEFORE_THE_GROUPS, contents)]
    for group in groups:
        body += [_setting(group) if n_groups > 1 else "", _rendered(OF_EACH_GROUP, group)]
    body.append(_rendered(AFTER_THE_GROUPS, contents))
    return html.document(f"empslurm: {contents.gathered.name}", "".join(body))


def _navigation(contents: Contents) -> str:
    """Links to the sections that the page has."""
    links = [
        *map(_link, _there(BEFORE_THE_GROUPS, contents)),
        *(_link(section) for section in OF_EACH_GROUP if any(map(section.is_there, contents.groups))),
        *map(_link, _there(AFTER_THE_GROUPS, contents)),
    ]
    return "".join(links)


def _link(section: Section[Shown]) -> str:
    return f'<a href="#{section.anchor}">{escape(section.link)}</a>'


def _there(sections: Sequence[Section[Shown]], contents: Shown) -> list[Section[Shown]]:
    return [section for section in sections if section.is_there(contents)]


def _rendered(sections: Sequence[Section[Shown]], contents: Shown) -> str:
    return "".join(
        html.heading(2, section.heading, id=section.anchor) + section.render(contents)
        for section in _there(sections, contents)
    )


def _setting(group: GroupContents) -> str:
    """The heading of one group among several."""
    analyses = group.analyses
    return html.heading(2, f"Setting {analyses.group.name}") + html.definitions(setting(analyses))
