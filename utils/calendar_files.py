"""Calendar files: events as iCalendar text, and back (RFC 5545, RFC 7986).

Owns no collection. May call: nobody. Texts are written in a thread, and read
by a program of its own, see `utils/calendar_reader.py`.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import icalendar
from pydantic import TypeAdapter, ValidationError

from config.main import NAME, VERSION
from models.base import drop_invisible
from models.calendars import CalendarEntry, CalendarFile, ImportProblem
from models.events import Approval, Event, EventCreate, Location, Tag
from models.exceptions import InvalidRequestError
from models.links import Link

# A file says neither how many may come, nor who may see it.
IMPORTED_CAPACITY: Final = 100

_REFRESHED_EVERY: Final = timedelta(hours=1)
_SECOND: Final = timedelta(seconds=1)
# A few events take no longer than the way to a thread.
_FEW: Final = 10
# Of more events, programs get the beginning of each description.
_MANY: Final = 100
_BEGINNING: Final = 1000

_READER: Final = "utils.calendar_reader"
_ROOT: Final = Path(__file__).parents[1]
# It ends by itself after 8 s of processor time: this is for a busy machine.
_PATIENCE_SECONDS: Final = 60
# Of each worker; a reader may take 256 MiB.
_READERS: Final = asyncio.Semaphore(1)
# A thread that writes holds the others up now and then, two of them half
# of the time.
_WRITERS: Final = asyncio.Semaphore(1)
_MOST_PROBLEMS: Final = 100

_UNTITLED: Final = "Untitled"
_TITLE_LENGTH: Final = 120
_DESCRIPTION_LENGTH: Final = 10_000
_LINK: Final[TypeAdapter[str]] = TypeAdapter(Link)


class _Text(icalendar.vText):
    r"""TEXT that keeps a `\N`, which the library takes for a line break."""

    def to_ical(self) -> bytes:
        parts = self.split(r"\N")
        return rb"\\N".join(icalendar.vText(part).to_ical() for part in parts)


class _Geo(icalendar.vGeo):
    """GEO without an exponent, which the library writes for small numbers."""

    def to_ical(self) -> str:
        return f"{self.latitude:.6f};{self.longitude:.6f}"


async def write(
    events: Sequence[Event], *, name: str, tentative: Collection[str] = ()
) -> bytes:
    """The iCalendar text of `events`, the same for the same events.

    Descriptions are cut to 1000 characters where there are over 100 events.

    Args:
        events: the events.
        name: what the calendar is called; empty for none.
        tentative: ids of those that may not take place for its reader.
    """
    if len(events) <= _FEW:
        return _write(events, name, tentative)
    async with _WRITERS:
        return await asyncio.to_thread(_write, events, name, tentative)


async def read(body: bytes, *, now: datetime) -> CalendarFile:
    """What a calendar file holds; what can't be read of it is a problem.

    Recurring events are the dates of the year after `now`. Texts that are too
    long are cut, and lose their invisible characters.

    Raises:
        InvalidRequestError: it is no calendar, or takes too long to read.
    """
    async with _READERS:
        return await asyncio.to_thread(_read, body, now)


def _write(
    events: Sequence[Event], name: str, tentative: Collection[str]
) -> bytes:
    calendar = icalendar.Calendar()
    calendar.add("prodid", f"-//{NAME}//{NAME} {VERSION}//EN")
    calendar.add("version", "2.0")
    if name:
        calendar.calendar_name = name
        # By the name of RFC 7986, and by the one that programs knew before.
        calendar.add(
            "refresh-interval", _REFRESHED_EVERY, {"value": "DURATION"}
        )
        calendar.add("x-published-ttl", icalendar.vDuration(_REFRESHED_EVERY))
    length = _BEGINNING if len(events) > _MANY else _DESCRIPTION_LENGTH
    for event in events:
        component = _component(event, event.id in tentative, length)
        calendar.add_component(component)
    text: bytes = calendar.to_ical()
    return text


def _component(event: Event, tentative: bool, length: int) -> icalendar.Event:
    component = icalendar.Event()
    component.add("uid", f"{event.id}@{NAME.lower()}")
    # Without a METHOD this is when the event was last revised.
    component.add("dtstamp", event.updated_at)
    component.add("created", event.created_at)
    component.add("last-modified", event.updated_at)
    component.add("sequence", event.sequence)
    component.add("status", _status(event, tentative))
    component.add("summary", _Text(_one_line(event.title)))
    component.add("dtstart", event.starts_at)
    component.add("dtend", _end(event))
    if event.description:
        description = _cut(_lines(event.description), length)
        component.add("description", _Text(description))
    if event.location is not None:
        place = event.location
        component.add("location", _Text(_one_line(place.title)))
        component.add("geo", _Geo((place.latitude, place.longitude)))
    if event.tags:
        component.add("categories", [str(tag) for tag in event.tags])
    if event.online_url is not None:
        call = icalendar.vUri(event.online_url, params={"VALUE": "URI"})
        component.add("conference", call)
    url = next(iter([*event.links, *filter(None, [event.online_url])]), None)
    if url is not None:
        component.add("url", url)
    return component


def _status(event: Event, tentative: bool) -> str:
    if event.cancelled_at is not None:
        return "CANCELLED"
    if tentative or event.approval is not Approval.APPROVED:
        return "TENTATIVE"
    return "CONFIRMED"


def _end(event: Event) -> datetime:
    """The end in whole seconds, which must not be the start's."""
    if event.ends_at - event.starts_at < _SECOND:
        return event.starts_at + _SECOND
    return event.ends_at


def _lines(text: str) -> str:
    """The text with one kind of line break, whatever programs split at."""
    return "\n".join(text.splitlines())


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


def _read(body: bytes, now: datetime) -> CalendarFile:
    found = _run_reader(body, now)
    if found["calendars"] == 0:
        raise _fault("this is no iCalendar file: BEGIN:VCALENDAR is missing")
    problems = [ImportProblem(**problem) for problem in found["problems"]]
    entries: list[CalendarEntry] = []
    for raw in found["entries"]:
        try:
            entries.append(_entry(raw))
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            problems.append(ImportProblem(uid=raw["uid"], reason=reason))
    # What concerns the whole file first.
    problems.sort(key=lambda problem: problem.uid is not None)
    more = len(problems) - _MOST_PROBLEMS
    if more > 0:
        del problems[_MOST_PROBLEMS:]
        problems.append(ImportProblem(uid=None, reason=f"{more} more problems"))
    return CalendarFile(entries=entries, problems=problems)


def _run_reader(body: bytes, now: datetime) -> dict[str, Any]:
    """What the reader says; it is told nothing that it could betray."""
    path = os.pathsep.join([str(_ROOT), *filter(None, sys.path)])
    command = [sys.executable, "-P", "-m", _READER, now.isoformat()]
    try:
        done = subprocess.run(
            command,
            input=body,
            capture_output=True,
            check=False,
            timeout=_PATIENCE_SECONDS,
            env={**_kept_environment(), "PYTHONPATH": path},
        )
    except subprocess.TimeoutExpired:
        raise _too_long() from None
    if done.returncode < 0:
        # The system ended it at its limits.
        raise _too_long()
    if done.returncode > 0:
        raise RuntimeError(done.stderr[-2000:].decode(errors="replace"))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _kept_environment() -> dict[str, str]:
    """What the interpreter may need to start, and no secrets."""
    names = ("LD_LIBRARY_PATH", "PYTHONHOME")
    return {name: os.environ[name] for name in names if name in os.environ}


def _too_long() -> InvalidRequestError:
    return _fault("this file takes too long to read")


def _fault(message: str) -> InvalidRequestError:
    return InvalidRequestError.at("body", msg=message)


def _entry(raw: dict[str, Any]) -> CalendarEntry:
    place = _short(raw["place"])
    lines = drop_invisible(_lines(raw["description"]), but="\n\t")
    description = lines.strip()
    url, place_url = _link(raw["url"]), _link(raw["place"])
    call = next(filter(None, map(_link, raw["calls"])), place_url)
    location = None
    if raw["point"] is not None:
        latitude, longitude = raw["point"]
        location = Location(
            title=place or f"{latitude:.4f}, {longitude:.4f}",
            latitude=latitude,
            longitude=longitude,
        )
    elif place and place_url is None:
        # A location here is a point on the map, which this file does not say.
        description = f"{place}\n\n{description}".rstrip()
    title = _short(raw["title"])
    return CalendarEntry(
        uid=raw["uid"],
        recurrence=raw["recurrence"],
        cancelled=raw["cancelled"],
        event=EventCreate(
            title=title or _UNTITLED,
            description=_cut(description, _DESCRIPTION_LENGTH),
            starts_at=raw["starts_at"],
            ends_at=raw["ends_at"],
            tags=_tags(raw["categories"]),
            location=location,
            online_url=call,
            links=[url] if url and url != call else [],
            capacity=IMPORTED_CAPACITY,
            public=False,
        ),
    )


def _short(text: str) -> str:
    return _cut(drop_invisible(_one_line(text)).strip(), _TITLE_LENGTH)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _link(text: str) -> str | None:
    with suppress(ValidationError):
        return _LINK.validate_python(text.strip())
    return None


def _tags(categories: Sequence[str]) -> list[Tag]:
    names = {category.strip().lower() for category in categories}
    return [tag for tag in Tag if tag in names]
