"""What a page costs does not grow with what is stored.

The database says how many documents it looks at. `python -m bench.growth` has
the figures; here are the lists of which the embedded database would read all.
"""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from bench.growth_side import count_examined
from config import db
from models.base import new_id, utc_now
from models.events import Event
from models.rsvps import GuestImport
from tests import factories
from tests.commands import kept
from tests.factories import HOUR, Member
from utils import rsvps, users

Client = httpx.AsyncClient

_MANY = 600
_SEATS = 10
# A page has 20; around it, and for who asks, some more is read.
_FEW = 70


async def _cost(client: Client, who: Member, path: str, **asked: Any) -> int:
    method = "PATCH" if "json" in asked else "GET"
    with kept() as commands:
        response = await client.request(method, path, auth=who, **asked)
    assert response.is_success, response.text
    return await count_examined(commands)


@pytest.mark.usefixtures("database")
class TestGuests:
    @pytest.fixture
    async def event(self) -> Event:
        """An event with few seats, and many who wait."""
        event = await factories.event(capacity=_SEATS)
        at = utc_now() - HOUR
        await rsvps.import_guests(
            event.id,
            [
                GuestImport(user_id=new_id(), created_at=at)
                for _ in range(_MANY)
            ],
        )
        return event

    async def test_pages(self, client: Client, event: Event) -> None:
        admin = await factories.admin()
        path, params = f"/v1/events/{event.id}/rsvps", {"limit": 20}
        assert await _cost(client, admin, path, params=params) < _FEW
        first = await client.get(path, params=params, auth=admin)
        after = {**params, "cursor": first.json()["next_cursor"]}
        assert await _cost(client, admin, path, params=after) < _FEW

    async def test_the_first_in_line(
        self, client: Client, event: Event
    ) -> None:
        admin, more = await factories.admin(), {"capacity": _SEATS + 2}
        path = f"/v1/events/{event.id}"
        assert await _cost(client, admin, path, json=more) < _FEW

    async def test_the_last_in_line(self, event: Event) -> None:
        with kept() as commands:
            answer = await rsvps.join(event.id, actor=factories.actor())
        assert answer.position == _MANY - _SEATS + 1
        assert await count_examined(commands) < _FEW


class TestMembers:
    @pytest.mark.parametrize("params", [{}, {"q": "ada"}, {"role": "member"}])
    async def test_pages(self, client: Client, params: dict[str, str]) -> None:
        users._PACE.clear()  # pylint: disable=protected-access
        admin = await factories.admin()
        await _register(await factories.member(first_name="Ada"), _MANY)
        # The first of a process looks around, which others may then do without.
        first = await client.get("/v1/users", params=params, auth=admin)
        # A list of one, or by a word that nobody has, changes nothing.
        for rare in {"limit": 1}, {"q": "nobody"}:
            await client.get("/v1/users", params=rare, auth=admin)
        cost = await _cost(client, admin, "/v1/users", params=params)
        assert cost < _FEW
        after = {**params, "cursor": first.json()["next_cursor"]}
        assert await _cost(client, admin, "/v1/users", params=after) < _FEW


async def _register(member: Member, count: int) -> None:
    """Members like this one, who came before them, one each minute."""
    stored = await db.collection("users").find_one({"_id": member.user.id})
    assert stored is not None
    await db.insert_missing(
        "users",
        [
            stored
            | {
                "_id": new_id(),
                "email_key": f"{new_id()}@example.org",
                "revision": new_id(),
                "created_at": utc_now() - timedelta(minutes=number),
            }
            for number in range(count, 0, -1)
        ],
    )
