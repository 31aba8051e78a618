"""Ten thousand hostile config.json files: each is refused in one line, or gives values that are safe to hand on."""

import gc
import json
import math
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from empslurm.backbones import config_file, encoder_files
from empslurm.backbones.families import FAMILIES
from empslurm.errors import BackboneError
from tests.backbones.real import REAL, smaller
from tests.fuzz.watch import watched
from tests.hostile import MAX_EXAMPLES, SOAK, bounded

N_FILES = max(10_000, MAX_EXAMPLES)
N_BUILT = 300  # configurations
N_MODELS = 2  # of each family
SEED = random.randrange(2**32) if SOAK else 20240612
CANARY = "canary"  # what the code of the hostile folder would write
CODE = f"open({CANARY!r}, 'w').write('ran')\nclass Model: ...\nclass Config: ...\n"
HOSTILE: tuple[tuple[str, Any], ...] = (
    ("auto_map", {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}),
    ("auto_map", {"AutoModel": "someone/repo--evil.Model"}),
    ("_attn_implementation_internal", "someone/kernel"),
    ("_attn_implementation", "someone/kernel:attention"),
    ("attn_implementation", "kernels-community/flash-attn"),
    ("custom_pipelines", {"evil": {"impl": "evil.Model", "pt": ["AutoModel"]}}),
    ("trust_remote_code", True),
    ("quantization_config", {"quant_method": "evil", "modules_to_not_convert": "__import__('os').system('id')"}),
    ("_commit_hash", "../../evil"),
    ("_name_or_path", "./evil"),
    ("__class__", "evil.Config"),
    ("__init__", "evil"),
    ("__reduce__", ["os.system", ["touch canary"]]),
    ("_auto_class", "AutoModel"),
    ("architectures", ["evil.Model"]),
    ("tokenizer_class", "evil.Model"),
    ("dtype", "__import__('os')"),
    ("torch_dtype", {"x": "os.system"}),
    ("id2label", {"0": {"1": 2}}),
    ("pruned_heads", {"0": [0]}),
    ("sub_configs", {"text_config": {"auto_map": 1}}),
    ("base_model_tp_plan", {"layers.*": "evil"}),
    ("self", 1),
    ("kwargs", {"auto_map": {}}),
    ("", "empty"),
    ("\u202eauto_map", 1),
    ("auto_map\x00", 1),
    ("Auto_Map", {"AutoModel": "evil.Model"}),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 31, 32, 64, 513, 2**31, 2**63, 10**29, 10**40, -(10**20)),
    *(0.0, -0.0, 0.1, 1.0, 1.5, 1e-12, 1e300, -1e-300, 12.0),
    *("", "gelu", "relu", "silu", "layer_norm", "c2p", "p2c|c2p", "|", "absolute", "bert", "modernbert", "../../x"),
    *("os.system", "someone/kernel", "\x00", "é", "\ufeff", "\u2028", "line\nbreak", "x" * 5_000, "12", "true"),
    *([], {}, [1], ["c2p"], ["c2p", "c2p"], [[]], {"a": {"b": []}}, [None] * 1_000, {"auto_map": {"AutoModel": "e.M"}}),
)
RAW: tuple[bytes, ...] = (
    b"NaN",
    b"Infinity",
    b"1e999",
    b"9" * 5_000,
    b"[" * 2_000,
    b"\xff",
    b"\xef\xbb\xbf",
    b"\\ud800",
)
STRINGS = {
    *("gelu", "gelu_new", "gelu_fast", "gelu_python", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu", "swish"),
    *("tanh", "mish", "none", "layer_norm", "c2p", "p2c"),
}


def mutant(rng: random.Random, base: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """A good config.json with one to four things wrong, or none; and the object that it was made from."""
    config = dict(base)
    known = [key for facts in FAMILIES.values() for key in facts.keys]
    for _ in range(rng.randint(1, 4)):
        key = rng.choice(list(config) or ["x"])
        act = rng.randrange(8)
        if act <= 2:
            config[key] = rng.choice(VALUES)
        elif act == 3:
            name, value = rng.choice(HOSTILE)
            config[name] = value
        elif act == 4:
            config.pop(key, None)
        elif act == 5:
            config[rng.choice(known)] = rng.choice(VALUES)
        elif act == 6:  # misspelt, private, or of another case
            place = rng.randint(0, len(key))
            config[rng.choice((key[:place] + key[place + 1 :], f"_{key}", key.upper(), key + "s"))] = config.pop(key, 1)
        else:
            config = {**config, key: dict(config)} if rng.random() < 0.5 else {**config, key: [config.get(key)] * 3}
    data = json.dumps(config).encode()
    if rng.random() < 0.15:  # bytes that no writer of JSON makes
        place = rng.randint(0, len(data))
        data = data[:place] + rng.choice(RAW) + data[place + rng.randint(0, 4) :]
    elif rng.random() < 0.05:  # a key that is there twice
        data = b'{"model_type": "bert", ' + data[1:]
    return data, config


def mutants(seed: int, number: int, *, small: bool = False) -> Iterator[bytes]:
    rng = random.Random(seed)
    bases = [smaller(config) if small else config for config, *_ in REAL.values()]
    for _ in range(number):
        yield mutant(rng, rng.choice(bases))[0]


def is_plain(value: Any) -> bool:
    """Whether it is of a kind that a configuration of an encoder consists of, by rules of this test's own."""
    if isinstance(value, list):
        return len(value) > 0 and all(item in ("c2p", "p2c") for item in value)
    if type(value) is int:
        return -1 <= value <= 10_000_000
    if type(value) is float:
        return math.isfinite(value) and 0 <= value <= 1e12
    return value is None or type(value) is bool or (type(value) is str and value in STRINGS)


def overwrite(descriptor: int, data: bytes) -> None:
    """Give an open file another content: ten thousand files that are opened for it take most of a minute."""
    os.pwrite(descriptor, data, 0)
    os.ftruncate(descriptor, len(data))


def refusal(read: Callable[[], object]) -> str:
    """Why it is refused; empty where it is accepted."""
    try:
        read()
    except BackboneError as error:
        return str(error)
    return ""


def write_code(folder: Path) -> None:
    """A module that writes a canary when it is imported, under the names that hostile files give."""
    for name in ("evil.py", "modeling_evil.py", "__init__.py"):
        (folder / name).write_text(CODE)


def test_any_config_file_is_refused_in_one_line_or_gives_safe_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    write_code(folder)
    monkeypatch.chdir(folder)
    tally: Counter[str] = Counter()
    gc.collect()  # a warning of what another test has left would import modules of its own
    modules = set(sys.modules)
    with watched(tmp_path), open("config.json", "wb") as stream:
        for data in mutants(SEED, N_FILES):
            overwrite(stream.fileno(), data)
            with bounded():
                try:
                    family, values = config_file.read(folder)
                except BackboneError as error:
                    said = str(error)
                    assert " must " in said, data
                    assert said.isprintable(), data
                    assert len(said) < 600, data
                    tally["refused"] += 1
                    continue
            assert set(values) <= set(FAMILIES[family].keys), data
            assert all(is_plain(value) for value in values.values()), data
            assert json.loads(data)["model_type"] == family
            tally["accepted"] += 1
    assert sorted(path.name for path in folder.iterdir()) == [
        "__init__.py",
        "config.json",
        "evil.py",
        "modeling_evil.py",
    ]
    assert not {name for name in set(sys.modules) - modules if "evil" in name or not name.startswith("empslurm")}
    assert tally["accepted"] > 0.02 * N_FILES, tally  # else this test would check little
    assert tally["refused"] > 0.5 * N_FILES, tally


@pytest.mark.heavy
def test_any_accepted_config_file_makes_the_familys_configuration(tmp_path: Path) -> None:
    import torch
    from transformers import CONFIG_MAPPING, AutoModel

    built: Counter[str] = Counter()
    with open(tmp_path / "config.json", "wb") as stream:
        for data in mutants(SEED + 1, N_FILES, small=True):
            overwrite(stream.fileno(), data)
            try:
                family, values = config_file.read(tmp_path)
            except BackboneError:
                continue
            config = CONFIG_MAPPING[family](**values)
            assert {key: getattr(config, key) for key in values} == values
            if built[family] < N_MODELS:
                with torch.device("meta"):  # takes no memory, however large
                    AutoModel.from_config(config)
            built[family] += 1
            if built.total() == N_BUILT:
                break
    assert set(built) == set(FAMILIES)
    assert built.total() == N_BUILT


def test_any_files_of_a_sentence_encoder_are_refused_in_one_line_or_name_three_known_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good: dict[str, Any] = {
        "config.json": dict(REAL["microsoft/mpnet-base"][0]),
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ],
        "sentence_bert_config.json": {"max_seq_length": 384, "do_lower_case": False},
        "1_Pooling/config.json": {"word_embedding_dimension": 768, "pooling_mode_mean_tokens": True},
        "config_sentence_transformers.json": {"__version__": {"pytorch": "1.8.1"}, "prompts": {"query": ""}},
    }
    texts = ("evil.Model", "os.system", "sentence_transformers.util.import_from_string", "../evil", "/etc", "1_Dense")
    names = ("type", "path", "kwargs", "model_args", "auto_map", "trust_remote_code", "pooling_mode", "weights")
    (tmp_path / "1_Pooling").mkdir()
    write_code(tmp_path)
    monkeypatch.chdir(tmp_path)
    rng = random.Random(SEED)
    tally: Counter[str] = Counter()
    changed: list[str] = []
    streams = {name: open(name, "wb") for name in good}  # noqa: SIM115
    for name, value in good.items():
        overwrite(streams[name].fileno(), json.dumps(value).encode())
    with watched(tmp_path):
        for _ in range(N_FILES // 10):
            name = rng.choice(list(good))
            made = json.loads(json.dumps(good))
            place = rng.choice(made[name]) if isinstance(made[name], list) else made[name]
            if rng.random() < 0.9:
                place[rng.choice((*place, *names))] = rng.choice((*texts, *VALUES))
            else:
                made[name] = rng.choice(([], {}, made[name] * 2 if isinstance(made[name], list) else [made[name]]))
            for path in {name, *changed}:
                overwrite(streams[path].fileno(), json.dumps(made[path]).encode())
            changed = [name]
            said = refusal(lambda: encoder_files.read(tmp_path))
            if said:
                assert said.isprintable(), made
                tally["refused"] += 1
                continue
            kinds = [module["type"] for module in made["modules.json"]]
            assert kinds == [module["type"] for module in good["modules.json"]][: len(kinds)]
            assert {module["path"] for module in made["modules.json"]} <= {"", "1_Pooling", "2_Normalize", "1_Dense"}
            tally["accepted"] += 1
    for stream in streams.values():
        stream.close()
    assert not (tmp_path / CANARY).exists()
    assert min(tally["accepted"], tally["refused"]) > N_FILES // 400, tally
