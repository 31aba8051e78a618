"""task.json: what the node writes is what scoring reads, and nothing else passes."""

import json
from pathlib import Path

import numpy as np
import pytest

from empslurm.errors import DamagedError
from empslurm.scoring.selection import Chosen
from empslurm.store import adapter_metadata


def test_it_is_read_as_it_was_written(chosen: Chosen, tmp_path: Path) -> None:
    for member in chosen.members:
        adapter_metadata.write(tmp_path, member.measure)
        assert adapter_metadata.read(tmp_path) == member.measure


def test_the_node_writes_the_scale_and_what_is_typical(chosen: Chosen) -> None:
    found = {member.measure.task: member.measure for member in chosen.members}
    news, epitome = found["news_empathy"], found["epitome_er"]
    assert 1 < news.centre < 7
    assert 0 < news.scale < 4
    assert (news.n_outputs, news.input_rule) == (1, (24, "none"))
    assert (epitome.centre, epitome.scale, epitome.n_outputs) == (0.0, 1.0, 3)
    assert epitome.input_rule == (24, "history")
    assert 0 < epitome.typical.low_length < epitome.typical.high_length <= 24
    assert len(epitome.typical.centroid) == 32
    assert 0 < np.linalg.norm(epitome.typical.centroid) <= 1 + 1e-6
    assert 0 < epitome.typical.low_similarity < 1


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"kind": "generation"},
        {"labels": ["a", "a"]},
        {"scale": 0},
        {"scale": "wide"},
        {"max_length": 1},
        {"typical": {}},
        {"unknown": 1},
        {"settings": {}},
        {"settings": {"adapter": "kind"}},
        {"settings": {"adapter": ["kind"]}},
        {"settings": {"adapter": {"kind": 3}}},
        {"backbone": {"name": "x", "trust_remote_code": True}},
        {"evidence": {"metric": "f1_macro"}},
    ],
)
def test_what_no_cell_can_have_written_is_damaged(chosen: Chosen, tmp_path: Path, change: dict[str, object]) -> None:
    adapter_metadata.write(tmp_path, chosen.members[0].measure)
    path = tmp_path / adapter_metadata.NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DamagedError, match=r"task\.json must describe an adapter"):
        adapter_metadata.read(tmp_path)


def test_an_adapter_without_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="run its cell again"):
        adapter_metadata.read(tmp_path)
