"""Mail texts: what each kind of mail says.

Owns no collection. May call: nobody. Whatever members wrote, titles and names,
stands in one line of its own words: it can't add headers or paragraphs.
"""

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from models.events import Event
from models.mails import MailKind
from models.one_time_tokens import LIFETIMES, Purpose

_WIDTH: Final = 72

# Names of weekdays and months that no locale changes.
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August",
    "September", "October", "November", "December",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MailText:
    """What a mail says: one line, and paragraphs."""

    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class MailFacts:
    """What a mail is made of.

    Attributes:
        first_name: whom it greets.
        event: the event that it is about; None when there is none any more.
        more: what was noted when it was queued.
        token: what it proves, where it proves something.
        frontend_url: where links lead; None for calls instead of links.
    """

    first_name: str
    event: Event | None = None
    more: Mapping[str, str] | None = None
    token: str = ""
    frontend_url: str | None = None

    @property
    def title(self) -> str:
        """The event's title, in quotes, as it is or as it was."""
        title = (self.more or {}).get("title", "")
        if self.event is not None:
            title = self.event.title
        return f"“{_in_one_line(title)}”" if title else "an event"


def write(kind: MailKind, facts: MailFacts) -> MailText:
    """The text of a mail."""
    subject, *paragraphs = _WRITERS[kind](facts)
    greeting = f"Hello {_in_one_line(facts.first_name)},"
    body = "\n\n".join(filter(None, (greeting, *paragraphs)))
    return MailText(_in_one_line(subject), f"{body}\n")


def _email_verification(facts: MailFacts) -> list[str]:
    life = _hours(LIFETIMES[Purpose.EMAIL_VERIFICATION])
    return [
        "Confirm your e-mail address",
        "please confirm that this is your e-mail address:",
        _proof(facts, page="verify-email", call='{"token": "%s"}'),
        f"This works once, within {life}. If you have no account with us, "
        "forget this mail: somebody mistyped their address.",
    ]


def _password_reset(facts: MailFacts) -> list[str]:
    life = _hours(LIFETIMES[Purpose.PASSWORD_RESET])
    return [
        "Choose a new password",
        "somebody, probably you, asked for a new password. Choose it here:",
        _proof(
            facts,
            page="reset-password",
            call='{"token": "%s", "new_password": "…"}',
        ),
        f"This works once, within {life}. If it was not you, do nothing: your "
        "password stays as it is.",
    ]


def _welcome(_facts: MailFacts) -> list[str]:
    return [
        "Welcome",
        "your e-mail address is confirmed, and you are one of us: welcome! "
        "Have a look at what is on, and publish an event of your own.",
    ]


def _approved(facts: MailFacts) -> list[str]:
    return [
        f"{facts.title} is published",
        f"your event {facts.title} is approved: everybody can find it now.",
        _event(facts),
    ]


def _denied(facts: MailFacts) -> list[str]:
    reason = (facts.more or {}).get("reason", "")
    return [
        f"{facts.title} is not published",
        f"your event {facts.title} was not approved"
        + (", for this reason:" if reason else "."),
        _quoted(reason),
        "Change it, and it is looked at again.",
    ]


def _changed(facts: MailFacts) -> list[str]:
    return [
        f"{facts.title} has changed",
        f"time or place of {facts.title} has changed. It is now:",
        _event(facts),
        "If you can't come any more, please give your seat to somebody else.",
    ]


def _cancelled(facts: MailFacts) -> list[str]:
    return [
        f"{facts.title} is cancelled",
        f"{facts.title} is cancelled, and will not take place:",
        _event(facts),
    ]


def _reminder(facts: MailFacts) -> list[str]:
    starts = "" if facts.event is None else _time(facts.event.starts_at)
    return [
        f"{facts.title} starts on {starts}",
        f"{facts.title} is about to start:",
        _event(facts),
        "If you can't come, please give your seat to somebody who waits.",
    ]


def _handed_over(facts: MailFacts) -> list[str]:
    others = int((facts.more or {}).get("count", "1")) - 1
    what = f"{facts.title} and {others} more" if others else facts.title
    return [
        f"{what}: yours now",
        f"whoever organised {what} has left, and handed over to you. "
        "GET /v1/events?mine=true lists what is in your hands now.",
        _event(facts),
    ]


def _invitation(facts: MailFacts) -> list[str]:
    return [
        f"You are invited to {facts.title}",
        f"you are invited to {facts.title}:",
        _event(facts),
        "Seats go to those who say first that they come.",
    ]


def _promotion(facts: MailFacts) -> list[str]:
    return [
        f"You have a seat at {facts.title}",
        f"a seat at {facts.title} became free, and as the first in line you "
        "have it:",
        _event(facts),
        "If you can't come any more, please give it to the next in line.",
    ]


def _session_expires(facts: MailFacts) -> list[str]:
    more = facts.more or {}
    return [
        f"Your session ends at {more.get('expires_at', 'its time')}",
        f"your session {more.get('template', '')} ends at "
        f"{more.get('expires_at', 'its time')}, and what it keeps in memory is "
        "lost. Save your work, or ask for more time:",
        f"    POST /v1/sessions/{more.get('session_id', '')}/extend",
    ]


def _session_offered(facts: MailFacts) -> list[str]:
    more = facts.more or {}
    return [
        "A GPU is free for you",
        f"what you wait for in line is free: {more.get('gpu_count', '')} GPUs "
        f"are kept for you until {more.get('expires_at', 'soon')}. Take them:",
        "    POST /v1/sessions",
        "Later, they go to the next in line.",
    ]


def _compute_short(facts: MailFacts) -> list[str]:
    more = facts.more or {}
    return [
        f"Too few GPUs for {facts.title}",
        f"GPUs are missing that the seats of {facts.title} were to have: there "
        f"are enough for {more.get('feasible', 'fewer')} seats now.",
        _event(facts),
        "Tell your guests, or give each seat less: PUT "
        "/v1/events/{id}/compute.",
    ]


_WRITERS: Final[Mapping[MailKind, Callable[[MailFacts], list[str]]]] = {
    MailKind.EMAIL_VERIFICATION: _email_verification,
    MailKind.PASSWORD_RESET: _password_reset,
    MailKind.WELCOME: _welcome,
    MailKind.EVENT_APPROVED: _approved,
    MailKind.EVENT_DENIED: _denied,
    MailKind.EVENT_CHANGED: _changed,
    MailKind.EVENT_CANCELLED: _cancelled,
    MailKind.EVENT_REMINDER: _reminder,
    MailKind.EVENT_HANDED_OVER: _handed_over,
    MailKind.EVENT_INVITATION: _invitation,
    MailKind.SEAT_PROMOTION: _promotion,
    MailKind.SESSION_EXPIRES: _session_expires,
    MailKind.SESSION_OFFERED: _session_offered,
    MailKind.COMPUTE_SHORT: _compute_short,
}


def _proof(facts: MailFacts, *, page: str, call: str) -> str:
    """The link to a page that takes the token, or the call that does."""
    if facts.frontend_url is not None:
        # After the #, which no browser sends to a server, or to a next page.
        return f"    {facts.frontend_url}/{page}#token={facts.token}"
    path = page if page == "verify-email" else "password-reset"
    return f"    POST /v1/auth/{path}\n    {call % facts.token}"


def _event(facts: MailFacts) -> str:
    """When and where the event takes place, one fact a line."""
    event = facts.event
    if event is None:
        return ""
    lines = [
        event.title,
        f"{_time(event.starts_at)} to {_time(event.ends_at)}",
        "" if event.location is None else event.location.title,
        event.online_url or "",
    ]
    return "\n".join(f"    {_in_one_line(line)}" for line in lines if line)


def _time(time: datetime) -> str:
    return (
        f"{_DAYS[time.weekday()]} {time.day} {_MONTHS[time.month - 1]} "
        f"{time.year}, {time:%H:%M} UTC"
    )


def _hours(life: timedelta) -> str:
    hours = round(life.total_seconds() / 3600)
    return "an hour" if hours == 1 else f"{hours} hours"


def _quoted(text: str) -> str:
    lines = (_in_one_line(line) for line in text.splitlines())
    return "\n".join(f"> {part}" for line in lines for part in _wrapped(line))


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, _WIDTH) or [""]


def _in_one_line(text: str) -> str:
    """`text` without line breaks, or anything else that no reader sees."""
    visible = (char if char.isprintable() else " " for char in text)
    return " ".join("".join(visible).split())
