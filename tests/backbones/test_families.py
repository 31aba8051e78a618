"""What is known of a family without torch agrees with the classes that are built from it."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

from empslurm.backbones import ResolvedBackbone, fetch, hidden_size, max_tokens, n_layers, resolve
from empslurm.backbones.families import FAMILIES
from empslurm.backbones.families.facts import DESCRIPTIVE, LEFT_OUT, REQUIRED
from empslurm.config import ADAPTER_KINDS, BANKED, Backbone
from empslurm.errors import BackboneError
from tests.backbones.files import weights_and_vocabulary
from tests.backbones.real import REAL


def folder_with(folder: Path, config: object) -> ResolvedBackbone:
    weights_and_vocabulary(folder)
    (folder / "config.json").write_text(json.dumps(config))
    return resolve(Backbone(name=str(folder)))


@pytest.mark.parametrize("name", REAL)
def test_width_depth_and_length_are_known_before_anything_is_loaded(name: str, tmp_path: Path) -> None:
    config, *sizes = REAL[name]
    resolved = folder_with(tmp_path, config)
    assert resolved.path == tmp_path
    assert [hidden_size(resolved), n_layers(resolved), max_tokens(resolved)] == sizes


def test_the_packaged_backbones_are_known_too() -> None:
    tiny, minilm = (resolve(Backbone(name=name)) for name in ("tiny", "minilm"))
    assert (tiny.family, hidden_size(tiny), n_layers(tiny), max_tokens(tiny)) == ("bert", 32, 2, 512)
    assert (minilm.family, hidden_size(minilm), n_layers(minilm), max_tokens(minilm)) == ("bert", 384, 6, 512)


def test_roberta_loses_the_positions_up_to_its_padding_and_mpnet_always_two(tmp_path: Path) -> None:
    for name, padding, longest in (
        ("roberta-base", 1, 512),
        ("roberta-base", 0, 513),
        ("camembert-base", 3, 510),
        ("microsoft/mpnet-base", 0, 512),
        ("bert-base-uncased", 7, 512),
    ):
        assert max_tokens(folder_with(tmp_path, {**REAL[name][0], "pad_token_id": padding})) == longest


def test_a_backbone_that_is_not_safe_is_not_given_out_but_keeps_its_identity(tmp_path: Path) -> None:
    good = folder_with(tmp_path, REAL["roberta-base"][0])
    hostile = folder_with(tmp_path, {**REAL["roberta-base"][0], "auto_map": {"AutoModel": "evil.Model"}})
    assert good.digest
    assert not good.refused
    assert hostile.digest not in (None, good.digest)
    assert (hostile.path, hostile.refused, hidden_size(hostile), max_tokens(hostile)) == (None, True, None, None)
    assert "must not have auto_map, but does" in hostile.problem
    with pytest.raises(BackboneError, match="must not have auto_map"):
        fetch(hostile.backbone)


def test_a_folder_that_is_no_whole_model_is_refused_by_what_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "mine"

    def problem() -> str:
        found = resolve(Backbone(name=str(folder)))
        assert found.path is None
        return found.problem

    assert f"but {folder} is not there; save" in problem()
    folder.write_text("no folder")
    assert f"but {folder} is a file; save" in problem()
    folder.unlink()
    folder.mkdir()
    assert "but has no config.json; save" in problem()
    (folder / "config.json").write_text(json.dumps(REAL["roberta-base"][0]))
    assert "but has no weights; save" in problem()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert "but has its weights only in pytorch_model.bin, which could run code; save" in problem()
    weights_and_vocabulary(folder)
    assert resolve(Backbone(name=str(folder))).problem == ""
    (folder / "vocab.txt").unlink()
    assert "must hold a tokenizer (tokenizer.json, a vocabulary or a sentencepiece .model), but holds none" in problem()
    weights_and_vocabulary(folder)
    whole = (folder / "model.safetensors").read_bytes()
    for torn in (b"", whole[:-1], whole + b"x", b"\xff" * 16):
        (folder / "model.safetensors").write_bytes(torn)
        assert "model.safetensors must be a whole safetensors file, but is damaged (" in problem()


def test_families_that_the_library_lacks_have_only_what_banks_train() -> None:
    kinds = {family: facts.adapter_kinds for family, facts in FAMILIES.items()}
    assert {family for family, some in kinds.items() if some == BANKED} == {"camembert", "mpnet", "modernbert"}
    everything = tuple(ADAPTER_KINDS)
    assert {family for family, some in kinds.items() if some == everything} == {
        "bert",
        "roberta",
        "xlm-roberta",
        "electra",
    }
    for family in ("distilbert", "deberta-v2"):
        assert set(everything) - set(kinds[family]) == {"prompt_tuning"}
        said = FAMILIES[family].kind_problem(family, "prompt_tuning")
        assert f"on a backbone of the family {family}, but is prompt_tuning: " in said
        assert FAMILIES[family].kind_problem(family, "lora") == ""


def test_facts_need_no_torch() -> None:
    code = (
        "import sys, empslurm.backbones.encoder_files; print({'torch', 'transformers', 'adapters'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.heavy
@pytest.mark.parametrize("family", FAMILIES)
def test_keys_and_defaults_are_those_of_the_class(family: str) -> None:
    from transformers import CONFIG_MAPPING, PretrainedConfig, __version__

    kind, facts = CONFIG_MAPPING[family], FAMILIES[family]
    config = kind()
    for name, key in facts.keys.items():
        if key.default not in (REQUIRED, LEFT_OUT) and hasattr(config, name):
            assert getattr(config, name) == key.default, name
    if not __version__.startswith("4."):
        pytest.skip("the keys are those of the tested release; of this one the defaults above are enough")
    # DeBERTa's class keeps these without naming them.
    unnamed = {"position_buckets", "share_att_key", "norm_rel_ebd", "embedding_size", "attention_head_size"}
    named = set(inspect.signature(kind.__init__).parameters) - {"self", "kwargs", "args"}
    assert set(facts.keys) - named <= (unnamed if family == "deberta-v2" else set())
    # Every key of the class either shapes the encoder here, or is known not to, or is refused unless it has one value.
    assert named - set(facts.keys) - DESCRIPTIVE - set(facts.others) == set()
    assert not set(facts.keys) & DESCRIPTIVE
    everywhere = set(inspect.signature(PretrainedConfig.__init__).parameters)
    assert not (set(facts.keys) - named) & everywhere
