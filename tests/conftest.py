"""Fixtures: a database of this run's own, the app, clients."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from pwdlib.hashers.argon2 import Argon2Hasher
from pymongo import monitoring

from config import cache, db, transactions
from config.embedded import EmbeddedDatabase
from tests.commands import RECORDER, check_queries

_DATA_DIR = "MUSTER_TEST_DATA_DIR"
_URI = "MUSTER_TEST_DB_URI"
# Set by `tests/engine/with-docker.sh` alone: tests keep away from an engine
# that somebody uses.
_ENGINE = "MUSTER_TEST_ENGINE"
_HELD: list[EmbeddedDatabase] = []
_OWN_DATA_DIR = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Finds a server for the run; each process gets a database of its own.

    The first process starts the embedded server unless MONGO_DB_URI names
    another; the processes that it starts inherit the address.
    """
    if _URI not in os.environ:
        os.environ[_URI] = os.environ.get("MONGO_DB_URI") or _start_embedded()
    # Before the first client: a listener counts for clients made after it.
    monitoring.register(RECORDER)
    config.stash[_OWN_DATA_DIR] = tempfile.mkdtemp(prefix="muster-test-")
    os.environ.update(
        ENVIRONMENT="development",
        MONGO_DB_URI=_patient(os.environ[_URI]),
        MONGO_DB_NAME=db.new_test_database_name(),
        DATA_DIR=config.stash[_OWN_DATA_DIR],
        # What limits do, their own tests say; the others make many requests.
        RATE_LIMIT_ANONYMOUS="1000000/60",
        RATE_LIMIT_DEFAULT="1000000/60",
        JWT_SECRET_KEY="the tests' own key, known to everybody",
        SESSION_ENGINE="docker" if _ENGINE in os.environ else "off",
        DOCKER_HOST=os.environ.get(_ENGINE, "unix:///nowhere/docker.sock"),
        SESSION_GPUS=",".join(f"GPU-test-{i}=Test/40960" for i in range(4)),
        # Threads that wait for each other would keep the other tests waiting.
        OMP_NUM_THREADS="1",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves out what needs an engine where none of its own was started."""
    if _ENGINE in os.environ:
        return
    elsewhere = pytest.mark.skip(
        reason="needs a Docker Engine of its own: sh test.sh -m engine"
    )
    for item in items:
        if item.get_closest_marker("engine"):
            item.add_marker(elsewhere)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stops what `pytest_configure` of this process started."""
    shutil.rmtree(config.stash[_OWN_DATA_DIR])
    for embedded in _HELD:
        embedded.leave()
        embedded.wait_until_closed(60)
        shutil.rmtree(os.environ[_DATA_DIR])


def _patient(uri: str) -> str:
    """The URI for a client that does not watch its server.

    A test that waits for a service holds the loop for long, and the watch,
    which runs on it, would then take the server for gone and cancel what the
    next test asks.
    """
    address, _, options = uri.partition("?")
    if "/" not in address.partition("://")[2]:
        address += "/"
    patience = "serverMonitoringMode=poll&heartbeatFrequencyMS=3600000"
    return f"{address}?{'&'.join(filter(None, [options, patience]))}"


def _start_embedded() -> str:
    os.environ[_DATA_DIR] = tempfile.mkdtemp(prefix="muster-test-db-")
    embedded = EmbeddedDatabase(Path(os.environ[_DATA_DIR]))
    _HELD.append(embedded)
    return embedded.join()


# Fixtures import the app late: it reads the settings that are made above.
# pylint: disable=import-outside-toplevel


@pytest.fixture(scope="session", name="cheap_passwords")
def _cheap_passwords() -> Iterator[tuple[object, str]]:
    """Hashes that cost nothing: most tests only need somebody to be there.

    Gives what stands there otherwise, for `costly_passwords`.
    """
    from utils import passwords

    # pylint: disable-next=protected-access
    costly = passwords._HASHER, passwords._NOBODYS_HASH
    hasher = Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_HASHER", hasher)
        patch.setattr(passwords, "_NOBODYS_HASH", hasher.hash("nobody's"))
        yield costly


@pytest.fixture(name="costly_passwords")
def _costly_passwords(
    cheap_passwords: tuple[object, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service's own hashes, for whom their cost matters."""
    hasher, nobodys_hash = cheap_passwords
    monkeypatch.setattr("utils.passwords._HASHER", hasher)
    monkeypatch.setattr("utils.passwords._NOBODYS_HASH", nobodys_hash)


@pytest_asyncio.fixture(scope="session", name="services")
async def _services(
    cheap_passwords: tuple[object, str],
) -> AsyncIterator[None]:
    """The app's own lifespan, once a process; its database goes at the end."""
    del cheap_passwords  # They are in place from here on.
    from app import app
    from config import changes, validators
    from config.lifespan import lifespan
    from config.main import settings
    from utils.collections import declared_models

    # Read before `pytest_configure`, they name a database that others use too.
    assert settings.mongo_db_name == os.environ["MONGO_DB_NAME"]
    # Tests do the chores themselves: those of a worker come at any time.
    app.state.chores = ()
    app.state.chores_of = lambda *_: ()
    async with lifespan(app):
        # What the service writes in any test is what its models declare.
        mine = db.database()
        for change in await validators.differences(mine, declared_models()):
            await changes.apply(mine, change)
        yield
        await db.drop_test_database()


@pytest_asyncio.fixture(name="database")
async def _database(services: None) -> AsyncIterator[None]:
    """An empty database with all indexes."""
    from utils.collections import declared_indexes

    yield services
    await db.wipe_test_database(declared_indexes())
    # What was cached shows what is not there any more.
    cache.forget_all()
    await check_queries(declared_indexes())


@pytest_asyncio.fixture(name="client")
async def _client(database: None) -> AsyncIterator[httpx.AsyncClient]:
    """An anonymous client; each answer is checked against /openapi.json."""
    from app import app
    from tests.contract import check_declared

    del database  # It is there and empty; the app finds it by itself.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport,
        base_url="http://muster.test",
        event_hooks={"response": [check_declared]},
    ) as anonymous:
        yield anonymous


@pytest.fixture(name="turns", params=["one process", "many processes"])
def _turns(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who competes queues up in one process, and collides from several."""
    if request.param == "many processes":

        @asynccontextmanager
        async def no_turn(_turn: str | None) -> AsyncIterator[None]:
            yield

        monkeypatch.setattr(transactions, "_turn_at", no_turn)
