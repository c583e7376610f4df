"""Events: publish, find, change, cancel, decide.

Owns: `events`. Indexes: see INDEXES. May call: audit, etags, event_pages,
images, mails, paging.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from config import cache, db, gathering, transactions
from models.audit import AuditAction
from models.base import Page, PageQuery, new_id, utc_now
from models.events import (
    Approval,
    Event,
    EventCreate,
    EventFilters,
    EventFound,
    EventImport,
    EventQuery,
    EventRead,
    EventUpdate,
    Status,
    times_fault,
)
from models.exceptions import (
    AlreadyDecidedError,
    CapacityBelowSeatsError,
    EventClosedError,
    EventNotFoundError,
    ForbiddenError,
    InvalidRequestError,
    NotAuthenticatedError,
)
from models.logins import Actor
from models.mails import Mail, MailKind
from utils import audit, etags, event_pages, images, mails, paging

COLLECTION: Final = "events"
DOCUMENTS: Final = (Event,)
INDEXES: Final = [
    # A change names the revision that it read, and is lost on a newer one.
    db.IndexModel("revision", unique=True),
    *event_pages.INDEXES,
    db.IndexModel(
        [
            ("approval", db.ASCENDING),
            ("created_at", db.ASCENDING),
            ("_id", db.ASCENDING),
        ]
    ),
    # Racing imports of one file meet here.
    db.IndexModel(
        "import_key",
        unique=True,
        partialFilterExpression={"import_key": {"$gt": ""}},
    ),
    db.IndexModel("image_ids"),
]

_DECISIONS: Final = {
    Approval.APPROVED: (AuditAction.EVENT_APPROVED, MailKind.EVENT_APPROVED),
    Approval.DENIED: (AuditAction.EVENT_DENIED, MailKind.EVENT_DENIED),
}
# Changes of these concern those who wrote the event into their calendars.
_CALENDAR_FIELDS: Final = ("starts_at", "ends_at", "location", "online_url")
# What a calendar file says of an event.
_IMPORTED_FIELDS: Final = {
    "title",
    "description",
    "starts_at",
    "ends_at",
    "tags",
    "location",
    "online_url",
    "links",
}
# Changes of so long are told in one mail, at its end.
_GATHERED_SECONDS: Final = 5 * 60
# Longer than a change takes that began before that end.
_SETTLED: Final = timedelta(seconds=30)
# So long before an event starts, its changes are told at once.
_HASTE: Final = timedelta(hours=1)
_BY_ID: Final = gathering.finds(COLLECTION, paging.WITHOUT_LOOKUP)
_NEW: Final = gathering.inserts(COLLECTION)
_OVER: Final = "an event that is over can't be published"


async def get_event(event_id: str, *, actor: Actor | None) -> Event:
    """The event with this id, if the caller may see it.

    Raises:
        EventNotFoundError: there is none, or it is not open to the caller.
    """
    event = await load_event(event_id)
    if not is_open_to(event, actor=actor):
        raise EventNotFoundError(event_id)
    return event


async def load_event(event_id: str) -> Event:
    """The event with this id, for those who decide themselves who may see it.

    Raises:
        EventNotFoundError: there is none.
    """
    document = await _BY_ID.ask(event_id)
    if document is None:
        raise EventNotFoundError(event_id)
    return Event.from_document(document)


async def find_events(event_ids: Collection[str]) -> dict[str, Event]:
    """Events by their ids, whoever may see them; unknown ids are left out."""
    if not event_ids:
        return {}
    found = db.collection(COLLECTION).find(
        {"_id": {"$in": list(event_ids)}}, paging.WITHOUT_LOOKUP
    )
    return {
        document["_id"]: Event.from_document(document)
        async for document in found
    }


async def list_created_by(user_id: str) -> list[Event]:
    """All events of a member, those first that start first."""
    found = db.collection(COLLECTION).find(
        {"creator_id": user_id},
        paging.WITHOUT_LOOKUP,
        sort=[("starts_at", db.ASCENDING)],
    )
    return [Event.from_document(document) async for document in found]


def is_open_to(event: Event, *, actor: Actor | None) -> bool:
    """Whether the caller may see an event without being invited to it."""
    if event.public and event.approval is Approval.APPROVED:
        return True
    return _may_edit(event, actor)


def show(event: Event, *, actor: Actor | None) -> EventRead:
    """What an event looks like to somebody who may see it."""
    shown = EventRead.of(event)
    if not _may_edit(event, actor):
        shown.denial_reason = None
    return shown


async def access_event_for_edit(event_id: str, *, actor: Actor) -> Event:
    """The event with this id, for those who may change it.

    Raises:
        EventNotFoundError: there is none, or it is not open to the caller.
        ForbiddenError: the caller neither created it nor is an admin.
        EventClosedError: it is cancelled or past.
    """
    event = await get_event(event_id, actor=actor)
    if not _may_edit(event, actor):
        raise ForbiddenError(
            "Only its creator or an admin may change an event."
        )
    _require_open(event)
    return event


async def list_events(
    query: EventQuery, *, actor: Actor | None
) -> Page[EventFound]:
    """A page of the events that the caller may see.

    Raises:
        NotAuthenticatedError: an anonymous caller asks for their own events.
        InvalidRequestError: the cursor is malformed or of another query.
    """
    return await event_pages.list_page(
        db.collection(COLLECTION), query, owner=_owner(query, actor)
    )


async def list_whole(
    filters: EventFilters, *, actor: Actor | None, limit: int
) -> list[Event]:
    """The first `limit` of the events that the caller may see.

    Raises:
        NotAuthenticatedError: an anonymous caller asks for their own events.
        InvalidRequestError: `q` has no word.
    """
    return await event_pages.list_whole(
        db.collection(COLLECTION),
        filters,
        owner=_owner(filters, actor),
        limit=limit,
    )


async def list_created(
    user_id: str, *, since: datetime, limit: int
) -> list[Event]:
    """The first `limit` events of a member that start at `since` or later."""
    every_status = EventFilters(status=list(Status), starts_after=since)
    return await event_pages.list_whole(
        db.collection(COLLECTION), every_status, owner=user_id, limit=limit
    )


async def list_queue(query: PageQuery) -> Page[EventRead]:
    """A page of the events that wait for a decision, the oldest first.

    Raises:
        InvalidRequestError: the cursor is malformed.
    """
    return await paging.page_by_time(
        db.collection(COLLECTION),
        query,
        asked=paging.fingerprint(query, "queue"),
        key="created_at",
        select={"approval": Approval.PENDING},
        where=[{"cancelled_at": None, "ends_at": {"$gt": utc_now()}}],
        show=lambda document: EventRead.of(Event.from_document(document)),
    )


async def walk_starting(
    after: datetime, *, before: datetime
) -> AsyncIterator[Event]:
    """The events with guests that start in a time, and take place."""
    async for document in event_pages.walk_starting(
        db.collection(COLLECTION), after=after, before=before
    ):
        yield Event.from_document(document)


@cache.invalidates("event-lists")
async def create_event(new: EventCreate, *, actor: Actor) -> Event:
    """Publishes an event; a public one by a member waits for approval.

    Raises:
        InvalidRequestError: the event is over already, or an image is not the
            caller's.
    """
    if new.ends_at <= utc_now():
        raise InvalidRequestError.at("body", "ends_at", msg=_OVER)
    event = Event(
        **new.model_dump(),
        creator_id=actor.user_id,
        approval=_first_approval(new.public, actor),
        revision=new_id(),
    )

    async def work() -> None:
        await _claim_images(event.image_ids, actor)
        await _NEW.ask(_to_document(event))

    # One command is whole by itself.
    await (transactions.run(work) if event.image_ids else work())
    return event


@cache.invalidates("event-lists")
async def import_events(new: Sequence[EventImport]) -> int:
    """Publishes events from elsewhere, on the operator's word.

    Whoever decides about them has done so there: past events can be approved,
    which `approve` refuses. Nothing happens to an event whose id is taken, so
    an import that broke off is repeated.

    Args:
        new: some hundreds at most; they are sent in one command.

    Returns:
        How many were not there before.
    """

    def documents() -> list[db.Document]:
        return [
            _to_document(Event(**event.model_dump(), revision=new_id()))
            for event in new
        ]

    # Their words take a millisecond each where the texts are long.
    return await db.insert_missing(
        COLLECTION, await asyncio.to_thread(documents)
    )


async def list_imported(import_keys: Collection[str]) -> dict[str, Event]:
    """The events that were imported under these keys.

    Args:
        import_keys: some hundreds at most, neighbours in the order of keys:
            what lies between the first and the last is read.
    """
    first, last = min(import_keys), max(import_keys)
    found = await db.collection(COLLECTION).aggregate(
        [
            {"$match": {"import_key": {"$gte": first, "$lt": f"{last}~"}}},
            {"$match": {"import_key": {"$in": list(import_keys)}}},
            {"$project": paging.WITHOUT_LOOKUP},
        ],
        batchSize=len(import_keys) + 1,
    )
    events = [Event.from_document(document) async for document in found]
    return {str(event.import_key): event for event in events}


async def reimport(
    wanted: Sequence[EventImport], *, cancelled: Collection[str], actor: Actor
) -> dict[str, str]:
    """Makes imported events agree with the file that they came from.

    What a file does not say, such as the capacity, stays.

    Args:
        wanted: what the file says now, some hundreds at most.
        cancelled: keys of those that do not take place any more.
        actor: who imported them.

    Returns:
        Why one was not changed, by its key.
    """

    faults: dict[str, str] = {}

    def changes_of(found: dict[str, Event]) -> list[tuple[Event, Event]]:
        faults.clear()
        changes: list[tuple[Event, Event]] = []
        for new in wanted:
            key = str(new.import_key)
            try:
                before = found[key]
                changes.append(
                    (before, _reimported(before, new, key in cancelled, actor))
                )
            except KeyError:
                faults[key] = "it was deleted here meanwhile"
            except InvalidRequestError as fault:
                faults[key] = fault.reason
            except (EventClosedError, ForbiddenError) as fault:
                faults[key] = fault.detail
        return changes

    async def work() -> dict[str, str]:
        found = await list_imported([str(new.import_key) for new in wanted])
        # Long texts take a millisecond each to check.
        await _replace_all(await asyncio.to_thread(changes_of, found))
        return faults

    while True:
        # Each lost round is somebody else's success, so it ends.
        with suppress(db.OvertakenError):
            return await transactions.run(work, turn=f"import {actor.user_id}")


async def update_event(
    event_id: str,
    change: EventUpdate,
    *,
    actor: Actor,
    if_match: Collection[str],
) -> Event:
    """Changes an event that is neither cancelled nor past.

    Publishing a private event, or changing a denied one, asks an admin again.

    Args:
        event_id: the event.
        change: the fields to change.
        actor: its creator or an admin.
        if_match: ETags of the states that the change is meant for; none for
            any state.

    Raises:
        EventNotFoundError, ForbiddenError, EventClosedError: see
            `access_event_for_edit`.
        StaleError: the event is in another state than `if_match` says.
        CapacityBelowSeatsError: more seats are taken.
        InvalidRequestError: it would end before it starts, or a new image is
            not the caller's.
    """

    def changed(event: Event) -> Event:
        etags.require(EventRead.of(event), if_match)
        return _with_change(event, change, actor)

    async def work() -> Event:
        before, event = await _change(event_id, changed, actor=actor)
        # An admin may have given it others, which stay.
        await _claim_images(set(event.image_ids) - set(before.image_ids), actor)
        if event.sequence > before.sequence:
            await _tell_of_change(before, event)
        await _record_if_strange(AuditAction.EVENT_CHANGED, event, actor)
        return event

    return await transactions.run(work, turn=event_id)


async def cancel(event_id: str, *, actor: Actor) -> Event:
    """Cancels an event that is not past; everybody who sees it sees that.

    Raises:
        EventNotFoundError, ForbiddenError, EventClosedError: see
            `access_event_for_edit`.
    """

    async def work() -> Event:
        _, event = await _change(event_id, _cancelled, actor=actor)
        await _tell_of_cancellation(event)
        await _record_if_strange(AuditAction.EVENT_CANCELLED, event, actor)
        return event

    return await transactions.run(work, turn=event_id)


@cache.invalidates("event:{event_id}", "event-lists")
async def hand_over(event_id: str, *, leaver_id: str, heir_id: str) -> None:
    """Makes another member the organiser of an event, whatever its state.

    Nothing happens to one that is not the leaver's any more: whoever has it
    now keeps it.
    """

    async def work() -> None:
        found = await db.find_by_id(COLLECTION, event_id, {"creator_id": 1})
        if found is None or found["creator_id"] != leaver_id:
            return
        await db.collection(COLLECTION).update_one(
            {"_id": event_id},
            {"$set": {"creator_id": heir_id, "revision": new_id()}},
        )
        await audit.record(
            AuditAction.EVENT_HANDED_OVER,
            actor_id=leaver_id,
            target_id=event_id,
            heir=heir_id,
        )

    await transactions.run(work, turn=event_id)


@cache.invalidates("event:{event_id}", "event-lists")
async def delete(event_id: str, *, actor: Actor) -> None:
    """Removes an event for good.

    Raises:
        EventNotFoundError: there is none.
    """

    async def work() -> None:
        result = await db.collection(COLLECTION).delete_one({"_id": event_id})
        if result.deleted_count == 0:
            raise EventNotFoundError(event_id)
        await audit.record(
            AuditAction.EVENT_DELETED,
            actor_id=actor.user_id,
            target_id=event_id,
        )

    await transactions.run(work)


async def approve(event_id: str, *, actor: Actor) -> Event:
    """Lets everybody see a public event.

    Raises:
        EventNotFoundError, EventClosedError: see `access_event_for_edit`.
        AlreadyDecidedError: it does not wait for a decision.
    """
    return await _decide(event_id, Approval.APPROVED, None, actor)


async def deny(event_id: str, *, reason: str | None, actor: Actor) -> Event:
    """Keeps a public event hidden; its creator sees the reason.

    Raises:
        EventNotFoundError, EventClosedError: see `access_event_for_edit`.
        AlreadyDecidedError: it does not wait for a decision.
    """
    return await _decide(event_id, Approval.DENIED, reason, actor)


async def count_guests(
    event_id: str, *, going: int = 0, waiting: int = 0, arrived: int = 0
) -> None:
    """Adds to an event's counters of guests; part of a transaction."""
    await _count(
        event_id, seats_taken=going, waitlisted=waiting, arrivals=arrived
    )


async def count_rating(event_id: str, *, stars: int, ratings: int) -> None:
    """Adds to the sum and the number of ratings; part of a transaction."""
    await _count(event_id, rating_sum=stars, rating_count=ratings)


async def image_ids_in_use(ids: Sequence[str]) -> set[str]:
    """Those of some hundred images that events show."""
    found = await db.collection(COLLECTION).distinct(
        "image_ids", {"image_ids": {"$in": list(ids)}}
    )
    return set(found) & set(ids)


async def forget_images(ids: Sequence[str]) -> None:
    """Takes some hundred images at most out of all events."""
    events = db.collection(COLLECTION)
    found = events.find({"image_ids": {"$in": list(ids)}}, {"_id": 1})
    event_ids = [event["_id"] async for event in found]
    changes = [
        db.UpdateOne(
            {"_id": event_id},
            {
                "$pull": {"image_ids": {"$in": list(ids)}},
                "$set": {"updated_at": utc_now(), "revision": new_id()},
            },
        )
        for event_id in event_ids
    ]
    if changes:
        with _invalidating(event_ids):
            await events.bulk_write(changes)


def _invalidating(event_ids: Collection[str]) -> AbstractContextManager[None]:
    """Ends what is cached of several events, once the block changed them."""
    return cache.invalidating(
        "event-lists", *[f"event:{event_id}" for event_id in event_ids]
    )


@cache.invalidates("event:{event_id}", "event-lists")
async def _count(event_id: str, **numbers: int) -> None:
    # The new revision makes a change that was read before begin again.
    await db.collection(COLLECTION).update_one(
        {"_id": event_id}, {"$inc": numbers, "$set": {"revision": new_id()}}
    )


@cache.invalidates("event:{event_id}", "event-lists")
async def _change(
    event_id: str, changed: Callable[[Event], Event], *, actor: Actor
) -> tuple[Event, Event]:
    """Replaces an event by what `changed` makes of it; returns both.

    Atomic by the unique `revision`: the write meets an event only as it was
    read; when another change came first, all is checked again on the new
    state. Each lost round is somebody else's success, so it ends.
    """
    while True:
        event = await access_event_for_edit(event_id, actor=actor)
        new = _revised(changed(event))
        result = await db.collection(COLLECTION).replace_one(
            {"revision": event.revision}, _to_document(new)
        )
        if result.matched_count == 1:
            return event, new


async def _claim_images(ids: Collection[str], actor: Actor) -> None:
    await images.claim(list(ids), actor=actor, field="image_ids")


async def _decide(
    event_id: str, approval: Approval, reason: str | None, actor: Actor
) -> Event:
    def decided(event: Event) -> Event:
        if event.approval is not Approval.PENDING:
            raise AlreadyDecidedError(event_id, event.approval)
        return event.model_copy(
            update={"approval": approval, "denial_reason": reason}
        )

    async def work() -> Event:
        _, event = await _change(event_id, decided, actor=actor)
        facts = {} if reason is None else {"reason": reason}
        action, kind = _DECISIONS[approval]
        await audit.record(
            action, actor_id=actor.user_id, target_id=event_id, **facts
        )
        await mails.queue(
            Mail(
                key=f"{kind}:{event.revision}",
                kind=kind,
                user_id=event.creator_id,
                event_id=event_id,
                facts={"title": event.title, **facts},
            )
        )
        return event

    return await transactions.run(work, turn=event_id)


async def _tell_of_cancellation(event: Event) -> None:
    kind = MailKind.EVENT_CANCELLED
    await _tell_guests(event, kind, key=event.revision, due_at=utc_now())


async def _tell_of_change(before: Event, event: Event) -> None:
    """Has one mail sent for all changes of some minutes: it says the last."""
    now = utc_now()
    window = int(now.timestamp()) // _GATHERED_SECONDS
    end = datetime.fromtimestamp((window + 1) * _GATHERED_SECONDS, UTC)
    key, due_at = f"{event.id}:{window}", end + _SETTLED
    if min(before.starts_at, event.starts_at) <= due_at + _HASTE:
        # Who is on the way there can't wait.
        key, due_at = event.revision, now
    await _tell_guests(event, MailKind.EVENT_CHANGED, key=key, due_at=due_at)


async def _tell_guests(
    event: Event, kind: MailKind, *, key: str, due_at: datetime
) -> None:
    if event.seats_taken + event.waitlisted == 0:
        return
    await mails.queue(
        Mail(
            key=f"{kind}:{key}",
            kind=kind,
            guests_of=event.id,
            event_id=event.id,
            facts={"title": event.title},
            due_at=due_at,
        )
    )


async def _record_if_strange(
    action: AuditAction, event: Event, actor: Actor
) -> None:
    """Writes down what an admin does to somebody else's event."""
    if actor.user_id != event.creator_id:
        await audit.record(action, actor_id=actor.user_id, target_id=event.id)


async def _replace_all(changes: Sequence[tuple[Event, Event]]) -> None:
    """Replaces events by others, all at once; part of a transaction."""

    def replacements() -> list[tuple[db.Document, db.Document]]:
        return [
            ({"revision": before.revision}, _to_document(after))
            for before, after in changes
        ]

    with _invalidating([before.id for before, _ in changes]):
        await db.replace_all(COLLECTION, await asyncio.to_thread(replacements))
    for before, after in changes:
        if after.cancelled_at is not None:
            await _tell_of_cancellation(after)
        elif after.sequence > before.sequence:
            await _tell_of_change(before, after)


def _reimported(
    event: Event, new: EventImport, cancelled: bool, actor: Actor
) -> Event:
    if event.creator_id != actor.user_id:
        raise ForbiddenError("Another member organises this event now.")
    _require_open(event)
    if cancelled:
        after = _cancelled(event)
    else:
        fields = new.model_dump(include=_IMPORTED_FIELDS)
        after = _with_change(event, EventUpdate(**fields), actor)
        after.import_digest = new.import_digest
    return _revised(after)


def _owner(filters: EventFilters, actor: Actor | None) -> str | None:
    """Whose events are asked for; None for everybody's."""
    if not filters.mine:
        return None
    if actor is None:
        raise NotAuthenticatedError("Log in to list your own events.")
    return actor.user_id


def _may_edit(event: Event, actor: Actor | None) -> bool:
    return actor is not None and (
        actor.is_admin or actor.user_id == event.creator_id
    )


def _require_open(event: Event) -> None:
    status = event.status_at(utc_now())
    if status in (Status.CANCELLED, Status.PAST):
        raise EventClosedError(event.id, status)


def _cancelled(event: Event) -> Event:
    return event.model_copy(
        update={"cancelled_at": utc_now(), "sequence": event.sequence + 1}
    )


def _revised(event: Event) -> Event:
    return event.model_copy(
        update={"updated_at": utc_now(), "revision": new_id()}
    )


def _first_approval(public: bool, actor: Actor) -> Approval:
    return (
        Approval.PENDING if public and not actor.is_admin else Approval.APPROVED
    )


def _with_change(event: Event, change: EventUpdate, actor: Actor) -> Event:
    fields: dict[str, Any] = {
        name: getattr(change, name) for name in change.model_fields_set
    }
    new = event.model_copy(update=fields)
    _check(event, new)
    if not new.public:
        new.approval = Approval.APPROVED
    elif not event.public:
        new.approval = _first_approval(new.public, actor)
    elif event.approval is Approval.DENIED and new != event:
        new.approval = Approval.PENDING
    if new.approval is not Approval.DENIED:
        new.denial_reason = None
    if any(getattr(new, f) != getattr(event, f) for f in _CALENDAR_FIELDS):
        new.sequence = event.sequence + 1
    return new


def _check(event: Event, new: Event) -> None:
    fault = times_fault(new.starts_at, new.ends_at)
    if fault is None and new.ends_at <= utc_now():
        fault = _OVER
    if fault is not None:
        raise InvalidRequestError.at("body", "ends_at", msg=fault)
    if new.capacity < event.seats_taken:
        raise CapacityBelowSeatsError(new.capacity, event.seats_taken)


def _to_document(event: Event) -> db.Document:
    return {**event.dict(), "lookup": event_pages.lookup_fields(event)}
