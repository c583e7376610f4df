"""Calendar reader: a program that says what is in an iCalendar file.

Owns no collection. May call: nobody. `python -m utils.calendar_reader NOW`
takes the file from stdin, and writes JSON to stdout. It is a process of its
own, because a rule can be made to count for years, which only a process can be
kept from; because the library keeps the time zones that a file defines for
all later files; and because a megabyte takes seconds, in which a thread would
hold everybody else up.
"""

import json
import os
import re
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import partial
from types import FrameType
from typing import Any, Final, NamedTuple, TypeVar

import icalendar
import recurring_ical_events
from icalendar.timezone import tzp

# How far ahead a recurring event is expanded, and how often.
WINDOW: Final = timedelta(days=366)
MOST_DATES_OF_ONE: Final = 100
MOST_DATES: Final = 1000

# Processor time. A thousand events need a second, a daily rule of fifty years
# a quarter; what needs more is made to.
_SECONDS_OF_ONE: Final = 1.0
_SECONDS: Final = 5.0
_LAST_SECONDS: Final = 8
_MEMORY_BYTES: Final = 256 * 1024**2

# Nothing that is kept is longer.
_LONGEST: Final = 12_000
_LONGEST_UID: Final = 300

_WITHOUT_END: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_NEW_LINE: Final = re.compile(r"[\r\n]")
# Only from the first line break of several, lest a megabyte of them take hours.
_FOLD: Final = re.compile(rb"(?<![\r\n])[\r\n]+[ \t]")
_BLOCK: Final = re.compile(r"\s*(BEGIN|END):(V[A-Z]+)\s*", re.IGNORECASE)
_WR_ZONE: Final = re.compile(r"X-WR-TIMEZONE(?:;[^:]*)?:(.*)", re.IGNORECASE)

# Without these an event is not what its maker meant.
_ESSENTIAL: Final = frozenset(
    {"DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE", "UID",
     "RECURRENCE-ID", "STATUS"}
)  # fmt: skip
_TIMES: Final = ("DTSTART", "DTEND", "RECURRENCE-ID", "RDATE", "EXDATE")
_RECURRING: Final = ("RRULE", "RDATE")

Done = TypeVar("Done")
Moment = date | datetime


class _TakesTooLongError(BaseException):
    """A limit of time is reached; not an Exception, which libraries catch."""


class _FaultError(Exception):
    """Why an event can't be taken over."""


class _Placed(NamedTuple):
    """An event, and the zone of its whole days."""

    event: icalendar.Event
    zone: tzinfo
    uid: str


@dataclass
class _Calendar:
    """The lines of one VCALENDAR, as yet unread."""

    zone_name: str = ""
    zones: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)


@dataclass
class _Found:
    """What was found, as JSON shows it."""

    calendars: int = 0
    over: int = 0
    entries: list[dict[str, Any]] = field(default_factory=list)
    problems: list[dict[str, str | None]] = field(default_factory=list)

    def problem(self, uid: str | None, reason: str) -> None:
        """Notes what was not taken over."""
        self.problems.append({"uid": uid, "reason": reason})


def read(body: bytes, *, now: datetime) -> _Found:
    """What a calendar file holds; recurring events, from today on."""
    found = _Found()
    series: dict[str, list[_Placed]] = {}
    calendars = list(_split(body, found))
    found.calendars = len(calendars)
    for calendar in calendars:
        for block in calendar.zones:
            # One that can't be read is unknown to those who name it.
            with suppress(Exception, _TakesTooLongError):
                _within_limits(partial(icalendar.Timezone.from_ical, block))
        zone = _zone_named(calendar.zone_name, found)
        for block in calendar.events:
            uid = _uid_in(block)
            placed = _try(partial(_parse, block, zone), found, uid)
            if placed is not None:
                series.setdefault(placed.uid, []).append(placed)
    # What costs least goes first, in case that the time is up.
    for uid, events in sorted(series.items(), key=_is_recurring):
        dates = _try(partial(_dates, events, now, found), found, uid)
        found.entries += dates or []
    if found.over:
        found.problem(
            None, f"recurring events without a date in a year: {found.over}"
        )
    _keep_most_wanted(found, now)
    return found


def main() -> None:
    """Reads stdin, within limits that the system keeps."""
    warnings.simplefilter("ignore")
    for name, most in (
        (resource.RLIMIT_CPU, _LAST_SECONDS),
        (resource.RLIMIT_AS, _MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        # Not every system knows each of them.
        with suppress(ValueError, OSError):
            resource.setrlimit(name, (most, most))
    # Requests of others go first.
    os.nice(5)
    signal.signal(signal.SIGVTALRM, _give_up)
    body = sys.stdin.buffer.read()
    found = read(body, now=datetime.fromisoformat(sys.argv[1]))
    json.dump(vars(found), sys.stdout)


def _give_up(_signal: int, _frame: FrameType | None) -> None:
    raise _TakesTooLongError("it takes too long to read: it repeats too often")


def _within_limits(work: Callable[[], Done]) -> Done:
    if time.process_time() > _SECONDS:
        raise _TakesTooLongError("the file takes too long: it is left out")
    signal.setitimer(signal.ITIMER_VIRTUAL, _SECONDS_OF_ONE)
    try:
        return work()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _try(
    work: Callable[[], Done], found: _Found, uid: str | None
) -> Done | None:
    """What `work` returns; None where it fails, which is a problem noted."""
    try:
        return _within_limits(work)
    except (_TakesTooLongError, _FaultError) as fault:
        found.problem(uid, str(fault))
    except OverflowError:
        found.problem(uid, "it lies outside the years 1 to 9999")
    # The libraries raise all kinds at what is broken in all kinds of ways.
    except Exception as error:  # pylint: disable=broad-exception-caught
        found.problem(uid, f"it can't be read ({type(error).__name__})")
    return None


def _split(body: bytes, found: _Found) -> Iterator[_Calendar]:
    """The calendars of a file; what has no end is a problem."""
    calendar: _Calendar | None = None
    kind, lines = "", [""]

    def close(ended: bool) -> None:
        nonlocal kind
        block = "\r\n".join(lines)
        if calendar is not None and ended and kind == "VEVENT":
            calendar.events.append(block)
        elif calendar is not None and ended and kind == "VTIMEZONE":
            calendar.zones.append(block)
        elif kind == "VEVENT" and not ended:
            found.problem(
                _uid_in(block), "it has no end: END:VEVENT is missing"
            )
        kind = ""

    for line in _lines(body):
        edge = _BLOCK.fullmatch(line)
        what = (edge[1].upper(), edge[2].upper()) if edge else ("", "")
        if what[1] == "VCALENDAR":
            close(ended=False)
            if calendar is not None:
                yield calendar
            calendar = _Calendar() if what[0] == "BEGIN" else None
        elif what == ("BEGIN", "VEVENT") or (what[0] == "BEGIN" and not kind):
            close(ended=False)
            kind, lines = what[1], [line]
        elif kind:
            lines.append(line)
            if what == ("END", kind):
                close(ended=True)
        elif calendar is not None and (named := _WR_ZONE.match(line)):
            calendar.zone_name = named[1].strip()
    close(ended=False)
    if calendar is not None:
        yield calendar


def _lines(body: bytes) -> list[str]:
    # Some fold within a character: so this comes before its octets are one.
    unfolded = _FOLD.sub(b"", body)
    try:
        text = unfolded.decode("utf-8-sig")
    except UnicodeDecodeError:
        # What programs of Windows write that do not write UTF-8.
        text = unfolded.decode("cp1252", errors="replace")
    return list(filter(None, _NEW_LINE.split(text)))


def _uid_in(block: str) -> str | None:
    named = re.search(r"^UID(?:;[^:]*)?:(.+)", block, re.MULTILINE)
    return named[1].strip()[:_LONGEST_UID] if named else None


def _zone_named(name: str, found: _Found) -> tzinfo:
    """The zone of times that name none."""
    if not name:
        return UTC
    # A folder or too long a name is not just unknown, but an OSError.
    with suppress(Exception, _TakesTooLongError):
        zone = _within_limits(partial(tzp.timezone, name))
        if zone is not None:
            return zone
    found.problem(None, f"X-WR-TIMEZONE: no time zone is named {name[:80]}")
    return UTC


def _parse(block: str, zone: tzinfo) -> _Placed:
    """The event in `block`, all its times in zones, or whole days."""
    event = icalendar.Event.from_ical(block)
    if not isinstance(event, icalendar.Event):
        raise _FaultError("it can't be read")
    broken = {str(name).upper() for name, _ in event.errors if name}
    for name in sorted(broken & _ESSENTIAL):
        raise _FaultError(f"{name} can't be read")
    for name in broken:
        event.pop(name, None)
    if "DTSTART" not in event:
        raise _FaultError("DTSTART is missing")
    for name in _TIMES:
        _place(event, name, zone)
    uid = _text(event, "UID", _LONGEST_UID)
    if not uid:
        # Some have none; it must be the same at the next import.
        uid = f"{_text(event, 'SUMMARY', 100)} {_moment(event, 'DTSTART')}"
    return _Placed(event, zone, uid)


def _place(event: icalendar.Event, name: str, zone: tzinfo) -> None:
    """Puts the times of a property into zones."""
    values = event.get(name, [])
    if not isinstance(values, list):
        values = [values]
    if len(values) > 1 and name not in ("RDATE", "EXDATE"):
        raise _FaultError(f"{name} stands there twice")
    for value in values:
        for part in value.dts:
            part.dt = _in_zone(part.dt, value.params.get("TZID"), zone)


def _in_zone(moment: Any, zone_name: str | None, zone: tzinfo) -> Any:
    if isinstance(moment, tuple):
        start, end = moment
        if not isinstance(end, timedelta):
            end = _in_zone(end, zone_name, zone)
        return _in_zone(start, zone_name, zone), end
    if not isinstance(moment, date):
        raise _FaultError(f"{moment} is no date")
    if not isinstance(moment, datetime) or moment.tzinfo is not None:
        return moment
    if zone_name:
        raise _FaultError(
            f"no time zone is named {zone_name[:80]}, and none is described"
        )
    return moment.replace(tzinfo=zone)


def _is_recurring(series: tuple[str, list[_Placed]]) -> bool:
    return any(
        name in placed.event for placed in series[1] for name in _RECURRING
    )


def _dates(
    series: list[_Placed], now: datetime, found: _Found
) -> list[dict[str, Any]]:
    """The dates of all that has one UID."""
    heads = [placed for placed in series if "RECURRENCE-ID" not in placed.event]
    if any(name in placed.event for placed in heads for name in _RECURRING):
        return _recurring_dates(series, now, found)
    if len(heads) > 1:
        found.problem(
            heads[0].uid, f"{len(heads)} events have this UID: one is taken"
        )
        heads = [max(heads, key=lambda one: int(one.event.get("SEQUENCE", 0)))]
    # Dates of a series that is not in the file itself.
    single = [placed for placed in series if "RECURRENCE-ID" in placed.event]
    return [_entry(placed, "") for placed in heads] + [
        _entry(placed, _day_of(_moment(placed.event, "RECURRENCE-ID")))
        for placed in single
    ]


def _recurring_dates(
    series: list[_Placed], now: datetime, found: _Found
) -> list[dict[str, Any]]:
    calendar = icalendar.Calendar()
    for placed in series:
        calendar.add_component(placed.event)
    _, zone, uid = series[0]
    # From midnight on: which date of a day is which must not depend on the
    # time of the import.
    today = now.astimezone(zone).replace(hour=0, minute=0, second=0)
    dates = recurring_ical_events.of(calendar).between(today, today + WINDOW)
    dates.sort(key=lambda event: _utc(_moment(event, "DTSTART"), zone))
    if not dates:
        found.over += 1
    if len(dates) > MOST_DATES_OF_ONE:
        found.problem(
            uid, f"only the first {MOST_DATES_OF_ONE} of its dates are taken"
        )
    entries: dict[str, dict[str, Any]] = {}
    for event in dates[:MOST_DATES_OF_ONE]:
        # By its day a date is the same when the series moves by an hour.
        meant = _meant(event)
        name = _day_of(meant)
        if name in entries:
            name = f"{name} {_utc(meant, zone).isoformat()}"
        entries[name] = _entry(_Placed(event, zone, uid), name)
    return list(entries.values())


def _meant(event: icalendar.Event) -> Moment:
    """When a date of a series was meant to be before it was moved."""
    # With a range, the original stands for all that follow.
    ranged = event["RECURRENCE-ID"].params.get("RANGE")
    return _moment(event, "DTSTART" if ranged else "RECURRENCE-ID")


def _moment(event: icalendar.Event, name: str) -> Moment:
    value: Any = event[name]
    moment: Moment = value.dt
    return moment


def _day_of(moment: Moment) -> str:
    return moment.strftime("%Y%m%d")


def _entry(placed: _Placed, recurrence: str) -> dict[str, Any]:
    """What is taken over of an event."""
    event = placed.event
    starts_at, ends_at = _span(event, placed.zone)
    return {
        "uid": placed.uid,
        "recurrence": recurrence,
        "cancelled": _text(event, "STATUS").strip().upper() == "CANCELLED",
        "title": _text(event, "SUMMARY"),
        "description": _text(event, "DESCRIPTION"),
        "starts_at": starts_at.isoformat(),
        "ends_at": ends_at.isoformat(),
        "categories": _categories(event),
        "place": _text(event, "LOCATION"),
        "point": _point(event),
        "calls": [
            _text(event, name) for name in ("CONFERENCE", "X-GOOGLE-CONFERENCE")
        ],
        "url": _text(event, "URL"),
    }


def _span(event: icalendar.Event, zone: tzinfo) -> tuple[datetime, datetime]:
    start = _moment(event, "DTSTART")
    starts_at = ends_at = _utc(start, zone)
    if "DTEND" in event:
        ends_at = _utc(_moment(event, "DTEND"), zone)
    elif "DURATION" in event:
        duration: Any = event["DURATION"]
        length: timedelta = duration.dt
        # Days are days of the zone, which puts its clocks forward and back.
        is_days = length.seconds == 0
        ends_at = _utc(start + length, zone) if is_days else starts_at + length
    if ends_at != starts_at:
        return starts_at, ends_at
    is_date = not isinstance(start, datetime)
    if is_date or event["DTSTART"].params.get("VALUE") == "DATE":
        return starts_at, _utc(start + _DAY, zone)
    return starts_at, starts_at + _WITHOUT_END


def _utc(moment: Moment, zone: tzinfo) -> datetime:
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return moment.astimezone(UTC)


def _text(event: icalendar.Event, name: str, longest: int = _LONGEST) -> str:
    value = event.get(name, "")
    first = value[0] if isinstance(value, list) else value
    return str(first)[:longest]


def _categories(event: icalendar.Event) -> list[str]:
    value = event.get("CATEGORIES", [])
    groups = value if isinstance(value, list) else [value]
    return [str(category)[:50] for group in groups for category in group.cats][
        :100
    ]


def _point(event: icalendar.Event) -> list[float] | None:
    """Where it is; None where no such place is on the globe."""
    value = event.get("GEO")
    point = value[0] if isinstance(value, list) else value
    if point is None or abs(point.latitude) > 90 or abs(point.longitude) > 180:
        return None
    return [point.latitude, point.longitude]


def _keep_most_wanted(found: _Found, now: datetime) -> None:
    """Leaves out what is too much: the oldest, then the farthest ahead."""

    def urgency(entry: dict[str, Any]) -> tuple[bool, float]:
        ends_at = datetime.fromisoformat(entry["ends_at"])
        return ends_at <= now, abs((ends_at - now).total_seconds())

    too_many = len(found.entries) - MOST_DATES
    if too_many > 0:
        found.entries.sort(key=urgency)
        del found.entries[MOST_DATES:]
        found.problem(
            None,
            f"a file may have {MOST_DATES} dates: {too_many} more are left out",
        )


if __name__ == "__main__":
    main()
