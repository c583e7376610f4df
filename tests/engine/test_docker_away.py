"""An engine that is gone, comes back, or can't be trusted."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web

from config import docker_fitness
from config.container_configs import FITNESS, Place
from config.docker_engine import DockerEngine
from config.engine import (
    EngineAwayError,
    EngineFault,
    EngineRefusedError,
    EngineUnfitError,
)
from tests.engine.daemons import Daemon, running
from tests.engine.engines import (
    BUSYBOX,
    docker,
    docker_host,
    emptied,
    place_of_run,
    soon,
    spec,
)

pytestmark = pytest.mark.engine

Alter = Callable[[str, bytes], bytes]


def engine_at(host: str, *, place: Place | None = None) -> DockerEngine:
    """Muster's view of an engine."""
    return DockerEngine(
        host,
        place=place or place_of_run(),
        subnets=IPv4Network("10.215.0.0/16"),
    )


async def _answers(engine: DockerEngine) -> bool:
    try:
        await engine.list_containers()
        return True
    except EngineAwayError:
        return False


@pytest.mark.long
async def test_killed_and_back() -> None:
    """While it is gone nothing is known; afterwards sessions begin again."""
    daemon = Daemon(f"e{uuid4().hex[:8]}")
    async with running(daemon):
        await daemon.load(BUSYBOX)
        engine = engine_at(daemon.host)
        before, after = spec("sleep", "600"), spec("sleep", "600")
        await engine.ensure(before)
        await daemon.kill()
        for question in (
            engine.find(before.session_id),
            engine.list_containers(),
            engine.ensure(after),
            engine.remove(before.session_id),
            engine.usage(before.session_id),
            engine.check(),
        ):
            with pytest.raises(EngineAwayError, match="DOCKER_HOST"):
                await question
        await daemon.start()
        await soon(lambda: _answers(engine))
        # A restart ends what ran, and says so.
        found = await engine.find(before.session_id)
        assert found and not found.running
        await engine.remove(before.session_id)
        assert (await engine.ensure(after)).running
        assert len(await engine.list_containers()) == 1
        await engine.aclose()


async def test_no_gpu_driver() -> None:
    """Who wants a GPU where no driver can give one is told so."""
    daemon = Daemon(f"e{uuid4().hex[:8]}", gpu_driver=False)
    async with running(daemon):
        await daemon.load(BUSYBOX)
        engine = engine_at(daemon.host)
        async with emptied(engine):
            wanted = spec("sleep", "600", gpu_ids=("GPU-test-1",))
            with pytest.raises(EngineRefusedError) as caught:
                await engine.ensure(wanted)
            assert caught.value.fault is EngineFault.NO_GPU_DRIVER
            assert not await docker("ps", "-aq", host=daemon.host)
            networks = await docker("network", "ls", "-q", host=daemon.host)
            assert len(networks.split()) == 3  # Docker's own.


async def test_nowhere() -> None:
    """Where there never was an engine, one line says what to do."""
    engine = engine_at("unix:///nowhere/docker.sock")
    with pytest.raises(EngineAwayError, match="SESSION_ENGINE=off"):
        await engine.check()
    await engine.aclose()


@asynccontextmanager
async def standing_before(
    asked: Alter, answered: Alter, folder: Path
) -> AsyncIterator[str]:
    """An engine as others are: the real one, seen through altered papers."""
    socket = docker_host().removeprefix("unix://")
    connector = aiohttp.UnixConnector(socket)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def pass_on(request: web.Request) -> web.Response:
            async with session.request(
                request.method,
                f"http://engine{request.rel_url}",
                data=asked(request.path, await request.read()),
                headers={"Content-Type": "application/json"},
            ) as answer:
                body = answered(request.path, await answer.read())
                kind = answer.content_type
                return web.Response(
                    body=body, status=answer.status, content_type=kind
                )

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", pass_on)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, str(folder / "docker.sock")).start()
        try:
            yield f"unix://{folder}/docker.sock"
        finally:
            await runner.cleanup()


def unaltered(_path: str, body: bytes) -> bytes:
    """Passes on."""
    return body


def says_so(path: str, body: bytes) -> bytes:
    """An engine on a kernel that can't limit processes."""
    if not path.endswith("/info"):
        return body
    return json.dumps({**json.loads(body), "PidsLimit": False}).encode()


def forgets(path: str, body: bytes) -> bytes:
    """What reaches an engine that drops a limit."""
    if not path.endswith("/containers/create"):
        return body
    config = json.loads(body)
    config["HostConfig"]["PidsLimit"] = None
    return json.dumps(config).encode()


def pretends(path: str, body: bytes) -> bytes:
    """An engine that repeats a limit which no kernel knows of."""
    if not path.endswith("/json") or b"HostConfig" not in body:
        return body
    found = json.loads(body)
    if isinstance(found, dict):
        # What the fitness' own container and the test's sessions ask for.
        asked = 32
        found["HostConfig"]["PidsLimit"] = asked
    return json.dumps(found).encode()


def counts_nothing(path: str, body: bytes) -> bytes:
    """An engine on a kernel that knows of no limit of memory."""
    if not path.endswith("/stats"):
        return body
    found = json.loads(body)
    found["memory_stats"]["limit"] = 0
    return json.dumps(found).encode()


@pytest.mark.parametrize(
    ("asked", "answered"), [(unaltered, says_so), (forgets, unaltered)]
)
async def test_limits_in_name_only(
    asked: Alter, answered: Alter, tmp_path: Path
) -> None:
    """An engine that can't keep limits is refused before any session."""
    place = Place(f"t{uuid4().hex}", "127.0.0.1")
    async with standing_before(asked, answered, tmp_path) as host:
        engine = engine_at(host, place=place)
        with pytest.raises(EngineUnfitError, match="limits"):
            await engine.check()
        wanted = spec("sleep", "600")
        with pytest.raises(EngineAwayError, match="limits"):
            await engine.ensure(wanted)
        assert not await engine.list_containers()
        await engine.aclose()
    assert not await tried_by(place)


async def tried_by(place: Place) -> str:
    """What a deployment's check of the engine has left there."""
    mark = f"label={FITNESS}={place.deployment}"
    images = await docker("images", "-q", "--filter", mark)
    return images + await docker("ps", "-aq", "--filter", mark)


async def test_what_a_check_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later one removes it, when nobody can be at it any more."""
    place = Place(f"t{uuid4().hex}", "127.0.0.1")
    mark = f"--label={FITNESS}={place.deployment}"
    await docker("create", mark, BUSYBOX, "true")
    engine = engine_at(docker_host(), place=place)
    await engine.check()
    assert len((await tried_by(place)).split()) == 1
    await engine.aclose()
    monkeypatch.setattr(docker_fitness, "_OLD_SECONDS", -60)
    engine = engine_at(docker_host(), place=place)
    await engine.check()
    assert not await tried_by(place)
    await engine.aclose()


@pytest.mark.parametrize(
    ("asked", "answered"), [(forgets, pretends), (unaltered, counts_nothing)]
)
async def test_limits_that_the_kernel_does_not_know(
    asked: Alter, answered: Alter, tmp_path: Path
) -> None:
    """An engine that only says what it was told is found out."""
    async with standing_before(asked, answered, tmp_path) as host:
        engine = engine_at(host)
        await engine.check()
        wanted = spec("sleep", "600", pids_max=32)
        with pytest.raises(EngineAwayError, match="the kernel does not"):
            await engine.ensure(wanted)
        assert await engine.find(wanted.session_id) is None
        await engine.aclose()
