"""Fills a database with a community in real cities.

    python -m scripts.demo --members 200 --events 2000 --seed 7

Everything goes through the interfaces. A run with the same seed finds what an
earlier one made and adds what is missing, nothing else; `--today` says which
day the events' times count from.
"""

import argparse
import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from time import perf_counter
from typing import Any, Final, TypeVar

from pydantic import SecretStr

from config import transactions
from config.lifespan import services
from config.main import settings
from models.base import utc_now
from models.events import Event, EventImport, EventUpdate, Status
from models.exceptions import ConflictError
from models.logins import Actor
from models.users import Role, User, UserCreate, UserUpdate
from scripts import demo_community, demo_pictures
from scripts.common import ScriptError, run
from scripts.demo_community import (
    DOMAIN,
    Community,
    Fate,
    Gathering,
    Person,
    random_of,
)
from scripts.demo_data import DENIAL_REASONS
from scripts.demo_guests import Attendance
from utils import accounts, events, feedback, images, rsvps, users
from utils.collections import declared_indexes

PASSWORD: Final = "meet and compute"

_ADMIN_EMAIL: Final = f"admin@{DOMAIN}"
_MAX_CITIES: Final = 500
# Guests take longer than events, and more of them show nothing new.
_MAX_EVENTS_WITH_GUESTS: Final = 5000
_MAX_PICTURES: Final = 200
_MAX_AVATARS: Final = 20
_MAX_EVENTS_TO_SHOW: Final = 2000
_BATCH: Final = 250
_AT_ONCE: Final = 16
_TOGETHER: Final = 10

T = TypeVar("T")


def main() -> None:
    """The command."""
    run(_fill(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.demo",
        description="Fills a database with a community in real cities.",
    )
    parser.add_argument("--members", type=int, default=200)
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--cities", type=int, default=40)
    parser.add_argument(
        "--pictures",
        type=int,
        default=30,
        help=f"how many events, and members up to {_MAX_AVATARS}, get one",
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--today",
        type=_day,
        default=utc_now().date(),
        metavar="YYYY-MM-DD",
        help="the day that the events' times count from",
    )
    return parser.parse_args()


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("a day is YYYY-MM-DD") from None
    if not 1971 <= day.year <= 9000:
        raise argparse.ArgumentTypeError("a day lies in 1971 to 9000")
    return day


async def _fill(arguments: argparse.Namespace) -> None:
    _check(arguments)
    community = demo_community.found(
        seed=arguments.seed,
        today=arguments.today,
        city_count=arguments.cities,
        member_count=arguments.members,
    )
    async with services(settings, declared_indexes()):
        admin = await _ensure_admin()
        ids = await _ensure_members(community)
        await _ensure_events(community, arguments.events, ids, admin)
        midnight = datetime.combine(arguments.today, time(), UTC)
        attendance = Attendance(
            community, member_ids=ids, until=min(midnight, utc_now())
        )
        await _ensure_guests(attendance, arguments.events)
        await _ensure_pictures(attendance, arguments.events, arguments.pictures)
    _explain(community)


def _check(arguments: argparse.Namespace) -> None:
    # Everybody knows the demo's password.
    if not settings.in_development:
        raise ScriptError("the demo is for development: nothing was done")
    if arguments.members < 1 or arguments.events < 0:
        raise ScriptError("a demo has a member or more, and no negative events")
    if not 0 <= arguments.pictures <= _MAX_PICTURES:
        raise ScriptError(f"a demo has 0 to {_MAX_PICTURES} pictures")
    if not 1 <= arguments.cities <= _MAX_CITIES:
        raise ScriptError(f"a demo has 1 to {_MAX_CITIES} cities")


async def _ensure_admin() -> Actor:
    user = await users.find_user_by_email(_ADMIN_EMAIL)
    if user is None:
        user = await _register("Demo", "Admin", _ADMIN_EMAIL, Role.ADMIN)
    elif user.role is not Role.ADMIN:
        raise ScriptError(
            f"{_ADMIN_EMAIL} is a member's account, and the demo makes nobody "
            "an admin"
        )
    return Actor(user.id, "", user.role)


async def _ensure_members(community: Community) -> list[str]:
    """The ids of the members in their order."""
    start = perf_counter()
    made = await _gather(_ensure_member(person) for person in community.people)
    new = sum(is_new for _, is_new in made)
    print(
        f"{len(made)} members in {len(community.cities)} cities, most in "
        f"{community.capital.name}: {new} new, {_since(start)}"
    )
    return [user_id for user_id, _ in made]


async def _ensure_member(person: Person) -> tuple[str, bool]:
    user = await users.find_user_by_email(person.email)
    if user is not None:
        return user.id, False
    user = await _register(
        person.first_name, person.last_name, person.email, Role.MEMBER
    )
    return user.id, True


async def _register(
    first_name: str, last_name: str, email: str, role: Role
) -> User:
    new = UserCreate(
        first_name=first_name,
        last_name=last_name,
        email=email,
        password=SecretStr(PASSWORD),
    )
    return await users.create_user(new, role=role)


async def _ensure_events(
    community: Community, count: int, creator_ids: Sequence[str], admin: Actor
) -> None:
    start = perf_counter()
    new = decided = 0
    for numbers in _batches(count):
        batch = [community.gathering(n, creator_ids) for n in numbers]
        new += await events.import_events([each.new for each in batch])
        decisions = await asyncio.gather(
            *(_decide(each.new, each.fate, admin) for each in batch)
        )
        decided += sum(decisions)
    print(
        f"{count} events: {new} new, {decided} denied or cancelled, "
        f"{_since(start)}"
    )


def _batches(count: int) -> Iterator[range]:
    for first in range(1, count + 1, _BATCH):
        yield range(first, min(first + _BATCH, count + 1))


async def _decide(event: EventImport, fate: Fate, admin: Actor) -> bool:
    """Denies or cancels an event whose fate it is; True when it did."""
    try:
        if fate is Fate.DENIED:
            reason = DENIAL_REASONS[event.capacity % len(DENIAL_REASONS)]
            await events.deny(event.id, reason=reason, actor=admin)
        elif fate is Fate.CANCELLED:
            creator = Actor(event.creator_id, "", Role.MEMBER)
            await events.cancel(event.id, actor=creator)
        else:
            return False
    except ConflictError:
        # An earlier run did, or somebody since; or the event is over.
        return False
    return True


async def _ensure_guests(attendance: Attendance, event_count: int) -> None:
    start = perf_counter()
    count = min(event_count, _MAX_EVENTS_WITH_GUESTS)
    new = going = waiting = ratings = 0
    for numbers in _batches(count):
        batch = [attendance.gathering(number) for number in numbers]
        ids = [gathering.new.id for gathering in batch]
        stored = await events.find_events(ids)
        some = [
            batch[at : at + _TOGETHER] for at in range(0, len(batch), _TOGETHER)
        ]
        new += sum(
            await _gather(_attend(attendance, few, stored) for few in some)
        )
        for event in (await events.find_events(ids)).values():
            going += event.seats_taken
            waiting += event.waitlisted
            ratings += event.rating_count
    print(
        f"{going + waiting} guests of {count} events, {waiting} waiting, "
        f"{ratings} ratings: {new} new, {_since(start)}"
    )


async def _attend(
    attendance: Attendance,
    gatherings: Sequence[Gathering],
    stored: Mapping[str, Event],
) -> int:
    """Brings events their guests and feedback; counts what is new."""

    async def work() -> int:
        return sum(
            [
                await _bring(attendance, gathering, stored[gathering.new.id])
                for gathering in gatherings
            ]
        )

    # Together they take two thirds of the time.
    return await transactions.run(work)


async def _bring(
    attendance: Attendance, gathering: Gathering, event: Event
) -> int:
    new = 0
    guests = attendance.guests(gathering, event=event)
    if guests and event.arrivals == 0:
        new += await rsvps.import_guests(event.id, guests)
    opinions = attendance.feedback(gathering, event=event, guests=guests)
    if opinions and event.rating_count == 0:
        new += await feedback.import_feedback(event.id, opinions)
    return new


async def _ensure_pictures(
    attendance: Attendance, event_count: int, count: int
) -> None:
    start = perf_counter()
    chosen = _choose_to_show(attendance, event_count)[:count]
    stored = await events.find_events([each.new.id for each in chosen])
    covers = await _gather(
        _ensure_cover(attendance.community, each, stored[each.new.id])
        for each in chosen
    )
    faces = attendance.member_ids[: min(count, _MAX_AVATARS)]
    avatars = await _gather(
        _ensure_avatar(attendance.community, number, user_id)
        for number, user_id in enumerate(faces, 1)
    )
    made = [is_new for is_new in (*covers, *avatars) if is_new is not None]
    print(f"{len(made)} pictures: {sum(made)} new, {_since(start)}")


def _choose_to_show(
    attendance: Attendance, event_count: int
) -> list[Gathering]:
    """What is to come around the capital's centre, where the tour looks."""
    capital = attendance.community.capital
    numbers = range(1, min(event_count, _MAX_EVENTS_TO_SHOW) + 1)
    coming = [
        gathering
        for gathering in map(attendance.gathering, numbers)
        if gathering.fate is Fate.LISTED and gathering.days > 0
    ]
    return sorted(coming, key=lambda each: capital.km_to(each.new.location))


async def _ensure_cover(
    community: Community, gathering: Gathering, event: Event
) -> bool | None:
    """Gives an event a cover.

    Returns:
        False when it has one, None when it is too late for one.
    """
    if event.image_ids:
        return False
    if event.status_at(utc_now()) in (Status.CANCELLED, Status.PAST):
        return None
    rng = random_of(community.seed, "cover", gathering.number)
    actor = Actor(event.creator_id, "", Role.MEMBER)
    file = await asyncio.to_thread(demo_pictures.cover, rng, event.tags)
    image = await images.create_image(file, actor=actor)
    change = EventUpdate(image_ids=[image.id])
    await events.update_event(event.id, change, actor=actor, if_match=())
    return True


async def _ensure_avatar(
    community: Community, number: int, user_id: str
) -> bool:
    """Gives a member their initials, unless there is a picture."""
    user = await users.get_user(user_id)
    if user.image_id is not None:
        return False
    rng = random_of(community.seed, "avatar", number)
    actor = Actor(user_id, "", user.role)
    file = await asyncio.to_thread(
        demo_pictures.avatar, rng, user.first_name, user.last_name
    )
    image = await images.create_image(file, actor=actor)
    change = UserUpdate(image_id=image.id)
    await accounts.update_own(change, actor=actor, if_match=())
    return True


async def _gather(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What `work` returns, in its order; some of it at once."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def when_free(one: Coroutine[Any, Any, T]) -> T:
        async with free:
            return await one

    return await asyncio.gather(*(when_free(one) for one in work))


def _since(start: float) -> str:
    return f"{perf_counter() - start:.1f} s"


def _explain(community: Community) -> None:
    capital = community.capital
    print(f"log in as {_ADMIN_EMAIL} or member1@{DOMAIN}: {PASSWORD}")
    print(
        f"curl 'http://127.0.0.1:{settings.port}/v1/events?"
        f"near={capital.latitude},{capital.longitude}"
        "&radius_km=5&tag=workshop&q=python'"
    )


if __name__ == "__main__":
    main()
