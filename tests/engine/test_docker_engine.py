"""The Docker engine keeps each session in its bounds, and leaves nothing."""

import asyncio
from ipaddress import IPv4Network

import pytest

from config import docker_engine
from config.container_configs import Place
from config.docker_engine import DockerEngine
from config.engine import ContainerSpec, EngineFault, EngineRefusedError
from tests.engine.engines import (
    PYTHON,
    SERVE,
    answers,
    docker,
    docker_host,
    emptied,
    outcome,
    place_of_run,
    script,
    soon,
    spec,
)

pytestmark = pytest.mark.engine


async def left_of(session_id: str) -> str:
    """The containers and networks of a session."""
    mark = f"label=muster.session={session_id}"
    return await docker("ps", "-aq", "--filter", mark) + await docker(
        "network", "ls", "-q", "--filter", mark
    )


class TestEnsure:
    """A container comes up once, and is found by whoever asks again."""

    @pytest.mark.parametrize("published", [True, False])
    async def test_it_answers(
        self, engine: DockerEngine, published: bool
    ) -> None:
        """Its port is reached where it says."""
        wanted = spec(*SERVE, image=PYTHON, published=published)
        container = await engine.ensure(wanted)
        assert container.running
        assert (container.host == "127.0.0.1") is published
        await soon(lambda: answers(container.host, container.port))

    async def test_twice(self, engine: DockerEngine) -> None:
        """The second finds what the first made."""
        wanted = spec("sleep", "600")
        first = await engine.ensure(wanted)
        assert await engine.ensure(wanted) == first
        assert await engine.list_containers() == [first]

    async def test_at_the_same_time(self, engine: DockerEngine) -> None:
        """Of 12 that start at once, each has a port and a network."""
        wanted = [spec("sleep", "600") for _ in range(12)]
        containers = await asyncio.gather(*map(engine.ensure, wanted))
        assert len({container.port for container in containers}) == 12

    async def test_half_made(self, engine: DockerEngine) -> None:
        """What was made, and never started, is started."""
        wanted = spec("sleep", "600")
        name = place_of_run().name(wanted.session_id)
        await engine.ensure(wanted)
        await docker("rm", "-f", name)  # Its network stays.
        assert (await engine.ensure(wanted)).running
        assert len((await left_of(wanted.session_id)).split()) == 2

    async def test_the_owner(self, engine: DockerEngine) -> None:
        """Its labels name whose it is."""
        wanted = spec("sleep", "600")
        await engine.ensure(wanted)
        name = place_of_run().name(wanted.session_id)
        labels = await docker("inspect", "-f", "{{.Config.Labels}}", name)
        assert "muster.owner:ada" in labels
        assert f"muster.session:{wanted.session_id}" in labels

    async def test_gpus(self, engine: DockerEngine) -> None:
        """It sees the GPUs that it was given, and no other."""
        text = "echo has $NVIDIA_VISIBLE_DEVICES"
        given = script(text, gpu_ids=("GPU-test-1", "GPU-test-3"))
        assert "has GPU-test-1,GPU-test-3" in await outcome(engine, given)
        # An image that asks for all gets none.
        assert "has void" in await outcome(engine, script(text))


@pytest.mark.parametrize(
    ("wanted", "fault"),
    [
        (spec("sleep", image="nowhere/none:1"), EngineFault.IMAGE_MISSING),
        (spec("no-such-program"), EngineFault.BAD_COMMAND),
        (spec("/etc/passwd"), EngineFault.BAD_COMMAND),
        (spec(), EngineFault.BAD_COMMAND),
        (spec("sleep", "9", memory_mb=1), EngineFault.NO_MEMORY),
        (spec("sleep", "9", cpus=4096.0), EngineFault.REFUSED),
    ],
)
async def test_faults(
    engine: DockerEngine,
    wanted: ContainerSpec,
    fault: EngineFault,
) -> None:
    """A refusal says why, and leaves neither container nor network."""
    with pytest.raises(EngineRefusedError) as caught:
        await engine.ensure(wanted)
    assert caught.value.fault is fault
    assert caught.value.detail.endswith(".")
    assert not await left_of(wanted.session_id)


async def test_a_network_that_was_left(
    engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a start that died before the container, it is found and removed."""
    wanted = spec("sleep", "600")
    labels = place_of_run().labels(wanted).items()
    marks = [f"--label={name}={value}" for name, value in labels]
    name = place_of_run().name(wanted.session_id)
    await docker("network", "create", "--subnet=10.216.0.0/28", *marks, name)
    assert not await engine.list_containers()  # It may be at its start.
    monkeypatch.setattr(docker_engine, "_START_SECONDS", -1)
    (found,) = await engine.list_containers()
    assert (found.session_id, found.running) == (wanted.session_id, False)
    await engine.remove(wanted.session_id)
    assert not await left_of(wanted.session_id)


async def test_a_name_that_is_taken(engine: DockerEngine) -> None:
    """What somebody else named so stays, and the session is refused."""
    wanted = spec("sleep", "600")
    name = place_of_run().name(wanted.session_id)
    await docker("create", "--name", name, wanted.image, "true")
    try:
        with pytest.raises(EngineRefusedError) as caught:
            await engine.ensure(wanted)
        assert caught.value.fault is EngineFault.NAME_TAKEN
        assert await engine.find(wanted.session_id) is None
        assert not await left_of(wanted.session_id)
    finally:
        await docker("rm", name)


async def test_an_address_of_another_machine(engine: DockerEngine) -> None:
    """A port that can't be published is a fault of the address."""
    elsewhere = DockerEngine(
        docker_host(),
        place=Place(place_of_run().deployment, "203.0.113.7"),
        subnets=IPv4Network("10.213.0.0/16"),
    )
    wanted = spec("sleep", "600")
    async with emptied(elsewhere):
        with pytest.raises(EngineRefusedError) as caught:
            await elsewhere.ensure(wanted)
    assert caught.value.fault is EngineFault.PORT_TAKEN
    assert not await left_of(wanted.session_id)
    del engine


async def test_no_network_left(engine: DockerEngine) -> None:
    """Where all addresses are used, it says so."""
    narrow = DockerEngine(
        docker_host(),
        place=place_of_run(),
        subnets=IPv4Network("10.214.0.0/28"),
    )
    await engine.check()
    async with emptied(narrow):
        await narrow.ensure(spec("sleep", "600"))
        wanted = spec("sleep", "600")
        with pytest.raises(EngineRefusedError) as caught:
            await narrow.ensure(wanted)
        assert caught.value.fault is EngineFault.NO_NETWORK
        assert not await left_of(wanted.session_id)
