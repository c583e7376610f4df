"""An index leads to all that Muster asks for: the rule itself.

Each test that uses the database keeps it (see `tests/commands.py`), and those
of the budgets ask for each operation once.
"""

import pytest

from config import db
from tests.commands import RECORDER, check_queries
from tests.house.shard_keys import HOT, SCATTERED, SHARD_KEYS
from tests.house.test_budgets import BUDGETS
from tests.query_shapes import SMALL, Shape, led_nowhere, shapes_of
from utils.collections import declared_indexes

_INDEXES = {"x": [[("a", 1), ("b", 1), ("_id", 1)]]}


def shape_of(name: str, **command: object) -> Shape:
    """The one shape of a command."""
    (shape,) = shapes_of(name, {name: "x", **command})
    return shape


def match(condition: db.Document, *stages: db.Document) -> Shape:
    """The shape of a pipeline that begins with a match."""
    return shape_of("aggregate", pipeline=[{"$match": condition}, *stages])


@pytest.mark.parametrize(
    "shape",
    [
        shape_of("find", filter={"_id": "1"}),
        shape_of("find", filter={"a": 1, "c": 2}),
        shape_of("find", filter={"a": {"$gt": 1}}),
        shape_of("find", filter={"$and": [{"c": 1}, {"a": 1}]}),
        shape_of("find", filter={"$or": [{"a": 1}, {"_id": "1"}]}),
        shape_of("find", filter={"a": 1}, sort={"b": 1}, limit=1),
        shape_of("find", filter={}, sort={"a": 1}, limit=1),
        shape_of("update", updates=[{"q": {"a": {"$in": [1]}}, "u": {}}]),
        match({"c": 1}, {"$match": {"a": 1}}),
        match({}, {"$sort": {"a": 1}}, {"$limit": 1}),
    ],
    # Sets have another order in each process: names of tests have none.
    ids=range(10),
)
def test_is_led(shape: Shape) -> None:
    assert shape.is_led(_INDEXES)


def test_any_few_are_not_looked_for() -> None:
    assert not shapes_of("find", {"find": "x", "filter": {}, "limit": 9})


@pytest.mark.parametrize(
    "shape",
    [
        shape_of("find", filter={}),
        shape_of("find", filter={"b": 1}),
        shape_of("find", filter={"a": {"$ne": 1}}),
        shape_of("find", filter={"$or": [{"a": 1}, {"b": 1}]}),
        shape_of("find", filter={"a": 1}, sort={"c": 1}, limit=1),
        shape_of("find", filter={}, sort={"b": 1}, limit=1),
        shape_of("delete", deletes=[{"q": {"c": 1}}]),
        match({"b": 1}),
        match({}, {"$sort": {"b": 1}}, {"$limit": 1}),
    ],
    ids=range(9),
)
def test_reads_all(shape: Shape) -> None:
    assert not shape.is_led(_INDEXES)
    assert led_nowhere({shape: "utils/x.py"}, _INDEXES)
    # A test may ask as it likes.
    assert not led_nowhere({shape: "tests/x.py"}, _INDEXES)


def test_a_choice_and_a_range() -> None:
    """In one clause the embedded database reads all for them."""
    choice, span = {"a": {"$in": [1, 2]}}, {"b": {"$gt": 1}}
    mixed, apart = match(choice | span), match(choice, {"$match": span})
    assert led_nowhere({mixed: "utils/x.py"}, _INDEXES)
    assert not led_nowhere({apart: "utils/x.py"}, _INDEXES)
    assert not led_nowhere({match({"a": 1} | span): "utils/x.py"}, _INDEXES)


@pytest.mark.usefixtures("database")
async def test_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a module of Muster's would ask for is found."""
    await check_queries(declared_indexes())
    monkeypatch.setattr("tests.commands.sender", lambda: "utils/users.py")
    asked = db.collection("users").find_one({"first_name": "Ada"})
    assert await asked is None
    with pytest.raises(AssertionError) as caught:
        await check_queries(declared_indexes())
    by_shape, by_plan = str(caught.value).splitlines()
    assert by_shape.startswith("utils/users.py: Shape(")
    assert by_plan.startswith("utils/users.py: all of users is read")


def test_what_is_named_exists() -> None:
    collections = set(declared_indexes())
    assert set(SHARD_KEYS) <= collections
    assert set(SMALL) <= collections
    assert {(way, path.partition("?")[0]) for way, path in HOT} <= set(BUDGETS)
    assert set(SCATTERED) < HOT
    assert RECORDER.asked is None
