"""What people do while things go wrong, and what they were promised.

Each journey remembers what was acknowledged to it, and says in the end whether
all of that, and nothing else, is there. Whoever gets no answer, or is told that
it does not work at present, asks again: with the same Idempotency-Key, where
asking twice would do it twice.
"""

import random
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from tests import factories
from tests.problems import assert_problem
from tests.service.agreement import check_agreement
from tests.service.running import Person, Service, create_admin, wait_for

# Until somebody is answered for good: what a killed worker had begun is free
# after 20 s, and several faults may follow each other.
PATIENCE_SECONDS: Final = 90
_ENDS_SECONDS: Final = 120
_AGAIN_SECONDS: Final = 0.1
# Before an access token is too old.
_LOGIN_SECONDS: Final = 600
_UNAVAILABLE: Final = ("database-unavailable", "rate-limit-unavailable")


class Witness:
    """Sees every answer, and every connection that breaks."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.may_break = False
        self.now = "all is well"

    def answered(self, response: httpx.Response) -> None:
        """Notes an answer."""
        kind = str(response.status_code)
        if response.status_code >= 400:
            kind = f"{kind} {response.json()['type'].rpartition('/')[2]}"
        self.answers[kind] += 1

    def broke(self, what: str) -> None:
        """Notes a connection that broke."""
        self.answers["broken"] += 1
        if not self.may_break:
            self.wrong.append(f"while {self.now}: {what}")


class Somebody:
    """A member, or nobody yet, who asks until there is an answer."""

    def __init__(
        self, service: Service, witness: Witness, *, keeps_alive: bool = False
    ) -> None:
        self._witness = witness
        self.client = (
            httpx.Client(base_url=service.url, timeout=60, trust_env=False)
            if keeps_alive
            else service.client()
        )
        self.email = f"{random.randbytes(8).hex()}@example.org"
        self.id = ""
        self._token = ""
        self._logged_in_at = 0.0

    def register(self, key: str) -> None:
        """Becomes a member."""
        body = factories.registration(email=self.email)
        done = self.ask("POST", "/v1/users", {201}, key=key, json=body)
        self.id = done.json()["id"]

    def log_in(self) -> None:
        """Signs in: what was registered is there."""
        form = {"username": self.email, "password": factories.PASSWORD}
        done = self.ask("POST", "/v1/auth/login", {200}, data=form)
        self._token = done.json()["access_token"]
        self._logged_in_at = time.monotonic()

    def ask_as_member(
        self, method: str, path: str, wanted: set[int], **request: Any
    ) -> httpx.Response:
        """Asks with an access token that is new enough."""
        if time.monotonic() > self._logged_in_at + _LOGIN_SECONDS:
            self.log_in()
        headers = {"Authorization": f"Bearer {self._token}"}
        return self.ask(method, path, wanted, headers=headers, **request)

    def ask(
        self,
        method: str,
        path: str,
        wanted: set[int],
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        **request: Any,
    ) -> httpx.Response:
        """Asks until the answer is one of those that are wanted.

        Raises:
            AssertionError: it is another one, and no honest refusal.
        """
        headers = {**(headers or {})}
        if key is not None:
            headers["Idempotency-Key"] = key
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                response = self.client.request(
                    method, path, headers=headers, **request
                )
            except httpx.TransportError as error:
                self._witness.broke(f"{method} {path}: {error!r}")
            else:
                self._witness.answered(response)
                if response.status_code in wanted:
                    return response
                _check_refusal(response)
            assert time.monotonic() < deadline, f"{method} {path}: no answer"
            time.sleep(_AGAIN_SECONDS)


def _check_refusal(response: httpx.Response) -> None:
    """Only "not now" is an honest refusal of what is right."""
    if response.status_code == 409:
        assert_problem(response, 409, "idempotency-key-in-flight")
        return
    kind = response.json().get("type", "").rpartition("/")[2]
    assert kind in _UNAVAILABLE, response.text
    assert_problem(response, 503, kind)


class Journey(threading.Thread, ABC):
    """Somebody who does something again and again.

    Attributes:
        steps: how often it was done.
    """

    pause_seconds = 0.15

    def __init__(
        self, name: str, service: Service, witness: Witness, seed: int
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.steps = 0
        self.somebody = Somebody(service, witness)
        self.chance = random.Random(f"{seed} {name}")
        self._witness = witness
        self._over = threading.Event()
        self._count = 0

    def run(self) -> None:
        """Goes on until it is told to stop, or is wronged."""
        try:
            while not self._over.wait(self.pause_seconds):
                self.step()
                self.steps += 1
        # Whatever it is, it is what is looked for here.
        except Exception as error:  # pylint: disable=broad-exception-caught
            now = self._witness.now
            self._witness.wrong.append(f"while {now}: {self.name}: {error!r}")

    def stop(self) -> None:
        """Lets it end what it has begun."""
        self._over.set()
        self.join(PATIENCE_SECONDS)
        assert not self.is_alive(), f"{self.name} has no answer yet"

    def close(self) -> None:
        """Lets go of its connection."""
        self.somebody.client.close()

    def prepare(self) -> None:
        """Before anything goes wrong: becomes a member."""
        self.somebody.register(self.new_key())
        self.somebody.log_in()

    @abstractmethod
    def step(self) -> None:
        """One thing that is done."""

    def check(self) -> None:
        """Afterwards: what was promised is there, and nothing else."""

    def new_key(self) -> str:
        """An Idempotency-Key, and a name for what is made with it."""
        self._count += 1
        return f"{self.name}-{self._count}-{self.chance.randbytes(8).hex()}"

    def as_person(self) -> Person:
        """The same somebody for lists and the like; it logs in."""
        return Person(
            self.somebody.client, self.somebody.email, factories.PASSWORD
        )


class Newcomers(Journey):
    """People who register and log in, and some who come back."""

    pause_seconds = 0.5

    def __init__(
        self, name: str, service: Service, witness: Witness, seed: int
    ) -> None:
        super().__init__(name, service, witness, seed)
        self._service = service
        self._known: list[Somebody] = []

    def step(self) -> None:
        if self._known and self.chance.random() < 0.5:
            self.chance.choice(self._known).log_in()
            return
        newcomer = Somebody(self._service, self._witness)
        newcomer.register(self.new_key())
        newcomer.log_in()
        self._known.append(newcomer)

    def check(self) -> None:
        member = self.as_person()
        for known in self._known:
            shown = member.get(f"/v1/users/{known.id}")
            assert shown.status_code == 200, f"{known.email} is lost"


class Organiser(Journey):
    """Publishes events, and changes their titles."""

    def __init__(
        self, name: str, service: Service, witness: Witness, seed: int
    ) -> None:
        super().__init__(name, service, witness, seed)
        self._titles: dict[str, str] = {}

    def step(self) -> None:
        title = self.new_key()
        if self._titles and self.chance.random() < 0.4:
            event_id = self.chance.choice(list(self._titles))
            self._ask("PATCH", event_id, json={"title": title})
        else:
            body = factories.event_body(title=title)
            made = self.somebody.ask_as_member(
                "POST", "/v1/events", {201}, key=title, json=body
            )
            event_id = made.json()["id"]
        self._titles[event_id] = title
        shown = self._ask("GET", event_id).json()["title"]
        assert shown == title, f"{event_id} is {shown}, and was {title}"

    def check(self) -> None:
        listed = self.as_person().list_all("/v1/events", mine=True)
        found = Counter((event["id"], event["title"]) for event in listed)
        assert found == Counter(self._titles.items())

    def _ask(self, method: str, event_id: str, **request: Any) -> Any:
        path = f"/v1/events/{event_id}"
        return self.somebody.ask_as_member(method, path, {200}, **request)


class Guest(Journey):
    """Takes a place at an event that has too few seats, and gives it back."""

    path = ""

    def __init__(
        self, name: str, service: Service, witness: Witness, seed: int
    ) -> None:
        super().__init__(name, service, witness, seed)
        self._has_place = False

    def step(self) -> None:
        if self._has_place:
            # It may be gone already, by a request whose answer was lost.
            self._ask("DELETE", {200, 204, 404})
        else:
            assert self._ask("PUT", {200, 201}).json()["status"] in (
                "going",
                "waitlisted",
            )
        self._has_place = not self._has_place

    def check(self) -> None:
        seen = self._ask("GET", {200})
        has_place = seen.json()["status"] is not None
        assert has_place == self._has_place, seen.text

    def _ask(self, method: str, wanted: set[int]) -> httpx.Response:
        response = self.somebody.ask_as_member(
            method, f"{self.path}/rsvp", wanted
        )
        if response.status_code == 404:
            assert_problem(response, 404, "rsvp-not-found")
        return response


class Host(Journey):
    """An admin who gives an event with few seats, and looks how many come."""

    seats = 2

    def __init__(
        self, name: str, service: Service, witness: Witness, seed: int
    ) -> None:
        super().__init__(name, service, witness, seed)
        self._service = service
        self.path = ""

    def prepare(self) -> None:
        create_admin(self._service, self.somebody.email)
        self.somebody.log_in()
        made = self.somebody.ask_as_member(
            "POST",
            "/v1/events",
            {201},
            key=self.new_key(),
            json=factories.event_body(capacity=self.seats),
        )
        self.path = f"/v1/events/{made.json()['id']}"

    def step(self) -> None:
        event = self.somebody.ask_as_member("GET", self.path, {200}).json()
        assert event["seats_taken"] <= self.seats, "a seat was given twice"

    def check(self) -> None:
        taken, waiting = check_agreement(self.as_person(), self.path)
        assert taken == self.seats or waiting == 0, "a seat is kept from a line"


class Submitter(Journey):
    """Submits tasks, each of which leaves a line in a file when it runs."""

    pause_seconds = 0.5
    file = Path()

    def __init__(
        self, name: str, service: Service, witness: Witness, seed: int
    ) -> None:
        super().__init__(name, service, witness, seed)
        self._lines: dict[str, str] = {}

    def step(self) -> None:
        line = self.new_key()
        done = self.somebody.ask_as_member(
            "POST",
            "/v1/processes/trial-append",
            {202},
            key=line,
            json={"path": str(self.file), "line": line},
        )
        self._lines[done.json()["id"]] = line

    def check(self) -> None:
        person = self.as_person()
        listed = {task["id"] for task in person.list_all("/v1/tasks")}
        assert listed == set(self._lines), "a task is lost, or there twice"
        for task_id in self._lines:
            wait_for(partial(self._is_over, person, task_id), _ENDS_SECONDS)
        ran = Counter(self.file.read_text("ascii").splitlines())
        for task_id, line in self._lines.items():
            task = person.get(f"/v1/tasks/{task_id}").json()
            assert task["status"] == "succeeded", task
            # A worker that dies in the middle costs an attempt.
            assert 1 <= ran[line] <= task["attempts"], (task, ran[line])
            result = person.get(f"/v1/tasks/{task_id}/result")
            assert result.json() == line

    @staticmethod
    def _is_over(person: Person, task_id: str) -> bool:
        task = person.get(f"/v1/tasks/{task_id}").json()
        return task["status"] in ("succeeded", "failed", "cancelled")


class Reader(Journey):
    """Somebody unknown who looks around, on one connection."""

    def __init__(
        self, name: str, service: Service, witness: Witness, seed: int
    ) -> None:
        super().__init__(name, service, witness, seed)
        self.somebody = Somebody(service, witness, keeps_alive=True)

    def prepare(self) -> None:
        """It stays unknown."""

    def step(self) -> None:
        path = self.chance.choice(["/v1/events", "/", "/v1/processes"])
        assert self.somebody.ask("GET", path, {200}).json()
