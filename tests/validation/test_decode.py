"""Stored values are read back exactly, or refused by the field that does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from empslurm import files, ids
from empslurm.errors import DamagedError
from empslurm.validation.constraints import Later, Listed, Pattern, Range
from empslurm.validation.decode import Unfit, exactly, load, reader


@dataclass(frozen=True, kw_only=True)
class Wheel:
    size: Annotated[float, Range(above=0)]
    spokes: int = 8

    def __post_init__(self) -> None:
        if self.spokes > 99:
            raise ValueError("too many spokes")


@dataclass(frozen=True, kw_only=True)
class Cart:
    name: Annotated[str, Pattern(regex="[a-z]+", words="letters")]
    load: float
    paint: Literal["red", 0]
    wheels: Annotated[tuple[Wheel, ...], Listed(at_least=1)]
    spare: Wheel | None = None
    notes: object = None
    loads: Annotated[Mapping[Literal["hay", "milk"], float], Later()] = field(default_factory=dict)


CART = Cart(name="dray", load=-1.0, paint=0, wheels=(Wheel(size=2.5), Wheel(size=0.5, spokes=4)))
VALUE: dict[str, Any] = ids.plain(CART)


def test_what_was_written_is_read_back() -> None:
    assert reader(Cart)(VALUE) == CART
    assert reader(Cart)({key: value for key, value in VALUE.items() if value is not None}) == CART
    assert reader(Cart)({**VALUE, "spare": {"size": 1.0, "spokes": 3}}).spare == Wheel(size=1.0, spokes=3)
    assert reader(Cart)({**VALUE, "notes": [1]}).notes == [1]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": "Dray"}, "name must be letters, but is Dray"),
        ({"load": 1}, "load must be a number, but is 1"),
        ({"load": float("nan")}, "load must be a number, but is nan"),
        ({"paint": False}, "paint must be one of red, 0, but is False"),
        ({"paint": []}, "paint must be one of red, 0, but is []"),
        ({"wheels": []}, "wheels must be a list of at least 1, but is []"),
        ({"wheels": {}}, "wheels must be a list of at least 1, but is {}"),
        ({"wheels": [VALUE["wheels"][0], 3]}, "wheels[1] must be an object, but is 3"),
        ({"wheels": [{"size": float("inf"), "spokes": 8}]}, "wheels[0].size must be a number above 0, but is inf"),
        ({"wheels": [{"size": 1.0}]}, "wheels[0] must have spokes, but does not"),
        ({"spare": {"spokes": 3}}, "spare must have size, but does not"),
        ({"spare": {"size": 1.0, "spokes": 100}}, "spare must be whole, but is not: too many spokes"),
        ({"loads": []}, "loads must be an object, but is []"),
        ({"loads": {"oats": 1.0}}, "loads.oats must be one of hay, milk, but is oats"),
        ({"loads": {"hay": 1}}, "loads.hay must be a number, but is 1"),
        ({"horse": 1}, "the whole must have no horse, but has"),
    ],
)
def test_what_was_not_is_refused_by_its_place(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(Unfit) as refused:
        exactly(Cart, {**VALUE, **change})
    assert str(refused.value) == sentence


def test_a_note_may_say_more_than_this_version_knows_and_hold_an_integer_for_a_number() -> None:
    newer = {**VALUE, "horse": 1, "wheels": [{**wheel, "rim": "oak"} for wheel in VALUE["wheels"]]}
    assert reader(Cart)(newer) == CART
    read = reader(Cart)({**VALUE, "load": -1, "loads": {"hay": 2}})
    assert (read.load, type(read.load), type(read.loads["hay"])) == (-1.0, float, float)
    for wrong in ({"load": "1"}, {"load": True}, {"load": 10**400}, {"wheels": [{"size": 0, "spokes": 8}]}):
        with pytest.raises(Unfit):
            reader(Cart)({**VALUE, **wrong})


def test_only_what_is_marked_as_later_may_be_left_out_with_a_default() -> None:
    """Missing spokes of a wheel are refused above: today's default may differ from the one it was made with."""
    older = {key: value for key, value in VALUE.items() if key != "loads"}
    assert reader(Cart)(older) == CART
    assert reader(Cart)({**older, "loads": {"hay": 2.0}}).loads == {"hay": 2.0}


def test_a_file_is_read_or_refused_by_its_name_and_place(tmp_path: Path) -> None:
    path = tmp_path / "cart.json"
    with pytest.raises(FileNotFoundError):
        load(path, Cart)
    files.write_json(path, VALUE)
    assert load(path, Cart) == CART
    files.write_json(path, {**VALUE, "name": 1})
    with pytest.raises(DamagedError, match=r"cart\.json .* name must be letters, but is 1; move it away"):
        load(path, Cart)
