"""Settings compared: on how many a verdict holds, whether gains differ, which sources lead, and what cannot be said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from empslurm.analysis.interactions import Part
from empslurm.cli import main
from empslurm.gather import from_file
from empslurm.report import settings
from empslurm.report.analyses import analyse
from empslurm.report.settings_compared import Compared, compare, over_settings
from empslurm.report.settings_headline import headline
from empslurm.report.settings_tables import settings_tables
from empslurm.report.wording import BACKBONES, SETTINGS
from empslurm.tasks import registry
from tests.report.pages import of_results, words_of

HEAD = "setting,source,target,seed,metric,value"
SEEDS = (1, 2, 3, 4)
TARGETS = ("t1", "t2", "t3")
GAINS = {"good": 0.06, "bad": -0.06, "none": 0.0, "moving": 0.0}
MOVED = 0.06  # what `moving` gains in the first setting only


def rows(
    setting: str, *, moved: bool = False, seeds: tuple[int, ...] = SEEDS, metric: str = "accuracy", without: str = "-"
) -> list[str]:
    """A setting's table. `without`: a source (or "" for baselines) that is left out."""
    rng = np.random.default_rng(len(setting) + sum(map(ord, setting)))
    gains = {"": 0.0, **GAINS, "moving": MOVED if moved else 0.0}
    return [
        f"{setting},{source},{target},{seed},{metric},{0.6 + gain + rng.normal(0, 0.006):.4f}"
        for target in TARGETS
        for source, gain in gains.items()
        if source != without
        for seed in seeds
    ]


def compared(folder: Path, lines: list[str], head: str = HEAD) -> Compared:
    path = folder / "t.csv"
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    gathered = from_file(path, registry())
    found = compare(settings.named([analyse(gathered, group, ratings=()) for group in gathered.groups]))
    assert found is not None
    return found


def table(found: Compared, name: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of a table by their first two columns, each by column."""
    (one,) = (one for one in settings_tables(found) if one.name == name)
    return {(row[0].text, row[1].text): dict(zip(one.columns, row, strict=True)) for row in one.rows}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    return compared(tmp_path_factory.mktemp("two"), [*rows("a", moved=True), *rows("b")])


def test_the_words_count_every_setting_once() -> None:
    pair = settings.Held(source="s", target="t", verdicts=("undecided", "helps"), n_settings=3)
    assert pair.words == "helps on 1 of 3; undecided on 1; not compared on 1"
    both = replace(pair, verdicts=("helps", "helps"), n_settings=2)
    assert (both.words, both.agreement) == ("helps on 2 of 2", "agree")
    assert replace(both, verdicts=("helps", "harms")).agreement == "contradict"
    assert replace(both, verdicts=("helps",)).agreement == "not compared elsewhere"


def test_a_pair_that_moves_is_told_from_those_that_stay(two: Compared) -> None:
    pairs, gains = table(two, "settings-pairs"), table(two, "settings-interaction")
    for target in TARGETS:
        assert pairs["good", target]["holds"].text == "helps on 2 of 2"
        assert pairs["bad", target]["holds"].text == "harms on 2 of 2"
        assert pairs["moving", target]["holds"].text == "helps on 1 of 2; inconclusive on 1"
        assert pairs["moving", target]["n_helps"].raw == 1
        assert gains["moving", target]["verdict"].text == "differs"
        assert gains["moving", target]["highest"].text == "a"
        assert gains["moving", target]["low"].raw > 0
        assert abs(gains["moving", target]["difference"].raw - MOVED) < 0.02
        assert gains["good", target]["verdict"].text == "not shown to differ"


def test_the_headline_answers_first(two: Compared) -> None:
    first, second, third, *_ = headline(two)
    assert first.startswith(
        "Of 12 pairs compared on both settings, 3 help on both; 3 help on one, which is not shown on the other; 3 harm"
    )
    assert second.startswith("Gains differ between settings by more than noise for 3 of 12 tested pairs")
    assert "is common to both settings (95 % interval" in third


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ((("undecided", "inconclusive"),) * 2, "None of 2 pairs compared on both settings is shown to help or to harm"),
        (
            (("helps", "helps"), ("helps", "undecided")),
            "1 helps on both; 1 helps on one, which is not shown on the other; none harms on either.",
        ),
        (
            (("helps", "harms"), ("harms", "undecided")),
            "1 harms on one, which is not shown on the other; 1 helps on one and harms on",
        ),
    ],
)
def test_the_first_sentence_counts_what_was_called(two: Compared, verdicts: tuple[Any, ...], said: str) -> None:
    pairs = (settings.Held(source=str(n), target="t", verdicts=own, n_settings=2) for n, own in enumerate(verdicts))
    assert said in headline(replace(two, held=tuple(pairs)))[0]


def test_an_interval_that_says_nothing_is_not_shown_as_a_share(two: Compared) -> None:
    def part(low: float, high: float) -> Part:
        return Part(variance=1.0, low=low, high=high)

    assert two.interactions.parts is not None
    parts = replace(two.interactions.parts, common=part(0.0, 1.0), by_setting=part(0.0, 1.0))
    assert parts.share[1:] == (0.0, 1.0)
    third = headline(replace(two, interactions=replace(two.interactions, parts=parts)))[2]
    assert third.endswith("is common to both settings cannot be told: the 95 % interval is 0 to 100 %.")


def test_sources_are_ranked_over_both_and_in_each(two: Compared) -> None:
    assert two.sources is not None
    order = [row.source for row in two.sources.ranks.sources]
    assert (order[0], order[-1]) == ("good", "bad")
    best = two.sources.ranks.sources[0]
    assert best.low < GAINS["good"] < best.high
    assert (best.n_targets, two.sources.n_settings["good"]) == (6, 2)
    assert all(own["bad"] == 4 for own in two.sources.by_setting.values())
    assert two.sources.concordance > 0.5


def test_sources_are_ranked_over_settings_with_gains_only(two: Compared, tmp_path: Path) -> None:
    """One seed is undecided, so its setting says nothing of sources while others can be judged."""
    alone = compared(tmp_path, [*rows("a"), *rows("b", seeds=SEEDS[:1])])
    assert alone.sources is None
    assert not any(said.startswith("Over") for said in headline(alone))
    three = compared(tmp_path, [*rows("a"), *rows("b"), *rows("c", seeds=SEEDS[:1])])
    assert three.sources is not None
    assert (three.sources.n_with_gains, set(three.sources.by_setting)) == (2, {"a", "b"})
    assert set(three.sources.n_settings.values()) == {2}
    assert any(said.startswith("Over 2 of 3 settings, good has the largest mean gain") for said in headline(three))
    assert two.sources is not None
    ranks = two.sources.ranks
    worse = replace(ranks, sources=tuple(replace(row, effect=row.effect - 1) for row in ranks.sources))
    said = headline(replace(two, sources=replace(two.sources, ranks=worse)))
    assert any("no source has a mean gain above 0; the nearest is good" in one for one in said)


def test_variance_is_common_and_of_single_pairs(two: Compared) -> None:
    parts = two.interactions.parts
    assert parts is not None
    assert (parts.n_pairs, two.interactions.n_apart) == (12, 0)
    assert min(parts.common.low, parts.by_setting.low) > 0


@pytest.mark.parametrize(
    ("other", "reason", "n_pairs"),
    [
        ({"seeds": (1,)}, "one seed only: what another seed would change is unknown", 12),
        ({"metric": "f1_macro"}, "measured differently", 12),
        ({"without": ""}, "no pair has a baseline and a source", 12),
        ({"without": "good"}, "the pair is not compared on this setting", 3),
    ],
)
def test_what_cannot_be_tested_is_counted_with_its_reason(
    tmp_path: Path, other: dict[str, Any], reason: str, n_pairs: int
) -> None:
    found = compared(tmp_path, [*rows("a"), *rows("b", **other)])
    untested = found.interactions.with_outcome("not tested")
    assert (len(untested), found.interactions.reasons) == (n_pairs, {reason: n_pairs})
    assert all(np.isnan(pair.p_value) for pair in untested)
    captions = " ".join(one.caption for one in settings_tables(found))
    assert f"{n_pairs}: {reason}" in captions
    assert any(reason in sentence for sentence in headline(found))


def test_one_of_three_settings_is_left_out_of_a_test_with_its_reason(tmp_path: Path) -> None:
    found = compared(tmp_path, [*rows("a", moved=True), *rows("b"), *rows("c", seeds=(1,))])
    gains, pairs = table(found, "settings-interaction"), table(found, "settings-pairs")
    assert gains["moving", "t1"]["n_settings"].raw == 2
    assert gains["moving", "t1"]["reason"].text.startswith("c: one seed only")
    assert gains["moving", "t1"]["verdict"].text == "differs"
    assert pairs["good", "t1"]["holds"].text == "helps on 2 of 3; undecided on 1"
    assert found.interactions.parts is not None
    assert found.interactions.parts.n_settings == 2


def test_gains_of_an_error_count_as_better_where_it_falls(tmp_path: Path) -> None:
    found = compared(tmp_path, [*rows("a", moved=True, metric="mae"), *rows("b", metric="mae")])
    assert table(found, "settings-interaction")["moving", "t1"]["highest"].text == "b"
    assert table(found, "settings-pairs")["good", "t1"]["holds"].text == "harms on 2 of 2"


def test_settings_of_a_runs_root_with_a_backbone_each_are_called_backbones(two: Compared) -> None:
    def as_runs(same: bool) -> dict[str, Any]:
        return {
            name: replace(
                own,
                gathered=replace(own.gathered, origin="runs"),
                group=replace(own.group, setting={"setting": name, "backbone": "x" if same else name}),
            )
            for name, own in two.groups.items()
        }

    assert settings.words_of(as_runs(same=False)) is BACKBONES
    assert settings.words_of(as_runs(same=True)) is SETTINGS
    assert settings.words_of(two.groups) is SETTINGS
    said = headline(replace(two, words=BACKBONES))
    assert "compared on both backbones" in said[0]


def test_the_page_and_the_json_have_the_same_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = of_results(tmp_path, [*rows("a", moved=True), *rows("b")], head=HEAD)
    said = words_of(page)
    assert "helps on 1 of 2; inconclusive on 1" in said
    assert "Every pair in every setting" in said
    arguments = ["gather", "--results", str(tmp_path / "mine.csv"), "--out", str(tmp_path / "out"), "--json"]
    assert main(arguments) == 0
    found = {(one["source"], one["target"]): one for one in json.loads(capsys.readouterr().out)["over_settings"]}
    assert len(found) == 12
    assert found["good", "t1"]["counts"]["helps"] == 2
    assert found["moving", "t1"]["interaction"] == "differs"
    assert found["moving", "t1"]["interaction_p_bh"] < 0.05


@pytest.mark.parametrize("n_full", [15, 2])
def test_all_settings_are_compared_at_one_data_fraction_and_the_rest_is_counted(tmp_path: Path, n_full: int) -> None:
    """The first setting alone has all of the data: for its 12 pairs, or for one."""
    full = [f"{row},1" for row in rows("a")]
    full = full if n_full == 15 else [row for row in full if row.split(",")[1:3] in (["", "t1"], ["good", "t1"])]
    part = [f"{row},0.1" for row in (*rows("a"), *rows("b", moved=True))]
    found = compared(tmp_path, [*full, *part], f"{HEAD},fraction")
    first = headline(found)[0]
    assert first.startswith("Of 12 pairs compared on both settings, 3 help on both")
    left_out = 12 if n_full == 15 else 1
    assert "Compared with 10 % of the data, the largest amount at which both settings have pairs; other" in first
    assert f"left out: {left_out} with 100 %." in first
    assert {pair.fraction for pair in over_settings(found)} == {0.1}
    assert found.level.note(SETTINGS) in settings_tables(found)[0].caption
    assert found.sources is not None
    assert found.sources.ranks.fraction == 0.1
    assert found.interactions.reasons == {}


def test_without_a_common_data_fraction_nothing_is_compared_and_the_reason_is_said(tmp_path: Path) -> None:
    found = compared(
        tmp_path, [*(f"{row},1" for row in rows("a")), *(f"{row},0.1" for row in rows("b"))], f"{HEAD},fraction"
    )
    first, second = headline(found)
    assert first.startswith("No pair is compared on two of 2 settings")
    assert (
        "Compared with 100 % of the data, at which 1 of 2 settings has pairs; other verdicts are left out: 12" in first
    )
    assert second.endswith("no pair has a baseline and a source with 100 % of the data.")
    assert found.sources is None


def test_without_two_settings_nothing_is_compared() -> None:
    assert compare({}) is None
    assert settings_tables(None) == () == headline(None)
