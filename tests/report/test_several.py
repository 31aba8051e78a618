"""Several fractions, settings and odd names on one page: every number is in its right place."""

import re

import pytest

from empslurm import reference, report
from empslurm.gather import from_file
from empslurm.report.marks import marks_of
from empslurm.report.write import contents_of, write
from empslurm.tasks import registry
from tests.report.pages import data_of, of_results, planted, words_of

HEAD = "source,target,seed,metric,value,fraction"
NOISE = (0.0, 0.004, -0.003)


def rows(source, target, value, fraction=1.0):
    """Three seeds."""
    return [f"{source},{target},{seed},accuracy,{value + noise:.4f},{fraction}" for seed, noise in enumerate(NOISE, 1)]


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """With half of the data the baseline is .4, with all .5; the source gives .45 with half, .6 with all."""
    lines = [*rows("", "t", 0.5), *rows("s", "t", 0.6), *rows("", "t", 0.4, 0.5), *rows("s", "t", 0.45, 0.5)]
    return of_results(tmp_path_factory.mktemp("limited"), lines, head=HEAD)


def test_at_a_fraction_the_panel_has_the_baseline_that_the_verdict_used_and_the_control_its_own_runs(limited):
    data = data_of(limited)
    whole, half = data["views"]
    for view, pair, alone, moved in ((whole, 0, 0.5, 0.6), (half, 0, 0.5, 0.45), (half, 1, 0.5, 0.4)):
        source, target = view["pairs"][pair]
        assert [run[1] for run in view["runs"][f"{target},{target}"]] == pytest.approx([alone + one for one in NOISE])
        assert [run[1] for run in view["runs"][f"{source},{target}"]] == pytest.approx([moved + one for one in NOISE])
    assert half["pairs"][1][0] == -1  # the control is no task


def test_ids_of_a_fraction_are_those_of_the_runs_that_were_compared(limited):
    lines = (limited.parent / "verdicts-f50-ids.csv").read_text().splitlines()[1:]
    by_source = {line.split(",")[0]: line.split(",")[2].split() for line in lines}
    assert by_source["s"] == [*(f"s--t-s{seed}-f50" for seed in (1, 2, 3)), *(f"t-s{seed}" for seed in (1, 2, 3))]
    assert by_source["(none)"] == [*(f"t-s{seed}-f50" for seed in (1, 2, 3)), *(f"t-s{seed}" for seed in (1, 2, 3))]


def test_a_map_against_as_much_data_has_no_marks_of_verdicts_against_all(tmp_path):
    path = tmp_path / "t.csv"
    lines = [*rows("", "t", 0.5), *rows("s", "t", 0.6), *rows("", "t", 0.4, 0.5), *rows("s", "t", 0.45, 0.5)]
    path.write_text("\n".join([HEAD, *lines]) + "\n")
    (group,) = contents_of(from_file(path, registry()), ratings=reference.ratings()).groups
    marks = marks_of(group.analyses)
    assert marks["figure6-accuracy"].verdicts == {("s", "t"): "helps"}
    assert marks["figure6-f50-accuracy"].verdicts == {}


def test_a_source_called_as_the_control_is_printed_is_a_source(tmp_path):
    page = of_results(tmp_path, [*rows("", "t", 0.5), *rows("(none)", "t", 0.6), *rows("b", "t", 0.5)], head=HEAD)
    (view,) = data_of(page)["views"]
    assert all(source >= 0 for source, _ in view["pairs"])
    assert page.read_text().count(">(none)</button>") == 1  # in the forest plot


def test_settings_are_compared_with_the_most_data_that_all_of_them_have(tmp_path):
    lines = [
        f"{setting},{line}"
        for setting, values in (("p", ((0.5, 0.6), (0.25, 0.4))), ("q", ((1.0, 0.5), (0.5, 0.5))))
        for fraction, value in values
        for line in (*rows("", "t", 0.5, fraction), *rows("x", "t", value, fraction))
    ]
    of_results(tmp_path, lines, head=f"setting,{HEAD}")
    (row,) = (tmp_path / "settings-pairs.csv").read_text().splitlines()[1:]
    assert row.split(",")[5] == "helps"  # with half of the data, not harm with a quarter


def test_too_noisy_is_not_enough_seeds(tmp_path):
    lines = [
        f"{source},t,{seed},accuracy,{0.5 + 0.2 * (-1) ** seed + shift:.3f},1"
        for source, shift in (("", 0.0), ("a", 0.05), ("b", -0.07))
        for seed in (1, 2, 3)
    ]
    lines = [line.replace("0.750", "0.690").replace("0.630", "0.770") for line in lines]
    said = words_of(of_results(tmp_path, lines, head=HEAD))
    assert "every target has enough seeds" not in said
    assert "needs more than 64 seeds" in said


def test_the_first_line_of_a_plot_names_a_source_that_helps_before_one_that_gains_more(tmp_path):
    wide = [f"n,t,{seed},accuracy,{value},1" for seed, value in enumerate((0.4, 0.95, 0.5), 1)]
    page = of_results(tmp_path, [*rows("", "t", 0.5), *rows("h", "t", 0.55), *wide], head=HEAD)
    assert re.search(r"<b>t:</b> <b class=\"helps\">▲ h \+\.05", page.read_text())


def test_seeds_larger_than_a_script_can_hold_stay_apart(tmp_path):
    seeds = (9007199254740992, 9007199254740993)
    lines = [f"{source},t,{seed},accuracy,0.5" for source in ("", "s") for seed in seeds]
    (view,) = data_of(of_results(tmp_path, lines))["views"]
    assert {str(run[0]) for runs in view["runs"].values() for run in runs} == set(map(str, seeds))


def test_a_loaded_folder_has_no_tables_of_an_earlier_gather(tmp_path):
    of_results(
        tmp_path,
        [*rows("", "t", 0.5), *rows("s", "t", 0.6), *rows("", "t", 0.4, 0.5), *rows("s", "t", 0.45, 0.5)],
        head=HEAD,
    )
    assert "verdicts-f50" in report.load(tmp_path).names
    of_results(tmp_path, [*rows("", "t", 0.5), *rows("s", "t", 0.6)], head=HEAD)
    assert "verdicts-f50" not in report.load(tmp_path).names
    assert (tmp_path / "verdicts-f50.csv").is_file()  # the earlier file is kept


def test_gaps_of_one_setting_name_it_and_those_of_all_stand_once(tmp_path):
    lines = [
        *planted(3, 2, setting="one"),
        *[line for line in planted(3, 2, setting="two") if not line.startswith("two,,target 1")],
    ]
    page = of_results(tmp_path, lines, head="setting,source,target,seed,metric,value")
    text = page.read_text()
    listed = text[text.index('id="missing"') :]
    assert re.search(r'<th scope="row">two[^<]*: baselines of some targets</th>', listed)
    assert listed.count('<th scope="row">the test on one seed</th>') == 1


def test_groups_without_a_common_measure_are_told_one_by_one(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "\n".join(["setting,source,target,seed,metric,value", *planted(3, 2, setting="a"), *planted(3, 2, setting="b")])
        + "\n"
    )
    gathered = from_file(path, registry())
    from dataclasses import replace

    apart = replace(gathered, groups=tuple(replace(group, setting={"origin": "x"}) for group in gathered.groups))
    text = (tmp_path / write(apart, tmp_path, ratings=reference.ratings()).report).read_text()
    answer = text[text.index('class="answer"') :].split("</div>")[0]
    assert [said.split(":")[0].split("-")[0] for said in re.findall(r"<p>(.*?)</p>", answer)] == ["a", "b"]
