"""Changes of a database's structure: what they say, and how they are made."""

from dataclasses import dataclass
from typing import Any, Final

import pymongo
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError, OperationFailure

Document = dict[str, Any]
Database = AsyncDatabase[Document]

# An index of a large collection takes its time.
LONG_SECONDS: Final = 24 * 3600.0

_NOT_ALLOWED: Final = 13
# It was dropped, or made, by another one meanwhile.
_DONE_ALREADY: Final = {"dropIndexes": {26, 27}, "create": {48}}


class ChangeRefusedError(Exception):
    """The database refuses a change; the message is one line."""


@dataclass(frozen=True, slots=True)
class Change:
    """A difference between what is declared and what the database has.

    Attributes:
        collection: what it is of.
        deed: what is to be done about it, in words.
        commands: in this order; stopping after any of them does no harm.
        guards: whether what is declared keeps documents from being there
            twice, so that without it nobody should write.
    """

    collection: str
    deed: str
    commands: tuple[Document, ...]
    guards: bool = False

    def __str__(self) -> str:
        return f"{self.collection}: {self.deed}"


async def apply(database: Database, change: Change) -> None:
    """Makes a change; what was done of it before is done once more.

    Raises:
        ChangeRefusedError: the database refuses it; what was there stands.
    """
    with pymongo.timeout(LONG_SECONDS):
        for command in change.commands:
            try:
                await database.command(command)
            except DuplicateKeyError:
                # The server's own words show the key, which may be an e-mail.
                raise ChangeRefusedError(
                    f"{change}: some documents have the same key: while they "
                    "do, none can be unique"
                ) from None
            except OperationFailure as error:
                if error.code not in _DONE_ALREADY.get(next(iter(command)), ()):
                    raise ChangeRefusedError(_fault(change, error)) from error


def _fault(change: Change, error: OperationFailure) -> str:
    if error.code == _NOT_ALLOWED:
        return f"{change}: its user may not; the role dbAdmin lets them"
    reason = str(error).partition(", full error")[0].splitlines()[0]
    return f"{change}: {reason}"
