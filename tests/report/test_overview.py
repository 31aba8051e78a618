"""The overview's numbers: which sources and targets, what is evident, and how dark a cell is."""

from pathlib import Path

import pytest

from empslurm.gather import from_file, published
from empslurm.report import figures
from empslurm.report.analyses import analyse
from empslurm.report.overview import Overview, overview
from empslurm.tasks import registry


def overview_of(folder: Path, rows: list[str], most: int = 60) -> Overview:
    """The overview of a table of results."""
    path = folder / "t.csv"
    path.write_text("\n".join(["source,target,seed,metric,value", *rows]) + "\n")
    gathered = from_file(path, registry())
    analyses = analyse(gathered, gathered.groups[0], ratings=())
    return overview(analyses.significance[0], analyses, most)


def rows_of(metric: str, gains: dict[tuple[str, str], float], noise: float = 0.001) -> list[str]:
    """Three seeds of each target's baseline, and of each pair with this gain."""
    pairs = {("", target): 0.0 for _, target in gains} | gains
    return [
        f"{source},{target},{seed},{metric},{0.6 + gain + noise * ((seed + at) % 3 - 1):.5f}"
        for at, ((source, target), gain) in enumerate(pairs.items())
        for seed in (1, 2, 3)
    ]


def test_sources_are_rows_targets_columns_and_baselines_stand_on_the_diagonal(tmp_path):
    shown = overview_of(tmp_path, rows_of("accuracy", {("aa", "bb"): 0.1, ("bb", "aa"): -0.05, ("cc", "bb"): 0.0}))
    assert (shown.source_ids, shown.target_ids) == (("aa", "bb", "cc"), ("aa", "bb"))
    assert set(shown.cells) == {(0, 1), (1, 0), (2, 1)}
    assert shown.is_diagonal(0, 0)
    assert not shown.is_diagonal(2, 1)
    assert shown.baselines == (".60", ".60")
    assert (shown.name, shown.unit, shown.percent, shown.cut) == ("overview", "accuracy", False, "")


def test_a_cell_says_its_change_verdict_and_shade(tmp_path):
    shown = overview_of(tmp_path, rows_of("accuracy", {("aa", "bb"): 0.1, ("bb", "aa"): -0.05, ("cc", "bb"): 0.0}))
    gain, harm, none = (shown.cells[at] for at in ((0, 1), (1, 0), (2, 1)))
    assert (gain.verdict, harm.verdict, none.verdict) == ("helps", "harms", "inconclusive")
    assert (gain.evident, harm.evident, none.evident) == (True, True, False)
    assert none.faded
    assert gain.change == shown.reach == pytest.approx(0.1, abs=0.01)
    assert (gain.step, none.step) == (5, 0)
    assert harm.step in (-2, -3)
    assert gain.text.startswith("+.")
    assert harm.text.startswith("−.")


def test_of_an_error_less_is_better_and_all_changes_are_percentages(tmp_path):
    rows = rows_of("mae", {("aa", "bb"): -0.1}) + rows_of("accuracy", {("aa", "cc"): 0.1})
    shown = overview_of(tmp_path, rows)
    assert shown.percent
    assert shown.unit == "% of the baseline"
    assert all(cell.change > 10 and cell.verdict == "helps" and cell.evident for cell in shown.cells.values())


def test_noise_does_not_set_the_scale(tmp_path):
    """A large change that is not evident has the darkest colour, and the evident one too."""
    rows = rows_of("accuracy", {("aa", "bb"): 0.05}) + [
        f"{source},cc,{seed},accuracy,{value}"
        for source, values in (("", (0.5, 0.5, 0.51)), ("aa", (0.3, 0.9, 0.7)))
        for seed, value in enumerate(values)
    ]
    shown = overview_of(tmp_path, rows)
    noisy = shown.cells[0, shown.target_ids.index("cc")]
    assert noisy.faded
    assert abs(noisy.change) > shown.reach == pytest.approx(0.05, abs=0.01)
    assert noisy.step == 5
    assert shown.clipped


def test_of_too_many_those_with_the_largest_changes_are_kept(tmp_path):
    gains = {(f"s{at}", f"t{place}"): 0.02 * (at == 7) + 0.01 * (place == 2) for at in range(9) for place in range(4)}
    shown = overview_of(tmp_path, rows_of("accuracy", gains, noise=0.0001), most=3)
    assert (len(shown.sources), len(shown.targets)) == (3, 3)
    assert "s7" in shown.source_ids
    assert "t2" in shown.target_ids
    assert shown.cut == "3 of 9 sources and 3 of 4 targets are shown, those with the largest changes."


def test_one_run_per_pair_is_neither_evident_nor_faded():
    gathered = published(registry())
    analyses = analyse(gathered, gathered.groups[0], ratings=())
    shown = overview(analyses.significance[0], analyses)
    assert (len(shown.sources), len(shown.targets)) == (18, 18)
    assert len(shown.cells) == 18 * 17
    assert "Epitome ER" in shown.sources
    assert {cell.verdict for cell in shown.cells.values()} == {"undecided"}
    assert not any(cell.evident or cell.faded for cell in shown.cells.values())
    assert max(abs(cell.step) for cell in shown.cells.values()) == 5
    assert not shown.clipped


def test_the_figure_shows_changes_baselines_and_verdicts(tmp_path):
    gains = {("aa", "bb"): 0.1, ("bb", "aa"): -0.05, ("cc", "bb"): 0.0}
    figure = figures.draw_overview(overview_of(tmp_path, rows_of("accuracy", gains)))
    axes, bar = figure.axes
    said = [label.get_text() for label in axes.texts]
    assert {"▲", "▼", ".60"} <= set(said)
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == ("target", "source", "change in accuracy")
    legend = [label.get_text() for label in figure.legends[0].get_texts()]
    assert {"▲ helps", "▼ harms", "no result", "pale: the 95 % interval covers 0"} <= set(legend)
    assert len(figures.save(figure, tmp_path, "overview")) == 3
