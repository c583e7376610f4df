"""A clock that jumps: tokens, leases and tasks stay sane."""

import os
import sys
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.factories import PASSWORD
from tests.problems import assert_problem
from tests.service.machines import External, Program
from tests.service.running import (
    MARKS,
    Person,
    environment,
    free_port,
    link_trials,
    wait_for,
)

_LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))

pytestmark = [
    *MARKS,
    pytest.mark.skipif(
        not _LIBRARIES and os.environ.get("CI") != "true",
        reason="needs libfaketime",
    ),
]

_TASK_SECONDS = 90


class Clock:
    """What Muster's processes take for the time; the database's is right."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.settings = {
            "LD_PRELOAD": str(_LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            # A clock that is set leaves the one that only counts alone.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        self.set(0)

    def set(self, hours: int) -> None:
        """Has it be so many hours fast; slow, below zero."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{hours:+}h\n", "ascii")
        draft.rename(self._file)


@pytest.fixture(name="clock")
def _clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture(name="urls")
def _urls(clock: Clock, tmp_path: Path) -> Iterator[list[str]]:
    """Two web processes and a worker of tasks, on one clock.

    gunicorn's master sleeps, which the library makes fail.
    """
    database = External(tmp_path)
    checkout = link_trials(tmp_path / "rooms")
    settings = environment(
        MONGO_DB_URI=database.uri,
        DATA_DIR=str(tmp_path / "data"),
        TASK_WORKER="separate",
        **clock.settings,
    )
    ports = [free_port(), free_port()]
    commands = [
        ["uvicorn", "app:app", "--port", str(port), "--no-access-log"]
        for port in ports
    ]
    programs = [database] + [
        Program(
            [sys.executable, "-m", *command],
            log=tmp_path / f"{number}.log",
            address=("127.0.0.1", ports[number]) if number < 2 else None,
            cwd=checkout,
            env=settings,
        )
        for number, command in enumerate([*commands, ["scripts.worker"]])
    ]
    started: list[Program] = []
    try:
        for program in programs:
            program.start()
            started.append(program)
            program.wait_until_there()
        yield [f"http://127.0.0.1:{port}" for port in ports]
    finally:
        for program in started:
            program.kill()
    for program in programs[1:]:
        assert "Traceback" not in program.said(), program.said()


def test_an_hour_either_way(urls: list[str], clock: Clock) -> None:
    """Whoever was signed in stays so, and what is asked for is done."""
    with (
        httpx.Client(base_url=urls[0], timeout=60) as client,
        httpx.Client(base_url=urls[1], timeout=60) as another,
    ):
        member = Person.register(client)
        event = member.post_event()
        for before, hours in pairwise([0, 1, 0, -1, 0]):
            # It runs while the clock jumps: its lease seems to be over, or to
            # last for an hour more.
            running = submit(member, steps=30)
            wait_for(partial(is_running, member, running))
            clock.set(hours)
            # An access token is good for minutes.
            refresh(client, member, expired=hours > before)
            assert member.get(f"/v1/events/{event['id']}").status_code == 200
            assert Person(another, member.email, PASSWORD).id == member.id
            for task in (running, submit(member, steps=1)):
                wait_for(partial(is_over, member, task), _TASK_SECONDS)
                done = seen(member, task)
                assert done["status"] == "succeeded", done
                assert done["attempts"] <= 2, done


def refresh(client: httpx.Client, member: Person, *, expired: bool) -> None:
    """Gets new tokens, as a client does when it is told that it must."""
    response = member.get("/v1/users/me")
    if expired:
        assert_problem(response, 401, "not-authenticated")
    else:
        assert response.status_code == 200, response.text
    refreshed = client.post(
        "/v1/auth/refresh",
        json={"refresh_token": member.tokens["refresh_token"]},
    )
    assert refreshed.status_code == 200, refreshed.text
    member.tokens = refreshed.json()
    assert member.get("/v1/users/me").status_code == 200


def submit(member: Person, *, steps: int) -> str:
    """Submits a task that takes so many tenths of a second."""
    body = {"steps": steps, "seconds": 0.1}
    response = member.send("POST", "/v1/processes/trial-count", body)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def seen(member: Person, task_id: str) -> dict[str, Any]:
    """A task as shown."""
    response = member.get(f"/v1/tasks/{task_id}")
    assert response.status_code == 200, response.text
    task: dict[str, Any] = response.json()
    return task


def is_running(member: Person, task_id: str) -> bool:
    """Whether a task has come some way."""
    return bool(seen(member, task_id)["progress"] > 0)


def is_over(member: Person, task_id: str) -> bool:
    """Whether a task has ended, well or not."""
    return seen(member, task_id)["status"] not in ("queued", "running")
