"""Adapters are on one backbone if the files of their backbones are the same."""

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
    assert selection._on_one_backbone(members, None) == members
    for asked in ("one", "/laptop/models/one", "/cluster/one"):
        assert selection._on_one_backbone(members, asked) == members
    other = member("/cluster/other", "b")
    with pytest.raises(UsageError, match=r"but there are one .*; other "):
        selection._on_one_backbone([*members, other], None)
    assert selection._on_one_backbone([*members, other], "/cluster/one") == members
    assert selection._on_one_backbone([*members, other], "other") == [other]


def test_other_files_in_the_same_folder_are_another_backbone() -> None:
    with pytest.raises(UsageError, match="must have the same backbone"):
        selection._on_one_backbone([member("/cluster/one", "a"), member("/cluster/one", "b")], None)
