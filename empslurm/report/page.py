"""The report: one HTML file that opens from disk, asks the network for nothing, and is read in five minutes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import empslurm
from empslurm import metrics, reference
from empslurm.analysis.importance_checks import Audit
from empslurm.gather import Gathered
from empslurm.report import html, result_tables
from empslurm.report.analyses import Study
from empslurm.report.figures import values_of
from empslurm.report.formats import Part, Table, part, shown
from empslurm.report.paper import FEATURE_TITLES, audit_caption
from empslurm.report.scores import Score, ScoreTable
from empslurm.report.significance import PairResult
from empslurm.report.tables import improvements, suffix, title_of
from empslurm.report.wording import MISSING

if TYPE_CHECKING:
    import pandas as pd

QUESTION = "Does training on task A first help task B?"
MOST_CELLS = 30_000  # of a table on the page, shared by all groups: more makes a page that browsers open slowly
FEWEST_CELLS = 2_000  # of a table of each group, however many groups there are
SHOWN_MISSING = 200
SHOWN_FLAGS = 200
SHOWN_DEVICES = 8
NOT_MEASURED = "not measured"
PACKAGED = ("ratings.csv", "table1.csv", "table6.csv", "table7.csv", "table8.csv")  # files of the paper's numbers
OUTLIER = 0.5  # of its column's median: a run that did not learn
FEWEST_FOR_OUTLIER = 5


@dataclass(frozen=True, kw_only=True)
class Section:
    """One group: its study and its tables."""

    study: Study
    tables: tuple[Table, ...]
    most_cells: int = MOST_CELLS  # of a table on the page


def page(
    gathered: Gathered,
    sections: Sequence[Section],
    fixed: Sequence[Table],
    together: Sequence[Table] = (),
    said: Sequence[str] = (),
) -> str:
    """The whole document. `together`, `said`: settings beside one another, as tables and as sentences."""
    most = max(FEWEST_CELLS, MOST_CELLS // max(1, len(sections)))
    shared = [replace(section, most_cells=most) for section in sections]
    body = [_opening(gathered, shared, fixed, together), _together(together, said)]
    for number, section in enumerate(shared):
        body.append(_group(section, f"g{number}", alone=len(sections) == 1))
    body += [_ratings(fixed), _missing(gathered), _provenance(gathered, shared)]
    return html.document(f"empslurm: {gathered.name}", "".join(body))


def _links(sections: Sequence[Section], fixed: Sequence[Table], together: Sequence[Table], given: bool) -> str:
    """Links to the sections that the page has. `given`: the scores come from a table of results."""
    links = [("settings", "#settings")] if together else []
    if sections:
        links += [("verdicts", "#verdicts"), ("heat maps", "#heat")]
        links += [("importances", "#importance")] if any(map(_has_importance, sections)) else []
        links += [("scores", "#scores"), ("data flags", "#flags")]
        links += [("cost", "#cost")] if any(map(_has_cost, sections)) else []
    links += [("ratings", "#ratings")] if fixed else []
    links += [] if given else [("missing", "#missing")]
    links.append(("provenance", "#provenance"))
    return "".join(f'<a href="{target}">{escape(name)}</a>' for name, target in links)


def _lead(gathered: Gathered, sections: Sequence[Section]) -> str:
    """What was compared, and whose question it is."""
    paper = (
        " Question, tables and figures: Lahnala, Welch, Jurgens and Flek (2024), The Muddy Waters of Modeling Empathy "
        "in Language."
    )
    whose = paper if any(section.study.of_paper for section in sections) else ""
    if gathered.origin == "results":
        files = dict.fromkeys(str(section.study.group.setting["origin"]) for section in sections)
        said = f"{gathered.name}: a table of results, {', '.join(files)}, with {gathered.n_done:,} scores."
        return (
            f"{said} The score of a target task alone (the baseline) is compared with its score after training on "
            f"another task, the source (the transfer).{whose}"
        )
    return (
        f"{gathered.name}: an adapter on a frozen encoder is trained on the target task alone (the baseline) "
        f"and on top of another task's adapter (the transfer).{whose}"
    )


def _opening(gathered: Gathered, sections: Sequence[Section], fixed: Sequence[Table], together: Sequence[Table]) -> str:
    nav = _links(sections, fixed, together, gathered.origin == "results")
    made = [
        html.heading(1, QUESTION),
        html.paragraph(_lead(gathered, sections), class_="lead"),
        f"<nav>{nav}</nav>",
        html.facts(_state(gathered, sections)),
    ]
    if any("sample" in section.study.group.notes.values() for section in sections):
        made.append(
            html.warning("PROVISIONAL: these numbers rest on the invented sample corpus; they say nothing of any task.")
        )
    refused = [cell for cell in gathered.missing if cell.state == "refused"]
    if refused:
        made.append(html.warning(f"{len(refused)} results do not verify and are in no table; they are listed below."))
    if not sections:
        made.append(html.warning("No cell has a result yet."))
    return "".join(made)


def _state(gathered: Gathered, sections: Sequence[Section]) -> list[tuple[str, str]]:
    planned = "" if gathered.n_planned is None else f" of {gathered.n_planned:,}"
    counted = "cells with a verified result" if gathered.origin == "runs" else "scores as given"
    found = [(f"{gathered.n_done:,}{planned}", counted)]
    states = Counter(cell.state for cell in gathered.missing)
    found += [(f"{n:,}", f"cells {state}") for state, n in states.most_common()]
    tasks = {task for section in sections for task in section.study.tasks}
    seeds = {seed for section in sections for table in section.study.tables for seed in table.seeds}
    found += [(f"{len(tasks)}", "tasks"), (f"{len(seeds)}", "seed" if len(seeds) == 1 else "seeds")]
    if len(sections) > 1:
        found.append((f"{len(sections)}", "settings, never mixed"))
    return found


def _together(tables: Sequence[Table], said: Sequence[str]) -> str:
    """Settings beside one another; nothing where there are none."""
    if not tables:
        return ""
    made = [html.heading(2, "Settings beside one another", id="settings"), *map(html.paragraph, said)]
    return "".join([*made, *(html.sortable(part(table, MOST_CELLS).table, table.name, tall=True) for table in tables)])


def _group(section: Section, prefix: str, *, alone: bool) -> str:
    given = section.study
    made = []
    if not alone:
        made += [html.heading(2, f"Setting {given.group.name}"), html.definitions(_setting(given))]
    made += [_verdicts(section, prefix), _heat(section, prefix), _importance(section, prefix), _scores(section, prefix)]
    made += [_flags(given), _cost(given) if _has_cost(section) else ""]
    return "".join(made)


def _setting(given: Study) -> dict[str, str]:
    return {name: _plain(value) for name, value in given.group.setting.items()}


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    return "none" if value is None else str(value)


def _named(section: Section, *starts: str) -> list[Table]:
    return [table for table in section.tables if table.name.startswith(starts)]


def _shown(section: Section, prefix: str, *starts: str, tall: bool = False) -> str:
    """Tables by the start of their names, each cut to what a page can hold."""
    parts = [part(table, section.most_cells) for table in _named(section, *starts)]
    return "".join(html.sortable(one.table, f"{prefix}-{one.table.name}", tall=tall) for one in parts)


def _lacking(given: Study, *names: str) -> str:
    """Warnings of what is missing, by the paper's names or by those that foreign results have."""
    wanted = [one for name in names for one in dict.fromkeys((name, MISSING.get(name, name)))]
    return "".join(html.warning(f"Missing: {name}: {given.lacking[name]}.") for name in wanted if name in given.lacking)


def _verdicts(section: Section, prefix: str) -> str:
    given = section.study
    made = [html.heading(2, "Headline verdicts", id="verdicts")]
    made += [html.paragraph(sentence) for sentence in result_tables.headline(given)]
    made.append(
        _lacking(given, "baselines", "verdicts", "the paper's test", "limited data (Figure 3, bottom)", "Figure 3")
    )
    for table in _named(section, "verdicts"):
        one = part(table, section.most_cells, _differences(table))
        made.append(html.sortable(one.table, f"{prefix}-{table.name}", tall=True))
    made.append(_shown(section, prefix, "sources", tall=True))
    made.append(_shown(section, prefix, "seeds", "collapse", "figure3", "theme-effects", "limited-data"))
    return "".join(made)


def _differences(table: Table) -> NDArray[np.float64]:
    """Weights of a verdict table's cells: the size of their pair's difference."""
    values = np.abs(values_of(table))
    return np.broadcast_to(values[:, [table.columns.index("difference") - table.n_labels]], values.shape)


def _heat(section: Section, prefix: str) -> str:
    given = section.study
    pairs = {
        (one.fraction, pair.verdict.source, pair.verdict.target): pair
        for one in given.significance
        for pair in one.pairs
    }
    made = [html.heading(2, "Heat maps: percent improvement over the baseline", id="heat")]
    made.append(
        html.paragraph(
            "Blue: better than the baseline, orange: worse. Hover or tap a cell for its numbers.", class_="soft"
        )
    )
    for table in given.tables:
        name = f"figure{6 if table.kind == 'classification' else 7}{suffix(table)}"
        found = [one for one in section.tables if one.name == name]
        for one in found:
            kept = part(one, section.most_cells, np.abs(values_of(one)))
            tip = _improvement_tip(table, given, pairs, kept)
            made.append(html.heat_map(kept.table, f"{prefix}-{name}", tip, diverging=True, unit="%"))
    for one in _named(section, "figure9", "figure10"):
        cut = part(one, section.most_cells).table
        made.append(html.heat_map(cut, f"{prefix}-{one.name}", _plain_tip(cut), diverging=False, unit=""))
    made.append(_lacking(given, "Figure 9", "Figure 10"))
    return "".join(made)


def _improvement_tip(
    table: ScoreTable, given: Study, pairs: dict[tuple[float, str, str], PairResult], kept: Part
) -> html.Tip:
    matrix = improvements(table)
    registry = given.gathered.registry

    def tip(shown_row: int, shown_column: int) -> str:
        row, column = kept.rows[shown_row], kept.columns[shown_column]
        source, target = matrix.sources[row], matrix.targets[column]
        if source == target:
            return ""
        said = [f"{title_of(source, registry)} → {title_of(target, registry)}"]
        said += [
            f"baseline {_told(table.scores.get((target, target)))}",
            f"transfer {_told(table.scores.get((source, target)))}",
        ]
        said.append(f"change {shown(float(matrix.percent[row, column]), 1, signed=True)} %")
        pair = pairs.get((table.fraction, source, target))
        if pair is not None:
            said.append(
                f"verdict: {pair.verdict.verdict}" + (f" ({pair.verdict.reason})" if pair.verdict.reason else "")
            )
            if table.fraction != 1.0:
                said.append(f"(against the full-data baseline, {shown(pair.verdict.baseline)})")
            if pair.paper_outcome:
                test = "paper's test" if given.of_paper else "test on one seed"
                said.append(f"{test}: {pair.paper_outcome} (p {shown(pair.paper_p)})")
        return "\n".join(said)

    return tip


def _told(score: Score | None) -> str:
    if score is None or score.state == "missing":
        return "missing"
    seeds = f"{len(score.seeds)} seed{'' if len(score.seeds) == 1 else 's'}"
    flags = f", {score.flagged}" if score.flagged else ""
    return f"{shown(score.value)} ({seeds}{flags})"


def _plain_tip(table: Table) -> html.Tip:
    return lambda row, column: (
        f"{table.rows[row][0].text}, {table.columns[column + 1]}: {table.rows[row][column + 1].text}"
    )


def _has_cost(section: Section) -> bool:
    """A table of foreign results never says what it cost, and its reader need not be told so."""
    return section.study.gathered.origin != "results" or section.study.of_paper


def _has_importance(section: Section) -> bool:
    """Whether there are importances, or a reason to give why there are none."""
    return section.study.audit is not None or section.study.gathered.origin != "results" or section.study.of_paper


def _importance(section: Section, prefix: str) -> str:
    audit, of_paper = section.study.audit, section.study.of_paper
    if not _has_importance(section):
        return ""
    made = [html.heading(2, "Which features predict the improvement, and is that to be believed", id="importance")]
    if audit is None:
        return "".join([*made, _lacking(section.study, "Figure 2 and Table 6")])
    lead = html.paragraph(audit.sentence, class_="" if audit.interpretable else "warn")
    figure, colours = ("Figure 2: ", "Blue: here. Orange, below it: printed in the paper. ") if of_paper else ("", "")
    title = f"{figure}drop in held-out R² when a feature is permuted"
    made += [lead, _audit_facts(audit), html.heading(3, title[0].upper() + title[1:])]
    made.append(html.paragraph(colours + audit_caption(audit), class_="caption"))
    printed = {row.feature: row.importance for row in reference.importances()} if of_paper else {}
    rows = [
        (
            FEATURE_TITLES.get(row.feature, row.feature),
            row.importance,
            printed.get(row.feature, float("nan")),
            f"{row.importance:.3f} ± {row.spread:.3f}, p {row.p_value:.2f}\n"
            f"rank {row.best_rank} to {row.worst_rank} over settings",
        )
        for row in sorted(audit.features, key=lambda row: -row.importance)
    ]
    made.append(html.bars(rows))
    made += [_shown(section, prefix, "table6"), _shown(section, prefix, "audit-settings", tall=True)]
    return "".join(made)


def _audit_facts(audit: Audit) -> str:
    ceiling = "unknown" if np.isnan(audit.noise_ceiling) else f"{audit.noise_ceiling:.2f}"
    return html.facts(
        [
            (f"{audit.held_out_r2:.2f}", "held-out R² of the very models"),
            (f"{audit.leave_target_out_r2:.2f}", "R² for targets never seen"),
            (f"{audit.leave_source_out_r2:.2f}", "R² for sources never seen"),
            (f"{audit.p_r2:.2f}", "p of R², tasks permuted"),
            (ceiling, "ceiling set by seed noise"),
            ("yes" if audit.interpretable else "no", "importances interpretable"),
        ]
    )


def _scores(section: Section, prefix: str) -> str:
    made = [html.heading(2, "Scores", id="scores"), _shown(section, prefix, "baselines", "table7", "table8")]
    compared = [table.name for table in _named(section, "figure6", "figure7") if table.name.endswith("versus-printed")]
    return "".join([*made, *(_shown(section, prefix, name) for name in compared)])


def flagged(given: Study) -> list[str]:
    """Everything about the data and the runs that a reader must not miss, as sentences."""
    registry = given.gathered.registry
    said = []
    notes: dict[str, list[str]] = {}
    for task, note in given.group.notes.items():
        notes.setdefault(note, []).append(title_of(task, registry))
    for note, tasks in notes.items():
        text = "invented sample data" if note == "sample" else note
        said.append(f"{', '.join(tasks)}: {text}.")
    said += [f"{text[0].upper()}{text[1:]}." for text in dict.fromkeys(given.group.leaks.values())]
    for table in given.tables:
        halves = _halves(table)
        for (source, target), score in sorted(table.scores.items()):
            name = (
                title_of(target, registry)
                if source == target
                else f"{title_of(source, registry)} → {title_of(target, registry)}"
            )
            if score.flags:
                kind = "" if metrics.FLAGS.keys() >= {*score.flags} else " as flagged"
                said.append(f"{name}: {score.flagged}{kind}, {table.metric} {shown(score.value)}.")
            elif score.value < halves.get(target, -np.inf):
                said.append(
                    f"{name}: {table.metric} {shown(score.value)}, less than half of its column's median: not learnt."
                )
    return said


def _halves(table: ScoreTable) -> dict[str, float]:
    """Half the median of each column with enough scores, below which a run has not learnt; none of an error."""
    if not table.higher_is_better:
        return {}
    columns = {
        target: [score.value for score in column.values() if np.isfinite(score.value)]
        for target, column in table.columns.items()
    }
    return {
        target: OUTLIER * float(np.median(own)) for target, own in columns.items() if len(own) >= FEWEST_FOR_OUTLIER
    }


def _flags(given: Study) -> str:
    said = flagged(given)
    made = [html.heading(2, "Data and run flags", id="flags")]
    if not said:
        nothing = "None: every run is on recorded data, and none collapsed."
        if given.gathered.origin == "results":
            nothing = "None: the table flags no score, and none is far below the others of its target."
        return "".join([*made, html.paragraph(nothing)])
    if len(said) > SHOWN_FLAGS:
        note = f"{SHOWN_FLAGS} of {len(said):,} are shown; pairs.csv has the scores and flags of all pairs."
        made.append(html.paragraph(note, class_="soft"))
    items = (html.element("li", escape(text)) for text in said[:SHOWN_FLAGS])
    return "".join([*made, html.element("ul", "".join(items))])


def cost(given: Study) -> list[tuple[str, str]]:
    """What the cells of a group took and on what, what was not measured said so; empty where nothing was recorded."""
    runs = given.group.runs
    found = []
    if runs["wall_s"].notna().any():
        hours = float(runs["wall_s"].sum()) / 3600
        found.append((f"{hours:.2f} h", "of training, wall time" + _part(runs["wall_s"])))
    tokens = runs["n_tokens"].dropna()
    if len(tokens):
        found.append((f"{float(tokens.sum()) / 1e6:,.1f} M", "tokens trained on"))
    energy = _energy(given)
    if not found and energy is None and runs["device"].isna().all():
        return []
    found.append(energy or (NOT_MEASURED, "energy"))
    names = ["device", "driver", "gpu_memory_mib", "mig_profile"]
    columns = [runs[name].astype(object).where(runs[name].notna(), None).tolist() for name in names]
    devices = Counter(hardware_line(*values) for values in zip(*columns, strict=True))
    found += [(f"{n:,}", f"cells on {device}") for device, n in devices.most_common(SHOWN_DEVICES)]
    return found


def _part(known: pd.Series) -> str:
    """How many cells a sum is of, where it is not all."""
    n = int(known.notna().sum())
    return "" if n == len(known) else f" ({n:,} of {len(known):,} cells recorded it)"


def _energy(given: Study) -> tuple[str, str] | None:
    """Of the cells where they recorded it, else of the manifest's jobs; None where neither did, which is not 0."""
    joules, spent = given.group.runs["energy_j"], given.gathered.spent
    if joules.notna().any():
        return f"{float(joules.sum()) / 3.6e6:.2f} kWh", "of energy, as recorded" + _part(joules)
    if spent is not None and spent.energy_wh > 0:
        return f"{spent.energy_wh / 1000:.2f} kWh", "of energy, as the jobs of this manifest read it from their GPUs"
    return None


def hardware_line(device: str | None, driver: str | None, memory_mib: float | None, mig_profile: str | None) -> str:
    """What a cell ran on."""
    if device is None:
        return f"hardware that was {NOT_MEASURED}"
    if device == "cpu":
        return device
    part = f" MIG {mig_profile}" if mig_profile and " MIG " not in device else ""  # torch's name may have it already
    memory = f"{memory_mib / 1024:.1f} GiB" if memory_mib else f"memory {NOT_MEASURED}"
    return f"{device}{part}, {memory}, driver {driver or NOT_MEASURED}"


def _cost(given: Study) -> str:
    found, spent = cost(given), given.gathered.spent
    made = [html.heading(2, "Cost", id="cost")]
    if spent is not None and spent.n_starts:
        made.append(html.paragraph(f"Jobs of this manifest: {spent}."))
    if not found:
        return "".join([*made, html.warning("Missing: these results say nothing of what they cost.")])
    return "".join([*made, html.facts(found)])


def _ratings(fixed: Sequence[Table]) -> str:
    if not fixed:
        return ""
    made = [html.heading(2, "Ratings of the constructs and their agreement", id="ratings")]
    return "".join([*made, *(html.sortable(table, table.name) for table in fixed)])


def _missing(gathered: Gathered) -> str:
    if gathered.origin == "results":
        return ""
    made = [html.heading(2, "Missing cells", id="missing")]
    if not gathered.missing:
        return "".join([*made, html.paragraph("None.")])
    rows = "".join(element_row(cell.id, cell.state, cell.why) for cell in gathered.missing[:SHOWN_MISSING])
    n = len(gathered.missing)
    if n > SHOWN_MISSING:
        made.append(html.paragraph(f"{SHOWN_MISSING} of {n:,} are shown; missing.csv has all.", class_="soft"))
    head = "".join(
        f'<th class="l" data-name="{name}" scope="col"><button type="button">{name}</button></th>'
        for name in ("cell", "state", "why")
    )
    table = f'<table id="missing-cells"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return "".join([*made, html.element("div", table, class_="wide tall")])


def element_row(*values: str) -> str:
    """A row of words."""
    return html.element("tr", "".join(f'<td class="l said">{escape(value)}</td>' for value in values))


def _provenance(gathered: Gathered, sections: Sequence[Section]) -> str:
    commits = {str(commit) for section in sections for commit in section.study.group.runs["commit"].dropna()}
    facts = {"made by": f"empslurm {empslurm.__version__}, {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}"}
    if commits:
        facts["code of the runs"] = ", ".join(sorted(commits))
    for section in sections:
        name = section.study.group.name
        facts |= {f"{name} {key}".strip(): value for key, value in _setting(section.study).items()}
    of_paper = any(section.study.of_paper for section in sections)
    for name in PACKAGED if of_paper else ():
        known = reference.provenance(name)
        facts[name] = " ".join([known.source + ".", *(note[0].upper() + note[1:] + "." for note in known.notes)])
    return html.heading(2, "Provenance", id="provenance") + html.definitions(facts)
