"""Tokenizers of every family, made here from invented text: ids as of the library, separators, limits, refusals."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from empslurm.config import Backbone
from empslurm.errors import BackboneError, UsageError
from empslurm.train.data.tokenizer import Tokenizer, load_tokenizer
from empslurm.train.data.tokens import encode
from tests.backbones.files import weights
from tests.backbones.real import REAL

SENTENCES = (
    "The red kite flew over the hill, and Mira laughed.",
    "Nobody knows why the old bridge sings at night!",
    "Le vieux pont chante la nuit, dit-elle.",
    "赤い凧が丘の上を飛んでいる。ミラは笑った。",
    "夜になると古い橋が歌う。誰も理由を知らない。",
    "Don't worry: 3.5 boats are 3.5 boats.",
)
TEXTS = ("The red kite!", "", "赤い凧が歌う", "Nobody knows why the old bridge sings", "unseen ☃ Zebra")
CONTEXTS = (("Le vieux pont", "chante"), (), ("丘の上", "the night", "why?"), (), ("a",))
STYLES = ("bert", "electra", "distilbert", "roberta", "mpnet", "xlm-roberta", "camembert", "deberta-v2", "modernbert")
SENTENCEPIECE = {"xlm-roberta": "XLMRoberta", "camembert": "Camembert", "deberta-v2": "DebertaV2"}


def wordpiece(folder: Path, name: str, pad: str, unknown: str, ends: tuple[str, str], mask: str) -> None:
    """A tokenizer with a word list, saved by its class."""
    backend = Backend(models.WordPiece(unk_token=unknown))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = list(dict.fromkeys((pad, unknown, *ends, mask)))
    backend.train_from_iterator(SENTENCES, trainers.WordPieceTrainer(vocab_size=200, special_tokens=specials))
    vocabulary = backend.get_vocab()
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)) + "\n")
    saved_by(folder, name)


def saved_by(folder: Path, name: str) -> None:
    """Let the class of this name read the folder's vocabulary, and save it in the way of the installed release."""
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    getattr(transformers, name).from_pretrained(folder).save_pretrained(folder)


def byte_level(specials: list[str]) -> Any:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=350, special_tokens=specials, initial_alphabet=alphabet)
    backend.train_from_iterator(SENTENCES, trainer)
    return backend


def bert_template(single: str = "[CLS] $A [SEP]", pair: str | None = "[CLS] $A [SEP] $B:1 [SEP]:1") -> Any:
    specials = [("[CLS]", 1), ("[SEP]", 2)]
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=specials)


def generic(folder: Path, template: Any = None, **settings: Any) -> None:
    """As ModernBERT's: a `PreTrainedTokenizerFast`, all of which is in tokenizer.json."""
    backend = byte_level(["[PAD]", "[CLS]", "[SEP]", "[MASK]"])
    backend.post_processor = bert_template() if template is None else template
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"} | settings
    known = {key: value for key, value in names.items() if value is not None}
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **known).save_pretrained(folder)


def unigram(folder: Path, family: str) -> None:
    """A folder as of hubs, with a sentencepiece model alone."""
    import sentencepiece

    name = "spm.model" if family == "deberta-v2" else "sentencepiece.bpe.model"
    options: dict[str, Any] = {}
    if family == "deberta-v2":  # its own special tokens are part of the model, as in the published one
        options = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "pad_piece": "[PAD]", "bos_piece": "[CLS]"}
        options |= {"eos_piece": "[SEP]", "unk_piece": "[UNK]", "byte_fallback": True}
    with (folder / name).open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(SENTENCES * 3),
            model_writer=file,
            vocab_size=400,
            hard_vocab_limit=False,
            character_coverage=1.0,
            minloglevel=2,
            **options,
        )
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": f"{SENTENCEPIECE[family]}Tokenizer", "do_lower_case": False})
    )


def roberta(folder: Path) -> None:
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    byte_level(specials).model.save(str(folder))
    saved_by(folder, "RobertaTokenizerFast")


BRACKETS = ("[PAD]", "[UNK]", ("[CLS]", "[SEP]"), "[MASK]")
MAKERS: Mapping[str, Callable[[Path], None]] = {
    "bert": lambda folder: wordpiece(folder, "BertTokenizerFast", *BRACKETS),
    "electra": lambda folder: wordpiece(folder, "ElectraTokenizerFast", *BRACKETS),
    "distilbert": lambda folder: wordpiece(folder, "DistilBertTokenizerFast", *BRACKETS),
    "mpnet": lambda folder: wordpiece(folder, "MPNetTokenizerFast", "<pad>", "[UNK]", ("<s>", "</s>"), "<mask>"),
    "roberta": roberta,
    "modernbert": generic,
    **{name: lambda folder, name=name: unigram(folder, name) for name in SENTENCEPIECE},  # type: ignore[misc]
}


def finish(folder: Path, family: str, **config: Any) -> Path:
    """Make it a backbone's folder: config.json, and a file in the place of weights."""
    published = next(value for value, *_ in REAL.values() if value["model_type"] == family)
    small = {"vocab_size": 1000, "pad_token_id": published.get("pad_token_id", 0) % 1000}
    (folder / "config.json").write_text(json.dumps({**published, **small, **config}))
    weights(folder)
    return folder


def load(folder: Path) -> Tokenizer:
    return load_tokenizer(Backbone(name=str(folder)))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A family -> the folder of its tokenizer, made when it is first asked for."""
    root = tmp_path_factory.mktemp("tokenizers")

    def folder(family: str) -> Path:
        if not (root / family).is_dir():
            (root / family).mkdir()
            MAKERS[family](root / family)
            finish(root / family, family)
        return root / family

    return folder


@pytest.mark.filterwarnings("ignore:The sentencepiece tokenizer")
@pytest.mark.parametrize("family", STYLES)
def test_ids_are_those_of_the_library(folders: Callable[[str], Path], family: str) -> None:
    library = transformers.AutoTokenizer.from_pretrained(folders(family))
    tokenizer = load(folders(family))
    joined = [f" {library.sep_token} ".join(turns) for turns in CONTEXTS]
    for (ids, start, cut), context, text in zip(encode(tokenizer, CONTEXTS, TEXTS, 500), joined, TEXTS, strict=True):
        assert ids == library(*([context, text] if context else [text]))["input_ids"]
        n_text = len(library(text, add_special_tokens=False)["input_ids"])
        assert start == (len(ids) - n_text - 1 if context else 0)
        assert not cut
    assert tokenizer.n_pair == library.num_special_tokens_to_add(pair=True)
    assert tokenizer.pad_id == library.pad_token_id
    assert tokenizer.segments == (family in {"bert", "electra"})
    assert tokenizer.backend.token_to_id(library.sep_token) in tokenizer.pieces([joined[2]])[0]


@pytest.mark.parametrize("family", STYLES)
def test_a_text_keeps_its_head_and_a_context_its_tail(folders: Callable[[str], Path], family: str) -> None:
    tokenizer = load(folders(family))
    context, text = tokenizer.pieces(["one old bridge and a red kite over the hill", "The red kite flew over the hill"])
    begin, middle, end = tokenizer.pair
    for n_context, n_text in ((3, len(text)), (0, 5)):
        room = n_context + n_text + (tokenizer.n_pair)
        rows = ((["one old bridge and a red kite over the hill"],), ["The red kite flew over the hill"])
        ((ids, start, cut),) = encode(tokenizer, *rows, room)
        assert cut
        if n_context:
            assert ids == [*begin, *context[-n_context:], *middle, *text, *end]
            assert ids[start:] == [*text, *end]
        else:
            assert (ids[len(tokenizer.single[0]) :][:5], start) == (text[:5], 0)
        assert len(ids) <= room


@pytest.mark.parametrize("family", SENTENCEPIECE)
def test_pieces_are_those_of_sentencepiece(folders: Callable[[str], Path], family: str) -> None:
    import sentencepiece

    (path,) = folders(family).glob("*.model")
    own = sentencepiece.SentencePieceProcessor(model_file=str(path))
    tokenizer = load(folders(family))
    for sentence in SENTENCES:
        (ids,) = tokenizer.pieces([sentence])
        assert [tokenizer.backend.id_to_token(number) for number in ids] == own.encode(sentence, out_type=str)


@pytest.mark.parametrize("name", ["BertTokenizer", "ElectraTokenizerFast", "RobertaTokenizer", None])
def test_a_tokenizer_file_counts_whole_whatever_the_class_would_do(tmp_path: Path, name: str | None) -> None:
    MAKERS["bert"](tmp_path)
    path, settings = tmp_path / "tokenizer.json", tmp_path / "tokenizer_config.json"
    own = Backend.from_file(str(path))
    own.normalizer = normalizers.Sequence([normalizers.Replace("@bob", "kite"), own.normalizer])
    own.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), own.pre_tokenizer])
    own.save(str(path))
    kept = {key: value for key, value in json.loads(settings.read_text()).items() if key != "tokenizer_class"}
    settings.write_text(json.dumps(kept | ({"tokenizer_class": name} if name else {})))
    tokenizer = load(finish(tmp_path, "bert"))
    texts = ("@bob over 35 Hills", "the kite over 3 5 hills")
    expected = [own.encode(text, add_special_tokens=False).ids for text in texts]
    assert tokenizer.pieces(texts) == expected
    assert expected[0][0] == own.encode("kite", add_special_tokens=False).ids[0]
    specials = [own.token_to_id("[CLS]")], [own.token_to_id("[SEP]")]
    assert list(map(list, tokenizer.single)) == list(specials)


@pytest.mark.parametrize("family", ["bert", "mpnet", "roberta"])
def test_the_settings_that_count_beside_the_file_are_those_of_4_57(tmp_path: Path, family: str) -> None:
    MAKERS[family](tmp_path)
    path = tmp_path / "tokenizer_config.json"
    settings = {key: value for key, value in json.loads(path.read_text()).items() if key != "add_prefix_space"}
    changed = {"roberta": {"add_prefix_space": True}}.get(family, {"do_lower_case": False})
    path.write_text(json.dumps(settings | {"do_lower_case": True}))
    usual = load(finish(tmp_path, family)).pieces(["The", " The", "the"])
    path.write_text(json.dumps(settings | changed))
    first, spaced, lower = load(tmp_path).pieces(["The", " The", "the"])
    if family == "roberta":
        assert (usual[0] != usual[1], first == spaced) == (True, True)
    else:
        assert (usual[0] == usual[2], first != lower) == (True, True)


def test_a_saved_truncation_and_padding_do_nothing(tmp_path: Path) -> None:
    generic(tmp_path)
    backend = Backend.from_file(str(tmp_path / "tokenizer.json"))
    backend.enable_truncation(4)
    backend.enable_padding(length=64)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load(finish(tmp_path, "modernbert"))
    assert len(tokenizer.pieces([SENTENCES[0], "a"])[0]) > 20
    assert len(tokenizer.pieces([SENTENCES[0], "a"])[1]) == 1


def test_a_token_for_padding_is_not_needed(tmp_path: Path) -> None:
    generic(tmp_path, pad_token=None)
    assert load(finish(tmp_path, "modernbert")).pad_id == 1


def test_the_separator_is_the_templates_if_none_is_named(tmp_path: Path) -> None:
    generic(tmp_path, sep_token=None)
    tokenizer = load(finish(tmp_path, "modernbert"))
    assert tokenizer.separator == "[SEP]"
    ((ids, _, _),) = encode(tokenizer, [("The hill", "The kite")], ["Yes"], 100)
    assert ids.count(2) == 3


def test_two_segments_need_a_model_that_has_them(tmp_path: Path) -> None:
    generic(tmp_path)
    for config, expected in (({"type_vocab_size": 1}, False), ({"type_vocab_size": 2}, True), ({}, True)):
        assert load(finish(tmp_path, "bert", **config)).segments == expected


def test_a_length_without_room_for_text_is_refused(folders: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match=r"larger than the 4 special tokens .* but is 4"):
        list(encode(load(folders("roberta")), [("a",)], ["b"], 4))


@pytest.mark.parametrize(
    ("single", "pair", "reason"),
    [
        ("$A [SEP]", "$A [SEP] $B:1 [SEP]:1", "puts a special token first, since heads read the first token"),
        ("[CLS] $A", "[CLS] $A $B:1", "puts a special token between a context and a text"),
        ("[CLS] $A", "[CLS] $B $A [SEP]", "adds special tokens before, between and after texts only"),
        ("[CLS] $A $A", "[CLS] $A [SEP] $B", "adds special tokens before, between and after texts only"),
    ],
)
def test_a_template_that_does_not_fit_is_refused(tmp_path: Path, single: str, pair: str, reason: str) -> None:
    generic(tmp_path, bert_template(single, pair))
    refused(finish(tmp_path, "modernbert"), reason)


def test_a_tokenizer_without_a_template_is_refused(tmp_path: Path) -> None:
    generic(tmp_path, processors.ByteLevel(), sep_token=None)
    refused(finish(tmp_path, "modernbert"), "puts a special token first")


def test_a_token_beyond_the_models_vocabulary_is_refused(tmp_path: Path) -> None:
    generic(tmp_path)
    n_tokens = len(json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"])
    assert load(finish(tmp_path, "modernbert", vocab_size=n_tokens))
    library = transformers.AutoTokenizer.from_pretrained(tmp_path)
    library.add_tokens(["<new>"])
    library.save_pretrained(tmp_path)
    refused(tmp_path, f"'<new>' has the id {n_tokens} and config.json says vocab_size {n_tokens}")


def test_a_separator_that_is_cut_is_refused(tmp_path: Path) -> None:
    generic(tmp_path)
    value = json.loads((tmp_path / "tokenizer_config.json").read_text())
    kept = {key: entry for key, entry in value.items() if key not in ("added_tokens_decoder", "sep_token")}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(kept))
    (tmp_path / "special_tokens_map.json").unlink(missing_ok=True)
    value = json.loads((tmp_path / "tokenizer.json").read_text())
    value["added_tokens"] = [entry for entry in value["added_tokens"] if entry["content"] != "[SEP]"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    refused(finish(tmp_path, "modernbert"), r"reads its separator as one token")


def test_a_model_without_a_token_for_what_is_unknown_is_refused(tmp_path: Path) -> None:
    backend = Backend(models.WordLevel({"[CLS]": 0, "[SEP]": 1, "a": 2}, unk_token="[UNK]"))
    backend.post_processor = processors.BertProcessing(("[SEP]", 1), ("[CLS]", 0))
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, sep_token="[SEP]").save_pretrained(tmp_path)
    refused(finish(tmp_path, "modernbert"), "must have a tokenizer that loads, but it does not: .*UNK")


def refused(folder: Path, reason: str) -> None:
    with pytest.raises(BackboneError, match=reason) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}, "auto_map"),
        ({"init_inputs": ["/etc/hostname"]}, "init_inputs"),
        ({"vocab": "/etc/hostname"}, "by the key vocab"),
        ({"merges": ["a b"]}, "by the key merges"),
        ({"from_slow": True}, "by the key from_slow"),
        ({"spm": "/etc/hostname"}, "must name only files of its folder, but spm is '/etc/hostname'"),
        ({"tokenizer_file": "/etc/hostname"}, "must name only files of its folder, but tokenizer_file"),
        ({"tokenizer_class": "Trainer"}, "tokenizer_class Trainer has none"),
        ({"tokenizer_class": "NoSuchTokenizer"}, "tokenizer_class NoSuchTokenizer has none"),
        ({"tokenizer_class": "BertJapaneseTokenizer"}, "tokenizer_class BertJapaneseTokenizer has none"),
        ({"tokenizer_class": 7}, "tokenizer_class 7 has none"),
    ],
)
def test_settings_that_could_run_or_read_something_else_are_refused(
    tmp_path: Path, folders: Callable[[str], Path], settings: Mapping[str, Any], reason: str
) -> None:
    shutil.copytree(folders("modernbert"), tmp_path, dirs_exist_ok=True)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | dict(settings)))
    (tmp_path / "evil.py").write_text("raise SystemExit('code of a folder ran')")
    refused(tmp_path, reason)


@pytest.mark.parametrize("name", ["BertModel", "AutoModel", "CanineTokenizer", "RagRetriever", 7])
def test_a_class_that_config_json_names_is_checked_likewise(
    tmp_path: Path, folders: Callable[[str], Path], name: object
) -> None:
    shutil.copytree(folders("modernbert"), tmp_path, dirs_exist_ok=True)
    path = tmp_path / "tokenizer_config.json"
    settings = {key: value for key, value in json.loads(path.read_text()).items() if key != "tokenizer_class"}
    path.write_text(json.dumps(settings))
    refused(finish(tmp_path, "bert", tokenizer_class=name), f"its tokenizer_class {name} has none")
    assert load(finish(tmp_path, "bert", tokenizer_class="PreTrainedTokenizerFast"))


def test_another_tokenizer_file_of_the_folder_is_refused(tmp_path: Path, folders: Callable[[str], Path]) -> None:
    shutil.copytree(folders("modernbert"), tmp_path, dirs_exist_ok=True)
    other = shutil.copy(tmp_path / "tokenizer.json", tmp_path / "other.json")
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_file": str(other)}))
    refused(tmp_path, "must name only files of its folder, but tokenizer_file")


def test_a_huge_file_is_refused_unread(tmp_path: Path, folders: Callable[[str], Path]) -> None:
    shutil.copytree(folders("modernbert"), tmp_path, dirs_exist_ok=True)
    with (tmp_path / "tokenizer_config.json").open("r+b") as file:
        file.truncate(17 * 2**20)
    refused(tmp_path, "at most 16 MiB, but holds 17")


VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**15,
    0.5,
    "",
    "../x",
    "{{ 1 / 0 }}",
    "\ud83e",
    [],
    [[]],
    {},
    {"a": None},
    {"__type": "AddedToken"},
)


def test_hostile_files_are_refused_in_a_sentence(
    tmp_path: Path, folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A loaded one must still give ids within the vocabulary; nothing asks on stdin."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked on stdin"))
    draw = random.Random(20261128)
    refusals = []
    for number in range(300):
        folder = tmp_path / str(number)
        shutil.copytree(folders(draw.choice(("modernbert", "bert", "roberta"))), folder)
        spoil(draw.choice([folder / name for name in FILES if (folder / name).exists()]), draw)
        try:
            tokenizer = load(folder)
            assert all(0 <= token < 1000 for ids, _, _ in encode(tokenizer, CONTEXTS, TEXTS, 50) for token in ids)
        except BackboneError as error:
            refusals.append(str(error))
        shutil.rmtree(folder)
    assert 30 < len(refusals) < 270
    assert [text for text in refusals if "\n" in text or "; " not in text or " must " not in text] == []
    assert "Traceback" not in capfd.readouterr().err


# transformers 5 does not write the last.
FILES = ("tokenizer_config.json", "tokenizer.json", "special_tokens_map.json")


def spoil(path: Path, draw: random.Random) -> None:
    """Change one value anywhere in a JSON file, add a key, or damage its bytes."""
    data = path.read_bytes()
    kind = draw.randrange(4)
    if kind == 0:
        path.write_bytes(data[: draw.randrange(len(data))])
        return
    value = json.loads(data)
    if kind == 1:
        keys = ("auto_map", "tokenizer_class", "added_tokens_decoder", "chat_template", "tokenizer_file", "vocab_file")
        value[draw.choice((*keys, "extra_special_tokens", "model_input_names", "cls_token", "__slow_tokenizer"))] = (
            draw.choice(VALUES)
        )
    else:
        at: Any = value
        while isinstance(at, dict | list) and at:
            key = draw.choice(list(at)) if isinstance(at, dict) else draw.randrange(len(at))
            if not isinstance(at[key], dict | list) or not at[key] or draw.random() < 0.3:
                at[key] = draw.choice(VALUES)
                break
            at = at[key]
    path.write_text(json.dumps(value))
