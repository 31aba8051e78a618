"""An exported adapter works without this project, says what it is, and contains no text of the corpus."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from empslurm.config import Backbone
from empslurm.errors import StoreError, UsageError
from empslurm.scoring import export, modelcard, run
from empslurm.scoring.quality import with_evidence
from empslurm.scoring.scorer import Scorer
from empslurm.scoring.selection import Chosen, Group
from empslurm.store.runs import RunsRoot
from tests.library import library

SCRIPT = """\
import sys
import adapters
from transformers import AutoTokenizer
backbone, text, *folders = sys.argv[1:]
for folder in folders:
    model = adapters.AutoAdapterModel.from_pretrained(backbone)
    model.active_adapters = model.load_adapter(folder, use_safetensors=True)
    batch = AutoTokenizer.from_pretrained(backbone)([text], return_tensors="pt")
    logits = model.eval()(**batch).logits[0]
    print(model.get_labels_dict(), *logits.softmax(0).tolist() if len(logits) > 1 else logits.tolist(), sep="|")
assert "empslurm" not in sys.modules
"""


TEXT = "I am so sorry to hear that."
ALONE = ("epitome_er", "news_empathy")


@pytest.fixture(scope="module")
def alone(exported: Path, backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Measure -> its adapter in its own folder, and the script's output for it; one start of Python for all."""
    library()  # which the script imports
    path = tmp_path_factory.mktemp("alone")
    for name in ALONE:
        shutil.copytree(exported / name, path / name, ignore=shutil.ignore_patterns("seed-*"))
    (path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-W", "ignore", "-I", "script.py", str(backbone), TEXT, *ALONE]
    done = subprocess.run(command, capture_output=True, text=True, cwd=path, check=True)
    return {name: (path / name, line) for name, line in zip(ALONE, done.stdout.strip().splitlines(), strict=True)}


@pytest.mark.parametrize("name", ALONE)
def test_a_ten_line_script_without_this_project_gives_the_same(alone: dict[str, tuple[Path, str]], name: str) -> None:
    folder, said = alone[name]
    labels, *numbers = said.split("|")
    scorer = Scorer.load(folder)
    found = scorer.score([TEXT])[0]["measures"][name]
    measure = scorer.measures[name]
    if measure.kind == "regression":
        assert float(numbers[0]) * measure.scale + measure.centre == pytest.approx(found["value"], abs=2e-5)
    else:
        assert [float(number) for number in numbers] == pytest.approx(list(found["probabilities"].values()), abs=2e-5)
        assert labels == str(dict(enumerate(measure.labels)))


def test_the_layout_is_adapterhubs_and_nothing_slips_in(exported: Path) -> None:
    files = {path.relative_to(exported / "epitome_er").as_posix() for path in (exported / "epitome_er").rglob("*.*")}
    one = {"adapter_config.json", "adapter.safetensors", "head_config.json", "model_head.safetensors", "task.json"}
    one |= {"provenance.json", "checksums.json"}
    (other,) = {name.split("/")[0] for name in files if name.startswith("seed-")}
    assert files == {"README.md", *one, *(f"{other}/{name}" for name in one)}
    assert (exported / "epitome_er--epitome_ip" / "source" / "adapter.safetensors").is_file()


def test_no_training_text_is_exported(exported: Path, root: RunsRoot) -> None:
    texts = set()
    for path in root.prepared.glob("*/examples.parquet"):
        table = pq.read_table(path)
        texts |= {text.strip() for text in table["text"].to_pylist() if len(text.strip()) >= 12}
        texts |= {turn.strip() for turns in table["context"].to_pylist() for turn in turns if len(turn.strip()) >= 12}
    assert len(texts) > 50
    for path in exported.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [True for text in texts if text.encode() in content], path


def test_a_card_says_what_the_measure_is_how_good_and_what_it_is_not_for(exported: Path) -> None:
    for folder in exported.iterdir():
        card = (folder / "README.md").read_text()
        front = yaml.safe_load(card.split("---")[1])
        assert front["library_name"] == "adapters"
        assert "adapter-transformers" in front["tags"]
        for part in (
            "## Test score",
            "## Use",
            "## Settings",
            "## What it is not for",
            "## Limitations",
            "## Citation",
        ):
            assert part in card
        for words in ("Licence of the data", "Data source", "diagnosis", "moderation", "English only", "seeds "):
            assert words in card
    assert "95 % interval" in (exported / "news_empathy" / "README.md").read_text()


def test_a_task_of_a_card_is_not_said_to_be_about_empathy(chosen: Chosen) -> None:
    (group, *_) = chosen.groups
    members = (replace(each, measure=replace(each.measure, task="kite_mood")) for each in group.members)
    own = replace(group, members=tuple(members))
    for each, expected in ((group, True), (own, False)):
        front = yaml.safe_load(modelcard.card(each, None, {1: ""}, None).split("---")[1])
        assert ("empathy" in front["tags"]) is expected
        told = run.about(replace(chosen, groups=(each,)), {each.name: None})["not_for"]
        assert ("empathy" in told) is expected
        assert "diagnosis" in told


def test_exporting_again_replaces_and_a_foreign_folder_is_left_alone(chosen: Chosen, tmp_path: Path) -> None:
    evidence = with_evidence(chosen)
    first = export.export(chosen, evidence, tmp_path)
    second = export.export(chosen, evidence, tmp_path)
    assert [one.paths for one in first] == [one.paths for one in second]
    assert not list(tmp_path.glob(".*"))
    foreign = tmp_path / "else" / "epitome_er"
    foreign.mkdir(parents=True)
    (foreign / "thesis.txt").write_text("dear")
    with pytest.raises(UsageError, match="something else"):
        export.export(chosen, evidence, tmp_path / "else")
    assert (foreign / "thesis.txt").read_text() == "dear"


def test_an_export_on_another_backbone_is_never_replaced(chosen: Chosen, tmp_path: Path) -> None:
    made = export.export(chosen, with_evidence(chosen), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def moved(group: Group) -> Group:
        other = replace(group.measure, backbone=Backbone(name="./models/other one"), backbone_digest="sha256-other")
        return replace(group, members=tuple(replace(member, measure=other) for member in group.members))

    last = replace(chosen, groups=(*chosen.groups[:-1], moved(chosen.groups[-1])))
    with pytest.raises(UsageError, match=r"on \./models/other one, but holds one on .*; export to another folder"):
        export.export(last, with_evidence(chosen), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    last = replace(last, backbone="mine/other one@e8c3b32")
    again = export.export(last, with_evidence(chosen), tmp_path / "2", "org")
    measure = made[-1].folder.name.replace("--", "-to-")
    assert again[-1].repository == f"org/empslurm-{measure}-mine-other-one-e8c3b32"


class Hub:
    """A fake huggingface_hub.HfApi that records uploads."""

    endpoint = "https://hub.invalid"

    def __init__(self, refuse: str = "") -> None:
        self.sent: dict[str, list[str]] = {}
        self.refuse = refuse

    def create_repo(self, name: str, **_: Any) -> None:
        if name == self.refuse:
            raise PermissionError("403 Forbidden\nlong trace")
        self.sent[name] = []

    def upload_folder(self, *, repo_id: str, folder_path: str, allow_patterns: list[str], commit_message: str) -> None:
        assert commit_message
        self.sent[repo_id] = [name for name in allow_patterns if (Path(folder_path) / name).is_file()]


def test_each_measure_is_uploaded_to_a_repository_of_its_own(chosen: Chosen, tmp_path: Path) -> None:
    made = export.export(chosen, with_evidence(chosen), tmp_path, "org")
    hub = Hub()
    addresses = export.push(made, hub)
    assert "https://hub.invalid/org/empslurm-epitome_er-to-epitome_ip" in addresses
    assert hub.sent == {one.repository: list(one.paths) for one in made}
    assert 'load_adapter("org/empslurm-news_empathy"' in (tmp_path / "news_empathy" / "README.md").read_text()
    with pytest.raises(StoreError, match=r"empslurm-news_empathy must accept the upload, .*403 Forbidden; log in"):
        export.push(made, Hub(refuse="org/empslurm-news_empathy"))
