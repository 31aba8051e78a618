"""A card names the public backbone, and never a path of the machine that made it."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from empslurm.backbones import resolve
from empslurm.config import Backbone
from empslurm.scoring.modelcard import card
from empslurm.scoring.selection import Chosen, Group
from tests.backbones.files import weights_and_vocabulary

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
COMMIT = "e2da8e2f811d1448a5b465c236feacd80ffbac7b"


@pytest.fixture
def group(chosen: Chosen) -> Group:
    return chosen.groups[0]


def card_on(group: Group, backbone: Backbone, digest: str | None = None) -> str:
    """The card of a measure whose backbone is this one; `digest`: by default that of the files here."""
    digest = digest or str(resolve(backbone).digest)
    members = [
        replace(member, measure=replace(member.measure, backbone=backbone, backbone_digest=digest))
        for member in group.members
    ]
    names = {member.measure.seed: "" if member is members[0] else "seed" for member in members}
    return card(replace(group, members=tuple(members)), None, names, None)


def base_model(text: str) -> object:
    return yaml.safe_load(text.split("---")[1]).get("base_model")


def folder_at(path: Path, config: str = "{}") -> Backbone:
    path.mkdir(parents=True)
    (path / "config.json").write_text(config)
    weights_and_vocabulary(path)
    return Backbone(name=str(path))


def test_minilm_and_a_folder_with_its_weights_are_the_public_minilm(group: Group) -> None:
    packaged = resolve(Backbone(name="minilm"))
    for backbone in (packaged.backbone, Backbone(name=str(packaged.path))):
        text = card_on(group, backbone)
        assert base_model(text) == MINILM
        assert f'from_pretrained("{MINILM}")' in text
        assert f"seq_bn adapter on {MINILM}\n" in text
        assert str(packaged.path) not in text


def test_a_hub_id_keeps_its_revision(group: Group) -> None:
    text = card_on(group, Backbone(name="roberta-base", revision=COMMIT))
    assert base_model(text) == "roberta-base"
    assert f'from_pretrained("roberta-base", revision="{COMMIT}")' in text


def test_the_public_weights_with_another_tokenizer_are_another_model(group: Group, tmp_path: Path) -> None:
    packaged = resolve(Backbone(name="minilm")).path
    assert packaged is not None
    folder = tmp_path / "models--me--mine" / "snapshots" / COMMIT
    shutil.copytree(packaged, folder, copy_function=os.symlink)
    assert base_model(card_on(group, Backbone(name=str(folder)))) == MINILM
    (folder / "tokenizer_config.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    text = card_on(group, Backbone(name=str(folder)))
    assert base_model(text) != MINILM or "were not compared" in text
    assert 'from_pretrained("FOLDER OF THE BACKBONE")' in text
    assert str(tmp_path) not in text


def test_a_folder_that_only_says_what_it_was_saved_from_is_not_loaded_as_that(group: Group, tmp_path: Path) -> None:
    backbone = folder_at(tmp_path / "in-domain", '{"_name_or_path": "roberta-base"}')
    text = card_on(group, backbone)
    assert base_model(text) == "roberta-base"
    assert "named `in-domain`, whose config.json names roberta-base" in text
    assert 'from_pretrained("FOLDER OF THE BACKBONE")' in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    "config",
    [
        "{}",
        '{"_name_or_path": "/home/me/models/mine"}',
        '{"_name_or_path": "out/home/checkpoint-500"}',
        '{"_name_or_path": "out/home"}',
        '{"_name_or_path": 1}',
        "{",
    ],
)
def test_an_unknown_folder_is_named_without_its_path(group: Group, tmp_path: Path, config: str) -> None:
    backbone = folder_at(tmp_path / "my-encoder", config)
    text = card_on(group, backbone)
    assert base_model(text) is None
    assert "seq_bn adapter on my-encoder\n" in text
    assert f"named `my-encoder`. Its digest: `{resolve(backbone).digest}`" in text
    assert "/home" not in text
    assert str(tmp_path) not in text


def test_a_folder_that_is_gone_or_has_changed_is_not_asked_for_its_name(group: Group, tmp_path: Path) -> None:
    backbone = folder_at(tmp_path / "in-domain", '{"_name_or_path": "roberta-base"}')
    for each in (backbone, Backbone(name="~/no-such-folder/in-domain")):
        text = card_on(group, each, "sha256-of-training")
        assert base_model(text) is None
        assert "seq_bn adapter on in-domain\n" in text
