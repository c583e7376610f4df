"""The one Mongo client: singleton, indexes, test databases."""

import asyncio
import gc
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import pytest
from pymongo import MongoClient
from pymongo.errors import BulkWriteError

from config import copy_marks, db
from config.copy_marks import CopyMark
from utils.collections import declared_indexes

URI = os.environ["MUSTER_TEST_DB_URI"]


@pytest.fixture(name="fresh_state")
def _fresh_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """No client yet, as in a new process."""
    state = db._State  # pylint: disable=protected-access  # no public way
    monkeypatch.setattr(state, "connection", None)
    monkeypatch.setattr(state, "address", state.address)


@pytest.fixture(name="fresh_name")
def _fresh_name() -> Iterator[str]:
    """The name of a database of this test's own."""
    name = db.new_test_database_name()
    yield name
    with MongoClient[db.Document](URI) as client:
        client.drop_database(name)


@pytest.mark.usefixtures("services")
class TestRefusals:
    """Who refuses a document is there, whatever stands in it."""

    async def test_taken_key(self) -> None:
        things = db.collection("things")
        thing = {"_id": "WT_PANIC: No space left, code: 28,"}
        try:
            await things.insert_one(thing)
            with pytest.raises(db.DuplicateKeyError) as caught:
                await things.insert_one(thing)
            assert not isinstance(caught.value, db.UNAVAILABLE_ERRORS)
            with pytest.raises(BulkWriteError):
                await things.insert_many([thing])
        finally:
            await things.drop()


@pytest.mark.usefixtures("services")
class TestClient:
    def test_is_one(self) -> None:
        assert db.get_client() is db.get_client()

    @pytest.mark.usefixtures("fresh_state")
    async def test_is_one_in_concurrent_first_use(self) -> None:
        barrier = threading.Barrier(16)

        def first_use(_: int) -> int:
            barrier.wait()
            return id(db.get_client())

        with ThreadPoolExecutor(16) as pool:
            assert len(set(pool.map(first_use, range(16)))) == 1
        await db.close()

    def test_is_another_after_a_fork(self) -> None:
        parents = db.get_client()
        fork = multiprocessing.get_context("fork")
        receiver, sender = fork.Pipe(duplex=False)
        child = fork.Process(target=_report_client, args=(sender, parents))
        child.start()
        assert receiver.recv() == ("another", "the same again", 1)
        child.join()
        assert db.get_client() is parents


def _report_client(sender: Connection, parents: object) -> None:
    """Runs in the child: asks for the client twice, and reads with it."""
    mine = db.get_client()
    sender.send(
        (
            "parents'" if mine is parents else "another",
            "the same again" if db.get_client() is mine else "different",
            asyncio.run(_ping()),
        )
    )


async def _ping() -> int:
    answer = await db.get_client().admin.command("ping")
    await db.close()
    return int(answer["ok"])


class TestIndexes:
    @pytest.mark.usefixtures("fresh_state")
    async def test_created_at_start_and_again(self, fresh_name: str) -> None:
        for _ in range(2):
            async with db.connected(URI, fresh_name, declared_indexes()):
                for name, models in declared_indexes().items():
                    database = db.get_client()[fresh_name]
                    found = await database[name].index_information()
                    wanted = {model.document["name"] for model in models}
                    assert set(found) - {"_id_"} == wanted

    def test_by_several_processes_at_once(self, fresh_name: str) -> None:
        spawn = multiprocessing.get_context("spawn")
        workers = [
            spawn.Process(target=_create_indexes, args=(fresh_name,))
            for _ in range(4)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [worker.exitcode for worker in workers] == [0] * 4


def _create_indexes(name: str) -> None:
    async def create() -> None:
        async with db.connected(URI, name, declared_indexes()):
            return

    asyncio.run(create())


class TestStart:
    # The driver forgets sockets that it gave up connecting.
    @pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
    @pytest.mark.usefixtures("fresh_state")
    async def test_database_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(db, "OPERATION_TIMEOUT_MS", 200)
        uri = "mongodb://ada:pass@127.0.0.1:1/"
        with pytest.raises(db.DatabaseStartError) as caught:
            async with db.connected(uri, "muster_test_x", {}):
                pytest.fail("it connected to nothing")
        message = str(caught.value)
        # The trace holds such a socket: else it would go in a later test.
        del caught
        gc.collect()
        assert message == (
            "the database at 127.0.0.1:1 does not answer: start it, or "
            "correct MONGO_DB_URI"
        )

    @pytest.mark.usefixtures("fresh_state")
    @pytest.mark.parametrize(
        "uri",
        [
            "mongodb://",
            "mongodb://localhost:99999",
            "mongodb://[::1",
            "mongodb://ada:s3cr/et@localhost:1/",
        ],
    )
    async def test_uri_that_the_driver_refuses(self, uri: str) -> None:
        with pytest.raises(db.DatabaseStartError) as caught:
            async with db.connected(uri, "muster_test_x", {}):
                pytest.fail("it connected to nothing")
        assert "\n" not in str(caught.value)
        assert "s3cr" not in str(caught.value)

    @pytest.mark.usefixtures("fresh_state")
    async def test_copy_that_is_not_whole(self, fresh_name: str) -> None:
        """Its next run would remove whatever a service wrote."""
        async with db.connected(URI, fresh_name, {}):
            await copy_marks.put(db.database(), CopyMark("home"))
        with pytest.raises(db.DatabaseStartError, match="copy of home: "):
            async with db.connected(URI, fresh_name, {}):
                pytest.fail("it serves from half a community")

    @pytest.mark.usefixtures("fresh_state", "services")
    async def test_credentials_that_the_database_refuses(self) -> None:
        hosts = db.hosts_of(URI)
        uri = f"mongodb://ada:s3cr@{hosts}/?directConnection=true"
        with pytest.raises(db.DatabaseStartError) as caught:
            async with db.connected(uri, "muster_test_x", {}):
                pytest.fail("it was let in")
        message = str(caught.value)
        assert message.startswith(f"the database at {hosts} refuses to serve")
        assert "s3cr" not in message



class TestWiping:
    @pytest.mark.usefixtures("fresh_state")
    async def test_only_test_databases(self) -> None:
        """Names that only look like a test's are refused too."""
        for name in ("muster", "muster_tes", "x_muster_test_", "test"):
            db.configure(URI, name)
            await db.close()
            with pytest.raises(db.NotATestDatabaseError, match=name):
                await db.wipe_test_database(["users"])
            with pytest.raises(db.NotATestDatabaseError, match=name):
                await db.drop_test_database()
        await db.close()

    @pytest.mark.usefixtures("fresh_state")
    async def test_wipes_and_drops(self, fresh_name: str) -> None:
        async with db.connected(URI, fresh_name, declared_indexes()):
            database = db.get_client()[fresh_name]
            filled = ("things", "more", "most")
            for name in filled:
                await database[name].insert_many([{"_id": "1"}, {"_id": "2"}])
            await database["kept"].insert_one({"_id": "1"})
            await db.wipe_test_database(["missing", *filled])
            for name in filled:
                assert await database[name].find_one() is None
            assert await database["kept"].find_one() == {"_id": "1"}
            assert fresh_name in await db.get_client().list_database_names()
            await db.drop_test_database()
            names = await db.get_client().list_database_names()
            assert fresh_name not in names

    def test_names_differ(self) -> None:
        names = {db.new_test_database_name() for _ in range(100)}
        assert len(names) == 100
        assert all(name.startswith(db.TEST_PREFIX) for name in names)
