"""Calendar files: what is written is what is read, whatever stands there."""

import asyncio
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import icalendar
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.base import new_id
from models.calendars import CalendarEntry, CalendarFile
from models.events import Approval, Event, EventCreate, Location, Tag
from models.exceptions import InvalidRequestError
from tests.factories import HOUR, calendar, calendar_entry
from utils import calendar_files

NOW = datetime(2030, 4, 20, 9, 30, tzinfo=UTC)
START = datetime(2030, 5, 1, 16, 30, tzinfo=UTC)
DAY = timedelta(days=1)
PLAIN = {"DTSTART": "20300501T163000Z", "DTEND": None}

# A zone that no list of zones knows, two hours ahead in summer.
CUSTOM_ZONE = """BEGIN:VTIMEZONE
TZID:Customized Time Zone
BEGIN:STANDARD
DTSTART:16010101T030000
TZOFFSETFROM:{summer}
TZOFFSETTO:+0000
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:16010101T020000
TZOFFSETFROM:+0000
TZOFFSETTO:{summer}
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3
END:DAYLIGHT
END:VTIMEZONE
"""

_seen = st.characters(
    exclude_categories=("Cc", "Cf", "Cs", "Co", "Cn"),
    include_characters="\u200c\u200d",
)
_awkward = st.sampled_from(
    ["\\N", "\\n", "\\", ";", ",", ":", '"', "^n", "%2C", "\u2028", "🎉", "é",
     "BEGIN:VEVENT", " ", "x" * 80]
)  # fmt: skip


def _texts(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(parts, max_size=20).map("".join)


_titles = (
    _texts(_seen | _awkward).map(lambda text: text.strip()[:60]).filter(bool)
)
_lines = _texts(_seen | _awkward | st.sampled_from(["\n", "\r\n", "\r", "\t"]))
_times = st.datetimes(
    datetime(1900, 1, 1), datetime(9990, 1, 1), timezones=st.just(UTC)
)


@st.composite
def _events(draw: st.DrawFn) -> Event:
    """Any event that could be stored."""
    starts_at = draw(_times)
    place = st.builds(
        Location,
        title=_titles,
        latitude=st.floats(-90, 90),
        longitude=st.floats(-180, 180),
    )
    lasts = draw(st.timedeltas(timedelta(milliseconds=1), timedelta(days=366)))
    new = EventCreate(
        title=draw(_titles),
        description=draw(_lines),
        starts_at=starts_at,
        ends_at=starts_at + max(lasts, timedelta(milliseconds=1)),
        tags=draw(st.lists(st.sampled_from(Tag), unique=True)),
        location=draw(st.none() | place),
        online_url=draw(st.sampled_from([None, "https://a.example/b;c,d"])),
        links=draw(st.sampled_from([[], ["https://example.org/x?y=1&z=,;"]])),
        capacity=20,
    )
    return _event(
        **new.model_dump(), sequence=draw(st.integers(0, 99)),
        cancelled_at=draw(st.none() | st.just(NOW)),
    )  # fmt: skip


def _event(**overrides: Any) -> Event:
    fields = {
        "title": "NumPy for beginners",
        "starts_at": START,
        "ends_at": START + 2 * HOUR,
        "capacity": 20,
        "creator_id": new_id(),
        "approval": Approval.APPROVED,
        "revision": new_id(),
        **overrides,
    }
    return Event(**fields)


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


async def _written(event: Event, **arguments: Any) -> Any:
    """The VEVENT of an event, as the library reads it."""
    text = await calendar_files.write([event], name="", **arguments)
    (component,) = icalendar.Calendar.from_ical(text).events
    return component


async def _read(*components: str, head: str = "") -> CalendarFile:
    text = calendar(*components).replace("BEGIN:VEVENT", head + "BEGIN:VEVENT")
    return await calendar_files.read(text.encode(), now=NOW)


async def _one(head: str = "", **properties: str | None) -> CalendarEntry:
    """The only entry of a calendar with one event, which has no problem."""
    file = await _read(calendar_entry(**properties), head=head)
    assert not file.problems
    (entry,) = file.entries
    return entry


async def _span(
    head: str = "", **properties: str | None
) -> tuple[datetime, timedelta]:
    without = {name: None for name in ("DTSTART", "DTEND")}
    event = (await _one(head, **{**without, **properties})).event
    return event.starts_at, event.ends_at - event.starts_at


def _starts(file: CalendarFile) -> list[datetime]:
    return [entry.event.starts_at for entry in file.entries]


def _reasons(file: CalendarFile) -> list[str]:
    return [problem.reason for problem in file.problems]


class TestWrite:
    @settings(
        max_examples=150,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(_events())
    async def test_round_trip(self, event: Event) -> None:
        """Any event comes back from the library as it was."""
        component = await _written(event)
        assert component["UID"] == f"{event.id}@muster"
        assert component["SUMMARY"] == _one_line(event.title)
        assert component.get("DESCRIPTION", "") == "\n".join(
            event.description.splitlines()
        )
        assert component.DTSTART == event.starts_at.replace(microsecond=0)
        ends_at = event.ends_at.replace(microsecond=0)
        assert component.DTEND - ends_at <= timedelta(seconds=1)
        assert component.DTEND > component.DTSTART
        assert component["SEQUENCE"] == event.sequence
        place = event.location
        if place is not None:
            assert component["LOCATION"] == _one_line(place.title)
            assert abs(component["GEO"].latitude - place.latitude) < 1e-6
            assert abs(component["GEO"].longitude - place.longitude) < 1e-6
        else:
            assert "LOCATION" not in component and "GEO" not in component
        tags = component["CATEGORIES"].cats if event.tags else []
        assert tags == [str(tag) for tag in event.tags]
        assert component.get("CONFERENCE") == event.online_url
        assert component.get("URL") == next(iter(event.links), event.online_url)
        assert component.errors == []

    @settings(
        max_examples=100,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(_events(), max_size=3))
    async def test_lines(self, events: list[Event]) -> None:
        """CRLF alone ends a line; none is longer than 75 octets."""
        text = await calendar_files.write(events, name="Muster")
        assert text.endswith(b"END:VCALENDAR\r\n")
        lines = text.split(b"\r\n")
        assert max(map(len, lines)) <= 75
        for line in lines:
            assert b"\r" not in line and b"\n" not in line
            # No character is cut in two, and no program splits a line here.
            assert len(line.decode().splitlines()) <= 1
        assert lines.count(b"BEGIN:VEVENT") == len(events)

    @pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\u2028", "\x85"])
    async def test_nothing_can_be_smuggled_in(self, end: str) -> None:
        evil = f"x{end}END:VEVENT{end}BEGIN:VEVENT{end}SUMMARY:evil"
        place = Location(title="x", latitude=1, longitude=1)
        event = _event(
            # Past what a request may hold.
            title=evil, description=evil,
            location=place.model_copy(update={"title": evil}),
        )  # fmt: skip
        text = await calendar_files.write([event], name="")
        assert len(icalendar.Calendar.from_ical(text).events) == 1
        assert text.count(b"\r\nBEGIN:VEVENT\r\n") == 1

    @pytest.mark.parametrize(("number", "length"), [(100, 10_000), (101, 1000)])
    async def test_descriptions_of_many(self, number: int, length: int) -> None:
        events = [_event(description="x" * 10_000)] * number
        text = await calendar_files.write(events, name="")
        last = icalendar.Calendar.from_ical(text).events[-1]
        described = str(last["DESCRIPTION"])
        assert len(described) == length
        assert described.endswith("…") == (length == 1000)

    async def test_one_thread_at_a_time(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = calendar_files._write  # pylint: disable=protected-access
        inside = most = 0

        def watched(*arguments: Any) -> bytes:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            text = write(*arguments)
            inside -= 1
            return text

        monkeypatch.setattr(calendar_files, "_write", watched)
        events = [_event() for _ in range(100)]
        texts = await asyncio.gather(
            *(calendar_files.write(events, name="") for _ in range(4))
        )
        assert (most, len(set(texts))) == (1, 1)

    async def test_head(self) -> None:
        text = await calendar_files.write([], name="Muster events")
        lines = text.decode().splitlines()
        assert lines[:2] == ["BEGIN:VCALENDAR", "VERSION:2.0"]
        assert {
            "NAME:Muster events",
            "X-WR-CALNAME:Muster events",
            "REFRESH-INTERVAL;VALUE=DURATION:PT1H",
            "X-PUBLISHED-TTL:PT1H",
        } <= set(lines)
        assert any(line.startswith("PRODID:-//Muster//") for line in lines)
        assert not any(line.startswith("METHOD") for line in lines)

    async def test_times_of_its_life(self) -> None:
        event = _event(
            created_at=NOW - DAY, updated_at=NOW, sequence=3, tags=["food"]
        )
        text = (await calendar_files.write([event], name="")).decode()
        for line in (
            "DTSTAMP:20300420T093000Z", "LAST-MODIFIED:20300420T093000Z",
            "CREATED:20300419T093000Z", "SEQUENCE:3", "CATEGORIES:food",
            "DTSTART:20300501T163000Z", "DTEND:20300501T183000Z",
        ):  # fmt: skip
            assert f"\r\n{line}\r\n" in text
        # Who organises is for members only.
        assert "ORGANIZER" not in text and event.creator_id not in text

    @pytest.mark.parametrize(
        ("overrides", "tentative", "status"),
        [
            ({}, False, "CONFIRMED"),
            ({}, True, "TENTATIVE"),
            ({"approval": "pending"}, False, "TENTATIVE"),
            ({"cancelled_at": NOW}, True, "CANCELLED"),
        ],
    )
    async def test_status(
        self, overrides: dict[str, Any], tentative: bool, status: str
    ) -> None:
        event = _event(**overrides)
        ids = [event.id] if tentative else []
        assert (await _written(event, tentative=ids))["STATUS"] == status

    async def test_same_events_same_text(self) -> None:
        events = [_event() for _ in range(12)]
        one = await calendar_files.write(events, name="x")
        assert await calendar_files.write(events, name="x") == one

    async def test_small_numbers_of_a_place(self) -> None:
        place = Location(title="x", latitude=0.00001, longitude=-0.0000001)
        text = await calendar_files.write([_event(location=place)], name="")
        assert re.search(rb"\r\nGEO:0\.000010;-?0\.000000\r\n", text)

    async def test_what_is_written_can_be_imported(self) -> None:
        event = _event(
            title=r"C:\News; 1,5 × 2", description="One\n\nTwo\\n🎉",
            tags=["food", "music"], online_url="https://meet.example/x,y",
            links=["https://example.org/"],
            location=Location(title="Café, 2", latitude=48.5, longitude=2.25),
        )  # fmt: skip
        text = await calendar_files.write([event], name="Muster")
        file = await calendar_files.read(text, now=NOW)
        assert not file.problems
        (entry,) = file.entries
        assert entry.uid == f"{event.id}@muster"
        for name in ("title", "description", "starts_at", "ends_at", "tags",
                     "online_url", "links", "location"):  # fmt: skip
            assert getattr(entry.event, name) == getattr(event, name)


class TestTimes:
    @pytest.mark.parametrize(
        ("zone", "hours"),
        [
            ("Europe/Paris", 2),
            ("America/Argentina/Buenos_Aires", -3),
            ("W. Europe Standard Time", 2),
            ("Eastern Standard Time", -4),
            ("/freeassociation.sourceforge.net/Europe/Berlin", 2),
            ('"Asia/Kathmandu"', 5.75),
        ],
    )
    async def test_zones_by_name(self, zone: str, hours: float) -> None:
        start, lasts = await _span(
            **{f"DTSTART;TZID={zone}": "20300501T183000",
               f"DTEND;TZID={zone}": "20300501T210000"}
        )  # fmt: skip
        local = datetime(2030, 5, 1, 18, 30, tzinfo=UTC)
        assert start == local - timedelta(hours=hours)
        assert lasts == timedelta(hours=2.5)

    @pytest.mark.parametrize("summer", ["+0200", "+0300"])
    async def test_zones_that_the_file_describes(self, summer: str) -> None:
        """One file's zone is not the next one's of the same name."""
        start, _ = await _span(
            head=CUSTOM_ZONE.format(summer=summer),
            **{"DTSTART;TZID=Customized Time Zone": "20300501T183000"},
        )
        local = datetime(2030, 5, 1, 18, 30, tzinfo=UTC)
        assert start == local - timedelta(hours=int(summer[:3]))

    @pytest.mark.parametrize(
        "name", ["Atlantis", "America", "../etc", "x" * 5000]
    )
    async def test_unknown_zone(self, name: str) -> None:
        zoned = {f"DTSTART;TZID={name}": "20300501T183000"}
        bad = calendar_entry(UID="bad", DTSTART=None, **zoned)
        file = await _read(bad, calendar_entry())
        assert len(file.entries) == 1
        assert [p.uid for p in file.problems] == ["bad"]

    @pytest.mark.parametrize(
        ("head", "hours"),
        [
            ("", 0),
            ("X-WR-TIMEZONE:Asia/Shanghai\n", 8),
            ("X-WR-TIMEZONE;VALUE=TEXT:Tokyo Standard Time\n", 9),
        ],
    )
    async def test_floating(self, head: str, hours: int) -> None:
        start, lasts = await _span(head=head, DTSTART="20300501T183000")
        local = datetime(2030, 5, 1, 18, 30, tzinfo=UTC)
        assert start == local - timedelta(hours=hours)
        assert lasts == HOUR

    @pytest.mark.parametrize(
        "name", ["Atlantis", "America", "../etc", "x" * 5000]
    )
    async def test_unknown_zone_of_the_calendar(self, name: str) -> None:
        entry = calendar_entry(**{**PLAIN, "DTSTART": "20300501T183000"})
        file = await _read(entry, head=f"X-WR-TIMEZONE:{name}\n")
        assert _starts(file) == [datetime(2030, 5, 1, 18, 30, tzinfo=UTC)]
        assert name[:80] in _reasons(file)[0]

    @pytest.mark.parametrize(
        ("properties", "days"),
        [
            ({}, 1),
            ({"DTEND;VALUE=DATE": "20300504"}, 3),
            ({"DTEND;VALUE=DATE": "20300501"}, 1),
            ({"DURATION": "P2D"}, 2),
        ],
    )
    async def test_whole_days(
        self, properties: dict[str, str], days: int
    ) -> None:
        paris = "X-WR-TIMEZONE:Europe/Paris\n"
        start, lasts = await _span(
            head=paris, **{"DTSTART;VALUE=DATE": "20300501", **properties}
        )
        assert start == datetime(2030, 5, 1, tzinfo=ZoneInfo("Europe/Paris"))
        assert lasts == days * DAY

    async def test_day_without_an_hour(self) -> None:
        """The day on which Paris puts its clocks forward."""
        _, lasts = await _span(
            head="X-WR-TIMEZONE:Europe/Paris\n",
            **{"DTSTART;VALUE=DATE": "20300331"},
        )
        assert lasts == 23 * HOUR

    @pytest.mark.parametrize(
        ("properties", "lasts"),
        [
            ({}, HOUR),
            ({"DTEND": "20300501T163000Z"}, HOUR),
            ({"DURATION": "PT90M"}, 1.5 * HOUR),
            ({"DURATION": "P1DT2H"}, 26 * HOUR),
            ({"DURATION": "P1W"}, 7 * DAY),
        ],
    )
    async def test_ends(
        self, properties: dict[str, str], lasts: timedelta
    ) -> None:
        assert await _span(DTSTART="20300501T163000Z", **properties) == (
            START,
            lasts,
        )

    @pytest.mark.parametrize(
        ("properties", "reason"),
        [
            ({"DTEND": "20300501T162959Z"}, "ends_at must be later"),
            ({"DTEND": "20310601T163000Z"}, "366 days"),
            ({"DURATION": "-PT1H"}, "ends_at must be later"),
            ({"DTSTART": "99991231T235959Z"}, "years 1 to 9999"),
        ],
    )
    async def test_impossible(
        self, properties: dict[str, str], reason: str
    ) -> None:
        file = await _read(calendar_entry(**{**PLAIN, **properties}))
        assert not file.entries
        assert reason in _reasons(file)[0]

    async def test_past_ones_too(self) -> None:
        start, _ = await _span(DTSTART="19990501T163000Z")
        assert start.year == 1999


class TestTexts:
    @pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
    async def test_line_ends(self, end: str) -> None:
        text = calendar(calendar_entry(SUMMARY="Long\r\n  and folded"))
        body = text.replace("\r\n", end).encode("utf-8-sig")
        file = await calendar_files.read(body, now=NOW)
        assert [e.event.title for e in file.entries] == ["Long and folded"]

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
    async def test_encodings(self, encoding: str) -> None:
        text = calendar(calendar_entry(SUMMARY="Café – fête"))
        file = await calendar_files.read(text.encode(encoding), now=NOW)
        assert [e.event.title for e in file.entries] == ["Café – fête"]

    async def test_fold_within_a_character(self) -> None:
        """Some fold between octets, not characters."""
        text = calendar(calendar_entry(SUMMARY="Café")).encode()
        folded = text.replace("é".encode(), b"\xc3\r\n \xa9")
        file = await calendar_files.read(folded, now=NOW)
        assert [e.event.title for e in file.entries] == ["Café"]

    @pytest.mark.parametrize(
        ("summary", "title"),
        [
            (None, "Untitled"),
            (" ", "Untitled"),
            ("\u200b", "Untitled"),
            ("a\\nb", "a b"),
            ("a\\, b\\; c\\\\", "a, b; c\\"),
            ("a\u202eb\x00c", "abc"),
            ("x" * 120, "x" * 120),
            ("x" * 121, "x" * 119 + "…"),
        ],
    )
    async def test_titles(self, summary: str | None, title: str) -> None:
        assert (await _one(SUMMARY=summary)).event.title == title

    async def test_long_descriptions(self) -> None:
        event = (await _one(DESCRIPTION="y" * 20_000)).event
        assert event.description == "y" * 9_999 + "…"

    @pytest.mark.parametrize(
        ("properties", "place", "description"),
        [
            ({"LOCATION": "Room 3"}, None, "Room 3\n\nBring it."),
            (
                {"LOCATION": "Room 3", "GEO": "48.5;2.25"},
                ("Room 3", 48.5, 2.25),
                "Bring it.",
            ),
            (
                {"GEO": "48.5;2.25"},
                ("48.5000, 2.2500", 48.5, 2.25),
                "Bring it.",
            ),
            ({"GEO": "91;2"}, None, "Bring it."),
            ({"GEO": "here"}, None, "Bring it."),
            ({"LOCATION": "https://meet.example/1"}, None, "Bring it."),
        ],
    )
    async def test_places(
        self,
        properties: dict[str, str],
        place: tuple[str, float, float] | None,
        description: str,
    ) -> None:
        event = (await _one(DESCRIPTION="Bring it.", **properties)).event
        assert event.description == description
        found = event.location
        assert place == (
            found and (found.title, found.latitude, found.longitude)
        )

    @pytest.mark.parametrize(
        ("properties", "call", "links"),
        [
            ({"URL": "https://e.org/1"}, None, ["https://e.org/1"]),
            ({"URL": "javascript:alert(1)"}, None, []),
            ({"LOCATION": "https://e.org/2"}, "https://e.org/2", []),
            (
                {"X-GOOGLE-CONFERENCE": "https://e.org/3", "URL": "mailto:x"},
                "https://e.org/3",
                [],
            ),
            (
                {"CONFERENCE;VALUE=URI": "https://e.org/4",
                 "URL": "https://e.org/4"},
                "https://e.org/4",
                [],
            ),
        ],
    )  # fmt: skip
    async def test_links(
        self, properties: dict[str, str], call: str | None, links: list[str]
    ) -> None:
        event = (await _one(**properties)).event
        assert (event.online_url, event.links) == (call, links)

    async def test_tags(self) -> None:
        event = (await _one(CATEGORIES="Music,Party,FOOD,music")).event
        assert event.tags == [Tag.FOOD, Tag.MUSIC]

    async def test_what_no_file_says(self) -> None:
        event = (await _one()).event
        assert (event.capacity, event.public) == (100, False)


class TestRecurring:
    @staticmethod
    async def _weekly(*others: str, **properties: str) -> CalendarFile:
        head = calendar_entry(
            UID="weekly", DTSTART="20300401T180000", DTEND=None,
            RRULE="FREQ=WEEKLY;UNTIL=20300527T235959Z", **properties,
        )  # fmt: skip
        return await _read(head, *others, head="X-WR-TIMEZONE:Europe/Paris\n")

    @staticmethod
    def _mondays(*days: tuple[int, int]) -> list[datetime]:
        return [datetime(2030, m, d, 16, tzinfo=UTC) for m, d in days]

    async def test_dates_to_come(self) -> None:
        file = await self._weekly()
        assert _starts(file) == self._mondays(
            (4, 22), (4, 29), (5, 6), (5, 13), (5, 20), (5, 27)
        )
        assert {entry.uid for entry in file.entries} == {"weekly"}
        names = [entry.recurrence for entry in file.entries]
        assert names[0] == "20300422"
        assert len(set(names)) == 6

    async def test_left_out_moved_and_cancelled_dates(self) -> None:
        name = "RECURRENCE-ID"
        file = await self._weekly(
            calendar_entry(
                UID="weekly", SUMMARY="Moved", DTEND=None,
                DTSTART="20300508T190000", **{name: "20300506T180000"},
            ),
            calendar_entry(
                UID="weekly", STATUS="CANCELLED", DTEND=None,
                DTSTART="20300513T180000", **{name: "20300513T180000"},
            ),
            EXDATE="20300429T180000",
        )  # fmt: skip
        shown = {
            entry.recurrence: (
                entry.event.starts_at.day, entry.event.title, entry.cancelled
            )
            for entry in file.entries
        }  # fmt: skip
        title = "NumPy for beginners"
        assert shown == {
            "20300422": (22, title, False),
            "20300506": (8, "Moved", False),
            "20300513": (13, title, True),
            "20300520": (20, title, False),
            "20300527": (27, title, False),
        }

    async def test_same_dates_when_the_series_moves_an_hour(self) -> None:
        file = await self._weekly()
        text = calendar(
            calendar_entry(
                UID="weekly", DTSTART="20300401T170000Z", DTEND=None,
                RRULE="FREQ=WEEKLY;COUNT=9",
            )
        )  # fmt: skip
        moved = await calendar_files.read(text.encode(), now=NOW)
        assert [e.recurrence for e in moved.entries] == [
            e.recurrence for e in file.entries
        ]

    async def test_local_time_stays_when_clocks_change(self) -> None:
        entry = calendar_entry(
            DTSTART="20301020T180000", DTEND=None, RRULE="FREQ=WEEKLY;COUNT=2"
        )
        file = await _read(entry, head="X-WR-TIMEZONE:Europe/Paris\n")
        assert [start.hour for start in _starts(file)] == [16, 17]

    async def test_a_hundred_dates(self) -> None:
        entry = calendar_entry(UID="daily", RRULE="FREQ=DAILY", **PLAIN)
        file = await _read(entry)
        assert _starts(file) == [START + n * DAY for n in range(100)]
        assert [p.uid for p in file.problems] == ["daily"]

    async def test_several_a_day(self) -> None:
        entry = calendar_entry(RRULE="FREQ=HOURLY;COUNT=5", **PLAIN)
        file = await _read(entry)
        assert len({e.recurrence for e in file.entries}) == 5

    async def test_which_date_it_is_does_not_depend_on_the_hour(self) -> None:
        text = calendar(
            calendar_entry(DTSTART="20300401T010000Z", DTEND=None,
                           RRULE="FREQ=HOURLY;COUNT=1000")
        )  # fmt: skip
        early, late = [
            await calendar_files.read(text.encode(), now=now)
            for now in (NOW, NOW + 8 * HOUR)
        ]
        assert early == late

    async def test_dates_of_a_series_that_is_not_there(self) -> None:
        file = await _read(
            calendar_entry(**PLAIN, **{"RECURRENCE-ID": "20300430T163000Z"})
        )
        assert [e.recurrence for e in file.entries] == ["20300430"]

    async def test_over(self) -> None:
        entry = calendar_entry(
            DTSTART="20200501T163000Z", DTEND=None, RRULE="FREQ=DAILY;COUNT=9"
        )
        file = await _read(entry, entry)
        assert not file.entries
        assert _reasons(file) == [
            "recurring events without a date in a year: 1"
        ]


class TestBroken:
    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            ({"DTSTART": "tomorrow"}, "DTSTART can't be read"),
            ({"DTSTART": None}, "DTSTART is missing"),
            ({"DTSTART": "20300231T000000Z"}, "DTSTART can't be read"),
            ({"DTSTART;X=1": "20300501T163000Z"}, "DTSTART stands there twice"),
            ({"RRULE": "FREQ=SOMETIMES"}, "RRULE can't be read"),
            ({"DURATION": "long", "DTEND": None}, "DURATION can't be read"),
            ({"EXDATE": "x", "RRULE": "FREQ=DAILY"}, "EXDATE can't be read"),
        ],
    )
    async def test_the_rest_is_read(
        self, bad: dict[str, str | None], reason: str
    ) -> None:
        good, last = calendar_entry(UID="1"), calendar_entry(UID="3")
        file = await _read(good, calendar_entry(UID="2", **bad), last)
        assert [entry.uid for entry in file.entries] == ["1", "3"]
        assert [(p.uid, p.reason) for p in file.problems] == [("2", reason)]

    async def test_garbage_between_the_lines(self) -> None:
        entry = calendar_entry(
            **{"X-Y;Z": "?", "SUMMARY": "x\r\nno colon\r\n:"}
        )
        file = await _read(entry)
        assert [e.event.title for e in file.entries] == ["x"]

    async def test_without_an_end(self) -> None:
        cut = calendar_entry(UID="cut").replace("END:VEVENT\r\n", "")
        file = await _read(cut, calendar_entry(UID="whole"))
        assert [entry.uid for entry in file.entries] == ["whole"]
        assert [p.uid for p in file.problems] == ["cut"]
        text = calendar(calendar_entry())[: -len("END:VEVENT\r\nEND:VCALENDAR")]
        file = await calendar_files.read(text.encode(), now=NOW)
        assert (len(file.entries), len(file.problems)) == (0, 1)

    async def test_no_uid(self) -> None:
        text = calendar(calendar_entry(UID=None)).encode()
        one, two = [await calendar_files.read(text, now=NOW) for _ in range(2)]
        assert one == two
        assert one.entries[0].uid

    async def test_one_uid_twice(self) -> None:
        file = await _read(
            calendar_entry(UID="1", SEQUENCE="1", SUMMARY="old"),
            calendar_entry(UID="1", SEQUENCE="2", SUMMARY="new"),
        )
        assert [entry.event.title for entry in file.entries] == ["new"]
        assert _reasons(file) == ["2 events have this UID: one is taken"]

    async def test_other_components(self) -> None:
        alarm = "BEGIN:VALARM\r\nTRIGGER:-PT5M\r\nSUMMARY:y\r\nEND:VALARM\r\n"
        event = calendar_entry(SUMMARY="x")
        inside = event.replace("END:VEVENT", f"{alarm}END:VEVENT")
        other = event.replace("VEVENT", "VTODO")
        file = await _read(other, inside, event.replace("VEVENT", "VJOURNAL"))
        assert [entry.event.title for entry in file.entries] == ["x"]
        assert not file.problems

    async def test_two_calendars(self) -> None:
        text = calendar(calendar_entry()) + calendar(calendar_entry())
        file = await calendar_files.read(text.encode(), now=NOW)
        assert len(file.entries) == 2

    async def test_empty_calendar(self) -> None:
        file = await _read()
        assert file == CalendarFile(entries=[], problems=[])

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{}",
            b"\x00\xff" * 1000,
            b"BEGIN:VCARD\r\nEND:VCARD\r\n",
            calendar_entry().encode(),
        ],
    )
    async def test_no_calendar(self, body: bytes) -> None:
        with pytest.raises(InvalidRequestError, match="no iCalendar file"):
            await calendar_files.read(body, now=NOW)

    async def test_many_problems(self) -> None:
        file = await _read(*[calendar_entry(DTSTART=None)] * 300)
        assert len(file.problems) == 101
        assert _reasons(file)[-1] == "200 more problems"


class TestLimits:
    """Whatever a file says, it is read in seconds."""

    RULES = (
        "FREQ=SECONDLY",
        "FREQ=MINUTELY;BYSECOND=" + ",".join(map(str, range(60))),
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
    )

    @pytest.mark.parametrize("rule", RULES)
    async def test_rules_for_ever(self, rule: str) -> None:
        bomb = calendar_entry(
            UID="bomb", DTSTART="19700101T000000Z", DTEND=None, RRULE=rule
        )
        file = await _read(bomb, calendar_entry(UID="good"))
        assert [entry.uid for entry in file.entries] == ["good"]
        assert [p.uid for p in file.problems] == ["bomb"]
        assert "repeats too often" in _reasons(file)[0]

    async def test_many_of_them(self) -> None:
        """What can be read is, and processor time is bounded in all."""
        bombs = [
            calendar_entry(DTSTART="19700101T000000Z", DTEND=None, RRULE=rule)
            for rule in self.RULES * 50
        ]
        begin = time.monotonic()
        file = await _read(*bombs, calendar_entry(UID="good"))
        assert [entry.uid for entry in file.entries] == ["good"]
        assert len(file.problems) == 101
        assert time.monotonic() - begin < 55, "its patience is 60 s"

    @pytest.mark.parametrize(
        "middle",
        [
            "BEGIN:VEVENT\r\n" * 60_000,
            "BEGIN:VALARM\r\n" * 60_000,
            "X" * 1_000_000,
            "X" + ";A=b" * 240_000 + ":y",
            "SUMMARY:" + "\r\n " * 300_000,
            "SUMMARY:" + "\\" * 1_000_000,
            "UID" + ";" * 1_000_000,
            "CATEGORIES:" + "," * 1_000_000,
            "EXDATE:" + ",".join(["20300501T163000Z"] * 55_000),
            "RDATE:" + ",".join(["20300501T163000Z"] * 55_000),
        ],
        ids=lambda text: text[:12],
    )
    async def test_a_megabyte_of(self, middle: str) -> None:
        entry = calendar_entry().replace(
            "BEGIN:VEVENT", f"BEGIN:VEVENT\r\n{middle}"
        )
        file = await _read(entry, calendar_entry(UID="good"))
        assert "good" in [entry.uid for entry in file.entries]

    async def test_a_thousand_dates(self) -> None:
        """Those are kept that are next."""
        starts = [NOW + n * HOUR for n in range(-600, 600)]
        file = await _read(
            *(
                calendar_entry(DTSTART=f"{s:%Y%m%dT%H%M%SZ}", DTEND=None)
                for s in starts
            )
        )
        assert sorted(_starts(file)) == starts[200:]
        assert _reasons(file) == [
            "a file may have 1000 dates: 200 more are left out"
        ]


@pytest.fixture(name="another")
def _another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Has another program read the files."""

    def replace(code: str) -> None:
        (tmp_path / "another_reader.py").write_text(code, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(calendar_files, "_READER", "another_reader")

    return replace


class TestReader:
    """The program that reads, when it fails."""

    async def test_takes_little_memory(
        self, another: Callable[[str], None]
    ) -> None:
        """Four workers read a file each on a small machine."""
        another(
            "from utils import calendar_reader as reader\n"
            "reader.read = lambda *_, **__: bytes(256 * 1024**2)\n"
            "reader.main()"
        )
        with pytest.raises(RuntimeError, match="MemoryError"):
            await _read(calendar_entry())

    async def test_killed_at_its_limits(
        self, another: Callable[[str], None]
    ) -> None:
        another("import os; os.kill(os.getpid(), 9)")
        with pytest.raises(InvalidRequestError, match="too long"):
            await _read(calendar_entry())

    async def test_our_own_fault(self, another: Callable[[str], None]) -> None:
        another("raise SystemExit('the inside story')")
        with pytest.raises(RuntimeError, match="inside story"):
            await _read(calendar_entry())

    async def test_is_told_no_secrets(
        self,
        another: Callable[[str], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("JWT_SECRET_KEY", "x" * 32)
        another("import os; raise SystemExit(str(sorted(os.environ)))")
        with pytest.raises(RuntimeError) as fault:
            await _read(calendar_entry())
        assert "PYTHONPATH" in str(fault.value)
        assert "JWT" not in str(fault.value) and "URI" not in str(fault.value)
