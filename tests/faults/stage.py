"""A whole Muster, and all that can go wrong with its parts, one by one."""

import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.service.machines import (
    External,
    Machine,
    Program,
    is_missing,
    machine,
)
from tests.service.running import (
    Service,
    environment,
    free_port,
    link_trials,
    wait_for,
)

_HEALS_SECONDS: Final = 40


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong, and comes right again.

    Attributes:
        name: what it is.
        begin: has it go wrong.
        end: has it come right, and waits until what was started is there.
        breaks: whether clients may lose their connections.
    """

    name: str
    begin: Callable[[], object]
    end: Callable[[], object]
    breaks: bool = False


class Stage:
    """The processes of one Muster.

    Web workers under gunicorn, workers of tasks, a database, and a Redis where
    it is installed; both on machines that can be cut off where that can be.
    """

    def __init__(
        self,
        service: Service,
        database: External,
        redis: Program | None,
        workers: list[Program],
    ) -> None:
        self.service = service
        self.database = database
        self.redis = redis
        self.workers = workers

    def start(self) -> None:
        """Starts all."""
        for program in (self.database, self.redis):
            if program is not None:
                program.start()
                program.wait_until_there()
        self.service.start()
        for worker in self.workers:
            worker.start()

    def kill(self) -> None:
        """Ends whatever is left."""
        for program in [*self.workers, self.database, self.redis]:
            if program is not None:
                with suppress(AssertionError):
                    program.kill()
        self.service.kill()

    def errors(self) -> str:
        """What the service and its workers logged."""
        said = [worker.said() for worker in self.workers]
        return "\n".join([self.service.errors(), *said])


def faults_of(stage: Stage, chance: random.Random) -> Iterator[Fault]:
    """Each fault that can be done to the parts of `stage`."""
    service = stage.service
    yield from _faults_of_web(service, chance)
    yield from _faults_of_program("the database", stage.database)
    if stage.redis is not None:
        yield from _faults_of_program("Redis", stage.redis)
    worker = chance.choice(stage.workers)
    yield from _faults_of_program("a worker of tasks", worker)


def faults_of_wire(name: str, place: Machine) -> Iterator[Fault]:
    """The one fault of a machine that can be cut off."""
    if place.can_be_cut:
        yield Fault(f"{name} is cut off", place.cut, place.mend)


@contextmanager
def staged(
    folder: Path, *, web: int, workers: int
) -> Iterator[tuple[Stage, list[Fault]]]:
    """A stage while the block runs, and what its wires can suffer."""
    with machine() as far, machine() as farther:
        (folder / "mongo").mkdir()
        database = External(folder / "mongo", place=far)
        redis = _redis(folder, farther)
        settings = {"REDIS_URL": redis[1]} if redis else {}
        service = Service(
            folder,
            MONGO_DB_URI=database.uri,
            WEB_CONCURRENCY=str(web),
            TASK_WORKER="separate",
            **settings,
        )
        service.checkout = link_trials(folder / "rooms")
        stage = Stage(
            service,
            database,
            redis[0] if redis else None,
            [_worker(service, folder, number) for number in range(workers)],
        )
        wires = list(faults_of_wire("the database", far))
        if redis:
            wires += faults_of_wire("Redis", farther)
        try:
            stage.start()
            yield stage, wires
        finally:
            stage.kill()


def _faults_of_web(service: Service, chance: random.Random) -> Iterator[Fault]:
    count = int(service.settings["WEB_CONCURRENCY"])
    victims: list[int] = []

    def choose(number: signal.Signals) -> None:
        victims[:] = [chance.choice(service.workers())]
        os.kill(victims[0], number)

    def all_there() -> None:
        wait_for(lambda: len(service.workers()) == count, _HEALS_SECONDS)

    def start_again() -> None:
        service.wait()
        wait_for(lambda: not service.processes(), _HEALS_SECONDS)
        service.start()

    def restarted() -> None:
        wait_for(
            lambda: (
                not set(victims) & set(service.workers())
                and len(service.workers()) == count
            ),
            _HEALS_SECONDS,
        )

    def reload() -> None:
        victims[:] = service.workers()
        os.kill(service.pid, signal.SIGHUP)

    yield Fault(
        "a web worker is killed",
        partial(choose, signal.SIGKILL),
        all_there,
        breaks=True,
    )
    yield Fault(
        "a web worker is held",
        partial(choose, signal.SIGSTOP),
        lambda: os.kill(victims[0], signal.SIGCONT),
    )
    yield Fault(
        "the master is killed",
        lambda: os.kill(service.pid, signal.SIGKILL),
        start_again,
        breaks=True,
    )
    yield Fault(
        "the master is held",
        lambda: os.kill(service.pid, signal.SIGSTOP),
        lambda: os.kill(service.pid, signal.SIGCONT),
    )
    yield Fault("the service is restarted", reload, restarted)


def _faults_of_program(name: str, program: Program) -> Iterator[Fault]:
    def start_again() -> None:
        program.start()
        program.wait_until_there()

    yield Fault(f"{name} is killed", program.kill, start_again)
    yield Fault(
        f"{name} is held",
        partial(program.signal, signal.SIGSTOP),
        partial(program.signal, signal.SIGCONT),
    )


def _redis(folder: Path, place: Machine) -> tuple[Program, str] | None:
    if is_missing("redis-server"):
        return None
    port = free_port()
    command = [*place.prefix, "redis-server", "--port", str(port)]
    command += ["--bind", place.host, "--protected-mode", "no"]
    command += ["--save", "", "--appendonly", "no"]
    program = Program(
        command, log=folder / "redis.log", address=(place.host, port)
    )
    return program, f"redis://{place.host}:{port}/0"


def _worker(service: Service, folder: Path, number: int) -> Program:
    return Program(
        [sys.executable, "-m", "scripts.worker"],
        log=folder / f"worker{number}.log",
        cwd=service.checkout,
        env=environment(**service.settings, TASK_SLOTS="2"),
    )
