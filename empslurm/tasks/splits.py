"""Assign examples to train, validation and test: once per family, by group, as a pure function of the group's name.

The part of a group depends on a hash of (salt, group), so all datasets of a family have the same split, even where some
of them are absent. The shares then hold only on average, so each family's salt was chosen once, by `best_salt`: of many
salts, the one whose part sizes and label shares on the real data are closest to 80/10/10 in all tasks. This is
rerandomisation (Morgan and Rubin, Annals of Statistics 2012): it uses the shares of labels, never a result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from empslurm.config import SplitRule
from empslurm.errors import DataError
from empslurm.tasks.schema import PARTS, Dataset, Example, Part

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPLIT_VERSION = 1
ENDS = (0.8, 0.9)  # of train and of validation
OFFICIAL_ENDS = (8 / 9, 1.0)  # of an official train part without a validation part: 8 to 1, as in 80/10/10
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}

# family -> salt: the best of the first 800 (dialogue: empdial, empdial_ei), 20,000 (wassa: only 100 articles) and 4,000
# (epitome) on `balance_columns`; 0 where no real data was available to search on
SALTS: Mapping[str, int] = {"dialogue": 508, "wassa": 16373, "epitome": 2187, "mi": 0, "hope": 0, "condolence": 0}


def _unit(text: str) -> float:
    """A number in [0, 1) that is a function of the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big") / 2**56


def part_of(group: str, salt: int, ends: tuple[float, float] = ENDS) -> Part:
    """The part that a group belongs to. ends: of train and of validation, as shares of the whole."""
    return _part_at(_unit(f"split:{SPLIT_VERSION}:{salt}:{group}"), ends)


def _part_at(share: float, ends: tuple[float, float]) -> Part:
    """The part at a place in [0, 1)."""
    return "train" if share < ends[0] else "validation" if share < ends[1] else "test"


def ends_of(dataset: Dataset) -> tuple[float, float]:
    """Where train and validation end in a dataset's drawn split."""
    shares = dataset.shares
    return ENDS if shares is None else (1 - shares.validation - shares.test, 1 - shares.test)


def official_parts(examples: Sequence[Example], salt: int) -> list[Part]:
    """The part of each example where the publisher gives them. Raises DataError for an example without one.

    Where there is no validation part, a ninth of train's groups becomes it, drawn by the family's rule.
    """
    drawn = not any(example.part == "validation" for example in examples)
    parts: list[Part] = []
    for example in examples:
        if example.part is None:
            raise DataError(
                f"{example.id} must have a part, since its dataset has official parts, but has none; name the part in "
                "the dataset's reader"
            )
        parts.append(part_of(example.group, salt, OFFICIAL_ENDS) if drawn and example.part == "train" else example.part)
    return parts


def split_name(dataset: Dataset, rule: SplitRule) -> str:
    """The rule with its version and salt, as it enters a cell's identity.

    It is there instead of the digest of the split file: the parts follow from the groups' names (so from the raw files,
    whose digest is in the identity too), this version and this salt, and a plan knows these without the data. The
    file's own digest is recorded with the prepared data and checked whenever that is used. Official parts hold under
    every rule; the salt draws their validation part where there is none.
    """
    salt, shares = SALTS.get(dataset.family, 0), dataset.shares
    if dataset.official:
        return f"official-{SPLIT_VERSION}-{salt}"
    own_shares = "" if shares is None else f"-{shares.validation:g}-{shares.test:g}"
    return f"{rule}-{SPLIT_VERSION}-{salt}{own_shares}"


def leaks(dataset: Dataset, rule: SplitRule) -> str:
    """How a rule leaks for a dataset; empty where it does not."""
    if rule == "family" or not dataset.grouped or dataset.official:
        return ""
    if dataset.id == "news":
        return (
            "news with the paper's splits leaks: train, validation and test are nested slices of the same 1,000 essays"
        )
    return f"{dataset.id} with the paper's splits leaks: rows of one {dataset.family} group are in train and in test"


def paper_parts(dataset: Dataset, task_id: str, ids: Sequence[str]) -> list[tuple[Part, ...]]:
    """The parts that each row belongs to under the paper's rule: rows shuffled per task, groups ignored.

    News: validation is the whole pool, train its first 800 rows and test its first 900 (sizes from Table 9's shares of
    2,700 = 800 + 1,000 + 900), so a row may be in all three.
    """
    if dataset.id == "news":
        ends: tuple[tuple[Part, int], ...] = (("train", 800), ("validation", 1000), ("test", 900))
        return [tuple(part for part, end in ends if index < end) for index in range(len(ids))]
    order = sorted(range(len(ids)), key=lambda row: _unit(f"paper:{SPLIT_VERSION}:{task_id}:{ids[row]}"))
    parts: list[tuple[Part, ...]] = [()] * len(ids)
    for index, row in enumerate(order):
        parts[row] = (_part_at(index / len(ids), ends_of(dataset)),)
    return parts


def train_subset(ids: Sequence[str], fraction: float, seed: int) -> tuple[str, ...]:
    """The first `fraction` of the training examples in the seed's order; smaller fractions are part of larger ones."""
    order = sorted(ids, key=lambda example: hashlib.sha256(f"subset:{seed}:{example}".encode()).digest())
    return tuple(order[: max(1, round(fraction * len(order)))] if order else ())


def balance_columns(targets: Sequence[NDArray[np.int64] | NDArray[np.float64]], n_rows: int) -> NDArray[np.float64]:
    """What a split should divide evenly: the rows, the rows of each label, and the lower and upper third of ratings.

    targets: per task (n_rows,), label indices or values. Returns (n_rows, n_columns) of ones and zeros.
    """
    import numpy as np

    columns = [np.ones(n_rows)]
    for values in targets:
        if values.dtype.kind == "i":
            columns += [(values == label).astype(float) for label in range(int(values.max(initial=-1)) + 1)]
        else:
            low, high = np.quantile(values, [1 / 3, 2 / 3])
            columns += [(values <= low).astype(float), (values > high).astype(float)]
    return np.stack(columns, axis=1)


def imbalance(parts: NDArray[np.int64], columns: NDArray[np.float64]) -> float:
    """How far a split is from 80/10/10: the largest |count - wanted| / sqrt(wanted) over parts and columns.

    parts: (n_rows,) index into PARTS. columns: (n_rows, n_columns) counts: ones for size, indicators of labels.
    """
    import numpy as np

    totals = columns.sum(0)
    worst = 0.0
    for index, part in enumerate(PARTS):
        wanted = SHARES[part] * totals
        there = wanted > 0
        gap = np.abs(columns[parts == index].sum(0) - wanted)[there] / np.sqrt(wanted[there])
        worst = max(worst, float(gap.max(initial=0.0)))
    return worst


def best_salt(
    groups: Sequence[Sequence[str]], columns: Sequence[NDArray[np.float64]], n_salts: int, *, first: int = 0
) -> tuple[int, float]:
    """The salt from `first` to below `n_salts` with the smallest worst imbalance over datasets of one family.

    groups: per dataset, the group of each row. columns: per dataset (n_rows, n_columns), see `imbalance`.
    """
    import numpy as np

    names = sorted({group for dataset in groups for group in dataset})
    row_of = {name: index for index, name in enumerate(names)}
    rows = [np.asarray([row_of[group] for group in dataset]) for dataset in groups]
    # Sums per group once: trying a salt then costs one pass over groups, not over rows.
    sums = []
    for index, weights in zip(rows, columns, strict=True):
        summed = np.zeros((len(names), weights.shape[1]))
        np.add.at(summed, index, weights)
        sums.append(summed)
    best = (first, float("inf"))
    for salt in range(first, n_salts):
        parts = np.asarray([PARTS.index(part_of(name, salt)) for name in names])
        worst = max(imbalance(parts, summed) for summed in sums)
        if worst < best[1]:
            best = (salt, worst)
    return best
