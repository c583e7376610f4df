"""The services of a process: built in order at start, closed in reverse."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

from fastapi import FastAPI

from config import cache, chores, db, transactions
from config.embedded import EmbeddedDatabase, EmbeddedDatabaseError
from config.engines import engine_of
from config.gpus import gpu_source_of
from config.settings import Settings

# A killed keeper is noticed within this time and replaced.
_KEEPER_CHECK_SECONDS = 0.5


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """What the web service needs: `app.py` puts the inputs on `app.state`."""
    async with (
        services(app.state.settings, app.state.indexes),
        aclosing(app.state.mail),
        aclosing(app.state.broker),
        aclosing(app.state.limiter),
        aclosing(app.state.firebase.keys),
        aclosing(app.state.passage),
        _sessions(app),
        chores.running(
            (
                *app.state.chores,
                *app.state.chores_of(app.state.sessions, app.state.engine),
            )
        ),
    ):
        # The last to begin and the first to end: nothing above is half there
        # while it says that this process serves.
        with app.state.health.serving():
            yield


@asynccontextmanager
async def _sessions(app: FastAPI) -> AsyncIterator[None]:
    """What runs sessions: each part knows those before it only."""
    settings: Settings = app.state.settings
    app.state.inventory = gpu_source_of(settings)
    app.state.engine = engine_of(settings)
    async with aclosing(app.state.engine):
        app.state.sessions = app.state.serve_sessions(
            app.state.engine, app.state.inventory
        )
        async with aclosing(app.state.sessions):
            yield


@asynccontextmanager
async def services(
    settings: Settings, indexes: db.Indexes
) -> AsyncIterator[None]:
    """Opens what every Muster process needs, the scripts' included.

    Raises:
        db.DatabaseStartError: the database can't be used.
    """
    async with (
        database_uri(settings) as uri,
        db.connected(uri, settings.mongo_db_name, indexes),
        cache.opened(
            settings.data_dir,
            redis_url=settings.redis_url,
            alone=settings.mongo_db_uri is None,
        ),
    ):
        transactions.keep_notes_in(settings.data_dir / "sessions")
        await transactions.undo_the_dead()
        yield


@asynccontextmanager
async def database_uri(settings: Settings) -> AsyncIterator[str]:
    """Where the database is; the embedded one runs meanwhile.

    Raises:
        db.DatabaseStartError: it doesn't start.
    """
    if settings.mongo_db_uri is not None:
        yield settings.mongo_db_uri.get_secret_value()
        return
    embedded = EmbeddedDatabase(settings.data_dir)
    try:
        uri = await asyncio.to_thread(embedded.join)
    except EmbeddedDatabaseError as error:
        raise db.DatabaseStartError(str(error)) from error
    watch = asyncio.create_task(_keep_the_keeper(embedded))
    try:
        yield uri
    finally:
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
        embedded.leave()


async def _keep_the_keeper(embedded: EmbeddedDatabase) -> None:
    while True:
        await asyncio.sleep(_KEEPER_CHECK_SECONDS)
        await asyncio.to_thread(embedded.ensure_keeper)
