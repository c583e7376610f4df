"""The README's commands for sessions are run, on a real engine."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.engine.engines import PYTHON, docker_host
from tests.factories import PASSWORD
from tests.service.running import (
    MARKS,
    REPOSITORY,
    Person,
    Service,
    create_admin,
)

pytestmark = [pytest.mark.engine, *MARKS]

_MARK = "-- the next command --"


def _commands() -> list[str]:
    text = (REPOSITORY / "README.md").read_text("utf-8")
    section = text.partition("## A seat is a GPU")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.M)
    return [line for block in blocks for line in block.splitlines()]


def _answers(service: Service, **variables: str) -> dict[str, str]:
    """What each command prints, by the command."""
    commands = _commands()
    script = "".join(f"{each}\necho '{_MARK}'\n" for each in commands)
    host = service.url.removeprefix("http://")
    script = script.replace("localhost:8000", host)
    terminal = subprocess.run(
        ["sh", "-e"],
        input=script.replace("python:3.12-slim", PYTHON),
        text=True,
        capture_output=True,
        check=True,
        timeout=120,
        env={
            **os.environ,
            **variables,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
    )
    printed = terminal.stdout.split(_MARK)[:-1]
    return dict(zip(commands, printed, strict=True))


def _event(organiser: Person) -> dict[str, Any]:
    return organiser.post_event(capacity=2, public=False)


def test_a_seat_is_a_gpu(tmp_path: Path) -> None:
    with (
        Service(
            tmp_path,
            DOCKER_HOST=docker_host(),
            SESSION_ENGINE="docker",
            SESSION_LABEL="readme",
            SESSION_GPUS="GPU-a=Test/1024,GPU-b=Test/1024",
        ) as service,
        service.client() as client,
    ):
        create_admin(service, "door@example.org")
        admin = Person(client, "door@example.org", PASSWORD)
        member = Person.register(client)
        answers = _answers(
            service,
            ADMIN=admin.tokens["access_token"],
            TOKEN=member.tokens["access_token"],
            EVENT=_event(member)["id"],
        )
    said = " ".join(answers.values())
    assert "Directory listing" in said
    assert "GPU-a" in said
    assert '"gpus_per_seat":1' in said
    assert '"memory_limit_mb":256' in said
    assert '"type":"/problems/' not in said, said
