"""Origin: what is counted of a request's database commands."""

import asyncio
import contextvars
from collections.abc import Iterator

import httpx
import pytest

from config import db
from config.origin import Origin, origin_of_task
from tests import factories
from tests.commands import counted
from tests.factories import Member


@pytest.fixture(name="origin")
def _origin() -> Iterator[Origin]:
    origin = Origin("request-1", "192.0.2.1", {"state": {}})
    token = origin_of_task.set(origin)
    yield origin
    origin_of_task.reset(token)


async def _find(name: str) -> None:
    await db.find_by_id("test", name)


@pytest.mark.usefixtures("database")
class TestCommands:
    async def test_they_are_those_of_the_driver(self, origin: Origin) -> None:
        """Reads, writes, pages of a cursor, a transaction's end."""
        with counted() as commands:
            member = await factories.member()
            await factories.event(member.actor)
            found = db.collection("users").find({}, batch_size=2)
            for _ in range(6):
                await factories.member()
            await found.to_list()
        assert {"find", "getMore", "insert"} < set(commands)
        assert "commitTransaction" in commands
        assert origin.commands == commands
        assert origin.command_count == len(commands)
        assert 0 < origin.command_seconds < 60

    async def test_tasks_inherit_their_request(self, origin: Origin) -> None:
        await asyncio.gather(_find("x"), _find("y"))
        assert origin.commands == ["find", "find"]

    async def test_what_comes_after_the_end_is_not_counted(
        self, origin: Origin
    ) -> None:
        await _find("x")
        origin.end()
        await _find("y")
        assert origin.command_count == 1

    async def test_names_are_bounded(self, origin: Origin) -> None:
        for _ in range(1000):
            origin.count("find", 0.001)
        assert origin.command_count == 1000
        assert len(origin.commands) == 100

    async def test_without_a_request_nothing_is_counted(self) -> None:
        nobody = contextvars.Context().run(origin_of_task.get)
        nobody.count("find", 0.001)
        assert (nobody.request_id, nobody.command_count) == ("-", 0)


class TestRequests:
    async def test_requests_are_told_apart(
        self, client: httpx.AsyncClient
    ) -> None:
        member: Member = await factories.member()
        seen: list[Origin] = []

        async def ask(path: str) -> None:
            await client.get(path, auth=member)
            seen.append(origin_of_task.get())

        await asyncio.gather(ask("/v1/users/me"), ask("/v1/auth/validate"))
        assert sorted(origin.command_count for origin in seen) == [1, 2]
        assert all(origin.complete and origin.status for origin in seen)
