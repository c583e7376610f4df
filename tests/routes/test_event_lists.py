"""Lists of events, against what plain Python makes of the same events."""

import asyncio
import math
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import db
from models.base import utc_now
from models.events import Event, Sort, Status, Tag
from models.users import Role
from tests import factories
from tests.commands import counted
from tests.factories import HOUR
from tests.problems import assert_problem
from utils import event_pages, events

Client = httpx.AsyncClient

DAY = timedelta(days=1)
WORDS = ["Zürich", "zurück", "workshop", "worker", "Ελλάδα", "東京編程", "møte"]

# Poles, the antimeridian from both sides, and two neighbours.
PLACES = [
    (90.0, 0.0),
    (-90.0, 170.0),
    (89.95, -100.0),
    (0.0, 180.0),
    (0.0, -179.95),
    (-17.8, 178.0),
    (48.87, 2.33),
    (48.9, 2.4),
    (0.0, 0.0),
]


@dataclass(frozen=True)
class Sample:
    """An event to be made, relative to now."""

    starts_in: timedelta
    lasts: timedelta
    tags: list[Tag]
    words: list[str]
    place: tuple[float, float] | None
    cancelled: bool
    hidden: bool


samples = st.builds(
    Sample,
    starts_in=st.integers(-500, 500).map(lambda n: n * DAY + HOUR / 2),
    lasts=st.sampled_from([HOUR, 2 * DAY, 300 * DAY, 366 * DAY]),
    tags=st.lists(st.sampled_from(list(Tag)[:3]), max_size=2, unique=True),
    words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3),
    place=st.none() | st.sampled_from(PLACES),
    cancelled=st.sampled_from([False, False, False, True]),
    hidden=st.sampled_from([False, False, False, True]),
)

queries = st.fixed_dictionaries(
    {"limit": st.integers(1, 7)},
    optional={
        "status": st.lists(st.sampled_from(list(Status)), min_size=1),
        "tag": st.lists(st.sampled_from(list(Tag)[:3]), min_size=1),
        "q": st.sampled_from(
            ["zur", "ZÜRI", "work", "works wor", "ελλ", "編", "京編", "mot", "w"]
        ),
        "starts_after": st.integers(-500, 500).map(lambda n: n * DAY),
        "starts_before": st.integers(-500, 500).map(lambda n: n * DAY),
        "near": st.sampled_from(PLACES),
        "radius_km": st.sampled_from([0.5, 5.0, 25.0, 300.0, 5000.0, 20015.0]),
        "sort": st.sampled_from(list(Sort)),
    },
)


def _distance_km(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Great-circle distance by the haversine formula."""
    (lat1, lon1), (lat2, lon2) = (
        tuple(map(math.radians, point)) for point in (one, other)
    )
    inner = (
        math.sin((lat2 - lat1) / 2) ** 2
        + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    )
    return 2 * 6371.0088 * math.asin(min(1.0, math.sqrt(inner)))


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKD", text.casefold()).replace("ø", "o")
    return "".join(c for c in text if not unicodedata.combining(c))


def _has_word(event: Event, prefix: str) -> bool:
    assert event.location is None or event.location.title == "x"
    words = [_plain(word) for word in event.title.split()]
    if any("\u4e00" <= char <= "\u9fff" for char in prefix):
        # Without spaces, each character begins a word.
        return all(any(char in word for word in words) for char in prefix)
    return any(word.startswith(_plain(prefix)) for word in words)


def _expected(
    made: list[Event], query: dict[str, Any], now: datetime
) -> list[str]:
    """What the list must be, worked out the slow and plain way."""
    statuses = set(query.get("status", [Status.UPCOMING, Status.ONGOING]))
    center = query.get("near")

    def distance(event: Event) -> float:
        assert event.location is not None and center is not None
        place = event.location
        return _distance_km(center, (place.latitude, place.longitude))

    conditions: list[Callable[[Event], bool]] = [
        lambda event: event.public,
        lambda event: event.status_at(now) in statuses,
    ]
    if "tag" in query:
        conditions.append(lambda event: bool(set(event.tags) & set(query["tag"])))
    if "q" in query:
        conditions.append(
            lambda event: all(_has_word(event, w) for w in query["q"].split())
        )
    if "starts_after" in query:
        conditions.append(
            lambda event: event.starts_at >= now + query["starts_after"]
        )
    if "starts_before" in query:
        conditions.append(
            lambda event: event.starts_at < now + query["starts_before"]
        )
    if center is not None:
        radius = query.get("radius_km", 25.0)
        conditions.append(lambda event: event.location is not None)
        conditions.append(lambda event: distance(event) <= radius)
    found = [
        event for event in made if all(holds(event) for holds in conditions)
    ]
    order = query.get("sort", Sort.DISTANCE if center else Sort.STARTS_AT)
    if order is Sort.DISTANCE:
        # The chord is compared to the last bit, so equal to a millimetre only.
        found.sort(key=lambda event: (round(distance(event), 6), event.id))
    else:
        found.sort(
            key=lambda event: (event.starts_at, event.id),
            reverse=order is Sort.STARTS_AT_DESCENDING,
        )
    return [event.id for event in found]


def _parameters(query: dict[str, Any], now: datetime) -> dict[str, Any]:
    parameters = dict(query)
    for name in ("starts_after", "starts_before"):
        if name in query:
            parameters[name] = (now + query[name]).isoformat()
    if "near" in query:
        parameters["near"] = f"{query['near'][0]},{query['near'][1]}"
    return parameters


async def _make(sample: Sample, now: datetime) -> Event:
    creator = factories.actor(Role.ADMIN)
    place = sample.place and {
        "title": "x",
        "latitude": sample.place[0],
        "longitude": sample.place[1],
    }
    starts_at = now + sample.starts_in
    if sample.cancelled:
        # Only an event that is not past can be cancelled.
        starts_at = now + abs(sample.starts_in) + HOUR
    event = await factories.event(
        by=creator,
        title=" ".join(sample.words),
        description="",
        starts_at=starts_at.isoformat(),
        ends_at=(starts_at + sample.lasts).isoformat(),
        tags=sample.tags,
        location=place,
        public=not sample.hidden,
    )
    if sample.cancelled:
        event = await events.cancel(event.id, actor=creator)
    return event


async def _walk(client: Client, parameters: dict[str, Any]) -> list[str]:
    """All ids of a list, page by page."""
    ids: list[str] = []
    cursor: str | None = None
    while True:
        page = parameters if cursor is None else {**parameters, "cursor": cursor}
        response = await client.get("/v1/events", params=page)
        assert response.status_code == 200, response.text
        answer = response.json()
        assert len(answer["items"]) <= parameters["limit"]
        ids += [item["id"] for item in answer["items"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            return ids
        assert len(answer["items"]) == parameters["limit"]


def _is_allowed(query: dict[str, Any]) -> bool:
    return "near" in query or (
        "radius_km" not in query and query.get("sort") is not Sort.DISTANCE
    )


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(
    made=st.lists(samples, min_size=5, max_size=25),
    asked=st.lists(queries.filter(_is_allowed), min_size=6, max_size=12),
)
async def test_every_list_is_what_python_says(
    client: Client, made: list[Sample], asked: list[dict[str, Any]]
) -> None:
    """Each condition, their combinations, each order, pages of any size."""
    await db.wipe_test_database([events.COLLECTION])
    now = utc_now()
    stored = await asyncio.gather(*(_make(sample, now) for sample in made))
    for query in asked:
        parameters = _parameters(query, now)
        assert await _walk(client, parameters) == _expected(stored, query, now)
