"""Gathering: what requests want of the database at one moment, in one command.

A busy process finds many requests ready at once. What they all want in one pass
of its event loop goes out together: the driver and the network are paid for
once, and new documents are kept by one sync of the disk. Who wants something
alone waits for that pass, which takes microseconds.

A command is sent after all have come who share it, so that nobody is answered
from before their own question. In a transaction everything is its own.

    _BY_ID = gathering.finds(COLLECTION)
    document = await _BY_ID.ask(login_id)
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from time import perf_counter
from typing import Final, Generic, TypeVar

from config import db, transactions
from config.db import Document

Wish = TypeVar("Wish")
Answer = TypeVar("Answer")

# A reply has room for 16 MB, so for as many documents of 160 KB.
_MOST: Final = 100


class Gathering(Generic[Wish, Answer]):
    """Fulfils together what is wished in one pass of the event loop.

    Args:
        command: what the database is asked for, by its name.
        alone: fulfils one wish.
        together: fulfils several. An error among the answers is raised to the
            one whose it is; one that is raised is everybody's.
    """

    def __init__(
        self,
        command: str,
        *,
        alone: Callable[[Wish], Awaitable[Answer]],
        together: Callable[
            [Sequence[Wish]], Awaitable[Sequence[Answer | Exception]]
        ],
    ) -> None:
        self._command = command
        self._alone = alone
        self._together = together
        self._loop: asyncio.AbstractEventLoop | None = None
        self._joining: list[tuple[Wish, asyncio.Future[Answer]]] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def ask(self, wish: Wish) -> Answer:
        """Has a wish fulfilled, together with those of others.

        Who is cancelled leaves; the others are served all the same.

        Raises:
            pymongo.errors.PyMongoError: what the database says of this wish,
                or why it says nothing.
        """
        if transactions.is_open():
            return await self._alone(wish)
        begin = perf_counter()
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # Another one has ended, with what it was to send.
            self._loop, self._joining = loop, []
        answer: asyncio.Future[Answer] = loop.create_future()
        self._joining.append((wish, answer))
        if len(self._joining) == 1:
            loop.call_soon(self._send)
        elif len(self._joining) == _MOST:
            self._send()
        try:
            return await answer
        finally:
            # It was sent for nobody; each who joined has asked it once.
            db.count_command(self._command, perf_counter() - begin)

    def _send(self) -> None:
        joined, self._joining = self._joining, []
        if joined:
            task = asyncio.get_running_loop().create_task(
                self._fulfil(joined), context=Context()
            )
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _fulfil(
        self, joined: Sequence[tuple[Wish, asyncio.Future[Answer]]]
    ) -> None:
        try:
            found = await self._answers([wish for wish, _ in joined])
            for (_, answer), each in zip(joined, found, strict=True):
                if answer.done():
                    continue
                if isinstance(each, Exception):
                    answer.set_exception(each)
                else:
                    answer.set_result(each)
        finally:
            # Nobody waits for what has ended.
            for _, answer in joined:
                answer.cancel()

    async def _answers(
        self, wishes: Sequence[Wish]
    ) -> Sequence[Answer | Exception]:
        try:
            if len(wishes) == 1:
                return [await self._alone(*wishes)]
            return await self._together(wishes)
        # Whatever it is, those who wait must hear of it.
        except Exception as error:  # pylint: disable=broad-exception-caught
            return [error] * len(wishes)


def finds(
    name: str, projection: Document | None = None
) -> Gathering[str, Document | None]:
    """Finds documents by their `_id`; None where there is none.

    They are small: 160 KB at the most. Who asks for the same one gets the same
    object, and changes nothing of it.

    Args:
        name: the collection.
        projection: what of a document is wanted.
    """

    async def alone(document_id: str) -> Document | None:
        return await db.find_by_id(name, document_id, projection)

    async def together(ids: Sequence[str]) -> list[Document | None]:
        found = await db.find_by_ids(name, ids, projection)
        return [found.get(document_id) for document_id in ids]

    return Gathering("find", alone=alone, together=together)


def inserts(name: str) -> Gathering[Document, None]:
    """Inserts documents, each of which is refused or kept by itself.

    Args:
        name: the collection.
    """

    async def alone(document: Document) -> None:
        await db.collection(name).insert_one(document)

    async def together(
        documents: Sequence[Document],
    ) -> Sequence[Exception | None]:
        return await db.insert_each(name, documents)

    return Gathering("insert", alone=alone, together=together)
