"""The line for GPUs with real workers, which offer by themselves."""

from typing import Any

import pytest

from tests.engine.engines import soon
from tests.engine.houses import House
from tests.problems import assert_problem
from tests.service.running import Person

pytestmark = pytest.mark.engine

LINE = "/v1/session-requests"


async def _offered(member: Person, place: dict[str, Any]) -> dict[str, Any]:
    """A place in line when GPUs are kept for it."""

    async def ask() -> dict[str, Any]:
        seen: dict[str, Any] = member.get(f"{LINE}/{place['id']}").json()
        return seen if seen["status"] == "offered" else {}

    return await soon(ask)


def _take(member: Person, place: dict[str, Any], wish: dict[str, Any]) -> None:
    """Starts a session with what is kept, and ends it at once."""
    begun = member.send("POST", "/v1/sessions", wish)
    assert begun.status_code == 201, begun.text
    assert begun.json()["gpu_ids"] == ["GPU-0"]
    assert member.get(f"{LINE}/{place['id']}").json()["status"] == "taken"
    ended = member.send("DELETE", f"/v1/sessions/{begun.json()['id']}")
    assert ended.status_code == 204


async def test_one_after_the_other(house: House) -> None:
    """Who waits gets the GPU when its container is gone; nobody else does."""
    with house.service.client() as client:
        second, third, late = (Person.register(client) for _ in range(3))
        first = await house.session(gpus_max=1, gpus=1)
        wish = {"template": first.seen["template"], "gpus": 1, "hours": 1.0}
        refused = second.send("POST", "/v1/sessions", wish)
        problem = assert_problem(refused, 409, "no-gpu-free")
        assert problem["queue_length"] == 0
        assert problem["earliest_expiry"] == first.seen["expires_at"]
        places = []
        for position, member in enumerate((second, third), start=1):
            placed = member.send("POST", LINE, wish)
            assert placed.status_code == 201, placed.text
            assert placed.json()["position"] == position
            places.append(placed.json())
        first.end()
        for member, place in zip((second, third), places, strict=True):
            await _offered(member, place)
            refused = late.send("POST", "/v1/sessions", wish)
            assert_problem(refused, 409, "no-gpu-free")
            _take(member, place, wish)
