"""Dumps: a whole database in one compressed file.

The file is gzip over BSON documents: one that says what it is; for each
collection one with its name and indexes, followed by one around each of its
documents; at last one with the digest of each collection. What breaks off has
no last one.
"""

import gzip
import os
import secrets
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import bson
from bson.errors import InvalidBSON
from bson.raw_bson import RawBSONDocument

from config import contents, copies, copy_marks
from config.changes import Database, Document
from config.contents import CopyError, Digest
from config.copies import Say
from config.copy_marks import CopyMark

_FORMAT: Final = "Muster backup 1"
_LENGTH_BYTES: Final = 4
# A document of the largest kind, and what is around it.
_MOST_BYTES: Final = 17 * 1024 * 1024
_BATCH: Final = 500
_UNFINISHED: Final = CopyMark("a backup")
_BATCH_BYTES: Final = 4 * 1024 * 1024


async def write(database: Database, path: Path, *, say: Say) -> list[str]:
    """Writes all of a database into a new file, for its owner only.

    Returns:
        The collections that were written meanwhile: what belongs together may
        be of two moments there.

    Raises:
        CopyError: the file is there already.
        OSError: it can't be written.
    """
    if path.exists():
        raise CopyError(f"{path} is there already: nothing was written")
    # Another run may write beside this one, under the same name.
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(number, "wb") as plain:
            with gzip.GzipFile(fileobj=plain, mode="wb", compresslevel=6) as to:
                digests = await _write_all(database, to, say=say)
            plain.flush()
            os.fsync(plain.fileno())
        # A new name is never that of a file which is there.
        os.link(draft, path)
    except FileExistsError:
        raise CopyError(
            f"{path} was written meanwhile: nothing was replaced"
        ) from None
    finally:
        draft.unlink()
    _sync_folder(path.parent)
    return contents.differing(digests, await contents.digests_of(database))


async def restore(path: Path, database: Database, *, say: Say) -> None:
    """Fills an empty database with what is in a file.

    The file is read to its end before anything is written. A database which
    only holds a restore that broke off is emptied first.

    Raises:
        CopyError: the file is not whole, the database is not empty, or it is
            not what the file says afterwards.
        OSError: the file can't be read.
    """
    digests = _check(path)
    await _enter(database)
    wanted: dict[str, list[Document]] = {}
    with gzip.open(path) as file:
        for part in _Reader(file):
            if part.name not in wanted:
                wanted[part.name] = part.indexes
                await copies.make_lasting_indexes(
                    database, part.name, part.indexes
                )
            if part.documents:
                await copies.insert(database, part.name, part.documents)
    wrong = contents.differing(digests, await contents.digests_of(database))
    if wrong:
        raise CopyError(
            f"{', '.join(wrong)}: not what the file says: run this again"
        )
    for name, made_by in wanted.items():
        await copies.make_indexes(database, name, made_by)
        count = digests.get(name, Digest()).count
        say(f"{name}: {count} documents, {len(made_by)} indexes")
    await copy_marks.remove(database)


async def _enter(database: Database) -> None:
    """Takes an empty database, or one that holds an unfinished restore."""
    mark = await copy_marks.find(database)
    if mark == _UNFINISHED:
        for name in await contents.collections_of(database):
            await database.drop_collection(name)
    elif not await contents.is_empty(database):
        raise CopyError(f"{database.name} is not empty: nothing was restored")
    await copy_marks.put(database, _UNFINISHED)


def _sync_folder(folder: Path) -> None:
    """Returns when a new name is on the disk as well."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


async def _write_all(
    database: Database, file: gzip.GzipFile, *, say: Say
) -> dict[str, Digest]:
    file.write(bson.encode({"format": _FORMAT}))
    digests = {}
    for name in await contents.collections_of(database):
        made_by = await contents.indexes_of(database, name)
        file.write(bson.encode({"collection": name, "indexes": made_by}))
        digest = Digest()
        async for batch in contents.batches_of(database, name):
            digest = digest.including(batch)
            for document in batch:
                file.write(bson.encode({"document": document}))
        if digest.count:
            digests[name] = digest
        say(f"{name}: {digest.count} documents, {len(made_by)} indexes")
    said = {name: str(digest) for name, digest in digests.items()}
    file.write(bson.encode({"digests": said}))
    return digests


def _check(path: Path) -> dict[str, Digest]:
    """What is in a file, if it is whole."""
    digests: dict[str, Digest] = {}
    said: Mapping[str, str] | None = None
    try:
        with gzip.open(path) as file:
            reader = _Reader(file)
            for part in reader:
                if part.documents:
                    so_far = digests.get(part.name, Digest())
                    digests[part.name] = so_far.including(part.documents)
            said = reader.said
    except (EOFError, gzip.BadGzipFile, zlib.error, InvalidBSON, KeyError):
        # It is not what was written, at whatever place.
        said = None
    if said != {name: str(digest) for name, digest in digests.items()}:
        raise CopyError(f"{path} is no whole backup: nothing was restored")
    return digests


@dataclass
class _Part:
    """Some documents of a collection, with what its indexes are made by."""

    name: str
    indexes: list[Document]
    documents: list[RawBSONDocument] = field(default_factory=list)


class _Reader:
    """The parts of a file, of which a collection has one at least.

    Attributes:
        said: the digests at its end; None before, and where it has none.
    """

    def __init__(self, file: gzip.GzipFile) -> None:
        self.said: Mapping[str, str] | None = None
        self._file = file

    def __iter__(self) -> Iterator[_Part]:
        part: _Part | None = None
        size = 0
        frames = self._frames()
        head = next(frames, None)
        if head is None or head.get("format") != _FORMAT:
            raise InvalidBSON("it is of another format")
        for frame in frames:
            if part is not None and "document" in frame:
                part.documents.append(frame["document"])
                size += len(frame.raw)
                if size < _BATCH_BYTES and len(part.documents) < _BATCH:
                    continue
            if part is not None:
                yield part
                part, size = _Part(part.name, part.indexes), 0
            if "collection" in frame:
                about = bson.decode(frame.raw)
                part = _Part(about["collection"], about["indexes"])
            self.said = bson.decode(frame.raw).get("digests")

    def _frames(self) -> Iterator[RawBSONDocument]:
        while head := self._file.read(_LENGTH_BYTES):
            length = int.from_bytes(head, "little")
            if length > _MOST_BYTES:
                raise InvalidBSON("no document is so long")
            rest = self._file.read(length - _LENGTH_BYTES)
            yield RawBSONDocument(head + rest)
