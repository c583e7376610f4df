"""An engine that is slow holds nobody up for ever; what it says is measured."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import IPv4Network
from pathlib import Path

import pytest
import pytest_asyncio
from aiodocker import DockerError

from config import docker_engine
from config.container_configs import Place, container_config, service_config
from config.docker_answers import Image, ImageConfig, Sample
from config.docker_client import DockerClient, usage_between
from config.docker_engine import DockerEngine
from config.engine import ContainerSpec, EngineAwayError, EngineSilentError
from models.base import utc_now

SPEC = ContainerSpec(
    session_id="s1",
    owner_id="ada",
    image="busybox",
    port=8000,
    memory_mb=64,
    cpus=1.0,
    pids_max=32,
    disk_mb=4,
)


class Silent:
    """Something that takes questions, and says nothing."""

    def __init__(self) -> None:
        self.asking = self.most_at_once = 0

    async def take(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Reads until whoever asks has gone."""
        self.asking += 1
        self.most_at_once = max(self.most_at_once, self.asking)
        await reader.read()
        self.asking -= 1
        writer.close()


@pytest.fixture(name="silent")
def _silent() -> Silent:
    return Silent()


@pytest_asyncio.fixture(name="engine")
async def _engine(
    silent: Silent, tmp_path: Path
) -> AsyncIterator[DockerEngine]:
    socket = tmp_path / "docker.sock"
    server = await asyncio.start_unix_server(silent.take, socket)
    engine = DockerEngine(
        f"unix://{socket}",
        place=Place("test", "127.0.0.1"),
        subnets=IPv4Network("10.213.0.0/16"),
    )
    async with server:
        yield engine
        await engine.aclose()


async def test_a_start_has_an_end(
    silent: Silent, engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all its questions together; and one alone tries the engine."""
    monkeypatch.setattr(docker_engine, "_START_SECONDS", 0.5)
    starts = (engine.ensure(SPEC) for _ in range(5))
    answers = await asyncio.gather(*starts, return_exceptions=True)
    for answer in answers:
        assert isinstance(answer, EngineAwayError)
        assert "too long" in str(answer)
    # The next one may begin as the first gives up.
    assert silent.most_at_once == 1


@pytest.mark.parametrize(("status", "silent"), [(900, True), (409, False)])
async def test_who_refuses_is_there(status: int, silent: bool) -> None:
    """Only of one that says nothing must all be found out again."""
    client = DockerClient("unix:///nowhere/docker.sock")
    with pytest.raises(EngineAwayError) as caught:
        async with client.asked():
            raise DockerError(status, "removal is already in progress")
    assert isinstance(caught.value, EngineSilentError) is silent
    await client.aclose()


def test_how_busy() -> None:
    """However late the second look came, and whether time has passed."""
    now = utc_now()
    before, later = (
        Sample.model_validate(
            {
                "read": (now + timedelta(seconds=seconds)).isoformat(),
                "cpu_stats": {"cpu_usage": {"total_usage": worked}},
                "memory_stats": {},
                "pids_stats": {},
            }
        )
        for seconds, worked in ((0, 0), (4, 1_000_000_000))
    )
    assert usage_between(before, later).cpu_percent == 25
    assert usage_between(before, before).cpu_percent == 0


def test_volumes() -> None:
    """What an image calls a volume is memory that is counted, in both."""
    volumes: dict[str, object] = {"/data/": {}, "/tmp": {}, "lib//x": {}}
    image = Image(Config=ImageConfig(Volumes=volumes))
    config = container_config(
        Place("test", "127.0.0.1"), SPEC, image=image, network="n"
    )
    folders = ["/tmp", "/home/session", "/data", "/lib/x"]
    host = config["HostConfig"]
    assert isinstance(host, dict) and isinstance(host["Tmpfs"], dict)
    assert list(host["Tmpfs"]) == folders
    service = service_config(SPEC, image=image, labels={})["ContainerSpec"]
    assert isinstance(service, dict) and isinstance(service["Mounts"], list)
    targets = [each["Target"] for each in service["Mounts"]]
    assert targets == ["/dev/shm", *folders]
