"""Tasks carried by Redis, RabbitMQ and NATS, as they are installed."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from config.broker import Broker, broker_of
from config.chores import end_all
from config.main import settings
from models.tasks import TaskStatus
from tests import trials
from tests.service import running
from utils import task_worker, tasks

pytestmark = [
    *running.MARKS,
    pytest.mark.usefixtures("database", "found"),
]


@pytest.fixture(name="found")
def _found() -> Iterator[None]:
    with trials.found():
        yield


def _redis(port: int, folder: Path) -> tuple[list[str], str]:
    command = ["redis-server", "--port", str(port), "--dir", str(folder)]
    return command, f"redis://127.0.0.1:{port}/0"


def _nats(port: int, folder: Path) -> tuple[list[str], str]:
    command = ["nats-server", "-a", "127.0.0.1", "-p", str(port), "-js"]
    return [*command, "-sd", str(folder)], f"nats://127.0.0.1:{port}"


def _rabbitmq(port: int, folder: Path) -> tuple[list[str], str]:
    settings_of_node = {
        "RABBITMQ_NODENAME": f"muster{port}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_DIST_PORT": str(running.free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "HOME": str(folder),
    }
    assigned = [f"{name}={value}" for name, value in settings_of_node.items()]
    server = "/usr/lib/rabbitmq/bin/rabbitmq-server"
    url = f"amqp://guest:guest@127.0.0.1:{port}/"
    return ["env", *assigned, server], url


SERVERS: dict[str, Callable[[int, Path], tuple[list[str], str]]] = {
    "redis-server": _redis,
    "nats-server": _nats,
    "rabbitmq-server": _rabbitmq,
}


class Server:
    """A broker's server of the test's own."""

    def __init__(self, name: str, folder: Path) -> None:
        self._port = running.free_port()
        self._command, self.url = SERVERS[name](self._port, folder)
        self._log = folder / "server.log"
        self.start()

    def start(self) -> None:
        """Starts it, again perhaps, and waits until it listens."""
        with self._log.open("ab") as log:
            # It lives as long as this object says.
            # pylint: disable-next=consider-using-with
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, start_new_session=True
            )
        running.wait_for(self._listens, 60)

    def kill(self) -> None:
        """Like a power cut."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


@contextmanager
def _served(name: str, folder: Path) -> Iterator[Server]:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    server = Server(name, folder)
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(name="server", params=SERVERS)
def _server(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Server]:
    with _served(request.param, tmp_path) as server:
        # Settings are frozen, for all but tests.
        monkeypatch.setitem(
            settings.__dict__, "task_broker_url", SecretStr(server.url)
        )
        yield server


@asynccontextmanager
async def _working(slots: int) -> AsyncIterator[Broker]:
    """A worker to which the broker brings tasks, and what sends them."""
    broker = broker_of(
        settings, find_due=tasks.list_due, wake=tasks.queued, takes=True
    )
    worker = task_worker.Worker(broker, slots=slots)

    async def send() -> None:
        while True:
            tasks.queued.clear()
            await task_worker.send_new(broker)
            await task_worker.send_due(broker)
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await tasks.queued.wait()

    jobs = [asyncio.create_task(worker.work()), asyncio.create_task(send())]
    try:
        yield broker
    finally:
        await end_all(jobs, again_seconds=30)
        await broker.aclose()


@pytest.mark.usefixtures("server")
async def test_each_once_by_two_workers() -> None:
    async with _working(2), _working(1):
        submitted = [
            await trials.submit("trial_double", number=number)
            for number in range(30)
        ]
        for number, task in enumerate(submitted):
            done = await trials.wait_for(task)
            assert (done.status, done.attempts) == (TaskStatus.SUCCEEDED, 1)
            assert await trials.result_of(done) == 2 * number


async def test_what_it_loses_is_sent_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the broker is away, tasks are taken in; then they run."""
    monkeypatch.setattr(tasks, "_RESENT", timedelta(seconds=3))
    async with _working(1):
        first = await trials.submit("trial_double", number=1)
        await trials.wait_for(first)
        server.kill()
        second = await trials.submit("trial_double", number=2)
        await asyncio.sleep(1)
        server.start()
        done = await trials.wait_for(second)
        assert done.status is TaskStatus.SUCCEEDED


@pytest.mark.usefixtures("server")
async def test_retries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_BACK_OFF", timedelta(seconds=0.2))
    (tmp_path / "attempts").mkdir()
    folder = str(tmp_path / "attempts")
    async with _working(1):
        task = await trials.submit("trial_fail", times=2, folder=folder)
        done = await trials.wait_for(task)
    assert (done.status, done.attempts) == (TaskStatus.SUCCEEDED, 3)
