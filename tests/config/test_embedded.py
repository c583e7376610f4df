"""The embedded database, with real processes and real kills."""

import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from config.embedded import (
    Address,
    EmbeddedDatabase,
    EmbeddedDatabaseError,
    Folder,
    try_lock,
)

REPOSITORY = Path(__file__).parents[2]
CLOSE_SECONDS = 20

# A process that uses the database until its input ends.
USER = """
import sys
from pathlib import Path
from config.embedded import EmbeddedDatabase
database = EmbeddedDatabase(Path(sys.argv[1]))
print(database.join(), flush=True)
sys.stdin.read()
database.leave()
"""


class User:
    """Another process that uses the database."""

    def __init__(self, data_dir: Path) -> None:
        # It lives as long as this object.
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [sys.executable, "-c", USER, data_dir],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def uri(self) -> str:
        """Waits until the process has joined."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.communicate(timeout=30)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=30)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture(name="database")
def _database(tmp_path: Path) -> Iterator[EmbeddedDatabase]:
    database = EmbeddedDatabase(tmp_path)
    yield database
    database.leave()
    assert database.wait_until_closed(CLOSE_SECONDS)


@pytest.fixture(name="start_user")
def _start_user(
    tmp_path: Path,
    database: EmbeddedDatabase,  # pylint: disable=unused-argument
) -> Iterator[Callable[[], User]]:
    """Depends on `database`, so that its end is checked after the users'."""
    with ExitStack() as users:

        def start() -> User:
            user = User(tmp_path)
            users.callback(user.kill)
            return user

        yield start


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def connect(uri: str) -> MongoClient[dict[str, Any]]:
    return MongoClient(uri, serverSelectionTimeoutMS=500)


def answers(uri: str) -> bool:
    try:
        with connect(uri) as client:
            client.admin.command("usersInfo")
    except PyMongoError:
        return False
    return True


def is_alive(pid: int) -> bool:
    """A zombie, which only waits for its parent's look, is not alive."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text("utf-8").split()[2] != "Z"


def can_share(path: Path) -> bool:
    lock = try_lock(path, fcntl.LOCK_SH)
    if lock is not None:
        os.close(lock)
    return lock is not None


def server_pid(folder: Folder) -> int:
    return int(folder.server_lock.read_text())


def keeper_pid(folder: Folder) -> int:
    return int(folder.keeper_lock.read_text())


def count_starts(folder: Folder) -> int:
    return folder.log.read_text().count("keeper] starting the server")


class TestJoin:
    def test_one_server_for_all(
        self, start_user: Callable[[], User], folder: Folder
    ) -> None:
        users = [start_user() for _ in range(3)]
        uris = {user.uri() for user in users}
        assert len(uris) == 1
        assert answers(uris.pop())
        assert count_starts(folder) == 1

    def test_twice(self, database: EmbeddedDatabase) -> None:
        assert database.join() == database.join()

    def test_again_after_leave(self, database: EmbeddedDatabase) -> None:
        with connect(database.join()) as client:
            client.test.things.insert_one({"_id": 1})
        database.leave()
        with connect(database.join()) as client:
            assert client.test.things.count_documents({}) == 1

    def test_only_the_owner_reads_the_files(
        self, database: EmbeddedDatabase, folder: Folder
    ) -> None:
        database.join()
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        for path in folder.path.rglob("*"):
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode & 0o077 == 0, f"{path} is {mode:o}"

    def test_password_is_needed(
        self, database: EmbeddedDatabase, folder: Folder
    ) -> None:
        database.join()
        address = Address.load(folder.address)
        assert address is not None
        for user in ("", "muster:wrong@", "stranger:x@"):
            uri = f"mongodb://{user}127.0.0.1:{address.port}/"
            with connect(f"{uri}?directConnection=true") as client:
                with pytest.raises(OperationFailure):
                    client.test.things.insert_one({})

    def test_taken_port(
        self, database: EmbeddedDatabase, tmp_path: Path, folder: Folder
    ) -> None:
        database.join()
        database.leave()
        assert database.wait_until_closed(CLOSE_SECONDS)
        address = Address.load(folder.address)
        assert address is not None
        with ExitStack() as stack:
            other = EmbeddedDatabase(tmp_path / "other")
            stack.callback(other.wait_until_closed, CLOSE_SECONDS)
            stack.callback(other.leave)
            other.join()
            taken = Address.load(Folder(tmp_path / "other").address)
            assert taken is not None
            Address(
                address.host, taken.port, address.user, address.password
            ).save(folder.address)
            assert answers(database.join())

    def test_interrupted_first_run(
        self,
        database: EmbeddedDatabase,
        start_user: Callable[[], User],
        folder: Folder,
    ) -> None:
        user = start_user()
        wait_for(lambda: any(folder.draft.glob("*.wt")))
        os.kill(keeper_pid(folder), signal.SIGKILL)
        user.kill()
        assert not folder.data.exists()
        assert answers(database.join())
        assert not folder.draft.exists()

    def test_other_version(
        self, database: EmbeddedDatabase, folder: Folder
    ) -> None:
        database.join()
        database.leave()
        assert database.wait_until_closed(CLOSE_SECONDS)
        folder.version.write_text("0.1")
        with pytest.raises(EmbeddedDatabaseError) as caught:
            database.join()
        message = str(caught.value)
        assert "\n" not in message
        assert "secantusdb 0.1" in message
        assert "pip install secantusdb==0.1" in message

    def test_lost_version(
        self, database: EmbeddedDatabase, folder: Folder
    ) -> None:
        """Data without its stamp is refused, never removed."""
        database.join()
        database.leave()
        assert database.wait_until_closed(CLOSE_SECONDS)
        folder.version.unlink()
        with pytest.raises(EmbeddedDatabaseError, match="unknown"):
            database.join()
        assert folder.data.exists()

    @pytest.mark.parametrize("installed", ["nothing", "without program"])
    def test_no_server_for_the_platform(
        self, tmp_path: Path, installed: str
    ) -> None:
        """An environment like one whose platform has no wheel."""
        venv.create(tmp_path / "venv")
        packages = tmp_path / "packages"
        packages.mkdir()
        for package in Path(pytest.__file__).parents[1].iterdir():
            if installed == "nothing" and "secantus" in package.name.lower():
                continue
            (packages / package.name).symlink_to(package)
        run = subprocess.run(
            [tmp_path / "venv/bin/python", "-c", USER, tmp_path],
            cwd=REPOSITORY,
            env={"PYTHONPATH": str(packages), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        message = run.stderr.strip().splitlines()[-1]
        assert message.startswith("config.embedded.EmbeddedDatabaseError: ")
        assert "set MONGO_DB_URI" in message

    def test_unusable_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(EmbeddedDatabaseError, match="file"):
            EmbeddedDatabase(tmp_path / "file").join()


class TestLeave:
    def test_last_one_closes(
        self, database: EmbeddedDatabase, folder: Folder
    ) -> None:
        uri = database.join()
        pids = [server_pid(folder), keeper_pid(folder)]
        database.leave()
        assert database.wait_until_closed(CLOSE_SECONDS)
        wait_for(lambda: not any(is_alive(pid) for pid in pids))
        assert not answers(uri)

    def test_others_keep_it(
        self, database: EmbeddedDatabase, start_user: Callable[[], User]
    ) -> None:
        second_terminal = start_user()
        uri = second_terminal.uri()
        assert database.join() == uri
        database.leave()
        assert not database.wait_until_closed(CLOSE_SECONDS)
        assert answers(uri)
        second_terminal.end()
        assert database.wait_until_closed(CLOSE_SECONDS)

    def test_newcomer_while_it_closes(
        self, database: EmbeddedDatabase, tmp_path: Path, folder: Folder
    ) -> None:
        database.join()
        # A stopped server can't close, so the keeper stays in the midst of
        # closing, when nobody may share users.lock.
        server = server_pid(folder)
        os.kill(server, signal.SIGSTOP)
        database.leave()
        wait_for(lambda: not can_share(folder.users_lock))
        newcomer = EmbeddedDatabase(tmp_path)
        uris: list[str] = []
        thread = threading.Thread(target=lambda: uris.append(newcomer.join()))
        thread.start()
        thread.join(0.5)
        assert thread.is_alive(), "it must wait for the end of the old one"
        os.kill(server, signal.SIGCONT)
        thread.join()
        assert answers(uris[0])
        assert server_pid(folder) != server
        newcomer.leave()


class TestKill:
    def test_server(self, database: EmbeddedDatabase, folder: Folder) -> None:
        uri = database.join()
        with connect(uri) as client:
            inserted, errors = insert_until_error(
                client, lambda: os.kill(server_pid(folder), signal.SIGKILL)
            )
            assert len(errors) == 4, "the kill came too late to matter"
            wait_for(lambda: answers(uri), 10)
            found = {d["_id"] for d in client.test.things.find()}
        assert len(inserted) > 100
        assert set(inserted) <= found

    def test_server_repeatedly(
        self, database: EmbeddedDatabase, folder: Folder
    ) -> None:
        uri = database.join()
        servers = {server_pid(folder)}
        for kills in (1, 2):
            os.kill(server_pid(folder), signal.SIGKILL)
            wait_for(lambda: server_pid(folder) not in servers)
            servers.add(server_pid(folder))
            wait_for(lambda: answers(uri))
            assert len(servers) == kills + 1
        assert database.join() == uri

    def test_keeper(self, database: EmbeddedDatabase, folder: Folder) -> None:
        uri = database.join()
        keeper, server = keeper_pid(folder), server_pid(folder)
        with connect(uri) as client:
            inserted, _ = insert_until_error(
                client, lambda: os.kill(keeper, signal.SIGKILL)
            )

            def is_back() -> bool:
                database.ensure_keeper()
                return keeper_pid(folder) != keeper and answers(uri)

            wait_for(is_back, 15)
            found = {d["_id"] for d in client.test.things.find()}
        assert set(inserted) <= found
        assert is_alive(keeper_pid(folder))
        assert not is_alive(server)
        assert is_alive(server_pid(folder))

    def test_keeper_without_users(
        self, start_user: Callable[[], User], folder: Folder
    ) -> None:
        user = start_user()
        user.uri()
        user.process.send_signal(signal.SIGSTOP)
        server = server_pid(folder)
        os.kill(keeper_pid(folder), signal.SIGKILL)
        if sys.platform == "linux":
            wait_for(lambda: not is_alive(server))

    def test_user(
        self,
        start_user: Callable[[], User],
        database: EmbeddedDatabase,
        folder: Folder,
    ) -> None:
        user = start_user()
        user.uri()
        pids = [server_pid(folder), keeper_pid(folder)]
        user.kill()
        assert database.wait_until_closed(CLOSE_SECONDS)
        wait_for(lambda: not any(is_alive(pid) for pid in pids))

    def test_everything_at_once(
        self,
        start_user: Callable[[], User],
        database: EmbeddedDatabase,
        folder: Folder,
    ) -> None:
        user = start_user()
        with connect(user.uri()) as client:
            client.test.things.insert_one({"_id": 1})
        for pid in (keeper_pid(folder), server_pid(folder)):
            os.kill(pid, signal.SIGKILL)
        user.kill()
        with connect(database.join()) as client:
            assert client.test.things.count_documents({}) == 1

    def test_terminal_interrupt(
        self, database: EmbeddedDatabase, folder: Folder
    ) -> None:
        """Ctrl-C reaches a terminal's session, and the database has its own."""
        uri = database.join()
        for pid in (keeper_pid(folder), server_pid(folder)):
            assert os.getsid(pid) != os.getsid(0)
        os.kill(keeper_pid(folder), signal.SIGINT)
        assert answers(uri)
        assert is_alive(keeper_pid(folder))


def insert_until_error(
    client: MongoClient[dict[str, Any]], kill: Callable[[], None]
) -> tuple[list[str], list[PyMongoError]]:
    """Inserts from four threads, and kills in the midst of it.

    Returns:
        The acknowledged ids, and the error that ended each thread.
    """
    inserted: list[str] = []
    errors: list[PyMongoError] = []

    def insert(thread: int) -> None:
        for number in range(100_000):
            document = {"_id": f"{thread}-{number}"}
            try:
                client.test.things.insert_one(document)
            except PyMongoError as error:
                errors.append(error)
                return
            inserted.append(document["_id"])

    threads = [threading.Thread(target=insert, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(inserted) > 400)
    kill()
    for thread in threads:
        thread.join()
    return inserted, errors
