"""The databases of the contestants, each with its own and on its own disk.

All of them write what they acknowledge to the disk first: the embedded
database by its `--sync-on-commit`, PostgreSQL by `fsync` and
`synchronous_commit`, which are on as it comes. Redis is a cache here, and keeps
nothing.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import servers
from config import db
from config.embedded import EmbeddedDatabase, Folder
from tests.redis_server import running_redis

_START_SECONDS: Final = 30.0
_CLOSE_SECONDS: Final = 60.0
# Debian keeps the server's programs out of PATH.
_DEBIAN: Final = Path("/usr/lib/postgresql")
# PostgreSQL refuses to run as root; its package brings this user.
_OWNER: Final = "postgres"


@dataclass(frozen=True)
class Store:
    """A database that answers.

    Attributes:
        pid: its first process.
        settings: where it is, as an app is told.
    """

    pid: int
    settings: dict[str, str]

    def cpu_seconds(self) -> float:
        """What all its processes have used so far."""
        used = 0.0
        for child in servers.children_of(self.pid):
            # What has ended meanwhile counts as the first one's.
            with suppress(FileNotFoundError):
                used += servers.cpu_seconds(child)
        return used + servers.cpu_seconds(self.pid)


def opened(folder: str) -> Path:
    """A folder where others than its owner find theirs, as PostgreSQL's."""
    Path(folder).chmod(0o755)
    return Path(folder)


def find_postgres() -> Path | None:
    """The folder of PostgreSQL's programs, the newest one."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = sorted(_DEBIAN.glob("*/bin/initdb"))
    return versions[-1].parent if versions else None


@contextmanager
def embedded(folder: Path) -> Iterator[Store]:
    """Muster's embedded database."""
    database = EmbeddedDatabase(folder)
    try:
        uri = database.join()
        pid = int(Folder(folder).server_lock.read_text(encoding="ascii"))
        yield Store(
            pid,
            {"MONGO_DB_URI": uri, "MONGO_DB_NAME": f"{db.TEST_PREFIX}peers"},
        )
    finally:
        database.leave()
        database.wait_until_closed(_CLOSE_SECONDS)


@contextmanager
def postgres(folder: Path) -> Iterator[Store]:
    """PostgreSQL as it comes, with a database of this benchmark's own."""
    programs = find_postgres()
    assert programs is not None  # Who calls has asked.
    folder.mkdir()
    user = _OWNER if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)
    data = folder / "data"
    subprocess.run(
        [programs / "initdb", "--pgdata", data, "--username", _OWNER,
         "--auth", "trust", "--encoding", "UTF8", "--no-locale"],
        stdout=subprocess.DEVNULL, check=True, user=user, cwd=folder,
    )  # fmt: skip
    port = servers.free_port()
    log = servers.RESULTS / "postgres.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, "-p", str(port),
             "-h", "127.0.0.1", "-c", "unix_socket_directories="],
            stdout=output, stderr=subprocess.STDOUT, user=user, cwd=folder,
        )  # fmt: skip
    try:
        _wait_for_postgres(programs / "pg_isready", process, port, log)
        url = f"postgresql+asyncpg://{_OWNER}@127.0.0.1:{port}/postgres"
        yield Store(process.pid, {"DATABASE_URL": url})
    finally:
        # Whoever is connected is sent away.
        process.send_signal(signal.SIGINT)
        process.wait(_CLOSE_SECONDS)


@contextmanager
def redis() -> Iterator[Store]:
    """A Redis that keeps nothing."""
    with running_redis() as server:
        yield Store(server.pid, {"REDIS_URL": server.url})


def _wait_for_postgres(
    asking: Path, process: subprocess.Popen[bytes], port: int, log: Path
) -> None:
    deadline = time.monotonic() + _START_SECONDS
    ask = [asking, "--quiet", "--host", "127.0.0.1", "--port", str(port)]
    while time.monotonic() < deadline and process.poll() is None:
        if subprocess.run([*map(str, ask)], check=False).returncode == 0:
            return
        time.sleep(0.1)
    sys.exit(f"bench: PostgreSQL did not start, see {log}")
