"""Write the text of a proposed profile: reasons above the fields, alternatives below them; pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any

from empslurm.launch.site.draft import Draft
from empslurm.launch.site.fields import Choice, gpu_syntax
from empslurm.launch.site.partitions import has_gpus, obstacles, qos_of, usable_partitions, writable
from empslurm.launch.site.wording import MOST_SHOWN, described, doubt, limit_of, plain

MOST_LISTED = 100  # alternatives of one kind in the JSON document
WIDTH = 118
PLAIN_YAML = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
YAML_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


def alternatives_of(draft: Draft) -> dict[str, Any]:
    """Other values that would work, and partitions that would not."""
    site, others = draft.site, [other for other in usable_partitions(draft.site) if other.name != draft.partition.name]
    entry = draft.association
    taken = draft.qos or (entry.default_qos if entry else None)
    other_qos = [name for name in (qos_of(entry, draft.partition) if entry else []) if name != taken]
    if taken is None and len(other_qos) == 1:
        other_qos = []  # the only one must be the default, even if Slurm does not name it
    return {
        "partitions": [
            {
                "partition": other.name,
                "gpus_per_node": max((nodes.n_gpus for nodes in other.nodes), default=0),
                "what": f"{described(other)}; {limit_of(other)}{doubt(other)}",
            }
            for other in others[:MOST_LISTED]
        ],
        "accounts": [name for name in draft.accounts or () if name != draft.account][:MOST_LISTED],
        "qos": other_qos[:MOST_LISTED],
        "gpu_types": [kind for kind in draft.gpu_types if writable(kind) and kind != draft.gpu_type][:MOST_LISTED],
        "ruled_out": [
            {"partition": plain(partition.name), "why": "; ".join(reasons)}
            for partition in site.partitions
            if (reasons := obstacles(site, partition)) and partition is not draft.partition
        ][:MOST_LISTED],
    }


HINTS = (
    "# setup:                     # shell lines that run before Python",
    "#   - module load cuda/12.4",
    "# python: apptainer exec --nv /images/torch.sif python   # only training runs in the container",
    "# environment:",
    "#   HF_HUB_OFFLINE: '1'      # everything was fetched by `empslurm prepare`",
)


def text_of(draft: Draft, name: str, choices: Sequence[Choice], warnings: Sequence[str]) -> str:
    """The file's text: reasons above the fields, alternatives below them."""
    site = draft.site
    cluster = f"the cluster {plain(site.cluster)}" if site.cluster else "the cluster"
    version = f" (Slurm {plain(site.version)})" if site.version else ""
    lines = [
        "# yaml-language-server: $schema=profile.schema.json",
        f"# Run with it: empslurm submit full_grid --profile {name}",
        "#",
        *_comment(
            f"Written by `empslurm profile {name}` from what {cluster} says about itself{version}. "
            f"Edit it as you like; `empslurm doctor --profile {name} --probe` tests it."
        ),
        *(line for sentence in warnings for line in _comment(f"CAUTION: {sentence}.")),
        "kind: slurm",
    ]
    others = _other_lines(draft)
    for choice in choices:
        lines += ["", *_field(choice), *others.get(choice.field, ())]
    return "\n".join([*lines, "", *HINTS]) + "\n"


def _field(choice: Choice) -> list[str]:
    """The reason and the line of a field; only the reason where the field is left out."""
    if choice.value is None and choice.field != "mem_gb":
        return _comment(f"{choice.field}: {choice.why}.")
    return [*_comment(f"{choice.why[:1].upper()}{choice.why[1:]}."), f"{choice.field}: {_yaml(choice.value)}"]


def _other_lines(draft: Draft) -> dict[str, list[str]]:
    """Field -> comments with its other values."""
    others = alternatives_of(draft)
    partitions = [(item["partition"], item["what"]) for item in others["partitions"]]
    out = [f"Not {item['partition']}: {item['why']}." for item in others["ruled_out"]]
    types = others["gpu_types"] if draft.gpu_type is None or draft.n_gpus else [draft.gpu_type]
    types = _shortened([f"# gpu_type: {_yaml(kind)}" for kind in types]) if gpu_syntax(draft) == "gpus" else []
    gpus = [] if draft.n_gpus or not has_gpus(draft.partition) else ["# gpus: 1", *types]
    return {
        "partition": [
            *_shortened([f"# partition: {_yaml(name)}   # {what}" for name, what in partitions]),
            *_shortened([line for sentence in out[: MOST_SHOWN + 1] for line in _comment(sentence)]),
        ],
        "account": _shortened([f"# account: {_yaml(name)}" for name in others["accounts"]]),
        "qos": _shortened([f"# qos: {_yaml(name)}" for name in others["qos"]]),
        "gpus": gpus,
        "gpu_type": types,
    }


def _shortened(lines: list[str]) -> list[str]:
    return [*lines[:MOST_SHOWN], "# ... and more"] if len(lines) > MOST_SHOWN else lines


def _comment(sentence: str) -> list[str]:
    """A sentence as comment lines, whatever characters it has."""
    text = re.sub(r"[^ -~]", "?", sentence)
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ") or ["#"]


def _yaml(value: str | int | float | bool | None) -> str:
    """A value as YAML; a string is quoted unless YAML reads it as one."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    if isinstance(value, int) or re.fullmatch(r"(\d+-)?\d\d:\d\d:\d\d", value):
        return str(value)
    plain = PLAIN_YAML.fullmatch(value) and value.lower() not in YAML_WORDS
    return value if plain else f"'{value}'"
