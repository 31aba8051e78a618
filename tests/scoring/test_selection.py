"""Adapters are on one backbone if the files of their backbones are the same."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from empslurm.config import Backbone
from empslurm.errors import UsageError
from empslurm.scoring import selection


def member(name: str, digest: str) -> Any:
    return SimpleNamespace(measure=SimpleNamespace(backbone=Backbone(name=name), backbone_digest=digest, cell=name))


def test_one_backbone_in_two_folders_is_one() -> None:
    members = [member("/laptop/models/one", "a"), member("/cluster/one", "a")]
    assert selection._on_one_backbone(members, None) == ("one", members)
    for asked in ("one", "/laptop/models/one", "/cluster/one"):
        assert selection._on_one_backbone(members, asked) == ("one", members)
    other = member("/cluster/other", "b")
    with pytest.raises(UsageError, match=r"but there are one .*; other "):
        selection._on_one_backbone([*members, other], None)
    assert selection._on_one_backbone([*members, other], "/cluster/one") == ("one", members)
    assert selection._on_one_backbone([*members, other], "other") == ("other", [other])


def test_other_files_in_the_same_folder_are_another_backbone() -> None:
    with pytest.raises(UsageError, match="must have the same backbone"):
        selection._on_one_backbone([member("/cluster/one", "a"), member("/cluster/one", "b")], None)


def test_a_folder_is_meant_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/model", "b/model"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    members = [member("./a/model", "a"), member(str(tmp_path / "b" / "model"), "b")]
    for asked in ("a/model", "./a/model", "b/../a/model", str(tmp_path / "a" / "model")):
        assert selection._on_one_backbone(members, asked) == ("a/model", members[:1])
    assert selection._on_one_backbone(members, "b/model") == ("b/model", members[1:])
    with pytest.raises(UsageError, match="out of which 'model' names none"):
        selection._on_one_backbone(members, "model")
    (tmp_path / "minilm").mkdir()  # has the name of the model that comes with empslurm, and is not that model
    with pytest.raises(UsageError, match=r"out of which '\./minilm' names none"):
        selection._on_one_backbone([*members, member("minilm", "c")], "./minilm")
