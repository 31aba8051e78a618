"""The page: one HTML file that opens from disk, loads nothing from the network, and is read in five minutes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from markupsafe import Markup

from empslurm.report import contents as page_contents
from empslurm.report.contents import Block, Contents, GroupContents, block_of
from empslurm.report.page_data import page_data
from empslurm.report.sections.choice import choice
from empslurm.report.sections.cost import costs
from empslurm.report.sections.data import data
from empslurm.report.sections.importance import importance
from empslurm.report.sections.labs import labs
from empslurm.report.sections.learning import learning
from empslurm.report.sections.missing import missing
from empslurm.report.sections.next import what_next
from empslurm.report.sections.opening import opening
from empslurm.report.sections.pairs import pairs as all_pairs
from empslurm.report.sections.picture import picture
from empslurm.report.sections.provenance import provenance
from empslurm.report.sections.ratings import ratings
from empslurm.report.sections.scores import scores
from empslurm.report.sections.settings import settings
from empslurm.report.sections.sources import sources
from empslurm.report.sections.targets import targets
from empslurm.report.sections.themes import themes
from empslurm.report.templating import document, render

# The least that each group may show of a table, however many groups there are.
FEWEST_CELLS = 2_000
FEWEST_PAIRS = 100
Shown = TypeVar("Shown", Contents, GroupContents)


@dataclass(frozen=True, kw_only=True)
class Section(Generic[Shown]):
    """One section of the page, or of each group on it; its template is `templates/sections/ANCHOR.html`."""

    anchor: str  # its address on the page; for a group's section without the group's prefix
    link: str  # its text in the navigation
    title: str
    build: Callable[[Shown], Mapping[str, Any] | None]  # the template's values; None: leave the section out
    tables: tuple[str, ...] = ()  # starts of the names of the tables that are folded at its end


# The sections in the order of the page; the sections of a group are repeated for every group.
BEFORE_THE_GROUPS: tuple[Section[Contents], ...] = (
    Section(anchor="labs", link="labs", title="Several labs together", build=labs),
    Section(anchor="settings", link="settings", title="Settings compared", build=settings),
)
OF_EACH_GROUP: tuple[Section[GroupContents], ...] = (
    Section(anchor="picture", link="picture", title="Sources and targets", build=picture),
    Section(anchor="targets", link="targets", title="Which source helps which target", build=targets),
    Section(anchor="sources", link="sources", title="Which sources help most", build=sources, tables=("source-ranks",)),
    Section(
        anchor="choice",
        link="choosing",
        title="Could sources be chosen without the grid?",
        build=choice,
        tables=("source-choice",),
    ),
    Section(anchor="next", link="what next", title="What to run next", build=what_next, tables=("seeds",)),
    Section(anchor="pairs", link="pairs", title="All pairs", build=all_pairs),
    Section(
        anchor="learning",
        link="learning",
        title="Did the runs learn?",
        build=learning,
        tables=("baselines", "collapse"),
    ),
    Section(
        anchor="themes",
        link="themes",
        title="Themes and less data",
        build=themes,
        tables=("figure3", "theme-effects", "limited-data"),
    ),
    Section(
        anchor="importance",
        link="importance",
        title="What predicts a gain, and can it be trusted?",
        build=importance,
        tables=("table6", "audit-settings"),
    ),
    Section(
        anchor="scores",
        link="scores",
        title="Scores and similarities",
        build=scores,
        tables=("table7", "table8", "figure6", "figure7", "figure9", "figure10"),
    ),
    Section(anchor="data", link="data", title="Data", build=data),
    Section(anchor="cost", link="cost", title="Cost", build=costs),
)
AFTER_THE_GROUPS: tuple[Section[Contents], ...] = (
    Section(anchor="ratings", link="ratings", title="Ratings of the constructs", build=ratings),
    Section(anchor="missing", link="missing", title="What is missing", build=missing),
    Section(anchor="provenance", link="provenance", title="Where the numbers come from", build=provenance),
)


@dataclass(frozen=True, kw_only=True)
class _Rendered:
    """Sections as markup, with their links and their tables."""

    body: Markup
    links: tuple[Mapping[str, str], ...]
    blocks: tuple[Block, ...]


def page(contents: Contents) -> str:
    """The whole document."""
    groups = _with_places(contents.groups)
    whole = replace(contents, groups=groups)
    before = _rendered(BEFORE_THE_GROUPS, whole, level=2)
    level = 2 if len(groups) < 2 else 3
    of_groups = [_rendered(OF_EACH_GROUP, group, level=level) for group in groups]
    after = _rendered(AFTER_THE_GROUPS, whole, level=2)
    links = [*before.links]
    for group, rendered in zip(groups, of_groups, strict=True):
        links += rendered.links if level == 2 else [{"anchor": group.prefix + "group", "title": _name(group)}]
    return document(
        "report.html",
        title=f"empslurm: {contents.gathered.name}",
        navigation=[*links, *after.links],
        opening=Markup(render("sections/opening.html", **opening(whole))),
        before=before.body,
        groups=[
            {
                "title": f"Setting {_name(group)}" if level == 3 else "",
                "anchor": group.prefix + "group",
                "links": rendered.links,
                "body": rendered.body,
            }
            for group, rendered in zip(groups, of_groups, strict=True)
        ],
        after=after.body,
        data=page_data([block for part in (before, *of_groups, after) for block in part.blocks], groups),
    )


def _with_places(groups: Sequence[GroupContents]) -> tuple[GroupContents, ...]:
    """Give each group unique anchors, numbers for its views, and its share of the page."""
    placed, n_views = [], 0
    share = max(1, len(groups))
    cells = max(FEWEST_CELLS, page_contents.MOST_CELLS // share)
    views = max(1, sum(len(group.analyses.significance) for group in groups))
    pairs = max(FEWEST_PAIRS, page_contents.MOST_PAIRS // views)
    for number, group in enumerate(groups, 1):
        prefix = f"s{number}-" if len(groups) > 1 else ""
        placed.append(replace(group, most_cells=cells, most_pairs=pairs, prefix=prefix, first_view=n_views))
        n_views += len(group.analyses.significance)
    return tuple(placed)


def _name(group: GroupContents) -> str:
    """The setting's own name, or else the group's."""
    return str(group.analyses.group.setting.get("setting") or group.analyses.group.name)


def _rendered(sections: Sequence[Section[Shown]], shown: Shown, *, level: int) -> _Rendered:
    """Render the sections that have something to show."""
    body: list[str] = []
    links: list[Mapping[str, str]] = []
    blocks: list[Block] = []
    for section in sections:
        values = section.build(shown)
        if values is None:
            continue
        built: Mapping[str, Any] = values
        anchor = shown.anchor(section.anchor) if isinstance(shown, GroupContents) else section.anchor
        folded: tuple[Block, ...] = _folded(section, shown)
        inside = (*built.get("tables", ()), *folded)
        body.append(
            render(
                "section.html",
                anchor=anchor,
                title=section.title,
                template=section.anchor,
                level=level,
                blocks=folded,
                **built,
            )
        )
        links.append({"anchor": anchor, "title": section.link})
        blocks += inside
    return _Rendered(body=Markup("".join(body)), links=tuple(links), blocks=tuple(blocks))


def _folded(section: Section[Shown], shown: Shown) -> tuple[Block, ...]:
    """The folded tables at a section's end."""
    if isinstance(shown, GroupContents):
        return shown.blocks(*section.tables)
    tables = shown.ratings if section.anchor == "ratings" else ()
    return tuple(block_of(table, table.name, page_contents.MOST_CELLS) for table in tables)
