"""A full disk: what can't be written is refused, and all heals with room."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import factories
from tests.problems import assert_problem
from tests.service import machines
from tests.service.running import MARKS, Person, Service, wait_for

pytestmark = MARKS

# The database's journal takes files of 128 MB, before they are needed.
_DISK = "340m"
_PIECE = b"\1" * 65536
_HEALS_SECONDS = 60


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Iterator[Path]:
    reason = machines.why_nothing_is_cut()
    if reason is not None:
        pytest.skip(f"no disk can be mounted here: {reason}")
    disk = tmp_path / "data"
    disk.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(disk)],
        check=True,
    )
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_heals(disk: Path, tmp_path: Path) -> None:
    """Nothing acknowledged is lost, and each refusal is an honest one."""
    service = Service(tmp_path, WEB_CONCURRENCY="1")
    with service, service.client() as client:
        member = Person.register(client)
        ballast = disk / "ballast"
        fill(ballast)
        acknowledged = [member.post_event()["id"]]

        def is_refused() -> bool:
            body = factories.event_body(description="x" * 9_000)
            response = member.send("POST", "/v1/events", body)
            if response.status_code != 201:
                assert_problem(response, 503, "database-unavailable")
                return True
            acknowledged.append(response.json()["id"])
            return False

        # The database writes its files long after its journal.
        wait_for(is_refused, _HEALS_SECONDS)
        ballast.unlink()
        wait_for(lambda: not is_refused(), _HEALS_SECONDS)
        listed = member.list_all("/v1/events", mine=True)
        assert set(acknowledged) <= {event["id"] for event in listed}


def fill(path: Path) -> None:
    """Writes a file until there is no room for more."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(_PIECE)
        except OSError:
            return
