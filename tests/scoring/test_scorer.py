"""Every adapter in the bank gives what it gives alone; seeds, contexts, errors and flags are in the records."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from empslurm import files
from empslurm.backbones import resolve
from empslurm.config import Backbone
from empslurm.errors import BackboneError, DamagedError, UsageError
from empslurm.scoring import selection
from empslurm.scoring.inputs import row_of
from empslurm.scoring.scorer import Scorer
from empslurm.scoring.selection import Chosen, Member
from tests.library import library
from tests.scoring.conftest import CONTEXTS, TEXTS

TOLERANCE = 2e-5  # rounding of single precision through two layers; records have six digits


@pytest.fixture(scope="module")
def scorer(chosen: Chosen) -> Scorer:
    return Scorer.load(chosen)


def alone(backbone: Path, member: Member, text: str, context: tuple[str, ...]) -> np.ndarray[Any, Any]:
    """(n_outputs,): by the library itself, for one adapter and one text, without padding, with hand-made tokens."""
    adapters = library()
    model = adapters.AutoAdapterModel.from_pretrained(backbone)
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    max_length, rule = member.measure.input_rule
    name = model.load_adapter(str(member.adapter), use_safetensors=True)
    stack = name
    if member.source is not None:
        stack = adapters.composition.Stack(
            model.load_adapter(str(member.source), load_as="below", with_head=False, use_safetensors=True), name
        )
    model.active_adapters, model.active_head = stack, name
    pieces = tokenizer(text, add_special_tokens=False)["input_ids"]
    before = tokenizer(" [SEP] ".join(context), add_special_tokens=False)["input_ids"] if rule == "history" else []
    room = max_length - (3 if before else 2)
    pieces = pieces[:room]
    before = before[-(room - len(pieces)) :] if room > len(pieces) else []
    begin = [tokenizer.cls_token_id, *before, *([tokenizer.sep_token_id] if before else [])]
    ids = torch.tensor([[*begin, *pieces, tokenizer.sep_token_id]])
    types = torch.tensor(
        [[0] * (len(begin) if before else 0) + [1 if before else 0] * (ids.shape[1] - (len(begin) if before else 0))]
    )
    with torch.inference_mode():
        return np.asarray(model.eval()(input_ids=ids, token_type_ids=types).logits[0].double())


def test_every_row_is_represented_as_it_is_alone(scorer: Scorer) -> None:
    rows = [row_of("", at, text, (), {}) for at, text in enumerate(TEXTS, 1)]
    rule = scorer.chosen.members[0].measure.input_rule
    every = np.arange(len(rows))
    together = scorer.bank.represent(scorer.tokens(rule, rows)[0], every)
    assert together.shape[:2] == (len(scorer.chosen.members), len(rows))
    for at, row in enumerate(rows):
        alone = scorer.bank.represent(scorer.tokens(rule, [row])[0], np.zeros(1, np.int64))
        np.testing.assert_allclose(together[:, at : at + 1], alone, atol=TOLERANCE)
    assert len(np.unique(together[:, 0].round(3), axis=0)) == len(together)


def test_each_adapter_gives_what_it_gives_alone(chosen: Chosen, scorer: Scorer, backbone: Path) -> None:
    records = scorer.score(TEXTS, CONTEXTS)
    assert {group.name: len(group.members) for group in chosen.groups} == {
        "epitome_er": 2,
        "epitome_ip": 2,
        "epitome_er--epitome_ip": 1,
        "news_empathy": 2,
    }
    for place in (0, 2, 5):
        for group in chosen.groups:
            outputs = [alone(backbone, member, TEXTS[place], CONTEXTS[place]) for member in group.members]
            found = records[place]["measures"][group.name]
            if group.measure.kind == "regression":
                values = [
                    output[0] * member.measure.scale + member.measure.centre
                    for output, member in zip(outputs, group.members, strict=True)
                ]
                assert found["value"] == pytest.approx(np.mean(values), abs=TOLERANCE)
                assert found["spread"] == pytest.approx(np.std(values, ddof=1), abs=TOLERANCE)
                continue
            shares = np.stack([np.exp(output) / np.exp(output).sum() for output in outputs])
            assert list(found["probabilities"]) == list(group.measure.labels)
            assert list(found["probabilities"].values()) == pytest.approx(shares.mean(0).tolist(), abs=TOLERANCE)
            assert found["label"] == group.measure.labels[int(shares.mean(0).argmax())]
            assert (found["spread"] is None) == (len(outputs) == 1)


def test_a_record_does_not_depend_on_its_neighbours_or_its_place(scorer: Scorer) -> None:
    together = scorer.score(TEXTS, CONTEXTS)
    backwards = scorer.score(TEXTS[::-1], CONTEXTS[::-1])[::-1]
    for place, text in enumerate(TEXTS):
        single = scorer.score([text], [CONTEXTS[place]])[0]
        _alike(together[place], single)
        _alike(together[place], backwards[place])


def _alike(one: Any, two: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            _alike(one[key], two[key])
    elif isinstance(one, float):
        assert one == pytest.approx(two, abs=TOLERANCE)
    else:
        assert one == two


def test_an_empty_text_is_an_error_of_its_row_only(scorer: Scorer) -> None:
    records = scorer.score(TEXTS)
    assert [place for place, record in enumerate(records) if "error" in record] == [4]
    assert scorer.score([" ", ""])[0].keys() == {"error"}
    with pytest.raises(UsageError, match="one context per text"):
        scorer.score(["a", "b"], [()])


def test_a_context_may_be_one_string_or_none(scorer: Scorer) -> None:
    turn, text = "I lost my job and my flat.", "Tell me more."
    assert scorer.score([text] * 3, [turn, None, float("nan")]) == scorer.score([text] * 3, [[turn], [], []])  # type: ignore[list-item]
    for arguments in (("abc",), (["abc"], "abc")):
        with pytest.raises(UsageError, match="must be a list with one item per text, but is one string"):
            scorer.score(*arguments)
    record = scorer.score([float("nan")])[0]  # type: ignore[list-item]
    assert record == {"error": "the text must be there, but is missing"}


def test_context_counts_where_training_had_it_and_nowhere_else(scorer: Scorer) -> None:
    (with_context,) = scorer.score(["Tell me more."], [["I lost my job and my flat."]])
    (without,) = scorer.score(["Tell me more."])
    assert with_context["measures"]["epitome_er"] != without["measures"]["epitome_er"]
    assert with_context["measures"]["news_empathy"] == without["measures"]["news_empathy"]
    assert "no_context" in without["measures"]["epitome_er"]["flags"]
    assert "no_context" not in without["measures"]["news_empathy"]["flags"]


def test_texts_unlike_the_training_texts_are_flagged(scorer: Scorer) -> None:
    records = scorer.score(TEXTS, CONTEXTS)
    assert "short" in records[1]["measures"]["news_empathy"]["flags"]
    assert "cut" in records[5]["measures"]["news_empathy"]["flags"]
    assert "cut" not in records[0]["measures"]["news_empathy"]["flags"]
    strange = scorer.score(["7 7 7 7 7 7 7 7 7 7 7 7 7 7 7"])[0]["measures"]
    assert "dissimilar" in strange["news_empathy"]["flags"]


def test_a_frame_has_one_row_per_text(scorer: Scorer) -> None:
    frame = scorer.frame(TEXTS, CONTEXTS)
    records = scorer.score(TEXTS, CONTEXTS)
    assert len(frame) == len(TEXTS)
    assert frame["news_empathy"][2] == records[2]["measures"]["news_empathy"]["value"]
    assert frame["epitome_er:p:2"][0] == records[0]["measures"]["epitome_er"]["probabilities"]["2"]
    assert frame["error"][4] == "the text must not be empty, but is"


def test_columns_are_kept_beside_the_texts(scorer: Scorer) -> None:
    frame = scorer.frame(["one", "", "three"], keep={"id": np.asarray([7, 8, 9]), "who": ["a", None, "c"]})
    assert frame["id"].tolist() == [7, 8, 9]
    assert frame["who"].isna().tolist() == [False, True, False]
    assert scorer.score(["", "x"], keep={"id": [1, 2]})[0] == {"id": 1, "error": "the text must not be empty, but is"}
    with pytest.raises(UsageError, match="one id per text, but there are 1 for 2 texts"):
        scorer.score(["one", "two"], keep={"id": [1]})
    with pytest.raises(UsageError, match="but news_empathy is there already"):
        scorer.score(["one"], keep={"news_empathy": [1]})


def test_a_test_score_with_interval_comes_with_every_measure(scorer: Scorer) -> None:
    for name, evidence in scorer.evidence.items():
        assert evidence is not None
        assert evidence.metric == scorer.measures[name].metric
        if evidence.score is not None and evidence.low is not None:
            assert evidence.low <= evidence.score <= (evidence.high or 0)
    assert any(evidence and evidence.low is not None for evidence in scorer.evidence.values())


def test_an_exported_adapter_scores_as_its_cell(chosen: Chosen, scorer: Scorer, exported: Path) -> None:
    from_export = Scorer.load(exported)
    assert from_export.measures.keys() == scorer.measures.keys()
    for one, two in zip(scorer.score(TEXTS, CONTEXTS), from_export.score(TEXTS, CONTEXTS), strict=True):
        _alike(one, two)
    assert from_export.evidence == scorer.evidence


def test_a_damaged_adapter_is_left_out_and_said(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "copy")
    weights = tmp_path / "copy" / "news_empathy" / "adapter.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    (tmp_path / "copy" / "epitome_er" / "model_head.safetensors").unlink()
    scorer = Scorer.load(tmp_path / "copy")
    assert [len(group.members) for group in scorer.chosen.groups if group.name == "news_empathy"] == [1]
    assert len(scorer.problems) == 2
    assert "checksum" in " ".join(scorer.problems)
    assert "missing" in " ".join(scorer.problems)


def test_tasks_are_picked_by_name_and_pattern(exported: Path) -> None:
    assert [group.name for group in selection.of_folders([exported], ["news_*"]).groups] == ["news_empathy"]
    with pytest.raises(UsageError, match="epitome_er, epitome_ip, news_empathy"):
        selection.of_folders([exported], ["hope"])


def _rewrite(folder: Path, **changes: Any) -> None:
    """Change a field of an exported task.json and its checksum, as a careless edit would."""
    path = folder / "task.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    sums = json.loads((folder / selection.CHECKSUMS).read_text())
    (folder / selection.CHECKSUMS).write_text(json.dumps({**sums, "task.json": files.sha256_file(path)}))


def test_adapters_of_another_backbone_are_refused_before_anything_is_scored(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "copy")
    for folder in (tmp_path / "copy" / "news_empathy", *(tmp_path / "copy" / "news_empathy").glob("seed-*")):
        _rewrite(folder, backbone_digest="sha256-0")
    with pytest.raises(UsageError, match="must have the same backbone"):
        Scorer.load(tmp_path / "copy")
    with pytest.raises(BackboneError, match="digest sha256-0, but the one here has tiny-1"):
        Scorer.load(tmp_path / "copy" / "news_empathy")
    minilm = resolve(Backbone(name="minilm"))
    for folder in (tmp_path / "copy" / "news_empathy", *(tmp_path / "copy" / "news_empathy").glob("seed-*")):
        _rewrite(folder, backbone={"name": "minilm", "revision": None}, backbone_digest=minilm.digest)
    with pytest.raises(UsageError, match=r"but there are tiny .*; minilm .*, such as with `--backbone tiny`"):
        selection.of_folders([tmp_path / "copy"])
    with pytest.raises(UsageError, match=r"out of which 'mpnet' names none"):
        selection.of_folders([tmp_path / "copy"], backbone="mpnet")
    names = {
        backbone: {group.name for group in selection.of_folders([tmp_path / "copy"], backbone=backbone).groups}
        for backbone in ("tiny", "minilm")
    }
    assert names == {"tiny": {"epitome_er", "epitome_er--epitome_ip", "epitome_ip"}, "minilm": {"news_empathy"}}
    with pytest.raises(BackboneError, match="2 layers of width 32 instead of 6 of 384"):
        Scorer.load(tmp_path / "copy" / "news_empathy")


def test_a_head_that_is_not_its_tasks_is_damaged(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported / "epitome_er", tmp_path / "copy", ignore=shutil.ignore_patterns("seed-*"))
    _rewrite(tmp_path / "copy", labels=["no", "yes"])
    with pytest.raises(DamagedError, match=r"2 outputs as its task\.json says, but has 3"):
        Scorer.load(tmp_path / "copy")


def test_another_kind_of_adapter_is_refused_in_words(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported / "epitome_er", tmp_path / "copy", ignore=shutil.ignore_patterns("seed-*"))
    settings = json.loads((tmp_path / "copy" / "task.json").read_text())["settings"]
    _rewrite(tmp_path / "copy", settings={**settings, "adapter": {**settings["adapter"], "kind": "lora"}})
    with pytest.raises(UsageError, match=r"seq_bn.*holds lora"):
        Scorer.load(tmp_path / "copy")
