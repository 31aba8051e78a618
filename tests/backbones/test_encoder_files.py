"""What sentence-transformers would read of a folder is checked before it does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from empslurm.backbones import encoder_files, resolve, resolve_encoder
from empslurm.config import Backbone
from empslurm.errors import BackboneError
from tests.backbones.files import weights_and_vocabulary
from tests.backbones.real import REAL

GOOD: dict[str, Any] = {
    "config.json": REAL["microsoft/mpnet-base"][0],
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ],
    "sentence_bert_config.json": {"max_seq_length": 384, "do_lower_case": False},
    "1_Pooling/config.json": {
        "word_embedding_dimension": 768,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    },
    "config_sentence_transformers.json": {
        "__version__": {"sentence_transformers": "2.0.0", "transformers": "4.6.1", "pytorch": "1.8.1"}
    },
}


def module(kind: str, **changes: Any) -> list[dict[str, Any]]:
    """The good modules.json with one module changed."""
    return [{**item, **changes} if item["type"].endswith(f".{kind}") else dict(item) for item in GOOD["modules.json"]]


def write(folder: Path) -> Path:
    for name, value in GOOD.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(value))
    return folder


def test_a_published_encoder_is_accepted_with_and_without_its_modules(tmp_path: Path) -> None:
    family, values = encoder_files.read(write(tmp_path))
    assert (family, values["hidden_size"]) == ("mpnet", 768)
    for name in ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"):
        (tmp_path / name).unlink()
        assert encoder_files.read(tmp_path)[0] == "mpnet"


@pytest.mark.parametrize("name", REAL)
def test_each_published_config_file_has_known_keys_only(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(REAL[name][0]))
    assert encoder_files.read(tmp_path)[0] == REAL[name][0]["model_type"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("config.json", {**GOOD["config.json"], "transformers_weights": "x"}, "must not have transformers_weights"),
        ("config.json", {**GOOD["config.json"], "experts": 1}, "must not have the unknown key experts, but does, and"),
        ("tokenizer_config.json", {"tokenizer_file": "/etc/hostname"}, "only files of its folder, but tokenizer_file"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil"]}}, "by the key auto_map"),
        ("config.json", {**GOOD["config.json"], "auto_map": {}}, "must not have auto_map, but does"),
        ("modules.json", module("Normalize", type="evil.Module"), "type must be the library's .*, but is evil.Module"),
        ("modules.json", module("Pooling", type="os.system"), "type must be the library's"),
        ("modules.json", module("Pooling", type="sentence_transformers.evil.Model"), "type must be the library's"),
        ("modules.json", module("Pooling", type="sentence_transformers.models.Dense"), "type must be the library's"),
        ("modules.json", module("Pooling", path="../1_Pooling"), "path must be empty or a folder such as 1_Pooling"),
        ("modules.json", module("Pooling", path="/etc"), "path must be empty or a folder"),
        ("modules.json", module("Pooling", path=""), "must have its Pooling in a folder of its own"),
        ("modules.json", module("Transformer", path="0_Transformer"), "must have its Transformer in the folder itself"),
        ("modules.json", module("Pooling", kwargs=["task"]), r"must have kwargs: \[\], but has \['task'\]: they would"),
        ("modules.json", module("Pooling", code="x"), "must not have the unknown key code"),
        ("modules.json", module("Pooling", name="0"), "must name a Transformer, a Pooling and perhaps"),
        ("modules.json", GOOD["modules.json"][::-1], "in this order, but names 'Normalize, Pooling, Transformer'"),
        ("modules.json", [], "must name a Transformer, a Pooling"),
        ("modules.json", {}, "must hold a list, but holds {}"),
        ("modules.json", ["x"], r"\[0\] must be an object, but is x"),
        ("modules.json", [{}, {}], "must give idx, name, path and type of each module"),
        ("sentence_bert_config.json", {"model_args": {"trust_remote_code": True}}, "must have model_args: {}, but has"),
        ("sentence_bert_config.json", {"config_kwargs": {"auto_map": 1}}, "must have config_kwargs: {}"),
        ("sentence_bert_config.json", {"max_seq_length": 513}, "at most 512, which the model reads, but has 513"),
        ("sentence_bert_config.json", {"max_seq_length": "384"}, "max_seq_length must be an integer"),
        ("sentence_bert_config.json", {"backend": "onnx"}, "must not have the unknown key backend"),
        ("sentence_roberta_config.json", {"max_seq_length": 128}, "but has sentence_roberta_config.json; rename"),
        ("1_Pooling/config.json", {"word_embedding_dimension": 384}, "the model's width, 768, but of 384"),
        ("1_Pooling/config.json", {}, "the model's width, 768, but of None"),
        ("1_Pooling/config.json", {"word_embedding_dimension": 768, "x": 1}, "must not have the unknown key x"),
        (
            "config_sentence_transformers.json",
            {"model_type": "SparseEncoder"},
            "model_type must be SentenceTransformer",
        ),
        ("config_sentence_transformers.json", {"__version__": {"pytorch": 2}}, "must be a string, but is 2"),
    ],
)
def test_what_could_run_code_or_change_numbers_unseen_is_refused(
    name: str, value: Any, said: str, tmp_path: Path
) -> None:
    write(tmp_path)
    (tmp_path / name).write_text(json.dumps(value))
    with pytest.raises(BackboneError) as caught:
        encoder_files.read(tmp_path)
    assert re.search(said, str(caught.value))
    assert str(caught.value).isprintable()
    assert "; " in str(caught.value)


def test_a_plan_refuses_an_encoder_and_still_knows_its_identity(tmp_path: Path) -> None:
    write(tmp_path)
    weights_and_vocabulary(tmp_path)
    good = resolve_encoder(Backbone(name=str(tmp_path)))
    assert (good.path, good.problem) == (tmp_path, "")
    (tmp_path / "modules.json").write_text(json.dumps(module("Normalize", type="evil.Module")))
    refused = resolve_encoder(Backbone(name=str(tmp_path)))
    assert refused.path is None
    assert refused.digest
    assert "evil.Module" in refused.problem
    assert resolve(Backbone(name=str(tmp_path))).path == tmp_path  # as a backbone its modules are not read
    assert resolve_encoder(Backbone(name="minilm")).problem == ""
