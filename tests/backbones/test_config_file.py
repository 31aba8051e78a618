"""A config.json is read as plain JSON: published ones are accepted, and what is not known to be safe is refused."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from empslurm.backbones import config_file
from empslurm.backbones.families import FAMILIES
from empslurm.backbones.families.facts import EVERYWHERE, Refused
from empslurm.errors import BackboneError
from empslurm.validation.reader import shown
from tests.backbones.real import REAL


def real(name: str, **changes: Any) -> dict[str, Any]:
    """A published config.json with changes; a key is left out where its change is `...`."""
    changed = {**REAL[name][0], **changes}
    return {key: value for key, value in changed.items() if value is not ...}


def problem(folder: Path, config: object) -> str:
    """Why it is refused, in one line that names the file."""
    text = config if isinstance(config, str | bytes) else json.dumps(config)
    (folder / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BackboneError) as caught:
        config_file.read(folder)
    said = str(caught.value)
    assert str(folder) in said
    assert " must " in said
    assert ";" in said
    assert "\n" not in said
    return said.replace(str(folder), "FOLDER")


@pytest.mark.parametrize("name", REAL)
def test_published_encoders_are_accepted_and_only_what_shapes_them_is_passed_on(name: str, tmp_path: Path) -> None:
    config, hidden, n_layers, longest = REAL[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    family, values = config_file.read(tmp_path)
    facts = FAMILIES[family]
    assert family == config["model_type"]
    assert set(values) <= set(facts.keys)
    assert {key: values[key] for key in values if key in config and key != "pos_att_type"} == {
        key: config[key] for key in values if key in config and key != "pos_att_type"
    }
    assert values.get("pos_att_type", ["p2c", "c2p"]) == ["p2c", "c2p"]
    assert (values[facts.hidden_key], values[facts.layers_key], facts.max_tokens(values)) == (hidden, n_layers, longest)


def test_every_family_has_a_published_encoder_among_these_tests() -> None:
    assert {config["model_type"] for config, *_ in REAL.values()} == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_key_that_could_run_code_is_refused_by_its_name(family: str, tmp_path: Path) -> None:
    name = next(name for name, (config, *_) in REAL.items() if config["model_type"] == family)
    refused = [key for key, rule in {**EVERYWHERE, **FAMILIES[family].others}.items() if isinstance(rule, Refused)]
    assert {"auto_map", "_attn_implementation_internal", "attn_implementation", "quantization_config"} <= set(refused)
    for key in refused:
        for value in (None, "someone/kernel", {"AutoModel": "evil.Model"}, True):
            assert f"must not have {key}, but does: " in problem(tmp_path, real(name, **{key: value}))
    for key in ("_attn_implementation_2", "_x", "__class__", "_"):
        assert f"the private key {shown(key)}" in problem(tmp_path, real(name, **{key: 1}))


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("bert-base-uncased", {"is_decoder": True}, "is_decoder: false or lack it, but has True"),
        ("bert-base-uncased", {"is_decoder": 1}, "is_decoder: false or lack it, but has 1"),
        ("roberta-base", {"add_cross_attention": True}, "add_cross_attention: false"),
        ("bert-base-uncased", {"pruned_heads": {"0": [1]}}, "pruned_heads: {} or lack it"),
        ("bert-base-uncased", {"position_embedding_type": "relative_key"}, 'position_embedding_type: "absolute"'),
        ("microsoft/deberta-v3-base", {"conv_kernel_size": 3}, "conv_kernel_size: 0 or lack it, but has 3: a convo"),
        ("microsoft/deberta-v3-base", {"relative_attention": False}, "relative_attention must be true"),
        ("microsoft/deberta-v3-base", {"pos_att_type": "p2c|p2p"}, r"pos_att_type\[1\] must be one of c2p, p2c"),
        ("microsoft/deberta-v3-base", {"attention_head_size": 32}, "attention_head_size must be .* 64, but is 32"),
        ("microsoft/deberta-v3-base", {"embedding_size": 32}, "embedding_size must be hidden_size, 768, but is 32"),
        ("microsoft/deberta-v3-base", {"position_buckets": 1}, "position_buckets must be -1, or at least 2"),
        ("microsoft/deberta-v3-base", {"position_buckets": 1024}, "position_buckets must be -1, or at least 2"),
        ("answerdotai/ModernBERT-base", {"rope_parameters": {}}, "not have rope_parameters, but does: transformers 5"),
        ("answerdotai/ModernBERT-base", {"rope_scaling": {"type": "yarn"}}, "rope_scaling: null or lack it"),
        ("answerdotai/ModernBERT-base", {"hidden_size": 756}, "must be even, .* but is 63"),
        ("distilbert-base-uncased", {"hidden_size": 768}, "not have hidden_size, but does: this family calls it dim"),
        ("microsoft/mpnet-base", {"relative_attention_num_buckets": 64}, "num_buckets: 32 or lack it, but has 64"),
        ("bert-base-uncased", {"hidden_size": 770}, "hidden_size must be divisible by num_attention_heads, but is 770"),
        ("bert-base-uncased", {"pad_token_id": 30522}, "pad_token_id must be below vocab_size, 30522, but is 30522"),
        ("roberta-base", {"max_position_embeddings": 2}, "max_position_embeddings must leave room"),
        ("roberta-base", {"pad_token_id": None}, "pad_token_id must be an integer"),
        ("bert-base-uncased", {"num_hidden_layers": True}, "num_hidden_layers must be an integer .*, but is True"),
        ("bert-base-uncased", {"num_hidden_layers": 12.0}, "num_hidden_layers must be an integer .*, but is 12.0"),
        ("bert-base-uncased", {"num_hidden_layers": 0}, "num_hidden_layers must be an integer at least 1"),
        ("bert-base-uncased", {"hidden_size": 10**25}, "hidden_size must be an integer at least 1 and at most 65,536"),
        ("bert-base-uncased", {"hidden_size": [768]}, r"hidden_size must be an integer .*, but is \[768\]"),
        ("bert-base-uncased", {"hidden_act": "os.system"}, "hidden_act must be one of gelu, .*, but is os.system"),
        ("bert-base-uncased", {"layer_norm_eps": 0}, "layer_norm_eps must be a number above 0"),
        ("bert-base-uncased", {"hidden_dropout_prob": "0.1"}, "hidden_dropout_prob must be a number"),
        ("bert-base-uncased", {"num_attention_heads": ...}, "num_attention_heads must be there, but is not"),
        ("bert-base-uncased", {"model_type": "gpt2"}, "must be of an encoder of the families bert, .* is gpt2; name"),
        ("bert-base-uncased", {"model_type": "deberta"}, "its model_type is deberta;"),
        ("bert-base-uncased", {"model_type": ["bert"]}, r"its model_type is \['bert'\]"),
        ("bert-base-uncased", {"model_type": ...}, "its model_type is None"),
    ],
)
def test_what_the_engine_does_not_have_is_refused_with_the_reason(
    name: str, changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    assert re.search(said, problem(tmp_path, real(name, **changes)))


def ropes(full: object = 5.0, near: object = 7.0, **more: object) -> dict[str, Any]:
    kinds = {"full_attention": full, "sliding_attention": near}
    return {kind: {"rope_type": "default", "rope_theta": theta, **more} for kind, theta in kinds.items()}


def as_of_5(every: int, n_layers: int, **changes: Any) -> dict[str, Any]:
    """ModernBERT's config.json as transformers 5 writes it."""
    types = ["sliding_attention" if index % every else "full_attention" for index in range(n_layers)]
    new = {"layer_types": types, "rope_parameters": ropes(), "num_hidden_layers": n_layers, **changes}
    old = dict.fromkeys(("global_attn_every_n_layers", "global_rope_theta", "local_rope_theta"), ...)
    return real("answerdotai/ModernBERT-base", **{**old, **new})


@pytest.mark.parametrize(("every", "n_layers"), [(1, 3), (2, 5), (3, 22), (3, 2), (4, 1)])
def test_a_modernbert_that_transformers_5_wrote_is_read_as_one_of_4_57(
    every: int, n_layers: int, tmp_path: Path
) -> None:
    for kept in ({}, {"global_attn_every_n_layers": every, "global_rope_theta": 5.0}):
        (tmp_path / "config.json").write_text(json.dumps(as_of_5(every, n_layers, **kept)))
        _, values = config_file.read(tmp_path)
        read = values["global_attn_every_n_layers"]
        assert [index % read for index in range(n_layers)] == [index % every for index in range(n_layers)]
        assert (values["global_rope_theta"], values["local_rope_theta"]) == (5.0, 7.0)
        assert {"layer_types", "rope_parameters"}.isdisjoint(values)
        with pytest.raises(BackboneError, match=r"must not have (layer_types|rope_parameters), but does"):
            config_file.read(tmp_path, others=False)  # a library that reads it itself may not know these keys


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("layer_types", {"layer_types": ["full_attention", "full_attention", "sliding_attention", "full_attention"]}),
        ("layer_types", {"layer_types": ["sliding_attention"] * 4}),
        ("layer_types", {"layer_types": ["full_attention"] * 3}),
        ("layer_types", {"layer_types": [["full_attention"]] * 4}),
        ("layer_types", {"global_attn_every_n_layers": 2}),
        ("rope_parameters", {"rope_parameters": ropes(factor=2.0)}),
        ("rope_parameters", {"rope_parameters": ropes(rope_type="yarn")}),
        ("rope_parameters", {"rope_parameters": ropes(full=None)}),
        ("rope_parameters", {"rope_parameters": {"full_attention": ropes()["full_attention"]}}),
        ("rope_parameters", {"rope_parameters": {"rope_type": "default", "rope_theta": 5.0}}),
        ("rope_parameters", {"global_rope_theta": 6.0}),
    ],
)
def test_what_4_57_cannot_say_of_a_modernbert_is_refused(key: str, changes: dict[str, Any], tmp_path: Path) -> None:
    assert f"must not have {key}, but does: transformers 5 wrote it" in problem(tmp_path, as_of_5(3, 4, **changes))


def test_a_modernbert_without_a_theta_of_its_own_within_windows_has_the_global_one(tmp_path: Path) -> None:
    for theta, expected in ((9.0, 9.0), (..., 160_000.0)):
        config = real("answerdotai/ModernBERT-base", local_rope_theta=None, global_rope_theta=theta)
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert config_file.read(tmp_path)[1]["local_rope_theta"] == expected


def test_a_misspelt_key_is_refused_and_a_note_is_dropped(tmp_path: Path) -> None:
    config = real("bert-base-uncased", layer_norm_eps=..., layer_norm_esp=1e-5)
    assert "unknown key layer_norm_esp and lack layer_norm_eps" in problem(tmp_path, config)
    config = real("bert-base-uncased", hidden_dropout_prob=..., hidden_dropout=0.2)
    assert "write `hidden_dropout_prob` if that is meant" in problem(tmp_path, config)
    config = real("bert-base-uncased", my_note=3, layer_norm_esp=1e-5, sep_token_id=5, pad_token_id=...)
    (tmp_path / "config.json").write_text(json.dumps(config))
    _, values = config_file.read(tmp_path)
    assert {"my_note", "layer_norm_esp", "sep_token_id"}.isdisjoint(values)
    assert (values["layer_norm_eps"], values["pad_token_id"]) == (1e-12, 0)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ('{"model_type": "bert", "model_type": "gpt2"}', "the key model_type is there twice"),
        ('{"model_type": "bert", "x": {"auto_map": 1, "auto_map": 2}}', "the key auto_map is there twice"),
        ('{"hidden_size": NaN}', "NaN is not JSON"),
        ('{"hidden_size": -Infinity}', "Infinity is not JSON"),
        ('{"hidden_size": 1e999}', "a number is too large"),
        ('{"hidden_size": ' + "9" * 5000 + "}", "a number is too large"),
        ("[" * 100_000, "must hold plain JSON"),
        ('{"a": ' + "[" * 60 + "]" * 60 + "}", "nests deeper than 50 levels"),
        (b"\xef\xbb\xbf{}", "must hold plain JSON"),
        ('{"model_type": "\\ud800"}', "must hold plain JSON"),
        (b"\xff\xfe{\x00}\x00", "UnicodeDecodeError"),
        (b"", "must hold plain JSON"),
        ("[]", "must hold an object, but holds []"),
        (b"\x80\x04\x95", "must hold plain JSON"),
    ],
)
def test_what_is_no_plain_json_object_is_refused(data: str | bytes, said: str, tmp_path: Path) -> None:
    assert said in problem(tmp_path, data)


def test_a_file_of_any_other_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"

    def said() -> str:
        with pytest.raises(BackboneError) as caught:
            config_file.read(tmp_path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "config.json must be a readable file, but is not there" in said()
    path.symlink_to(tmp_path / "nowhere")
    assert "is not there" in said()
    path.unlink()
    path.mkdir()
    assert "must be a regular file" in said()
    path.rmdir()
    os.mkfifo(path)
    assert "must be a regular file" in said()
    path.unlink()
    with open(path, "wb") as stream:
        stream.truncate(100 * 2**20)  # without taking room
    assert "must be smaller than 8,388,608 bytes" in said()
    path.unlink()
    (tmp_path / "blob").write_text(json.dumps(real("roberta-base")))
    path.symlink_to(tmp_path / "blob")  # as in the hub's cache
    assert config_file.read(tmp_path)[0] == "roberta"


def test_files_that_a_loader_would_follow_are_refused(tmp_path: Path) -> None:
    good = real("roberta-base")
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
    assert "has an adapter_config.json" in problem(tmp_path, good)
    (tmp_path / "adapter_config.json").unlink()
    index = tmp_path / "model.safetensors.index.json"
    bad: tuple[object, ...] = ({"a": "pytorch_model.bin"}, {"a": "../x.safetensors"}, {"a": 1}, [])
    for names in bad:
        index.write_text(json.dumps({"weight_map": names}))
        assert "model.safetensors.index.json must" in problem(tmp_path, good)
    index.write_text(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}))
    assert config_file.read(tmp_path)[0] == "roberta"
