"""Sessions over HTTP on a real engine: their whole life, and what ends it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network
from typing import Any

import httpx
import pytest
import pytest_asyncio

from config.container_configs import Place
from config.docker_engine import DockerEngine
from config.engine import Container, ContainerSpec
from config.gpus import GpuDevice
from config.main import settings
from models.base import new_id, utc_now
from models.sessions import EndReason, Session, SessionStatus
from tests import factories
from tests.commands import counted
from tests.engine.daemons import Daemon, running
from tests.engine.engines import (
    BUSYBOX,
    PYTHON,
    docker,
    docker_host,
    place_of_run,
    soon,
    spec,
)
from tests.factories import HOUR, Member
from tests.house.test_budgets import BUDGETS
from tests.problems import assert_problem
from utils import (
    gpus,
    mails,
    session_service,
    session_templates,
    sessions,
)
from utils.session_service import SessionService

pytestmark = pytest.mark.engine

Client = httpx.AsyncClient
SERVE = ["python3", "-m", "http.server", "{port}", "--directory", "/tmp"]
SLEEP = ["sleep", "600"]


class Inventory:
    """GPUs that come and go as a test likes."""

    def __init__(self, *ids: str) -> None:
        self.ids = ids

    async def read(self) -> list[GpuDevice]:
        """Those that are there now."""
        return [GpuDevice(each, "Test GPU", 1024) for each in self.ids]


class _Slow(DockerEngine):
    """An engine that takes longer to start something than anybody waits."""

    # It is the same one, asked by another.
    # pylint: disable-next=super-init-not-called
    def __init__(self, engine: DockerEngine) -> None:
        vars(self).update(vars(engine))

    async def ensure(
        self,
        spec: ContainerSpec,  # pylint: disable=redefined-outer-name
    ) -> Container:
        """Starts it, and does not say so."""
        await super().ensure(spec)
        await asyncio.sleep(3600)
        raise AssertionError("nobody waits so long")


@dataclass
class Bench:
    """Sessions as members and workers see them."""

    client: Client
    service: SessionService
    inventory: Inventory
    engine: DockerEngine

    async def start(self, by: Member, **wish: Any) -> httpx.Response:
        """What a member is answered who starts a session."""
        body = {"template": "notebook", "gpus": 1, "hours": 1, **wish}
        return await self.client.post("/v1/sessions", json=body, auth=by)

    async def started(self, by: Member, **wish: Any) -> Session:
        """A session that has begun."""
        response = await self.start(by, **wish)
        assert response.status_code == 201, response.text
        return await self.stored(response.json()["id"])

    async def running(self, by: Member, **wish: Any) -> Session:
        """A session whose port answers."""
        session = await self.started(by, **wish)
        return await self.becomes(session, SessionStatus.RUNNING)

    async def becomes(self, session: Session, status: SessionStatus) -> Session:
        """The session when it is so far, as a worker's chores make it."""

        async def ask() -> bool:
            await self.service.look_after()
            return (await self.stored(session.id)).status is status

        await soon(ask)
        return await self.stored(session.id)

    async def stored(self, session_id: str) -> Session:
        """What is written down of a session."""
        found = await sessions.find(session_id)
        assert found is not None
        return found

    async def holders(self) -> list[str | None]:
        """Who has the GPUs."""
        return [gpu.session_id for gpu in await gpus.list_all()]

    async def container_ids(self) -> list[str]:
        """Whose containers there are."""
        found = await self.engine.list_containers()
        return [each.session_id for each in found]

    async def shown(self, by: Member, session: Session) -> dict[str, Any]:
        """What a member sees of a session."""
        path = f"/v1/sessions/{session.id}"
        shown: dict[str, Any] = (await self.client.get(path, auth=by)).json()
        return shown

    async def nothing_is_left(self) -> None:
        """No container, and no GPU that somebody has."""
        assert await self.container_ids() == []
        assert set(await self.holders()) <= {None}


@pytest_asyncio.fixture(name="bench")
async def _bench(
    client: Client, engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    from app import app  # pylint: disable=import-outside-toplevel

    inventory = Inventory("GPU-0", "GPU-1")
    service = SessionService(engine, inventory)
    monkeypatch.setattr(app.state, "sessions", service, raising=False)
    await service.take_stock()
    await _template("notebook", SERVE)
    yield Bench(client, service, inventory, engine)
    await service.aclose()


async def _template(name: str, command: list[str], **overrides: Any) -> None:
    await factories.session_template(
        name,
        **{
            "image": PYTHON,
            "command": command,
            "memory_mb": 64,
            "disk_mb": 4,
            "pids_max": 64,
            **overrides,
        },
    )


async def _make_past(session: Session, **fields: Any) -> None:
    """Has something of a session be over, and it looked at."""
    while True:
        found = await sessions.find(session.id)
        assert found is not None
        if await sessions.change(found, **fields, due_at=utc_now()):
            await asyncio.sleep(0.002)
            return


class TestLife:
    async def test_from_start_to_end(self, bench: Bench) -> None:
        owner, admin = await factories.member(), await factories.admin()
        response = await bench.start(owner)
        assert response.status_code == 201
        begun = response.json()
        assert (begun["status"], begun["gpu_ids"]) == ("starting", ["GPU-0"])
        assert len(begun["token"]) > 40
        session = await bench.stored(begun["id"])
        session = await bench.becomes(session, SessionStatus.RUNNING)
        shown = await bench.shown(owner, session)
        async with Client() as direct:
            page = await direct.get(shown["direct_url"])
        assert page.status_code == 200
        seen_by_admin = await bench.shown(admin, session)
        assert seen_by_admin == {**shown, "token": None}
        assert await bench.holders() == [session.id, None]

        path = f"/v1/sessions/{session.id}"
        assert (await bench.client.delete(path, auth=owner)).status_code == 204
        session = await bench.becomes(session, SessionStatus.STOPPED)
        assert session.end_reason is EndReason.OWNER
        await bench.nothing_is_left()
        over = await bench.shown(owner, session)
        assert (over["url"], over["direct_url"]) == (None, None)
        assert (await bench.client.delete(path, auth=owner)).status_code == 204

    async def test_starts_only_when_the_port_answers(
        self, bench: Bench
    ) -> None:
        late = "while [ ! -e /tmp/go ]; do sleep 0.05; done; exec "
        await _template("late", ["sh", "-c", late + " ".join(SERVE)])
        session = await bench.started(
            await factories.member(), template="late"
        )
        for _ in range(4):
            await bench.service.look_after()
            await asyncio.sleep(0.3)
        session = await bench.stored(session.id)
        assert session.status is SessionStatus.STARTING
        await _in(session, "touch", "/tmp/go")
        await bench.becomes(session, SessionStatus.RUNNING)

    async def test_knows_its_token_and_path(self, bench: Bench) -> None:
        await _template(
            "shell",
            ["sh", "-c", "env; echo {token} {base_path} {port}; sleep 600"],
        )
        owner = await factories.member()
        session = await bench.started(owner, template="shell")
        path = f"/v1/sessions/{session.id}"

        async def said() -> str:
            response = await bench.client.get(f"{path}/logs", auth=owner)
            return response.text if " 8888" in response.text else ""

        logs = await soon(said)
        assert f"{session.token} {path}/proxy/ 8888\n" in logs
        for name in ("SESSION_TOKEN", "JUPYTER_TOKEN"):
            assert f"{name}={session.token}\n" in logs
        assert f"SESSION_BASE_PATH={path}/proxy/\n" in logs
        assert "NVIDIA_VISIBLE_DEVICES=GPU-0\n" in logs

    async def test_logs_follow_to_the_end(self, bench: Bench) -> None:
        await _template("talk", ["sh", "-c", "echo one; sleep 1; echo two"])
        owner = await factories.member()
        session = await bench.started(owner, template="talk")
        response = await bench.client.get(
            f"/v1/sessions/{session.id}/logs?follow=true", auth=owner
        )
        assert response.text == "one\ntwo\n"

    async def test_stats(self, bench: Bench) -> None:
        owner = await factories.member()
        session = await bench.running(owner)
        path = f"/v1/sessions/{session.id}/stats"
        stats = (await bench.client.get(path, auth=owner)).json()
        assert 1 < stats["memory_mb"] < stats["memory_limit_mb"] == 64
        assert stats["pids"] >= 1
        await sessions.end(session.id, reason=EndReason.OWNER)
        await bench.becomes(session, SessionStatus.STOPPED)
        response = await bench.client.get(path, auth=owner)
        assert_problem(response, 409, "session-state")


class TestLimits:
    @pytest.mark.parametrize("wish", [{"gpus": 5}, {"hours": 9}], ids=str)
    async def test_of_the_template(
        self, bench: Bench, wish: dict[str, Any]
    ) -> None:
        response = await bench.start(await factories.member(), **wish)
        problem = assert_problem(response, 422, "invalid-request")
        assert problem["errors"][0]["loc"] == ["body", *wish]

    async def test_of_the_tier(self, bench: Bench) -> None:
        owner = await factories.member()
        for _ in range(2):
            await bench.started(owner, gpus=0)
        response = await bench.start(owner, gpus=0)
        problem = assert_problem(response, 429, "too-many-sessions")
        assert (problem["quota"], problem["limit"]) == ("concurrent", 2)
        assert int(response.headers["Retry-After"]) > 3000

    async def test_what_is_not_there(self, bench: Bench) -> None:
        member = await factories.member()
        response = await bench.start(member, template="other")
        assert_problem(response, 404, "template-not-found")
        first = await bench.started(member, gpus=2)
        response = await bench.start(await factories.member())
        problem = assert_problem(response, 409, "no-gpu-free")
        assert (problem["asked"], problem["free"]) == (1, 0)
        assert problem["queue_length"] == 0
        ends = factories.parse(problem["earliest_expiry"])
        assert ends == first.expires_at

    async def test_a_lost_gpu_is_given_to_nobody(self, bench: Bench) -> None:
        bench.inventory.ids = ("GPU-0",)
        await bench.service.take_stock()
        member = await factories.member()
        await bench.started(member)
        response = await bench.start(member)
        assert_problem(response, 409, "no-gpu-free")


class TestRepeated:
    async def test_one_key_one_session(self, bench: Bench) -> None:
        member = await factories.member()
        headers = {"Idempotency-Key": new_id()}
        body = {"template": "notebook", "gpus": 1, "hours": 1}
        answers = [
            await bench.client.post(
                "/v1/sessions", json=body, auth=member, headers=headers
            )
            for _ in range(2)
        ]
        assert [each.status_code for each in answers] == [201, 201]
        assert answers[0].json() == answers[1].json()
        assert len(await bench.container_ids()) == 1


class TestEnds:
    async def test_expiry_after_a_warning(self, bench: Bench) -> None:
        owner = await factories.member()
        session = await bench.running(owner)
        assert not (await bench.shown(owner, session))["expires_soon"]
        soon_over = utc_now() + timedelta(minutes=5)
        await _make_past(session, expires_at=soon_over)
        for _ in range(3):
            await bench.service.look_after()
        assert (await bench.shown(owner, session))["expires_soon"]
        (mail,) = await mails.list_of(owner.user.id)
        assert mail.kind == "session-expires"
        assert mail.facts["session_id"] == session.id
        await _make_past(session, expires_at=utc_now())
        session = await bench.becomes(session, SessionStatus.STOPPED)
        assert session.end_reason is EndReason.EXPIRED
        await bench.nothing_is_left()

    async def test_who_extends_is_warned_again(self, bench: Bench) -> None:
        owner = await factories.member()
        session = await bench.running(owner)
        await _make_past(session, expires_at=utc_now() + HOUR / 12)
        await bench.service.look_after()
        response = await bench.client.post(
            f"/v1/sessions/{session.id}/extend", json={"hours": 1}, auth=owner
        )
        assert not response.json()["expires_soon"]
        await _make_past(session, expires_at=utc_now() + HOUR / 20)
        await bench.service.look_after()
        assert len(await mails.list_of(owner.user.id)) == 2

    async def test_idle(self, bench: Bench) -> None:
        both = f"({' '.join(SERVE)}) & exec python3 -c 'while True: pass'"
        await _template("lazy", SERVE, idle_minutes=1)
        await _template("busy", ["sh", "-c", both], idle_minutes=1)
        owner = await factories.member()
        lazy = await bench.running(owner, template="lazy")
        working = await bench.running(owner, template="busy")
        # What they worked so far is seen.
        for session in (lazy, working):
            await _make_past(session)
        await bench.service.look_after()
        await asyncio.sleep(1)
        for session in (lazy, working):
            await _make_past(session, busy_at=utc_now() - HOUR)
        lazy = await bench.becomes(lazy, SessionStatus.STOPPED)
        assert lazy.end_reason is EndReason.IDLE
        working = await bench.stored(working.id)
        assert working.status is SessionStatus.RUNNING

    @pytest.mark.parametrize(
        ("command", "says"),
        [
            (["sh", "-c", "exit 3"], "exit code 3"),
            (["python3", "-c", "x = 'x' * 10**9"], "more memory"),
        ],
    )
    async def test_command_ends_before_it_answers(
        self, bench: Bench, command: list[str], says: str
    ) -> None:
        await _template("brief", command)
        owner = await factories.member()
        session = await bench.started(owner, template="brief")
        session = await bench.becomes(session, SessionStatus.FAILED)
        assert session.end_reason is EndReason.START_FAILED
        assert says in (await bench.shown(owner, session))["error"]
        await bench.nothing_is_left()

    async def test_never_answers(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hasty = settings.model_copy(update={"session_start_seconds": 1})
        monkeypatch.setattr(session_service, "settings", hasty)
        await _template("deaf", SLEEP)
        session = await bench.started(
            await factories.member(), template="deaf"
        )
        session = await bench.becomes(session, SessionStatus.FAILED)
        assert session.error is not None
        assert "port 8888" in session.error
        await bench.nothing_is_left()

    async def test_container_dies(self, bench: Bench) -> None:
        session = await bench.running(await factories.member())
        await docker("kill", await _container_of(session))
        await bench.service.reconcile()
        session = await bench.becomes(session, SessionStatus.FAILED)
        assert session.end_reason is EndReason.CONTAINER_ENDED
        await bench.nothing_is_left()

    async def test_account_is_closed(self, bench: Bench) -> None:
        owner = await factories.member()
        session = await bench.running(owner)
        await bench.client.request(
            "DELETE",
            "/v1/users/me",
            json={"current_password": factories.PASSWORD},
            auth=owner,
        )

        async def is_forgotten() -> bool:
            await bench.service.look_after()
            return await sessions.find(session.id) is None

        await soon(is_forgotten)
        await bench.nothing_is_left()


class TestFaults:
    @pytest.mark.parametrize(
        ("template", "fault"),
        [
            ({"image": "nobody/has:this"}, "image-missing"),
            ({"image": BUSYBOX, "command": ["/no/such"]}, "bad-command"),
        ],
        ids=str,
    )
    async def test_says_what_to_do(
        self, bench: Bench, template: dict[str, Any], fault: str
    ) -> None:
        await _template("broken", **{"command": SLEEP, **template})
        owner = await factories.member()
        response = await bench.start(owner, template="broken")
        problem = assert_problem(response, 409, "session-refused")
        assert problem["fault"] == fault
        assert problem["detail"]
        (session,) = await sessions.list_of(owner.user.id)
        assert session.status is SessionStatus.FAILED
        assert session.error == problem["detail"]
        await bench.nothing_is_left()


class TestReconciling:
    async def test_leaves_what_agrees(self, bench: Bench) -> None:
        session = await bench.running(await factories.member())
        foreign = await docker("run", "-d", BUSYBOX, "sleep", "600")
        # Another Muster's, on the same engine.
        theirs = DockerEngine(
            docker_host(),
            place=Place(f"other-{new_id()}", "127.0.0.1"),
            subnets=IPv4Network("10.217.0.0/16"),
        )
        await theirs.ensure(other := spec("sleep", "600"))
        try:
            for _ in range(2):
                await bench.service.reconcile()
            assert await bench.stored(session.id) == session
            assert await bench.container_ids() == [session.id]
            assert foreign[:12] in await docker("ps", "-q")
            left = await theirs.find(other.session_id)
            assert left is not None and left.running
        finally:
            await theirs.remove(other.session_id)
            await theirs.aclose()
            await docker("rm", "-f", foreign.strip())

    async def test_removes_what_nobody_owns(self, bench: Bench) -> None:
        session = await bench.running(await factories.member())
        spare = await bench.running(await factories.member())
        ending = await sessions.find(session.id)
        assert ending is not None
        # As if its container had come after it was over.
        assert await sessions.finish(ending)
        await bench.service.reconcile()
        assert await bench.container_ids() == [spare.id]
        assert set(await bench.holders()) == {spare.id, None}

    async def test_takes_over_what_was_only_written_down(
        self, bench: Bench
    ) -> None:
        session = await bench.running(await factories.member())
        again = await sessions.change(
            session,
            status=SessionStatus.STARTING,
            container_started=False,
            host=None,
            host_port=None,
            claim="a worker that is dead",
            due_at=utc_now(),
        )
        assert again is not None
        session = await bench.becomes(session, SessionStatus.RUNNING)
        # What ran was taken over.
        assert await bench.container_ids() == [session.id]


class TestAway:
    async def test_killed_and_back(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While it is gone all stays as it is; then it goes on by itself."""
        from app import app  # pylint: disable=import-outside-toplevel

        daemon = Daemon(f"e{new_id()[:8]}")
        async with running(daemon):
            await daemon.load(PYTHON)
            engine = DockerEngine(
                daemon.host,
                place=place_of_run(),
                subnets=IPv4Network("10.216.0.0/16"),
            )
            inventory = Inventory("GPU-0", "GPU-1")
            service = SessionService(engine, inventory)
            monkeypatch.setattr(
                app.state, "sessions", service, raising=False
            )
            await service.take_stock()
            await _template("deaf", SLEEP)
            bench = Bench(client, service, inventory, engine)
            owner = await factories.member()
            session = await bench.started(owner, template="deaf")
            await daemon.kill()

            # A worker's chore notices; until then a start would fail halfway.
            await service.reconcile()
            response = await bench.start(owner, template="deaf")
            assert_problem(response, 503, "engine-unavailable")
            await service.look_after()
            found = await bench.stored(session.id)
            assert found.status is SessionStatus.STARTING
            await bench.client.delete(f"/v1/sessions/{session.id}", auth=owner)
            await service.look_after()
            found = await bench.stored(session.id)
            assert found.status is SessionStatus.STOPPING
            # It may run still: nobody else gets what it has.
            assert await bench.holders() == [session.id, None]
            assert len(await sessions.list_of(owner.user.id)) == 1

            await daemon.start()
            await bench.becomes(found, SessionStatus.STOPPED)
            await bench.nothing_is_left()
            await service.aclose()
            await engine.aclose()


class TestHandingOn:
    async def test_a_worker_that_ends_leaves_its_work(
        self, bench: Bench
    ) -> None:
        """Another one goes on at once, not when the claim has run out."""
        session = await factories.session(
            factories.actor(),
            template=await session_templates.get_template("notebook"),
            gpus=1,
        )
        leaving = SessionService(_Slow(bench.engine), bench.inventory)
        await leaving.look_after()
        assert (await bench.stored(session.id)).claim is not None
        await leaving.aclose()
        assert (await bench.stored(session.id)).claim is None
        await bench.becomes(session, SessionStatus.RUNNING)
        assert await bench.container_ids() == [session.id]


class TestBudgets:
    async def test_with_an_engine(self, bench: Bench) -> None:
        owner = await factories.admin()
        body = {"template": "notebook", "gpus": 1, "hours": 1}
        with counted() as commands:
            response = await bench.client.post(
                "/v1/sessions", json=body, auth=owner
            )
        assert response.status_code == 201
        assert len(commands) <= BUDGETS["POST", "/v1/sessions"], commands
        session_id = response.json()["id"]
        for template in (
            "/v1/sessions/{session_id}/logs",
            "/v1/sessions/{session_id}/stats",
        ):
            path = template.format(session_id=session_id)
            with counted() as commands:
                response = await bench.client.get(path, auth=owner)
            assert response.is_success
            assert len(commands) <= BUDGETS["GET", template], commands


async def _container_of(session: Session) -> str:
    label = f"label=muster.session={session.id}"
    found = await docker("ps", "-aq", "--filter", label)
    return found.strip()


async def _in(session: Session, *command: str) -> None:
    await docker("exec", await _container_of(session), *command)
