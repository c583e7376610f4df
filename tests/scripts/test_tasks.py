"""Tests of `scripts/tasks.py` against a service."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.service import running
from tests.service.running import Person, Service

pytestmark = running.MARKS


@pytest.fixture(scope="module", name="service")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("tasks")
    with Service(folder, WEB_CONCURRENCY="2") as service:
        yield service


@pytest.fixture(name="person")
def _person(service: Service) -> Iterator[Person]:
    with service.client() as client:
        yield Person.register(client)


def _run(
    service: Service, person: Person, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.tasks", *arguments],
        cwd=running.REPOSITORY,
        env={
            **os.environ,
            "MUSTER_URL": service.url,
            "MUSTER_TOKEN": person.tokens["access_token"],
        },
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_from_file_to_file(
    service: Service, person: Person, tmp_path: Path
) -> None:
    """An array goes in, is watched, and comes out."""
    np.save(tmp_path / "in.npy", np.arange(5.0))
    submitted = _run(
        service, person, "submit", "np-array",
        f"array=@{tmp_path}/in.npy", "operation=normalize",
    )  # fmt: skip
    assert submitted.returncode == 0, submitted.stderr
    assert "100% succeeded" in submitted.stderr
    task_id = submitted.stdout.strip()
    for ending in ("npy", "png", "json"):
        output = tmp_path / f"out.{ending}"
        result = _run(
            service, person, "result", task_id, "--output", str(output)
        )
        assert result.returncode == 0, result.stderr
        assert output.stat().st_size > 0
    np.testing.assert_allclose(
        np.load(tmp_path / "out.npy"), np.arange(5.0) / 4
    )
    shown = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert shown["operation"] == "normalize"


def test_faults(service: Service, person: Person) -> None:
    """Each is one line, and a status that scripts see."""
    for arguments, says in (
        (["submit", "nothing"], "There is no such process"),
        (["submit", "np-array", "array"], "is no name=value"),
        (["watch", "00000000-0000-4000-8000-000000000000"], "no task"),
    ):
        ended = _run(service, person, *arguments)
        assert ended.returncode != 0
        assert ended.stderr.startswith("muster: ")
        assert says in ended.stderr
        assert len(ended.stderr.splitlines()) == 1


def test_a_stream_goes_on_at_another_worker(
    service: Service, person: Person
) -> None:
    """What one worker showed, the other one does not show again."""
    body = {"array": [1, 2, 4]}
    task = person.send("POST", "/v1/processes/np-array", body).json()
    path = f"/v1/tasks/{task['id']}/events"
    first, second = service.workers()
    with service.only(first):
        shown = person.send("GET", path).text
    last = int(shown.rpartition("id: ")[2].partition("\n")[0])
    with service.only(second):
        resumed = person.send("GET", path, last_event_id=str(last - 1)).text
        over = person.send("GET", path, last_event_id=str(last))
    assert resumed.count("data: ") == 1
    assert '"status":"succeeded"' in resumed
    assert over.status_code == 204


def test_killed_database(service: Service, person: Person) -> None:
    """What was taken in before and after its death is done."""
    taken: list[str] = []

    def submit() -> bool:
        response = person.send(
            "POST", "/v1/processes/np-array", {"array": [len(taken), 1]}
        )
        assert response.status_code in (202, 503), response.text
        if response.status_code == 202:
            taken.append(response.json()["id"])
        return response.status_code == 202

    for _ in range(15):
        submit()
    (server,) = running.servers_of(service)
    os.kill(server, 9)
    running.wait_for(submit, 30)
    for _ in range(10):
        submit()
    for task_id in taken:
        running.wait_for(partial(_is_done, person, task_id), 60)


def _is_done(person: Person, task_id: str) -> bool:
    response = person.get(f"/v1/tasks/{task_id}")
    return bool(response.json().get("status") == "succeeded")
