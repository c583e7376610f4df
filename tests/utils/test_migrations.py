"""Migrations: once each, in order, by one at a time, whoever dies."""

import asyncio
import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from config import db
from models.base import utc_now
from models.migrations import MigrationRecord
from tests.utils.migrating import COUNT, NAME, double
from utils import migrations
from utils.migrations import Migration

SHORT = timedelta(seconds=0.5)

pytestmark = pytest.mark.usefixtures("database")


def _never() -> None:
    pytest.fail("nobody else has the turn")


async def _run(*known: Migration, lease: timedelta = SHORT) -> list[str]:
    """The names of those that were done."""

    async def work(holder: str) -> list[str]:
        standing = await migrations.standing(known)
        done = migrations.migrate(standing.pending, holder=holder)
        return [record.id async for record in done]

    return await migrations.in_turn(work, wait=lambda: None, lease=lease)


class TestMigrate:
    async def test_once_each_in_order(self) -> None:
        seen: list[tuple[str, str | None]] = []

        def step_of(name: str) -> migrations.Step:
            async def step(position: str | None) -> str | None:
                seen.append((name, position))
                return {None: "a", "a": "b", "b": None}[position]

            return step

        known = [Migration(name, step_of(name)) for name in ("m2", "m1")]
        assert (await migrations.standing(known)).pending == known[::-1]
        assert await _run(*known) == ["m1", "m2"]
        assert seen == [(m, p) for m in ("m1", "m2") for p in (None, "a", "b")]
        assert await _run(*known) == []
        assert len(seen) == 6

    async def test_goes_on_where_it_failed(self) -> None:
        seen: list[str | None] = []

        async def step(position: str | None) -> str | None:
            seen.append(position)
            if seen == [None, "1"]:
                raise ValueError("a document is odd")
            return {None: "1", "1": "2", "2": None}[position]

        with pytest.raises(ValueError, match="odd"):
            await _run(Migration("m1", step))
        # The turn is free at once, and what was done stays done.
        assert await _run(Migration("m1", step)) == ["m1"]
        assert seen == [None, "1", "1", "2"]

    async def test_what_a_newer_release_did(self) -> None:
        async def step(_: str | None) -> None:
            return None

        await _run(Migration("m0009_later", step))
        standing = await migrations.standing([Migration("m0001_first", step)])
        assert standing.unknown == ["m0009_later"]
        assert [each.name for each in standing.pending] == ["m0001_first"]

    async def test_killed_in_the_middle(self) -> None:
        """In the batch that it did, and could not write down any more."""
        numbers = db.database()["numbers"]
        await numbers.insert_many([{"_id": i, "n": i} for i in range(COUNT)])
        try:
            with subprocess.Popen(
                [sys.executable, "-m", "tests.utils.migrating"]
                + [db.database().name, "1", "3"],
                stdout=subprocess.PIPE,
                text=True,
            ) as child:
                assert child.stdout is not None
                said = await asyncio.to_thread(child.stdout.readline)
                assert said == "hanging\n"
                child.kill()
            record = await db.database()["migrations"].find_one({"_id": NAME})
            assert record is not None
            assert (record["position"], record["batches"]) == ("3", 3)
            assert await _run(Migration(NAME, double)) == [NAME]
            found = await numbers.find().sort("_id", 1).to_list()
            assert [each["n"] for each in found] == [0, 2, 4, 6, 8, 10]
        finally:
            await numbers.drop()


class TestTurn:
    async def test_one_at_a_time(self) -> None:
        inside = most = 0

        async def work(_: str) -> None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            # The first one stays until all others have asked.
            while len(waited) < 3 and inside == 1:
                await asyncio.sleep(0.01)
            inside -= 1

        waited: list[Any] = []
        await asyncio.gather(
            *(
                migrations.in_turn(work, wait=lambda: waited.append(1))
                for _ in range(4)
            )
        )
        assert (most, len(waited)) == (1, 3)

    async def test_is_renewed_while_it_works(self) -> None:
        """Longer than the lease, and nobody comes in between."""
        order: list[str] = []

        async def slow(_: str) -> None:
            while not waits:
                await asyncio.sleep(0.01)
            await asyncio.sleep(2 * SHORT.total_seconds())
            order.append("slow")

        async def fast(_: str) -> None:
            order.append("fast")

        waits: list[bool] = []
        first = asyncio.create_task(
            migrations.in_turn(slow, wait=_never, lease=SHORT)
        )
        while not await db.database()["migrations"].find_one({"_id": "turn"}):
            await asyncio.sleep(0.01)
        await migrations.in_turn(
            fast, wait=lambda: waits.append(True), lease=SHORT
        )
        await first
        assert order == ["slow", "fast"]

    async def test_taken_over(self) -> None:
        """Who hung is ended, and can't say any more how far it is."""
        store = db.database()["migrations"]

        async def lose(position: str | None) -> str | None:
            await store.update_many({}, {"$set": {"holder": "another"}})
            return position or "1"

        with pytest.raises(db.OvertakenError):
            await _run(Migration("m1", lose))
        record = await store.find_one({"_id": "m1"})
        assert record is not None and record["position"] is None
        # The other one's turn stays.
        assert await store.count_documents({"_id": "turn"}) == 1

        async def forever(_: str) -> None:
            await store.update_many({}, {"$set": {"holder": "another"}})
            await asyncio.sleep(3600)

        await store.delete_one({"_id": "turn"})
        with pytest.raises(db.OvertakenError):
            await migrations.in_turn(forever, wait=_never, lease=SHORT)

    @pytest.mark.parametrize("done_at", [None, utc_now()])
    async def test_taken_over_before_it_begins(
        self, done_at: datetime | None
    ) -> None:
        """The record stays the other one's, who may be done with it."""
        store = db.database()["migrations"]
        other = MigrationRecord(
            id="m1", holder="another", began_at=utc_now(), done_at=done_at
        )

        async def step(_: str | None) -> None:
            pytest.fail("it is another's")

        async def work(holder: str) -> None:
            await store.update_many({}, {"$set": {"holder": "another"}})
            await store.insert_one(other.dict())
            pending = [Migration("m1", step)]
            async for _ in migrations.migrate(pending, holder=holder):
                pass

        with pytest.raises(db.OvertakenError):
            await migrations.in_turn(work, wait=_never)
        assert await store.find_one({"_id": "m1"}) == other.dict()

    async def test_done_by_another_who_left(self) -> None:
        """While this one hung, with a list of what was pending."""
        store = db.database()["migrations"]

        async def step(_: str | None) -> None:
            pytest.fail("it was done")

        async def work(mine: str) -> None:
            done = MigrationRecord(
                id="m1", holder="x", began_at=utc_now(), done_at=utc_now()
            )
            await store.insert_one(done.dict())
            pending = [Migration("m1", step)]
            async for _ in migrations.migrate(pending, holder=mine):
                pass

        with pytest.raises(db.OvertakenError):
            await migrations.in_turn(work, wait=_never)

    async def test_goes_on_when_a_renewal_fails(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As long as nobody else may have taken over."""
        store = db.database()["migrations"]
        real, faults = db.collection, [AutoReconnect("gone")]

        def away_once(name: str) -> db.Collection:
            if faults:
                raise faults.pop()
            return real(name)

        async def work(_: str) -> None:
            turn = await store.find_one({"_id": "turn"})
            assert turn is not None
            monkeypatch.setattr(db, "collection", away_once)
            later = {"_id": "turn", "lease_until": {"$gt": turn["lease_until"]}}
            while await store.find_one(later) is None:
                await asyncio.sleep(0.05)

        lease = timedelta(seconds=3)
        await migrations.in_turn(work, wait=_never, lease=lease)
        assert not faults

    async def test_ends_when_the_lease_can_not_be_kept(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(_: str) -> db.Collection:
            raise AutoReconnect("gone")

        async def forever(_: str) -> None:
            monkeypatch.setattr(db, "collection", away)
            await asyncio.sleep(3600)

        with pytest.raises(AutoReconnect):
            await migrations.in_turn(forever, wait=_never, lease=SHORT)
