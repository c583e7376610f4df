"""Sessions on two machines, placed and moved by Docker's own orchestrator."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

import pytest
import pytest_asyncio

from config.container_configs import Place
from config.engine import (
    Container,
    EngineFault,
    EngineRefusedError,
    EngineUnfitError,
)
from config.gpus import SwarmGpus
from config.setting_values import ListedGpu
from config.swarm_engine import SwarmEngine
from tests import factories
from tests.engine.daemons import Daemon, running, sh
from tests.engine.engines import (
    BUSYBOX,
    PYTHON,
    SERVE,
    docker,
    docker_host,
    ended,
    said,
    script,
    soon,
    spec,
)
from utils import gpus, sessions
from utils.session_service import SessionService

pytestmark = [pytest.mark.engine, pytest.mark.long]


@dataclass(frozen=True)
class Swarm:
    """A manager and a worker.

    Attributes:
        outside: the network from which both are seen.
    """

    engine: SwarmEngine
    manager: Daemon
    worker: Daemon
    outside: str

    async def reaches(self, container: Container) -> bool:
        """Whether a session answers."""
        url = f"http://{container.host}:{container.port}/"
        enter = f"nsenter --net=/run/netns/{self.outside}"
        return await sh(f"{enter} busybox wget -qO /dev/null {url}", fine=True)

    async def up(self, session_id: str) -> Container:
        """A session's container, once it runs."""

        async def ask() -> Container | None:
            container = await self.engine.find(session_id)
            return container if container and container.host else None

        container = await soon(ask)
        assert container
        return container


def _node(name: str, letter: str) -> Daemon:
    has = [f"--node-generic-resource gpu=GPU-{letter}{i}" for i in (1, 2)]
    return Daemon(name, "--no-new-privileges", "--icc=false", *has)


@pytest_asyncio.fixture(name="machines", scope="module")
async def _machines() -> AsyncIterator[Swarm]:
    run = uuid4().hex[:8]
    manager, worker = _node(f"m{run}", "a"), _node(f"w{run}", "b")
    async with running(manager, worker) as outside:
        for daemon in (manager, worker):
            await daemon.load(BUSYBOX)
            await daemon.load(PYTHON)
        init = ("swarm", "init", "--advertise-addr", "10.99.0.1")
        await docker(*init, host=manager.host)
        ask = ("swarm", "join-token", "-q", "worker")
        token = (await docker(*ask, host=manager.host)).strip()
        join = ("swarm", "join", "--token", token, "10.99.0.1:2377")
        await docker(*join, host=worker.host)
        engine = SwarmEngine(
            manager.host, place=Place(f"t{run}", "127.0.0.1")
        )
        yield Swarm(engine, manager, worker, outside)
        await engine.aclose()


@pytest_asyncio.fixture(name="swarm")
async def _swarm(machines: Swarm) -> AsyncIterator[Swarm]:
    """Two machines with two GPUs each, on which nothing is left."""
    yield machines
    for container in await machines.engine.list_containers():
        await machines.engine.remove(container.session_id)
    assert await left_of(machines) == 0


async def heartbeat(swarm: Swarm, every: str) -> None:
    """How often nodes must answer, lest they are held to be lost."""
    update = ("swarm", "update", "--dispatcher-heartbeat", every)
    await docker(*update, host=swarm.manager.host)


async def left_of(swarm: Swarm) -> int:
    """How many services of sessions there are."""
    mark = "label=muster.session"
    listed = ("service", "ls", "-q", "--filter", mark)
    return len((await docker(*listed, host=swarm.manager.host)).split())


async def test_inventory(swarm: Swarm) -> None:
    """Each node's GPUs are known by their ids."""
    listed = [ListedGpu("GPU-a2", "A100", 40_960)]
    found = await SwarmGpus(swarm.manager.host, listed).read()
    devices = {device.id: device for device in found}
    assert sorted(devices) == ["GPU-a1", "GPU-a2", "GPU-b1", "GPU-b2"]
    assert all(device.healthy for device in found)
    assert devices["GPU-a2"].name == "A100"
    assert devices["GPU-b1"].node == swarm.worker.name


async def test_four_of_five(swarm: Swarm) -> None:
    """Each GPU is in one session; who finds none leaves nothing behind."""
    await swarm.engine.check()
    wanted = [
        spec(*SERVE, image=PYTHON, gpu_ids=(f"any-{i}",)) for i in range(4)
    ]
    await asyncio.gather(*map(swarm.engine.ensure, wanted))
    containers = [await swarm.up(one.session_id) for one in wanted]
    taken = [gpu for one in containers for gpu in one.gpu_ids or ()]
    assert sorted(taken) == ["GPU-a1", "GPU-a2", "GPU-b1", "GPU-b2"]
    assert {one.host for one in containers} == {"10.99.0.1", "10.99.0.2"}
    for container in containers:
        await soon(partial(swarm.reaches, container))
    # Asked again, it finds what is there.
    again = await swarm.engine.ensure(wanted[0])
    assert again == containers[0]
    with pytest.raises(EngineRefusedError) as caught:
        await swarm.engine.ensure(spec("sleep", "600", gpu_ids=("any",)))
    assert caught.value.fault is EngineFault.NO_GPU
    assert len(await swarm.engine.list_containers()) == 4
    assert await left_of(swarm) == 4
    # What is removed is free, for one that needs both of a machine.
    for container in containers:
        if container.host == "10.99.0.2":
            await swarm.engine.remove(container.session_id)
    both = spec("sleep", "600", gpu_ids=("any", "other"))
    await swarm.engine.ensure(both)
    given = (await swarm.up(both.session_id)).gpu_ids or ()
    assert sorted(given) == ["GPU-b1", "GPU-b2"]


@pytest.mark.parametrize(
    ("command", "image", "fault"),
    [
        ("sleep", "nowhere/none:1", EngineFault.IMAGE_MISSING),
        ("no-such-program", BUSYBOX, EngineFault.BAD_COMMAND),
    ],
)
async def test_faults(
    swarm: Swarm, command: str, image: str, fault: EngineFault
) -> None:
    """A refusal says why, and leaves nothing."""
    with pytest.raises(EngineRefusedError) as caught:
        await swarm.engine.ensure(spec(command, image=image))
    assert caught.value.fault is fault
    assert await left_of(swarm) == 0


async def test_bounds(swarm: Swarm) -> None:
    """A session has no rights, and writes into memory alone."""
    facts = (
        "id -u; grep -E 'Cap|NoNewPrivs' /proc/self/status; touch /x; "
        "for x in /data/x /tmp/x; do "
        "dd if=/dev/zero of=$x bs=1M count=9 2>/dev/null; du -m $x; done"
    )
    wanted = script(facts)
    await swarm.engine.ensure(wanted)
    assert (await ended(swarm.engine, wanted.session_id)).exit_code == 0

    async def all_of_it() -> str:
        # A manager asks nodes for logs, and gets them piece by piece.
        text = await said(swarm.engine, wanted.session_id)
        return text if "/tmp/x" in text else ""

    text = await soon(all_of_it)
    assert "65534\n" in text
    assert text.count("0" * 16) == 5
    assert "NoNewPrivs:\t1" in text
    assert "Read-only file system" in text
    assert "4\t/tmp/x" in text
    assert "4\t/data/x" in text


async def test_memory(swarm: Swarm) -> None:
    """A session that takes more is ended; three tries later it is over."""
    hog = "b = []\nwhile True: b.append(b'x' * 1_000_000)"
    wanted = spec("python3", "-c", hog, image=PYTHON)
    await swarm.engine.ensure(wanted)
    assert (await ended(swarm.engine, wanted.session_id)).exit_code == 137


async def test_no_way_to_another(swarm: Swarm) -> None:
    """Sessions can't reach each other, on the same machine or another."""
    targets = [
        spec(*SERVE, image=PYTHON, gpu_ids=("any", "other")) for _ in range(2)
    ]
    await asyncio.gather(*map(swarm.engine.ensure, targets))
    for target in targets:
        container = await swarm.up(target.session_id)
        await soon(partial(swarm.reaches, container))
    inside = []
    for daemon in (swarm.manager, swarm.worker):
        running_there = (await docker("ps", "-q", host=daemon.host)).strip()
        look = ("exec", running_there, "ip", "-4", "-o", "address")
        words = (await docker(*look, host=daemon.host)).split()
        inside += [word[:-3] for word in words if word.endswith("/16")]
    assert len(inside) == 2
    tries = "; ".join(
        f"nc -w 2 {address} 8000 </dev/null >/dev/null 2>&1 && echo reached"
        for address in inside
    )
    # Wherever this one runs, one target is beside it.
    wanted = script(f"{tries}; echo done")
    await swarm.engine.ensure(wanted)
    await ended(swarm.engine, wanted.session_id)
    written = await soon(lambda: said(swarm.engine, wanted.session_id))
    assert "reached" not in written
    assert written.endswith("done\n")


async def agree(swarm: Swarm, service: SessionService) -> list[str]:
    """The GPUs of all sessions, once leases and containers say the same."""
    await service.take_stock()
    await service.reconcile()
    known = await gpus.list_all()
    leased = {gpu.id: gpu.session_id for gpu in known if gpu.session_id}
    given = []
    for session in await sessions.list_alive():
        container = await swarm.up(session.id)
        ids = list(container.gpu_ids or ())
        assert session.gpu_ids == ids
        assert (session.host, session.host_port) == (
            container.host,
            container.port,
        )
        assert [leased.pop(gpu_id) for gpu_id in ids] == [session.id] * len(ids)
        given += ids
    assert not leased
    return sorted(given)


@pytest.mark.usefixtures("database")
async def test_a_lost_node(swarm: Swarm) -> None:
    """Its session goes on where GPUs are free, and its lease follows it."""
    inventory = SwarmGpus(swarm.manager.host, ())
    service = SessionService(swarm.engine, inventory)
    await service.take_stock()
    wanted = []
    for _ in range(2):
        session = await factories.session(factories.actor(), gpus=1)
        await sessions.change(session, container_started=True)
        wanted.append(
            spec(
                *SERVE,
                session_id=session.id,
                image=PYTHON,
                gpu_ids=tuple(session.gpu_ids),
            )
        )
    await asyncio.gather(*map(swarm.engine.ensure, wanted))
    before = [await swarm.up(one.session_id) for one in wanted]
    assert {one.host for one in before} == {"10.99.0.1", "10.99.0.2"}
    # Muster had leased both on the first machine.
    given = await agree(swarm, service)
    assert [gpu[:5] for gpu in given] == ["GPU-a", "GPU-b"]
    lost = next(one for one in before if one.host == "10.99.0.2")
    # Only now: where machines are busy, a beat of a second is missed by chance.
    await heartbeat(swarm, "1s")
    await swarm.worker.kill()

    async def moved() -> Container | None:
        container = await swarm.engine.find(lost.session_id)
        assert container and container.running
        return container if container.host == "10.99.0.1" else None

    container = await soon(moved)
    assert container
    await soon(partial(swarm.reaches, container))
    assert await agree(swarm, service) == ["GPU-a1", "GPU-a2"]
    assert await gpus.count_healthy() == 2
    # Nothing waits for the machine that is gone.
    for one in wanted:
        await swarm.engine.remove(one.session_id)
    await heartbeat(swarm, "5s")
    await swarm.worker.start()

    async def back() -> bool:
        return all(device.healthy for device in await inventory.read())

    await soon(back)


async def test_no_swarm() -> None:
    """An engine that manages no swarm is refused, and it says what to do."""
    engine = SwarmEngine(docker_host(), place=Place("none", "127.0.0.1"))
    with pytest.raises(EngineUnfitError, match="swarm init"):
        await engine.check()
    await engine.aclose()
