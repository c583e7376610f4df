"""Files in GridFS: in windows, and as other drivers read them."""

import os
import tracemalloc
from collections.abc import AsyncIterator
from io import BytesIO
from typing import IO

import pytest
from gridfs.asynchronous import AsyncGridFSBucket
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import ServerSelectionTimeoutError

from config import db, files
from config.main import settings as muster
from tests.commands import counted
from utils.images import COLLECTION as BUCKET

pytestmark = pytest.mark.usefixtures("database")

CHUNK = files.CHUNK_BYTES
LENGTHS = [
    0,
    1,
    CHUNK - 1,
    CHUNK,
    CHUNK + 1,
    4 * CHUNK,
    4 * CHUNK + 1,
    9 * CHUNK,
]


def _bucket() -> AsyncGridFSBucket:
    return AsyncGridFSBucket(
        db.get_client()[muster.mongo_db_name], bucket_name=BUCKET
    )


async def _read(file_id: str, start: int, stop: int) -> bytes:
    parts = files.read(BUCKET, file_id, start=start, stop=stop)
    return b"".join([part async for part in parts])


async def _count(kind: str) -> int:
    return await db.collection(f"{BUCKET}.{kind}").count_documents({})


class _Reader(BytesIO):
    """Notes how much is asked for at once."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.asked: list[int] = []

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads as ever."""
        self.asked.append(-1 if size is None else size)
        return super().read(size)


class TestWriteAndRead:
    @pytest.mark.parametrize("length", LENGTHS)
    async def test_what_was_written(self, length: int) -> None:
        data = os.urandom(length)
        await files.write(BUCKET, "x", file=BytesIO(data))
        assert await _read("x", 0, length) == data

    async def test_from_the_beginning(self) -> None:
        file = BytesIO(b"abc")
        file.seek(2)
        await files.write(BUCKET, "x", file=file)
        assert await _read("x", 0, 3) == b"abc"

    @pytest.mark.parametrize("length", LENGTHS)
    async def test_other_drivers_read_it(self, length: int) -> None:
        data = os.urandom(length)
        await files.write(BUCKET, "x", file=BytesIO(data))
        stream = await _bucket().open_download_stream("x")
        assert await stream.read() == data
        assert stream.filename == "x"

    async def test_other_drivers_write_it(self) -> None:
        data = os.urandom(5 * CHUNK + 7)
        await _bucket().upload_from_stream_with_id("x", "x", data)
        assert await _read("x", 0, len(data)) == data
        assert await _read("x", CHUNK - 1, CHUNK + 1) == data[CHUNK - 1 :][:2]

    async def test_round_trips(self) -> None:
        with counted() as writing:
            await files.write(BUCKET, "x", file=BytesIO(bytes(9 * CHUNK)))
        assert writing == ["insert"] * 4
        with counted() as reading:
            await _read("x", 0, 9 * CHUNK)
        assert reading == ["find"] * 3
        with counted() as reading:
            await _read("x", 5 * CHUNK, 5 * CHUNK + 1)
        assert reading == ["find"]

    async def test_of_another_file(self) -> None:
        for name in ("x", "y"):
            await files.write(BUCKET, name, file=BytesIO(name.encode()))
        assert await _read("y", 0, 1) == b"y"

    async def test_deleted_meanwhile(self) -> None:
        await files.write(BUCKET, "x", file=BytesIO(bytes(9 * CHUNK)))
        parts = files.read(BUCKET, "x", start=0, stop=9 * CHUNK)
        lengths = [len(await anext(parts))]
        await files.delete(BUCKET, ["x"])
        lengths += [len(part) async for part in parts]
        assert lengths == [CHUNK] * 4

    @pytest.mark.parametrize("hole", [1, 3, 4])
    async def test_ends_at_a_hole(self, hole: int) -> None:
        """Never other bytes than asked for."""
        await files.write(BUCKET, "x", file=BytesIO(bytes(9 * CHUNK)))
        await db.collection(f"{BUCKET}.chunks").delete_one({"n": hole})
        assert len(await _read("x", 0, 9 * CHUNK)) == hole * CHUNK


class TestRanges:
    DATA = os.urandom(6 * CHUNK + 5)

    @pytest.fixture(name="stored")
    async def _stored(self) -> AsyncIterator[None]:
        await files.write(BUCKET, "x", file=BytesIO(self.DATA))
        yield

    @pytest.mark.usefixtures("stored")
    @given(st.integers(0, len(DATA)), st.integers(0, len(DATA)))
    @settings(
        deadline=None,
        max_examples=40,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    async def test_are_slices(self, one: int, two: int) -> None:
        start, stop = sorted((one, two))
        assert await _read("x", start, stop) == self.DATA[start:stop]


class TestMemory:
    async def test_a_window_at_a_time(self) -> None:
        file = _Reader(bytes(20 * CHUNK))
        await files.write(BUCKET, "x", file=file)
        assert set(file.asked) == {4 * CHUNK}

    async def test_never_the_whole(self) -> None:
        file: IO[bytes] = BytesIO(bytes(16 * 1024 * 1024))
        tracemalloc.start()
        try:
            await files.write(BUCKET, "x", file=file)
            async for part in files.read(
                BUCKET, "x", start=0, stop=16 * 1024 * 1024
            ):
                assert part
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 6 * 1024 * 1024


class TestDelete:
    async def test_leaves_nothing(self) -> None:
        for name in ("x", "y", "z"):
            await files.write(BUCKET, name, file=BytesIO(bytes(2 * CHUNK)))
        await files.delete(BUCKET, ["x", "y", "unknown"])
        assert await _count("chunks") == 2
        assert await _count("files") == 1
        assert await _read("z", 0, 2 * CHUNK) == bytes(2 * CHUNK)

    async def test_half_written(self, monkeypatch: pytest.MonkeyPatch) -> None:
        file = BytesIO(bytes(9 * CHUNK))
        read = file.read

        def breaks(size: int = -1) -> bytes:
            if file.tell() > 4 * CHUNK:
                raise ServerSelectionTimeoutError
            return read(size)

        monkeypatch.setattr(file, "read", breaks, raising=False)
        with pytest.raises(ServerSelectionTimeoutError):
            await files.write(BUCKET, "x", file=file)
        assert (await _count("chunks"), await _count("files")) == (8, 0)
        await files.delete(BUCKET, ["x"])
        assert await _count("chunks") == 0
