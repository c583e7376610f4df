"""Getting in line for GPUs, over HTTP."""

import httpx
import pytest

from tests import factories
from tests.problems import assert_problem
from utils import session_line, session_quotas

PATH = "/v1/session-requests"
WISH = {"template": "line", "gpus": 1, "hours": 1.0}


@pytest.fixture(name="wish")
async def _wish(client: httpx.AsyncClient) -> dict[str, object]:
    del client
    await factories.gpus(2)
    await factories.session_template("line", gpus_max=4, hours_max=8.0)
    return dict(WISH)


async def test_the_whole_way(
    client: httpx.AsyncClient, wish: dict[str, object]
) -> None:
    member = await factories.member()
    placed = await client.post(PATH, json=wish, auth=member)
    assert placed.status_code == 201, placed.text
    place = placed.json()
    assert place["status"] == "waiting"
    assert place["position"] == 1
    assert place["estimated_at"] is not None
    again = await client.post(PATH, json=wish, auth=member)
    problem = assert_problem(again, 409, "session-request-exists")
    assert problem["session_request_id"] == place["id"]
    await session_line.offer_due()
    seen = await client.get(f"{PATH}/{place['id']}", auth=member)
    assert seen.json()["status"] == "offered"
    assert seen.json()["offer_expires_at"] is not None
    listed = await client.get(PATH, auth=member)
    assert listed.json()["items"] == [seen.json()]
    exported = await client.get("/v1/users/me/export", auth=member)
    assert exported.json()["session_requests"][0]["status"] == "offered"
    left = await client.delete(f"{PATH}/{place['id']}", auth=member)
    assert left.status_code == 204
    gone = await client.get(f"{PATH}/{place['id']}", auth=member)
    assert_problem(gone, 404, "session-request-not-found")


async def test_what_can_never_be(
    client: httpx.AsyncClient, wish: dict[str, object]
) -> None:
    member = await factories.member()

    async def ask(**change: object) -> httpx.Response:
        return await client.post(PATH, json=wish | change, auth=member)

    assert_problem(await ask(template="no"), 404, "template-not-found")
    assert_problem(await ask(gpus=5), 422, "invalid-request")
    assert_problem(await ask(hours=9.0), 422, "invalid-request")
    assert_problem(await ask(gpus=0), 422, "invalid-request")
    problem = assert_problem(await ask(gpus=3), 409, "no-gpu-free")
    assert problem["free"] == 2


async def test_more_than_the_whole_quota(
    client: httpx.AsyncClient, wish: dict[str, object]
) -> None:
    """It would wait for what they may never start."""
    member = await factories.member()
    most = session_quotas.quota_of(None).gpu_hours_per_week
    await factories.session_template("long", gpus_max=4, hours_max=168.0)

    async def ask(hours: float) -> httpx.Response:
        change = {"template": "long", "gpus": 2, "hours": hours}
        return await client.post(PATH, json=wish | change, auth=member)

    refused = await ask(most / 2 + 1)
    problem = assert_problem(refused, 429, "too-many-sessions")
    assert problem["quota"] == "gpu_hours_per_week"
    assert (await ask(most / 2)).status_code == 201


async def test_somebody_elses(
    client: httpx.AsyncClient, wish: dict[str, object]
) -> None:
    del wish
    place = await factories.place_in_line(factories.actor())
    other = await factories.member()
    for method in ("GET", "DELETE"):
        answer = await client.request(method, f"{PATH}/{place.id}", auth=other)
        assert_problem(answer, 404, "session-request-not-found")
        assert_problem(
            await client.request(method, f"{PATH}/{place.id}"),
            401,
            "not-authenticated",
        )
