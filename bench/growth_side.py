"""One size of `bench.growth`: fills a database, asks, and prints what it cost.

`python -m bench.growth_side events|members|guests SIZE ROUNDS`, with Muster's
settings in the environment; the last line is JSON. What is filled already
stays, so that a second run only asks.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import httpx
import pymongo
from pydantic import SecretStr
from pymongo import monitoring

from app import app
from bench.fill import CENTER, Source
from config import cache, db
from config.lifespan import lifespan
from config.main import settings
from models.base import new_id, utc_now
from models.events import EventCreate
from models.logins import Actor
from models.rsvps import Rsvp, RsvpStatus
from models.users import Role, User, UserCreate
from utils import events, logins, rsvps, search, users

_PASSWORD: Final = "correct horse battery"
_PATIENCE_SECONDS: Final = 600
_BATCH: Final = 500
_SEATS: Final = 500
_BETWEEN_MEMBERS: Final = timedelta(seconds=30)
_EVENT: Final = {
    "title": "Gathering",
    "description": "",
    "starts_at": "2040-01-01T10:00Z",
    "ends_at": "2040-01-01T12:00Z",
    "tags": ["workshop"],
    "online_url": "https://example.org/",
    "capacity": _SEATS,
}
_ASKED: Final = ("find", "aggregate")


@dataclass
class _Listener(monitoring.CommandListener):
    """Keeps what is sent to the database while it is told to."""

    sent: list[dict[str, Any]] | None = None

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Keeps a command."""
        if self.sent is not None:
            self.sent.append(dict(event.command))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to keep."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing to keep."""


LISTENER: Final = _Listener()
Fill = Callable[[int, User], Awaitable[str]]


async def measure(growing: str, size: int, rounds: int) -> dict[str, Any]:
    """What each endpoint costs at one size."""
    monitoring.register(LISTENER)
    # What a worker does by itself would be counted, too.
    app.state.chores = ()
    app.state.chores_of = lambda *_: ()
    async with lifespan(app):
        admin = await _admin()
        # Even to count them takes long, where the server has just begun.
        with pymongo.timeout(_PATIENCE_SECONDS):
            event_id = await _FILLS[growing](size, admin)
        login = await logins.create_login(admin, client="bench")
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport,
            base_url="http://bench.test",
            headers={"Authorization": f"Bearer {login.access_token}"},
            timeout=_PATIENCE_SECONDS,
        ) as client:
            return {
                f"{method} {path}": await _cost(
                    client, method, path.format(event_id=event_id), rounds
                )
                for method, path in _ENDPOINTS
            }


async def _next_page(client: httpx.AsyncClient, path: str) -> str:
    """Where the second page of a list is; the first, where that is all."""
    page = (await client.get(path)).json()
    if page.get("next_cursor") is None:
        return path
    joint = "&" if "?" in path else "?"
    return f"{path}{joint}cursor={page['next_cursor']}"


# Stands for the page after the first.
_SECOND: Final = " (second page)"
_NEAR: Final = f"near={CENTER[0]},{CENTER[1]}"
_ENDPOINTS: Final = [
    ("GET", "/v1/events/{event_id}"),
    ("GET", "/v1/events"),
    ("GET", f"/v1/events?{_NEAR}"),
    ("GET", "/v1/events?tag=workshop"),
    ("GET", "/v1/events?q=gathering"),
    ("GET", "/v1/events?mine=true"),
    ("GET", "/v1/events/queue"),
    ("GET", "/v1/users"),
    ("GET", f"/v1/users{_SECOND}"),
    ("GET", "/v1/users?q=ada"),
    ("GET", "/v1/users?q=ada7"),
    ("GET", "/v1/users/me"),
    ("GET", "/v1/users/me/rsvps"),
    ("GET", "/v1/events/{event_id}/rsvps"),
    ("GET", f"/v1/events/{{event_id}}/rsvps{_SECOND}"),
    ("GET", "/v1/events/{event_id}/rsvps?status=waitlisted"),
    ("GET", "/v1/events/{event_id}/board"),
    # The one after the other: who is asked about is the last in line.
    ("PUT", "/v1/events/{event_id}/rsvp"),
    ("GET", "/v1/events/{event_id}/rsvp"),
    ("DELETE", "/v1/events/{event_id}/rsvp"),
    # The first in line gets the seat that the event gains.
    ("PATCH", "/v1/events/{event_id}"),
    ("POST", "/v1/events"),
]


async def _cost(
    client: httpx.AsyncClient, method: str, path: str, rounds: int
) -> dict[str, Any]:
    took, sent = [], list[dict[str, Any]]()
    if path.endswith(_SECOND):
        path = await _next_page(client, path.removesuffix(_SECOND))
    for number in range(rounds):
        if method in _BEFORE:
            await client.request(_BEFORE[method], path)
        cache.forget_all()
        # The last one is looked at more closely.
        LISTENER.sent = sent if number == rounds - 1 else None
        body = _body(method, number)
        begin = time.perf_counter()
        response = await client.request(method, path, json=body)
        took.append(time.perf_counter() - begin)
        LISTENER.sent = None
        if not response.is_success:
            print(f"bench: {method} {path}: {response.text}", file=sys.stderr)
            return {"refused": response.status_code}
    return {
        "ms": statistics.median(took) * 1000,
        "first": took[0] * 1000,
        "commands": len(sent),
        "examined": await _examined(sent),
    }


async def _examined(sent: list[dict[str, Any]]) -> int:
    with pymongo.timeout(_PATIENCE_SECONDS):
        return await count_examined(sent)


# A seat is taken, or given back, anew each time.
_BEFORE: Final = {"PUT": "DELETE", "DELETE": "PUT"}


def _body(method: str, number: int) -> dict[str, Any] | None:
    if method == "PATCH":
        return {"capacity": _SEATS + number + 1}
    return _EVENT if method == "POST" else None


async def count_examined(sent: list[dict[str, Any]]) -> int:
    """How many documents reads that were sent look at."""
    database = db.get_client()[settings.mongo_db_name]
    count = 0
    for command in sent:
        name = next(iter(command))
        if name not in _ASKED:
            continue
        kept = {
            key: value
            for key, value in command.items()
            if not key.startswith(("$", "lsid", "txnNumber", "startTrans"))
            and key not in ("autocommit", "maxTimeMS")
        }
        told = await database.command(
            "explain", kept, verbosity="executionStats"
        )
        count += int(told["executionStats"]["totalDocsExamined"])
    return count


async def _admin() -> User:
    body = UserCreate(
        first_name="Ada",
        last_name="Bench",
        email=f"{new_id()}@example.org",
        password=SecretStr(_PASSWORD),
    )
    return await users.create_user(body, role=Role.ADMIN)


async def _fill_events(size: int, admin: User) -> str:
    """The same events at each run, so that half a fill is continued."""
    source = Source(admin.id)
    first = source.next_event()
    await events.import_events([first])
    count = await db.collection(events.COLLECTION).estimated_document_count()
    for batch in _batches(1, size):
        new = [source.next_event() for _ in batch]
        if batch.stop > count:
            await events.import_events(new)
    return first.id


async def _fill_members(size: int, admin: User) -> str:
    """Members with one hash for all: making a million takes seven hours."""
    member = db.collection(users.COLLECTION)
    known = await member.find_one({"_id": admin.id})
    assert known is not None  # It was just made.
    count = await member.estimated_document_count()
    for batch in _batches(count, size):
        await db.insert_missing(
            users.COLLECTION, [_member(known, n, size) for n in batch]
        )
    return await _event(admin)


def _member(known: db.Document, number: int, size: int) -> db.Document:
    """The document of a member like one that is stored already."""
    email = f"ada.{number}@example.org"
    # A name each: the search finds few by one, as among people.
    first_name = f"Ada{number % 1000}"
    return known | {
        "_id": new_id(),
        "first_name": first_name,
        "email": email,
        "email_key": users.email_key(email),
        "revision": new_id(),
        "role": Role.MEMBER,
        "created_at": utc_now() - (size - number) * _BETWEEN_MEMBERS,
        "lookup": search.search_fields(
            first_name, known["last_name"], *email.split("@")
        ),
    }


def _batches(begin: int, end: int) -> Iterator[range]:
    """The numbers from `begin` to `end`, some hundred at a time; says so."""
    since = time.monotonic()
    for start in range(begin, end, _BATCH):
        yield range(start, min(start + _BATCH, end))
        if (start - begin) % 50_000 == 0:
            took = time.monotonic() - since
            print(f"bench: {start} after {took:.0f} s", file=sys.stderr)


async def _fill_guests(size: int, admin: User) -> str:
    event_id = await _event(admin)
    documents = [
        Rsvp(
            event_id=event_id,
            user_id=new_id(),
            status=RsvpStatus.GOING if n <= _SEATS else RsvpStatus.WAITLISTED,
            order=n,
            revision=new_id(),
        ).dict()
        for n in range(1, size + 1)
    ]
    for batch in _batches(0, size):
        await db.insert_missing(
            rsvps.COLLECTION, documents[batch.start : batch.stop]
        )
    going = min(size, _SEATS)
    await events.count_guests(
        event_id, going=going, waiting=size - going, arrived=size
    )
    return event_id


async def _event(admin: User) -> str:
    new = EventCreate.model_validate(_EVENT)
    actor = Actor(admin.id, new_id(), Role.ADMIN)
    return (await events.create_event(new, actor=actor)).id


_FILLS: Final[dict[str, Fill]] = {
    "events": _fill_events,
    "members": _fill_members,
    "guests": _fill_guests,
}

if __name__ == "__main__":
    kind, told_size, told_rounds = sys.argv[1:]
    print(json.dumps(asyncio.run(
        measure(kind, int(told_size), int(told_rounds))
    )))  # fmt: skip
