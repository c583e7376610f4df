"""Seats over HTTP on a real engine: started, lost, made ready, rehearsed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from config.chores import end_all
from config.docker_engine import DockerEngine
from config.gpus import GpuDevice
from models.base import utc_now
from models.events import Event
from models.sessions import EndReason, Session, SessionStatus
from tests import factories
from tests.engine.engines import PYTHON, soon
from tests.factories import HOUR, Member
from tests.problems import assert_problem
from utils import gpus, prewarming, rsvps, sessions
from utils.session_service import SessionService

pytestmark = pytest.mark.engine

Client = httpx.AsyncClient
SERVE = ["python3", "-m", "http.server", "{port}", "--directory", "/tmp"]


class Inventory:
    """Four GPUs."""

    async def read(self) -> list[GpuDevice]:
        """Those that are there."""
        return [GpuDevice(f"GPU-{n}", "Test GPU", 1024) for n in range(4)]


@dataclass
class Hall:
    """Seats as members and organisers see them."""

    client: Client
    engine: DockerEngine
    service: SessionService
    host: Member

    async def event(self, *, capacity: int, **grant: Any) -> Event:
        """One that goes on, whose seats grant a GPU each."""
        event = await factories.event(
            self.host.actor, starts_at=utc_now() - HOUR, capacity=capacity
        )
        await factories.seat_grant(event, self.host.actor, **grant)
        return event

    async def guest(self, event: Event) -> Member:
        """Somebody who goes, or waits for a seat."""
        member = await factories.member()
        await rsvps.join(event.id, actor=member.actor)
        return member

    async def start(
        self, event: Event, by: Member, *, gpus_asked: int = 1
    ) -> httpx.Response:
        """What a guest is answered who starts a session on their seat."""
        body = {
            "template": "notebook",
            "gpus": gpus_asked,
            "hours": 1.0,
            "event_id": event.id,
        }
        return await self.client.post("/v1/sessions", json=body, auth=by)

    @asynccontextmanager
    async def at_work(self, workers: int = 2) -> AsyncIterator[None]:
        """Does what workers do again and again while the block runs."""

        async def work() -> None:
            while True:
                await prewarming.go_on(self.engine)
                await self.service.look_after()
                await asyncio.sleep(0.05)

        tasks = [asyncio.create_task(work()) for _ in range(workers)]
        try:
            yield
        finally:
            await end_all(tasks, again_seconds=1.0)
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def running(self, event_id: str, count: int) -> list[Session]:
        """The sessions of an event when so many of them run."""
        found: list[Session] = []

        async def ask() -> bool:
            found[:] = [
                each
                for each in await sessions.list_of_event(event_id)
                if each.status is SessionStatus.RUNNING
            ]
            return len(found) == count

        await soon(ask)
        return found

    async def nothing_is_left(self) -> None:
        """Waits until there is no container, and nobody has a GPU."""

        async def ask() -> bool:
            holders = {gpu.session_id for gpu in await gpus.list_all()}
            return holders == {None} and not (
                await self.engine.list_containers()
            )

        await soon(ask)


@pytest_asyncio.fixture(name="hall")
async def _hall(
    client: Client, engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Hall]:
    from app import app  # pylint: disable=import-outside-toplevel

    service = SessionService(engine, Inventory())
    monkeypatch.setattr(app.state, "sessions", service, raising=False)
    await service.take_stock()
    await factories.session_template(
        image=PYTHON, command=SERVE, gpus_max=2, memory_mb=128
    )
    yield Hall(client, engine, service, await factories.admin())
    await service.aclose()


class TestStart:
    async def test_one_session_a_seat_beside_the_own_quota(
        self, hall: Hall
    ) -> None:
        event = await hall.event(capacity=3)
        member = await hall.guest(event)
        response = await hall.start(event, member)
        assert response.status_code == 201, response.text
        shown = response.json()
        assert shown["event_id"] == event.id
        assert factories.parse(shown["expires_at"]) == event.ends_at
        async with hall.at_work():
            [session] = await hall.running(event.id, 1)
            again = await hall.start(event, member)
            problem = assert_problem(again, 409, "session-state")
            assert problem["session_id"] == session.id
            stranger = await factories.member()
            assert_problem(
                await hall.start(event, stranger), 403, "not-entitled"
            )
            # One GPU is nobody's seat.
            body = {"template": "notebook", "gpus": 1, "hours": 0.5}
            own = await hall.client.post(
                "/v1/sessions", json=body, auth=member
            )
            assert own.status_code == 201, own.text
            others = await hall.client.post(
                "/v1/sessions", json=body, auth=stranger
            )
            assert_problem(others, 409, "no-gpu-free")

    async def test_the_right_goes_with_the_seat_at_once(
        self, hall: Hall
    ) -> None:
        event = await hall.event(capacity=2, gpus_per_seat=2)
        leaver, stayer, waiting = [await hall.guest(event) for _ in range(3)]
        # All GPUs are in use.
        for member in (leaver, stayer):
            await factories.seat_session(event, member)
        async with hall.at_work():
            await hall.running(event.id, 2)
            problem = await hall.start(event, waiting)
            assert_problem(problem, 403, "not-entitled")
            await rsvps.leave(event.id, actor=leaver.actor)
            response = await hall.start(event, waiting, gpus_asked=2)
            assert response.status_code == 201, response.text
            found = await hall.running(event.id, 2)
            assert waiting.user.id in {each.owner_id for each in found}
            refused = await hall.start(event, leaver)
            assert_problem(refused, 403, "not-entitled")

    async def test_leaving_while_starting_leaves_nothing(
        self, hall: Hall
    ) -> None:
        event = await hall.event(capacity=4)
        members = [await hall.guest(event) for _ in range(4)]

        async def leave(member: Member) -> None:
            await rsvps.leave(event.id, actor=member.actor)

        async with hall.at_work():
            results = await asyncio.gather(
                *(hall.start(event, member) for member in members),
                *(leave(member) for member in members),
            )
            answers = [each for each in results if each is not None]
            assert {each.status_code for each in answers} <= {201, 403, 409}
            await hall.nothing_is_left()
        for session in await sessions.list_of_event(event.id):
            assert session.end_reason is EndReason.SEAT_LOST

    async def test_a_cancelled_event_ends_them(self, hall: Hall) -> None:
        event = await hall.event(capacity=2)
        for _ in range(2):
            await hall.start(event, await hall.guest(event))
        async with hall.at_work():
            await hall.running(event.id, 2)
            response = await hall.client.post(
                f"/v1/events/{event.id}/cancel", auth=hall.host
            )
            assert response.status_code == 200
            await hall.nothing_is_left()


class TestReady:
    async def test_each_guest_has_one_before_the_doors_open(
        self, hall: Hall
    ) -> None:
        event = await factories.event(
            hall.host.actor,
            starts_at=utc_now() + timedelta(minutes=5),
            capacity=4,
        )
        members = [await hall.guest(event) for _ in range(3)]
        await factories.seat_grant(
            event, hall.host.actor, prewarm="start", prewarm_minutes=10
        )
        async with hall.at_work(workers=3):
            found = await hall.running(event.id, 3)
            refused = await hall.start(event, members[0])
            assert_problem(refused, 403, "not-entitled")
        assert {each.owner_id for each in found} == {
            member.user.id for member in members
        }
        assert len(await sessions.list_of_event(event.id)) == 3

    async def test_restarted(self, hall: Hall) -> None:
        event = await hall.event(capacity=2)
        member = await hall.guest(event)
        await hall.start(event, member)
        async with hall.at_work():
            [first] = await hall.running(event.id, 1)
            response = await hall.client.post(
                f"/v1/events/{event.id}/board/restart",
                json={"all": True},
                auth=hall.host,
            )
            [outcome] = response.json()["outcomes"]
            assert outcome["done"] and outcome["session_id"] == first.id

            async def again() -> bool:
                found = await hall.running(event.id, 1)
                return found[0].id != first.id

            await soon(again)
        [container] = await hall.engine.list_containers()
        assert container.session_id != first.id

    async def test_rehearsed(self, hall: Hall) -> None:
        event = await hall.event(capacity=1)
        path = f"/v1/events/{event.id}/compute/rehearsal"
        # Three GPUs are no seat's.
        response = await hall.client.post(
            path, json={"sessions": 4}, auth=hall.host
        )
        assert response.status_code == 202, response.text
        again = await hall.client.post(
            path, json={"sessions": 1}, auth=hall.host
        )
        assert_problem(again, 409, "rehearsal-runs")
        async with hall.at_work():

            async def done() -> bool:
                answer = await hall.client.get(path, auth=hall.host)
                return bool(answer.json()["status"] == "done")

            await soon(done)
            report = (await hall.client.get(path, auth=hall.host)).json()
            assert report["came_up"] == 3
            assert 0 < report["p50_seconds"] <= report["max_seconds"]
            assert sum(report["errors"].values()) == 1
            await hall.nothing_is_left()
