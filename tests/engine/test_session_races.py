"""Leases hold: many clients, several workers, any of them killed anywhere."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from config.docker_engine import DockerEngine
from config.gpus import GpuDevice
from models.base import utc_now
from models.event_compute import RehearsalStart
from models.sessions import Session, SessionStatus
from tests import factories
from tests.engine.engines import PYTHON, docker_host, soon
from tests.factories import HOUR, Member
from tests.service.running import MARKS, Service
from utils import event_compute, gpus, rsvps, seat_grants, sessions

pytestmark = [pytest.mark.engine, *MARKS]

GPUS = [f"GPU-{number}" for number in range(4)]
CLIENTS = 50
SERVE = ["python3", "-m", "http.server", "{port}", "--directory", "/tmp"]
WISH = {"template": "notebook", "gpus": 1, "hours": 1}


def _steps(short: Sequence[str], long: Sequence[str]) -> list[Any]:
    """Where a worker dies and another one goes on: some, and all others."""
    return [pytest.param(each) for each in short] + [
        pytest.param(each, marks=pytest.mark.long) for each in long
    ]


UP = _steps(
    ["after-create", "during-ensure-1", "after-ensure"],
    [
        "before-create",
        "before-ensure",
        "during-ensure-2",
        "during-ensure-3",
        "before-change",
        "after-change",
        "before-probe",
        "after-probe",
    ],
)
DOWN = _steps(
    ["before-remove", "before-finish"],
    [
        "before-end",
        "after-end",
        "during-remove-1",
        "after-remove",
        "after-finish",
    ],
)


class Served:
    """A service of several workers on this process's database and engine."""

    def __init__(self, service: Service, steps: Path) -> None:
        self.service = service
        self.steps = steps

    async def post(self, by: Member) -> httpx.Response | None:
        """What a member is answered who starts a session; None by nobody."""
        async with self._client() as client:
            try:
                return await client.post("/v1/sessions", json=WISH, auth=by)
            except httpx.TransportError:
                return None

    async def delete(self, by: Member, session: Session) -> None:
        """Ends a session, asked again where nobody answers."""

        async def ask() -> bool:
            async with self._client() as client:
                try:
                    path = f"/v1/sessions/{session.id}"
                    answer = await client.delete(path, auth=by)
                except httpx.TransportError:
                    return False
                return answer.status_code == 204

        await soon(ask)

    def _client(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_keepalive_connections=0)
        return httpx.AsyncClient(
            base_url=self.service.url,
            limits=limits,
            timeout=180,
            trust_env=False,
        )


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("races")
    (steps := folder / "steps").mkdir()
    with Service(
        folder,
        *("gunicorn", "--config", "python:config.server"),
        "tests.engine.dying_app:app",
        WEB_CONCURRENCY="2",
        ENVIRONMENT="development",
        MONGO_DB_URI=os.environ["MUSTER_TEST_DB_URI"],
        MONGO_DB_NAME=os.environ["MONGO_DB_NAME"],
        JWT_SECRET_KEY=os.environ["JWT_SECRET_KEY"],
        DOCKER_HOST=docker_host(),
        SESSION_GPUS=",".join(f"{each}=Test/1024" for each in GPUS),
        DYING_FOLDER=str(steps),
    ) as service:
        yield Served(service, steps)


@pytest_asyncio.fixture(name="served")
async def _served(
    service: Served, database: None, engine: DockerEngine
) -> AsyncIterator[Served]:
    del database
    await gpus.sync([GpuDevice(each, "Test", 1024) for each in GPUS])
    await factories.session_template(
        image=PYTHON, command=SERVE, memory_mb=64, disk_mb=4, pids_max=64
    )
    # What the check of the engine makes is made before anybody dies.
    await engine.check()
    yield service
    for step in service.steps.iterdir():
        step.unlink(missing_ok=True)


async def _holders() -> list[str]:
    found = await gpus.list_all()
    return sorted(gpu.session_id for gpu in found if gpu.session_id)


async def _containers(engine: DockerEngine) -> list[str]:
    return sorted(each.session_id for each in await engine.list_containers())


async def _is(session_id: str, status: SessionStatus) -> bool:
    found = await sessions.find(session_id)
    return found is not None and found.status is status


async def test_fifty_for_four(served: Served, engine: DockerEngine) -> None:
    members = [await factories.member() for _ in range(CLIENTS)]
    answers = await asyncio.gather(*(served.post(each) for each in members))
    won: list[dict[str, Any]] = []
    lost: list[dict[str, Any]] = []
    for answer in answers:
        assert answer is not None
        (won if answer.status_code == 201 else lost).append(answer.json())
    assert (len(won), len(lost)) == (4, CLIENTS - 4)
    assert sorted(each["gpu_ids"][0] for each in won) == GPUS
    ids = sorted(each["id"] for each in won)
    assert await _holders() == ids == await _containers(engine)
    earliest = min(each["expires_at"] for each in won)
    for problem in lost:
        assert problem["type"] == "/problems/no-gpu-free"
        assert problem["queue_length"] == 0
        assert problem["earliest_expiry"] >= earliest
    for session_id in ids:
        await soon(partial(_is, session_id, SessionStatus.RUNNING))


@pytest.mark.parametrize("step", UP)
async def test_killed_on_the_way_up(
    served: Served, engine: DockerEngine, step: str
) -> None:
    member = await factories.member()
    (served.steps / step).touch()
    await served.post(member)

    async def has_begun() -> bool:
        if not await sessions.list_of(member.user.id):
            # The worker died before anything was written.
            await served.post(member)
        return not (served.steps / step).exists()

    await soon(has_begun)
    await soon(partial(_any, member))
    (session,) = await sessions.list_of(member.user.id)
    await soon(partial(_is, session.id, SessionStatus.RUNNING))
    assert await _holders() == [session.id] == await _containers(engine)
    await served.delete(member, session)
    await soon(partial(_is, session.id, SessionStatus.STOPPED))
    assert await _holders() == [] == await _containers(engine)


@pytest.mark.parametrize("step", DOWN)
async def test_killed_on_the_way_down(
    served: Served, engine: DockerEngine, step: str
) -> None:
    member = await factories.member()
    answer = await served.post(member)
    assert answer is not None and answer.status_code == 201, answer
    (session,) = await sessions.list_of(member.user.id)
    await soon(partial(_is, session.id, SessionStatus.RUNNING))
    (served.steps / step).touch()
    await served.delete(member, session)
    await soon(partial(_is, session.id, SessionStatus.STOPPED))
    assert await _holders() == [] == await _containers(engine)

    async def has_died() -> bool:
        return not (served.steps / step).exists()

    await soon(has_died)


async def _any(member: Member) -> bool:
    return bool(await sessions.list_of(member.user.id))


class TestSeats:
    """What is started for those who have seats, though workers die."""

    @pytest.mark.parametrize(
        "step",
        _steps(
            ["after-create"],
            ["before-create", "after-note", "during-ensure-1"],
        ),
    )
    async def test_each_guest_has_one_session(
        self, served: Served, engine: DockerEngine, step: str
    ) -> None:
        host = await factories.admin()
        event = await factories.event(
            host.actor, starts_at=utc_now() + HOUR / 12, capacity=4
        )
        guests = [await factories.member() for _ in range(3)]
        for guest in guests:
            await rsvps.join(event.id, actor=guest.actor)
        (served.steps / step).touch()
        await factories.seat_grant(
            event, host.actor, prewarm="start", prewarm_minutes=10
        )

        async def ready() -> bool:
            grant = await seat_grants.get_grant(event.id)
            return (
                grant.warmed_at is not None
                and not grant.wanted
                and len(await _running(event.id)) == len(guests)
            )

        await soon(ready)
        assert not (served.steps / step).exists()
        found = await _running(event.id)
        assert sorted(each.owner_id for each in found) == sorted(
            guest.user.id for guest in guests
        )
        ids = sorted(each.id for each in found)
        assert await _containers(engine) == ids == await _holders()

    @pytest.mark.parametrize("step", _steps(["after-note"], ["after-create"]))
    async def test_a_rehearsal_ends_with_nothing_left(
        self, served: Served, engine: DockerEngine, step: str
    ) -> None:
        host = await factories.admin()
        event = await factories.event(host.actor, capacity=4)
        await factories.seat_grant(event, host.actor)
        (served.steps / step).touch()
        rehearsal = await event_compute.start_rehearsal(
            event.id, RehearsalStart(sessions=3), actor=host.actor
        )

        async def done() -> bool:
            now = await event_compute.get_rehearsal(event.id, actor=host.actor)
            return now.report is not None and not await _holders()

        await soon(done)
        report = (await seat_grants.get_grant(event.id)).rehearsal
        assert report is not None and report.report is not None
        assert report.report.came_up == 3
        assert len(await sessions.list_of_event(rehearsal.id)) == 3
        assert await _containers(engine) == []


async def _running(event_id: str) -> list[Session]:
    return [
        each
        for each in await sessions.list_of_event(event_id)
        if each.status is SessionStatus.RUNNING
    ]
