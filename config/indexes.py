"""Indexes: what differs between those declared and those that are there.

An index is known by what it does, its keys and options; its name is only a
name. So a changed one is built beside the one that it replaces, under a name
that is free, and the old one goes when the new one stands: no query is without
its index meanwhile, and nothing is twice that must be unique. The server goes
on writing while it builds.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Final

import pymongo
from pymongo import IndexModel
from pymongo.errors import DuplicateKeyError, OperationFailure

from config.changes import (
    LONG_SECONDS,
    Change,
    ChangeRefusedError,
    Database,
    Document,
    apply,
)

Indexes = Mapping[str, Sequence[IndexModel]]

# What the house declares of an index besides its keys; a test says so.
OPTIONS: Final = (
    "unique",
    "sparse",
    "partialFilterExpression",
    "expireAfterSeconds",
)
# An operator's own index is kept, which nobody declares.
KEPT_PREFIX: Final = "own_"

_TTL: Final = "expireAfterSeconds"
_STAND_IN: Final = "stand_in_"
_LOG: Final = logging.getLogger("muster.indexes")

# Two workers that create one index at the same moment can collide in the
# server's catalogue; a collision is over when the other one has finished.
_ATTEMPTS: Final = 20
_PAUSE_SECONDS: Final = 0.1


async def differences(database: Database, declared: Indexes) -> list[Change]:
    """What to do so that each collection has those declared, and no others."""
    changes: list[Change] = []
    for name, models in declared.items():
        cursor = await database[name].list_indexes()
        there = [dict(index) for index in await cursor.to_list()]
        changes += differences_of(
            name, there=there, declared=[model.document for model in models]
        )
    return changes


def differences_of(
    collection: str,
    *,
    there: Sequence[Mapping[str, Any]],
    declared: Sequence[Mapping[str, Any]],
) -> list[Change]:
    """The same of one collection.

    Args:
        collection: its name.
        there: its indexes, as `listIndexes` answers.
        declared: those that it should have.
    """
    wanted = [_deed_of(index) for index in declared]
    missing = [d for d in declared if _deed_of(d) not in map(_deed_of, there)]
    spare = [
        index
        for index in there
        if _deed_of(index) not in wanted
        and index["name"] != "_id_"
        and not index["name"].startswith(KEPT_PREFIX)
    ]
    names = {index["name"] for index in there}
    changes = []
    for index in missing:
        old = _replaced_by(index, spare)
        if old is not None:
            spare.remove(old)
        changes.append(_change(collection, index, old=old, names=names))
    changes += [
        Change(collection, f"drop {index['name']}", (_drop(collection, index),))
        for index in spare
    ]
    return changes


async def create_missing(database: Database, declared: Indexes) -> None:
    """Creates what is missing; safe in several workers at once.

    One that differs stays as it is, for `python -m scripts.migrate --apply`.

    Raises:
        ChangeRefusedError: without it, something could be there twice.
    """
    for change in await differences(database, declared):
        if [next(iter(each)) for each in change.commands] == ["createIndexes"]:
            await _create(database, change)
        elif change.guards:
            raise ChangeRefusedError(f"{change}: {_ADVICE}")
        elif "createIndexes" in change.commands[0]:
            _LOG.warning("%s: %s", change, _ADVICE)


_ADVICE: Final = "run python -m scripts.migrate --apply"


async def _create(database: Database, change: Change) -> None:
    (command,) = change.commands
    for _ in range(_ATTEMPTS - 1):
        try:
            with pymongo.timeout(LONG_SECONDS):
                await database.command(command)
            return
        except DuplicateKeyError:
            break
        except OperationFailure:
            await asyncio.sleep(_PAUSE_SECONDS)
    # Says in one line what it refuses.
    await apply(database, change)


def _deed_of(index: Mapping[str, Any]) -> Document:
    """What an index does; of two that do the same, one is enough."""
    deed: Document = {"key": list(index["key"].items())}
    for option in OPTIONS:
        # A server may say that one is not unique, or say nothing.
        value = index.get(option)
        # Documents may expire 0 s after, and 0 equals False.
        if value is not None and value is not False:
            deed[option] = value
    return deed


def _replaced_by(
    index: Mapping[str, Any], spare: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """The one of `spare` that has its name, or else its keys."""
    for same in ("name", "key"):
        for old in spare:
            if old[same] == index[same]:
                return old
    return None


def _change(
    collection: str,
    index: Mapping[str, Any],
    *,
    old: Mapping[str, Any] | None,
    names: set[str],
) -> Change:
    new = {**index, "name": _free_name(index["name"], names)}
    names.add(new["name"])
    guards = bool(index.get("unique"))
    if old is None:
        return Change(
            collection,
            f"create {_said(new)}",
            (_creation(collection, new),),
            guards,
        )
    deed = f"replace {_said(old)} by {_said(new)}"
    if _without_end(old) != _without_end(new):
        steps = (_creation(collection, new), _drop(collection, old))
        return Change(collection, deed, steps, guards)
    if _TTL in new:
        return Change(
            collection,
            f"{old['name']}: let documents expire {new[_TTL]} s after",
            (_new_end(collection, old["name"], new[_TTL]),),
        )
    return Change(
        collection, deed, tuple(_around_a_stand_in(collection, index, old=old))
    )


def _around_a_stand_in(
    collection: str, index: Mapping[str, Any], *, old: Mapping[str, Any]
) -> Iterator[Document]:
    # An index can be told when documents expire, but not that they do not, and
    # one that only lacks this can't stand beside it. One with another key can.
    stand_in = {
        "key": {**index["key"], "_id": pymongo.ASCENDING},
        "name": f"{_STAND_IN}{index['name']}",
    }
    yield _creation(collection, stand_in)
    yield _drop(collection, old)
    yield _creation(collection, index)
    yield _drop(collection, stand_in)


def _free_name(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    return next(
        free for n in count(2) if (free := f"{name}_{n}") not in taken
    )


def _without_end(index: Mapping[str, Any]) -> Document:
    deed = _deed_of(index)
    deed.pop(_TTL, None)
    return deed


def _said(index: Mapping[str, Any]) -> str:
    name: str = index["name"]
    options = ", ".join(list(_deed_of(index))[1:])
    return f"{name} ({options})" if options else name


def _creation(collection: str, index: Mapping[str, Any]) -> Document:
    return {"createIndexes": collection, "indexes": [dict(index)]}


def _drop(collection: str, index: Mapping[str, Any]) -> Document:
    return {"dropIndexes": collection, "index": index["name"]}


def _new_end(collection: str, name: str, seconds: int) -> Document:
    return {"collMod": collection, "index": {"name": name, _TTL: seconds}}
