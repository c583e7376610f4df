"""Workers: forks of a master that has imported the app, and has no part in it.

What nobody writes to is in memory once, and nothing that must differ is shared.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service.running import MARKS, Service, wait_for

pytestmark = MARKS

_ASKED = 20


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("workers")
    with Service(
        folder,
        LOG_FILE=str(folder / "log"),
        GUNICORN_CMD_ARGS=f"--error-logfile {folder / 'gunicorn'}",
    ) as service:
        yield service


def test_most_of_their_memory_is_shared(
    service: Service, client: httpx.Client
) -> None:
    for worker in service.workers():
        with service.only(worker):
            client.get("/v1/events").raise_for_status()
        memory = _memory_of(worker)
        shared = memory["Shared_Clean"] + memory["Shared_Dirty"]
        private = memory["Private_Clean"] + memory["Private_Dirty"]
        assert shared > 2 * private


def test_each_has_random_numbers_of_its_own(
    service: Service, client: httpx.Client
) -> None:
    """Two that went on from the same state would give the same ids."""
    old = service.workers()
    for victim in old:
        os.kill(victim, signal.SIGKILL)
    wait_for(
        lambda: (
            not set(old) & set(service.workers())
            and len(service.workers()) == len(old)
        )
    )
    ids = []
    for worker in service.workers():
        with service.only(worker):
            for _ in range(_ASKED):
                ids.append(client.get("/").headers["x-request-id"])
    assert len(set(ids)) == 2 * _ASKED


def test_they_log_where_muster_does(service: Service) -> None:
    """The master forks them with gunicorn's own places at hand."""
    log = Path(service.settings["LOG_FILE"])
    line = "INFO [-] uvicorn.error: Application startup complete."
    wait_for(lambda: service.errors().count(line) >= 2)
    wait_for(lambda: log.read_text("utf-8").count(line) >= 2)
    assert "uvicorn" not in log.with_name("gunicorn").read_text("utf-8")


@pytest.mark.parametrize(
    ("app", "trace"),
    [
        ("models.absent:app", "No module named 'models.absent'"),
        # Of this one, gunicorn would say the message alone.
        ("faulty:app", 'faulty.py", line 1, in <module>'),
    ],
)
def test_an_app_that_cant_be_imported_leaves_nothing(
    app: str, trace: str, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    service = Service(
        tmp_path,
        *("gunicorn", "--config", "python:config.server", app),
        *("--pid", str(temporary / "muster-pid")),
        TMPDIR=str(temporary),
    )
    faulty = service.checkout / "faulty.py"
    faulty.write_text("raise RuntimeError('no app today')", "utf-8")
    try:
        service.launch()
        assert service.wait() == 1
        assert trace in service.errors()
        wait_for(lambda: not service.processes())
        assert not list(temporary.glob("muster-*"))
    finally:
        service.kill()


def _memory_of(pid: int) -> dict[str, int]:
    """What a process has in memory, kB, by the kernel's names."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    return {
        name: int(value.split()[0])
        for name, _, value in (line.partition(":") for line in lines[1:])
    }
