"""The embedded database: what runs where `MONGO_DB_URI` is unset.

A process that wants it calls `EmbeddedDatabase.join`; however many do, one
server answers them all. `config.embedded_keeper` runs that server, and this
module starts the keeper. Both meet in one folder, `DATA_DIR/embedded`, and
agree by file locks, which the kernel gives back even after `kill -9`:

    users.lock   shared by each user; the keeper takes it alone to close
    keeper.lock  held by the one keeper; says its pid
    server.lock  held by the server (and its keeper); says the server's pid
    server.json  where the server listens, and the password
    server.toml  empty, so that the server reads no settings of others
    server.log   what the keeper and the server say
    version      which release wrote the data
    data/        the data; data.new/ while the first run prepares it

A lock is given back by closing it, never by LOCK_UN: a forked child shares
its parent's lock, and LOCK_UN would take it from both.
"""

import dataclasses
import fcntl
import json
import logging
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Self

from pymongo import MongoClient
from pymongo.errors import PyMongoError

START_SECONDS = 30
# A keeper needs a moment to start and to take its lock; until then none of
# its users should start another.
_KEEPER_START_SECONDS = 1
_POLL_SECONDS = 0.05
_REPOSITORY = Path(__file__).resolve().parents[1]
_logger = logging.getLogger(__name__)


class EmbeddedDatabaseError(Exception):
    """The embedded database can't be used; the message is one line."""


class Folder:  # pylint: disable=too-many-instance-attributes  # Just names.
    """Where everything about one embedded database lies."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir.resolve() / "embedded"
        self.users_lock = self.path / "users.lock"
        self.keeper_lock = self.path / "keeper.lock"
        self.server_lock = self.path / "server.lock"
        self.address = self.path / "server.json"
        self.config = self.path / "server.toml"
        self.log = self.path / "server.log"
        self.version = self.path / "version"
        self.data = self.path / "data"
        self.draft = self.path / "data.new"

    def create(self) -> None:
        """Makes the folder, for its owner only.

        Raises:
            OSError: it can't be made, or belongs to somebody else.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def check_version(self) -> None:
        """Refuses data that another release wrote: nothing can convert it.

        Raises:
            EmbeddedDatabaseError: the data isn't this release's, or there is
                no release for this platform.
        """
        installed = installed_version()
        if not self.data.exists():
            return
        try:
            written_by = self.version.read_text().strip()
        except FileNotFoundError:
            written_by = "(unknown)"
        if written_by != installed:
            raise EmbeddedDatabaseError(
                f"{self.path} was written by secantusdb {written_by}, and"
                f" secantusdb {installed} can't read it: install that version"
                f" again (`pip install secantusdb=={written_by}`), set"
                " MONGO_DB_URI, or empty that folder"
            )


@dataclasses.dataclass(frozen=True)
class Address:
    """Where the server listens, and who may talk to it."""

    host: str
    port: int
    user: str
    password: str

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Returns None when there is no address yet."""
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None

    def save(self, path: Path) -> None:
        """Replaces the address at one stroke."""
        write_durably(path, json.dumps(dataclasses.asdict(self)))

    @property
    def uri(self) -> str:
        """What a MongoDB driver needs to get there."""
        # The server knows no retryable writes, and drops sockets that were
        # idle for 300 s. It offers itself as a replica set under a name of
        # its own: directConnection keeps the driver from following it.
        return (
            f"mongodb://{self.user}:{self.password}@{self.host}:{self.port}/"
            "?directConnection=true&retryWrites=false&maxIdleTimeMS=120000"
            "&authSource=admin"
        )

    def answers(self) -> bool:
        """Whether our server listens there: one that knows the password.

        SCRAM proves it to both sides, so a stranger on the same port learns
        nothing and doesn't pass.
        """
        try:
            # A refused connection shows at once; the driver would retry it.
            socket.create_connection((self.host, self.port), 1).close()
            with MongoClient[dict[str, object]](
                self.uri, timeoutMS=3000
            ) as client:
                client.admin.command("ping")
        except (OSError, PyMongoError):
            return False
        return True


class EmbeddedDatabase:
    """One process's use of the embedded database in `data_dir`.

    Not for several threads at once. A forked child shares its parent's use:
    the database lives until both have left or ended. A program that is
    started anew (spawned) must join for itself.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = Folder(data_dir)
        self._users_lock: int | None = None
        self._next_keeper_start = 0.0

    def join(self) -> str:
        """Starts the database unless it runs, and keeps it running.

        It blocks until the database answers, `START_SECONDS` at most: call
        it in a thread where an event loop runs. Joining twice is harmless.

        Returns:
            The URI. It stays the same while anybody uses the database.

        Raises:
            EmbeddedDatabaseError: there is none for this platform, its data
                is another release's, or it doesn't start.
        """
        deadline = time.monotonic() + START_SECONDS
        try:
            find_server()
            self._folder.check_version()
            self._folder.create()
            self._enter(deadline)
            return self._wait_for_answer(deadline)
        except EmbeddedDatabaseError:
            self.leave()
            raise
        except OSError as error:
            self.leave()
            raise EmbeddedDatabaseError(
                f"the embedded database can't use its folder: {error}"
            ) from error

    def ensure_keeper(self) -> None:
        """Starts a keeper where there is none, without waiting for it.

        Call it every half second while the database is in use. It takes
        microseconds while all is well, and says in the log when a keeper
        can't be started, to be tried again by the next call.
        """
        now = time.monotonic()
        if self._users_lock is None or now < self._next_keeper_start:
            return
        try:
            if _can_lock(self._folder.keeper_lock, fcntl.LOCK_SH):
                self._next_keeper_start = now + _KEEPER_START_SECONDS
                _start_keeper(self._folder)
        except (OSError, subprocess.SubprocessError) as error:
            _logger.warning("No keeper for the embedded database: %s", error)

    def leave(self) -> None:
        """Stops using the database; the last user's leaving closes it."""
        if self._users_lock is not None:
            os.close(self._users_lock)
            self._users_lock = None

    def wait_until_closed(self, timeout: float) -> bool:
        """Waits, after `leave`, for the end of keeper and server.

        Args:
            timeout: in seconds.

        Returns:
            True when both are gone; False when others use the database, or
            the time is over.
        """
        folder = self._folder
        deadline = time.monotonic() + timeout
        times_in_use = 0
        while folder.path.exists() and time.monotonic() < deadline:
            if _can_lock(folder.keeper_lock, fcntl.LOCK_SH) and _can_lock(
                folder.server_lock, fcntl.LOCK_SH
            ):
                return True
            # Nobody may share users.lock while the keeper closes; nobody
            # can have it alone while others use it. One look proves
            # nothing, as somebody else may just be looking too.
            in_use = not _can_lock(
                folder.users_lock, fcntl.LOCK_EX
            ) and _can_lock(folder.users_lock, fcntl.LOCK_SH)
            times_in_use = times_in_use + 1 if in_use else 0
            if times_in_use == 3:
                return False
            time.sleep(_POLL_SECONDS)
        return not folder.path.exists()

    def _enter(self, deadline: float) -> None:
        # A keeper that closes holds users.lock to its end: whoever comes
        # meanwhile waits here, and starts the next keeper.
        while self._users_lock is None:
            self._users_lock = try_lock(self._folder.users_lock, fcntl.LOCK_SH)
            if self._users_lock is None:
                if time.monotonic() > deadline:
                    raise EmbeddedDatabaseError(
                        "the embedded database is closing and doesn't end;"
                        f" see {self._folder.log}"
                    )
                time.sleep(_POLL_SECONDS)

    def _wait_for_answer(self, deadline: float) -> str:
        while time.monotonic() < deadline:
            self.ensure_keeper()
            address = Address.load(self._folder.address)
            if address is not None and address.answers():
                return address.uri
            time.sleep(_POLL_SECONDS)
        raise EmbeddedDatabaseError(
            "the embedded database doesn't start:"
            f" {_last_line(self._folder.log)} (see {self._folder.log})"
        )


def installed_version() -> str:
    """Returns the release of the server in this environment.

    Raises:
        EmbeddedDatabaseError: there is none.
    """
    try:
        return metadata.version("secantusdb")
    except metadata.PackageNotFoundError:
        raise _missing_server() from None


def find_server() -> Path:
    """Returns the server's program.

    Raises:
        EmbeddedDatabaseError: there is none.
    """
    # The environment's own program comes first: PATH may hold another one.
    beside = Path(sys.executable).parent / "secantusd-rs"
    found = str(beside) if beside.exists() else shutil.which("secantusd-rs")
    if found is None:
        raise _missing_server()
    return Path(found)


def try_lock(path: Path, kind: int) -> int | None:
    """Takes the lock if it can be had at once.

    Args:
        path: the lock's file; it is made where it is missing.
        kind: `fcntl.LOCK_SH` or `fcntl.LOCK_EX`.

    Returns:
        The open file, to be closed to give the lock back; None when somebody
        else holds it.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def write_durably(path: Path, text: str) -> None:
    """Replaces a file at one stroke, for its owner only."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, text.encode())
        os.fsync(file)
    finally:
        os.close(file)
    draft.rename(path)


def _missing_server() -> EmbeddedDatabaseError:
    return EmbeddedDatabaseError(
        "there is no embedded database for Python"
        f" {platform.python_version()} on {platform.system()}"
        f" {platform.machine()}: set MONGO_DB_URI to a MongoDB server's URI"
    )


def _can_lock(path: Path, kind: int) -> bool:
    lock = try_lock(path, kind)
    if lock is None:
        return False
    os.close(lock)
    return True


def _start_keeper(folder: Folder) -> None:
    # The shell starts the keeper in the background and ends: the keeper
    # belongs to no user, so none of them has to reap it. A session of its
    # own keeps Ctrl-C in the terminal away from it.
    log = os.open(folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    command = [sys.executable, "-m", "config.embedded_keeper"]
    try:
        subprocess.run(
            ["/bin/sh", "-c", '"$@" &', "sh", *command, folder.path.parent],
            cwd=_REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            check=True,
        )
    finally:
        os.close(log)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it says nothing"
