"""Lists of events, against what plain Python makes of the same events."""

import asyncio
import base64
import itertools
import json
import math
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pymongo.errors import ConnectionFailure

from bench.growth_side import count_examined
from config import cache, db
from models.base import utc_now
from models.events import Event, Sort, Status, Tag
from models.users import Role
from tests import factories
from tests.commands import counted, kept
from tests.factories import HOUR
from tests.problems import assert_problem
from utils import event_pages, event_walks, events

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
    starts_in=st.integers(-99, 99).map(lambda n: n * HOUR + HOUR / 2)
    | st.integers(-500, 500).map(lambda n: n * DAY + HOUR / 2),
    lasts=st.sampled_from([HOUR, 2 * DAY, 300 * DAY, 366 * DAY]),
    tags=st.lists(st.sampled_from(list(Tag)[:3]), max_size=2, unique=True),
    words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3),
    place=st.none() | st.sampled_from(PLACES),
    cancelled=st.sampled_from([False, False, False, True]),
    hidden=st.sampled_from([False, False, False, True]),
)

FILTERS: dict[str, st.SearchStrategy[Any]] = {
    "status": st.lists(st.sampled_from(list(Status)), min_size=1, unique=True),
    "tag": st.lists(st.sampled_from(list(Tag)[:3]), min_size=1, unique=True),
    "q": st.sampled_from(
        ["zur", "ZÜRI", "work", "works wor", "ελλ", "編", "京編", "mot", "w"]
    ),
    "starts_after": st.integers(-500, 500).map(lambda n: n * DAY),
    "starts_before": st.integers(-500, 500).map(lambda n: n * DAY),
    "near": st.sampled_from(PLACES),
    "sort": st.sampled_from([Sort.STARTS_AT, Sort.STARTS_AT_DESCENDING]),
}


@st.composite
def queries(draw: st.DrawFn) -> dict[str, Any]:
    """A query with few conditions, as many would leave nothing to find."""
    names = draw(
        st.lists(st.sampled_from(sorted(FILTERS)), max_size=3, unique=True)
    )
    query = {name: draw(FILTERS[name]) for name in names}
    if "near" in query:
        radii = [0.5, 5.0, 25.0, 300.0, 5000.0, 20015.0]
        query["radius_km"] = draw(st.sampled_from(radii))
    return {**query, "limit": draw(st.integers(1, 7))}


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
        conditions.append(
            lambda event: bool(set(event.tags) & set(query["tag"]))
        )
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
        page = (
            parameters if cursor is None else {**parameters, "cursor": cursor}
        )
        response = await client.get("/v1/events", params=page)
        assert response.status_code == 200, response.text
        answer = response.json()
        assert len(answer["items"]) <= parameters["limit"]
        ids += [item["id"] for item in answer["items"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            return ids
        assert len(answer["items"]) == parameters["limit"]


@settings(
    max_examples=60,
    deadline=None,
    # Not shrunk: each example writes to a database, and that takes minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(
    made=st.lists(samples, min_size=5, max_size=25),
    asked=st.lists(queries(), min_size=6, max_size=12),
    guess=st.sampled_from([1.0, 40 * 3600.0, 30 * 86400.0, math.inf]),
)
async def test_every_list_is_what_python_says(
    client: Client,
    made: list[Sample],
    asked: list[dict[str, Any]],
    guess: float,
) -> None:
    """Each condition, their combinations, each order, pages of any size.

    However far the queries guess that a page reaches (seconds, or km).
    """
    with pytest.MonkeyPatch.context() as patch:
        pace = event_pages._PACE  # pylint: disable=protected-access
        patch.setattr(
            pace, "guess", lambda _kind, whole, **_: min(whole, guess)
        )
        await _check_lists(client, made, asked)


async def _check_lists(
    client: Client, made: list[Sample], asked: list[dict[str, Any]]
) -> None:
    await db.wipe_test_database([events.COLLECTION])
    now = utc_now()
    stored = await asyncio.gather(*(_make(sample, now) for sample in made))
    for query in asked:
        parameters = _parameters(query, now)
        listed = await _walk(client, parameters)
        expected = _expected(stored, query, now)
        if "near" in query and "sort" not in query:
            listed = _with_ties_by_id(listed, stored, query["near"])
        assert listed == expected, query


def _with_ties_by_id(
    listed: list[str], stored: list[Event], center: tuple[float, float]
) -> list[str]:
    """The list, but those that are equally far in the order of their ids.

    The chord is compared to the last bit, in which the places on the equator
    differ as seen from a pole.
    """
    events_by_id = {event.id: event for event in stored}
    sorted_ids: list[str] = []
    for _, tied in itertools.groupby(
        listed, lambda event_id: _to_millimetres(events_by_id[event_id], center)
    ):
        sorted_ids += sorted(tied)
    return sorted_ids


def _to_millimetres(event: Event, center: tuple[float, float]) -> float:
    assert event.location is not None
    place = event.location
    km = _distance_km(center, (place.latitude, place.longitude))
    return round(km, 6)


class TestExamples:
    """Cases that a random walk may miss."""

    @pytest.mark.parametrize(
        ("place", "near", "distance_km"),
        [
            ((0.0, -179.95), "0,179.95", 11.12),
            ((0.0, 180.0), "0,-180", 0.0),
            ((-16.5, 179.9), "-16.5,-179.9", 21.325),
            ((89.9, 0.0), "89.9,180", 22.239),
            ((-90.0, 45.0), "-90,-120", 0.0),
            ((48.87, 2.33), "48.87,2.33", 0.0),
            ((48.87, 2.33), "48.86,2.33", 1.112),
        ],
    )
    async def test_near(
        self,
        client: Client,
        place: tuple[float, float],
        near: str,
        distance_km: float,
    ) -> None:
        location = {"title": "x", "latitude": place[0], "longitude": place[1]}
        event = await factories.event(location=location)
        await factories.event(location={**location, "latitude": 10.0})
        response = await client.get("/v1/events", params={"near": near})
        found = response.json()["items"]
        assert [item["id"] for item in found] == [event.id]
        assert found[0]["distance_km"] == pytest.approx(distance_km, abs=2e-3)

    async def test_nearest_first(self, client: Client) -> None:
        for latitude in (48.9, 48.87, 48.95):
            await factories.event(
                title=str(latitude),
                location={**factories.PARIS, "latitude": latitude},
            )
        params = {"near": "48.87,2.33"}
        response = await client.get("/v1/events", params=params)
        titles = [item["title"] for item in response.json()["items"]]
        assert titles == ["48.87", "48.9", "48.95"]

    @pytest.mark.parametrize(
        ("title", "q"),
        [
            ("Café crème", "CAFE creme"),
            ("STRASSE", "straße"),
            ("Łódź", "lodz"),
            ("Мастерская", "масте"),
            ("ورشة عمل", "ورش"),
            ("हिन्दी कक्षा", "हिन्दी"),
            ("서울 모임", "서"),
            ("東京編程馬拉松", "馬拉松"),
            ("ワークショップ", "ワーク"),
            ("กรุงเทพ", "เทพ"),
            ("किताब मेला", "मेला किता"),
            ("𝐇𝐞𝐥𝐥𝐨 ℌ", "hello h"),
            ("שָׁלוֹם", "שלום"),
            ("O'Neil's R&D 3.0", "neil 3"),
            ("one", "one one one"),
        ],
    )
    async def test_words(self, client: Client, title: str, q: str) -> None:
        event = await factories.event(
            title=title, description="", location=None
        )
        await factories.event(title="Other", description="", location=None)
        response = await client.get("/v1/events", params={"q": q})
        assert [item["id"] for item in response.json()["items"]] == [event.id]

    @pytest.mark.parametrize(
        ("title", "q"),
        [
            ("東の都と京の話", "京都"),
            ("किताब मेला", "ताक"),
            ("हिन्दी", "नद"),
            ("NumPy", "umpy"),
            ("3.11", "3.12"),
        ],
    )
    async def test_other_words(
        self, client: Client, title: str, q: str
    ) -> None:
        await factories.event(title=title, description="", location=None)
        response = await client.get("/v1/events", params={"q": q})
        assert response.json()["items"] == []

    async def test_far_ends_of_time(self, client: Client) -> None:
        """A guess does not lead out of the calendar."""
        for _ in range(2):
            await factories.event()
        for sort, bound in (
            ("-starts_at", {"starts_before": "0001-01-01T00:00:00Z"}),
            ("starts_at", {"starts_after": "9999-12-31T23:59:59Z"}),
        ):
            params: dict[str, Any] = {
                "sort": sort,
                "limit": 1,
                "status": "upcoming",
            }
            await client.get("/v1/events", params=params)
            response = await client.get("/v1/events", params=params | bound)
            assert response.json()["items"] == []

    async def test_words_of_description_and_place(self, client: Client) -> None:
        long_text = " ".join(f"filler{n}" for n in range(900)) + " needle"
        event = await factories.event(description=long_text)
        for q in ("needl", "paix", "filler8 numpy"):
            response = await client.get("/v1/events", params={"q": q})
            found = [item["id"] for item in response.json()["items"]]
            assert found == [event.id]

    async def test_a_walk_is_as_of_its_begin(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = [
            await factories.event(
                starts_at=factories.at(n * HOUR),
                ends_at=factories.at((n + 1) * HOUR),
            )
            for n in range(1, 7)
        ]
        params: dict[str, Any] = {"limit": 2, "status": "upcoming"}
        seen: list[str] = []
        later = utc_now()
        while params.get("cursor", "") is not None:
            page = (await client.get("/v1/events", params=params)).json()
            seen += [item["id"] for item in page["items"]]
            params["cursor"] = page["next_cursor"]
            # Meanwhile the next events start, one after the other.
            later += 3 * HOUR
            monkeypatch.setattr(event_walks, "utc_now", lambda: later)
        assert seen == [event.id for event in made]

    async def test_round_trips(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Other tests' pages reached less far. Here, a first one tells.
        monkeypatch.setattr("utils.event_pages._PACE._reach", {})
        member = await factories.member()
        for n in range(30):
            await factories.event(
                starts_at=factories.at(n * DAY + HOUR),
                ends_at=factories.at(n * DAY + 2 * HOUR),
            )
        for params in (
            {},
            {"near": "48.87,2.33"},
            {"q": "num"},
            {"tag": "workshop"},
            {"mine": "true"},
            {"sort": "-starts_at", "starts_before": factories.at(9 * DAY)},
        ):
            await client.get("/v1/events", params=params, auth=member)
            for _ in range(3):
                cache.forget_all()
                with counted() as commands:
                    await client.get("/v1/events", params=params, auth=member)
                assert commands == ["find", "aggregate"]

    @pytest.mark.parametrize("sort", ["starts_at", "-starts_at"])
    @pytest.mark.parametrize("hours", [1, 5, 50])
    async def test_guessed_spans_keep_the_order(
        self,
        client: Client,
        monkeypatch: pytest.MonkeyPatch,
        sort: str,
        hours: int,
    ) -> None:
        made = [
            await factories.event(
                starts_at=factories.at(n * HOUR),
                ends_at=factories.at((n + 3) * HOUR),
            )
            for n in range(-2, 12)
        ]
        pace = event_pages._PACE  # pylint: disable=protected-access
        monkeypatch.setattr(pace, "guess", lambda *_, **__: hours * 3600.0)
        ids = [event.id for event in made]
        params = {"limit": 3, "sort": sort}
        assert await _walk(client, params) == ids[:: -1 if "-" in sort else 1]

    @pytest.mark.parametrize("sort", ["starts_at", "-starts_at"])
    @pytest.mark.parametrize("hours", [1, math.inf])
    async def test_equal_starts(
        self,
        client: Client,
        monkeypatch: pytest.MonkeyPatch,
        sort: str,
        hours: float,
    ) -> None:
        starts_at = factories.at(HOUR)
        made = [await factories.event(starts_at=starts_at) for _ in range(5)]
        pace = event_pages._PACE  # pylint: disable=protected-access
        monkeypatch.setattr(pace, "guess", lambda *_, **__: hours * 3600)
        ids = sorted(event.id for event in made)
        params = {"limit": 1, "sort": sort}
        assert await _walk(client, params) == ids[:: -1 if "-" in sort else 1]

    async def test_a_guess_that_falls_short(self, client: Client) -> None:
        """After a dense week, the same list of a sparse year is whole."""
        for n in range(25):
            await factories.event(starts_at=factories.at((n + 1) * HOUR))
        await client.get("/v1/events")
        sparse = [
            await factories.event(
                tags=["art"],
                starts_at=factories.at(n * 30 * DAY),
                ends_at=factories.at(n * 30 * DAY + HOUR),
            )
            for n in range(2, 6)
        ]
        params = {"starts_after": factories.at(3 * DAY)}
        with counted() as commands:
            response = await client.get("/v1/events", params=params)
        found = [item["id"] for item in response.json()["items"]]
        assert found == [event.id for event in sparse]
        assert commands == ["aggregate", "aggregate"]

    async def test_the_first_of_a_process(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It does not read all that is to come; nor does one that failed."""
        monkeypatch.setattr("utils.event_pages._PACE._reach", {})
        for n in range(60):
            await factories.event(
                starts_at=factories.at((n + 1) * HOUR),
                ends_at=factories.at((n + 2) * HOUR),
            )
        with kept() as commands:
            response = await client.get("/v1/events")
        assert len(response.json()["items"]) == 20
        assert 20 < await count_examined(commands) < 40

    async def test_what_fails_is_not_guessed_again(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pace = event_pages._PACE  # pylint: disable=protected-access
        reaches = dict[str, float]()
        monkeypatch.setattr(pace, "_reach", reaches)
        # Few are there, so that all are asked for the next time.
        await client.get("/v1/events")
        assert list(reaches.values()) == [math.inf]

        async def away(*_: object, **__: object) -> list[db.Document]:
            raise ConnectionFailure("it took too long")

        monkeypatch.setattr(event_pages, "_find", away)
        cache.forget_all()
        assert (await client.get("/v1/events")).status_code == 503
        assert not reaches


class TestInvalid:
    @pytest.mark.parametrize(
        "params",
        [
            {"limit": 0},
            {"limit": 101},
            {"near": "48.87"},
            {"near": "91,0"},
            {"near": "nan,0"},
            {"near": "a,b"},
            {"radius_km": 5},
            {"near": "0,0", "radius_km": 0},
            {"near": "0,0", "radius_km": "inf"},
            {"near": "0,0", "radius_km": 20016},
            {"sort": "distance"},
            {"sort": "title"},
            {"tag": "party"},
            {"status": "over"},
            {"starts_after": "yesterday"},
            {"starts_after": "2031-05-01T00:00:00"},
            {"q": "x" * 201},
            {"q": ""},
            {"q": "!?"},
            {"near": "1_0,2"},
            {"near": "٣,٢"},
            {"radius": 5},
            {"mine": "perhaps"},
        ],
    )
    async def test_parameters(
        self, client: Client, params: dict[str, Any]
    ) -> None:
        response = await client.get("/v1/events", params=params)
        problem = assert_problem(response, 422, "invalid-request")
        assert problem["errors"][0]["loc"][0] == "query"

    async def test_the_usual_radius_needs_no_place(
        self, client: Client
    ) -> None:
        """A form that is made from the schema sends it along."""
        response = await client.get("/v1/events", params={"radius_km": 25})
        assert response.status_code == 200

    @pytest.mark.parametrize(
        "cursor",
        ["x", "é", "eyJ9", "bnVsbA==", "e30=", "W10=", "AAAA", "x" * 1025],
    )
    async def test_malformed_cursor(self, client: Client, cursor: str) -> None:
        response = await client.get("/v1/events", params={"cursor": cursor})
        problem = assert_problem(response, 422, "invalid-request")
        assert problem["errors"][0]["loc"] == ["query", "cursor"]

    @pytest.mark.parametrize(
        "forged",
        [
            {"as_of_ms": -62135596800000},
            {"as_of_ms": 10**18},
            {"starts_at_ms": -(10**18)},
            {"starts_at_ms": 253402300799999},
            {"starts_at_ms": "0"},
            {"last_id": {"$gt": ""}},
            {"more": 1},
        ],
    )
    async def test_forged_cursor(
        self, client: Client, forged: dict[str, Any]
    ) -> None:
        for _ in range(2):
            await factories.event()
        first = await client.get("/v1/events", params={"limit": 1})
        cursor = json.loads(base64.b64decode(first.json()["next_cursor"]))
        text = base64.b64encode(json.dumps(cursor | forged).encode()).decode()
        response = await client.get("/v1/events", params={"cursor": text})
        assert_problem(response, 422, "invalid-request")

    async def test_cursor_of_another_list(self, client: Client) -> None:
        for _ in range(2):
            await factories.event()
        first = await client.get("/v1/events", params={"limit": 1})
        cursor = first.json()["next_cursor"]
        response = await client.get(
            "/v1/events", params={"cursor": cursor, "tag": "workshop"}
        )
        assert_problem(response, 422, "invalid-request")
        more = await client.get(
            "/v1/events", params={"cursor": cursor, "limit": 5}
        )
        assert more.status_code == 200
