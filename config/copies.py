"""Copies of a whole database: in batches, with indexes, verified by hashes.

A document is copied as the bytes that it is, so both sides must have the same
ones. What a target has of a document already is compared and left, so that a
copy that was killed goes on where it was. The target says in a document of its
own whose copy it is, and what it was when it was whole: a database that says
nothing of that kind, or was written since, belongs to somebody, and is refused.
Before it is whole, no service starts on it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import bson
from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError

from config import changes, copy_marks, indexes
from config.changes import Database, Document
from config.contents import (
    CopyError,
    Digest,
    Raw,
    batches_of,
    collections_of,
    differing,
    digest_of,
    digests_of,
    indexes_of,
    is_empty,
    raw,
)
from config.copy_marks import CopyMark

Say = Callable[[str], None]

_TTL: Final = "expireAfterSeconds"
_WRITE_DOCUMENTS: Final = 500
_DUPLICATE_KEY: Final = 11000
# How often a collection is copied again of which something expires.
_EXPIRY_ATTEMPTS: Final = 5


async def copy(
    source: Database, target: Database, *, label: str, say: Say
) -> None:
    """Makes `target` the same as `source`.

    Args:
        source: nobody should write it meanwhile; what expires may.
        target: empty, or an earlier copy.
        label: says which database `source` is.
        say: gets a line for each collection.

    Raises:
        CopyError: the target is not ours to write, or the source was written
            meanwhile; what was copied is kept, for the next run.
    """
    await _enter(target, label)
    names = await collections_of(source)
    for name in await collections_of(target):
        if name not in names:
            await target.drop_collection(name)
    digests: dict[str, Digest] = {}
    for name in names:
        wanted = await indexes_of(source, name)
        await make_lasting_indexes(target, name, wanted)
        digest = await _copy_documents(source, target, name)
        if digest.count:
            digests[name] = digest
        say(f"{name}: {digest.count} documents, {len(wanted)} indexes")
    await _verify(source, target, digests)
    for name in names:
        await make_indexes(target, name, await indexes_of(source, name))
    said = {name: str(digest) for name, digest in digests.items()}
    await copy_marks.put(target, CopyMark(label, said))


async def make_indexes(
    database: Database, name: str, wanted: Sequence[Document]
) -> None:
    """Makes a collection's indexes be those wanted.

    Raises:
        CopyError: the server refuses one.
    """
    there = await indexes_of(database, name)
    for change in indexes.differences_of(name, there=there, declared=wanted):
        try:
            await changes.apply(database, change)
        except changes.ChangeRefusedError as error:
            raise CopyError(str(error)) from error


async def make_lasting_indexes(
    database: Database, name: str, wanted: Sequence[Document]
) -> None:
    """The same without those by which the server removes what expires.

    It would do so while a copy is compared with what it is of.
    """
    lasting = [index for index in wanted if _TTL not in index]
    await make_indexes(database, name, lasting)


async def insert(
    database: Database, name: str, documents: Sequence[RawBSONDocument]
) -> None:
    """Inserts documents that are not there."""
    await raw(database, name).insert_many(documents)


async def _enter(target: Database, label: str) -> None:
    """Takes the target, unless it belongs to somebody."""
    mark = await copy_marks.find(target)
    if mark is None:
        if not await is_empty(target):
            raise CopyError(
                f"{target.name} at the target holds a community already, and "
                "is no copy: name an empty database"
            )
    elif mark.source != label:
        raise CopyError(
            f"{target.name} at the target is a copy of {mark.source}: "
            "name an empty database"
        )
    elif mark.digests is not None:
        written = await _written_since(target, mark.digests)
        if written:
            raise CopyError(
                f"{target.name} at the target was written since it was "
                f"copied ({', '.join(written)}): it lives on, and is not "
                "overwritten; name an empty database"
            )
    await copy_marks.put(target, CopyMark(label))


async def _written_since(
    target: Database, said: Mapping[str, str]
) -> list[str]:
    noted = {name: Digest.of_text(text) for name, text in said.items()}
    now = await digests_of(target)
    return [
        name
        for name in differing(noted, now)
        if not await _may_have_expired(target, name, noted, now)
    ]


async def _may_have_expired(
    database: Database,
    name: str,
    before: Mapping[str, Digest],
    after: Mapping[str, Digest],
) -> bool:
    """Whether the server may have made a difference, and nobody else.

    It removes what expires, and does nothing but that.
    """
    counts = [each.get(name, Digest()).count for each in (before, after)]
    return counts[1] < counts[0] and any(
        _TTL in index for index in await indexes_of(database, name)
    )


async def _copy_documents(
    source: Database, target: Database, name: str
) -> Digest:
    digest = Digest()
    held_back: list[Any] = []
    async for batch in batches_of(source, name):
        digest = digest.including(batch)
        held_back += await _write(raw(target, name), batch)
    if held_back or await target[name].count_documents({}) > digest.count:
        await _remove_strangers(source, target, name)
    # All others are what they are in the source by now, where no two share a
    # unique key: so none of these can be held back any more.
    for at in range(0, len(held_back), _WRITE_DOCUMENTS):
        ids = held_back[at : at + _WRITE_DOCUMENTS]
        async for batch in batches_of(source, name, {"_id": {"$in": ids}}):
            if await _write(raw(target, name), batch):
                raise CopyError(
                    f"{name}: the source was written meanwhile: run this again"
                )
    return digest


async def _write(target: Raw, batch: Sequence[RawBSONDocument]) -> list[Any]:
    """Writes what differs; returns the ids of those that could not be.

    A unique key may still be another's, who is written later.
    """
    ids = [document["_id"] for document in batch]
    there = {
        _key_of(found): found.raw
        async for found in target.find({"_id": {"$in": ids}})
    }
    changed = [each for each in batch if there.get(_key_of(each)) != each.raw]
    stale = [each["_id"] for each in changed if _key_of(each) in there]
    if stale:
        await target.delete_many({"_id": {"$in": stale}})
    if not changed:
        return []
    try:
        await target.insert_many(changed, ordered=False)
    except BulkWriteError as error:
        faults = error.details["writeErrors"]
        if any(fault["code"] != _DUPLICATE_KEY for fault in faults):
            raise
        return [changed[fault["index"]]["_id"] for fault in faults]
    return []


async def _remove_strangers(
    source: Database, target: Database, name: str
) -> None:
    """Removes from our copy what the source does not have any more."""
    async for batch in batches_of(target, name):
        by_key = {_key_of(each): each["_id"] for each in batch}
        condition = {"_id": {"$in": list(by_key.values())}}
        async for known in batches_of(source, name, condition):
            for each in known:
                by_key.pop(_key_of(each), None)
        if by_key:
            ids = list(by_key.values())
            await target[name].delete_many({"_id": {"$in": ids}})


async def _verify(
    source: Database, target: Database, digests: dict[str, Digest]
) -> None:
    now = await digests_of(source)
    written = [
        name
        for name in differing(digests, now)
        if not await _may_have_expired(source, name, digests, now)
        or not await _copy_again(source, target, name, digests)
    ]
    if written:
        raise CopyError(
            f"the source was written meanwhile ({', '.join(written)}): stop "
            "what writes it, and run this again for the rest"
        )
    wrong = differing(digests, await digests_of(target))
    if wrong:
        raise CopyError(
            f"the copy differs ({', '.join(wrong)}): run this again"
        )


async def _copy_again(
    source: Database, target: Database, name: str, digests: dict[str, Digest]
) -> bool:
    """Whether a collection stood still while it was copied once more."""
    for _ in range(_EXPIRY_ATTEMPTS):
        digest = await _copy_documents(source, target, name)
        if digest == await digest_of(source, name):
            digests.pop(name)
            if digest.count:
                digests[name] = digest
            return True
    return False


def _key_of(document: RawBSONDocument) -> bytes:
    # An id may be of any type, and not all of them can be a key here.
    return bson.encode({"_id": document["_id"]})
