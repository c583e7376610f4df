"""GPUs: the inventory, and who has which.

Owns: `gpu_inventory`. Indexes: see INDEXES. May call: paging. They are so few
that each look reads them all.

A lease is a field of the GPU's own document, so that no GPU is ever in two
sessions, and it is written in the transaction that writes the session: of two
that race for the same GPU, one begins again and finds it taken. All take what
is free in the same order, so that whoever takes something new meets the others.
Nobody holds a part of what they asked for: it is all in that transaction.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import zip_longest
from typing import Any, Final, Protocol

from config import db, transactions
from models.base import Page, PageQuery, utc_now
from models.gpus import Gpu, GpuRead
from utils import paging

COLLECTION: Final = "gpu_inventory"
DOCUMENTS: Final = (Gpu,)
INDEXES: Final = [
    db.IndexModel("session_id"),
    db.IndexModel("request_id"),
]

# What leases compete for in one process, see `config/transactions.py`.
TURN: Final = "leases of GPUs"

# Set when this process has given something back, for whoever waits for it.
released: Final = asyncio.Event()

# So often it is written down that a GPU was seen, where nothing else changed.
_SEEN: Final = timedelta(minutes=5)
# One that nobody has seen for so long is forgotten; until then it is unhealthy.
_GONE: Final = timedelta(days=1)


class Device(Protocol):
    """A GPU as a machine shows it."""

    @property
    def id(self) -> str:
        """Its own, which it keeps."""

    @property
    def name(self) -> str:
        """What its maker calls it."""

    @property
    def memory_mb(self) -> int:
        """Its memory, MiB."""

    @property
    def healthy(self) -> bool:
        """Whether no fault shows."""

    @property
    def node(self) -> str:
        """The machine that it is in; empty where there is only one."""


@dataclass(slots=True)
class Figures:
    """How many GPUs there are, when this process counted them last."""

    healthy: int = 0
    free: int = 0
    unhealthy: int = 0


FIGURES: Final = Figures()


async def list_gpus(
    query: PageQuery, *, session_ids: Collection[str] | None
) -> Page[GpuRead]:
    """A page of the inventory, in the order of ids.

    Args:
        query: which page.
        session_ids: the sessions that the caller may see; None for all.

    Raises:
        InvalidRequestError: the cursor is malformed.
    """
    asked = paging.fingerprint(query)
    after = ""
    if query.cursor is not None:
        last = paging.decode(paging.Cursor, query.cursor, query=asked)
        after = last.last_id
    found = [gpu for gpu in await list_all() if gpu.id > after]
    return paging.page_of(
        found[: query.limit + 1],
        limit=query.limit,
        show=lambda gpu: GpuRead.of(
            gpu,
            session_id=gpu.session_id
            if session_ids is None or gpu.session_id in session_ids
            else None,
        ),
        cursor_of=lambda gpu: paging.Cursor(query=asked, last_id=gpu.id),
    )


async def list_all() -> list[Gpu]:
    """All GPUs that are known, in the order of ids."""
    found = db.collection(COLLECTION).find()
    return sorted(
        [Gpu.from_document(document) async for document in found],
        key=lambda gpu: gpu.id,
    )


async def count_healthy() -> int:
    """How many GPUs sessions may have, taken or not."""
    return sum(gpu.healthy for gpu in await list_all())


async def lease(
    count: int, *, session_id: str, request_id: str | None = None
) -> list[str] | None:
    """Gives a session all the GPUs that it asks for, or none.

    Part of the transaction that writes the session.

    Args:
        count: how many.
        session_id: who gets them.
        request_id: whose held GPUs may be taken, before those that are free.

    Returns:
        Their ids; None when so many are not free.
    """
    taken = await _choose(count, request_id)
    if taken is not None:
        await _give(taken, session_id=session_id, request_id=None)
    return taken


async def hold(count: int, *, request_id: str) -> bool:
    """Keeps GPUs for who waits in line; all or none, in a transaction.

    Returns:
        Whether so many were free.
    """
    held = await _choose(count, request_id)
    if held is None:
        return False
    await _give(held, session_id=None, request_id=request_id)
    return True


async def release(session_id: str) -> None:
    """Takes back what a session has; may be repeated."""
    await db.collection(COLLECTION).update_many(
        {"session_id": session_id}, {"$set": {"session_id": None}}
    )
    transactions.afterwards(released.set)


async def follow(session_id: str, *, gpu_ids: Collection[str]) -> None:
    """Writes down which GPUs an orchestrator has chosen for a session.

    Part of the transaction that writes the session. Whoever had one of them
    gets one that the session had instead: no GPU is in two sessions, and each
    keeps as many as it had. Where an orchestrator chose otherwise for one, it
    did for another, which follows in its turn.
    """
    known = await list_all()
    left = [
        gpu
        for gpu in known
        if gpu.session_id == session_id and gpu.id not in gpu_ids
    ]
    taken = [
        gpu
        for gpu in known
        if gpu.session_id != session_id and gpu.id in gpu_ids
    ]
    for new, old in zip_longest(taken, left):
        if old is not None:
            await _set(
                old.id,
                session_id=new.session_id if new else None,
                request_id=new.request_id if new else None,
            )
        if new is not None:
            await _set(new.id, session_id=session_id, request_id=None)
    transactions.afterwards(released.set)


async def unhold(request_id: str) -> None:
    """Frees what is kept for somebody; may be repeated."""
    await db.collection(COLLECTION).update_many(
        {"request_id": request_id}, {"$set": {"request_id": None}}
    )
    transactions.afterwards(released.set)


async def sync(devices: Sequence[Device]) -> None:
    """Writes down what the inventory saw.

    Every worker does so; what has not changed is not written. A GPU that is
    gone stays for a day, so that whoever has it keeps the lease.
    """
    known = {gpu.id: gpu for gpu in await list_all()}
    now = utc_now()
    for device in devices:
        gpu = known.pop(device.id, None)
        seen: db.Document = {
            "name": device.name,
            "memory_mb": device.memory_mb,
            "healthy": device.healthy,
            "node": device.node,
        }
        if gpu is None:
            new = Gpu(id=device.id, seen_at=now, **seen)
            if await db.insert_missing(COLLECTION, [new.dict()]) == 0:
                await _set(device.id, **seen, seen_at=now)
        elif _differs(gpu, seen) or gpu.seen_at < now - _SEEN:
            await _set(device.id, **seen, seen_at=now)
    for gpu in known.values():
        if gpu.healthy:
            await _set(gpu.id, healthy=False)
        elif gpu.seen_at < now - _GONE and gpu.session_id is None:
            # It may have come back meanwhile, and been leased.
            await db.collection(COLLECTION).delete_one(
                {"_id": gpu.id, "healthy": False, "session_id": None}
            )


async def count_up() -> None:
    """Counts the GPUs for the metrics."""
    found = await list_all()
    FIGURES.healthy = sum(gpu.healthy for gpu in found)
    FIGURES.unhealthy = len(found) - FIGURES.healthy
    FIGURES.free = sum(_is_free(gpu, None) for gpu in found)


async def _choose(count: int, request_id: str | None) -> list[str] | None:
    if count == 0:
        return []
    free = [gpu for gpu in await list_all() if _is_free(gpu, request_id)]
    # Held ones first; else always the first of those that are free.
    free.sort(key=lambda gpu: (gpu.request_id is None, gpu.id))
    return [gpu.id for gpu in free[:count]] if len(free) >= count else None


def _is_free(gpu: Gpu, request_id: str | None) -> bool:
    return (
        gpu.healthy
        and gpu.session_id is None
        and gpu.request_id in (None, request_id)
    )


def _differs(gpu: Gpu, seen: db.Document) -> bool:
    return any(getattr(gpu, field) != value for field, value in seen.items())


async def _give(
    ids: Sequence[str], *, session_id: str | None, request_id: str | None
) -> None:
    if ids:
        await db.collection(COLLECTION).update_many(
            {"_id": {"$in": list(ids)}},
            {"$set": {"session_id": session_id, "request_id": request_id}},
        )


async def _set(gpu_id: str, **fields: Any) -> None:
    await db.collection(COLLECTION).update_one(
        {"_id": gpu_id}, {"$set": fields}
    )
