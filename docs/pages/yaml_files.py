"""Pages of the YAML files: manifest, profile, cards; and of metrics."""

from __future__ import annotations

from collections.abc import Iterator

from docs.pages.markdown import anchor, code, escaped, page, table
from docs.pages.types import key_sections, yaml
from empslurm import metrics
from empslurm.config import ADAPTER_KINDS, BANKED
from empslurm.launch import profile
from empslurm.manifest.schema import ManifestFile, SearchFile
from empslurm.tasks.card_schema import PART_NAMES, Card

ABOUT_KEYS = (
    "A key that is not listed here is an error, and so is a key that is given twice. `null` may be left out. Every key "
    "has an address: `manifest.md#grid.training.lr` leads to its row."
)


def manifest_page() -> str:
    """Every key of the two kinds of manifests."""
    intro = (
        "A manifest is a YAML file that says which cells a study has. `empslurm submit MANIFEST` runs them. There are "
        "two kinds: `kind: grid` (the default) and `kind: search`. An editor that understands "
        "`manifests/manifest.schema.json` shows the same texts beside each key."
    )
    return page(
        "Manifests: every key",
        intro,
        ABOUT_KEYS,
        "## Kind `grid`: baselines and transfers",
        *key_sections(ManifestFile, "grid", 3),
        "## Kind `search`: hyper-parameters",
        *key_sections(SearchFile, "search", 3),
        "## Adapter kinds",
        "Each kind has keys of its own. The defaults are those of the library `adapters`, which all kinds need but "
        f"{' and '.join(f'`{kind}`' for kind in BANKED)}.",
        adapter_table(),
        "A transfer stacks a new adapter on the source's. Some kinds cannot be stacked, since training would give "
        "wrong results without an error:",
        "\n".join(f"- `{kind}`: {why}." for kind, why in stacking_problems()),
    )


def adapter_table() -> str:
    rows = [
        (
            f"{anchor(f'adapter.{name}')}{code(name)}",
            escaped(facts.source),
            code(facts.library),
            ", ".join(code(f"{key}: {yaml(value)}") for key, value in facts.defaults.items()),
            "yes" if facts.banked else "no",
        )
        for name, facts in ADAPTER_KINDS.items()
    ]
    return table(("`kind`", "from", "class in `adapters`", "keys and defaults", "many train at once"), rows)


def stacking_problems() -> Iterator[tuple[str, str]]:
    for name, facts in ADAPTER_KINDS.items():
        for why in (*facts.not_on.values(), *facts.not_under.values()):
            yield name, escaped(why)


def profile_page() -> str:
    """Every key of a profile."""
    intro = (
        "A profile is a YAML file in `slurm/` that says where to run: a partition of a Slurm cluster, or this machine. "
        "It never changes a result or the id of a cell. `empslurm profile NAME` writes one for the cluster at hand; "
        "`empslurm doctor --profile NAME` checks it. An editor that understands `slurm/profile.schema.json` shows the "
        "same texts beside each key."
    )
    fields = [(f"--{option}", f"Use the key `{key}`.") for option, key in profile.HAS_FIELD.items()]
    kept = [(f"--{option}", f"Not allowed: {why}.") for option, why in profile.KEPT_BACK.items()]
    return page(
        "Profiles: every key",
        intro,
        ABOUT_KEYS.replace("manifest.md#grid.training.lr", "profile.md#profile.time"),
        "## Keys",
        *key_sections(profile.ProfileFile, "profile", 3),
        "## Profiles of kind `local`",
        "Only these keys are allowed: " + ", ".join(code(name) for name in profile.LOCAL_FIELDS) + ".",
        "## Options of sbatch that `sbatch` may not set",
        table(("option", "instead"), ((code(option), escaped(text)) for option, text in (*fields, *kept))),
    )


def cards_page() -> str:
    """Every key of a card."""
    intro = (
        "A card is a YAML file that describes a dataset of your own: where its table is, and how to read it. A "
        "manifest names cards with its key `cards`. [The guide](../own-task.md) explains them with examples."
    )
    parts: dict[str, list[str]] = {}
    for name, part in PART_NAMES.items():
        parts.setdefault(part, []).append(name)
    return page(
        "Cards: every key",
        intro,
        ABOUT_KEYS.replace("manifest.md#grid.training.lr", "cards.md#card.columns.text"),
        "## Keys",
        *key_sections(Card, "card", 3),
        "## Names of official parts",
        table(
            ("part", "names, in any case"), ((code(part), ", ".join(map(code, names))) for part, names in parts.items())
        ),
    )


def metrics_page() -> str:
    """The metrics, and the flags of runs that did not learn."""
    rows = [
        (
            f"{anchor(f'metric.{metric.name}')}{code(name)}",
            escaped(metric.title),
            metric.kind,
            f"{metric.low:g} to {metric.high:g}" if metric.high != float("inf") else f"{metric.low:g} and above",
            "higher" if metric.higher_is_better else "lower",
            "yes" if name in metrics.that_choose_epochs(metric.kind) else "no",
            escaped(metric.chance.words),
        )
        for name, metric in metrics.METRICS.items()
    ]
    head = ("metric", "printed as", "kind of task", "range", "better", "may choose the best epoch", "chance level")
    return page(
        "Metrics and flags",
        "Every result holds all metrics of its kind of task. The task's own metric chooses the best epoch, on the "
        "validation part.",
        "## Metrics",
        table(head, rows),
        "## Flags",
        "A flag says that a run did not learn. `status` lists flagged cells, and the tables of `gather` mark them.",
        table(("flag", "the run ..."), ((code(name), escaped(text)) for name, text in metrics.FLAGS.items())),
    )
