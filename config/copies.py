"""Copies of a whole database: in batches, with indexes, verified by hashes.

A document is copied as the bytes that it is, so both sides must have the same
ones. What a target has of a document already is compared and left, so that a
copy that was killed goes on where it was. The target says in a document of its
own whose copy it is, and what it was when it was whole: a database that says
nothing of that kind, or was written since, belongs to somebody, and is refused.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final, cast

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError, ConnectionFailure, PyMongoError

from config import changes, db, indexes
from config.changes import Database, Document

Raw = AsyncCollection[RawBSONDocument]
Say = Callable[[str], None]

# Whose copy a database is.
MARKER: Final = "muster_copy"

_ID: Final = "copy"
_DIGESTS: Final = "digests"
_SOURCE: Final = "source"
_TTL: Final = "expireAfterSeconds"
# What a server says of an index that is of its own making.
_SERVERS_OWN: Final = ("v", "ns", "background")
_BATCH_DOCUMENTS: Final = 500
_BATCH_BYTES: Final = 8 * 1024 * 1024
_MODULUS: Final = 1 << 256
_DUPLICATE_KEY: Final = 11000
_SELECTION_MS: Final = 5_000
_RAW: Final[CodecOptions[RawBSONDocument]] = CodecOptions(
    document_class=RawBSONDocument
)


class CopyError(Exception):
    """A database can't be copied; the message is one line."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What a collection holds, in whatever order it is read.

    Attributes:
        count: how many documents.
        total: the sum of their SHA-256 hashes, modulo 2 to the power of 256.
    """

    count: int = 0
    total: int = 0

    def including(self, documents: Sequence[RawBSONDocument]) -> "Digest":
        """That of a collection which has these as well."""
        hashes = (hashlib.sha256(each.raw).digest() for each in documents)
        total = sum(int.from_bytes(each, "big") for each in hashes)
        return Digest(
            self.count + len(documents), (self.total + total) % _MODULUS
        )

    def __str__(self) -> str:
        return f"{self.count}:{self.total:064x}"


@asynccontextmanager
async def opened(uri: str, name: str) -> AsyncIterator[Database]:
    """A database, for work that takes as long as it takes.

    Raises:
        CopyError: it does not answer, or refuses; the password is not said.
    """
    place = db.hosts_of(uri)
    try:
        client = AsyncMongoClient[Document](
            uri,
            appname="muster",
            tz_aware=True,
            tzinfo=UTC,
            serverSelectionTimeoutMS=_SELECTION_MS,
        )
    except (PyMongoError, ValueError):
        # The driver's own words may be a part of the password.
        raise CopyError(f"the URI of {place} is none") from None
    async with client:
        try:
            await client[name].command("ping")
            yield client[name]
        except ConnectionFailure:
            raise CopyError(
                f"the database at {place} does not answer: run this again "
                "for the rest when it does"
            ) from None
        except PyMongoError as error:
            reason = str(error).partition(", full error")[0].splitlines()[0]
            raise CopyError(f"the database at {place}: {reason}") from error


async def digests_of(database: Database) -> dict[str, Digest]:
    """What each collection holds that is not empty."""
    digests = {}
    for name in await collections_of(database):
        digest = Digest()
        async for batch in batches_of(database, name):
            digest = digest.including(batch)
        if digest.count:
            digests[name] = digest
    return digests


async def collections_of(database: Database) -> list[str]:
    """The names of the collections that hold a community's data."""
    names = await database.list_collection_names(filter={"type": "collection"})
    return sorted(
        name
        for name in names
        if name != MARKER and not name.startswith("system.")
    )


async def batches_of(
    database: Database, name: str, condition: Mapping[str, Any] | None = None
) -> AsyncIterator[list[RawBSONDocument]]:
    """The documents of a collection, some megabytes at a time."""
    batch: list[RawBSONDocument] = []
    size = 0
    cursor = _raw(database, name).find(condition, batch_size=_BATCH_DOCUMENTS)
    async for document in cursor:
        batch.append(document)
        size += len(document.raw)
        if len(batch) == _BATCH_DOCUMENTS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


async def indexes_of(database: Database, name: str) -> list[Document]:
    """What an index is made by, for each but the one that all have."""
    cursor = await database[name].list_indexes()
    return [
        {key: index[key] for key in index if key not in _SERVERS_OWN}
        for index in await cursor.to_list()
        if index["name"] != "_id_"
    ]


async def is_empty(database: Database) -> bool:
    """Whether no document is there, of whatever collection."""
    for name in [MARKER, *await collections_of(database)]:
        if await database[name].find_one({}, {"_id": 1}) is not None:
            return False
    return True


async def copy(
    source: Database, target: Database, *, label: str, say: Say
) -> None:
    """Makes `target` the same as `source`.

    Args:
        source: nobody should write it meanwhile.
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
    digests = {}
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
    await _mark(target, label, digests)


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
    await _raw(database, name).insert_many(documents)


def differing(
    mine: Mapping[str, Digest], other: Mapping[str, Digest]
) -> list[str]:
    """The names of the collections that two databases do not share."""
    return sorted(
        name
        for name in mine.keys() | other.keys()
        if mine.get(name) != other.get(name)
    )


async def _enter(target: Database, label: str) -> None:
    """Takes the target, unless it belongs to somebody."""
    marker = await target[MARKER].find_one({"_id": _ID})
    if marker is None:
        if not await is_empty(target):
            raise CopyError(
                f"{target.name} at the target holds a community already, and "
                "is no copy: name an empty database"
            )
    elif marker[_SOURCE] != label:
        raise CopyError(
            f"{target.name} at the target is a copy of {marker[_SOURCE]}: "
            "name an empty database"
        )
    elif marker[_DIGESTS] is not None:
        written = await _written_since(target, marker[_DIGESTS])
        if written:
            raise CopyError(
                f"{target.name} at the target was written since it was "
                f"copied ({', '.join(written)}): it lives on, and is not "
                "overwritten; name an empty database"
            )
    await _mark(target, label, None)


async def _written_since(
    target: Database, noted: Mapping[str, str]
) -> list[str]:
    now = await digests_of(target)
    written = []
    for name in sorted(now.keys() | noted.keys()):
        if str(now.get(name, "")) == noted.get(name, ""):
            continue
        # A server removes what expires by itself, which is nobody's writing.
        if not any(_TTL in each for each in await indexes_of(target, name)):
            written.append(name)
    return written


async def _mark(
    target: Database, label: str, digests: Mapping[str, Digest] | None
) -> None:
    said = None
    if digests is not None:
        said = {name: str(digest) for name, digest in digests.items()}
    await target[MARKER].replace_one(
        {"_id": _ID}, {_SOURCE: label, _DIGESTS: said}, upsert=True
    )


async def _copy_documents(
    source: Database, target: Database, name: str
) -> Digest:
    digest = Digest()
    held_back: list[Any] = []
    async for batch in batches_of(source, name):
        digest = digest.including(batch)
        held_back += await _write(_raw(target, name), batch)
    if held_back or await target[name].count_documents({}) > digest.count:
        await _remove_strangers(source, target, name)
    # All others are what they are in the source by now, where no two share a
    # unique key: so none of these can be held back any more.
    for at in range(0, len(held_back), _BATCH_DOCUMENTS):
        ids = held_back[at : at + _BATCH_DOCUMENTS]
        async for batch in batches_of(source, name, {"_id": {"$in": ids}}):
            if await _write(_raw(target, name), batch):
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
    source: Database, target: Database, digests: Mapping[str, Digest]
) -> None:
    written = differing(digests, await digests_of(source))
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


def _raw(database: Database, name: str) -> Raw:
    # The driver's types say of every collection what its client reads.
    return cast(Raw, database.get_collection(name, codec_options=_RAW))


def _key_of(document: RawBSONDocument) -> bytes:
    # An id may be of any type, and not all of them can be a key here.
    return bson.encode({"_id": document["_id"]})
