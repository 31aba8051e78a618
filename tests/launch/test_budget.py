"""What a budget pays for: it is kept, parents come first, and verdicts become possible as early as they can."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empslurm.analysis.chances import Standing
from empslurm.analysis.verdicts import TargetScores, compare, decide
from empslurm.cells import Cell
from empslurm.launch import budget
from empslurm.launch.budget import Chosen, Unit
from empslurm.launch.cost import CellCost, summed
from empslurm.manifest.load import load_manifest
from empslurm.plan import Decision, Inputs, Known, Plan, expand

TASKS = ("epitome_er", "epitome_ex", "news_distress", "news_empathy")
MANIFEST = f"name: four\ntasks: [{', '.join(TASKS)}]\nseeds: [1, 2, 3]\nbackbone: tiny\nfisher: {{}}\n"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Four tasks, all pairs, three seeds, with task embeddings; without data."""
    return planned(tmp_path_factory.mktemp("plan"), MANIFEST)


def planned(folder: Path, text: str) -> Plan:
    (folder / "four.yaml").write_text(text)
    manifest = load_manifest(folder / "four.yaml")
    known = dict.fromkeys(manifest.backbones, Known(digest="weights"))
    return expand(manifest, Inputs(raw=dict.fromkeys(manifest.data, "raw"), missing={}, notes={}, backbones=known))


def decisions(plan: Plan, done: Collection[str] = ()) -> list[Decision]:
    return [Decision(cell=cell, action="reuse" if cell.id in done else "run", why="") for cell in plan.cells]


def costs(plan: Plan, cell_s: float = 100.0, pack_s: float = 0.0, **of_targets: float) -> dict[str, CellCost]:
    return {
        cell.id: CellCost(cell_s=of_targets.get(cell.target, cell_s), pack_s=pack_s, low=0.8, high=1.3, seen=True)
        for cell in plan.cells
    }


def chosen(plan: Plan, limit_s: float, done: Collection[str] = (), **options: float) -> Chosen:
    return budget.choose(plan, decisions(plan, done), costs(plan, **options), limit_s)


def trained(plan: Plan) -> list[Cell]:
    return [cell for cell in plan.cells if cell.kind in ("baseline", "transfer")]


def named(cells: Collection[Cell]) -> list[tuple[str | None, str, int]]:
    return [(cell.source_task, cell.target, cell.seed) for cell in cells]


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The same with five seeds."""
    return planned(tmp_path_factory.mktemp("longer"), MANIFEST.replace("[1, 2, 3]", "[1, 2, 3, 4, 5]"))


@cache
def hypothesis_plan() -> Plan:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return planned(Path(folder), MANIFEST)


@settings(deadline=None, max_examples=40)
@given(
    share=st.floats(0.0, 1.2),
    seed=st.integers(0, 1000),
    pack_s=st.floats(0, 300),
    pack_size=st.one_of(st.none(), st.integers(1, 3)),
)
def test_a_budget_is_kept_and_not_left_unspent(share: float, seed: int, pack_s: float, pack_size: int | None) -> None:
    plan = hypothesis_plan()
    rng = np.random.default_rng(seed)
    hours = {task: float(value) for task, value in zip(TASKS, rng.uniform(50, 500, len(TASKS)), strict=True)}
    done = {cell.id for cell in trained(plan) if cell.starts_from is None and rng.random() < 0.4}
    priced = costs(plan, pack_s=pack_s, **hours)
    open_cells = [cell for cell in trained(plan) if cell.id not in done]
    limit_s = share * summed(open_cells, priced, 1, pack_size).job_h * 3600
    found = budget.choose(plan, decisions(plan, done), priced, limit_s, pack_size=pack_size)
    assert found.estimate.job_h * 3600 <= limit_s + 1e-6
    assert found.n_left == len(open_cells) - len(found.cells)
    if found.n_left:  # the cheapest cell that could follow does not fit
        taken = {cell.id for cell in found.cells} | done
        dearest = max(hours.values()) + pack_s
        assert limit_s - found.estimate.job_h * 3600 < dearest
        assert len({cell.id for cell in found.cells}) == len(found.cells)
        assert all(cell.starts_from is None or cell.starts_from in taken for cell in found.cells)
    there = set(done)
    for cell in found.cells:  # whatever starts from a cell follows it
        assert cell.starts_from is None or cell.starts_from in there
        there.add(cell.id)


def test_first_come_baselines_and_two_whole_seeds_of_one_target(plan: Plan) -> None:
    # Two seeds of four baselines and of three transfers to one target: 14 cells.
    found = chosen(plan, 1400.0)
    assert found.n_verdicts == 3
    moved = [cell for cell in found.cells if cell.kind == "transfer"]
    assert Counter(cell.kind for cell in found.cells) == {"baseline": 8, "transfer": 6}
    assert len({cell.target for cell in moved}) == 1
    assert {cell.seed for cell in found.cells} == {1, 2}
    assert (found.n_left, found.n_unpriced) == (len(trained(plan)) - 14, 12)


def test_more_verdicts_than_the_plans_order_at_the_same_cost(plan: Plan) -> None:
    natural = trained(plan)[:20]
    runs = Counter((cell.source_task, cell.target) for cell in natural if cell.kind == "transfer")
    assert sum(n >= 2 for n in runs.values()) == 0
    assert chosen(plan, 2000.0).n_verdicts >= 3


def test_cheap_targets_come_first(plan: Plan) -> None:
    found = chosen(plan, 2000.0, news_distress=20.0)
    moved = [cell for cell in found.cells if cell.kind == "transfer"]
    assert {cell.target for cell in moved[:6]} == {"news_distress"}


def test_the_whole_plan_is_sent_where_it_fits_without_embeddings(plan: Plan) -> None:
    found = chosen(plan, 1e9)
    assert {cell.id for cell in found.cells} == {cell.id for cell in trained(plan)}
    assert (found.n_left, found.n_verdicts) == (0, 12)


def test_nothing_fits_a_tiny_budget(plan: Plan) -> None:
    found = chosen(plan, 10.0)
    assert (found.cells, found.estimate.job_h, found.n_verdicts) == ((), 0.0, 0)


def test_cells_that_run_count_as_there(plan: Plan) -> None:
    first = [cell for cell in trained(plan) if cell.starts_from is None and cell.seed < 3]
    coming = {cell.id for cell in first}
    items = [replace(item, action="skip", coming=True) if item.cell.id in coming else item for item in decisions(plan)]
    found = budget.choose(plan, items, costs(plan), 600.0)
    assert (Counter(cell.kind for cell in found.cells), found.n_verdicts) == ({"transfer": 6}, 3)


def test_nothing_starts_from_a_cell_that_will_not_be_there(plan: Plan) -> None:
    failed = next(cell for cell in plan.cells if (cell.target, cell.seed, cell.kind) == ("epitome_er", 1, "baseline"))
    items = [
        replace(item, action="skip") if failed.id in (item.cell.id, item.cell.starts_from) else item
        for item in decisions(plan)
    ]
    found = budget.choose(plan, items, costs(plan), 1e9)
    assert failed.id not in {cell.starts_from for cell in found.cells}
    assert found.n_left == 0


# ---- with results ----------------------------------------------------------------------------------------------------


def standing(
    plan: Plan, target: str, differences: Mapping[str, float], n_transfer: int = 2, n_baseline: int = 3
) -> dict[Unit, Standing]:
    """Results of a target, in units of the noise of a run."""
    rng = np.random.default_rng(1)
    means = np.array([0.0, *differences.values()])[:, None]
    scores = means + rng.permuted(np.tile(np.linspace(-1.0, 1.0, n_baseline), (len(means), 1)), axis=1)
    scores[1:, n_transfer:] = np.nan
    comparison = compare(TargetScores(target=target, sources=tuple(differences), scores=scores))
    verdicts = decide([comparison])
    decided = frozenset(verdict.source for verdict in verdicts if verdict.verdict in ("helps", "harms"))
    (backbone,) = plan.labels
    return {Unit(backbone, target, 1.0): Standing(comparison=comparison, decided=decided)}


def four_seeds(plan: Plan, *targets: str) -> list[Decision]:
    """Decisions of these targets where all baselines, and four of five seeds of transfers, have finished."""
    done = {cell.id for cell in trained(plan) if cell.seed < 5 or cell.kind == "baseline"}
    return [item for item in decisions(plan, done) if item.action == "reuse" or item.cell.target in targets]


def test_the_pair_that_one_seed_may_decide_comes_before_those_that_are_clear(longer: Plan) -> None:
    known = standing(longer, "epitome_er", {"epitome_ex": 9.0, "news_distress": 0.0, "news_empathy": 1.4}, 4, 5)
    assert known[next(iter(known))].decided == {"epitome_ex"}
    found = budget.choose(longer, four_seeds(longer, "epitome_er"), costs(longer), 300.0, known=known)
    assert named(found.cells) == [
        ("news_empathy", "epitome_er", 5),
        ("news_distress", "epitome_er", 5),
        ("epitome_ex", "epitome_er", 5),
    ]


def test_a_target_with_open_pairs_comes_before_one_whose_pairs_are_decided(longer: Plan) -> None:
    both = ("epitome_ex", "news_empathy")
    sources = {target: [source for source in TASKS if source != target] for target in both}
    known = standing(longer, "epitome_ex", dict.fromkeys(sources["epitome_ex"], 9.0), 4, 5)
    known |= standing(longer, "news_empathy", dict.fromkeys(sources["news_empathy"], 1.0), 4, 5)
    found = budget.choose(longer, four_seeds(longer, *both), costs(longer), 300.0, known=known)
    assert {cell.target for cell in found.cells} == {"news_empathy"}


def test_a_further_seed_of_the_baseline_alone_is_a_step(tmp_path: Path) -> None:
    plan = planned(tmp_path, MANIFEST + "baseline_seeds: [1, 2, 3, 4]\n")
    done = {cell.id for cell in trained(plan) if cell.seed < 4}
    known = standing(plan, "epitome_er", {"epitome_ex": 2.0, "news_distress": 2.0, "news_empathy": 2.0}, 3)
    open_cells = [item for item in decisions(plan, done) if item.action == "reuse" or item.cell.target == "epitome_er"]
    found = budget.choose(plan, open_cells, costs(plan), 100.0, known=known)
    assert named(found.cells) == [(None, "epitome_er", 4)]


# ---- packs and pilots ------------------------------------------------------------------------------------------------


def test_whole_packs_are_preferred_where_a_pass_over_the_data_is_shared(plan: Plan) -> None:
    done = {cell.id for cell in trained(plan) if cell.kind == "baseline"}
    found = chosen(plan, 2 * (1000.0 + 3 * 10.0), done, cell_s=10.0, pack_s=1000.0)
    assert Counter((cell.target, cell.seed) for cell in found.cells).most_common() == [
        ((found.cells[0].target, seed), 3) for seed in (1, 2)
    ]


def test_a_pilot_is_a_pair_of_each_backbone(tmp_path: Path) -> None:
    plan = planned(tmp_path, MANIFEST.replace("backbone: tiny", "backbone: [tiny, ./other]"))
    cells = budget.pilot(plan, decisions(plan), plan.labels)
    assert [(cell.kind, cell.backbone) for cell in cells] == [
        (kind, backbone) for backbone in plan.labels for kind in ("baseline", "transfer")
    ]
    assert all(moved.starts_from == alone.id for alone, moved in zip(cells[::2], cells[1::2], strict=True))
    (one,) = budget.pilot(plan, decisions(plan, {cells[0].id}), [cells[0].backbone])[1:]
    assert one == cells[1]
