"""Fills the database of a benchmark, and prints what its clients need.

`python -m bench.fill EVENTS`, with Muster's settings in the environment; the
last line is JSON: an event to read, and an access token. A database that is
full already stays as it is; half a fill is continued.
"""

import asyncio
import json
import random
import sys
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from pydantic import SecretStr

from bench.bare_app import BARE_COLLECTION, BARE_INDEXES
from config import db
from config.lifespan import services
from config.main import settings
from models.base import new_id, utc_now
from models.events import Event, EventImport, EventRead, Location, Tag
from models.users import Role, UserCreate
from utils import events, logins, users
from utils.collections import declared_indexes

# The place that the lists are asked around; the first of the clusters.
CENTER: Final = (48.87, 2.33)

_CLUSTERS: Final = 400
_SPREAD_DEGREES: Final = 0.1
_BATCH: Final = 500
_DAYS: Final = (-30, 330)


async def fill(count: int) -> dict[str, str]:
    """Publishes `count` events, twice: in Muster and for the bare app."""
    indexes = {**declared_indexes(), BARE_COLLECTION: BARE_INDEXES}
    async with services(settings, indexes):
        admin = await users.create_user(
            UserCreate(
                first_name="Ada",
                last_name="Bench",
                email=f"{new_id()}@example.org",
                password=SecretStr(new_id()),
            ),
            role=Role.ADMIN,
        )
        login = await logins.create_login(admin, client="bench")
        # The same seed at each run: the same ids, which are not taken twice.
        source = Source(admin.id)
        first = source.next_event()
        bare = db.collection(BARE_COLLECTION)
        if await bare.estimated_document_count() < count:
            await _publish([first])
            for done in range(1, count, _BATCH):
                size = min(_BATCH, count - done)
                await _publish([source.next_event() for _ in range(size)])
        # Both apps answer this one alike, to the millisecond.
        document = _bare_document(await events.get_event(first.id, actor=None))
        await bare.replace_one({"_id": first.id}, document)
    return {"event_id": first.id, "access_token": login.access_token}


class Source:
    """Makes events: in clusters, as people live, over some months."""

    def __init__(self, creator_id: str) -> None:
        self._random = random.Random(8)
        self._creator_id = creator_id
        self._now = utc_now()
        self._clusters = [CENTER] + [
            (self._random.uniform(-55, 65), self._random.uniform(-179, 179))
            for _ in range(_CLUSTERS - 1)
        ]

    def next_event(self) -> EventImport:
        """The next event of a sequence that is the same at each run."""
        chance = self._random
        latitude, longitude = chance.choice(self._clusters)
        starts_at = self._next_start()
        return EventImport(
            id=str(UUID(int=chance.getrandbits(128), version=4)),
            title=f"Gathering {chance.randrange(10_000)}",
            description="Bring a laptop; no experience needed. " * 4,
            starts_at=starts_at,
            ends_at=starts_at + timedelta(hours=chance.randint(1, 6)),
            tags=chance.sample(list(Tag), 2),
            location=Location(
                title=f"Room {chance.randrange(1_000)}",
                latitude=chance.gauss(latitude, _SPREAD_DEGREES),
                longitude=chance.gauss(longitude, _SPREAD_DEGREES),
            ),
            capacity=chance.randint(5, 200),
            links=["https://numpy.org/doc/"],
            creator_id=self._creator_id,
        )

    def _next_start(self) -> datetime:
        days = self._random.uniform(*_DAYS)
        return self._now + timedelta(days=days)


async def _publish(new: list[EventImport]) -> None:
    await events.import_events(new)
    await db.insert_missing(
        BARE_COLLECTION,
        [
            _bare_document(Event(**event.model_dump(), revision=""))
            for event in new
        ],
    )


def _bare_document(event: Event) -> db.Document:
    """What Muster shows of an event, as it is, and a point for $geoNear."""
    shown = EventRead.of(event).model_dump()
    assert event.location is not None  # All of these have one.
    return {
        "_id": shown.pop("id"),
        **shown,
        "point": {
            "type": "Point",
            "coordinates": [event.location.longitude, event.location.latitude],
        },
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(fill(int(sys.argv[1])))))
