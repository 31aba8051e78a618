"""Which adapters are sources, one per task, and why others are not."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import pytest

from empslurm import ids
from empslurm.cells import Baseline
from empslurm.scoring.selection import Member
from empslurm.suggestion.sources import Sources, backbone_of, choose, usable, whole
from tests.project import Project
from tests.suggestion.made import GRID, asked

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def members(trained: Project) -> dict[str, Member]:
    return {member.measure.task: member for member in asked(trained, "hope").members}


def changed(member: Member, **changes: Any) -> Member:
    return replace(member, measure=replace(member.measure, **changes))


def with_training(member: Member, **changes: Any) -> Member:
    settings = {**member.measure.settings, "training": {**member.measure.settings["training"], **changes}}
    return changed(member, settings=settings)


def sources(
    members: Sequence[Member], target: str, problems: Sequence[str] = (), preferred: Sequence[Collection[str]] = ()
) -> Sources:
    found = usable(members, problems, target)
    return choose(found, backbone_of(found.members.values()), preferred)


def test_each_task_has_one_source_and_the_target_none(members: dict[str, Member]) -> None:
    found = sources(list(members.values()), "condolence", ["a problem"])
    assert set(found.members) == set(found.read) == set(GRID) - {"condolence"}
    assert found.problems == ("a problem",)
    assert found.digest == members["condolence"].measure.backbone_digest


def test_the_first_seed_of_the_settings_with_most_seeds_counts(members: dict[str, Member]) -> None:
    one = members["condolence"]
    second, third = (changed(with_training(one, lr=0.5), seed=seed, cell=f"condolence-s{seed}") for seed in (2, 3))
    found = sources([third, one, second], "hope")
    assert found.members["condolence"].measure.seed == 2
    (problem,) = found.problems
    assert problem.startswith(
        "condolence must have one adapter, but was trained in several ways; that of condolence-s2"
    )
    alone = sources([third, one, second], "hope", preferred=[{"another"}, {one.measure.cell, third.measure.cell}])
    assert alone.members["condolence"] is one


def test_sources_on_another_backbone_are_left_out_with_a_sentence(members: dict[str, Member]) -> None:
    other = changed(members["condolence"], backbone_digest="other-1")
    found = sources([other, members["conv_emoint"], members["conv_empathy"]], "hope")
    assert set(found.members) == {"conv_emoint", "conv_empathy"}
    (problem,) = found.problems
    assert problem.startswith("all sources must be on one backbone")
    assert "condolence have adapters on another" in problem


def test_a_kind_that_is_not_read_in_one_pass_counts_by_history_alone(members: dict[str, Member]) -> None:
    settings = {**members["condolence"].measure.settings, "adapter": {"kind": "prefix_tuning"}}
    other = changed(members["condolence"], settings=settings)
    found = sources([other, members["conv_emoint"]], "hope")
    assert (set(found.members), set(found.read)) == ({"condolence", "conv_emoint"}, {"conv_emoint"})
    assert "condolence are of another; these sources are ranked without LogME" in found.problems[0]


def test_without_sources_nothing_is_known(members: dict[str, Member]) -> None:
    found = sources([members["condolence"]], "condolence")
    assert (found.members, found.digest) == ({}, None)


def test_a_new_targets_baseline_has_what_most_sources_have(trained: Project, members: dict[str, Member]) -> None:
    odd = with_training(members["condolence"], lr=0.5)
    found = sources([odd, members["conv_emoint"], members["conv_empathy"]], "hope")
    registry = asked(trained, "hope").registry
    cell = found.baseline("hope", registry.dataset_of("hope"), "0" * 64)
    assert (cell.training.lr, cell.training.max_length, cell.seed, cell.data.raw) == (0.02, 16, 1, "0" * 64)
    assert cell.backbone_digest == found.digest


def test_all_of_a_training_part_is_read_whatever_its_baseline_was_trained_on(
    trained: Project, members: dict[str, Member]
) -> None:
    found = sources(list(members.values()), "hope")
    cell = found.baseline("hope", asked(trained, "hope").registry.dataset_of("hope"), None)
    cut = replace(cell, data=replace(cell.data, fraction=0.5))
    assert isinstance(cut, Baseline)
    assert whole(cut) == replace(cell, training=replace(cell.training, max_train_examples=None))
    assert ids.plain(whole(cut))["data"]["fraction"] == 1.0
