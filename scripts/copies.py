"""What the scripts share that copy, back up and restore a community."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from config import contents, db
from config.changes import Database
from config.lifespan import database_uri
from config.main import settings
from scripts.common import ScriptError

# What a database does not hold, and a community is not whole without.
REST = (
    "muster: JWT_SECRET_KEY is not in a database: without the same one, "
    "tickets and access tokens end"
)


@asynccontextmanager
async def database(
    uri: str | None, name: str | None
) -> AsyncIterator[tuple[Database, str]]:
    """A database, with words that say which it is.

    Args:
        uri: where it is; None for the settings', `-` for a line of stdin.
        name: its name there; None for the settings'.

    Raises:
        ScriptError: it can't be used, or what is done with it can't.
    """
    name = name or settings.mongo_db_name
    uri = sys.stdin.readline().strip() if uri == "-" else uri
    try:
        if uri is not None:
            async with contents.opened(uri, name) as found:
                yield found, f"{db.hosts_of(uri)}/{name}"
            return
        async with (
            database_uri(settings) as own,
            contents.opened(own, name) as found,
        ):
            if settings.mongo_db_uri is None:
                # Its port is another one at each start.
                yield found, f"{settings.data_dir.resolve()}/{name}"
            else:
                yield found, f"{db.hosts_of(own)}/{name}"
    except (contents.CopyError, OSError) as error:
        raise ScriptError(str(error)) from error


def say(line: str) -> None:
    """Prints how far it is."""
    print(f"muster: {line}", flush=True)
