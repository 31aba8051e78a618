"""What an estimator of importance is: a regression, its parameters and their values in the stability check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Model(Protocol):
    """A regression; those of scikit-learn are such models."""

    def fit(self, columns: NDArray[np.float64], values: NDArray[np.float64], /) -> Any:
        """Learn values (n_rows,) from columns (n_rows, n_columns), which are standardised where the settings say so."""

    def predict(self, columns: NDArray[np.float64], /) -> NDArray[np.float64]:
        """Predictions (n_rows,). This is called hundreds of thousands of times."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One number that the model is made with."""

    default: float
    values: tuple[float, ...]  # in the stability check
    digits: int = 2  # shown in its table


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """One way to compute importances."""

    name: str  # in names of tables and columns: a word
    title: str
    parameters: Mapping[str, Parameter]
    make: Callable[[Mapping[str, float]], Model]  # a new model from the parameters' values
