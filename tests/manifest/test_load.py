"""Manifests resolve to what they say; every problem of one is reported with its line and its fix."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given

from empslurm import reference
from empslurm.config import Backbone, DataUse, Embed, Fisher, SourceUse
from empslurm.errors import ManifestError
from empslurm.manifest.load import Manifest, load_manifest, manifest_json_schema
from empslurm.manifest.presets import PRESETS
from empslurm.manifest.schema import ManifestFile
from empslurm.tasks import registry
from empslurm.tasks.sample.truth import RELATIONS
from tests import hostile

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "manifests").glob("*.yaml"))
FOUR = "name: x\ntasks: [epitome_er, epitome_ex, news_empathy, conv_emopol]\n"
WRITE_SCHEMA = (
    "manifests/manifest.schema.json must be what manifest_json_schema() gives; write it again: python -c 'import json, "
    'pathlib, empslurm.manifest.load as m; pathlib.Path("manifests/manifest.schema.json").write_text('
    'json.dumps(m.manifest_json_schema(), indent=1) + "\\n")\''
)


@pytest.fixture
def write(tmp_path):
    """Writes a manifest into a project's folder `manifests`, and loads it."""
    folder = tmp_path / "manifests"
    folder.mkdir()

    def load(text: str) -> Manifest:
        (folder / "x.yaml").write_text(text)
        return load_manifest(folder / "x.yaml")

    return load


def problems(write, text: str) -> tuple[str, ...]:
    with pytest.raises(ManifestError) as caught:
        write(text)
    assert caught.value.exit_code == 2
    return caught.value.problems


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_manifests_load_and_open_with_schema_and_command(path):
    first, second = path.read_text().splitlines()[:2]
    assert first == "# yaml-language-server: $schema=manifest.schema.json"
    assert second.startswith("# Run it: ")
    assert load_manifest(path).name == path.stem


def test_the_full_grid_is_the_papers():
    grid = load_manifest(ROOT / "manifests/full_grid.yaml")
    assert grid.tasks == reference.task_ids()
    assert (len(grid.tasks), len(grid.pairs), grid.seeds, grid.fractions) == (18, 306, (1,), (1.0,))
    assert grid.backbones == (Backbone(name="roberta-base", revision="e2da8e2f811d1448a5b465c236feacd80ffbac7b"),)
    assert grid.source == SourceUse(mode="frozen", epoch="best", labels="all")
    study = load_manifest(ROOT / "manifests/full_study.yaml")
    assert (study.seeds, study.baseline_seeds, study.fractions) == ((1, 2, 3), (1, 2, 3), (1.0, 0.5))
    assert study.training == grid.training


def test_the_demo_has_both_kinds_of_task_from_several_datasets():
    demo = load_manifest(ROOT / "manifests/demo.yaml")
    kinds = {demo.registry.tasks[task].kind for task in demo.tasks}
    assert kinds == {"classification", "regression"}
    assert len(demo.data) >= 2
    assert len(demo.seeds) == 3


def test_the_demo_runs_the_pairs_of_which_the_corpus_says_the_truth():
    demo = load_manifest(ROOT / "manifests/demo.yaml")
    assert set(demo.pairs) == {(item.source, item.target) for item in RELATIONS}


def test_a_margin_is_for_gather_and_enters_no_id(write):
    plain, asked = write(FOUR), write(FOUR + "margin: 0.01\n")
    assert (plain.margin, asked.margin) == (None, 0.01)
    assert asked == replace(plain, margin=0.01)
    (found,) = problems(write, FOUR + "margin: 0\n")
    assert "margin must be a number above 0 or empty, but is 0" in found


def test_schema_file_is_up_to_date():
    stored = json.loads((ROOT / "manifests/manifest.schema.json").read_text())
    assert stored == manifest_json_schema(), WRITE_SCHEMA


def test_preset_paper_is_table_4_for_every_task():
    assert set(PRESETS["paper"]) == set(reference.task_ids())
    grid = load_manifest(ROOT / "manifests/full_grid.yaml")
    table = {task: (value.epochs, value.batch_size, value.lr) for task, value in grid.training.items()}
    assert table["conv_emoint"] == (7, 54, 0.00083)
    assert table["news_empathy"] == (11, 14, 0.00045)
    assert {task for task, (epochs, _, _) in table.items() if epochs > 10} == {
        "empdial_ei",
        "empdial_role",
        "news_empathy",
    }


def test_defaults(write):
    manifest = write("name: x\ntasks: all")
    assert manifest.tasks == tuple(registry().tasks)
    n_tasks = len(registry().tasks)
    assert len(manifest.pairs) == len(set(manifest.pairs)) == n_tasks * (n_tasks - 1)
    assert (manifest.seeds, manifest.baseline_seeds, manifest.fractions) == ((1,), (1,), (1.0,))
    assert manifest.backbones == (Backbone(),)
    assert set(manifest.data.values()) == {DataUse()}
    assert set(manifest.data) == set(registry().datasets)


def test_a_grid_may_have_several_backbones(write, tmp_path):
    commit = "e8c3b32edf5434bc2275fc9bab85f82640a19130"
    manifest = write(f"name: x\ntasks: all\nbackbone: [minilm, ./own, {{name: a/mpnet, revision: {commit}}}]")
    own, hub = Backbone(name=str(tmp_path / "manifests" / "own")), Backbone(name="a/mpnet", revision=commit)
    assert manifest.backbones == (Backbone(name="minilm"), own, hub)
    shipped = load_manifest(ROOT / "manifests/two_backbones.yaml")
    assert shipped.backbones == (Backbone(), Backbone(name="sentence-transformers/all-mpnet-base-v2", revision=commit))


def test_a_search_has_one_backbone(write):
    text = "name: x\nkind: search\ntasks: [epitome_er]\nn_trials: 2\nbackbone: [minilm, tiny]\n"
    (problem,) = problems(write, text)
    assert "backbone must be one backbone in a search, but is a list; name one, and write a search for each" in problem
    assert "x.yaml:5)" in problem


def test_patterns_choose_tasks_in_the_registrys_order(write):
    manifest = write("name: x\ntasks: [news_*, epitome_ex, epitome_*]")
    assert set(manifest.tasks) == {task for task in registry().tasks if task.startswith(("news_", "epitome_"))}
    assert list(manifest.tasks) == [task for task in registry().tasks if task in manifest.tasks]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ("pairs: none", set()),
        ("pairs: [epitome_er -> news_empathy]", {("epitome_er", "news_empathy")}),
        ("pairs: ['epitome_* -> news_*']", {("epitome_er", "news_empathy"), ("epitome_ex", "news_empathy")}),
        (
            "pairs: [{source: [epitome_er, conv_emopol], target: epitome_*}]",
            {("epitome_er", "epitome_ex"), ("conv_emopol", "epitome_er"), ("conv_emopol", "epitome_ex")},
        ),
        (
            "pairs: ['all -> news_*']\nexclude: [conv_emopol -> news_empathy]",
            {("epitome_er", "news_empathy"), ("epitome_ex", "news_empathy")},
        ),
        (
            "exclude: [{source: all, target: [epitome_*, conv_*]}, 'epitome_* -> all']",
            {("conv_emopol", "news_empathy")},
        ),
    ],
)
def test_pairs(write, pairs, expected):
    manifest = write(FOUR + pairs)
    assert set(manifest.pairs) == expected
    assert len(manifest.pairs) == len(expected)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name: x\ntasks: [epitome_er]\n", "only one task, epitome_er"),
        ("name: x\ntasks: [epitome_er]\npairs: none\n", ""),
        (FOUR + "exclude: [{source: all, target: all}]\n", "`exclude` leaves no pair"),
        (FOUR + "pairs: none\n", ""),
        (FOUR, ""),
    ],
)
def test_pairs_that_come_to_nothing_are_noted(write, text, why):
    manifest = write(text)
    assert why in manifest.pairless
    assert bool(why) == bool(manifest.pairless)


CARD = """\
id: kite_mood
title: Kite Mood
file: kites.csv
format: csv
columns: {text: said, label: mood}
kind: classification
labels: [up, down]
data_source: Twitter
language_setting: social media
citation: Nobody (2026). Kites of invention.
licence: CC BY 4.0
"""


def test_a_wrong_card_is_reported_by_its_own_problems_alone(write, tmp_path):
    cards = tmp_path / "cards"
    cards.mkdir()
    (cards / "wind.yaml").write_text(CARD.replace("kite_mood", "kite_wind"))
    (cards / "mood.yaml").write_text(CARD.replace("format: csv", "format: xls").replace("licence", "license"))
    text = "name: x\ntasks: [kite_mood, kite_wind]\npairs: [kite_mood -> kite_wind]\ncards: [../cards]\n"
    found = problems(write, text)
    assert all("mood.yaml:" in problem for problem in found)
    assert {problem.split(" must ")[0] for problem in found} == {"format", "license", "the file"}
    assert not any("known task" in problem for problem in found)


def test_training_layers_preset_section_pattern_task(write):
    manifest = write(
        FOUR + "training:\n  preset: paper\n  epochs: 3\n  per_task:\n    epitome_er: {lr: 0.5}\n"
        "    epitome_*: {lr: 0.25, batch_size: 7}\n"
    )
    assert manifest.training["epitome_er"].lr == 0.5  # its own id beats patterns, wherever it is written
    assert manifest.training["epitome_ex"].lr == 0.25
    assert manifest.training["epitome_er"].batch_size == 7
    assert manifest.training["news_empathy"].lr == 0.00045
    assert {training.epochs for training in manifest.training.values()} == {3}


def test_data_layers(write):
    manifest = write(FOUR + "data: {context: previous, per_dataset: {conv: {context: history, splits: paper}}}")
    assert manifest.data["epitome"] == DataUse(context="previous")
    assert manifest.data["conv"] == DataUse(context="history", splits="paper")


def test_backbone_folders(write, tmp_path):
    assert write(FOUR + "backbone: ../models/b").backbones[0].name == str(tmp_path / "models/b")
    assert write(FOUR + "backbone: /somewhere/b").backbones[0].name == "/somewhere/b"
    assert write(FOUR + "backbone: {name: tiny}").backbones == (Backbone(name="tiny"),)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "pairs: [epitome_er -> epitom_ex]",
            "pairs[0] must be a known task, but is not; did you mean epitome_ex? known: ",
        ),
        ("pairs: [epitome_er -> epitome_er]", "pairs[0] must pair two different tasks"),
        ("pairs: [epitome_er -> mi_behavior]", "mi_behavior is not among them; add mi_behavior to tasks"),
        ("pairs: ['epitome_er -> mi_*']", "mi_* matches none"),
        ("pairs: [epitome_er]", "pairs[0] must be a pair such as"),
        ("pairs: all_orderd", "did you mean all_ordered?"),
        ("pairs: [{source: all}]", "pairs[0] must have the key `target`, but does not; add `target:`"),
        (
            "exclude: [epitome_er -> epitome_ex]\npairs: [epitome_ex -> epitome_er]",
            "exclude[0] must name a pair that `pairs` has",
        ),
        ("kind: gird", "kind must be grid, but is the string 'gird'; did you mean grid?"),
        ("seeds: [1, -1]", "seeds[1] must be an integer at least 0"),
        ("seeds: [1, 2]\nbaseline_seeds: [1, 3]", "baseline_seeds must hold every one of seeds, but lacks 2; add 2"),
        ("fractions: [0]", "fractions[0] must be a number above 0 and at most 1, but is 0"),
        (
            "backbone: roberta-base",
            "backbone must pin a hub id by its revision, but roberta-base has none; write {name:",
        ),
        ("backbone: {name: roberta-base, revision: main}", "backbone.revision must be the 40 hex digits of a commit"),
        ("backbone: {name: minilm, revision: x}", "backbone.revision must be given for hub ids only"),
        ("backbone: ../../elsewhere", "backbone must stay in the project"),
        ("backbone: a/b/c", "backbone must be a hub id, minilm, tiny or a path"),
        ("backbone: $(id)", "backbone must be a hub id"),
        ("backbone: [minilm]", "backbone must hold at least 2, but holds 1"),
        ("backbone: [minilm, tiny, minilm]", "backbone[2] must occur once"),
        ("backbone: [minilm, {name: minilm}]", "backbone[1] must be another backbone, but minilm is there already"),
        ("backbone: [./one, ../manifests/one]", "backbone[1] must be another backbone"),
        ("backbone: [minilm, roberta-base]", "backbone[1] must pin a hub id by its revision"),
        ("backbone: [minilm, {name: tiny, revision: x}]", "backbone[1].revision must be given for hub ids only"),
        ("backbone: [minilm, [tiny]]", "backbone[1] must be a path of at most 1000 characters or a mapping"),
        ("adapter: {kind: loro}", "did you mean lora?"),
        ("adapter: {kind: lora}", "adapter must stack, but lora on lora multiplies the two"),
        (
            "adapter: {kind: prompt_tuning}",
            "adapter must stack, but prompt_tuning on top of another adapter is ignored",
        ),
        (
            "adapter: {rank: 4}",
            "adapter.rank must be a field that seq_bn uses, but is not; remove it; known: reduction_factor",
        ),
        ("training: {preset: papper}", "did you mean paper?"),
        (
            "training: {lr: 1e-4}",
            "training.lr must be a number above 0 and at most 1, but is the string '1e-4'; write 1.0e-4",
        ),
        ("training: {per_task: {mi_*: {lr: 0.1}}}", "mi_* matches none"),
        (
            "training: {per_task: {epitome_er: {preset: paper}}}",
            "training.per_task.epitome_er.preset must be a known key",
        ),
        ("data: {per_dataset: {epitom: {}}}", "did you mean epitome?"),
        ("cards: [../../etc/passwd]", "cards[0] must stay in the project"),
        ("cards: [/etc/passwd]", "cards[0] must stay in the project"),
        (
            "cards: [absent.yaml]",
            "cards[0] must be a file or a folder of cards, but absent.yaml is not there; write its path relative to",
        ),
        ("source: {mode: forzen}", "did you mean frozen?"),
        ("epochs: 3", "epochs must be a known key"),
    ],
)
def test_each_problem_has_its_fix(write, line, sentence):
    (problem,) = problems(write, FOUR + line)
    assert sentence in problem
    assert "x.yaml:3)" in problem or "exclude" in line or "baseline" in line


def test_links_do_not_lead_out_of_the_project(write, tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}-outside.yaml"
    outside.write_text("x: 1")
    (tmp_path / "manifests/card.yaml").symlink_to(outside)
    assert "cards[0] must stay in the project" in problems(write, FOUR + "cards: [card.yaml]")[0]


@pytest.mark.parametrize("name", ["a b", "a/b", "../x", "a;rm", "$(id)", "-x", ".x", "", "é", "a" * 65])
def test_names_hold_nothing_for_a_shell_or_a_path(write, name):
    found = problems(write, f"name: {json.dumps(name)}\ntasks: all")
    assert "name must be letters, digits" in found[0]


def test_unknown_tasks_are_guessed_at_and_listed(write):
    found = problems(write, "name: x\ntasks:\n  - epitome_er\n  - epitom_er\n  - zzz*\n")
    assert "tasks[1] must be a known task, but is not; did you mean epitome_er? known: " in found[0]
    assert "x.yaml:4)" in found[0]
    assert "tasks[2] must match a task, but zzz* matches none; known: " in found[1]


def test_every_problem_at_once(write):
    text = """name: x y
tasks: [epitome_er, nope, 3]
pairs: [epitome_er -> zzz, 7, {source: yyy, target: all}]
seeds: [1.5, 2, 2]
training: {lr: 1e-4, epoch: 3, per_task: {xxx: {}}}
backbone: roberta-base
seeds: [1]
"""
    lines = [int(problem.rsplit(":", 1)[1][:-1]) for problem in problems(write, text)]
    assert lines == [1, 2, 2, 3, 3, 3, 4, 4, 5, 5, 5, 6, 7]


KEYS = [item.name for item in fields(ManifestFile)] + [
    "preset",
    "per_task",
    "source",
    "target",
    "lr",
    "epochs",
    "revision",
]
GOOD = [
    "x",
    "grid",
    "epitome_er",
    "news_*",
    "all",
    "paper",
    1,
    0.5,
    ["epitome_er", "news_empathy"],
    "epitome_* -> news_*",
]


@hostile.fuzzing
@given(data=hostile.files(ROOT / "manifests", KEYS, GOOD))
def test_any_bytes_give_a_manifest_or_sentences(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(data)
    hostile.gives_value_or_sentences(lambda: load_manifest(path), Manifest)


def test_embeddings_are_asked_for_and_their_encoder_is_pinned(write):
    assert write(FOUR).embed is write(FOUR).fisher is None
    wanted = write(FOUR + "fisher: {}\nembed: {}\n")
    assert wanted.fisher == Fisher()
    assert wanted.embed == Embed()
    assert write(FOUR + "embed: {encoder: minilm, max_examples: 9}\n").embed.encoder == Backbone(name="minilm")
    (problem,) = problems(write, FOUR + "embed: {encoder: nobody/encoder}\n")
    assert problem.startswith("embed.encoder must pin a hub id by its revision")


@pytest.mark.parametrize("none", ["none", "[]"])
def test_no_pairs_may_be_a_word_or_an_empty_list(tmp_path, none):
    path = tmp_path / "m.yaml"
    path.write_text(f"name: m\ntasks: [news_empathy, epitome_er]\npairs: {none}\nbackbone: tiny\n")
    made = load_manifest(path)
    assert (made.pairs, made.pairless) == ((), "")
