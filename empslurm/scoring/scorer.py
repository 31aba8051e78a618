"""Score texts with many adapters in one pass.

    scorer = Scorer.load("exported/")                        # or a list of folders, or a `selection.Chosen`
    scorer.score(["I am so sorry.", "Go on."])               # plain records, in the order of the texts
    scorer.frame(texts, contexts=[["How was it?"], []])      # a pandas DataFrame, one row per text
    scorer.measures["news_empathy"]                          # a measure's task and scale; its quality: `evidence`

A record: {"n_tokens": 7, "measures": {NAME: {...}}} or {"error": "a sentence"}.
Classification: label (the one of the highest mean probability), probabilities {label: mean over seeds},
spread {label: standard deviation over seeds}, agreement (share of seeds that give this label). Regression: value, on
the task's own scale, mean over seeds, and its spread. spread and agreement are null for a single seed. flags: see
FLAGS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from empslurm.config import Precision
from empslurm.errors import UsageError
from empslurm.scoring import selection
from empslurm.scoring.bank import Bank
from empslurm.scoring.inputs import Row, row_of, windows
from empslurm.scoring.quality import with_evidence
from empslurm.scoring.records import check_kept, flatten
from empslurm.scoring.selection import Chosen, Group
from empslurm.store.adapter_metadata import Evidence, Measure
from empslurm.train.data.tokenizer import load_tokenizer
from empslurm.train.data.tokens import Tokens, encode
from empslurm.train.input_similarity import similarity
from empslurm.validation.table_file import present

if TYPE_CHECKING:
    import pandas as pd

WINDOW_ROWS = 512  # rows held, and grouped by length, at a time; a stopped run loses at most these
WINDOW_CHARS = 4_000_000
FLAGS: Mapping[str, str] = {
    "short": "shorter than 99 % of the training examples, in tokens",
    "long": "longer than 99 % of the training examples, in tokens",
    "dissimilar": "farther from the centre of the training examples than 99 % of them, in the frozen backbone's space",
    "cut": "longer than the model reads; the rest, or the oldest context, was left out",
    "no_context": "most training examples had a context, this text has none",
    "off_scale": "the value lies outside the task's scale",
}


class Scorer:
    """Adapters on one backbone, with their measures and evidence. `problems`: why adapters were left out."""

    def __init__(self, chosen: Chosen, *, device: str | None = None, precision: Precision = "fp32") -> None:
        self.chosen, self.problems, self.precision = chosen, chosen.problems, precision
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.bank = Bank(chosen.members, self.device, precision)
        self.tokenizer = load_tokenizer(chosen.groups[0].measure.backbone)

    @classmethod
    def load(
        cls,
        cells: Chosen | str | Path | Iterable[str | Path],
        *,
        tasks: Sequence[str] = (),
        backbone: str | None = None,
        device: str | None = None,
        precision: Precision = "fp32",
    ) -> Scorer:
        """Load folders of exported adapters, or what `selection` chose by a manifest or by cell ids.

        `backbone`: where the folders have several, the label or the name of the one whose adapters to load.
        """
        if not isinstance(cells, Chosen):
            paths = [cells] if isinstance(cells, str | Path) else list(cells)
            cells = selection.of_folders(map(Path, paths), tasks, backbone)
        return cls(cells, device=device, precision=precision)

    @cached_property
    def measures(self) -> Mapping[str, Measure]:
        """The measures by name, each of its first seed."""
        return {group.name: group.measure for group in self.chosen.groups}

    @cached_property
    def evidence(self) -> Mapping[str, Evidence | None]:
        """Test score with its interval, by name of the measure."""
        return with_evidence(self.chosen)

    def score(
        self,
        texts: Iterable[str],
        contexts: Iterable[Sequence[str] | str | None] | None = None,
        keep: Mapping[str, Iterable[Any]] | None = None,
    ) -> list[dict[str, Any]]:
        """Records in the order of `texts`. Raises UsageError.

        contexts: earlier turns of each text, oldest first; a string is one turn, None is no context.
        keep: columns to carry into the records, a value per text.
        """
        for what, value in {"texts": texts, "contexts": contexts}.items():
            if isinstance(value, str):
                raise UsageError(f"{what} must be a list with one item per text, but is one string; write [{what}]")
        texts = list(texts)
        turns = [()] * len(texts) if contexts is None else [_turns(context) for context in contexts]
        kept = {name: list(values) for name, values in (keep or {}).items()}
        check_kept(kept, self.chosen.groups)
        for what, values in {"context": turns, **kept}.items():
            if len(values) != len(texts):
                raise UsageError(
                    f"there must be one {what} per text, but there are {len(values)} for {len(texts)} texts; "
                    f"give {len(texts)}"
                )
        rows = [
            row_of("", index + 1, text, turns[index], {name: values[index] for name, values in kept.items()})
            for index, text in enumerate(texts)
        ]
        return [
            {**row.kept, **record}
            for window in windows(rows, WINDOW_ROWS, WINDOW_CHARS)
            for row, record in zip(window, self.score_rows(window), strict=True)
        ]

    def frame(
        self,
        texts: Iterable[str],
        contexts: Iterable[Sequence[str] | str | None] | None = None,
        keep: Mapping[str, Iterable[Any]] | None = None,
    ) -> pd.DataFrame:
        """The records as a DataFrame; columns as in CSV and Parquet output."""
        import pandas as pd

        keep = keep or {}
        return pd.DataFrame([flatten(record, self.chosen.groups, keep) for record in self.score(texts, contexts, keep)])

    def score_rows(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """One window's records, in its order; a row with an error keeps it and does not affect others."""
        good = [index for index, row in enumerate(rows) if not row.error]
        records: list[dict[str, Any]] = [{"error": row.error} for row in rows]
        for index in good:
            records[index] = {"n_tokens": 0, "measures": {group.name: None for group in self.chosen.groups}}
        if not good:
            return records
        first = {id(group): start for group, start in zip(self.chosen.groups, self._starts, strict=True)}
        for rule, groups in self._by_rule.items():
            tokens, cut = self.tokens(rule, [rows[index] for index in good])
            members = [first[id(group)] + seed for group in groups for seed in range(len(group.members))]
            outputs, points = self.bank.score(tokens, members)
            for group in groups:
                own = [outputs[first[id(group)] + seed] for seed in range(len(group.members))]
                scored = _combine(group, own)
                flags = _flags(group, tokens.lengths, cut, points, [rows[index] for index in good])
                for index, score, flag in zip(good, scored, flags, strict=True):
                    records[index]["measures"][group.name] = {**score, "flags": flag + score["flags"]}
            for index, length in zip(good, tokens.lengths.tolist(), strict=True):
                records[index]["n_tokens"] = max(records[index]["n_tokens"], length)
        return records

    @cached_property
    def _starts(self) -> list[int]:
        """Index of each group's first member in the bank."""
        sizes = [len(group.members) for group in self.chosen.groups]
        return [sum(sizes[:index]) for index in range(len(sizes))]

    @cached_property
    def _by_rule(self) -> Mapping[tuple[int, str], list[Group]]:
        """Measures by what they read of a row: those of one entry read the same tokens."""
        groups: dict[tuple[int, str], list[Group]] = {}
        for group in self.chosen.groups:
            groups.setdefault(group.measure.input_rule, []).append(group)
        return groups

    def tokens(self, rule: tuple[int, str], rows: Sequence[Row]) -> tuple[Tokens, list[bool]]:
        """Tokens of a window, made as in training, and which rows were cut."""
        max_length, context = rule
        keep = {"history": slice(None), "previous": slice(-1, None), "none": slice(0)}[context]
        tokenised = list(
            encode(self.tokenizer, [row.context[keep] for row in rows], [row.text for row in rows], max_length)
        )
        lengths = [len(whole) for whole, _, _ in tokenised]
        tokens = Tokens(
            flat=np.concatenate([np.asarray(whole, np.int32) for whole, _, _ in tokenised]),
            starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            text_starts=np.asarray([start for _, start, _ in tokenised], np.int32),
            n_truncated=sum(cut for _, _, cut in tokenised),
            pad_id=self.tokenizer.pad_id,
            segments=self.tokenizer.segments,
        )
        return tokens, [cut for _, _, cut in tokenised]


def _turns(context: Any) -> tuple[Any, ...]:
    """A text's context as its turns."""
    if isinstance(context, str) or not isinstance(context, Iterable):
        return () if present(context) is None else (context,)
    return tuple(context)


def _combine(group: Group, outputs: Sequence[NDArray[np.float64]]) -> list[dict[str, Any]]:
    """Mean and spread over seeds of one measure; outputs: (n_rows, n_outputs) per seed."""
    measure = group.measure
    if measure.kind == "regression":
        scales = np.asarray([[member.measure.centre, member.measure.scale] for member in group.members])
        values = np.stack([seed[:, 0] for seed in outputs]) * scales[:, 1:] + scales[:, :1]  # (n_seeds, n_rows)
        spreads = values.std(0, ddof=1) if len(values) > 1 else [None] * values.shape[1]
        return [_value(measure, *pair) for pair in zip(values.mean(0).tolist(), spreads, strict=True)]
    seeds = np.stack([_softmax(seed) for seed in outputs])  # (n_seeds, n_rows, n_labels)
    means = seeds.mean(0)
    best = means.argmax(1)
    agreement = (seeds.argmax(2) == best).mean(0)
    spread = seeds.std(0, ddof=1) if len(seeds) > 1 else None
    return [
        {
            "label": measure.labels[best[row]],
            "probabilities": _named(measure, means[row]),
            "spread": None if spread is None else _named(measure, spread[row]),
            "agreement": None if spread is None else _round(agreement[row]),
            "flags": [],
        }
        for row in range(len(means))
    ]


def _value(measure: Measure, value: float, spread: float | None) -> dict[str, Any]:
    low = -np.inf if measure.low is None else measure.low
    high = np.inf if measure.high is None else measure.high
    return {
        "value": _round(value),
        "spread": None if spread is None else _round(spread),
        "flags": [] if low <= value <= high else ["off_scale"],
    }


def _round(value: float) -> float | None:
    """Round to six digits, the precision of float32; None if not finite."""
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _named(measure: Measure, values: NDArray[np.float64]) -> dict[str, float | None]:
    return {label: _round(value) for label, value in zip(measure.labels, values.tolist(), strict=True)}


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over the last axis of (n_rows, n_labels)."""
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(-1, keepdims=True))


def _flags(
    group: Group, lengths: NDArray[np.int64], cut: Sequence[bool], points: NDArray[np.float64], rows: Sequence[Row]
) -> list[list[str]]:
    """Each row's flags: how it differs from the training examples, see FLAGS."""
    typical = group.measure.typical
    near = similarity(points, np.asarray(typical.centroid))
    reads_context = typical.context_share >= 0.5
    by_row = []
    for row in range(len(rows)):
        holds = {
            "short": lengths[row] < typical.low_length,
            "long": lengths[row] > typical.high_length,
            "dissimilar": near[row] < typical.low_similarity,
            "cut": cut[row],
            "no_context": reads_context and not rows[row].context,
        }
        by_row.append([flag for flag in holds if holds[flag]])
    return by_row
