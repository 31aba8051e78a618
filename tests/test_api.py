"""The public names: which they are, that they are described, and that importing them loads nothing heavy."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import empslurm

NAMES = {
    *("EmpslurmError", "Scorer", "__version__", "from_table", "gathered", "load_gathered", "load_manifest", "planned"),
    *("pooled", "published", "status", "suggest"),
}
RESULTS = """source,target,seed,metric,value
,news,1,pearson,0.40
,news,2,pearson,0.41
,news,3,pearson,0.42
chat,news,1,pearson,0.50
chat,news,2,pearson,0.51
chat,news,3,pearson,0.52
"""


def test_these_are_the_public_names() -> None:
    assert set(empslurm.__all__) == NAMES
    assert set(dir(empslurm)) >= NAMES
    with pytest.raises(AttributeError, match="no_such_name"):
        empslurm.no_such_name  # noqa: B018


@pytest.mark.heavy
def test_every_public_name_says_what_it_does() -> None:
    for name in NAMES - {"__version__"}:
        value = getattr(empslurm, name)
        assert inspect.getdoc(value), name
        if inspect.isfunction(value):
            signature = inspect.signature(value)
            assert signature.return_annotation is not inspect.Signature.empty, name
            assert all(item.annotation is not inspect.Parameter.empty for item in signature.parameters.values()), name


def test_importing_loads_no_heavy_library() -> None:
    heavy = "torch transformers adapters pandas numpy rich yaml matplotlib"
    code = f"import sys, empslurm; dir(empslurm); print([name for name in '{heavy}'.split() if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_manifest_by_name_file_or_value(tmp_path: Path) -> None:
    manifest = empslurm.load_manifest("demo")
    assert empslurm.load_manifest(manifest.path) == manifest
    plan = empslurm.planned(manifest, runs=tmp_path / "runs", data=tmp_path / "data")
    assert {cell.kind for cell in plan.cells} == {"baseline", "transfer"}
    states = empslurm.status(manifest, runs=tmp_path / "runs", data=tmp_path / "data")
    assert list(states) == [cell.id for cell in plan.cells]
    assert {state.state for state in states.values()} == {"pending"}
    assert not (tmp_path / "runs").exists()


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(empslurm.EmpslurmError, match="full_grit"):
        empslurm.load_manifest("full_grit")


def test_a_search_has_a_report_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(empslurm.EmpslurmError, match="search report"):
        empslurm.gathered("search", runs=tmp_path, data=tmp_path)


def test_anybodys_table_becomes_verdicts(tmp_path: Path) -> None:
    file = tmp_path / "results.csv"
    file.write_text(RESULTS)
    study = empslurm.from_table(file, margin=0.01)
    verdicts = study.frame("verdicts")
    assert verdicts[["source", "target", "verdict"]].to_numpy().tolist() == [["chat", "news", "helps"]]
    assert verdicts["difference"].tolist() == pytest.approx([0.1])


def test_tables_of_several_labs_are_pooled(tmp_path: Path) -> None:
    files = []
    for at, name in enumerate(("a", "b", "c")):
        files.append(tmp_path / f"{name}.csv")
        files[-1].write_text(RESULTS.replace("0.5", f"0.5{at}"))
    study = empslurm.pooled(files)
    pooled, labs = study.frame("pooled"), study.frame("labs")
    assert pooled[["source", "target", "n_labs", "verdict"]].to_numpy().tolist() == [["chat", "news", 3, "helps"]]
    assert pooled["low"][0] < 0.1 < pooled["high"][0]
    assert labs["lab"].tolist() == ["a", "b", "c"]
    with pytest.raises(empslurm.EmpslurmError, match="must have an input"):
        empslurm.pooled([])


@pytest.mark.parametrize("margin", [0.0, -0.1, float("nan"), float("inf")])
def test_a_margin_is_above_zero(tmp_path: Path, margin: float) -> None:
    file = tmp_path / "results.csv"
    file.write_text(RESULTS)
    with pytest.raises(empslurm.EmpslurmError, match="margin must be a number above 0"):
        empslurm.from_table(file, margin=margin)


def test_the_papers_own_tables() -> None:
    pairs = empslurm.published().frame("pairs")
    assert len(pairs) == 306
