"""Sessions: start, extend and end them, as far as the database knows.

Owns: `sessions`. Indexes: see INDEXES. May call: audit, gpus, paging,
seat_grants, session_limits, session_requests. What the engine does,
`session_service` does after what is written here.

A session is written in one transaction with the lease of its GPUs and with all
that it is measured by, so that there is never one without the other. Each such
transaction writes one document of `seat_grants`: of those that race, in any
worker, one begins again and counts the other. So nobody gets more than their
quota, a seat has one session, and events find the GPUs that they were promised.
Later changes name the unique revision that they read: of several workers, one
does each.

To end a session is to write so: whoever looks at it next, in any worker,
removes its container and then gives its GPUs back.
"""

import asyncio
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from config import db, transactions
from models.audit import AuditAction
from models.base import Page, new_id, utc_now
from models.event_compute import SeatGrant
from models.exceptions import ForbiddenError
from models.logins import Actor
from models.session_errors import NoGpuFreeError, SessionNotFoundError
from models.session_requests import RequestStatus, SessionRequest
from models.session_templates import MOST_HOURS
from models.sessions import (
    ALIVE,
    EndReason,
    Session,
    SessionOrder,
    SessionQuery,
    SessionQuota,
    SessionRead,
    SessionStatus,
)
from utils import (
    audit,
    gpus,
    paging,
    seat_grants,
    session_limits,
    session_requests,
)

COLLECTION: Final = "sessions"
DOCUMENTS: Final = (Session,)
INDEXES: Final = [
    # Who changes a session names the revision that it read: one of several.
    db.IndexModel("revision", unique=True),
    db.IndexModel("status"),
    db.IndexModel("due_at"),
    db.IndexModel([("owner_id", db.ASCENDING), ("created_at", db.ASCENDING)]),
    db.IndexModel([("event_id", db.ASCENDING), ("created_at", db.ASCENDING)]),
    db.IndexModel([("created_at", db.ASCENDING), ("_id", db.ASCENDING)]),
    db.IndexModel("ended_at", expireAfterSeconds=400 * 24 * 3600),
]

# Set when this process has changed a session, for whoever sees to it.
changed: Final = asyncio.Event()

# A worker that says nothing for this long is taken for dead.
CLAIM: Final = timedelta(seconds=30)

_LONGEST: Final = timedelta(hours=MOST_HOURS)
_HOUR: Final = timedelta(hours=1)
# Only those that live have a slot.
_LIVING: Final = {"slot": {"$gt": -1}}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Looked at in one go; the others are due still.
_DUE_AT_ONCE: Final = 50


@dataclass(slots=True)
class Figures:
    """Sessions by status, when this process counted them last."""

    alive: dict[str, int] = field(default_factory=dict)


FIGURES: Final = Figures()


# What members do.


async def create(order: SessionOrder) -> Session:
    """Leases GPUs and writes down the session that has them.

    A deed that was done before answers what it made. May be a part of a
    transaction, which whoever runs it repeats when a DuplicateKeyError comes
    out.

    Raises:
        NoGpuFreeError: so many GPUs are not free for that long.
        TooManySessionsError: the owner has used up their quota.
        SessionStateError: they have such a session at the event.
    """

    async def work() -> Session:
        return await _create(order)

    while True:
        try:
            return await transactions.run(work, turn=gpus.TURN)
        except db.DuplicateKeyError:
            # Two were the first ever to take the turn.
            if transactions.is_open():
                raise


async def get_session(session_id: str, *, actor: Actor) -> Session:
    """A session of the caller's, or any for an admin.

    Raises:
        SessionNotFoundError: there is none, or it is somebody else's.
    """
    session = await find(session_id)
    if session is None or not (
        actor.is_admin or session.owner_id == actor.user_id
    ):
        raise SessionNotFoundError(session_id)
    return session


async def find(session_id: str) -> Session | None:
    """The session with this id; None without one."""
    document = await db.find_by_id(COLLECTION, session_id)
    return None if document is None else Session.from_document(document)


async def list_sessions(
    query: SessionQuery, *, actor: Actor
) -> Page[SessionRead]:
    """A page of the caller's sessions, or of all; the latest first.

    Raises:
        ForbiddenError: the caller asks for those of others, and is no admin.
        InvalidRequestError: the cursor is malformed.
    """
    if query.all and not actor.is_admin:
        raise ForbiddenError("Only an admin sees the sessions of others.")
    owner = {} if query.all else {"owner_id": actor.user_id}
    return await paging.page_by_time(
        db.collection(COLLECTION),
        query,
        asked=paging.fingerprint(query, actor.user_id),
        key="created_at",
        descending=True,
        select=owner,
        where=[{"status": {"$in": query.status}}] if query.status else [],
        show=lambda document: SessionRead.of(
            Session.from_document(document), viewer_id=actor.user_id
        ),
    )


async def extend(
    session_id: str, *, hours: float, quota: SessionQuota, actor: Actor
) -> Session:
    """Gives a session of somebody's own quota more time.

    An admin may do so beyond the quota of another member.

    Raises:
        SessionNotFoundError: there is none, or it is somebody else's.
        SessionStateError: it ends, stands on a seat, or would be too long.
        NoGpuFreeError: its GPUs are promised to others then.
        TooManySessionsError: the owner has used up their quota.
    """

    async def work() -> Session:
        await seat_grants.take_turn()
        session = await get_session(session_id, actor=actor)
        until = session.expires_at + timedelta(hours=hours)
        session_limits.require_extensible(session, until)
        now = utc_now()
        others = [
            other
            for other in await _recent(session.owner_id, now)
            if other.id != session_id
        ]
        own = session.owner_id == actor.user_id
        order = _order_of(session, until, quota if own else None)
        session_limits.require_hours(
            order, others, now, since=session.created_at
        )
        if session.gpus > 0:
            await _require_unpromised(order, but=session_id)
        return await _extend(session, until, actor)

    return await transactions.run(work, turn=gpus.TURN)


async def extend_seat(
    session_id: str, *, more: timedelta, actor: Actor
) -> Session:
    """Gives a session of a seat more time, beside anybody's quota.

    Raises:
        SessionNotFoundError: there is none.
        SessionStateError: it ends already.
        NoGpuFreeError: beyond the event's window, its GPUs are promised to
            others.
    """

    async def work() -> Session:
        await seat_grants.take_turn()
        session = await find(session_id)
        if session is None:
            raise SessionNotFoundError(session_id)
        session_limits.require_open(session)
        until = session.expires_at + more
        if session.gpus > 0:
            order = SessionOrder(
                owner_id=session.owner_id,
                template=session.template,
                gpus=session.gpus,
                expires_at=until,
                event_id=session.event_id,
            )
            await _require_unpromised(order, but=session_id)
        return await _extend(session, until, actor)

    return await transactions.run(work, turn=gpus.TURN)


async def end(
    session_id: str,
    *,
    reason: EndReason,
    actor: Actor | None = None,
    claimant: str | None = None,
    error: str | None = None,
) -> None:
    """Says that a session ends, once; a worker takes it down then.

    Args:
        session_id: which; what is over, or unknown, is left alone.
        reason: why.
        actor: who ends it; what is not their own is written down.
        claimant: the worker who saw it; none of its business when somebody
            else has claimed the session by now.
        error: what went wrong, in a sentence.
    """

    async def work() -> None:
        session = await find(session_id)
        if session is None or session.status not in session_limits.OPEN:
            return
        if claimant is not None and session.claim != claimant:
            return
        await _end_all([session], reason, error=error)
        if actor is not None and actor.user_id != session.owner_id:
            await audit.record(
                AuditAction.SESSION_ENDED,
                actor_id=actor.user_id,
                target_id=session.owner_id,
                session_id=session_id,
                reason=reason,
            )

    await transactions.run(work)


async def end_seat(
    event_id: str, *, user_id: str, reason: EndReason = EndReason.SEAT_LOST
) -> None:
    """Ends what a member runs on a seat at an event.

    Part of the transaction in which they lose it.
    """
    await _end_where({"owner_id": user_id}, {"event_id": event_id}, reason)


async def end_of_event(
    event_id: str, *, reason: EndReason = EndReason.EVENT_CANCELLED
) -> None:
    """Ends all that runs on an event's seats; part of a transaction or not."""
    await _end_where({"event_id": event_id}, {}, reason)


async def end_of_member(owner_id: str, *, reason: EndReason) -> None:
    """Ends all that a member runs, on seats too; repeatable."""
    await _end_where({"owner_id": owner_id}, {}, reason)


async def end_of_owner(owner_id: str) -> None:
    """Ends and forgets the sessions of a member who leaves; repeatable."""
    over = await _ids({"owner_id": owner_id}, {"status": {"$nin": ALIVE}})
    await db.collection(COLLECTION).delete_many({"_id": {"$in": over}})

    async def work() -> None:
        found = await _find({"owner_id": owner_id}, _LIVING)
        # What is being removed already is forgotten at its end, too.
        await _end_all(found, EndReason.ACCOUNT_CLOSED, forget=True)

    await transactions.run(work)


async def list_of(owner_id: str) -> list[Session]:
    """All sessions of a member."""
    return await _find({"owner_id": owner_id})


async def list_of_event(
    event_id: str, *, owner_ids: Collection[str] | None = None
) -> list[Session]:
    """All sessions that an event's seats granted, those that ended too.

    Args:
        event_id: the event.
        owner_ids: only those of these members.
    """
    whose = {} if owner_ids is None else {"owner_id": {"$in": [*owner_ids]}}
    return await _find({"event_id": event_id}, whose)


async def cut(event_id: str, *, until: datetime) -> None:
    """Has no session of an event's seats outlast a time.

    Part of the transaction that shortens the event's window.
    """
    for session in await list_of_event(event_id):
        if session.status in session_limits.OPEN and session.expires_at > until:
            await _write(session, expires_at=until, due_at=_sooner(session))
    transactions.afterwards(changed.set)


async def stretch(before: SeatGrant, after: SeatGrant) -> None:
    """Has sessions of an event's seats that end with its window still do so.

    Part of the transaction that lengthens the window, and proves that there are
    GPUs for all seats then: what its seats do not grant any more does not stay.
    """
    now = utc_now()
    for session in await list_of_event(after.id):
        if (
            session.status in session_limits.OPEN
            and session.expires_at == before.closes_at
            and after.covers(session.gpus, now)
        ):
            await _write(
                session,
                expires_at=after.closes_at,
                warned=False,
                due_at=_sooner(session),
            )
    transactions.afterwards(changed.set)


async def ids_of(owner_id: str) -> list[str]:
    """The ids of a member's sessions that live."""
    return await _ids({"owner_id": owner_id}, _LIVING)


# What workers do with them.


async def list_alive() -> list[Session]:
    """All sessions that hold GPUs."""
    return await _find({"status": {"$in": ALIVE}})


async def is_unpromised(
    count: int,
    *,
    until: datetime,
    event_id: str | None = None,
    but: str | None = None,
    offer: SessionRequest | None = None,
) -> bool:
    """Whether somebody may have so many GPUs until then, whoever has them now.

    What seats want must fit in the inventory at every moment, together with
    what runs on no seat, such as a rehearsal, with what outlasts its seat's
    window, and with what is offered in line; until then, a seat's own session
    is wanted already. Part of a transaction that has the turn.

    Args:
        count: GPUs.
        until: when they are given back.
        event_id: the event whose seat grants them, if one does.
        but: a session that does not count.
        offer: the offer that is used up by it, if one is.
    """
    now = utc_now()
    grants = await seat_grants.list_grants(now)
    granted = {grant.id: grant for grant in grants}
    parts = seat_grants.uncovered(
        granted.get(event_id or ""), seat_grants.Demand(now, until, count)
    )
    if not parts:
        return True
    demands = [seat_grants.demand_of(grant) for grant in grants]
    for each in await list_alive():
        if each.id != but:
            demands += demands_of(each, granted)
    demands += await list_offered(but=offer)
    most = max(
        seat_grants.peak(demands, starts=part.starts, ends=part.ends)
        for part in parts
    )
    return most + count <= await gpus.count_healthy()


async def list_offered(
    *, but: SessionRequest | None = None
) -> list[seat_grants.Demand]:
    """What is offered in line wants, for as long as it may be had.

    Args:
        but: the offer that does not count.
    """
    now = utc_now()
    return [
        seat_grants.Demand(
            now,
            (each.offer_expires_at or now) + each.hours * _HOUR,
            each.gpus,
        )
        for each in await session_requests.list_offers()
        if but is None or each.id != but.id
    ]


async def list_served() -> list[SessionRequest]:
    """Those who wait and are served in turn, in the order of the line.

    Passed over are those who ask for more than there is, and those whose hours
    what seats were promised bars, be it for days: GPUs come back, and events
    end.
    """
    line = [
        each
        for each in await session_requests.list_line()
        if each.status is RequestStatus.WAITING
    ]
    if not line:
        return []
    now = utc_now()
    healthy = await gpus.count_healthy()
    grants = await seat_grants.list_grants(now)
    promised = [seat_grants.demand_of(grant) for grant in grants]
    return [
        each
        for each in line
        if each.gpus
        + seat_grants.peak(
            promised,
            starts=now,
            ends=now + session_requests.KEPT + each.hours * _HOUR,
        )
        <= healthy
    ]


async def some_stop() -> bool:
    """Whether sessions are about to give their GPUs back."""
    found = await _find({"status": SessionStatus.STOPPING}, limit=1)
    return bool(found)


async def list_due() -> list[Session]:
    """Some of those that somebody should look at now."""
    return await _find(
        # None is due when it is over.
        {"due_at": {"$gt": _EPOCH, "$lt": utc_now()}},
        limit=_DUE_AT_ONCE,
    )


async def claim(session: Session, *, claimant: str) -> Session | None:
    """Says who works on a session as it was read; None when others do."""
    return await change(session, claim=claimant, due_at=utc_now() + CLAIM)


async def keep(session_id: str, *, claimant: str) -> Session | None:
    """Renews a claim; None when it is somebody else's by now."""
    while True:
        session = await find(session_id)
        if session is None or session.claim != claimant:
            return None
        kept = await claim(session, claimant=claimant)
        if kept is not None:
            return kept


async def change(session: Session, **fields: Any) -> Session | None:
    """Changes a session as it was read; None when it has changed since."""
    new = session.model_copy(update={**fields, "revision": new_id()})
    result = await db.collection(COLLECTION).update_one(
        {"revision": session.revision},
        {"$set": new.model_dump(include={*fields, "revision"})},
    )
    return new if result.matched_count == 1 else None


async def follow(
    session: Session,
    *,
    host: str | None,
    host_port: int | None,
    gpu_ids: Sequence[str] | None,
) -> None:
    """Writes down where the container of a session is now, and with what.

    Args:
        session: as it was read; one that has changed since is left alone.
        host: where its port answers.
        host_port: the port there.
        gpu_ids: the GPUs that an orchestrator chose; None for its own.
    """
    fields: dict[str, Any] = {"host": host, "host_port": host_port}
    if gpu_ids is not None:
        fields["gpu_ids"] = list(gpu_ids)

    async def work() -> None:
        changed_one = await change(session, **fields)
        if changed_one is not None and gpu_ids is not None:
            await gpus.follow(session.id, gpu_ids=gpu_ids)

    await transactions.run(work, turn=gpus.TURN)


async def finish(session: Session) -> Session | None:
    """Gives the GPUs of a session back whose container is gone, for good.

    Returns:
        It as it is now; None when it has changed since it was read.
    """
    reason = session.end_reason
    fault = reason is not None and reason.is_fault

    async def work() -> Session | None:
        done = await change(
            session,
            status=SessionStatus.FAILED if fault else SessionStatus.STOPPED,
            slot=None,
            due_at=None,
            claim=None,
            host=None,
            host_port=None,
            ended_at=utc_now(),
        )
        if done is None:
            return None
        await gpus.release(session.id)
        if session.forget:
            await db.collection(COLLECTION).delete_one({"_id": session.id})
        transactions.afterwards(changed.set)
        return done

    return await transactions.run(work, turn=gpus.TURN)


async def free_lost_leases(*, but: Collection[str] = ()) -> int:
    """Gives back what sessions have that are over or unknown.

    There are none unless somebody restored a part of a backup, or changed
    documents by hand.

    Args:
        but: sessions whose containers are there still.
    """
    held = {gpu.session_id for gpu in await gpus.list_all()} - {None}
    alive = {session.id for session in await list_alive()}
    lost = sorted(held - alive - {*but}, key=str)

    async def free(session_id: str) -> bool:
        # Again, in the transaction: it may have begun meanwhile.
        session = await find(session_id)
        if session is None or session.status.is_final:
            await gpus.release(session_id)
            return True
        return False

    freed = 0
    for session_id in filter(None, lost):

        async def work(which: str = session_id) -> bool:
            return await free(which)

        freed += await transactions.run(work, turn=gpus.TURN)
    return freed


async def count_up() -> None:
    """Counts the sessions for the metrics."""
    found = db.collection(COLLECTION).find(
        {"status": {"$in": ALIVE}}, {"status": 1}
    )
    numbers = dict.fromkeys(ALIVE, 0)
    async for document in found:
        numbers[SessionStatus(document["status"])] += 1
    FIGURES.alive = {str(status): many for status, many in numbers.items()}


async def _create(order: SessionOrder) -> Session:
    await seat_grants.take_turn()
    if order.deed is not None:
        done = await find(order.deed)
        if done is not None:
            return done
    now = utc_now()
    mine = await _recent(order.owner_id, now)
    slot = session_limits.free_place(order, mine, now)
    if order.quota is not None:
        session_limits.require_hours(order, mine, now, since=now)
    session = Session(
        id=order.deed or new_id(),
        owner_id=order.owner_id,
        slot=slot,
        template=order.template,
        gpus=order.gpus,
        event_id=order.event_id,
        token=secrets.token_urlsafe(32),
        created_at=now,
        expires_at=order.expires_at,
        due_at=now if order.claim is None else now + CLAIM,
        claim=order.claim,
    )
    if order.gpus > 0:
        session.gpu_ids = await _lease(order, session.id, now)
    await db.collection(COLLECTION).insert_one(session.dict())
    transactions.afterwards(changed.set)
    return session


async def _recent(owner_id: str, now: datetime) -> list[Session]:
    """Those that live, and all of their quota of the last seven days.

    A seat's session may live for as long as its event, up to a year.
    """
    alive = await _find({"owner_id": owner_id}, _LIVING)
    lately = await _find(
        {
            "owner_id": owner_id,
            "created_at": {
                "$gt": now - session_limits.WEEK - _LONGEST,
                "$lt": now + _HOUR,
            },
        }
    )
    return list({each.id: each for each in (*alive, *lately)}.values())


async def _lease(
    order: SessionOrder, session_id: str, now: datetime
) -> list[str]:
    """Takes what is offered to the owner in line, or what is free.

    While others wait who are served in turn, nobody else takes anything, but
    for those whose seat grants it.
    """
    offer = None
    if order.quota is not None:
        offer = await session_requests.find_offer(
            order.owner_id,
            template=order.template.name,
            gpus=order.gpus,
            hours=(order.expires_at - now) / _HOUR,
        )
    await _require_unpromised(order, offer=offer)
    in_line = order.quota is not None or order.lets_pass
    if in_line and offer is None and await list_served():
        raise await _no_gpu(order)
    taken = await gpus.lease(
        order.gpus,
        session_id=session_id,
        request_id=None if offer is None else offer.id,
    )
    if taken is None:
        raise await _no_gpu(order)
    if offer is not None:
        await session_requests.take(offer)
    return taken


async def _require_unpromised(
    order: SessionOrder,
    *,
    but: str | None = None,
    offer: SessionRequest | None = None,
) -> None:
    fits = await is_unpromised(
        order.gpus,
        until=order.expires_at,
        event_id=order.event_id,
        but=but,
        offer=offer,
    )
    if not fits:
        raise await _no_gpu(order)


def demands_of(
    session: Session, grants: Mapping[str, SeatGrant]
) -> list[seat_grants.Demand]:
    """What a session wants beyond what the seats of events want.

    Args:
        session: one that lives.
        grants: what seats grant, by the events that are not over.
    """
    return seat_grants.uncovered(
        grants.get(session.event_id or ""),
        seat_grants.Demand(
            session.created_at, session.expires_at, session.gpus
        ),
    )


async def _no_gpu(order: SessionOrder) -> NoGpuFreeError:
    found = await gpus.list_all()
    expiries = [each.expires_at for each in await list_alive() if each.gpus > 0]
    free = [
        gpu
        for gpu in found
        if gpu.healthy and gpu.session_id is None is gpu.request_id
    ]
    detail = ""
    if not found:
        detail = "There is no GPU here: sessions without any may be started."
    return NoGpuFreeError(
        asked=order.gpus,
        free=len(free),
        queue_length=await session_requests.length(),
        earliest_expiry=min(expiries, default=None),
        detail=detail,
    )


def _order_of(
    session: Session, until: datetime, quota: SessionQuota | None
) -> SessionOrder:
    return SessionOrder(
        owner_id=session.owner_id,
        template=session.template,
        gpus=session.gpus,
        expires_at=until,
        quota=quota,
    )


async def _extend(session: Session, until: datetime, actor: Actor) -> Session:
    extended = await _write(
        session, expires_at=until, warned=False, due_at=_sooner(session)
    )
    if actor.user_id != session.owner_id:
        await audit.record(
            AuditAction.SESSION_EXTENDED,
            actor_id=actor.user_id,
            target_id=session.owner_id,
            session_id=session.id,
            until=until.isoformat(),
        )
    transactions.afterwards(changed.set)
    return extended


def _sooner(session: Session) -> datetime | None:
    """Has it looked at now, unless somebody works on it."""
    return session.due_at if session.claim is not None else utc_now()


async def _end_where(
    select: db.Document, where: db.Document, reason: EndReason
) -> None:
    async def work() -> None:
        found = await _find(select, {**where, **_LIVING})
        going_on = session_limits.OPEN
        await _end_all([s for s in found if s.status in going_on], reason)

    await transactions.run(work)


async def _end_all(
    found: Collection[Session],
    reason: EndReason,
    *,
    error: str | None = None,
    forget: bool = False,
) -> None:
    """Part of a transaction, which begins again when one has changed since.

    Whoever works on one of them goes on, and sees at their next step that it
    ends; when they are dead, somebody else does when the claim runs out.
    """
    updates = []
    for session in found:
        fields: dict[str, Any] = {
            "forget": forget or session.forget,
            "revision": new_id(),
        }
        if session.status in session_limits.OPEN:
            fields |= {
                "status": SessionStatus.STOPPING,
                "end_reason": reason,
                "error": error,
                "due_at": _sooner(session),
            }
        updates.append(db.UpdateOne({"_id": session.id}, {"$set": fields}))
    if updates:
        await db.collection(COLLECTION).bulk_write(updates, ordered=False)
        transactions.afterwards(changed.set)


async def _write(session: Session, **fields: Any) -> Session:
    """As `change`, in a transaction that begins again on a newer state."""
    new = session.model_copy(update={**fields, "revision": new_id()})
    await db.collection(COLLECTION).update_one(
        {"_id": session.id},
        {"$set": new.model_dump(include={*fields, "revision"})},
    )
    return new


async def _find(
    select: db.Document, where: db.Document | None = None, *, limit: int = 0
) -> list[Session]:
    """Sessions, by one selective clause on an index and by what else decides.

    In one clause, the embedded database reads all sessions for both.
    """
    pipeline: list[db.Document] = [{"$match": select}, {"$match": where or {}}]
    if limit:
        pipeline.append({"$limit": limit})
    found = await db.collection(COLLECTION).aggregate(pipeline)
    return [Session.from_document(document) async for document in found]


async def _ids(select: db.Document, where: db.Document) -> list[str]:
    """The ids of what `_find` finds."""
    pipeline = [{"$match": select}, {"$match": where}, {"$project": {"_id": 1}}]
    found = await db.collection(COLLECTION).aggregate(pipeline)
    return [document["_id"] async for document in found]
