"""An estimator of importance: a regression, its parameters, and their values in the stability check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Model(Protocol):
    """A regression with scikit-learn's interface."""

    def fit(self, columns: NDArray[np.float64], values: NDArray[np.float64], /) -> Any:
        """Learn values (n_rows,) from columns (n_rows, n_columns), which are standardised if the settings say so."""

    def predict(self, columns: NDArray[np.float64], /) -> NDArray[np.float64]:
        """Predictions (n_rows,). This is called hundreds of thousands of times."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One numeric parameter of the model."""

    default: float
    values: tuple[float, ...]  # in the stability check
    digits: int = 2  # decimals in the table of settings


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """One way to compute importances."""

    name: str  # one word, for names of tables and columns
    title: str
    parameters: Mapping[str, Parameter]
    make: Callable[[Mapping[str, float]], Model]  # makes a new model from the parameters' values
