"""Tiny adapters, trained once on an invented corpus: three measures of two seeds, and a transfer."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from empslurm.backbones import resolve
from empslurm.config import Backbone
from empslurm.scoring import export, selection
from empslurm.scoring.quality import with_evidence
from empslurm.scoring.selection import Chosen
from empslurm.store.runs import RunsRoot
from empslurm.train.model.backbone import load_encoder
from tests.project import Project, once, trained_on_sample

MANIFEST = """\
name: small
tasks: [epitome_er, epitome_ip, news_empathy]
pairs: [epitome_er -> epitome_ip]
seeds: [1]
baseline_seeds: [1, 2]
backbone: tiny
training: {epochs: 1, batch_size: 8, lr: 0.02, max_length: 24, max_train_examples: 64, max_eval_examples: 48}
"""
TEXTS = (
    "I am so sorry to hear that.",
    "ok",
    "That must have been a terrible week for all of you, and I wonder how you slept through any of it",
    "How did it feel when they called you back?",
    "",
    "You could try to write it down. " * 9,
    "Nothing here is like the others: zxqj 0x3f 5512 zxqj",
)
CONTEXTS = (("My cat died.",), (), ("First turn.", "Second turn, which is nearer."), (), (), ("Why?",), ())


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with finished cells. Tests leave it as it is."""
    return Project(path=once(tmp_path_factory, "scoring", lambda path: trained_on_sample(path, MANIFEST)))


@pytest.fixture(scope="session")
def root(trained: Project) -> RunsRoot:
    return RunsRoot(trained.path / "runs")


@pytest.fixture(scope="session")
def chosen(root: RunsRoot) -> Chosen:
    """Everything that was trained: four measures, seven adapters."""
    return selection.of_cells(root.cells(), root)


@pytest.fixture(scope="session")
def exported(chosen: Chosen, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, exported. Tests leave it as it is."""
    folder = tmp_path_factory.mktemp("exported")
    export.export(chosen, with_evidence(chosen), folder)
    return folder


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny backbone as a folder that plain `transformers` reads."""
    folder = tmp_path_factory.mktemp("backbone")
    load_encoder(Backbone(name="tiny")).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(resolve(Backbone(name="tiny")).path)
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(folder)
    return folder
