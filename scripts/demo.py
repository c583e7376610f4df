"""Fills a database with a community in real cities.

    python -m scripts.demo --members 200 --events 2000 --seed 7

Everything goes through the interfaces. A run with the same seed finds what an
earlier one made and adds what is missing, nothing else; `--today` says which
day the events' times count from.
"""

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from datetime import date
from time import perf_counter
from typing import Final

from pydantic import SecretStr

from config.lifespan import services
from config.main import settings
from models.base import utc_now
from models.events import EventImport
from models.exceptions import ConflictError
from models.logins import Actor
from models.users import Role, User, UserCreate
from scripts import demo_community
from scripts.common import ScriptError, run
from scripts.demo_community import DOMAIN, Community, Fate, Person
from scripts.demo_data import DENIAL_REASONS
from utils import events, users
from utils.collections import declared_indexes

PASSWORD: Final = "meet and compute"

_ADMIN_EMAIL: Final = f"admin@{DOMAIN}"
_MAX_CITIES: Final = 500
_MEMBERS_AT_ONCE: Final = 16
_EVENTS_AT_ONCE: Final = 250


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
        start = perf_counter()
        admin = await _ensure_admin()
        ids, new = await _ensure_members(community.people)
        print(
            f"{len(ids)} members in {len(community.cities)} cities, most in "
            f"{community.capital.name}: {new} new, {_since(start)}"
        )
        start = perf_counter()
        new, decided = await _ensure_events(
            community, arguments.events, ids, admin
        )
        print(
            f"{arguments.events} events: {new} new, {decided} denied or "
            f"cancelled, {_since(start)}"
        )
    _explain(community)


def _check(arguments: argparse.Namespace) -> None:
    # Everybody knows the demo's password.
    if not settings.in_development:
        raise ScriptError("the demo is for development: nothing was done")
    if arguments.members < 1 or arguments.events < 0:
        raise ScriptError("a demo has a member or more, and no negative events")
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


async def _ensure_members(people: Sequence[Person]) -> tuple[list[str], int]:
    """The ids of the members in their order, and how many are new."""
    made: list[tuple[str, bool]] = []
    for first in range(0, len(people), _MEMBERS_AT_ONCE):
        some = people[first : first + _MEMBERS_AT_ONCE]
        made += await asyncio.gather(*(_ensure_member(p) for p in some))
    return [user_id for user_id, _ in made], sum(new for _, new in made)


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
) -> tuple[int, int]:
    """How many events are new, and how many were denied or cancelled."""
    new = decided = 0
    for numbers in _batches(count):
        batch = [community.event(n, creator_ids) for n in numbers]
        new += await events.import_events([event for event, _ in batch])
        decisions = await asyncio.gather(
            *(_decide(event, fate, admin) for event, fate in batch)
        )
        decided += sum(decisions)
    return new, decided


def _batches(count: int) -> Iterator[range]:
    for first in range(1, count + 1, _EVENTS_AT_ONCE):
        yield range(first, min(first + _EVENTS_AT_ONCE, count + 1))


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
