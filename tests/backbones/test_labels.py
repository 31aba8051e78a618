"""A label is as short as it can be, and no two backbones share one."""

import pytest

from empslurm.backbones.labels import labels_of, labels_of_models
from empslurm.config import Backbone

ONE, TWO = "1" * 40, "1" * 9 + "2" * 31


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["minilm", "a/mpnet"], ["minilm", "mpnet"]),
        (["minilm", "/home/x/minilm/"], ["minilm", "x/minilm"]),
        (["a/model", "b/model", "c/Model"], ["a/model", "b/model", "c/Model"]),
        (["/p/a/model", "/q/a/model"], ["p/a/model", "q/a/model"]),
        (["/a/model", "a/model"], ["/a/model", "a/model"]),
        (["minilm", "minilm"], ["minilm"]),
        (["/"], ["/"]),
    ],
)
def test_labels(names: list[str], labels: list[str]) -> None:
    made = labels_of(Backbone(name=name) for name in names)
    assert list(made.values()) == labels


def test_revisions_of_one_hub_id_are_told_apart() -> None:
    revisions = [Backbone(name="a/mpnet", revision=ONE), Backbone(name="a/mpnet", revision=TWO)]
    assert list(labels_of(revisions).values()) == ["mpnet@1111111111", "mpnet@1111111112"]
    assert list(labels_of([*revisions[:1], Backbone(name="tiny")]).values()) == ["mpnet", "tiny"]


def test_files_of_one_folder_that_changed_are_told_apart() -> None:
    own, tiny = Backbone(name="/models/own"), Backbone(name="tiny")
    first, second, third, again = labels_of_models([(own, "a"), (own, "b"), (tiny, "t"), (own, "a")])
    assert first == again != second
    assert (first[:4], third) == ("own-", "tiny")
