"""The top of the page: the question, the answer in at most three sentences, and the state of the study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from empslurm.report.answer import answers
from empslurm.report.contents import Contents
from empslurm.report.sections.learning import not_learnt

MOST_ANSWERS = 3  # sentences: about all settings together, or one of each
QUESTION = "Does training on task A first help task B?"
PROVISIONAL = "PROVISIONAL: these numbers come from the invented sample corpus; they say nothing about any task."
PAPER = (
    "Question, tables and figures: Lahnala, Welch, Jurgens and Flek (2024), The Muddy Waters of Modeling Empathy in "
    "Language."
)


def opening(contents: Contents) -> Mapping[str, Any]:
    """The template's values: question, answer, what was compared, state, and warnings."""
    groups = contents.groups
    notes = []
    if any("sample" in group.analyses.group.notes.values() for group in groups):
        notes.append(PROVISIONAL)
    notes += filter(None, (not_learnt(group.analyses) for group in groups[:1] if len(groups) == 1))
    refused = sum(cell.state == "refused" for cell in contents.gathered.missing)
    if refused:
        notes.append(f"{refused:,} {'result' if refused == 1 else 'results'} failed verification and are in no table.")
    told = len({one.id for one in contents.gathered.told})
    if told:
        notes.append(f"Labs disagree on {told:,} {'run' if told == 1 else 'runs'}, which are in no table.")
    return {
        "question": QUESTION,
        "answer": _answer(contents),
        "lead": _lead(contents),
        "state": _state(contents),
        "notes": notes,
    }


def _answer(contents: Contents) -> tuple[str, ...]:
    """At most three sentences; with several settings, about all of them together."""
    if contents.pooling_headline:
        return contents.pooling_headline[:MOST_ANSWERS]
    if contents.settings_headline:
        return contents.settings_headline[:MOST_ANSWERS]
    if len(contents.groups) == 1:
        return answers(contents.groups[0])[0].summary
    named = [f"{group.analyses.group.name}: {answers(group)[0].summary[0]}" for group in contents.groups[:MOST_ANSWERS]]
    left = len(contents.groups) - len(named)
    more = [f"{left:,} more {'setting is' if left == 1 else 'settings are'} below."] if left else []
    return (*named, *more) or ("No run has a result yet.",)


def _lead(contents: Contents) -> str:
    """What was compared, and where the question comes from."""
    gathered = contents.gathered
    if gathered.origin == "results":
        settings = [group.analyses.group.setting for group in contents.groups]
        files = dict.fromkeys(str(setting["origin"]) for setting in settings if "origin" in setting)
        said = (
            f"{gathered.name}: {'results of several labs' if gathered.labs else 'a table of results'}, "
            f"{', '.join(files)}, with {gathered.n_done:,} scores. The score of a "
            "target task alone (the baseline) is compared with its score after training on another task, the source."
        )
    else:
        said = (
            f"{gathered.name}: an adapter on a frozen encoder is trained on the target task alone (the baseline) and "
            "on top of another task's adapter, the source. One such run, with one seed, is called a cell."
        )
    return f"{said} {PAPER}" if contents.of_paper else said


def _state(contents: Contents) -> str:
    gathered, groups = contents.gathered, contents.groups
    planned = "" if gathered.n_planned is None else f" of {gathered.n_planned:,}"
    counted = "runs with a verified result" if gathered.origin == "runs" else "scores as given"
    tasks = {task for group in groups for task in group.analyses.tasks}
    seeds = {seed for group in groups for table in group.analyses.tables for seed in table.seeds}
    states = Counter(cell.state for cell in gathered.missing)
    facts = [
        f"{gathered.n_done:,}{planned} {counted}",
        *(f"{n:,} {state}" for state, n in states.most_common()),
        f"{len(tasks)} {'task' if len(tasks) == 1 else 'tasks'}",
        f"{len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'}",
    ]
    if len(groups) == 1:
        facts += _trained(groups[0].analyses.group.setting)
    if len(groups) > 1:
        facts.append(f"{len(groups)} settings, never mixed")
    return " · ".join(facts)


def _trained(setting: Mapping[str, Any]) -> list[str]:
    """The size of the training, as facts."""
    training = setting.get("training")
    if not isinstance(training, Mapping):
        return []
    facts = [str(setting.get("backbone", "")).rstrip("/").rsplit("/", 1)[-1]]
    if training.get("epochs"):
        facts.append(f"{training['epochs']} {'epoch' if training['epochs'] == 1 else 'epochs'}")
    if training.get("max_train_examples"):
        facts.append(f"{training['max_train_examples']:,} training texts at most")
    return facts
