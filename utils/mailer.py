"""Mailer: send what is due, remind the guests of what is about to start.

Owns no collection. May call: events, mail_texts, mails, one_time_tokens,
rsvps, users. Any number of workers may do it at once, see `mails`.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

from email_validator import validate_email

from config import db
from config.mail import Delivery, Outcome, Transport
from config.main import settings
from models.base import utc_now
from models.events import Event, Status
from models.exceptions import EventNotFoundError, UserNotFoundError
from models.mails import Mail, MailKind, MailState
from models.one_time_tokens import Purpose
from models.rsvps import RsvpStatus
from models.users import User
from utils import (
    events,
    mail_texts,
    mails,
    one_time_tokens,
    rsvps,
    users,
)

_REMINDED_BEFORE: Final = timedelta(hours=24)
# Documents of one command.
_PAGE: Final = 300
# A mail in flight gets so long at the end of a process.
_LAST_MAIL_SECONDS: Final = 5.0

_PURPOSES: Final = {
    MailKind.EMAIL_VERIFICATION: Purpose.EMAIL_VERIFICATION,
    MailKind.PASSWORD_RESET: Purpose.PASSWORD_RESET,
}
# What these say is of use while the event is still to come, and who reads it
# has one of these places there.
_OF_EVENTS_TO_COME: Final = {
    MailKind.EVENT_CHANGED: (RsvpStatus.GOING, RsvpStatus.WAITLISTED),
    MailKind.EVENT_REMINDER: (RsvpStatus.GOING,),
    MailKind.EVENT_INVITATION: (RsvpStatus.INVITED,),
    MailKind.SEAT_PROMOTION: (RsvpStatus.GOING,),
}
_ENDS: Final = {
    Outcome.SENT: MailState.SENT,
    Outcome.REFUSED: MailState.REFUSED,
    Outcome.UNKNOWN: MailState.UNKNOWN,
}
_LOG: Final = logging.getLogger("muster.mail")


@dataclass(frozen=True, slots=True)
class _Round:
    """What mails are sent with."""

    transport: Transport
    clock: Callable[[], datetime]


async def deliver_due(
    transport: Transport, *, clock: Callable[[], datetime] = utc_now
) -> None:
    """Sends what is due, until nothing is.

    Args:
        transport: where mails go.
        clock: says what is due.
    """
    with_these = _Round(transport, clock)
    while due := await mails.find_due(clock()):
        # Workers that look at the same moment begin with different ones.
        random.shuffle(due)
        for mail in due:
            await _in_one_piece(_handle(mail, with_these))


async def queue_reminders(*, clock: Callable[[], datetime] = utc_now) -> None:
    """Has the guests reminded of what starts within a day, each once.

    A new start is a new key: the guests are reminded of that one as well.
    """
    now = clock()
    waiting: list[Mail] = []
    async for event in events.walk_starting(now, before=now + _REMINDED_BEFORE):
        starts_at = event.starts_at.isoformat()
        waiting.append(
            Mail(
                key=f"{MailKind.EVENT_REMINDER}:{event.id}:{starts_at}",
                kind=MailKind.EVENT_REMINDER,
                guests_of=event.id,
                event_id=event.id,
                facts={"title": event.title, "starts_at": starts_at},
                due_at=now,
            )
        )
    await _queue_in_pages(waiting)


async def _in_one_piece(work: Awaitable[None]) -> None:
    """Does `work`, and finishes it first when the process ends meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        _, late = await asyncio.wait([task], timeout=_LAST_MAIL_SECONDS)
        for unfinished in late:
            unfinished.cancel()
        raise


async def _handle(mail: Mail, using: _Round) -> None:
    now = using.clock()
    if mail.state is MailState.SENDING:
        if await mails.finish(mail, state=MailState.UNKNOWN, now=now):
            _warn_of_unknown(mail, "whoever sent it was killed")
        return
    if mail.attempts > len(mails.BACK_OFF):
        # It kills whoever claims it.
        await mails.finish(mail, state=MailState.GIVEN_UP, now=now)
        _LOG.error("mail %s: nobody came back from sending it", mail.id)
        return
    claimed = await mails.claim(mail, now=now)
    if claimed is None:
        return
    try:
        if claimed.guests_of is None:
            await _send(claimed, using)
        else:
            await _expand(claimed, claimed.guests_of, using)
    except db.UNAVAILABLE_ERRORS:
        # The claim runs out, and the mail is tried again.
        raise
    except Exception:  # pylint: disable=broad-exception-caught
        # One bad mail must not hold up all others.
        _LOG.exception("mail %s can't be made", mail.id)
        await mails.postpone(claimed, now=using.clock())


async def _expand(mail: Mail, event_id: str, using: _Round) -> None:
    """Makes a mail to all guests one mail to each; may be done twice."""
    now = using.clock()
    await _queue_in_pages(
        [
            Mail(
                key=f"{mail.key}:{user_id}",
                kind=mail.kind,
                user_id=user_id,
                event_id=mail.event_id,
                facts=mail.facts,
                bulk=True,
                due_at=now,
            )
            for user_id in await rsvps.guest_ids(event_id)
        ]
    )
    await mails.finish(mail, state=MailState.SENT, now=now)


async def _queue_in_pages(waiting: Sequence[Mail]) -> None:
    for start in range(0, len(waiting), _PAGE):
        await mails.queue_all(waiting[start : start + _PAGE])


async def _send(mail: Mail, using: _Round) -> None:
    message = await _message(mail, now=using.clock())
    if message is None:
        await mails.finish(mail, state=MailState.DROPPED, now=using.clock())
        return
    marked = mail

    async def may_send() -> bool:
        nonlocal marked
        sending = await mails.mark_sending(mail, now=using.clock())
        marked = sending or mail
        return sending is not None

    delivery = await using.transport.send(message, before_data=may_send)
    await _note(marked, delivery, now=using.clock())


async def _note(mail: Mail, delivery: Delivery, *, now: datetime) -> None:
    """Notes what became of a mail that was sent, or was not."""
    match delivery.outcome:
        case Outcome.WITHHELD:
            # Another worker has it.
            return
        case Outcome.LATER:
            later = await mails.postpone(mail, now=now)
            if later is None:
                return
            _LOG.warning(
                "mail %s: %s: %s", mail.id, delivery.reason, _next_step(later)
            )
        case Outcome.REFUSED:
            _LOG.warning("mail %s is refused: %s", mail.id, delivery.reason)
        case Outcome.UNKNOWN:
            _warn_of_unknown(mail, delivery.reason)
    if delivery.outcome in _ENDS:
        await mails.finish(mail, state=_ENDS[delivery.outcome], now=now)


def _next_step(mail: Mail) -> str:
    if mail.due_at is None:
        return "given up"
    return f"tried again at {mail.due_at:%Y-%m-%d %H:%M} UTC"


def _warn_of_unknown(mail: Mail, reason: str) -> None:
    _LOG.warning(
        "mail %s may have arrived or not, and is not sent again: %s",
        mail.id,
        reason,
    )


async def _message(mail: Mail, *, now: datetime) -> EmailMessage | None:
    """What is sent; None when there is nothing to say, or nobody to say it to.

    All is read now, not when the mail was queued: the member's address, what
    the event looks like.
    """
    user = await _find_recipient(mail)
    if user is None or user.disabled:
        return None
    if mail.kind is MailKind.EMAIL_VERIFICATION and user.email_verified:
        return None
    event = await _find_event(mail)
    if mail.kind is MailKind.COMPUTE_SHORT and event is None:
        return None
    if mail.kind in _OF_EVENTS_TO_COME:
        if not _is_to_come(event, mail, now) or not await _has_place(mail):
            return None
    text = mail_texts.write(
        mail.kind,
        mail_texts.MailFacts(
            first_name=user.first_name,
            event=event,
            more=mail.facts,
            token=await _token(mail, user, now),
            frontend_url=settings.frontend_url,
        ),
    )
    return _compose(mail, text, to=user.email, now=now)


async def _find_recipient(mail: Mail) -> User | None:
    if mail.user_id is not None:
        try:
            return await users.get_user(mail.user_id)
        except UserNotFoundError:
            return None
    # Sent to the address that is registered, not to one that looks like it.
    return await users.find_user_by_email(mail.email or "")


async def _find_event(mail: Mail) -> Event | None:
    if mail.event_id is None:
        return None
    try:
        return await events.load_event(mail.event_id)
    except EventNotFoundError:
        return None


def _is_to_come(event: Event | None, mail: Mail, now: datetime) -> bool:
    if event is None or event.status_at(now) is not Status.UPCOMING:
        return False
    told = mail.facts.get("starts_at")
    return told is None or told == event.starts_at.isoformat()


async def _has_place(mail: Mail) -> bool:
    if mail.event_id is None or mail.user_id is None:
        return False
    rsvp = await rsvps.find_rsvp(mail.event_id, user_id=mail.user_id)
    return rsvp is not None and rsvp.status in _OF_EVENTS_TO_COME[mail.kind]


async def _token(mail: Mail, user: User, now: datetime) -> str:
    purpose = _PURPOSES.get(mail.kind)
    if purpose is None:
        return ""
    return await one_time_tokens.issue(
        mail.id, purpose=purpose, user_id=user.id, email=user.email, now=now
    )


def _compose(
    mail: Mail, text: mail_texts.MailText, *, to: str, now: datetime
) -> EmailMessage:
    sender = settings.mail_sender
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = _mailbox(to)
    message["Subject"] = text.subject
    message["Date"] = format_datetime(now)
    # The same whenever the mail is made: whoever gets it twice can tell.
    message["Message-ID"] = f"<{mail.id}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"
    # No encoding that hides the text from those who read the file; a server
    # gets it in seven bits.
    cte = "7bit" if text.body.isascii() else "8bit"
    message.set_content(text.body, cte=cte)
    return message


def _mailbox(email: str) -> Address:
    """The address with its domain in ASCII, as mail servers know it."""
    parsed = validate_email(email, check_deliverability=False)
    # Not an addr_spec: that is refused where the name is not in ASCII.
    return Address(username=parsed.local_part, domain=parsed.ascii_domain)
