"""Words for partitions, times and sizes of a cluster, as parts of sentences."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from empslurm.launch.site.facts import Partition

# Partitions that, by words in their names, are not meant for hours of training.
DOUBTFUL = re.compile(
    r"debug|dbg|devel|interact|jupyter|urgent|express|priority|preempt|scav|backfill|spot|requeue|besteffort|"
    r"killable|low|admin|maint|login|build|transfer|dtn|"
    r"(?:^|[-_.])(?:dev|test|testing|int|vis|viz|free|idle|ckpt|guest|copy|data|short|quick)(?:$|[-_.\d])",
    re.IGNORECASE,
)
MOST_SHOWN = 10  # alternatives of one kind in the file
GIB = 1024  # MiB
MOST_GIB = 65536.0  # that a profile takes


def plain(text: object) -> str:
    """A text from the cluster as part of a sentence: printable ASCII, one line, at most 60 characters."""
    shown = re.sub(r"[^ -~]", "?", str(text))
    return shown if len(shown) <= 60 else shown[:57] + "..."


def listed(names: Sequence[str] | None) -> str:
    """A few names in a sentence."""
    names = names or ()
    rest = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return (", ".join(map(plain, names[:MOST_SHOWN])) or "none") + rest


def duration(total_min: int) -> str:
    """Minutes as Slurm writes them."""
    days, rest = divmod(total_min, 24 * 60)
    return (f"{days}-" if days else "") + f"{rest // 60:02d}:{rest % 60:02d}:00"


def gibibytes(mib: float) -> float:
    """MiB as GiB, rounded down to halves, or to hundredths below 1; within what a profile takes."""
    step = 2 if mib >= GIB else 100
    return min(max(math.floor(mib / GIB * step) / step, 0.01), MOST_GIB)


def gib(mib: float) -> str:
    return f"{mib / GIB:.1f} GiB"


def many(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def described(partition: Partition) -> str:
    """Nodes, GPUs and time of a partition in words."""
    kinds = sorted(partition.nodes, key=lambda nodes: (-nodes.n_gpus, -nodes.n_cpus))
    words = [
        f"{many(nodes.n_nodes, 'node')} of {many(nodes.n_cpus, 'CPU')}"
        + "".join(f" and {many(count, 'GPU')}{f' {plain(kind)}' if kind else ''}" for kind, count in nodes.gpus[:3])
        + (f" and GPUs of {len(nodes.gpus) - 3} other types" if len(nodes.gpus) > 3 else "")
        for nodes in kinds[:3]
    ]
    rest = [f"{len(kinds) - 3} other kinds of nodes"] if len(kinds) > 3 else []
    return ", ".join([*words, *rest]) or "its nodes are not known"


def doubt(partition: Partition) -> str:
    return "; by its name, perhaps not for training" if DOUBTFUL.search(partition.name) else ""


def limit_of(partition: Partition) -> str:
    return "no time limit" if partition.max_time_min is None else f"at most {duration(partition.max_time_min)}"
