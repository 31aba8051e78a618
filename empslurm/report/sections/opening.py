"""The top of the page: what was compared, and how much of it there is."""

from __future__ import annotations

from collections import Counter

from empslurm.report import html
from empslurm.report.contents import Contents

QUESTION = "Does training on task A first help task B?"


def opening(contents: Contents, navigation: str) -> str:
    """Question, lead, links, counts, and what must not be missed."""
    gathered, groups = contents.gathered, contents.groups
    pieces = [
        html.heading(1, QUESTION),
        html.paragraph(_lead(contents), class_="lead"),
        f"<nav>{navigation}</nav>",
        html.facts(_state(contents)),
    ]
    if any("sample" in group.analyses.group.notes.values() for group in groups):
        pieces.append(
            html.warning("PROVISIONAL: these numbers rest on the invented sample corpus; they say nothing of any task.")
        )
    refused = [cell for cell in gathered.missing if cell.state == "refused"]
    if refused:
        pieces.append(html.warning(f"{len(refused)} results do not verify and are in no table; they are listed below."))
    if not groups:
        pieces.append(html.warning("No cell has a result yet."))
    return "".join(pieces)


def _lead(contents: Contents) -> str:
    """What was compared, and whose question it is."""
    gathered = contents.gathered
    paper = (
        " Question, tables and figures: Lahnala, Welch, Jurgens and Flek (2024), The Muddy Waters of Modeling Empathy "
        "in Language."
    )
    whose = paper if contents.of_paper else ""
    if gathered.origin == "results":
        files = dict.fromkeys(str(group.analyses.group.setting["origin"]) for group in contents.groups)
        said = f"{gathered.name}: a table of results, {', '.join(files)}, with {gathered.n_done:,} scores."
        return (
            f"{said} The score of a target task alone (the baseline) is compared with its score after training on "
            f"another task, the source (the transfer).{whose}"
        )
    return (
        f"{gathered.name}: an adapter on a frozen encoder is trained on the target task alone (the baseline) "
        f"and on top of another task's adapter (the transfer).{whose}"
    )


def _state(contents: Contents) -> list[tuple[str, str]]:
    gathered, groups = contents.gathered, contents.groups
    planned = "" if gathered.n_planned is None else f" of {gathered.n_planned:,}"
    counted = "cells with a verified result" if gathered.origin == "runs" else "scores as given"
    facts = [(f"{gathered.n_done:,}{planned}", counted)]
    states = Counter(cell.state for cell in gathered.missing)
    facts += [(f"{n:,}", f"cells {state}") for state, n in states.most_common()]
    tasks = {task for group in groups for task in group.analyses.tasks}
    seeds = {seed for group in groups for table in group.analyses.tables for seed in table.seeds}
    facts += [(f"{len(tasks)}", "tasks"), (f"{len(seeds)}", "seed" if len(seeds) == 1 else "seeds")]
    if len(groups) > 1:
        facts.append((f"{len(groups)}", "settings, never mixed"))
    return facts
