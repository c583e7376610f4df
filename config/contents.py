"""Contents: what a database holds, read as the bytes that it is.

Where two databases are open, each fault of a reading is told as that of the
database which was read.
"""

import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final, cast

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import ConnectionFailure, PyMongoError

from config import copy_marks, db
from config.changes import Database, Document

Raw = AsyncCollection[RawBSONDocument]

# What a server says of an index that is of its own making.
_SERVERS_OWN: Final = ("v", "ns", "background")
_BATCH_DOCUMENTS: Final = 500
_BATCH_BYTES: Final = 8 * 1024 * 1024
_MODULUS: Final = 1 << 256
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

    @classmethod
    def of_text(cls, text: str) -> "Digest":
        """The one that says so of itself."""
        count, _, total = text.partition(":")
        return cls(int(count), int(total, 16))


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
    database = client[name]
    async with client:
        with _telling(database, place):
            await database.command("ping")
            yield database


async def digests_of(database: Database) -> dict[str, Digest]:
    """What each collection holds that is not empty."""
    digests = {}
    for name in await collections_of(database):
        digest = await digest_of(database, name)
        if digest.count:
            digests[name] = digest
    return digests


async def digest_of(database: Database, name: str) -> Digest:
    """What a collection holds."""
    digest = Digest()
    async for batch in batches_of(database, name):
        digest = digest.including(batch)
    return digest


async def collections_of(database: Database) -> list[str]:
    """The names of the collections that hold a community's data."""
    with _telling(database):
        names = await database.list_collection_names(
            filter={"type": "collection"}
        )
    return sorted(
        name
        for name in names
        if name != copy_marks.MARKER and not name.startswith("system.")
    )


async def batches_of(
    database: Database, name: str, condition: Mapping[str, Any] | None = None
) -> AsyncIterator[list[RawBSONDocument]]:
    """The documents of a collection, some megabytes at a time."""
    batch: list[RawBSONDocument] = []
    size = 0
    cursor = raw(database, name).find(condition, batch_size=_BATCH_DOCUMENTS)
    with _telling(database):
        async for document in cursor:
            batch.append(document)
            size += len(document.raw)
            if len(batch) == _BATCH_DOCUMENTS or size >= _BATCH_BYTES:
                # What becomes of it outside is not raised in here.
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


async def indexes_of(database: Database, name: str) -> list[Document]:
    """What an index is made by, for each but the one that all have."""
    with _telling(database):
        cursor = await database[name].list_indexes()
        return [
            {key: index[key] for key in index if key not in _SERVERS_OWN}
            for index in await cursor.to_list()
            if index["name"] != "_id_"
        ]


async def is_empty(database: Database) -> bool:
    """Whether no document is there, of whatever collection."""
    for name in [copy_marks.MARKER, *await collections_of(database)]:
        if await database[name].find_one({}, {"_id": 1}) is not None:
            return False
    return True


def differing(
    mine: Mapping[str, Digest], other: Mapping[str, Digest]
) -> list[str]:
    """The names of the collections that two databases do not share."""
    return sorted(
        name
        for name in mine.keys() | other.keys()
        if mine.get(name) != other.get(name)
    )


def raw(database: Database, name: str) -> Raw:
    """A collection whose documents are not decoded."""
    # The driver's types say of every collection what its client reads.
    return cast(Raw, database.get_collection(name, codec_options=_RAW))


@contextmanager
def _telling(database: Database, place: str | None = None) -> Iterator[None]:
    """Tells the driver's faults as this database's, in one line."""
    try:
        yield
    except ConnectionFailure:
        raise CopyError(
            f"{_said(database, place)} does not answer: run this again "
            "for the rest when it does"
        ) from None
    except PyMongoError as error:
        reason = str(error).partition(", full error")[0].splitlines()[0]
        raise CopyError(f"{_said(database, place)}: {reason}") from error


def _said(database: Database, place: str | None) -> str:
    if place is None:
        servers = database.client.topology_description.server_descriptions()
        # A socket of this machine has no port.
        place = ",".join(
            host if port is None else f"{host}:{port}"
            for host, port in servers
        )
    return f"the database {database.name} at {place}"
