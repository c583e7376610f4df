"""Keeps the embedded database's server: `python -m config.embedded_keeper DIR`.

The keeper starts the server, starts it again when it dies, and closes it
when nobody uses it any more. `config.embedded` starts the keeper, and says
which files they share. What the keeper prints goes to the log.
"""

import contextlib
import ctypes
import dataclasses
import fcntl
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from config.embedded import (
    Address,
    EmbeddedDatabaseError,
    Folder,
    find_server,
    installed_version,
    try_lock,
    write_durably,
)

_HOST = "127.0.0.1"
_USER = "muster"
# Below the ports that systems give to outgoing connections, so that none of
# those takes the port while the server is being started again.
_PORTS = range(20_000, 32_000)
_LOG_BYTES = 10_000_000
_POLL_SECONDS = 0.1
_STOP_SECONDS = 30
# A server that its keeper left behind answers nobody while it closes. Killing
# it loses nothing, as whatever it acknowledged is on the disk.
_ORPHAN_SECONDS = 5
_LONGEST_PAUSE_SECONDS = 5
# A server that lived this long was well: its successor needs no pause.
_HEALTHY_SECONDS = 10
# Between two looks whether the server's storage still works; one costs 15 ms.
_PROBE_SECONDS = 5.0
# Until a server let us in, lest it breaks before that.
_FIRST_PROBES_SECONDS = 0.5
_PROBE_TIMEOUT_MS = 1_000
# What a server says whose storage broke, and what it says to a newcomer.
_PANIC = "WT_PANIC"
_REFUSAL = "authentication failed"

# Without --sync-on-commit a kill loses acknowledged writes. With the default
# journal file, 2 GB, each start takes 3 to 12 s. The cache is a ceiling, not
# what it takes: with 256M, inserts of documents with long indexed lists slow
# down twentyfold after 11,000 of them.
_SWITCHES = (
    *("--sync-on-commit", "--log-file-max", "128MB"),
    *("--cache-size", "1G", "--host", _HOST),
)
# Left alone, the server makes a checkpoint only when it closes: its journal
# grows for ever, and so does the time to recover from a kill.
_CHECKPOINTS = "checkpoint=(wait=60,log_size=128MB)"

_PR_SET_PDEATHSIG = 1


class Keeper:  # pylint: disable=too-few-public-methods  # It only runs.
    """Runs the one server of a folder for as long as somebody uses it."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._pid = os.getpid()
        self._server_lock = _take_server_lock(folder)
        self._server: subprocess.Popen[str] | None = None
        self._started = 0.0
        self._pause = _POLL_SECONDS
        self._told_to_stop = False

    def run(self) -> None:
        """Returns when nobody uses the database, and it is closed.

        Raises:
            EmbeddedDatabaseError: the database can't be run at all.
        """
        self._folder.check_version()
        signal.signal(signal.SIGTERM, self._on_sigterm)
        self._folder.config.touch()
        if not self._folder.data.exists():
            self._prepare_data()
        port = self._choose_port()
        probe = Probe(self._folder)
        while self._is_wanted():
            self._keep_server(port)
            self._end_broken_server(probe)
            time.sleep(_POLL_SECONDS)
        if self._server is not None:
            _stop(self._server)
        _log("closed")

    def _on_sigterm(self, _signal: int, _frame: FrameType | None) -> None:
        self._told_to_stop = True

    def _is_wanted(self) -> bool:
        # Once the keeper has users.lock it keeps it to its end: a newcomer
        # waits for it, and then starts a keeper of its own.
        return (
            not self._told_to_stop
            and try_lock(self._folder.users_lock, fcntl.LOCK_EX) is None
        )

    def _keep_server(self, port: int) -> None:
        now = time.monotonic()
        if self._server is None:
            _log(f"starting the server on port {port}")
        else:
            status = self._server.poll()
            if status is None or now < self._started + self._pause:
                return
            healthy = now > self._started + _HEALTHY_SECONDS
            self._pause = (
                _POLL_SECONDS
                if healthy
                else min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
            )
            _log(f"the server ended with status {status}; starting it again")
        self._started = now
        self._server = self._start(self._folder.data, port, "--auth")

    def _end_broken_server(self, probe: "Probe") -> None:
        """Kills a server that lives on without its storage.

        When the disk is full it panics, by its own word "the process must exit
        and restart", and then refuses all for ever. What it acknowledged is in
        its journal. One that is only slow is left alone.
        """
        server = self._server
        if server is None or server.poll() is not None:
            return
        if probe.finds_it_broken(server.pid):
            _log("the server's storage is broken; killing it")
            server.kill()
            server.wait()

    def _choose_port(self) -> int:
        """Keeps the port where it can, so that clients come back to it."""
        address = Address.load(self._folder.address)
        if address is None:
            raise EmbeddedDatabaseError(
                f"{self._folder.address} with the password is missing"
            )
        if not _is_free(address.port):
            address = dataclasses.replace(address, port=_choose_free_port())
            address.save(self._folder.address)
        return address.port

    def _prepare_data(self) -> None:
        """Makes the data folder with its only user.

        All is made in a draft folder, which gets its name in the end: a
        first run that was killed begins anew, and data is never removed.
        """
        folder = self._folder
        address = Address(
            _HOST, _choose_free_port(), _USER, secrets.token_urlsafe(32)
        )
        shutil.rmtree(folder.draft, ignore_errors=True)
        address.save(folder.address)
        write_durably(folder.version, installed_version())
        with self._running_draft() as port:
            with _client(address, port, auth=False) as client:
                client.admin.command(
                    "createUser", _USER, pwd=address.password, roles=["root"]
                )
        # The first run asks for no password. Its port is known to nobody
        # and open for a moment, yet only a second run, which asks for one,
        # can be sure that no stranger found it.
        with self._running_draft("--auth") as port:
            with _client(address, port, auth=True) as client:
                users = client.admin.command("usersInfo")["users"]
                databases = set(client.list_database_names())
        if len(users) != 1 or not databases <= {"admin", "local"}:
            raise EmbeddedDatabaseError(
                "a stranger wrote to the database during its first run"
            )
        folder.draft.rename(folder.data)
        _sync(folder.path)
        _log("made a new database")

    @contextlib.contextmanager
    def _running_draft(self, *switches: str) -> Iterator[int]:
        server = self._start(
            self._folder.draft, 0, *switches, stdout=subprocess.PIPE
        )
        try:
            assert server.stdout is not None
            listening = re.search(r":(\d+)$", server.stdout.readline())
            if listening is None:
                raise EmbeddedDatabaseError("the first run failed; see above")
            yield int(listening[1])
        finally:
            _stop(server)

    def _start(
        self, data: Path, port: int, *switches: str, stdout: int | None = None
    ) -> subprocess.Popen[str]:
        command = [str(find_server()), "--config", str(self._folder.config)]
        command += ["--storage-path", str(data), "--port", str(port)]
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("SECANTUS_")
        }
        # The keeper has one thread, so a function between fork and exec is
        # safe; PR_SET_PDEATHSIG can be asked for nowhere else.
        return subprocess.Popen(  # pylint: disable=subprocess-popen-preexec-fn
            [*command, *_SWITCHES, *switches],
            env=environment | {"SECANTUS_WT_CONFIG_EXTRA": _CHECKPOINTS},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            text=True,
            pass_fds=[self._server_lock],
            preexec_fn=self._become_server,
        )

    def _become_server(self) -> None:
        """Runs in the new process, before it becomes the server."""
        _write_pid(self._server_lock)
        if sys.platform == "linux":
            # Closes the server when its keeper is killed, from now on.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != self._pid:
            raise ChildProcessError("the keeper is gone already")


class Probe:  # pylint: disable=too-few-public-methods  # One question.
    """Asks the server, now and then, whether its storage still works."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._next = 0.0
        self._pid = 0
        self._let_us_in = False

    def finds_it_broken(self, pid: int) -> bool:
        """Whether the server `pid` answers, and can't look up who asks.

        It says then that the password is wrong. Only of one that knew the
        password before, this is no truth: else it may have been changed.
        """
        now = time.monotonic()
        if pid != self._pid:
            self._pid, self._let_us_in = pid, False
        elif now < self._next:
            return False
        self._next = now + (
            _PROBE_SECONDS if self._let_us_in else _FIRST_PROBES_SECONDS
        )
        address = Address.load(self._folder.address)
        if address is None:
            return False
        uri = f"{address.uri}&serverMonitoringMode=poll"
        try:
            with MongoClient[dict[str, object]](
                uri, timeoutMS=_PROBE_TIMEOUT_MS
            ) as client:
                client.admin.command("usersInfo")
        except PyMongoError as error:
            # By its words, as the driver may wrap what it is told while it
            # looks for the server. One that is only late says neither.
            said = str(error)
            return _PANIC in said or (self._let_us_in and _REFUSAL in said)
        self._let_us_in = True
        return False


def _take_server_lock(folder: Folder) -> int:
    """Waits for the end of a server whose keeper was killed.

    Linux has told it to close; elsewhere this tells it.
    """
    killed_at = time.monotonic() + _ORPHAN_SECONDS
    told = False
    while (lock := try_lock(folder.server_lock, fcntl.LOCK_EX)) is None:
        # The lock is held, so the pid in it is that of a living server.
        pid = folder.server_lock.read_text()
        with contextlib.suppress(ProcessLookupError):
            if pid and not told:
                os.kill(int(pid), signal.SIGTERM)
                told = True
            elif pid and time.monotonic() > killed_at:
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(_POLL_SECONDS)
    return lock


def _write_pid(lock: int) -> None:
    # One write of one length: a reader sees this pid or the one before.
    os.pwrite(lock, f"{os.getpid():<10}\n".encode(), 0)


def _sync(folder: Path) -> None:
    # A power cut must not undo the draft's new name.
    directory = os.open(folder, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def _stop(server: subprocess.Popen[str]) -> None:
    server.terminate()
    try:
        server.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        _log("the server doesn't close; killing it")
        server.kill()
        server.wait()


def _client(
    address: Address, port: int, *, auth: bool
) -> MongoClient[dict[str, object]]:
    uri = dataclasses.replace(address, port=port).uri
    if not auth:
        uri = f"mongodb://{_HOST}:{port}/?directConnection=true"
    return MongoClient(uri, timeoutMS=_STOP_SECONDS * 1000)


def _choose_free_port() -> int:
    while True:
        port = secrets.choice(_PORTS)
        if _is_free(port):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Connections that were closed a moment ago don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _open_log(path: Path) -> None:
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.rename(path.with_name(f"{path.name}.1"))
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    os.close(log)


def _log(message: str) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    # On a full disk the server has to be kept all the more.
    with contextlib.suppress(OSError):
        os.write(1, f"[{now} keeper] {message}\n".encode())


def main() -> int:
    """Runs the keeper, unless the folder has one.

    Returns:
        The exit status: 1 after an error, which the log names.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    folder = Folder(Path(sys.argv[1]))
    # The lock is never closed: it ends with the process, and so does it.
    keeper_lock = try_lock(folder.keeper_lock, fcntl.LOCK_EX)
    if keeper_lock is None:
        return 0
    _write_pid(keeper_lock)
    _open_log(folder.log)
    try:
        Keeper(folder).run()
    except EmbeddedDatabaseError as error:
        _log(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
