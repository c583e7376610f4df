"""Feedback: what members think of events that they went to.

Owns: `feedback`. Indexes: see INDEXES. May call: audit, etags, events, paging,
rsvps, users.

The event keeps the sum and the number of its ratings. Whatever changes a rating
is one transaction with the change of these two, and reads inside of it what it
changes: two that race write the same event, so one of them begins again.
"""

from collections.abc import Collection, Sequence
from typing import Final

from config import db, transactions
from models.audit import AuditAction
from models.base import Page, PageQuery, utc_now
from models.events import Event, Status
from models.exceptions import (
    EventClosedError,
    EventNotFoundError,
    EventNotStartedError,
    FeedbackExistsError,
    FeedbackNotFoundError,
    ForbiddenError,
)
from models.feedback import (
    Feedback,
    FeedbackCreate,
    FeedbackImport,
    FeedbackRead,
    FeedbackUpdate,
)
from models.logins import Actor
from models.rsvps import RsvpStatus
from utils import audit, etags, events, paging, rsvps, users

COLLECTION: Final = "feedback"
DOCUMENTS: Final = (Feedback,)
INDEXES: Final = [
    # Nobody rates an event twice.
    db.IndexModel(
        [("author_id", db.ASCENDING), ("event_id", db.ASCENDING)],
        unique=True,
        # Strings only: those who closed their accounts share a None.
        partialFilterExpression={"author_id": {"$gt": ""}},
    ),
    db.IndexModel(
        [
            ("event_id", db.ASCENDING),
            ("created_at", db.ASCENDING),
            ("_id", db.ASCENDING),
        ]
    ),
]


async def get_feedback(
    feedback_id: str, *, actor: Actor | None
) -> FeedbackRead:
    """Feedback of an event that the caller may see.

    Raises:
        FeedbackNotFoundError: there is none, or it is not open to the caller.
    """
    return await _show(await _access(feedback_id, actor=actor))


async def list_of(
    event_id: str, query: PageQuery, *, actor: Actor | None
) -> Page[FeedbackRead]:
    """A page of an event's feedback, the latest first.

    Raises:
        EventNotFoundError: there is none, or it is not open to the caller.
        InvalidRequestError: the cursor is malformed.
    """
    await rsvps.get_event(event_id, actor=actor)
    page = await paging.page_by_time(
        db.collection(COLLECTION),
        query,
        asked=paging.fingerprint(query, event_id),
        key="created_at",
        descending=True,
        select={"event_id": event_id},
        show=Feedback.from_document,
    )
    return Page(items=await _show_all(page.items), next_cursor=page.next_cursor)


async def list_by(user_id: str) -> list[Feedback]:
    """All feedback of a member."""
    found = db.collection(COLLECTION).find({"author_id": user_id})
    return [Feedback.from_document(document) async for document in found]


async def ratings_of(event_id: str) -> dict[str, int]:
    """How the members who rated an event did so, by their ids."""
    found = db.collection(COLLECTION).find(
        {"event_id": event_id}, {"author_id": 1, "rating": 1}
    )
    return {
        document["author_id"]: document["rating"]
        async for document in found
        if document["author_id"] is not None
    }


async def create_feedback(
    event_id: str, new: FeedbackCreate, *, actor: Actor
) -> FeedbackRead:
    """Says what the caller thinks of an event; once.

    Raises:
        EventNotFoundError: there is none, or it is not open to the caller.
        EventNotStartedError: it is upcoming.
        EventClosedError: it is cancelled.
        ForbiddenError: the caller does not go there.
        FeedbackExistsError: the caller has said it before.
    """

    async def work() -> Feedback:
        _require_started(await rsvps.get_event(event_id, actor=actor))
        await _require_guest(event_id, actor)
        feedback = Feedback(
            event_id=event_id, author_id=actor.user_id, **new.model_dump()
        )
        await db.collection(COLLECTION).insert_one(feedback.dict())
        await events.count_rating(event_id, stars=new.rating, ratings=1)
        return feedback

    try:
        return await _show(await transactions.run(work, turn=event_id))
    except db.DuplicateKeyError:
        raise FeedbackExistsError(event_id) from None


async def import_feedback(event_id: str, new: Sequence[FeedbackImport]) -> int:
    """Takes an event's feedback over from elsewhere, on the operator's word.

    Whoever has no seat is left out. Nothing happens to an event that has
    feedback, so an import that broke off is repeated.

    Args:
        event_id: the event.
        new: some hundreds at most, one of each author; they are sent in one
            command.

    Returns:
        How many were taken over.

    Raises:
        EventNotFoundError: there is none.
        EventNotStartedError: it is upcoming.
        EventClosedError: it is cancelled.
    """

    async def work() -> int:
        event = await events.load_event(event_id)
        _require_started(event)
        if event.rating_count > 0:
            return 0
        going = set(await rsvps.guest_ids(event_id, waiting=False))
        taken = [
            _imported(event_id, feedback)
            for feedback in new
            if feedback.author_id in going
        ]
        if taken:
            stars = sum(feedback.rating for feedback in taken)
            # First: of two imports, one begins again and finds the other's.
            await events.count_rating(event_id, stars=stars, ratings=len(taken))
            await db.collection(COLLECTION).insert_many(
                feedback.dict() for feedback in taken
            )
        return len(taken)

    return await transactions.run(work, turn=event_id)


async def update_feedback(
    feedback_id: str,
    change: FeedbackUpdate,
    *,
    actor: Actor,
    if_match: Collection[str],
) -> FeedbackRead:
    """Changes the caller's own feedback.

    Raises:
        FeedbackNotFoundError: there is none, or it is not open to the caller.
        ForbiddenError: it is another member's.
        StaleError: it is in another state than `if_match` says.
    """
    feedback = await _access(feedback_id, actor=actor)
    if feedback.author_id != actor.user_id:
        raise ForbiddenError("Only its author may change feedback.")
    author = (await users.find_names([actor.user_id])).get(actor.user_id)

    async def work() -> Feedback:
        before = await _load(feedback_id)
        etags.require(FeedbackRead.of(before, author=author), if_match)
        fields = change.model_dump(exclude_unset=True)
        after = before.model_copy(update={**fields, "updated_at": utc_now()})
        await db.collection(COLLECTION).replace_one(
            {"_id": feedback_id}, after.dict()
        )
        stars = after.rating - before.rating
        if stars:
            await events.count_rating(after.event_id, stars=stars, ratings=0)
        return after

    after = await transactions.run(work, turn=feedback.event_id)
    return FeedbackRead.of(after, author=author)


async def delete_feedback(feedback_id: str, *, actor: Actor) -> None:
    """Removes feedback; it counts no more.

    Raises:
        FeedbackNotFoundError: there is none, or it is not open to the caller.
        ForbiddenError: it is another member's, and the caller is no admin.
    """
    feedback = await _access(feedback_id, actor=actor)
    if not (actor.is_admin or feedback.author_id == actor.user_id):
        raise ForbiddenError("Only its author or an admin may delete feedback.")

    async def work() -> None:
        now = await _load(feedback_id)
        await db.collection(COLLECTION).delete_one({"_id": feedback_id})
        await _record_if_strange(now, actor)
        await events.count_rating(now.event_id, stars=-now.rating, ratings=-1)

    await transactions.run(work, turn=feedback.event_id)


async def blank_author(user_id: str) -> None:
    """Forgets whose feedback it was; the ratings stay.

    Part of the transaction in which the member goes.
    """
    await db.collection(COLLECTION).update_many(
        {"author_id": user_id}, {"$set": {"author_id": None}}
    )


async def delete_of(event_id: str) -> None:
    """Forgets all feedback of an event.

    Part of the transaction in which the event goes.
    """
    await db.collection(COLLECTION).delete_many({"event_id": event_id})


def _imported(event_id: str, new: FeedbackImport) -> Feedback:
    return Feedback(
        event_id=event_id, updated_at=new.created_at, **new.model_dump()
    )


async def _load(feedback_id: str) -> Feedback:
    document = await db.find_by_id(COLLECTION, feedback_id)
    if document is None:
        raise FeedbackNotFoundError(feedback_id)
    return Feedback.from_document(document)


async def _access(feedback_id: str, *, actor: Actor | None) -> Feedback:
    """The feedback with this id, for its author and who may see its event."""
    feedback = await _load(feedback_id)
    if actor is None or feedback.author_id != actor.user_id:
        try:
            await rsvps.get_event(feedback.event_id, actor=actor)
        except EventNotFoundError:
            raise FeedbackNotFoundError(feedback_id) from None
    return feedback


async def _show(feedback: Feedback) -> FeedbackRead:
    return (await _show_all([feedback]))[0]


async def _show_all(found: Sequence[Feedback]) -> list[FeedbackRead]:
    names = await users.find_names(
        {feedback.author_id for feedback in found if feedback.author_id}
    )
    return [
        FeedbackRead.of(feedback, author=names.get(feedback.author_id or ""))
        for feedback in found
    ]


def _require_started(event: Event) -> None:
    status = event.status_at(utc_now())
    if status is Status.CANCELLED:
        raise EventClosedError(event.id, status)
    if status is Status.UPCOMING:
        raise EventNotStartedError(event.id, event.starts_at)


async def _require_guest(event_id: str, actor: Actor) -> None:
    rsvp = await rsvps.find_rsvp(event_id, user_id=actor.user_id)
    if rsvp is None or rsvp.status is not RsvpStatus.GOING:
        raise ForbiddenError("Only those who went to an event may rate it.")


async def _record_if_strange(feedback: Feedback, actor: Actor) -> None:
    """Writes down what an admin does to somebody else's feedback."""
    author_id = feedback.author_id
    if author_id == actor.user_id:
        return
    await audit.record(
        AuditAction.FEEDBACK_DELETED,
        actor_id=actor.user_id,
        target_id=feedback.id,
        event_id=feedback.event_id,
        **({} if author_id is None else {"author_id": author_id}),
    )
