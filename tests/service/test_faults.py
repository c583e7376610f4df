"""Kills under load: nothing acknowledged is lost, and Muster heals itself."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.service.running import (
    MARKS,
    Load,
    Person,
    Service,
    servers_of,
    wait_for,
)

pytestmark = MARKS

HEALS_SECONDS = 15


@pytest.fixture(scope="module", name="service")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Each test kills a part of it, which comes back."""
    with Service(tmp_path_factory.mktemp("faults")) as service:
        yield service


class TestKill:
    def test_worker(self, service: Service, member: Person) -> None:
        with Load(service, member) as load:
            load.wait_for_more()
            before = set(service.workers())
            victim = min(before)
            os.kill(victim, signal.SIGKILL)
            load.wait_for_more(seconds=HEALS_SECONDS)
            wait_for(lambda: len(service.workers()) == len(before))
            load.wait_for_more()
        load.check()
        assert set(service.workers()) > before - {victim}
        assert set(load.answers) == {201}
        assert load.broken_connections <= 4, "the victim's, one a thread"

    def test_database(self, service: Service, member: Person) -> None:
        with Load(service, member) as load:
            load.wait_for_more()
            (server,) = servers_of(service)
            os.kill(server, signal.SIGKILL)
            load.wait_for_more(seconds=HEALS_SECONDS)
        load.check()
        assert set(load.answers) <= {201, 503}
        assert load.broken_connections == 0
        assert servers_of(service) != [server]

    def test_keeper(self, service: Service, member: Person) -> None:
        with Load(service, member) as load:
            load.wait_for_more()
            keeper = keeper_pid(service)
            os.kill(keeper, signal.SIGKILL)
            wait_for(lambda: keeper_pid(service) != keeper, HEALS_SECONDS)
            load.wait_for_more(seconds=HEALS_SECONDS)
        load.check()
        assert set(load.answers) <= {201, 503}
        assert load.broken_connections == 0
        assert len(servers_of(service)) == 1
        assert len(keepers_of(service)) == 1

    def test_keeper_of_a_server_that_is_stuck(
        self, service: Service, member: Person
    ) -> None:
        """It can't close when it is told to: killed, it loses nothing."""
        with Load(service, member) as load:
            load.wait_for_more()
            keeper = keeper_pid(service)
            (server,) = servers_of(service)
            os.kill(server, signal.SIGSTOP)
            os.kill(keeper, signal.SIGKILL)
            wait_for(lambda: server not in servers_of(service), HEALS_SECONDS)
            load.wait_for_more(seconds=HEALS_SECONDS)
        load.check()
        assert set(load.answers) <= {201, 503}
        assert len(servers_of(service)) == 1

    def test_master(self, service: Service, member: Person) -> None:
        """The workers notice, and leave the port and the database."""
        with Load(service, member) as load:
            load.wait_for_more()
            os.kill(service.pid, signal.SIGKILL)
            service.wait()
            wait_for(lambda: not service.processes(), HEALS_SECONDS)
        service.start()
        load.check()
        assert set(load.answers) == {201}

    def test_everything_but_the_database(
        self, service: Service, member: Person
    ) -> None:
        """It closes by itself when all its users were killed."""
        with Load(service, member) as load:
            load.wait_for_more()
            os.killpg(service.pid, signal.SIGKILL)
            service.wait()
            wait_for(lambda: not service.processes(), HEALS_SECONDS)
        service.start()
        load.check()

    def test_everything(self, service: Service, member: Person) -> None:
        """Like a power cut, but for the disk's own cache."""
        with Load(service, member) as load:
            load.wait_for_more()
            for pid in service.processes():
                os.kill(pid, signal.SIGKILL)
            service.wait()
        wait_for(lambda: not service.processes())
        service.start()
        load.check()


def keeper_pid(service: Service) -> int:
    """The keeper that holds the lock, or held it last."""
    text = service.folder.keeper_lock.read_text("utf-8")
    return int(text or 0)


def keepers_of(service: Service) -> list[int]:
    """The living keepers."""
    return [
        pid
        for pid, command in service.processes().items()
        if "config.embedded_keeper" in command
    ]
