"""Shapes of queries: what they look for, and whether an index leads there.

The embedded database's planner tells little of its plans, and MongoDB's depend
on what is stored. A shape tells the same on both: where no index begins with a
field that a query asks for, all of a collection is read.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

_ROOT: Final = Path(__file__).parents[1]
_EQUALITIES: Final = {"$eq", "$in", "$elemMatch", "$geoWithin", "$nearSphere"}
_RANGES: Final = {"$gt", "$gte", "$lt", "$lte", "$regex"}
# Whoever sends a query from one of these stands behind it, by rank.
_SENDERS: Final = ("utils", "routes", "scripts", "tests", "bench")
# Tests, and apps that Muster is measured beside, ask as they like.
_FREE: Final = ("tests", "bench/peers/")

# Read whole: there are a few dozen of these at most, whatever grows.
SMALL: Final = {
    "gpu_inventory": "as many as there are GPUs",
    "http_events": "HTTP_EVENTS_MAX of each worker",
    "migrations": "developers write them by hand",
    "session_templates": "admins write them by hand",
    "tiers": "admins write them by hand",
}

# One member has few of anything: those may be sorted when they are read.
_PERSONAL: Final = {"owner_id", "user_id"}

Key = tuple[str, Any]
Indexes = Mapping[str, Sequence[Sequence[Key]]]


@dataclass(frozen=True)
class Shape:
    """What a command looks for.

    Attributes:
        command: its name.
        collection: where it looks.
        equal: fields of which it names the values.
        ranges: fields that it bounds.
        choices: for each branch of an `$or`, the fields that it adds.
        sort: what the database sorts by, in turn, before it cuts; nothing where
            all is wanted.
        mixes: whether one clause offers a choice of values and a range: the
            embedded database reads all for it.
    """

    command: str
    collection: str
    equal: frozenset[str]
    ranges: frozenset[str]
    choices: frozenset[frozenset[str]]
    sort: tuple[str, ...]
    mixes: bool = False

    def is_led(self, indexes: Indexes) -> bool:
        """Whether an index leads to what it looks for."""
        keys = [("_id",)] + [
            tuple(name for name, _ in index)
            for index in indexes.get(self.collection, ())
        ]
        if any(self._is_sorted_by(key) for key in keys):
            return True
        starts = {key[0] for key in keys}
        few = starts & (_PERSONAL | {"_id"}) & self.equal
        if self.sort and not few:
            return False
        if (self.equal | self.ranges) & starts:
            return True
        return bool(self.choices) and all(
            choice & starts for choice in self.choices
        )

    def _is_sorted_by(self, key: tuple[str, ...]) -> bool:
        """Whether the index has what is wanted, in the order that is."""
        known = 0
        while known < len(key) and key[known] in self.equal:
            known += 1
        wanted = tuple(name for name in self.sort if name not in self.equal)
        if not self.sort:
            return False
        return key[known : known + len(wanted)] == wanted


def shapes_of(name: str, command: Mapping[str, Any]) -> list[Shape]:
    """What a command looks for; several things, where it is a bulk."""
    collection = command.get(name)
    if not isinstance(collection, str):
        return []
    match name:
        case "find":
            if command.get("limit") and not (
                command["filter"] or command.get("sort")
            ):
                # Any few will do: nothing is looked for.
                return []
            cut = command.get("sort") if command.get("limit") else None
            sort = tuple(cut or ())
            return [_shape(name, collection, command["filter"], sort)]
        case "aggregate":
            return [_of_pipeline(collection, command["pipeline"])]
        case "update" | "delete":
            return [
                _shape(name, collection, each["q"])
                for each in command[f"{name}s"]
            ]
        case "count" if not command.get("query"):
            # The database knows how many there are.
            return []
        case "count" | "distinct" | "findAndModify":
            asked = command.get("query") or {}
            sort = tuple(command.get("sort") or ())
            return [_shape(name, collection, asked, sort)]
    return []


def led_nowhere(shapes: Mapping[Shape, str], indexes: Indexes) -> list[str]:
    """What Muster asks for, and no index leads to; and who asks.

    Args:
        shapes: what was asked for, and by whom.
        indexes: the keys of each collection's indexes.
    """
    return [
        f"{who}: {shape}"
        for shape, who in shapes.items()
        if is_ours(who)
        and shape.collection not in SMALL
        and (shape.mixes or not shape.is_led(indexes))
    ]


def sender() -> str:
    """The file of Muster that sends the command that is being sent.

    Whoever awaits stands below on the stack; `config` sends for others.
    """
    frame = sys._getframe()  # pylint: disable=protected-access  # Its purpose.
    while frame.f_back is not None:
        frame = frame.f_back
        path = Path(frame.f_code.co_filename)
        if path != Path(__file__) and path.is_relative_to(_ROOT):
            inside = path.relative_to(_ROOT)
            if inside.parts[0] in _SENDERS and inside.name != "commands.py":
                return str(inside)
    return ""


def is_ours(who: str) -> bool:
    """Whether a sender must ask for what an index leads to.

    `config` alone reads all: to copy it, or to compare it.
    """
    return bool(who) and not who.startswith(_FREE)


def _of_pipeline(
    collection: str, pipeline: Sequence[Mapping[str, Any]]
) -> Shape:
    stages = [dict(stage) for stage in pipeline]
    condition: dict[str, Any] = {}
    mixes = bool(stages) and _mixes(stages[0].get("$match", {}))
    # One selective clause comes first, and the rest after it.
    while stages and "$match" in stages[0]:
        condition = {**stages.pop(0)["$match"], **condition}
    if stages and "$geoNear" in stages[0]:
        # It fails without an index; that is enough of a test.
        condition = {"_id": "$geoNear"}
    sort: tuple[str, ...] = ()
    if len(stages) > 1 and "$sort" in stages[0] and "$limit" in stages[1]:
        sort = tuple(stages[0]["$sort"])
    shape = _shape("aggregate", collection, condition, sort)
    return replace(shape, mixes=mixes)


def _shape(
    command: str,
    collection: str,
    condition: Mapping[str, Any],
    sort: tuple[str, ...] = (),
) -> Shape:
    equal, ranges = _fields_of(condition)
    choices = [
        frozenset.union(*_fields_of(branch))
        for branch in condition.get("$or", ())
    ]
    return Shape(command, collection, equal, ranges, frozenset(choices), sort)


def _fields_of(
    condition: Mapping[str, Any],
) -> tuple[frozenset[str], frozenset[str]]:
    equal: set[str] = set()
    ranges: set[str] = set()
    for name, value in condition.items():
        if name == "$and":
            for part in value:
                more_equal, more_ranges = _fields_of(part)
                equal |= more_equal
                ranges |= more_ranges
        elif name.startswith("$"):
            continue
        elif not _is_operation(value) or _EQUALITIES & set(value):
            equal.add(name)
        elif _RANGES & set(value):
            ranges.add(name)
    return frozenset(equal), frozenset(ranges)


def _mixes(clause: Mapping[str, Any]) -> bool:
    operators = [set(x) for x in clause.values() if _is_operation(x)]
    return any("$in" in each for each in operators) and any(
        _RANGES & each for each in operators
    )


def _is_operation(value: object) -> bool:
    return isinstance(value, Mapping) and any(
        str(key).startswith("$") for key in value
    )
