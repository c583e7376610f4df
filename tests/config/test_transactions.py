"""Transactions, with racing tasks and killed processes."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import DuplicateKeyError

from config import db, transactions
from tests.logged import logged

pytestmark = pytest.mark.usefixtures("database")

REPOSITORY = Path(__file__).parents[2]
NAME = "attempts"
LATER = datetime(2100, 1, 1, tzinfo=UTC)

# Begins a transaction, writes a document, and says so.
HOLDER = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from config import db, transactions
async def work():
    await db.collection("attempts").update_one(
        {"_id": "x"}, {"$inc": {"count": 100}}
    )
    print("held", flush=True)
    await asyncio.sleep(1000)
async def main():
    transactions.keep_notes_in(Path(sys.argv[1]))
    await transactions.run(work)
db.configure(sys.argv[2], sys.argv[3])
asyncio.run(main())
"""


def _stored(document_id: str) -> db.Document:
    """What the collection's validator takes."""
    return {"_id": document_id, "count": 0, "expires_at": LATER}


async def _add() -> None:
    found = await db.find_by_id(NAME, "x")
    assert found is not None
    await db.collection(NAME).update_one(
        {"_id": "x"}, {"$set": {"count": found["count"] + 1}}
    )


async def _count() -> int:
    found = await db.find_by_id(NAME, "x")
    return -1 if found is None else int(found["count"])


@pytest.fixture(name="document")
async def _document() -> None:
    await db.collection(NAME).insert_one(_stored("x"))


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where this test's processes note their sessions."""
    monkeypatch.setattr("config.transactions._Notes.folder", tmp_path)
    yield tmp_path


@pytest.mark.usefixtures("document")
class TestRun:
    async def test_all_is_written(self) -> None:
        async def work() -> str:
            await _add()
            await db.collection(NAME).insert_one(_stored("y"))
            return "done"

        assert await transactions.run(work) == "done"
        assert await _count() == 1
        assert await db.find_by_id(NAME, "y") is not None

    async def test_nothing_is_written(self) -> None:
        async def work() -> None:
            await _add()
            raise KeyError("changed its mind")

        with pytest.raises(KeyError):
            await transactions.run(work)
        assert await _count() == 0

    async def test_taken_key(self) -> None:
        async def work() -> None:
            await _add()
            await db.collection(NAME).insert_one(_stored("x"))

        with pytest.raises(DuplicateKeyError):
            await transactions.run(work)
        assert await _count() == 0

    async def test_inner_one_is_a_part(self) -> None:
        async def work() -> None:
            await transactions.run(_add, turn="x")
            await transactions.run(_add, turn="x")
            assert await _count() == 2
            raise KeyError("changed its mind")

        with pytest.raises(KeyError):
            await transactions.run(work, turn="x")
        assert await _count() == 0

    async def test_afterwards(self) -> None:
        told: list[int] = []

        async def work(*, fails: bool) -> None:
            for _ in range(2):
                transactions.afterwards(done)
            await transactions.run(_add)
            assert not told
            if fails:
                raise KeyError("changed its mind")

        def done() -> None:
            told.append(1)

        with pytest.raises(KeyError):
            await transactions.run(lambda: work(fails=True))
        assert not told
        await transactions.run(lambda: work(fails=False))
        assert told == [1]
        transactions.afterwards(done)
        assert told == [1, 1]

    @pytest.mark.parametrize("turn", [None, "x"])
    async def test_race(self, turn: str | None) -> None:
        """Each reads, computes and writes: none is lost."""
        runs = (transactions.run(_add, turn=turn) for _ in range(40))
        await asyncio.gather(*runs)
        assert await _count() == 40


@pytest.mark.usefixtures("document")
class TestKilled:
    async def test_next_start_frees_what_it_held(self, folder: Path) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER, folder,
             os.environ["MUSTER_TEST_DB_URI"], os.environ["MONGO_DB_NAME"]],
            cwd=REPOSITORY, stdout=subprocess.PIPE, text=True,
        ) as holder:  # fmt: skip
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            await transactions.undo_the_dead()
            assert (folder / str(holder.pid)).exists(), "it lives"
            os.kill(holder.pid, signal.SIGKILL)
        await transactions.undo_the_dead()
        async with asyncio.timeout(5):
            await transactions.run(_add)
        assert await _count() == 1
        assert not (folder / str(holder.pid)).exists()

    # The driver's watch, cancelled while it connects, forgets its socket.
    @pytest.mark.filterwarnings("ignore::ResourceWarning")
    async def test_database_that_goes_away(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A start goes on; what the dead hold is free after a minute."""
        (folder / "1").write_bytes(bytes(16))
        away = AsyncMongoClient[db.Document](
            "mongodb://127.0.0.1:1/", serverSelectionTimeoutMS=50
        )
        monkeypatch.setattr(db, "get_client", lambda: away)
        with logged("muster.transactions") as log:
            await transactions.undo_the_dead()
        await away.close()
        gc.collect()
        assert len(log) == 1 and "127.0.0.1:1" in log[0]

    async def test_no_folder(self, folder: Path) -> None:
        folder.rmdir()
        await transactions.undo_the_dead()
        assert not folder.exists()
        folder.mkdir()

    async def test_folder_that_cannot_be_written(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """It works on; a killed process's locks just last longer."""
        (tmp_path / "file").touch()
        folder = tmp_path / "file" / "sessions"
        monkeypatch.setattr("config.transactions._Notes.folder", folder)
        monkeypatch.setattr("config.transactions._Notes.pid", 0)
        await transactions.run(_add)
        assert await _count() == 1
