"""The library `adapters`, for the tests that compare with it or need it; they are skipped where it is not installed."""

from typing import Any

import pytest


def library() -> Any:
    """The package, with its compositions."""
    pytest.importorskip("adapters.composition", reason="the package `adapters` is not installed")
    import adapters

    return adapters
