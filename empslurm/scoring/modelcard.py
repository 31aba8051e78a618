"""The model card of an exported measure: what it measures, how well, from which data, and what it is not for.

It contains no training text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import empslurm
from empslurm import metrics, reference
from empslurm.backbones import Published, published
from empslurm.config import ADAPTER_KINDS
from empslurm.scoring.selection import SOURCE, Group
from empslurm.scoring.usage import in_library, usage
from empslurm.store.adapter_metadata import Evidence, Measure

PAPER = (
    "Lahnala, Welch, Jurgens and Flek. The Muddy Waters of Modeling Empathy in Language: The Practical Impacts of "
    "Theoretical Constructs."
)

LIMITS = (
    "**English only, and mostly American web and crowd-work English.** How empathy is expressed and read differs "
    "between languages, and among speakers of one language: by setting, culture and relationship. A text from "
    "elsewhere still gets a number.",
    "**A label, not a state of mind.** The measure repeats how this dataset's annotators applied this dataset's "
    "definition to these texts. Datasets that all say *empathy* define and observe different things, often loosely; "
    "two measures of that name need not agree, and neither shows what a writer felt.",
    "**Tied to its source.** It was tested on held-out texts of the same origin. On other platforms, lengths or times "
    "its error is unknown; `score` flags texts that are unlike the training texts, which says little about those that "
    "it does not flag.",
    "**Groups of constructs are a judgement.** Grouping tasks by construct, as the study does, rests on discussion "
    "among a few people. It is a starting point, not a validated taxonomy.",
)
NOT_FOR = (
    "diagnosis, screening or triage, of a person or of a relationship",
    "decisions about moderation, ranking, hiring, grading or access to help",
    "rating the skill or sincerity of a named person, a counsellor or a peer supporter",
    "anything that rests on a single text; read measures over many texts, together with the test score above",
)


def card(group: Group, evidence: Evidence | None, names: Mapping[int, str], repository: str | None) -> str:
    """README.md of one measure. names: seed -> its adapter's folder, "" at the top; repository: ORG/NAME on the hub."""
    measure = group.measure
    backbone = published(measure.backbone, measure.backbone_digest)
    parts = [
        _front(measure, backbone, library=in_library(group)),
        f"# {measure.title}: {measure.settings['adapter']['kind']} adapter on {backbone.name}\n",
        _task(measure),
        _scores(group, evidence),
        usage(group, backbone, names, repository),
        _settings(group, backbone),
        "## What it is not for\n\nNot for\n\n" + _bullets(NOT_FOR),
        "## Limitations\n\n" + _bullets(LIMITS if measure.task in reference.task_ids() else LIMITS[1:]),
        _origin(measure),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _bullets(lines: Sequence[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)


def _front(measure: Measure, backbone: Published, *, library: bool) -> str:
    """The YAML that the hub reads; written by a YAML library, since a dataset may have any name."""
    import yaml

    of_paper = measure.task in reference.task_ids()
    value: dict[str, Any] = {"language": ["en"]} if of_paper else {}
    value |= {
        "library_name": "adapters" if library else "transformers",
        "tags": [*["adapter-transformers"] * library, *["empathy"] * of_paper, "empslurm", measure.task],
        "pipeline_tag": "text-classification",
    }
    if backbone.hub_id is not None:
        value["base_model"] = backbone.hub_id
    return f"---\n{yaml.safe_dump(value, sort_keys=False, allow_unicode=True)}---\n"


def _task(measure: Measure) -> str:
    if measure.kind == "classification":
        what = "one of the labels " + ", ".join(f"`{label}`" for label in measure.labels)
    else:
        scale = (
            "an open scale" if measure.low is None or measure.high is None else f"{measure.low:g} to {measure.high:g}"
        )
        what = (
            f"a value on the task's own scale ({scale}); the head gives a standardised value z, and the value is "
            f"{measure.centre:.6g} + {measure.scale:.6g} z (other seeds have other numbers, in their `task.json`)"
        )
    context = {
        "none": "the text alone",
        "history": "the text and all earlier turns, oldest cut first",
        "previous": "the text and the turn before it",
    }[measure.input_rule[1]]
    lines = [
        f"Task: `{measure.task}` of the dataset {measure.dataset}: {what}.",
        f"Reads: {context}; at most {measure.max_length} tokens.",
        f"Data source: {measure.data_source}. Language setting: {measure.language_setting}.",
        _amount(measure),
        f"Licence of the data: {measure.licence}. The data is not part of this repository; check that its terms allow "
        "your use of a model trained on it.",
    ]
    if measure.source is not None:
        lines.append(
            f"A transfer: stacked on the adapter of `{measure.source}` in `{SOURCE}/`, which must be loaded too."
        )
    return _bullets(lines)


def _amount(measure: Measure) -> str:
    cap = measure.settings["training"].get("max_train_examples")
    part = f"capped at {cap:,}" if cap else f"{measure.fraction:.0%} of the training part"
    return f"Trained on {measure.n_train:,} examples ({part})."


def _scores(group: Group, evidence: Evidence | None) -> str:
    if evidence is None:
        return "## Test score\n\nUnknown.\n"
    interval = "no interval" if evidence.low is None else f"95 % interval {evidence.low:.3f} to {evidence.high:.3f}"
    score = "undefined (constant predictions)" if evidence.score is None else f"{evidence.score:.3f}"
    spread = "" if evidence.seed_spread is None else f", standard deviation over seeds {evidence.seed_spread:.3f}"
    lines = [
        f"## Test score\n\n{evidence.metric} {score}, {interval} (bootstrap over {evidence.resampled} of the test "
        f"part){spread}.\n",
        f"{evidence.n_test:,} test examples; seeds {', '.join(map(str, evidence.seeds))}; their mean.\n",
    ]
    if evidence.flags:
        lines.append(f"**Flagged: {_flagged(evidence)}.** Do not rely on it.\n")
    rows = [_result_row(member.measure.seed, member.result) for member in group.members if member.result is not None]
    if rows:
        lines.append("| seed | best epoch | validation | test |\n|---|---|---|---|\n" + "".join(rows))
    return "\n".join(lines)


def _flagged(evidence: Evidence) -> str:
    """Which seeds did not learn, and how that shows."""
    seeds = dict(zip(evidence.flags, evidence.flagged_seeds, strict=False))
    clauses = []
    for flag in evidence.flags:
        own = seeds.get(flag, ())
        named = f"seed{'' if len(own) == 1 else 's'} {', '.join(map(str, own))}" if own else "at least one seed"
        clauses.append(f"{named} {metrics.FLAGS.get(flag, flag)}")
    return "; ".join(clauses)


def _result_row(seed: int, result: Mapping[str, Any]) -> str:
    metric = str(result["metric"])
    scores = [result[part].get(metric) for part in ("validation", "test")]
    shown = ["undefined" if score is None else f"{score:.3f}" for score in scores]
    return f"| {seed} | {result['best_epoch']} | {shown[0]} | {shown[1]} |\n"


def _backbone(measure: Measure, backbone: Published) -> str:
    """The line that identifies the backbone."""
    revision = f", revision {backbone.revision}" if backbone.revision else ""
    if backbone.hub_id is None:
        name = backbone.name if backbone.folder is None else f"a local folder named `{backbone.folder}`"
    elif backbone.exact:
        name = backbone.hub_id
    else:
        name = (
            f"a local folder named `{backbone.folder}`, whose config.json names {backbone.hub_id}; its weights were "
            "not compared with the published ones"
        )
    return f"Backbone: {name}{revision}. Its digest: `{measure.backbone_digest}`."


def _settings(group: Group, backbone: Published) -> str:
    measure = group.measure
    rows = [
        f"| {section} | {key} | {value} |\n"
        for section in ("adapter", "training", "data")
        for key, value in measure.settings[section].items()
        if not isinstance(value, dict)
    ]
    seeds = ", ".join(str(member.measure.seed) for member in group.members)
    cells = ", ".join(f"`{member.measure.cell}`" for member in group.members)
    return (
        "## Settings\n\n| section | field | value |\n|---|---|---|\n"
        + "".join(rows)
        + f"\nSeeds: {seeds}. Cells: {cells}. {_backbone(measure, backbone)} It was frozen: only "
        + f"adapters and heads were trained. Made with empslurm {empslurm.__version__}; `provenance.json` of each seed "
        + "names commit, packages and device.\n"
    )


def _origin(measure: Measure) -> str:
    facts = ADAPTER_KINDS.get(measure.settings["adapter"]["kind"])
    kind = f"- Kind of adapter: {facts.source}\n" if facts else ""
    return (
        f"## Citation\n\n- Data: {measure.citation}\n- Study: {PAPER}\n{kind}- Library: Pfeiffer et al. (2020). "
        "AdapterHub: A Framework for Adapting Transformers. EMNLP.\n"
    )
