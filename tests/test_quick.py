"""`make quick` runs the tests that need no torch, and says which do."""

import sys
from types import ModuleType

import pytest

from tests.conftest import NoTorch
from tests.project import ROOT


def test_torch_is_refused_and_nothing_else_is() -> None:
    spec = NoTorch().find_spec("torch")
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match="must not import torch: see QUICK in the Makefile"):
        spec.loader.exec_module(ModuleType("torch"))
    assert NoTorch().find_spec("json") is None


def test_where_torch_is_refused_it_is_not_there(pytestconfig: pytest.Config) -> None:
    assert not (pytestconfig.getoption("without_torch") and "torch" in sys.modules)


def test_make_quick_runs_this_file_and_refuses_torch() -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipe = makefile.partition("\nquick: ")[2].partition("\n\n")[0]
    assert "--without-torch" in recipe
    assert "$(QUICK)" in recipe
    assert "$(wildcard tests/test_*.py)" in makefile.partition("\nQUICK := ")[2].partition("\n\n")[0]
