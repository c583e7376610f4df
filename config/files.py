"""Files in GridFS, read and written in windows: none is in memory whole.

A bucket is two collections, as MongoDB's GridFS specification lays them out:
its tools and drivers read them too. The driver's own writer is not used: it
keeps up to 48 MB to send at once, and a second copy while it does.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import IO, Final

from bson import ObjectId

from config import db

CHUNK_BYTES: Final = 255 * 1024

# What is in memory of a file while it comes or goes.
_WINDOW_CHUNKS: Final = 4


def indexes(bucket: str) -> db.Indexes:
    """The indexes of a bucket's collections, those of the specification."""
    return {
        f"{bucket}.files": [
            db.IndexModel(
                [("filename", db.ASCENDING), ("uploadDate", db.ASCENDING)]
            )
        ],
        f"{bucket}.chunks": [
            db.IndexModel(
                [("files_id", db.ASCENDING), ("n", db.ASCENDING)], unique=True
            )
        ],
    }


async def write(bucket: str, file_id: str, *, file: IO[bytes]) -> None:
    """Stores `file`, from its beginning.

    The file is there when all of it is. What a crash leaves behind goes with
    `delete`.
    """
    chunks = db.collection(f"{bucket}.chunks")
    count = length = 0
    await asyncio.to_thread(file.seek, 0)
    while window := await asyncio.to_thread(
        file.read, _WINDOW_CHUNKS * CHUNK_BYTES
    ):
        pieces = [
            window[at : at + CHUNK_BYTES]
            for at in range(0, len(window), CHUNK_BYTES)
        ]
        await chunks.insert_many(
            {
                "_id": ObjectId(),
                "files_id": file_id,
                "n": count + number,
                "data": piece,
            }
            for number, piece in enumerate(pieces)
        )
        count += len(pieces)
        length += len(window)
    await db.collection(f"{bucket}.files").insert_one(
        {
            "_id": file_id,
            "filename": file_id,
            "length": length,
            "chunkSize": CHUNK_BYTES,
            "uploadDate": datetime.now(UTC),
        }
    )


async def read(
    bucket: str, file_id: str, *, start: int, stop: int
) -> AsyncIterator[bytes]:
    """The bytes of a file from `start` to before `stop`, in pieces.

    No cursor stays open while a slow reader takes a piece. Where a chunk is
    missing, as of a file that is deleted meanwhile, the pieces end.
    """
    chunks = db.collection(f"{bucket}.chunks")
    end = -(-stop // CHUNK_BYTES)
    for first in range(start // CHUNK_BYTES, end, _WINDOW_CHUNKS):
        last = min(first + _WINDOW_CHUNKS, end)
        window = chunks.find(
            {"files_id": file_id, "n": {"$gte": first, "$lt": last}},
            {"_id": 0, "n": 1, "data": 1},
        )
        found = await window.sort("n", db.ASCENDING).to_list()
        for number, chunk in enumerate(found, first):
            if chunk["n"] != number:
                return
            begin = number * CHUNK_BYTES
            piece: bytes = chunk["data"]
            yield piece[max(start - begin, 0) : stop - begin]
        if len(found) < last - first:
            return


async def delete(bucket: str, file_ids: Sequence[str]) -> None:
    """Removes files, whole or not; some hundreds at most."""
    ids = list(file_ids)
    await db.collection(f"{bucket}.chunks").delete_many(
        {"files_id": {"$in": ids}}
    )
    await db.collection(f"{bucket}.files").delete_many({"_id": {"$in": ids}})
