"""The contestants of `bench.peers`, asked once: they answer alike."""

import importlib
import json
import os
import shutil
import tempfile
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from bench.peers import contestants, payloads, stores
from bench.peers.stores import opened
from models.base import new_id
from tests import factories

_FIRST: Final = payloads.event(0)


async def answers(client: httpx.AsyncClient) -> dict[str, Any]:
    """What an app says to each operation, once it has an event."""
    created = await client.post("/v1/events", json=_FIRST)
    assert created.status_code == 201
    found = {}
    for operation in payloads.operations():
        path = operation.path.format(event_id=created.json()["id"])
        if operation.body is None:
            answer = await client.get(path)
        else:
            answer = await client.post(path, json=json.loads(operation.body))
        assert answer.is_success
        found[operation.name] = payloads.alike(answer.json())
    return found


@pytest_asyncio.fixture(name="expected")
async def _expected(client: httpx.AsyncClient) -> dict[str, Any]:
    """What Muster says."""
    client.auth = await factories.admin()
    return await answers(client)


@pytest.mark.parametrize("name", ["bare", "sync"])
async def test_peers_on_mongodb_answer_as_muster_does(
    name: str, expected: dict[str, Any]
) -> None:
    app = importlib.import_module(f"bench.peers.{name}").app
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://peer.test"
        ) as client,
    ):
        for method, path in (("GET", "/v1/events"), ("POST", "/v1/events")):
            refused = await client.request(method, path)
            assert refused.status_code == 401
        token = contestants.token(new_id(), key=os.environ["JWT_SECRET_KEY"])
        client.headers["Authorization"] = f"Bearer {token}"
        assert await answers(client) == expected


@pytest.mark.service
@pytest.mark.skipif(
    stores.find_postgres() is None
    or shutil.which("redis-server") is None
    or not contestants.has_environment(),
    reason="needs PostgreSQL, Redis and what `python -m bench.peers` installs",
)
async def test_the_template_answers_as_muster_does(
    expected: dict[str, Any],
) -> None:
    # Not in pytest's own folder: PostgreSQL's user can't come there.
    with (
        tempfile.TemporaryDirectory() as folder,
        contestants.template(opened(folder) / "template") as template,
    ):
        async with httpx.AsyncClient(
            base_url=template.server.url(""),
            headers={"Authorization": f"Bearer {template.token}"},
        ) as client:
            assert await answers(client) == expected
