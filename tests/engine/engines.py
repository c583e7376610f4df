"""The tests' engine: its images, where it answers, what is made on it."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, TypedDict, TypeVar, Unpack
from uuid import uuid4

import httpx

from config.container_configs import Place
from config.engine import Container, ContainerSpec, Engine

# As `with-docker.sh` imports them; Python's has all of busybox.
BUSYBOX: Final = "muster-test/busybox:1"
PYTHON: Final = "muster-test/python:1"
# Answers on its port, whatever is asked.
SERVE: Final = ("python3", "-m", "http.server", "8000", "--directory", "/tmp")

_PATIENCE_SECONDS: Final = 180
_Answer = TypeVar("_Answer")


def docker_host() -> str:
    """Where the engine answers that was started for these tests."""
    return os.environ["MUSTER_TEST_ENGINE"]


def place_of_run() -> Place:
    """This process's own, on an engine that others use at the same time."""
    return Place(os.environ["MONGO_DB_NAME"], "127.0.0.1")


@asynccontextmanager
async def emptied(engine: Engine) -> AsyncIterator[None]:
    """Removes in the end what ran on it."""
    try:
        yield
    finally:
        for container in await engine.list_containers():
            await engine.remove(container.session_id)
        await engine.aclose()


class Wish(TypedDict, total=False):
    """What a test wants otherwise."""

    session_id: str
    image: str
    memory_mb: int
    pids_max: int
    disk_mb: int
    cpus: float
    published: bool
    port: int
    gpu_ids: tuple[str, ...]
    environment: dict[str, str]


def spec(*command: str, **wish: Unpack[Wish]) -> ContainerSpec:
    """A small container."""
    small = ContainerSpec(
        session_id=uuid4().hex,
        owner_id="ada",
        image=BUSYBOX,
        port=8000,
        memory_mb=64,
        cpus=1.0,
        pids_max=32,
        disk_mb=4,
        command=command,
    )
    return replace(small, **wish)


def script(text: str, **wish: Unpack[Wish]) -> ContainerSpec:
    """A small container that runs a script of the shell."""
    return spec("sh", "-c", text, **wish)


async def soon(ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """The first answer that is true.

    Raises:
        TimeoutError: there was none for three minutes.
    """
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not (answer := await ask()):
            await asyncio.sleep(0.05)
        return answer


async def answers(host: str | None, port: int | None) -> bool:
    """Whether a web server answers there."""
    try:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://{host}:{port}/", timeout=5)
            return answer.status_code == 200
    except httpx.TransportError:
        return False


async def ended(engine: Engine, session_id: str) -> Container:
    """A container that has come to its end by itself."""

    async def ask() -> Container | None:
        container = await engine.find(session_id)
        assert container
        return None if container.running else container

    return _there(await soon(ask))


async def said(engine: Engine, session_id: str) -> str:
    """All that a container has written so far."""
    pieces = engine.logs(session_id, follow=False, tail=1000)
    return b"".join([piece async for piece in pieces]).decode()


async def outcome(engine: Engine, wanted: ContainerSpec) -> str:
    """What a container writes until it ends."""
    await engine.ensure(wanted)
    await ended(engine, wanted.session_id)
    return await said(engine, wanted.session_id)


async def docker(*words: str, host: str | None = None) -> str:
    """What the engine's own client says."""
    client = await asyncio.create_subprocess_exec(
        *("docker", "--host", host or docker_host(), *words),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await client.communicate()
    assert client.returncode == 0
    return out.decode()


def _there(answer: _Answer | None) -> _Answer:
    assert answer is not None
    return answer
