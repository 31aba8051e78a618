"""Packs that wait for the same baselines share an array, and no pack waits for more than it must."""

from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from empslurm.cells import SCORED
from empslurm.launch.arrays import Group, chunks, groups
from empslurm.manifest.load import load_manifest
from empslurm.plan import Inputs, Known, Plan, expand, packs

ROOT = Path(__file__).parents[2]


def plan_of(name: str) -> Plan:
    """The baselines and transfers of a manifest, without its data."""
    manifest = load_manifest(ROOT / ("tests/golden" if name == "small_grid" else "manifests") / f"{name}.yaml")
    raw = dict.fromkeys(manifest.data, "raw")
    known = dict.fromkeys(manifest.backbones, Known(digest="weights"))
    plan = expand(manifest, Inputs(raw=raw, missing={}, notes={}, backbones=known))
    return replace(plan, cells=tuple(cell for cell in plan.cells if cell.kind in SCORED))


def test_single_transfers_wait_for_their_own_source_only() -> None:
    plan = plan_of("small_grid")
    grouped = packs(plan.cells, 1)
    made = groups(grouped, set(plan.by_id))
    assert [len(group.indices) for group in made if group.wave == 0] == [8]
    assert all(len(group.parents) == 1 for group in made if group.wave == 1)
    for group in made:
        for index in group.indices:
            assert set(grouped[index].parents) == group.parents


def test_packs_of_all_sources_are_one_array_per_seed_when_that_costs_little() -> None:
    # Each of eighteen targets waits for 17 of 18 baselines: one array. Of four targets each waits for 3 of 4: apart.
    plan = plan_of("full_grid")
    made = groups(packs(plan.cells), set(plan.by_id))
    assert [(group.wave, len(group.indices), len(group.parents)) for group in made] == [(0, 18, 0), (1, 18, 18)]
    small = plan_of("small_grid")
    assert sorted(len(group.indices) for group in groups(packs(small.cells), set(small.by_id))) == [1] * 8 + [8]


def test_what_has_its_sources_waits_for_nothing() -> None:
    plan = plan_of("small_grid")
    transfers = [cell for cell in plan.cells if cell.kind == "transfer"]
    (only,) = groups(packs(transfers), {cell.id for cell in transfers})
    assert only.parents == frozenset()


@settings(deadline=None)
@given(n=st.integers(1, 60), most=st.integers(1, 12), together=st.integers(1, 4))
def test_chunks_hold_every_pack_once_and_are_small_enough(n: int, most: int, together: int) -> None:
    arrays = list(chunks(Group(wave=0, indices=tuple(range(n)), parents=frozenset()), most, together))
    assert [index for array in arrays for element in array for index in element] == list(range(n))
    assert all(1 <= len(array) <= most for array in arrays)
    assert all(1 <= len(element) <= together for array in arrays for element in array)
