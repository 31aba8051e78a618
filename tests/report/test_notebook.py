"""Tables and figures for notebooks: typed, at full precision, the same as the files."""

import subprocess
import sys
from pathlib import Path

import pytest

from empslurm import report
from empslurm.errors import UsageError
from empslurm.gather import Gathered, from_file
from empslurm.report.notebook import Study
from empslurm.report.write import write
from empslurm.tasks import registry


def results(folder: Path, settings: tuple[str, ...] = ("",)) -> Gathered:
    """Two tasks, one of them named like a number, and three seeds."""
    rows = [
        f"{source},{target},{seed},accuracy,{0.6 + 0.05 * bool(source) + seed * len(target) % 4 / 1000:.4f},{setting}"
        for setting in settings
        for target in ("007", "bb")
        for source in ("", "007", "bb")
        if source != target
        for seed in (1, 2, 3)
    ]
    path = folder / "t.csv"
    path.write_text("\n".join(["source,target,seed,metric,value,setting", *rows]) + "\n")
    return from_file(path, registry())


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return report.study(results(tmp_path_factory.mktemp("results")))


def test_names_are_those_of_the_files(study):
    assert {"verdicts", "seeds", "pairs", "long", "missing", "figure6-accuracy", "table7-accuracy"} <= {*study.names}
    assert study.figures == ("overview", "figure6-accuracy")
    assert study.settings == ("",)


def test_a_frame_has_types_and_full_precision(study):
    frame = study.frame("verdicts")
    assert list(frame["source"]) == ["bb", "007"]
    assert {name: str(frame[name].dtype) for name in ("source", "verdict", "difference", "p_equivalent")} == {
        "source": "string",
        "verdict": "string",
        "difference": "float64",
        "p_equivalent": "float64",
    }
    assert set(frame["verdict"]) == {"helps"}
    (pair, *_) = study.contents.groups[0].analyses.significance[0].pairs
    assert frame["difference"][0] == pair.verdict.difference
    changes = study.frame("figure6-accuracy")
    assert changes["bb"].isna().tolist() == [False, True]


def test_pairs_and_long_are_of_the_setting(tmp_path):
    study = report.study(results(tmp_path, ("one", "two")))
    assert len(study.settings) == 2
    first, second = study.settings
    assert len(study.frame("pairs", first)) == 2
    assert set(study.frame("long", second)["group"]) == {second}
    with pytest.raises(UsageError, match=r"must be a known setting.*known: one, two"):
        study.frame("pairs")


def test_figures_are_matplotlibs(study):
    for name in study.figures:
        figure = study.figure(name)
        assert figure.axes[0].get_xlabel() == "target"
        assert any("▲" in label.get_text() for label in figure.axes[0].texts)


@pytest.mark.parametrize(("name", "near"), [("verdict", "verdicts"), ("seed", "seeds"), ("pair", "pairs")])
def test_an_unknown_table_is_refused_with_the_nearest(study, name, near):
    with pytest.raises(UsageError, match=f"`{name}` must be a known table, but is not; did you mean {near}?"):
        study.frame(name)


def test_an_unknown_figure_is_refused(study):
    with pytest.raises(UsageError, match=r"must be a known figure, but is not; did you mean overview\?"):
        study.figure("overviews")


def test_a_folder_has_the_same_frames(tmp_path):
    gathered = results(tmp_path, ("one", "two"))
    write(gathered, tmp_path / "out", ratings=())
    study, loaded = report.study(gathered, ratings=()), report.load(tmp_path / "out")
    assert loaded.settings == study.settings
    assert {*study.names} <= {*loaded.names}
    import pandas as pd

    for name in ("verdicts", "seeds", "pairs", "table7-accuracy", "figure6-accuracy"):
        one, two = study.frame(name, "one"), loaded.frame(name, "one")
        assert list(one.columns) == list(two.columns)
        for column in one.columns:
            if pd.api.types.is_float_dtype(one[column]) and one[column].notna().any():
                assert one[column].tolist() == pytest.approx(two[column].astype(float).tolist(), nan_ok=True, rel=1e-12)
            elif pd.api.types.is_string_dtype(one[column]):
                assert one[column].fillna("").tolist() == two[column].fillna("").tolist()
    assert set(loaded.frame("verdicts", "two")["source"]) == {"007", "bb"}
    assert set(loaded.frame("long", "two")["group"]) == {"two"}
    assert loaded.figure_file("overview", "one").name == "overview.svg"
    with pytest.raises(UsageError, match=r"did you mean overview\?"):
        loaded.figure_file("overviw", "one")


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"must be a folder that `gather` wrote, but has no summary\.json"):
        report.load(tmp_path)


def test_importing_the_report_is_cheap():
    code = "import sys, empslurm.report; print(sorted({'torch', 'numpy', 'pandas', 'matplotlib'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
