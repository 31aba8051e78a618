"""Which groups of a runs root are one grid on several backbones."""

from empslurm import ids
from empslurm.config import Backbone
from empslurm.gather.groups import Place, groups, models_of


def place(name: str, digest: str, target: str, source: str | None) -> Place:
    data = {"use": {}, "raw": "0", "split": "s", "labels": "all", "dataset": "d"}
    setting = {
        "backbone": {"name": name, "revision": None},
        "backbone_digest": digest,
        "adapter": {"kind": "seq_bn"},
        "recipe": 3,
        "training": {"epochs": 1, "batch_size": 8, "lr": 1},
        "data": data,
        **({"source_use": {"labels": "all"}} if source else {}),
    }
    return Place(
        id=f"{name}-{target}-{source}",
        kind="transfer" if source else "baseline",
        source=source,
        target=target,
        seed=1,
        fraction=1.0,
        parent=None,
        setting=ids.canonical_json(setting),
    )


def test_one_model_in_two_folders_is_no_second_backbone() -> None:
    folders = ("/here/models/one", "/there/one")

    def models(digests: tuple[str, str]) -> tuple[object, ...]:
        cells = zip(folders, digests, strict=True)
        return models_of(groups([place(*cell, to, by) for cell in cells for to in ("x", "y") for by in (None, "z")]))

    assert models(("a", "a")) == ()
    assert models(("a", "b")) == tuple(zip((Backbone(name=name) for name in folders), "ab", strict=True))
