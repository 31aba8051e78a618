"""A cell's id moves with everything that can change its number, and with nothing else."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empslurm import ids
from empslurm.cells import (
    CELL_ID,
    KINDS,
    Baseline,
    Cell,
    DataIdentity,
    DatasetEmbedding,
    DrawnTrial,
    TaskEmbedding,
    Transfer,
    TrialCell,
    differences,
    from_identity,
)
from empslurm.config import Adapter, Backbone, DataUse, Embed, Fisher, Search, SourceUse, Training, Trial
from empslurm.errors import DamagedError
from empslurm.manifest.load import load_manifest
from empslurm.plan import Inputs, Known, expand
from tests import hostile

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden" / "ids.json"
DATA = DataIdentity(dataset="news", raw="raw-1", split="family-1-9", use=DataUse(), labels="all", fraction=0.5)
CELL = Transfer(
    target="news_empathy",
    source="epitome_er",
    seed=3,
    data=DATA,
    backbone=Backbone(),
    backbone_digest="sha256-1",
    adapter=Adapter(),
    training=Training(),
    source_use=SourceUse(),
    parent="epitome_er-s3-0123456789ab",
)
FISHER = TaskEmbedding.like(CELL, fisher=Fisher())
EMBED = DatasetEmbedding.like(CELL, embed=Embed())
TRIAL = TrialCell.like(CELL, trial=Trial(number=7, search=Search()))
LORA = dataclasses.replace(CELL, adapter=Adapter(kind="lora"))
CELLS: dict[str, Cell] = {
    "transfer": CELL,
    "lora": LORA,
    "fisher": FISHER,
    "embed": EMBED,
    "trial": TRIAL,
    "baseline": Baseline.like(CELL),
}


def other(value: object) -> Any:
    """A value that differs from the one given, of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value * 2 + 1
    return "other"


def changed() -> list[tuple[str, Cell, Cell]]:
    """Cells of every kind, each beside itself with one field changed, for every field of it and of its sections."""
    pairs = []
    for cell in CELLS.values():
        for name in [field.name for field in dataclasses.fields(cell)]:
            pairs += [(f"{name}{inner}", cell, value) for inner, value in changed_in(cell, name)]
    use = dataclasses.replace(DATA, use=DataUse(context="previous"))
    return [*pairs, ("data.use.context", CELL, dataclasses.replace(CELL, data=use))]


def changed_in(cell: Cell, name: str) -> list[tuple[str, Cell]]:
    """The cell with its field changed, or each field of it that is a section."""
    value: Any = getattr(cell, name)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return [("", dataclasses.replace(cell, **{name: other(value)}))]
    cells = []
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        of_kind = isinstance(value, Adapter) and (inner is None or field.name == "kind")
        if dataclasses.is_dataclass(inner) or of_kind:
            continue
        section: Any = dataclasses.replace(value, **{field.name: other(inner)})
        cells.append((f".{field.name}", dataclasses.replace(cell, **{name: section})))
    return cells


@pytest.mark.parametrize(
    ("name", "cell", "altered"), changed(), ids=[f"{cell.kind}-{name}" for name, cell, _ in changed()]
)
def test_every_field_moves_the_id_and_explain_names_it(name: str, cell: Cell, altered: Cell) -> None:
    assert altered.id != cell.id
    assert [difference[0] for difference in differences(cell.identity(), altered.identity())] == [name]


def test_a_kind_is_known_by_its_class_and_is_in_the_table_once() -> None:
    assert {type(cell) for cell in CELLS.values()} == {kind.cell for kind in KINDS.values()}
    assert len({kind.cell for kind in KINDS.values()}) == len(KINDS)
    for name, kind in KINDS.items():
        assert kind.cell.kind == name
    for cell in CELLS.values():
        assert (cell.starts_from is not None) == (KINDS[cell.kind].wave > 0)


def test_an_id_is_readable_and_the_same_on_every_day() -> None:
    assert CELL.id.startswith("epitome_er--news_empathy-s3-f50-")
    assert CELL_ID.fullmatch(CELL.id)
    assert dataclasses.replace(CELL).id == CELL.id
    assert differences(CELL.identity(), CELL.identity()) == []


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_cell_is_read_back_from_json(cell: Cell) -> None:
    assert from_identity(json.loads(json.dumps(cell.identity()))) == cell


DAMAGE: list[tuple[dict[str, Any], str]] = [
    ({"data": None}, "data must be an object, but is None"),
    ({"seeds": 3}, "the whole must have no seeds"),
    ({"seed": "x"}, "seed must be an integer at least 0 and at most 4,294,967,295, but is x"),
    ({"seed": True}, "seed must be an integer"),
    ({"seed": -1}, "seed must be an integer"),
    ({"training": {"epoch": 3}}, "training must have no epoch"),
    ({"training": ids.plain(Training()) | {"lr": 1}}, "training.lr must be a number above 0 and at most 1, but is 1"),
    ({"training": {}}, "training must have epochs"),
    ({"backbone": []}, "backbone must be an object"),
    ({"target": "../x"}, "target must be lower-case letters"),
    ({"parent": "x"}, "parent must be a cell's id, but is x"),
    ({"adapter": Adapter().settings | {"rank": 8}}, "adapter must be whole.* seq_bn does not use rank"),
    ({"adapter": {"kind": "seq_bn"}}, "adapter must have"),
    ({"adapter": Adapter().settings | {"non_linearity": None}}, "adapter must have non_linearity"),
    ({"kind": "baseline"}, "fields of kind baseline, but has parent, source, source_use"),
    ({"training": None}, "fields of kind transfer, but lacks training; move"),
    ({"kind": "distilled"}, "of a kind that this version knows .*, but its kind is 'distilled'; read it with the ver"),
    ({"kind": ["baseline"]}, "but its kind is .*baseline"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGE, ids=[words[:30] for _, words in DAMAGE])
def test_a_foreign_identity_is_refused(damage: dict[str, Any], words: str) -> None:
    with pytest.raises(DamagedError, match=words):
        from_identity({**CELL.identity(), **damage})


def stated(value: object) -> object:
    """A JSON value without what is None in its objects, which is the same said or left out."""
    if isinstance(value, dict):
        return {key: stated(item) for key, item in value.items() if item is not None}
    return [stated(item) for item in value] if isinstance(value, list) else value


GOOD: list[object] = [1, 0, 0.5, "all", "transfer", "news", Training().precision, Adapter(kind="lora").settings, {}]


@st.composite
def forged(draw: st.DrawFn) -> Any:
    """The identity of a cell of any kind with something altered at any depth, or anything at all."""
    cell = draw(st.sampled_from(list(CELLS.values())))
    return hostile.altered(draw, json.loads(json.dumps(cell.identity())), GOOD)


@hostile.examples(share=2)
@given(st.one_of(forged(), hostile.values(["kind", "data"], GOOD)))
def test_any_identity_is_a_cells_own_or_damaged(value: Any) -> None:
    try:
        cell = from_identity(value)
    except DamagedError:
        return
    assert ids.canonical_json(stated(cell.identity())) == ids.canonical_json(stated(value))
    assert CELL_ID.fullmatch(cell.id)


def test_an_id_is_provisional_while_a_digest_is_unknown() -> None:
    assert not CELL.provisional
    assert dataclasses.replace(CELL, backbone_digest=None).provisional
    assert dataclasses.replace(CELL, data=dataclasses.replace(DATA, raw=None)).provisional


def golden_ids() -> dict[str, str]:
    """Readable prefix -> id of some cells of two manifests, with invented digests of data and backbone."""
    found: dict[str, str] = {}
    for folder, name in (("manifests", "full_study"), ("tests/golden", "small_grid")):
        manifest = load_manifest(ROOT / folder / f"{name}.yaml")
        raw = dict.fromkeys(manifest.data, "raw")
        known = dict.fromkeys(manifest.backbones, Known(digest="weights"))
        inputs = Inputs(raw=raw, missing={}, notes={}, backbones=known, encoder=Known(digest="encoder"))
        cells = expand(manifest, inputs).cells
        found |= {f"{name}: {cell.prefix}": cell.id for cell in cells[:: len(cells) // 10]}
    found["the default space of a search"] = TRIAL.id
    return found


def test_ids_are_the_recorded_ones() -> None:
    """A move needs a line in CHANGELOG marked **ids**: every result in every runs root must be made again."""
    assert golden_ids() == json.loads(GOLDEN.read_text())


def test_a_trial_keeps_its_id_when_its_parameters_are_asked_for_and_its_study_whatever_its_number() -> None:
    trial = TRIAL
    asked = DrawnTrial.like(trial, adapter=Adapter(kind="lora"), training=Training(lr=1e-5))
    other_search = Search(adapters=(Adapter(kind="lora", rank=4),))
    assert asked.id == trial.id
    assert trial.id.startswith("news_empathy-s3-f50-trial-007-")
    assert CELL_ID.fullmatch(trial.id)
    assert asked.search_name == trial.search_name
    assert trial.numbered(8).search_name == trial.search_name != trial.numbered(8).id
    assert dataclasses.replace(trial, trial=Trial(number=7, search=other_search)).search_name != trial.search_name


def test_an_adapter_has_the_fields_of_its_kind_with_the_librarys_defaults_and_no_others() -> None:
    assert Adapter(kind="compacter").settings == {
        "kind": "compacter",
        "reduction_factor": 32,
        "non_linearity": "gelu",
        "phm_dim": 4,
    }
    with pytest.raises(ValueError, match="seq_bn does not use rank"):
        Adapter(rank=4)
    stored: Any = CELL.identity()["adapter"]
    assert set(stored) == {"kind", "reduction_factor", "non_linearity"}


def test_differences_give_both_values() -> None:
    other = dataclasses.replace(CELL, seed=4, training=Training(lr=1e-3))
    assert differences(CELL.identity(), other.identity()) == [("seed", 3, 4), ("training.lr", 5e-4, 1e-3)]
