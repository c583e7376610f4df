"""Copies and dumps of databases, on two databases of one server."""

import asyncio
import gzip
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import ObjectId
from pymongo import IndexModel, MongoClient
from pymongo.errors import BulkWriteError

from config import contents, copies, copy_marks, db, dumps
from config.changes import Database
from config.contents import CopyError
from config.copy_marks import UnfinishedCopyError

URI = os.environ["MONGO_DB_URI"]
Pair = tuple[Database, Database]
_SOON = datetime(2999, 1, 1, tzinfo=UTC)


@pytest.fixture(name="pair")
async def _pair() -> AsyncIterator[Pair]:
    """A community with a file, and an empty database."""
    async with AsyncExitStack() as stack:
        names = [db.new_test_database_name() for _ in range(2)]
        source, target = [
            await stack.enter_async_context(contents.opened(URI, name))
            for name in names
        ]
        await source["people"].create_indexes(
            [
                IndexModel("mail", unique=True),
                IndexModel("ends_at", expireAfterSeconds=60),
            ]
        )
        await source["people"].insert_many(
            {"_id": f"{n:04}", "mail": f"{n}@x.org", "ends_at": _SOON}
            for n in range(1200)
        )
        await source["odd"].insert_many(
            [{"_id": {"a": 1}, "n": None}, {"_id": 7, "n": 2**40, "d": 0.5}]
        )
        file_id = ObjectId()
        await source["pictures.chunks"].create_index(
            [("files_id", 1), ("n", 1)], unique=True
        )
        await source["pictures.files"].insert_one({"_id": file_id, "length": 9})
        await source["pictures.chunks"].insert_many(
            {"_id": ObjectId(), "files_id": file_id, "n": n, "data": b"\0" * 3}
            for n in range(3)
        )
        yield source, target
        for database in (source, target):
            await database.client.drop_database(database.name)


async def _copy(pair: Pair, label: str = "home") -> list[str]:
    lines: list[str] = []
    await copies.copy(*pair, label=label, say=lines.append)
    return lines


async def _assert_same(pair: Pair) -> None:
    source, target = pair
    digests = await contents.digests_of(source)
    assert await contents.digests_of(target) == digests != {}
    for name in digests:
        mine = await contents.indexes_of(source, name)
        others = await contents.indexes_of(target, name)
        # What they are called is not what they do.
        for index in (*mine, *others):
            del index["name"]
        assert len(mine) == len(others)
        assert all(index in others for index in mine)


class TestCopy:
    async def test_documents_indexes_and_files(self, pair: Pair) -> None:
        assert await _copy(pair) == [
            "odd: 2 documents, 0 indexes",
            "people: 1200 documents, 2 indexes",
            "pictures.chunks: 3 documents, 1 indexes",
            "pictures.files: 1 documents, 0 indexes",
        ]
        await _assert_same(pair)

    async def test_again(self, pair: Pair) -> None:
        """After changes that meet unique keys in the order of reading."""
        await _copy(pair)
        source = pair[0]
        people = source["people"]
        await people.delete_one({"_id": "0600"})
        # What the last one had, the first one has, and the other way round.
        await people.update_one({"_id": "1199"}, {"$set": {"mail": "-"}})
        for number, mail in ((0, "1199@x.org"), (1199, "0@x.org")):
            await people.update_one(
                {"_id": f"{number:04}"}, {"$set": {"mail": mail}}
            )
        await people.drop_index("mail_1")
        await people.create_index("mail", unique=True, name="by_mail")
        await people.create_index("ends_at", name="own_more", sparse=True)
        await source["odd"].drop()
        await source["new"].insert_one({"_id": 1})
        await _copy(pair)
        await _assert_same(pair)

    async def test_goes_on_with_one_that_broke_off(self, pair: Pair) -> None:
        """Where only some was copied, and some of it is another's by now."""
        source, target = pair

        def stop(line: str) -> None:
            if line.startswith("people"):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await copies.copy(source, target, label="home", say=stop)
        assert set(await contents.digests_of(target)) == {"odd", "people"}
        await target["people"].delete_one({"_id": "0001"})
        await target["people"].insert_one({"_id": "x", "mail": "1@x.org"})
        await _copy(pair)
        await _assert_same(pair)

    async def test_source_that_is_written(self, pair: Pair) -> None:
        with MongoClient[dict[str, Any]](URI) as client:
            odd = client[pair[0].name]["odd"]

            def write(line: str) -> None:
                if line.startswith("people"):
                    odd.insert_one({"_id": "late"})

            with pytest.raises(CopyError, match=r"meanwhile \(odd\)"):
                await copies.copy(*pair, label="home", say=write)
        await _copy(pair)
        await _assert_same(pair)

    async def test_source_where_something_expires(self, pair: Pair) -> None:
        """Which its server removes while the rest is copied."""
        with MongoClient[dict[str, Any]](URI) as client:
            people = client[pair[0].name]["people"]

            def expire(line: str) -> None:
                if line.startswith("people"):
                    people.delete_many({"_id": {"$lt": "0300"}})

            await copies.copy(*pair, label="home", say=expire)
        assert await pair[1]["people"].count_documents({}) == 900
        await _assert_same(pair)

    async def test_source_where_more_than_that_happens(
        self, pair: Pair
    ) -> None:
        """An expiry only removes."""
        with MongoClient[dict[str, Any]](URI) as client:
            people = client[pair[0].name]["people"]

            def write(line: str) -> None:
                if line.startswith("people"):
                    people.update_one({"_id": "0007"}, {"$set": {"mail": "x"}})

            with pytest.raises(CopyError, match=r"meanwhile \(people\)"):
                await copies.copy(*pair, label="home", say=write)


class TestTarget:
    async def test_somebody_elses(self, pair: Pair) -> None:
        await pair[1]["people"].insert_one({"_id": "theirs"})
        with pytest.raises(CopyError, match="holds a community already"):
            await _copy(pair)
        assert await pair[1]["people"].count_documents({}) == 1

    async def test_a_copy_of_another(self, pair: Pair) -> None:
        await _copy(pair, "home")
        with pytest.raises(CopyError, match="is a copy of home"):
            await _copy(pair, "elsewhere")

    async def test_lives_on(self, pair: Pair) -> None:
        """Whoever moved there is not overwritten by what they left."""
        await _copy(pair)
        await pair[1]["odd"].insert_one({"_id": "new here"})
        with pytest.raises(CopyError, match=r"written since .*\(odd\)"):
            await _copy(pair)
        assert await pair[1]["odd"].count_documents({"_id": "new here"}) == 1

    @pytest.mark.parametrize("is_new", [True, False])
    async def test_lives_on_where_documents_expire(
        self, pair: Pair, is_new: bool
    ) -> None:
        await _copy(pair)
        people = pair[1]["people"]
        if is_new:
            await people.insert_one({"_id": "new here", "ends_at": _SOON})
        else:
            await people.update_one({"_id": "0007"}, {"$set": {"mail": "x"}})
        with pytest.raises(CopyError, match=r"written since .*\(people\)"):
            await _copy(pair)
        assert await people.count_documents({}) == 1200 + is_new

    async def test_nobody_serves_from_half_of_it(self, pair: Pair) -> None:
        def stop(_: str) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await copies.copy(*pair, label="home", say=stop)
        with pytest.raises(UnfinishedCopyError, match="copy of home"):
            await copy_marks.require_whole(pair[1])
        await _copy(pair)
        await copy_marks.require_whole(pair[1])

    async def test_where_something_expired(self, pair: Pair) -> None:
        """Which its server removes by itself."""
        await _copy(pair)
        await pair[1]["people"].delete_one({"_id": "0000"})
        await _copy(pair)
        await _assert_same(pair)


class TestPlaces:
    async def test_whose_fault_is_told(self, pair: Pair) -> None:
        """That of the one which was read, where the other is open as well."""
        names = [database.name for database in pair]
        for at in (0, 1):
            with pytest.raises(CopyError, match=f"database {names[at]} at "):
                async with (
                    contents.opened(URI, names[0]) as source,
                    contents.opened(URI, names[1]) as target,
                ):
                    odd = {"$where": {"no": "function"}}
                    one = (source, target)[at]
                    async for _ in contents.batches_of(one, "people", odd):
                        pytest.fail("nothing can be such")

    # The driver forgets sockets that it gave up connecting.
    @pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
    @pytest.mark.parametrize(
        "uri",
        ["mongodb://ada:s3cr@127.0.0.1:1/", "mongodb://ada:s3/cr@x:99999"],
    )
    async def test_no_password_is_said(
        self, uri: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(contents, "_SELECTION_MS", 200)
        with pytest.raises(CopyError) as fault:
            async with contents.opened(uri, "muster_test_x"):
                pytest.fail("there is nothing")
        assert "\n" not in str(fault.value)
        assert "s3" not in str(fault.value)
        assert "127.0.0.1:1" in str(fault.value) or "x:9" in str(fault.value)


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "muster.gz"


def _nobody(_: str) -> None:
    """What is said."""


class TestDumps:
    async def test_there_and_back(self, pair: Pair, file: Path) -> None:
        source, target = pair
        await source["large"].insert_many(
            {"_id": n, "data": os.urandom(3_000_000)} for n in range(3)
        )
        lines: list[str] = []
        assert await dumps.write(source, file, say=lines.append) == []
        assert file.stat().st_mode & 0o777 == 0o600
        restored: list[str] = []
        await dumps.restore(file, target, say=restored.append)
        assert restored == lines and len(lines) == 5
        await _assert_same(pair)
        with pytest.raises(CopyError, match="is not empty"):
            await dumps.restore(file, target, say=_nobody)
        with pytest.raises(CopyError, match="is there already"):
            await dumps.write(source, file, say=_nobody)

    async def test_written_meanwhile(self, pair: Pair, file: Path) -> None:
        with MongoClient[dict[str, Any]](URI) as client:
            people = client[pair[0].name]["people"]

            def write(line: str) -> None:
                if line.startswith("people"):
                    people.delete_one({"_id": "0007"})

            assert await dumps.write(pair[0], file, say=write) == ["people"]

    async def test_not_whole(self, pair: Pair, file: Path) -> None:
        await dumps.write(pair[0], file, say=_nobody)
        whole = file.read_bytes()
        half = len(whole) // 2
        for bad in (
            b"",
            b"not of ours",
            whole[:half],
            whole[:-9],
            whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :],
            gzip.compress(
                gzip.decompress(whole).replace(b"backup 1", b"backup 2")
            ),
            gzip.compress(bson.encode({"digests": {}})),
        ):
            file.write_bytes(bad)
            with pytest.raises(CopyError, match="no whole backup"):
                await dumps.restore(file, pair[1], say=_nobody)
        assert await contents.is_empty(pair[1])

    async def test_two_of_one_name(self, pair: Pair, file: Path) -> None:
        """The later one replaces nothing, and neither leaves a rest."""
        both = await asyncio.gather(
            *(dumps.write(pair[0], file, say=_nobody) for _ in range(2)),
            return_exceptions=True,
        )
        (fault,) = [each for each in both if each != []]
        assert isinstance(fault, CopyError) and "meanwhile" in str(fault)
        assert list(file.parent.iterdir()) == [file]
        await dumps.restore(file, pair[1], say=_nobody)
        await _assert_same(pair)

    async def test_restore_that_broke_off(self, pair: Pair, file: Path) -> None:
        """Begins anew: an embedded database is not easily emptied by hand."""
        target = pair[1]
        await dumps.write(pair[0], file, say=_nobody)
        # Whose validator refuses what is restored.
        await target.create_collection("people", validator={"mail": "no"})
        with pytest.raises(BulkWriteError):
            await dumps.restore(file, target, say=_nobody)
        with pytest.raises(UnfinishedCopyError, match="copy of a backup"):
            await copy_marks.require_whole(target)
        await dumps.restore(file, target, say=_nobody)
        await _assert_same(pair)
        await copy_marks.require_whole(target)
