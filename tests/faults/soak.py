"""A soak: people go on while one thing after another goes wrong."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from tests.faults.journeys import (
    PATIENCE_SECONDS,
    Guest,
    Host,
    Journey,
    Newcomers,
    Organiser,
    Reader,
    Submitter,
    Witness,
)
from tests.faults.stage import Fault, Stage, faults_of
from tests.service.running import wait_for

Somebody = TypeVar("Somebody", bound=Journey)

_GUESTS: Final = 4
# What each kind of people must do once a fault is over: it has healed then.
_STEPS: Final = 2


class Soak:
    """One stage, its people, and what they saw.

    Args:
        stage: what is running.
        wires: what its wires can suffer, besides what its parts can.
        folder: where tasks leave what they did.
        seed: the same one does the same things, as far as time allows.
        fault_seconds: how long a fault lasts, at least and at most.
    """

    def __init__(
        self,
        stage: Stage,
        wires: Sequence[Fault],
        folder: Path,
        *,
        seed: int,
        fault_seconds: tuple[float, float],
    ) -> None:
        self._stage = stage
        self._wires = wires
        self._chance = random.Random(seed)
        self._fault_seconds = fault_seconds
        self.witness = Witness()
        self.faults: list[tuple[str, float]] = []
        self._people = self._invite(folder, seed)

    def run(
        self, seconds: float, say: Callable[[str], object] = lambda _: None
    ) -> None:
        """Lets things fail until the time is over, and each has once.

        Raises:
            AssertionError: something was not as promised.
        """
        try:
            self._fail_until(time.monotonic() + seconds, say)
            say(f"answers: {dict(self.witness.answers.most_common())}")
            assert not self.witness.wrong, "\n".join(self.witness.wrong)
            for journey in self._people:
                journey.check()
        finally:
            for journey in self._people:
                journey.close()
        assert "Traceback" not in self._stage.errors(), self._stage.errors()

    def _fail_until(self, end: float, say: Callable[[str], object]) -> None:
        for journey in self._people:
            journey.start()
        while not self.faults or time.monotonic() < end:
            faults = [*faults_of(self._stage, self._chance), *self._wires]
            self._chance.shuffle(faults)
            for fault in faults:
                say(fault.name)
                healed = self._suffer(fault)
                say(f"healed after {healed:.1f} s")
        for journey in self._people:
            journey.stop()

    def _invite(self, folder: Path, seed: int) -> list[Journey]:
        def make(kind: type[Somebody], count: int) -> list[Somebody]:
            names = [f"{kind.__name__}-{n + 1}" for n in range(count)]
            return [
                kind(name, self._stage.service, self.witness, seed)
                for name in names
            ]

        (host,) = make(Host, 1)
        guests, submitters = make(Guest, _GUESTS), make(Submitter, 2)
        people: list[Journey] = [host, *guests, *submitters]
        people += [*make(Newcomers, 2), *make(Organiser, 2), *make(Reader, 2)]
        for journey in people:
            journey.prepare()
        for guest in guests:
            guest.path = host.path
        for number, submitter in enumerate(submitters):
            submitter.file = folder / f"ran{number}"
            submitter.file.touch()
        return people

    def _suffer(self, fault: Fault) -> float:
        """One fault, to its end; returns how long it took to heal."""
        self.witness.now = fault.name
        self.witness.may_break = fault.breaks
        fault.begin()
        time.sleep(self._chance.uniform(*self._fault_seconds))
        fault.end()
        before = {journey: journey.steps for journey in self._people}

        healed = wait_for(partial(self._all_go_on, before), PATIENCE_SECONDS)
        self.faults.append((fault.name, healed))
        return healed

    def _all_go_on(self, before: Mapping[Journey, int]) -> bool:
        """Whether of each kind somebody has done enough since then."""
        assert not self.witness.wrong, "\n".join(self.witness.wrong)
        gone_on = {
            type(journey)
            for journey, steps in before.items()
            if journey.steps >= steps + _STEPS
        }
        return gone_on == set(map(type, before))
