"""The manifest that tries the best sources: it loads, uses again what is there, and has seeds enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import yaml

import empslurm
from empslurm import gather, ids, reference
from empslurm.analysis.more_seeds import more_seeds
from empslurm.errors import ManifestError, StoreError, UsageError
from empslurm.store.runs import RunsRoot
from empslurm.suggestion import grids, next_grid
from empslurm.suggestion.answer import Suggestion
from empslurm.suggestion.grids import Finished, Grid
from empslurm.suggestion.next_grid import Seeds
from empslurm.suggestion.sources import Sources
from empslurm.tasks import registry
from tests.gather.grids import finish, grid
from tests.project import Project
from tests.suggestion.made import CARD, GRID, MANIFEST, copy, suggested, table

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("few_texts")]


def pairs(manifest: Path) -> list[str]:
    found: list[str] = yaml.safe_load(manifest.read_text())["pairs"]
    return found


# ---- the manifest ----------------------------------------------------------------------------------------------------


def test_the_manifest_tries_the_best_sources_and_uses_their_adapters_again(read: Project, tmp_path: Path) -> None:
    before, file = read.files(), tmp_path / "new" / "next.yaml"
    found = suggested(read, "hope", k=2)
    written = next_grid.write(found, file)
    best = [one.source for one in found.rankings[0].candidates[:2]]
    plan = empslurm.planned(file, runs=read.path / "runs", data=read.path / "data")
    assert [f"{source} -> hope" for source, _ in plan.manifest.pairs] == pairs(file)
    assert pairs(file) == [f"{source} -> hope" for source in best]
    assert {cell.id for cell in plan.cells} == {cell.id for cell in written.plan.cells}
    assert {found.sources.members[source].measure.cell for source in best} <= {cell.id for cell in plan.cells}
    assert found.baseline is not None
    assert found.baseline.id in {cell.id for cell in plan.cells}
    assert plan.manifest.seeds == (1, 2, 3)
    assert (len(plan.cells), written.n_to_run) == (3 * (3 + 2), 3 * (3 + 2) - 2)
    assert written.why == "3 seeds, the fewest for useful verdicts"
    assert written.hours is not None
    head = "# Made by `empslurm suggest hope`: the 2 sources that it puts first.\n# 3 seeds, the fewest"
    assert file.read_text().startswith(head)
    assert read.files() == before
    assert list(tmp_path.rglob("*")) == [tmp_path / "new", file]


def test_settings_from_cells_are_those_of_the_manifest(read: Project, tmp_path: Path) -> None:
    cells = []
    for name, place in (("a", read.path / "manifests" / "small.yaml"), ("b", read.path / "runs")):
        written = next_grid.write(suggested(read, "news_empathy", grids=[place]), tmp_path / f"{name}.yaml")
        cells.append({cell.id for cell in written.plan.cells})
        assert len(written.plan.cells) - written.n_to_run == 4 + 3  # baselines and transfers of the first seed
    assert cells[0] == cells[1]


def test_sections_of_the_manifest_are_taken_over(read: Project, tmp_path: Path) -> None:
    project = copy(read, tmp_path / "copy")
    manifest = project.path / "manifests" / "small.yaml"
    manifest.write_text(MANIFEST + "margin: 0.03\n")
    next_grid.write(suggested(project, "hope", grids=[manifest]), tmp_path / "next.yaml")
    content = yaml.safe_load((tmp_path / "next.yaml").read_text())
    assert content["margin"] == 0.03
    assert content["training"] == yaml.safe_load(MANIFEST)["training"]


def test_settings_of_single_tasks_and_datasets_are_kept(read: Project, tmp_path: Path) -> None:
    """The sources' cells are those of a manifest with settings per task and dataset, as if they had finished."""
    own = tmp_path / "own.yaml"
    training = "{lr: 0.02, epochs: 1, per_task: {condolence: {lr: 0.005}}}"
    own.write_text(
        f"name: own\ntasks: [{', '.join(GRID)}]\nseeds: [1]\nbackbone: tiny\npairs: [conv_empathy -> condolence]\n"
        f"training: {training}\ndata: {{per_dataset: {{news: {{context: previous}}}}}}\n"
    )
    plan = empslurm.planned(own, runs=read.path / "runs", data=read.path / "data")
    alone = {cell.target: cell for cell in plan.cells if cell.kind == "baseline"}
    found = suggested(read, "hope", k=4)
    members = {}
    for task, member in found.sources.members.items():
        cell: Any = alone[task]
        settings = {name: ids.plain(getattr(cell, name)) for name in ("adapter", "training", "data")}
        members[task] = replace(member, measure=replace(member.measure, cell=cell.id, settings=settings))
    sources = Sources(members=members, problems=())
    dataset = found.question.registry.dataset_of("hope")
    raw = found.baseline.data.raw if found.baseline is not None else None
    found = replace(found, sources=sources, baseline=sources.baseline("hope", dataset, raw))
    written = next_grid.write(found, tmp_path / "next.yaml")
    assert {cell.id for cell in alone.values()} <= {cell.id for cell in written.plan.cells}
    content = yaml.safe_load((tmp_path / "next.yaml").read_text())
    assert set(content["training"]["per_task"]) == {"condolence"}
    assert set(content["data"]["per_dataset"]) == {"news"}


def test_sources_with_another_adapter_are_refused(read: Project, tmp_path: Path) -> None:
    found = suggested(read, "hope")
    best = found.rankings[0].candidates[0].source
    member = found.sources.members[best]
    settings = {**member.measure.settings, "adapter": {**member.measure.settings["adapter"], "reduction_factor": 2}}
    odd = replace(member, measure=replace(member.measure, settings=settings))
    sources = replace(found.sources, members={**found.sources.members, best: odd})
    with pytest.raises(UsageError, match=f"must have the adapter settings of hope.*but these differ: {best};"):
        next_grid.write(replace(found, sources=sources), tmp_path / "next.yaml")
    assert not (tmp_path / "next.yaml").exists()


def test_cards_are_named_from_the_file(read: Project, tmp_path: Path) -> None:
    card = tmp_path / "cards" / "kites.yaml"
    card.parent.mkdir()
    card.write_text(CARD)
    file = tmp_path / "studies" / "next.yaml"
    written = next_grid.write(suggested(read, "kite_mood", cards=[card]), file)
    assert yaml.safe_load(file.read_text())["cards"] == ["../cards/kites.yaml"]
    assert "kite_mood" in written.plan.manifest.tasks
    outside = tmp_path / "other" / "manifests" / "next.yaml"
    with pytest.raises(ManifestError, match="must stay in the project"):
        next_grid.write(suggested(read, "kite_mood", cards=[card]), outside)
    assert not outside.exists()


def test_cards_of_every_manifest_that_is_named_are_kept(read: Project, tmp_path: Path) -> None:
    project = copy(read, tmp_path / "copy")
    (project.path / "manifests" / "kites.card").mkdir()
    (project.path / "manifests" / "kites.card" / "kites.yaml").write_text(CARD)
    manifest = project.path / "manifests" / "small.yaml"
    manifest.write_text(MANIFEST + "cards: [kites.card]\n")
    learnt = suggested(project, "kite_mood", grids=[manifest])
    named = suggested(project, "kite_mood", grids=[project.path / "runs"], cells=[manifest])
    for at, found in enumerate((learnt, named)):
        file = tmp_path / f"{at}.yaml"
        next_grid.write(found, file)
        assert yaml.safe_load(file.read_text())["cards"] == ["copy/manifests/kites.card"]


def test_without_an_adapter_there_is_nothing_to_try(empty: Project, tmp_path: Path) -> None:
    found = suggested(empty, "seven", grids=[table(tmp_path / "t.csv")])
    with pytest.raises(UsageError, match=r"--write needs a source with a trained adapter for seven.*with --cells"):
        next_grid.write(found, tmp_path / "next.yaml")
    assert not (tmp_path / "next.yaml").exists()


def test_seeds_go_on_from_those_that_the_sources_have(read: Project, tmp_path: Path) -> None:
    found = suggested(read, "hope", k=1)
    members = [replace(one, measure=replace(one.measure, seed=2)) for one in found.question.members]
    later = replace(found, question=replace(found.question, members=tuple(members)))
    assert yaml.safe_load(next_grid.text(later, None, tmp_path / "n.yaml", Seeds(n=3, n_baseline=3, why="w")))[
        "seeds"
    ] == [2, 1, 3]
    content = yaml.safe_load(next_grid.text(found, None, tmp_path / "n.yaml", Seeds(n=2, n_baseline=4, why="w")))
    assert (content["seeds"], content["baseline_seeds"]) == ([1, 2], [1, 2, 3, 4])


def test_a_file_that_is_there_or_is_no_manifest_is_refused(tmp_path: Path) -> None:
    there = tmp_path / "there.yaml"
    there.write_text("mine")
    with pytest.raises(UsageError, match=r"there\.yaml must not exist yet, but does"):
        next_grid.refuse_file(there)
    with pytest.raises(UsageError, match=r"must end with \.yaml to be a manifest"):
        next_grid.refuse_file(tmp_path / "next.txt")
    next_grid.refuse_file(tmp_path / "next.yml")


def test_a_file_that_came_in_between_is_left_alone(
    read: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, plain = tmp_path / "next.yaml", next_grid.text

    def slow(*arguments: Any) -> str:
        file.write_text("mine")
        return plain(*arguments)

    monkeypatch.setattr(next_grid, "text", slow)
    with pytest.raises(UsageError, match="must not exist yet, but does"):
        next_grid.write(suggested(read, "hope"), file)
    assert file.read_text() == "mine"


def test_a_manifest_that_cannot_be_planned_is_not_left_behind(
    read: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise UsageError("staged")

    monkeypatch.setattr(next_grid, "planned", refused)
    with pytest.raises(UsageError, match="staged"):
        next_grid.write(suggested(read, "hope"), tmp_path / "next.yaml")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_sentence(read: Project, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="must be written, but the file system says"):
        next_grid.write(suggested(read, "hope"), tmp_path / "file" / "next.yaml")


# ---- how many seeds --------------------------------------------------------------------------------------------------

TASKS = ("epitome_er", "epitome_ip", "news_empathy")


def finished(folder: Path, seeds: Sequence[int]) -> Finished:
    """A grid of invented results."""
    root = RunsRoot(folder / "runs")
    for cell in grid(TASKS, seeds=seeds):
        finish(root, cell)
    known = registry()
    gathered = gather.gather(root, None, known)
    found, _ = grids.finished(
        [Grid(root=root, gathered=gathered)], None, known, reference.ratings(None), lambda what, done, total: None
    )
    assert found is not None
    return found


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Three seeds of each cell."""
    return finished(tmp_path_factory.mktemp("three"), (1, 2, 3))


@pytest.fixture
def base(empty: Project, tmp_path: Path) -> Suggestion:
    """A suggestion without any adapter."""
    return suggested(empty, "one", grids=[table(tmp_path / "t.csv")])


def about(base: Suggestion, target: str, there: Finished, metric: str = "f1_macro") -> Suggestion:
    return replace(base, question=replace(base.question, target=target), finished=there, metric=metric)


def test_the_targets_own_runs_say_how_many_seeds_detect_a_difference(base: Suggestion, three: Finished) -> None:
    (comparison,) = (one.comparison for one in three.targets if one.target == TASKS[0])
    for wanted in (0.15, 0.3, 0.6):
        more = more_seeds(comparison, wanted, cost_of_baseline=4 / 3 * 2)  # three sources of the next grid; two here
        assert more.limit == ""
        asked = next_grid.seeds(about(base, TASKS[0], three), wanted)
        assert asked.n == max(3, 3 + more.more_transfer)
        assert asked.n_baseline == max(asked.n, 3 + more.more_baseline)
        arms = "" if asked.n == asked.n_baseline else f", {asked.n_baseline} of the baselines"
        assert asked.why.startswith(f"{asked.n} seeds{arms}, which detect")
        assert asked.why.endswith(f"a difference of {wanted:g} with probability .8 by the noise of its own runs")


def test_a_new_target_needs_what_others_of_its_metric_need(base: Suggestion, three: Finished) -> None:
    alike = [one for one in three.targets if one.table.metric == "f1_macro"]
    assert {one.target for one in alike} == {"epitome_er", "epitome_ip"}
    asked = next_grid.seeds(about(base, "hope", three), 0.3)
    more = [more_seeds(one.comparison, 0.3, cost_of_baseline=4 / 3 * 2) for one in alike]
    assert [one.limit for one in more] == ["", ""]
    assert asked.n == max(3, round(median(3 + one.more_transfer for one in more)))
    assert asked.why.endswith("by the noise of the runs of 2 other targets")
    other = next_grid.seeds(about(base, "hope", three, metric="accuracy"), 0.3)
    assert other.why == "3 seeds, since no finished target has the same metric, so the noise of a run is not known"


def test_a_difference_that_no_number_of_seeds_detects_is_not_promised(base: Suggestion, three: Finished) -> None:
    asked = next_grid.seeds(about(base, "hope", three), 0.0001)
    assert asked.n == asked.n_baseline == 3
    assert "too small to detect 0.0001" in asked.why or "would be needed to detect 0.0001" in asked.why


def test_where_every_target_has_one_seed_the_noise_is_not_known(base: Suggestion, tmp_path: Path) -> None:
    asked = next_grid.seeds(about(base, "hope", finished(tmp_path, (1,))), 0.1)
    assert (asked.n, asked.n_baseline) == (3, 3)
    assert asked.why == "3 seeds, since the noise of a run is not known where finished targets have one seed"


def test_others_say_what_the_targets_own_single_seed_does_not(
    base: Suggestion, three: Finished, tmp_path: Path
) -> None:
    own = next(one for one in finished(tmp_path, (1,)).targets if one.target == TASKS[0])
    there = replace(three, targets=(own, *(one for one in three.targets if one.target != TASKS[0])))
    asked = next_grid.seeds(about(base, TASKS[0], there), 0.3)
    assert asked.why.endswith("by the noise of the runs of 1 other target")


def test_without_a_wanted_difference_there_are_as_many_seeds_as_before(base: Suggestion, tmp_path: Path) -> None:
    asked = next_grid.seeds(about(base, "hope", finished(tmp_path, (1, 2, 3, 4))), None)
    assert (asked.n, asked.n_baseline, asked.why) == (4, 4, "4 seeds, as in the finished grid")
