"""Closings: a member leaves for good.

Owns: `closings`. Indexes: see INDEXES. May call: accounts, api_keys, audit,
events, feedback, image_uses, logins, mails, one_time_tokens, organising, rsvps,
session_line, sessions, tasks, users.

A closing is written down, with the end of all logins and keys, before anything
is removed; each step after that may be repeated. It stays written down for a
while after the last step: then `resume_closings` takes all steps once more. So
a crash halfway leaves nothing behind, nor does a request that was on its way
when the logins ended.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from config import db, transactions
from models.audit import AuditAction
from models.base import utc_now
from models.closings import AccountClosure, Closing
from models.events import Event
from models.exceptions import EventClosedError, UserNotFoundError
from models.logins import Actor
from models.mails import Mail, MailKind
from models.users import Role
from utils import (
    accounts,
    api_keys,
    audit,
    events,
    feedback,
    image_uses,
    logins,
    mails,
    one_time_tokens,
    organising,
    rsvps,
    session_line,
    sessions,
    tasks,
    users,
)

COLLECTION: Final = "closings"
DOCUMENTS: Final = (Closing,)
INDEXES: Final = [db.IndexModel("began_at")]

# Longer than any request that a login began before it ended.
_AFTERMATH: Final = timedelta(minutes=2)
_LOG: Final = logging.getLogger("muster.closings")


async def close_account(wish: AccountClosure, *, actor: Actor) -> None:
    """Closes the caller's account, with all that belongs to it.

    Raises:
        ForbiddenError: current_password is wrong.
        TooManyAttemptsError: it was wrong too often.
        UserNotFoundError: nobody is there to take the events over.
    """
    await accounts.confirm_password(wish.current_password, actor=actor)
    if wish.heir_id is not None:
        await _require_heir(wish.heir_id, actor.user_id)
    closing = Closing(id=actor.user_id, heir_id=wish.heir_id)

    async def work() -> None:
        await db.collection(COLLECTION).insert_one(closing.dict())
        await users.disable(actor.user_id)
        await logins.delete_logins_of(actor.user_id)
        await api_keys.delete_keys_of(actor.user_id)
        await audit.record(
            AuditAction.ACCOUNT_CLOSED,
            actor_id=actor.user_id,
            target_id=actor.user_id,
        )

    try:
        await transactions.run(work, turn=actor.user_id)
    except db.DuplicateKeyError:
        # Another request of the same member closes it.
        return
    await _finish(closing)


async def resume_closings() -> int:
    """Finishes the closings that began a while ago.

    Safe in several workers at once. What fails stays for the next time, and
    holds up nothing else.

    Returns:
        How many are finished.
    """
    long_ago = utc_now() - _AFTERMATH
    found = db.collection(COLLECTION).find({"began_at": {"$lt": long_ago}})
    closings = [Closing.from_document(document) async for document in found]
    finished = 0
    for closing in closings:
        try:
            await _finish(closing)
            await db.collection(COLLECTION).delete_one({"_id": closing.id})
            finished += 1
        except Exception:  # pylint: disable=broad-exception-caught
            _LOG.exception("the account %s can't be closed yet", closing.id)
    return finished


async def _finish(closing: Closing) -> None:
    """Takes all steps; the member goes last, and frees the e-mail."""
    member_id = closing.id
    await logins.delete_logins_of(member_id)
    await api_keys.delete_keys_of(member_id)
    await _leave_own_events(closing)
    for rsvp in await rsvps.list_of(member_id):
        await rsvps.remove(rsvp)
    for step in _STEPS:
        await step(member_id)


async def _delete_mails(member_id: str) -> None:
    """Forgets the mails; by the e-mail too, as long as it is known."""
    try:
        email = users.email_key((await users.get_user(member_id)).email)
    except UserNotFoundError:
        # An earlier try went on to the end. By now it may be another's.
        email = None
    await mails.delete_mails_of(member_id, email=email)


# Each forgets a member in one collection.
_STEPS: Final[tuple[Callable[[str], Awaitable[object]], ...]] = (
    feedback.blank_author,
    image_uses.delete_images_of,
    _delete_mails,
    one_time_tokens.delete_tokens_of,
    session_line.leave_all,
    sessions.end_of_owner,
    tasks.delete_tasks_of,
    users.delete_user,
)


async def _leave_own_events(closing: Closing) -> None:
    heir_id = closing.heir_id
    if heir_id is not None and not await _is_active(heir_id):
        heir_id = None
    left = await events.list_created_by(closing.id)
    if heir_id is not None and left:
        kind = MailKind.EVENT_HANDED_OVER
        await mails.queue(
            Mail(
                key=f"{kind}:{closing.id}",
                kind=kind,
                user_id=heir_id,
                event_id=left[0].id,
                facts={"title": left[0].title, "count": str(len(left))},
            )
        )
    for event in left:
        if heir_id is None:
            await _cancel(event)
        else:
            await events.hand_over(
                event.id, leaver_id=closing.id, heir_id=heir_id
            )


async def _cancel(event: Event) -> None:
    try:
        await organising.cancel_event(
            event.id, actor=Actor(event.creator_id, "", Role.MEMBER)
        )
    except EventClosedError:
        # It is over, or an earlier try cancelled it.
        return


async def _require_heir(heir_id: str, user_id: str) -> None:
    if heir_id == user_id or not await _is_active(heir_id):
        raise UserNotFoundError(heir_id)


async def _is_active(user_id: str) -> bool:
    try:
        user = await users.get_user(user_id)
    except UserNotFoundError:
        return False
    return not user.disabled
