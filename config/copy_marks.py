"""Copy marks: a database says itself that it is a copy, and of what.

Nobody serves from a copy that is not whole: its next run makes it the same as
what it is of, whatever was written there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from config.changes import Database

MARKER: Final = "muster_copy"

_ID: Final = "copy"
_DIGESTS: Final = "digests"
_SOURCE: Final = "source"


class UnfinishedCopyError(Exception):
    """A database is a copy that is not whole; the message is one line."""


@dataclass(frozen=True, slots=True)
class CopyMark:
    """What a database says of itself.

    Attributes:
        source: says what it is a copy of.
        digests: what its collections held when it was whole; None before.
    """

    source: str
    digests: Mapping[str, str] | None = None


async def find(database: Database) -> CopyMark | None:
    """Its mark; None where it is no copy."""
    document = await database[MARKER].find_one({"_id": _ID})
    if document is None:
        return None
    return CopyMark(document[_SOURCE], document[_DIGESTS])


async def put(database: Database, mark: CopyMark) -> None:
    """Marks a database, or changes its mark."""
    await database[MARKER].replace_one(
        {"_id": _ID},
        {_SOURCE: mark.source, _DIGESTS: mark.digests},
        upsert=True,
    )


async def remove(database: Database) -> None:
    """Lets a database be one of its own."""
    await database.drop_collection(MARKER)


async def require_whole(database: Database) -> None:
    """Returns where a service may write.

    Raises:
        UnfinishedCopyError: what it wrote there, the copy's next run would
            remove.
    """
    mark = await find(database)
    if mark is not None and mark.digests is None:
        raise UnfinishedCopyError(
            f"the database {database.name} is an unfinished copy of "
            f"{mark.source}: copy or restore it to the end first, or name "
            "another database"
        )
