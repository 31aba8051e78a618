"""Gathering: only verified results enter, missing ones are named, and a second gather reads nothing again."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import empslurm
from empslurm.cells import SCORED
from empslurm.config import DataUse
from empslurm.gather import cache, gather, missing_columns
from empslurm.gather import verify as verify_module
from empslurm.gather.collect import NOT_PINNED
from empslurm.gather.results import folder_name
from empslurm.manifest.load import load_manifest
from empslurm.plan import Inputs, Known, Plan, expand
from empslurm.report.scores import score_tables
from empslurm.report.tables import table_of_scores, unrecorded
from empslurm.store.claims import local_liveness
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from empslurm.tasks.overlap import Overlap, Verdicts
from empslurm.tasks.raw import forms_digest
from tests.gather import grids
from tests.gather.grids import baseline, finish, grid, transfer

TASKS = ("epitome_er", "news_empathy", "conv_emopol")


@pytest.fixture
def root(tmp_path):
    root = RunsRoot(tmp_path)
    for cell in grid(TASKS, seeds=(1, 2)):
        finish(root, cell)
    return root


def test_every_score_of_every_cell_is_in_the_long_table(root):
    gathered = gather(root, None, registry())
    assert (gathered.n_done, gathered.missing, len(gathered.groups)) == (18, (), 1)
    long = gathered.long()
    # three baselines and six transfers of two seeds; a third are classification (4 metrics), the rest have 3
    assert len(long) == 2 * 2 * (3 * 4 + 6 * 3)
    cell = grid(TASKS, seeds=(1,))[0]
    stored = root.cell(cell.id).result()["test"]
    own = long[(long["id"] == cell.id) & (long["part"] == "test")].set_index("metric")["value"]
    assert dict(own) == pytest.approx(stored)
    assert set(long.loc[long["main"], "metric"]) == {"f1_macro", "pearson"}
    assert set(long["n_examples"]) == {20, 30}
    assert set(long["n_groups"]) == {7, 10}


def two_backbones(tmp_path: Path, tasks: Sequence[str] = TASKS[:2]) -> Plan:
    """The plan of a grid on `tiny` and on a folder of one's own, with both kinds of embeddings."""
    path = tmp_path / "manifests" / "two.yaml"
    path.parent.mkdir()
    settings = "training: {lr: 1.0e-3}\nfisher: {}\nembed: {encoder: tiny}\n"
    path.write_text(f"name: two\ntasks: [{', '.join(tasks)}]\nbackbone: [tiny, ./v1.5]\n{settings}")
    manifest = load_manifest(path)
    known = {backbone: Known(digest=f"digest of {backbone.name}") for backbone in manifest.backbones}
    raw = dict.fromkeys(manifest.data, "0" * 64)
    return expand(manifest, Inputs(raw=raw, missing={}, notes={}, backbones=known, encoder=Known(digest="e")))


def test_each_backbone_of_a_manifest_is_a_setting_of_its_own(tmp_path):
    plan, root = two_backbones(tmp_path), RunsRoot(tmp_path / "runs")
    for cell in plan.cells:
        if cell.kind in SCORED:
            finish(root, cell)
    gathered = gather(root, plan, registry())
    first, second = gathered.groups
    assert (first.name, first.setting["setting"]) == ("tiny", "tiny")
    assert (second.name, second.setting["setting"]) == (folder_name("v1.5"), "v1.5")
    assert [len(group.runs) for group in gathered.groups] == [4, 4]
    assert {**first.setting, "setting": "", "backbone": ""} == {**second.setting, "setting": "", "backbone": ""}
    assert {cell.kind: cell.backbone for cell in first.missing} == {"fisher": "tiny", "embed": ""}
    assert missing_columns(gathered.missing)[-1] == "backbone"
    whole = gather(root, None, registry())
    assert [(group.name, group.setting["setting"]) for group in whole.groups] == sorted(
        (group.name, group.setting["setting"]) for group in gathered.groups
    )


def test_a_backbone_without_results_has_no_group_and_is_named_among_the_missing(tmp_path):
    plan, root = two_backbones(tmp_path), RunsRoot(tmp_path / "runs")
    baselines = [cell for cell in plan.cells if cell.kind == "baseline"]
    finish(root, baselines[0])
    finish(root, baselines[-1])
    refused = root.cell(baselines[-1].id)
    refused.result_file.write_text(refused.result_file.read_text().replace('"n_steps": 10', '"n_steps": 11'))
    gathered = gather(root, plan, registry())
    (group,) = gathered.groups
    assert (group.name, group.setting["setting"], len(group.runs)) == ("tiny", "tiny", 1)
    states = {(cell.backbone, cell.state) for cell in gathered.missing}
    assert states == {("tiny", "pending"), ("v1.5", "pending"), ("v1.5", "refused"), ("", "pending")}
    assert {cell.backbone for cell in group.missing} == {"tiny", ""}


def test_groups_that_differ_in_more_than_the_backbone_are_no_settings(tmp_path):
    one, same = grid(TASKS[:2]), grid(TASKS[:2], backbone="./other")
    other_training = grid(TASKS[:2], backbone="./other", lr=1e-5)
    other_tasks = [baseline(TASKS[2], backbone="./other")]
    for name, cells, alike in (
        ("same", same, True),
        ("part", same[:1], True),
        ("training", other_training, False),
        ("tasks", other_tasks, False),
        ("several", [*same, *other_training], False),
    ):
        root = RunsRoot(tmp_path / name)
        for cell in (*one, *cells):
            finish(root, cell)
        found = gather(root, None, registry()).groups
        assert ["setting" in group.setting for group in found] == [alike] * len(found)
        assert {group.name for group in found} == {"tiny", "other"} or not alike


def test_a_second_gather_reads_no_result_again(root, monkeypatch):
    first = gather(root, None, registry())
    monkeypatch.setattr(cache, "verify", lambda folder: pytest.fail(f"{folder.id} was read again"))
    second = gather(root, None, registry())
    assert second.long().equals(first.long())


def test_only_new_results_are_read(root, monkeypatch):
    gather(root, None, registry())
    new = baseline("epitome_ex")
    finish(root, new)
    seen = []

    def noted(folder):
        seen.append(folder.id)
        return verify_module.verify(folder)

    monkeypatch.setattr(cache, "verify", noted)
    assert gather(root, None, registry()).n_done == 19
    assert seen == [new.id]
    assert gather(root, None, registry()).n_done == 19
    assert seen == [new.id]


def test_a_lost_or_broken_memory_costs_time_only(root):
    expected = gather(root, None, registry()).long()
    (root.gathered / cache.NAME).write_bytes(b"not parquet")
    assert gather(root, None, registry()).long().equals(expected)
    shutil.rmtree(root.gathered)
    assert gather(root, None, registry()).long().equals(expected)


def _reseal(path, **changes):
    """A forger who knows how seals are made."""
    from empslurm import ids

    value = {key: item for key, item in json.loads(path.read_text()).items() if key != "seal"} | changes
    path.write_text(json.dumps({**value, "seal": ids.digest(value)}))


@pytest.mark.parametrize("first", [True, False], ids=["before the first gather", "after a gather"])
def test_a_score_that_its_predictions_do_not_give_is_refused_by_name(root, first):
    if not first:
        gather(root, None, registry())
    cell = grid(TASKS)[0]
    path = root.cell(cell.id).path / "result.json"
    stored = json.loads(path.read_text())["test"]
    _reseal(path, test={**stored, "f1_macro": 0.99})
    gathered = gather(root, None, registry())
    (refused,) = gathered.missing
    assert (refused.id, refused.state) == (cell.id, "refused")
    assert "result.json" in refused.why
    assert "predictions.parquet" in refused.why
    assert "f1_macro" in refused.why
    assert cell.id not in set(gathered.long()["id"])


def test_a_metric_that_a_result_does_not_know_is_computed_but_its_own_must_be_there(root):
    one, two = [cell for cell in grid(TASKS) if cell.target == "epitome_er"][:2]
    for cell, lost in ((one, "accuracy"), (two, "f1_macro")):
        path = root.cell(cell.id).path / "result.json"
        value = json.loads(path.read_text())
        kept = {part: {name: n for name, n in value[part].items() if name != lost} for part in ("validation", "test")}
        _reseal(path, **kept)
    gathered = gather(root, None, registry())
    assert [missing.id for missing in gathered.missing] == [two.id]
    assert "f1_macro" in gathered.missing[0].why
    long = gathered.long().set_index(["id", "part", "metric"])["value"]
    assert long[one.id, "test", "accuracy"] == long[one.id, "test", "f1_micro"]


@pytest.mark.parametrize("name", ["predictions.parquet", "adapter/adapter.safetensors", "provenance.json"])
def test_an_altered_file_is_refused_by_name(root, name):
    gather(root, None, registry())
    cell = grid(TASKS)[1]
    path = root.cell(cell.id).path / "output-0001" / name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    (refused,) = gather(root, None, registry()).missing
    assert refused.state == "refused"
    assert str(path) in refused.why


@pytest.mark.parametrize("said", [[], ["constant"], ["diverged"], ["something", "of a later version"]])
def test_flags_come_from_the_predictions_whatever_an_older_result_says(root, said):
    """One class for every test text, and a single other one in validation: the two parts together hid it."""
    cell = baseline("epitome_ip")
    path = finish(root, cell, constant="test") / "result.json"
    _reseal(path, flags=said)
    gathered = gather(root, None, registry())
    assert not gathered.missing
    long = gathered.long()
    kept = "diverged," if "diverged" in said else ""
    assert set(long[long["id"] == cell.id]["flags"]) == {f"{kept}constant"}


def test_a_metric_of_another_kind_of_task_is_refused_in_a_sentence(root):
    path = finish(root, baseline("news_distress", 9)) / "result.json"
    _reseal(path, metric="f1_macro")
    (refused,) = gather(root, None, registry()).missing
    assert "must be a result of this version, but is not" in refused.why


def test_a_result_under_another_cells_name_is_refused(root):
    one, two = baseline("epitome_er", 1), baseline("epitome_er", 2)
    result = json.loads((root.cell(two.id).path / "result.json").read_text())
    _reseal(root.cell(one.id).path / "result.json", **{**result, "id": one.id})
    (refused,) = gather(root, None, registry()).missing
    assert refused.id == one.id


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"id": 3}', b"\xff\xfe", b"[" * 100_000])
def test_a_hostile_result_is_refused_in_a_sentence(root, content):
    cell = grid(TASKS)[0]
    (root.cell(cell.id).path / "result.json").write_bytes(content)
    (refused,) = gather(root, None, registry()).missing
    assert refused.id == cell.id
    assert "result.json" in refused.why


def test_an_output_that_points_outside_is_refused(root, tmp_path):
    cell = grid(TASKS)[0]
    path = root.cell(cell.id).path / "result.json"
    (tmp_path / "secret").write_text("x")
    _reseal(path, output="../../..", files={"secret": "0" * 64})
    (refused,) = gather(root, None, registry()).missing
    assert "must name its output and the checksums of its files" in refused.why


def test_undefined_scores_stay_undefined_and_flagged(root):
    cell = baseline("news_distress")
    finish(root, cell, constant=True)
    long = gather(root, None, registry()).long()
    own = long[(long["id"] == cell.id) & (long["metric"] == "pearson") & (long["part"] == "test")]
    assert np.isnan(own["value"].iloc[0])
    assert own["flags"].iloc[0] == "constant,validation_constant"


def test_unfinished_and_failed_cells_are_missing_with_their_reason(root):
    begun, failed = baseline("hope"), baseline("mi_adherent")
    for cell in (begun, failed):
        folder = root.cell(cell.id)
        folder.create(cell)
        claim = folder.take(local_liveness)
        if cell is failed:
            folder.fail(claim, kind="data", message="no rows")
            folder.release(claim)
    found = {cell.target: cell for cell in gather(root, None, registry()).missing}
    assert found["hope"].state == "running"
    assert (found["mi_adherent"].state, found["mi_adherent"].why) == ("failed", "data: no rows")


@pytest.mark.heavy
def test_many_results_go_through_several_processes(tmp_path, monkeypatch):
    root = RunsRoot(tmp_path)
    cells = grid(TASKS)
    for cell in cells:
        finish(root, cell)
    monkeypatch.setattr(cache, "WORTH_A_POOL", 1)
    monkeypatch.setattr(cache, "CHUNK", 4)
    done: list[int] = []
    assert gather(root, None, registry(), advance=done.append).n_done == len(cells)
    assert sum(done) == len(cells)


def test_settings_that_differ_never_share_a_table(tmp_path):
    root = RunsRoot(tmp_path)
    for cell in (*grid(TASKS, seeds=(1,)), *grid(TASKS, seeds=(1,), lr=1e-3), *grid(TASKS, backbone="minilm")):
        finish(root, cell)
    gathered = gather(root, None, registry())
    assert [len(group.runs) for group in gathered.groups] == [9, 9, 9]
    assert len({group.name for group in gathered.groups}) == 3
    for group in gathered.groups:
        assert group.runs.duplicated(["kind", "source", "target", "seed", "fraction"]).sum() == 0


def test_hyper_parameters_by_task_are_one_setting(tmp_path):
    root = RunsRoot(tmp_path)
    one, two = baseline("epitome_er", lr=1e-3), baseline("news_empathy", lr=2e-3)
    for cell in (one, two, transfer(one, two), transfer(two, one)):
        finish(root, cell)
    (group,) = gather(root, None, registry()).groups
    assert group.setting["training_by_task"] == ["lr"]


def test_ways_to_use_a_source_share_their_baselines(tmp_path):
    from empslurm.config import SourceUse

    root = RunsRoot(tmp_path)
    one, two = baseline("epitome_er"), baseline("news_empathy")
    tuned = transfer(one, two, source_use=SourceUse(mode="tuned"))
    for cell in (one, two, transfer(one, two), tuned):
        finish(root, cell)
    gathered = gather(root, None, registry())
    assert [len(group.runs) for group in gathered.groups] == [3, 3]
    assert {group.setting["source_use"]["mode"] for group in gathered.groups} == {"frozen", "tuned"}


def test_a_source_trained_in_two_ways_gives_two_tables(tmp_path):
    root = RunsRoot(tmp_path)
    target = baseline("news_empathy")
    slow, fast = baseline("epitome_er"), baseline("epitome_er", lr=1e-3)
    for cell in (target, slow, fast, transfer(slow, target), transfer(fast, target)):
        finish(root, cell)
    for group in gather(root, None, registry()).groups:
        assert group.runs.duplicated(["kind", "source", "target", "seed", "fraction"]).sum() == 0


def test_data_that_are_no_release_are_named(root):
    (group,) = gather(root, None, registry()).groups
    assert set(group.notes) == set(TASKS)
    (group,) = gather(root, None, registry(), sample_digests=frozenset({"0" * 64})).groups
    assert set(group.notes.values()) == {"sample"}


def test_data_that_are_a_release_need_no_note(tmp_path):
    form = registry().datasets["news"].forms[0]
    digest = forms_digest(form, {file.name: str(file.sha256) for file in form.files})
    cell = baseline("news_empathy")
    finish(RunsRoot(tmp_path), replace(cell, data=replace(cell.data, raw=digest)))
    gathered = gather(RunsRoot(tmp_path), None, registry())
    assert gathered.groups[0].notes == {}
    assert set(gathered.long()["data"]) == {"pinned"}


def test_data_of_a_card_are_no_caution(tmp_path, monkeypatch):
    """They have no recorded release that they could differ from."""
    card = Path(empslurm.__file__).parent / "starter" / "cards" / "kite_mood.yaml"
    known = registry((card,))
    monkeypatch.setitem(grids.TASKS, "kite_mood", known.tasks["kite_mood"])
    own, built_in = baseline("epitome_er"), baseline("news_empathy")
    own = replace(own, target="kite_mood", data=replace(own.data, dataset="kite_mood"))
    root = RunsRoot(tmp_path / "runs")
    for cell in (own, built_in):
        finish(root, cell)
    gathered = gather(root, None, known)
    assert dict(gathered.long().groupby("target")["data"].first()) == {"kite_mood": "card", "news_empathy": NOT_PINNED}
    tables = score_tables(gathered, gathered.groups[0])
    assert unrecorded(tables, known).startswith("Data that empslurm has no record of: news (")
    unknown = gather(root, None, registry())  # without the card
    assert set(unknown.groups[0].notes.values()) == {NOT_PINNED}


def test_an_empty_runs_root_is_no_error(tmp_path):
    gathered = gather(RunsRoot(tmp_path / "none"), None, registry())
    assert (gathered.groups, gathered.missing, gathered.n_done) == ((), (), 0)
    assert len(gathered.long()) == 0


LEAKING = ("news_empathy", "epitome_er")
OVERLAP = Overlap(
    splits="family",
    source="epitome_er",
    target="news_empathy",
    n_train=800,
    n_test=100,
    shared_groups=3,
    in_shared_groups=9,
    exact=0,
    exact_context=0,
    exact_same_group=0,
    near=0,
    near_context=0,
    near_same_group=0,
)


def test_tables_mark_what_leaks_by_its_split_rule(tmp_path):
    """The paper's splits put test essays into training: every number of such a target says so, and no other's."""
    root = RunsRoot(tmp_path)
    data = {task: replace(baseline(task).data, split="paper-1-0", use=DataUse(splits="paper")) for task in LEAKING}
    news, posts = (replace(baseline(task), data=data[task]) for task in LEAKING)
    clean = baseline("conv_emopol")
    for cell in (news, posts, clean, transfer(clean, news), transfer(news, clean)):
        finish(root, cell)
    gathered = gather(root, None, registry())
    (group,) = gathered.groups
    assert set(group.leaks) == {(task, task) for task in LEAKING}
    assert "news with the paper's splits leaks" in group.leaks["news_empathy", "news_empathy"]
    scores = {place: score for table in score_tables(gathered, group) for place, score in table.scores.items()}
    assert scores["conv_emopol", "news_empathy"].leaks
    assert not scores["news_empathy", "conv_emopol"].leaks
    shown = [table_of_scores(table, gathered.registry) for table in score_tables(gathered, group)]
    assert any("‡ test texts" in table.details for table in shown)


def test_tables_mark_the_pairs_that_an_audit_flagged(root, monkeypatch):
    pair = ("epitome_er", "news_empathy")
    found = Verdicts(overlaps={pair: OVERLAP}, unknown=())
    monkeypatch.setattr("empslurm.gather.collect.overlap.verdicts", lambda *_: found)
    gathered = gather(root, None, registry())
    (group,) = gathered.groups
    assert list(group.leaks) == [pair]
    assert "of 100 test examples 9" in group.leaks[pair]
