"""Gathering: what is wished at one moment goes out in one command."""

import asyncio
from collections.abc import Sequence
from contextvars import copy_context
from datetime import UTC, datetime

import pytest
from pymongo.errors import BulkWriteError, ConnectionFailure, WriteError

from config import db, gathering, transactions
from config.gathering import Gathering
from config.origin import Origin, origin_of_task
from tests.commands import counted

# The collection of another's, whose validator these documents fit.
NAME = "attempts"
LATER = datetime(2100, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("database")


def _stored(document_id: str, count: int = 0) -> db.Document:
    return {"_id": document_id, "count": count, "expires_at": LATER}


async def _kept() -> list[str]:
    found = db.collection(NAME).find({}, sort=[("_id", db.ASCENDING)])
    return [document["_id"] async for document in found]


class TestFinds:
    async def test_alone(self) -> None:
        await db.collection(NAME).insert_one(_stored("a", 7))
        by_id = gathering.finds(NAME, {"count": 1})
        assert await by_id.ask("a") == {"_id": "a", "count": 7}
        assert await by_id.ask("b") is None

    async def test_together(self) -> None:
        await db.collection(NAME).insert_many(map(_stored, "abc"))
        by_id = gathering.finds(NAME, {"_id": 1})
        with counted() as commands:
            found = await asyncio.gather(*map(by_id.ask, "cxaa"))
        assert found == [{"_id": "c"}, None, {"_id": "a"}, {"_id": "a"}]
        assert commands == ["find"]

    async def test_more_than_a_reply_holds(self) -> None:
        ids = [f"{number:03}" for number in range(250)]
        await db.collection(NAME).insert_many(map(_stored, ids))
        by_id = gathering.finds(NAME)
        with counted() as commands:
            found = await asyncio.gather(*map(by_id.ask, ids))
        assert [document and document["_id"] for document in found] == ids
        assert commands.count("find") == 3

    async def test_nobody_is_answered_from_before_they_asked(self) -> None:
        await db.collection(NAME).insert_one(_stored("a"))
        by_id = gathering.finds(NAME)
        for count in range(1, 20):
            # It is on its way when the document changes, at some stage.
            before = asyncio.create_task(by_id.ask("a"))
            for _ in range(count % 5):
                await asyncio.sleep(0)
            await db.collection(NAME).update_one(
                {"_id": "a"}, {"$set": {"count": count}}
            )
            found = await by_id.ask("a")
            assert found is not None
            assert found["count"] == count
            await before

    async def test_a_transaction_sees_what_it_wrote(self) -> None:
        by_id = gathering.finds(NAME)
        nowhere = copy_context()

        async def work() -> bool:
            await db.collection(NAME).insert_one(_stored("a"))
            outside = asyncio.create_task(by_id.ask("a"), context=nowhere)
            inside = await by_id.ask("a")
            return inside is not None and await outside is None

        assert await transactions.run(work)

    async def test_each_is_counted_for_its_own_request(self) -> None:
        origins = [Origin(name, "", {"state": {}}) for name in "ab"]
        by_id = gathering.finds(NAME)

        async def ask(origin: Origin) -> None:
            origin_of_task.set(origin)
            await by_id.ask("a")

        await asyncio.gather(*map(ask, origins))
        assert [origin.commands for origin in origins] == [["find"], ["find"]]

    async def test_who_leaves_takes_nobody_along(self) -> None:
        await db.collection(NAME).insert_one(_stored("a"))
        by_id = gathering.finds(NAME)
        for passes in range(4):
            asking = [asyncio.create_task(by_id.ask("a")) for _ in range(3)]
            for _ in range(passes):
                await asyncio.sleep(0)
            asking[0].cancel()
            left, *stayed = await asyncio.gather(
                *asking, return_exceptions=True
            )
            assert isinstance(left, asyncio.CancelledError)
            assert stayed == [_stored("a")] * 2


class TestInserts:
    async def test_alone(self) -> None:
        new = gathering.inserts(NAME)
        await new.ask(_stored("a"))
        assert await _kept() == ["a"]
        with pytest.raises(db.DuplicateKeyError):
            await new.ask(_stored("a"))

    async def test_together(self) -> None:
        new = gathering.inserts(NAME)
        with counted() as commands:
            await asyncio.gather(*(new.ask(_stored(name)) for name in "abc"))
        assert commands == ["insert"]
        assert await _kept() == ["a", "b", "c"]

    async def test_each_is_refused_by_itself(self) -> None:
        new = gathering.inserts(NAME)
        wrong = _stored("b") | {"count": "many"}
        documents = [_stored("a"), wrong, _stored("c"), _stored("a")]
        told = await asyncio.gather(
            *map(new.ask, documents), return_exceptions=True
        )
        assert [type(each) for each in told] == [
            type(None),
            WriteError,
            type(None),
            db.DuplicateKeyError,
        ]
        assert await _kept() == ["a", "c"]


class TestFaults:
    async def test_everybody_hears_of_it(self) -> None:
        async def away(_: Sequence[str]) -> list[str | Exception]:
            raise ConnectionFailure("away")

        async def alone(_: str) -> str:
            return "here"

        wishes = Gathering("find", alone=alone, together=away)
        told = await asyncio.gather(
            *map(wishes.ask, "abc"), return_exceptions=True
        )
        assert [str(each) for each in told] == ["away"] * 3
        assert await wishes.ask("a") == "here"

    async def test_nobody_waits_for_what_was_cancelled(self) -> None:
        async def ends(_: Sequence[str]) -> list[str | Exception]:
            raise asyncio.CancelledError

        async def alone(_: str) -> str:
            raise asyncio.CancelledError

        wishes = Gathering("find", alone=alone, together=ends)
        for many in "a", "ab":
            told = await asyncio.gather(
                *map(wishes.ask, many), return_exceptions=True
            )
            assert {type(each) for each in told} == {asyncio.CancelledError}

    async def test_another_loop_begins_anew(self) -> None:
        async def together(names: Sequence[str]) -> Sequence[str | Exception]:
            return names

        async def alone(name: str) -> str:
            return name

        wishes = Gathering("find", alone=alone, together=together)

        left: list[asyncio.Task[str]] = []

        def leave_a_wish() -> None:
            loop = asyncio.new_event_loop()
            loop.call_soon(loop.stop)
            left.append(loop.create_task(wishes.ask("a")))
            loop.run_forever()
            loop.close()

        await asyncio.to_thread(leave_a_wish)
        assert await asyncio.wait_for(wishes.ask("b"), 5) == "b"
        assert not left[0].done()

    @pytest.mark.parametrize(
        "fault",
        [
            {"code": 14031, "errmsg": "OutOfDiskSpace"},
            {"code": 8, "errmsg": "WT_PANIC: the process must exit"},
        ],
        ids=["MongoDB's", "the embedded one's"],
    )
    async def test_a_full_disk_is_away(
        self, monkeypatch: pytest.MonkeyPatch, fault: db.Document
    ) -> None:
        """As for one alone; and no document is told to the log."""

        async def insert_many(*_: object, **__: object) -> None:
            told = {"index": 1, "op": {"title": "private"}, **fault}
            raise BulkWriteError(
                {"writeErrors": [told], "writeConcernErrors": []}
            )

        things = db.collection(NAME)
        monkeypatch.setattr(things, "insert_many", insert_many)
        new = gathering.inserts(NAME)
        kept, refused = await asyncio.gather(
            *map(new.ask, [_stored("a"), _stored("b")]), return_exceptions=True
        )
        assert kept is None
        assert isinstance(refused, db.UNAVAILABLE_ERRORS)
        assert "private" not in repr(refused)
