"""What a program wrote is read back exactly, or refused with the place that does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from empslurm import ids
from empslurm.validation.constraints import Listed, Pattern, Range
from empslurm.validation.decode import Unfit, reader


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
        ({"wheels": [{"size": 1.0}]}, "wheels[0] must have spokes, but has not"),
        ({"spare": {"size": 1.0, "spokes": 100}}, "spare must be whole, but is not: too many spokes"),
        ({"horse": 1}, "the whole must have no horse, but has"),
    ],
)
def test_what_was_not_is_refused_by_its_place(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(Unfit) as refused:
        reader(Cart)({**VALUE, **change})
    assert str(refused.value) == sentence
