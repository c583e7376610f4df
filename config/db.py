"""The one Mongo client of a process, its indexes, and test databases.

No other module imports the driver: what the interface modules need of it is
exported here.
"""

import os
import secrets
import threading
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC
from time import perf_counter
from typing import Any, Final

import pymongo
from pymongo import (
    ASCENDING,
    DESCENDING,
    AsyncMongoClient,
    IndexModel,
    UpdateOne,
)
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WaitQueueTimeoutError,
    WriteError,
)

from config import copy_marks, telemetry
from config.changes import LONG_SECONDS, ChangeRefusedError
from config.copy_marks import UnfinishedCopyError
from config.indexes import Indexes, create_missing
from config.origin import origin_of_task

__all__ = [
    "ASCENDING",
    "DESCENDING",
    "UNAVAILABLE_ERRORS",
    "Collection",
    "DatabaseStartError",
    "Document",
    "DuplicateKeyError",
    "IndexModel",
    "Indexes",
    "NotATestDatabaseError",
    "OvertakenError",
    "UpdateOne",
    "collection",
    "configure",
    "connected",
    "count_command",
    "database",
    "drop_test_database",
    "find_by_id",
    "find_by_ids",
    "get_client",
    "hosts_of",
    "insert_each",
    "insert_missing",
    "new_test_database_name",
    "ping",
    "replace_all",
    "wipe_test_database",
]

Document = dict[str, Any]
Collection = AsyncCollection[Document]

# What a caller sees as "the database is away": it may be back in a moment.
UNAVAILABLE_ERRORS: Final = (
    ConnectionFailure,
    ExecutionTimeout,
    WaitQueueTimeoutError,
)

TEST_PREFIX: Final = "muster_test_"

# An operation that takes longer is given up, so that a request to a database
# that is away is answered within this time. It bounds the search for a server,
# the socket's silence and the driver's second try together.
OPERATION_TIMEOUT_MS: Final = 5_000

_DUPLICATE_KEY_CODE: Final = 11000
# A refusal may repeat what stands in the document, whatever that is.
_CODES_OF_REFUSED_DOCUMENTS: Final = (_DUPLICATE_KEY_CODE, 121)

# MongoDB has a code for a full disk; the embedded database tells what its
# storage says: that there is no space (28), or, after that, that it gave up.
_OUT_OF_DISK_SPACE_CODE: Final = 14031
_CANT_WRITE: Final = "the database can't write"
_STORAGE_FAULTS: Final = ("WT_PANIC", "No space left", "code: 28,")


class DatabaseStartError(Exception):
    """The database can't be used; the message is one line for an operator."""


class StorageError(ConnectionFailure):
    """The database answers that it can't read or write its disk."""


class OvertakenError(Exception):
    """Another change of a document came first: begin again with the newer."""


class NotATestDatabaseError(Exception):
    """Somebody tried to wipe or drop a database that may hold real data."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is not a test database (their names begin with "
            f"{TEST_PREFIX}): nothing was removed"
        )


@dataclass
class _Address:
    """Where the client of this process connects to."""

    uri: str = ""
    name: str = ""


class _Client(AsyncMongoClient[Document]):
    """The driver's client, which counts for each request what it asks.

    The driver tells of commands by events, which cost 18 µs each to make. All
    commands pass this method of its own, where counting costs 1; a test
    compares both. A command's time includes the wait for a connection, a
    second try counts as one with the first, and a bulk of writes is one insert.
    """

    async def _retry_internal(self, *args: Any, **named: Any) -> Any:
        # Its fourth argument; an enumeration's member, or a plain text.
        name = args[3] if len(args) > 3 else named["operation"]
        begin = perf_counter()
        try:
            return await super()._retry_internal(*args, **named)
        except OperationFailure as error:
            if _is_of_storage(error):
                raise StorageError(_CANT_WRITE) from error
            raise
        finally:
            count_command(getattr(name, "value", name), perf_counter() - begin)


@dataclass
class _Connection:
    """A client with the process that it belongs to."""

    pid: int
    client: AsyncMongoClient[Document]
    database: AsyncDatabase[Document]
    collections: dict[str, AsyncCollection[Document]] = field(
        default_factory=dict
    )


class _State:
    """The singleton: at most one connection a process."""

    address = _Address()
    connection: _Connection | None = None
    lock = threading.Lock()


def configure(uri: str, name: str) -> None:
    """Says where the database is; the client is made at its first use."""
    _State.address = _Address(uri, name)


def get_client() -> AsyncMongoClient[Document]:
    """The client of this process, the same object at every call."""
    return _connection().client


def database() -> AsyncDatabase[Document]:
    """The database of this process, for those who see to its structure."""
    return _connection().database


def collection(name: str) -> AsyncCollection[Document]:
    """The collection `name`; only its owner in `utils/` asks for it."""
    connection = _connection()
    found = connection.collections.get(name)
    if found is None:
        found = connection.collections[name] = connection.database[name]
    return found


@asynccontextmanager
async def connected(
    uri: str, name: str, indexes: Indexes
) -> AsyncIterator[None]:
    """Checks that the database answers, creates the indexes, closes at the end.

    Raises:
        DatabaseStartError: it does not answer, refuses us, or is a copy that
            is not whole.
    """
    configure(uri, name)
    try:
        try:
            hello = await get_client().admin.command("hello")
            _require_transactions(uri, hello)
            await copy_marks.require_whole(database())
            await create_missing(database(), indexes)
        except (ChangeRefusedError, UnfinishedCopyError) as error:
            raise DatabaseStartError(str(error)) from error
        except (PyMongoError, ValueError) as error:
            raise DatabaseStartError(_start_fault(uri, error)) from error
        yield
    finally:
        await close()


async def close() -> None:
    """Closes the client of this process; the next use makes a new one."""
    with _State.lock:
        connection, _State.connection = _State.connection, None
    if connection is not None and connection.pid == os.getpid():
        await connection.client.close()


async def ping() -> None:
    """Returns when the database answers.

    Raises:
        pymongo.errors.PyMongoError: it does not.
    """
    await get_client().admin.command("ping")


async def find_by_id(
    name: str, document_id: str, projection: Document | None = None
) -> Document | None:
    """The document with this `_id`; None when there is none.

    Every request reads one or two documents so. The plain command does without
    the cursor that `find_one` builds, which is 23 µs of its 139; what it lacks
    is the second try on a lost connection, so that is `find_one`'s.
    """
    connection = _connection()
    command: Document = {
        "find": name,
        "filter": {"_id": document_id},
        "projection": projection or {},
        "limit": 1,
        "singleBatch": True,
    }
    try:
        reply = await connection.database.command(
            command, codec_options=connection.database.codec_options
        )
    except ConnectionFailure as error:
        if error.timeout:
            raise
        return await collection(name).find_one(
            command["filter"], command["projection"]
        )
    found: list[Document] = reply["cursor"]["firstBatch"]
    return found[0] if found else None


async def find_by_ids(
    name: str, document_ids: Sequence[str], projection: Document | None = None
) -> dict[str, Document]:
    """Small documents by their `_id`; unknown ids are left out.

    They come in one reply, which has room for 16 MB.
    """
    found = collection(name).find(
        {"_id": {"$in": list(document_ids)}},
        projection,
        batch_size=len(document_ids) + 1,
    )
    return {document["_id"]: document async for document in found}


async def insert_each(
    name: str, documents: Sequence[Document]
) -> list[PyMongoError | None]:
    """Inserts each document, or says why not, as if it had come alone.

    Raises:
        PyMongoError: nobody knows what became of any of them.
    """
    refusals: list[PyMongoError | None] = [None] * len(documents)
    try:
        await collection(name).insert_many(documents, ordered=False)
    except BulkWriteError as error:
        if error.details["writeConcernErrors"]:
            raise
        for fault in error.details["writeErrors"]:
            refusals[fault["index"]] = _refusal(fault)
    return refusals


async def insert_missing(name: str, documents: Sequence[Document]) -> int:
    """Inserts those of `documents` whose keys are not taken, and counts them.

    One command, so that `documents` are some hundreds at most. It is not
    atomic, and may be repeated until all are there.
    """
    refusals = await insert_each(name, documents)
    for refusal in refusals:
        if refusal and not isinstance(refusal, DuplicateKeyError):
            raise refusal
    return refusals.count(None)


async def replace_all(
    name: str, replacements: Sequence[tuple[Document, Document]]
) -> None:
    """Replaces what each filter meets by its document, in one command.

    It belongs to a transaction, which undoes the others when one of the
    filters meets nothing.

    Args:
        name: the collection.
        replacements: filters with documents, some hundreds at most.

    Raises:
        OvertakenError: a filter meets nothing: another change came first.
    """
    if not replacements:
        return
    result = await collection(name).bulk_write(
        [pymongo.ReplaceOne(*replacement) for replacement in replacements],
        ordered=False,
    )
    if result.matched_count < len(replacements):
        raise OvertakenError(name)


def count_command(name: str, seconds: float) -> None:
    """Notes what a request has asked the database, and how long that took."""
    origin_of_task.get().count(name, seconds)
    if telemetry.IS_ON:
        telemetry.note_command(name, seconds)


def hosts_of(uri: str) -> str:
    """The servers that a URI names; never its user or password."""
    # All before the last @ may be a password, slashes and all.
    place = uri.partition("://")[2].rpartition("@")[2]
    return place.partition("/")[0]


def new_test_database_name() -> str:
    """A name for a database of one test run, unlike any other's."""
    return f"{TEST_PREFIX}{secrets.token_hex(6)}"


async def wipe_test_database(names: Iterable[str]) -> None:
    """Empties the collections `names`, and keeps their indexes.

    Raises:
        NotATestDatabaseError: the database in use is not a test database.
    """
    mine = _test_database()
    first, *others = names
    # After most tests few hold anything, and one command says which.
    pipeline = _name_if_any(first) + [
        {"$unionWith": {"coll": name, "pipeline": _name_if_any(name)}}
        for name in others
    ]
    with pymongo.timeout(LONG_SECONDS):
        async for found in await mine[first].aggregate(pipeline):
            await mine[found["name"]].delete_many({})


async def drop_test_database() -> None:
    """Drops the test database in use.

    Raises:
        NotATestDatabaseError: the database in use is not a test database.
    """
    mine = _test_database()
    with pymongo.timeout(LONG_SECONDS):
        await get_client().drop_database(mine.name)


def _name_if_any(name: str) -> list[Document]:
    """Stages that say the collection's name where it holds a document."""
    said = {"_id": 0, "name": {"$literal": name}}
    return [{"$limit": 1}, {"$project": said}]


def _connection() -> _Connection:
    connection = _State.connection
    # A client that came along with a fork shares its sockets with the parent,
    # so a child never uses it.
    if connection is not None and connection.pid == os.getpid():
        return connection
    with _State.lock:
        connection = _State.connection
        if connection is None or connection.pid != os.getpid():
            connection = _State.connection = _connect(_State.address)
        return connection


def _connect(address: _Address) -> _Connection:
    client = _Client(
        address.uri,
        appname="muster",
        tz_aware=True,
        tzinfo=UTC,
        timeoutMS=OPERATION_TIMEOUT_MS,
    )
    return _Connection(os.getpid(), client, client[address.name])


def _forget_lock_after_fork() -> None:
    # The lock may have been held by a thread that the child does not have.
    _State.lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_lock_after_fork)


def _refusal(fault: Document) -> PyMongoError:
    # The driver adds the document, which belongs into no log.
    told = {key: value for key, value in fault.items() if key != "op"}
    is_taken = told["code"] == _DUPLICATE_KEY_CODE
    kind = DuplicateKeyError if is_taken else WriteError
    error = kind(told["errmsg"], told["code"], told)
    return StorageError(_CANT_WRITE) if _is_of_storage(error) else error


def _is_of_storage(error: OperationFailure) -> bool:
    details = error.details or {}
    return any(
        reply["code"] not in _CODES_OF_REFUSED_DOCUMENTS
        and (
            reply["code"] == _OUT_OF_DISK_SPACE_CODE
            or any(fault in reply["errmsg"] for fault in _STORAGE_FAULTS)
        )
        for reply in details.get("writeErrors") or [details]
        if {"code", "errmsg"} <= reply.keys()
    )


def _test_database() -> AsyncDatabase[Document]:
    mine = database()
    if not mine.name.startswith(TEST_PREFIX):
        raise NotATestDatabaseError(mine.name)
    return mine


def _require_transactions(uri: str, hello: Mapping[str, Any]) -> None:
    # A replica set says its name, and the router of a cluster what it is.
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise DatabaseStartError(
            f"the database at {hosts_of(uri)} is a single server, which has no "
            "transactions: start it with --replSet, and run rs.initiate() once"
        )


def _start_fault(uri: str, error: Exception) -> str:
    hosts = hosts_of(uri)
    if isinstance(error, UNAVAILABLE_ERRORS):
        return (
            f"the database at {hosts} does not answer: start it, or correct "
            "MONGO_DB_URI"
        )
    reason = str(error).splitlines()[0]
    return f"the database at {hosts} refuses to serve Muster: {reason}"
