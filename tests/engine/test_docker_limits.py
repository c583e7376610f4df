"""What runs in a session can do nothing outside it, and no more than it may."""

import asyncio
import time
from ipaddress import IPv4Network, ip_address

import pytest

from config.docker_engine import DockerEngine
from tests.engine.engines import (
    PYTHON,
    SERVE,
    answers,
    docker,
    ended,
    outcome,
    place_of_run,
    said,
    script,
    soon,
    spec,
)

pytestmark = pytest.mark.engine

_HOG = "b = []\nwhile True: b.append(b'x' * 1_000_000)"
# Each of its children lives on, and has children.
_BOMB = """
import os, time
made = 0
for _ in range(200):
    try:
        if os.fork() == 0:
            time.sleep(600)
        made += 1
    except BlockingIOError:
        break
print("made", made, flush=True)
time.sleep(600)
"""
_CONNECT = (
    "nc -w 2 {host} {port} </dev/null >/dev/null 2>&1 && echo reached || "
    "echo no way"
)


class TestLimits:
    """The kernel keeps what the template says."""

    async def test_memory(self, engine: DockerEngine) -> None:
        """Who takes more is ended, and it shows why."""
        wanted = spec("python3", "-c", _HOG, image=PYTHON)
        await engine.ensure(wanted)
        container = await ended(engine, wanted.session_id)
        assert container.out_of_memory
        assert container.exit_code == 137
        assert container.host is None

    async def test_processes(self, engine: DockerEngine) -> None:
        """A fork bomb has as many processes as it may."""
        wanted = spec("python3", "-c", _BOMB, image=PYTHON, pids_max=20)
        await engine.ensure(wanted)
        written = await soon(lambda: said(engine, wanted.session_id))
        assert written == "made 19\n"
        usage = await engine.usage(wanted.session_id)
        assert usage and usage.pids == 20

    async def test_processors(self, engine: DockerEngine) -> None:
        """Who wants all has what it may."""
        wanted = script("while :; do :; done", cpus=0.2)
        await engine.ensure(wanted)
        # Each answer stands for a moment within its own two samples.
        began = time.monotonic()
        before = await engine.usage(wanted.session_id)
        await asyncio.sleep(2)
        after = await engine.usage(wanted.session_id)
        lasted = time.monotonic() - began
        assert before and after
        worked = after.cpu_seconds - before.cpu_seconds
        assert 0 < worked < 0.2 * lasted + 0.3
        assert 0 < after.cpu_percent < 60

    @pytest.mark.parametrize("folder", ["/tmp", "$HOME", "/dev/shm", "/data"])
    async def test_disk(self, engine: DockerEngine, folder: str) -> None:
        """What may be written to holds no more than it may."""
        fill = f"dd if=/dev/zero of={folder}/x bs=1M count=9 2>&1; "
        wanted = script(fill + f"du -m {folder}/x")
        assert (await outcome(engine, wanted)).split()[-2] == "4"

    async def test_the_rest_of_the_disk(self, engine: DockerEngine) -> None:
        """The root can't be written to."""
        tries = "for f in / /etc /var /root; do touch $f/x; done"
        written = await outcome(engine, script(tries))
        assert "Read-only file system" in written

    async def test_rights(self, engine: DockerEngine) -> None:
        """It runs as nobody, has no capability, and can gain none."""
        facts = "id -u; grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status"
        lines = (await outcome(engine, script(facts))).split("\n")
        assert lines[0] == "65534"
        found = dict(line.split(":\t") for line in lines[1:] if line)
        assert found.pop("NoNewPrivs") == "1"
        assert found.pop("Seccomp") == "2"
        assert set(found.values()) == {"0" * 16}
        assert len(found) == 5

    async def test_what_it_says(self, engine: DockerEngine) -> None:
        """Its log does not fill the engine's disk."""
        wanted = spec("sleep", "600")
        await engine.ensure(wanted)
        name = place_of_run().name(wanted.session_id)
        log = await docker("inspect", "-f", "{{.HostConfig.LogConfig}}", name)
        assert "max-size:10m" in log


class TestNetworks:
    """Sessions can't reach each other."""

    async def test_another_session(self, engine: DockerEngine) -> None:
        """Neither at its own address, nor at the port that is published."""
        target = spec(*SERVE, image=PYTHON, published=False)
        at = await engine.ensure(target)
        published = await engine.ensure(spec(*SERVE, image=PYTHON))
        assert at.host and published.port
        # What does not answer yet could not be reached anyway.
        await soon(lambda: answers(at.host, at.port))
        await soon(lambda: answers(published.host, published.port))
        reach = _CONNECT.format(host=at.host, port=at.port)
        assert await outcome(engine, script(reach)) == "no way\n"
        # The gateway of a network is the engine's own machine.
        reach = "set -- $(ip route); echo $3; "
        reach += _CONNECT.format(host="$3", port=published.port)
        gateway, way = (await outcome(engine, script(reach))).splitlines()
        assert ip_address(gateway) in IPv4Network("10.213.0.0/16")
        assert way == "no way"

    async def test_itself(self, engine: DockerEngine) -> None:
        """Its own port, by contrast, it reaches by the same means."""
        serve = "httpd -p 8000 -h /tmp; "
        reach = _CONNECT.format(host="127.0.0.1", port=8000)
        assert await outcome(engine, script(serve + reach)) == "reached\n"

    @pytest.mark.long
    async def test_more_than_docker_has(self, engine: DockerEngine) -> None:
        """Docker's own pools hold 31 networks; sessions have theirs."""
        wanted = [spec("sleep", "600") for _ in range(40)]
        await asyncio.gather(*map(engine.ensure, wanted[:20]))
        await asyncio.gather(*map(engine.ensure, wanted[20:]))
        assert len(await engine.list_containers()) == 40
        await asyncio.gather(
            *(engine.remove(one.session_id) for one in wanted)
        )
        assert not await engine.list_containers()


class TestAnswers:
    """What Muster asks while a session runs."""

    async def test_logs(self, engine: DockerEngine) -> None:
        """They are followed to the end; both streams, in order."""
        text = "for i in 1 2 3; do echo out $i; sleep 0.2; done; echo err >&2"
        wanted = script(text)
        await engine.ensure(wanted)
        pieces = engine.logs(wanted.session_id, follow=True, tail=100)
        written = b"".join([piece async for piece in pieces])
        assert written == b"out 1\nout 2\nout 3\nerr\n"
        last = engine.logs(wanted.session_id, follow=False, tail=1)
        assert [piece async for piece in last] == [b"err\n"]

    async def test_logs_that_nobody_reads_on(
        self, engine: DockerEngine
    ) -> None:
        """Who has enough leaves no connection behind."""
        wanted = script("while :; do echo more; sleep 0.05; done")
        await engine.ensure(wanted)
        pieces = engine.logs(wanted.session_id, follow=True, tail=5)
        assert await anext(pieces) == b"more\n"
        await pieces.aclose()  # type: ignore[attr-defined]  # A generator.

    async def test_logs_that_many_read(self, engine: DockerEngine) -> None:
        """They keep nobody else from the engine."""
        wanted = script("echo here; sleep 600")
        await engine.ensure(wanted)
        readers = [
            engine.logs(wanted.session_id, follow=True, tail=5)
            for _ in range(101)
        ]
        assert set(await asyncio.gather(*map(anext, readers))) == {b"here\n"}
        assert await asyncio.wait_for(engine.find(wanted.session_id), 30)
        for pieces in readers:
            await pieces.aclose()  # type: ignore[attr-defined]

    async def test_usage(self, engine: DockerEngine) -> None:
        """What it uses, as the kernel counts."""
        wanted = spec(*SERVE, image=PYTHON)
        await engine.ensure(wanted)
        usage = await engine.usage(wanted.session_id)
        assert usage
        assert 1_000_000 < usage.memory_bytes < 64 * 1024 * 1024
        assert usage.pids >= 1
        assert usage.sent_bytes >= 0

    async def test_of_none(self, engine: DockerEngine) -> None:
        """Where there is no container there is nothing to say."""
        assert await engine.find("none") is None
        assert await engine.usage("none") is None
        assert not [_ async for _ in engine.logs("none", follow=True, tail=9)]
        await engine.remove("none")

    async def test_images(self, engine: DockerEngine) -> None:
        """One that is there is pulled at once."""
        await engine.pull(PYTHON)


class TestOthers:
    """What is not a session of this Muster is left alone."""

    async def test_another_deployment(self, engine: DockerEngine) -> None:
        """Its containers are neither listed nor removed."""
        session = spec("sleep", "600")
        await engine.ensure(session)
        marks = ["--label", f"muster.session={session.session_id}"]
        marks += ["--label", "muster.deployment=somebody-else"]
        run = ("run", "-d", *marks, session.image, "sleep", "600")
        other = (await docker(*run)).strip()
        try:
            assert len(await engine.list_containers()) == 1
            await engine.remove(session.session_id)
            state = await docker("inspect", "-f", "{{.State.Status}}", other)
            assert state == "running\n"
        finally:
            await docker("rm", "-f", other)
