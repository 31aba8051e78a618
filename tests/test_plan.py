"""A plan holds every cell once, parents first, and decides from states alone."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from empslurm.cells import SCORED
from empslurm.cli import main
from empslurm.config import Adapter, Backbone
from empslurm.errors import UsageError
from empslurm.manifest.load import Manifest, load_manifest
from empslurm.plan import Inputs, Known, Plan, decide, expand, left_out, packs, refuse_kinds, refuse_lengths
from empslurm.store.cell_folder import CellState

ROOT = Path(__file__).parents[1]
MINILM, OTHER = Backbone(name="minilm"), Backbone(name="./models/other")
KNOWN = Known(digest="weights")
PENDING, DONE = CellState(state="pending"), CellState(state="done")
FAILED = CellState(state="failed", why="data: a sentence")
RUNNING = CellState(state="running", why="job 7")


def plan_of(manifest: Manifest, known: Known = KNOWN, **changes: Any) -> Plan:
    """A plan with invented digests. `known`: what is known of its backbones."""
    inputs = Inputs(
        raw=dict.fromkeys(manifest.data, "raw"),
        missing={},
        notes={},
        backbones=dict.fromkeys(manifest.backbones, known),
        encoder=Known(digest="encoder"),
    )
    return expand(manifest, replace(inputs, **changes))


@pytest.fixture
def grid() -> Plan:
    return plan_of(load_manifest(ROOT / "tests/golden/small_grid.yaml"))


def test_the_papers_grid_has_324_training_cells() -> None:
    plan = plan_of(load_manifest(ROOT / "manifests/full_grid.yaml"))
    assert Counter(cell.kind for cell in plan.cells) == {"baseline": 18, "transfer": 306, "fisher": 18, "embed": 18}
    sizes = Counter((pack.cells[0].kind, pack.wave, len(pack.cells)) for pack in packs(plan.cells))
    assert sizes == {("baseline", 0, 1): 18, ("transfer", 1, 17): 18, ("fisher", 1, 18): 1, ("embed", 0, 18): 1}


def test_the_study_shares_the_grids_cells_and_trains_sources_on_all_data() -> None:
    grid = plan_of(load_manifest(ROOT / "manifests/full_grid.yaml"))
    study = plan_of(load_manifest(ROOT / "manifests/full_study.yaml"))
    assert set(grid.by_id) < set(study.by_id)
    assert Counter(cell.kind for cell in study.cells) == {"baseline": 108, "transfer": 1836, "fisher": 54, "embed": 18}
    assert {study.by_id[cell.starts_from].data.fraction for cell in study.cells if cell.starts_from} == {1.0}


def test_manual_labels_make_sources_that_are_no_baselines() -> None:
    manifest = load_manifest(ROOT / "manifests/full_grid.yaml")
    plan = plan_of(replace(manifest, source=replace(manifest.source, labels="manual")))
    manual = [cell.target for cell in plan.cells if cell.data.labels == "manual"]
    assert manual == ["empdial_qact", "empdial_qint"]
    assert Counter(cell.kind for cell in plan.cells)["baseline"] == 20


def test_parents_stand_before_children_and_move_them(grid: Plan) -> None:
    seen: set[str] = set()
    for cell in grid.cells:
        assert cell.starts_from is None or cell.starts_from in seen
        seen.add(cell.id)
    manifest = grid.manifest
    longer = {**manifest.training, "epitome_er": replace(manifest.training["epitome_er"], epochs=9)}
    moved = plan_of(replace(manifest, training=longer))
    kept = {cell.id for cell in grid.cells if cell.kind != "embed"} & {cell.id for cell in moved.cells}
    assert {cell.target for cell in grid.cells if cell.id in kept} == {"empdial_ei", "conv_emopol", "news_empathy"}
    assert all(cell.source_task != "epitome_er" for cell in grid.cells if cell.id in kept)


def test_packs_hold_one_target_and_seed_and_every_cell_once(grid: Plan) -> None:
    for size in (None, 2):
        grouped = packs(grid.cells, size)
        assert sorted(cell.id for pack in grouped for cell in pack.cells) == sorted(grid.by_id)
        assert all(len({(cell.seed, cell.kind) for cell in pack.cells}) == 1 for pack in grouped)
        assert all(len({cell.target for cell in pack.cells}) == 1 for pack in grouped if pack.cells[0].kind in SCORED)
        assert [pack.wave for pack in grouped] == sorted(pack.wave for pack in grouped)
    assert len(packs(grid.cells)) == 8 + 8 + 2 + 1
    assert len({pack.id for pack in packs(grid.cells, 2)}) == len(packs(grid.cells, 2)) == 8 + 16 + 4 + 2


def actions(plan: Plan, states: dict[str, CellState], *, rerun_failed: bool = False) -> dict[str, str]:
    given = {**dict.fromkeys(plan.by_id, PENDING), **states}
    return {made.cell.id: made.action for made in decide(plan, given, rerun_failed=rerun_failed)}


def test_what_is_done_is_reused_and_what_is_missing_runs(grid: Plan) -> None:
    first, last = grid.cells[0].id, grid.cells[-1].id
    decided = actions(grid, {first: DONE, last: CellState(state="lost", why="job 7 ended without a result")})
    assert decided.pop(first) == "reuse"
    assert set(decided.values()) == {"run"}


def test_a_failed_source_holds_its_children_until_resume(grid: Plan) -> None:
    source = grid.cells[0]
    children = {cell.id for cell in grid.cells if cell.starts_from == source.id}
    decided = actions(grid, {source.id: FAILED})
    assert {cell for cell, action in decided.items() if action == "skip"} == {source.id, *children}
    assert set(actions(grid, {source.id: FAILED}, rerun_failed=True).values()) == {"run"}


def test_a_running_source_does_not_hold_its_children(grid: Plan) -> None:
    decided = actions(grid, {grid.cells[0].id: RUNNING})
    assert Counter(decided.values()) == {"run": len(grid.cells) - 1, "skip": 1}


def test_cells_without_data_are_skipped_with_the_way_to_get_it(grid: Plan) -> None:
    plan = plan_of(
        grid.manifest, missing={"news": "news must be below data; ask"}, raw={**grid.inputs.raw, "news": None}
    )
    decided = decide(plan, dict.fromkeys(plan.by_id, PENDING))
    skipped = [made for made in decided if made.action == "skip"]
    assert {made.cell.target for made in skipped if made.cell.source_task != "news_empathy"} == {"news_empathy"}
    assert all("news must be below data; ask" in made.why for made in skipped)
    n_own = sum(made.cell.target == "news_empathy" for made in skipped)
    assert left_out(plan, decided) == {
        "their sources will have no result": len(skipped) - n_own,
        "news must be below data; ask": n_own,
    }
    failed = decide(plan, {**dict.fromkeys(plan.by_id, PENDING), skipped[0].cell.id: FAILED})
    assert sum(left_out(plan, failed).values()) == len(skipped) - 1
    provisional = {cell.id for cell in plan.cells if plan.is_provisional(cell)}
    assert provisional == {made.cell.id for made in skipped}


def test_texts_longer_than_the_backbone_reads_are_refused_unless_a_result_is_there(grid: Plan) -> None:
    manifest = grid.manifest
    training = {**manifest.training, "news_empathy": replace(manifest.training["news_empathy"], max_length=513)}
    plan = plan_of(replace(manifest, training=training), Known(digest="weights", max_tokens=512))
    pending = dict.fromkeys(plan.by_id, PENDING)
    with pytest.raises(UsageError, match=r"at most 512, .* but is 513 for news_empathy; write `max_length: 512`"):
        refuse_lengths(plan, decide(plan, pending))
    done = {id: DONE for id, cell in plan.by_id.items() if cell.target == "news_empathy"}
    refuse_lengths(plan, decide(plan, {**pending, **done}))
    refuse_lengths(plan_of(plan.manifest), decide(plan, pending))


@pytest.fixture
def two(grid: Plan) -> Plan:
    """The grid on two backbones, of which the second is not here."""
    return plan_of(
        replace(grid.manifest, backbones=(MINILM, OTHER)),
        backbones={MINILM: KNOWN, OTHER: Known(digest=None, problem="backbone ./models/other must be there; save it")},
    )


def test_the_cells_of_two_backbones_are_those_of_one_and_of_the_other(grid: Plan, two: Plan) -> None:
    other = plan_of(replace(grid.manifest, backbones=(OTHER,)), Known(digest=None))
    assert set(two.by_id) == set(grid.by_id) | set(other.by_id)
    assert [cell.id for cell in two.cells if two.label(cell) in ("minilm", None)] == [cell.id for cell in grid.cells]
    assert [cell.id for cell in two.cells if two.label(cell) == "other"] == [
        cell.id for cell in other.cells if cell.kind != "embed"
    ]
    assert Counter(two.label(cell) for cell in two.cells) == {"minilm": 40, "other": 40, None: 4}


def test_packs_never_mix_backbones_and_all_baselines_come_before_what_starts_from_them(two: Plan) -> None:
    grouped = packs(two.cells)
    assert all(len({two.label(cell) for cell in pack.cells}) == 1 for pack in grouped)
    kinds = [pack.cells[0].kind for pack in grouped]
    assert kinds == sorted(kinds, key=lambda kind: kind in ("transfer", "fisher"))
    assert kinds.count("baseline") == 16
    before: set[str] = set()
    for cell in two.cells:
        assert cell.starts_from is None or cell.starts_from in before
        before.add(cell.id)


def test_a_backbone_that_is_not_here_makes_only_its_own_cells_wait(two: Plan) -> None:
    decided = decide(two, dict.fromkeys(two.by_id, PENDING))
    assert {(two.label(made.cell), made.action) for made in decided} == {
        ("minilm", "run"),
        ("other", "skip"),
        (None, "run"),
    }
    assert all("./models/other" in made.why for made in decided if made.action == "skip")
    assert {two.label(cell) for cell in two.cells if two.is_provisional(cell)} == {"other"}


def test_each_backbone_has_its_own_limits(grid: Plan) -> None:
    training = {task: replace(one, max_length=300) for task, one in grid.manifest.training.items()}
    known = {MINILM: Known(digest="a", max_tokens=512, hidden_size=384), OTHER: Known(digest="b", max_tokens=256)}
    plan = plan_of(replace(grid.manifest, backbones=(MINILM, OTHER), training=training), backbones=known)
    pending = dict.fromkeys(plan.by_id, PENDING)
    with pytest.raises(UsageError, match=r"at most 256, .* the backbone ./models/other reads, but is 300"):
        refuse_lengths(plan, decide(plan, pending))
    done = {cell.id: DONE for cell in plan.cells if plan.label(cell) == "other"}
    refuse_lengths(plan, decide(plan, {**pending, **done}))
    adapter = dict.fromkeys(grid.manifest.tasks, Adapter(kind="compacter"))
    known = {MINILM: Known(digest="a", hidden_size=384), OTHER: Known(digest="b", hidden_size=20)}
    plan = plan_of(replace(grid.manifest, backbones=(MINILM, OTHER), adapter=adapter), backbones=known)
    skipped = [made for made in decide(plan, pending_of(plan)) if made.action == "skip"]
    assert {plan.label(made.cell) for made in skipped} == {"other"}
    assert skipped[0].why.startswith("on other, ")


def pending_of(plan: Plan) -> dict[str, CellState]:
    return dict.fromkeys(plan.by_id, PENDING)


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        (Adapter(kind="lora"), Adapter(kind="lora"), "an adapter of kind lora must"),
        (
            Adapter(reduction_factor=8),
            Adapter(),
            r"a seq_bn adapter on one with other settings \(\w+ -> \w+\) must",
        ),
        (Adapter(), Adapter(), ""),
    ],
    ids=["kind", "stack", "bottlenecks"],
)
def test_what_needs_the_library_is_refused_where_it_is_not_installed(
    grid: Plan, source: Adapter, target: Adapter, said: str
) -> None:
    adapters = {task: source if task == "news_empathy" else target for task in grid.manifest.tasks}
    manifest = replace(grid.manifest, adapter=adapters)
    plan = plan_of(manifest, library=False)
    pending = decide(plan, dict.fromkeys(plan.by_id, PENDING))
    refuse_kinds(plan_of(manifest), pending)
    refuse_kinds(plan, decide(plan, dict.fromkeys(plan.by_id, DONE)))
    if not said:
        refuse_kinds(plan, pending)
        return
    with pytest.raises(UsageError, match=said + ".* have the package `adapters`, but .*, or choose seq_bn in"):
        refuse_kinds(plan, pending)


def test_a_search_over_kinds_needs_the_library_too() -> None:
    plan = plan_of(load_manifest(ROOT / "manifests/search.yaml"), library=False)
    with pytest.raises(UsageError, match="an adapter of kind double_seq_bn must have the package"):
        refuse_kinds(plan, decide(plan, dict.fromkeys(plan.by_id, PENDING)))


def test_a_length_without_room_for_text_is_refused(grid: Plan) -> None:
    training = {task: replace(one, max_length=4) for task, one in grid.manifest.training.items()}
    plan = plan_of(replace(grid.manifest, training=training))
    with pytest.raises(
        UsageError, match=r"at least 5, .* but is 4 for .* \(and 3 more tasks\); write `max_length: 5` or more in"
    ):
        refuse_lengths(plan, decide(plan, dict.fromkeys(plan.by_id, PENDING)))


def test_a_searchs_trials_have_a_length_too() -> None:
    manifest = load_manifest(ROOT / "manifests/search.yaml")
    assert manifest.search is not None
    search = replace(manifest.search.search, training=replace(manifest.search.search.training, max_length=600))
    plan = plan_of(
        replace(manifest, search=replace(manifest.search, search=search)), Known(digest="weights", max_tokens=512)
    )
    with pytest.raises(UsageError, match=r"is 600 for .* more tasks\)"):
        refuse_lengths(plan, decide(plan, dict.fromkeys(plan.by_id, PENDING)))


def test_an_adapter_that_the_backbones_family_cannot_have_is_skipped_with_the_reason(grid: Plan) -> None:
    adapter = {task: Adapter(kind="lora") for task in grid.manifest.tasks}
    manifest = replace(grid.manifest, adapter=adapter, pairs=())
    for family, action in (("mpnet", "skip"), ("bert", "run"), ("", "run")):
        plan = plan_of(manifest, Known(digest="weights", family=family))
        decided = [made for made in decide(plan, dict.fromkeys(plan.by_id, PENDING)) if made.cell.adapters]
        assert {made.action for made in decided} == {action}
    plan = plan_of(manifest, Known(digest="weights", family="mpnet"))
    (why,) = {made.why for made in decide(plan, dict.fromkeys(plan.by_id, PENDING)) if made.action == "skip"}
    assert why.startswith("adapter.kind must be one of seq_bn on a backbone of the family mpnet, but is lora: it needs")
    done = decide(plan, dict.fromkeys(plan.by_id, DONE))  # by an earlier version: its results stay
    assert {made.action for made in done} == {"reuse"}


ALONE = "name: alone\ntasks: [epitome_er]\nbackbone: tiny\n"
QUICK = "training: {epochs: 1, max_length: 16, max_train_examples: 8, max_eval_examples: 8}\n"


def project(tmp_path: Path, text: str) -> tuple[list[str], str]:
    """Roots with the invented sample, and a manifest."""
    roots = ["--data", str(tmp_path / "data"), "--runs", str(tmp_path / "runs")]
    assert main([*roots, "data", "sample"]) == 0
    (tmp_path / "alone.yaml").write_text(text)
    return roots, str(tmp_path / "alone.yaml")


@pytest.mark.heavy
def test_a_grid_without_pairs_is_said_by_plan_and_submit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roots, manifest = project(tmp_path, ALONE + QUICK)
    capsys.readouterr()
    for verb in (["plan", manifest], ["submit", manifest, "--profile", "local"]):
        assert main([*roots, *verb, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)["warnings"]
        assert any("but there is only one task, epitome_er, so only baselines are planned" in text for text in told)
    (tmp_path / "alone.yaml").write_text(ALONE + QUICK + "pairs: none\n")
    assert main([*roots, "plan", manifest]) == 0
    assert "pairs" not in capsys.readouterr().out


def test_a_length_that_the_backbone_cannot_read_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roots, manifest = project(tmp_path, ALONE + "pairs: none\ntraining: {max_length: 513}\n")
    for verb in (["plan", manifest], ["submit", manifest, "--profile", "local"]):
        assert main([*roots, *verb]) == 2
        assert "training.max_length must be at most 512, the most tokens that the backbone tiny reads" in (
            " ".join(capsys.readouterr().err.split())
        )
