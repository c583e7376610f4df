"""Conversions between the three kinds of classes, and there and back."""

import dataclasses
import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from types import GenericAlias
from typing import Annotated, Any, ClassVar, Literal, Optional
from uuid import UUID

import annotated_types
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from osbot_utils.type_safe.primitives.core.Safe_Str import Safe_Str
from osbot_utils.type_safe.Type_Safe import Type_Safe
from pydantic import BaseModel, Field, create_model


from models.arrays import NDArray
from models.conversions import (
    ConversionError,
    dataclass_to_pydantic,
    dataclass_to_type_safe,
    pydantic_to_dataclass,
    pydantic_to_type_safe,
    type_safe_to_dataclass,
    type_safe_to_pydantic,
)
from models.kinds import Kind, kind_of, members_of

# Each conversion, with the one that leads back.
PAIRS: dict[Kind, list[tuple[Callable[[Any], Any], Callable[[Any], Any]]]] = {
    Kind.PYDANTIC: [
        (pydantic_to_dataclass, dataclass_to_pydantic),
        (pydantic_to_type_safe, type_safe_to_pydantic),
    ],
    Kind.DATACLASS: [
        (dataclass_to_pydantic, pydantic_to_dataclass),
        (dataclass_to_type_safe, type_safe_to_dataclass),
    ],
    Kind.TYPE_SAFE: [
        (type_safe_to_pydantic, pydantic_to_type_safe),
        (type_safe_to_dataclass, dataclass_to_type_safe),
    ],
}


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Size(Enum):
    SMALL = 1
    LARGE = 2


@dataclass
class Point:
    x: float
    y: float = 0.5
    tags: list[str] = field(default_factory=lambda: ["new"])


@dataclass
class Shape:
    name: str
    colour: Colour
    corners: list[Point]
    named: dict[str, Point]
    centre: Point | None = None
    size: Size = Size.SMALL
    layers: dict[str, list[Point]] = field(default_factory=dict)


SHAPE = Shape(
    name="kite",
    colour=Colour.BLUE,
    corners=[Point(1.0), Point(2.0, 3.0, [])],
    named={"top": Point(0.0)},
    centre=Point(4.0),
    size=Size.LARGE,
    layers={"front": [Point(9.0)]},
)


def plain(value: Any) -> Any:
    """A value as data that tells types apart: 1, True and 1.0 differ."""
    kind = kind_of(type(value))
    if kind is not None:
        members = members_of(type(value))
        return {m.name: plain(getattr(value, m.name)) for m in members}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    for container in (list, tuple):
        if isinstance(value, container):
            return container, [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return set(value)
    return type(value), repr(value)


# Types, each with values of it.
_LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers()),
    (float, st.floats(allow_nan=False)),
    (str, st.text(max_size=5)),
    (bool, st.booleans()),
    (bytes, st.binary(max_size=5)),
    (datetime, st.datetimes(timezones=st.just(UTC))),
    (date, st.dates()),
    (timedelta, st.timedeltas()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (UUID, st.uuids()),
    (Colour, st.sampled_from(Colour)),
    (Size, st.sampled_from(Size)),
    (Literal["a", "b"], st.sampled_from(["a", "b"])),
    (Annotated[int, annotated_types.Ge(0)], st.integers(0)),
]


@st.composite
def typed(draw: st.DrawFn, kind: Kind, depth: int = 2) -> tuple[Any, Any]:
    """A type, and a strategy of its values."""
    choices = ["leaf"] * 3
    if depth:
        choices += ["list", "dict", "set", "tuple", "pair", "option", "class"]
    leaf: tuple[Any, Any]
    match draw(st.sampled_from(choices)):
        case "list":
            hint, values = draw(typed(kind, depth - 1))
            return GenericAlias(list, hint), st.lists(values, max_size=3)
        case "dict":
            hint, values = draw(typed(kind, depth - 1))
            keys = st.text(max_size=3)
            mappings = st.dictionaries(keys, values, max_size=3)
            return GenericAlias(dict, (str, hint)), mappings
        case "set":
            hint, values = draw(st.sampled_from(_LEAVES[:5]))
            return GenericAlias(set, hint), st.sets(values, max_size=3)
        case "tuple":
            hint, values = draw(typed(kind, depth - 1))
            rows = st.lists(values, max_size=3).map(tuple[Any, ...])
            return GenericAlias(tuple, (hint, ...)), rows
        case "pair":
            one, ones = draw(typed(kind, depth - 1))
            two, twos = draw(typed(kind, depth - 1))
            return GenericAlias(tuple, (one, two)), st.tuples(ones, twos)
        case "option":
            hint, values = draw(typed(kind, depth - 1))
            return hint | None, st.none() | values
        case "class":
            leaf = draw(classes(kind, depth - 1))
        case _:
            leaf = draw(st.sampled_from(_LEAVES))
    return leaf


def _made_of(hints: dict[str, Any], kind: Kind) -> Any:
    match kind:
        case Kind.PYDANTIC:
            required: Any = {name: (hint, ...) for name, hint in hints.items()}
            return create_model("Made", **required)
        case Kind.DATACLASS:
            return make_dataclass("Made", list(hints.items()))
    return type("Made", (Type_Safe,), {"__annotations__": hints})


@st.composite
def classes(draw: st.DrawFn, kind: Kind, depth: int = 2) -> tuple[Any, Any]:
    """A class of a kind, and a strategy of its instances."""
    count = draw(st.integers(1, 4))
    fields = {f"f{n}": draw(typed(kind, depth)) for n in range(count)}
    hints = {name: hint for name, (hint, _) in fields.items()}
    cls = _made_of(hints, kind)

    def instance(values: dict[str, Any]) -> Any:
        if kind is not Kind.TYPE_SAFE:
            return cls(**values)
        made = cls()
        for name, value in values.items():
            # Type_Safe itself can't hold all that it may declare.
            object.__setattr__(made, name, value)
        return made

    strategies = {name: values for name, (_, values) in fields.items()}
    return cls, st.fixed_dictionaries(strategies).map(instance)


@st.composite
def instances(draw: st.DrawFn, kind: Kind) -> Any:
    """An instance of some class of a kind."""
    _, values = draw(classes(kind))
    return draw(values)


class TestRoundTrips:
    """What went there and back is what it was, of the type that it was."""

    @pytest.mark.parametrize("kind", Kind)
    @settings(
        max_examples=40,
        # Shrinking such classes takes longer than reading them.
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def test_of_values(self, kind: Kind, data: st.DataObject) -> None:
        value = data.draw(instances(kind))
        for there, back in PAIRS[kind]:
            other = there(value)
            assert kind_of(type(other)) is not kind
            assert plain(other) == plain(value)
            again = back(other)
            assert type(again) is type(value)
            assert plain(again) == plain(value)

    @pytest.mark.parametrize("kind", Kind)
    def test_of_classes(self, kind: Kind) -> None:
        cls = _account(kind)
        for there, back in PAIRS[kind]:
            assert back(there(cls)) is cls
            assert there(cls) is there(cls)
            assert there(cls).__name__ == cls.__name__

    def test_around_all_three(self) -> None:
        model = dataclass_to_pydantic(SHAPE)
        safe = pydantic_to_type_safe(model)
        again = type_safe_to_dataclass(safe)
        assert again == SHAPE
        assert isinstance(again, Shape)
        safe_class = dataclass_to_type_safe(Shape)
        assert pydantic_to_type_safe(type(model)) is safe_class

    def test_of_an_array(self) -> None:
        array = np.arange(6, dtype=">i2").reshape(2, 3)
        for there, back in PAIRS[Kind.DATACLASS]:
            again = back(there(Measured(array)))
            assert again.values.dtype == array.dtype
            assert np.array_equal(again.values, array)


@dataclass
class Measured:
    values: NDArray


class Account(BaseModel):
    """Whose it is."""

    owner: str = Field(description="Who pays.")
    amount: Annotated[int, Field(ge=0)] = 3
    notes: list[str] = Field(default_factory=lambda: ["new"])
    near: Point = Point(1.0)


class SafeAccount(Type_Safe):  # type: ignore[misc]  # it has no types
    owner: str
    amount: int = 3
    notes: list[str]
    best: Optional[Colour]
    size: Size


def _account(kind: Kind) -> type:
    by_kind = {
        Kind.PYDANTIC: Account,
        Kind.DATACLASS: Shape,
        Kind.TYPE_SAFE: SafeAccount,
    }
    return by_kind[kind]


class TestClasses:
    def test_a_model_as_a_dataclass(self) -> None:
        made = pydantic_to_dataclass(Account)
        account = made(owner="Ada")
        assert (account.amount, account.notes) == (3, ["new"])
        assert isinstance(account.near, Point)
        assert made(owner="Bo").notes is not account.notes
        hint = {m.name: m.hint for m in members_of(made)}["amount"]
        assert hint == Annotated[int, annotated_types.Ge(0)]
        assert made.__doc__ == "Whose it is."
        with pytest.raises(TypeError, match="owner"):
            made()

    def test_a_dataclass_as_a_model(self) -> None:
        made = dataclass_to_pydantic(Shape)
        made_point = dataclass_to_pydantic(Point)
        shape = made.model_validate_json(
            '{"name": "a", "colour": "red", "corners": [{"x": 1}], "named": {}}'
        )
        assert isinstance(shape.corners[0], made_point)
        assert shape.corners[0].tags == ["new"]
        with pytest.raises(ValueError, match="Extra inputs"):
            made_point(x=1.0, z=1.0)

    def test_type_safe_as_a_model(self) -> None:
        made = type_safe_to_pydantic(SafeAccount)
        assert made().model_dump() == {
            "owner": "",
            "amount": 3,
            "notes": [],
            "best": None,
            "size": None,
        }

    def test_a_model_as_type_safe(self) -> None:
        made = pydantic_to_type_safe(Account)
        assert issubclass(made, Type_Safe)
        account = made(owner="Ada")
        assert (account.amount, list(account.notes)) == (3, ["new"])
        assert issubclass(type(account.near), Type_Safe)
        with pytest.raises(ValueError, match="amount"):
            account.amount = "much"

    def test_none_as_a_default_may_be_a_value(self) -> None:
        @dataclass
        class Late:
            at: date = None  # type: ignore[assignment]  # as people write it

        assert dataclass_to_pydantic(Late)().at is None
        assert pydantic_to_dataclass(dataclass_to_pydantic(Late())) == Late()

    def test_a_primitive_keeps_its_rules(self) -> None:
        class Name(Safe_Str):  # type: ignore[misc]  # it has no types
            max_length = 3

        named = type("Named", (Type_Safe,), {"__annotations__": {"n": Name}})
        model = type_safe_to_pydantic(named)
        value = model.model_validate_json('{"n": "Ada"}', strict=True)
        assert isinstance(value.n, Name)
        assert value.model_dump_json() == '{"n":"Ada"}'
        assert isinstance(pydantic_to_type_safe(value).n, Name)
        with pytest.raises(ValueError, match="length"):
            model.model_validate_json('{"n": "Adas"}', strict=True)

    def test_class_variables_are_no_fields(self) -> None:
        @dataclass
        class Counted:
            x: int
            count: ClassVar[int] = 0

        assert list(dataclass_to_pydantic(Counted).model_fields) == ["x"]

    def test_a_generated_class_goes_with_its_source(self) -> None:
        made = make_dataclass("Gone", [("x", int)])
        twin = weakref.ref(dataclass_to_pydantic(made))
        source = weakref.ref(made)
        del made
        gc.collect()
        assert source() is None
        assert twin() is None

    def test_a_subclass_has_its_own(self) -> None:
        @dataclass
        class Point3(Point):
            z: float = 0.0

        assert list(dataclass_to_pydantic(Point).model_fields)[-1] == "tags"
        assert list(dataclass_to_pydantic(Point3).model_fields)[-1] == "z"

    def test_racing_threads_get_the_same(self) -> None:
        for _ in range(20):
            inner = make_dataclass("Inner", [("x", int)])
            inners = GenericAlias(list, inner)
            outer = make_dataclass("Outer", [("i", inner), ("l", inners)])
            made = _raced(dataclass_to_pydantic, outer, inner)
            assert len(set(made)) == 1 and len(made) == 8


def _raced(convert: Callable[[Any], Any], *things: Any) -> list[Any]:
    """What eight threads get that convert the same at the same moment."""
    start = threading.Barrier(8)
    made: list[Any] = []

    def race() -> None:
        start.wait()
        made.append(tuple(map(convert, things)))

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return made


class Opaque:
    pass


class TestRefusals:
    """What can't be converted is named: the field, and its type."""

    @pytest.mark.parametrize(
        "convert", [dataclass_to_pydantic, dataclass_to_type_safe]
    )
    def test_a_type_that_nobody_knows(
        self, convert: Callable[[Any], Any]
    ) -> None:
        inner = make_dataclass("Inner", [("held", dict[str, Opaque])])
        outer = make_dataclass("Outer", [("all", GenericAlias(list, inner))])
        with pytest.raises(ConversionError, match="Inner.held: Opaque"):
            convert(outer)

    def test_a_value_of_another_type(self) -> None:
        point = Point(1.0, tags=["a", 3])  # type: ignore[list-item]  # wrong
        message = r"Point.tags\[1\]: holds a int, and is str"
        with pytest.raises(ConversionError, match=message):
            dataclass_to_pydantic(point)

    def test_a_bool_is_no_number(self) -> None:
        with pytest.raises(ConversionError, match="Point.x: holds a bool"):
            dataclass_to_pydantic(Point(True))

    def test_a_subclass_would_lose_fields(self) -> None:
        @dataclass
        class Point3(Point):
            z: float = 0.0

        shape = dataclasses.replace(SHAPE, centre=Point3(1.0))
        with pytest.raises(ConversionError, match="Shape.centre: .*Point3"):
            dataclass_to_pydantic(shape)

    def test_a_class_that_holds_itself(self) -> None:
        with pytest.raises(ConversionError, match="Tree: .*holds itself"):
            dataclass_to_pydantic(Tree)

    def test_extra_fields(self) -> None:
        class Open(BaseModel, extra="allow"):
            pass

        with pytest.raises(ConversionError, match="Open: .*not declare"):
            pydantic_to_dataclass(Open)

    def test_fields_that_the_class_sets(self) -> None:
        @dataclass
        class Summed:
            total: int = field(init=False, default=0)

        with pytest.raises(ConversionError, match="Summed.total: int is set"):
            dataclass_to_pydantic(Summed)

    def test_init_only_fields(self) -> None:
        @dataclass
        class Seeded:
            seed: dataclasses.InitVar[int]

        with pytest.raises(ConversionError, match="Seeded.seed: an InitVar"):
            dataclass_to_pydantic(Seeded)

    def test_defaults_that_need_other_fields(self) -> None:
        class Chained(BaseModel):
            a: int = 1
            b: int = Field(default_factory=lambda data: data["a"])

        with pytest.raises(ConversionError, match="Chained.b"):
            pydantic_to_dataclass(Chained)

    @pytest.mark.parametrize("name", ["json", "copy", "_hidden"])
    def test_names_that_are_taken(self, name: str) -> None:
        made = make_dataclass("Named", [(name, int)])
        with pytest.raises(ConversionError, match=f"Named.{name}: int"):
            dataclass_to_pydantic(made)

    def test_the_wrong_kind(self) -> None:
        with pytest.raises(ConversionError, match="Point: .*not of kind"):
            pydantic_to_dataclass(Point)
        with pytest.raises(ConversionError, match="int: .*not of kind"):
            pydantic_to_dataclass(3)

    def test_what_a_model_forbids(self) -> None:
        account = pydantic_to_dataclass(Account)(owner="Ada", amount=-1)
        with pytest.raises(ConversionError, match="Account.amount: .*greater"):
            dataclass_to_pydantic(account)


@dataclass
class Tree:
    children: "list[Tree]"


def test_type_safe_is_optional() -> None:
    """Without osbot-utils all else works, and what needs it says so."""
    program = """
import sys
sys.modules["osbot_utils"] = None
from dataclasses import dataclass
from models.conversions import *

@dataclass
class Point:
    x: int

assert pydantic_to_dataclass(dataclass_to_pydantic(Point(3))) == Point(3)
try:
    dataclass_to_type_safe(Point)
except ConversionError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "pip install osbot-utils" in done.stdout, done.stderr
