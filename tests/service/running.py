"""Muster as an operator runs it: real processes, real ports, real signals."""

import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pytest

from config.embedded import Folder
from config.settings import Settings
from tests import factories
from tests.problems import assert_problem

MARKS = [
    pytest.mark.service,
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc"),
]
REPOSITORY = Path(__file__).parents[2]
RUN = ("sh", "run.sh")
START_SECONDS = 40
STOP_SECONDS = 30

# Below the embedded database's ports, and those of outgoing connections. The
# processes of one run share them out: what is free to two is taken by one.
_PORTS = range(10_000, 20_000)
_SHARE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_SHARES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))

# To read all certificates takes 20 ms of a processor for each client, and who
# waits for a service makes many: none of them is asked for here.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

# What the tests' own process was told, and a service must not inherit.
_OTHERS_SETTINGS = {"DYNO", *map(str.upper, Settings.model_fields)}


def wait_for(condition: Callable[[], object], seconds: float = 20) -> float:
    """Waits until `condition` is true.

    Returns:
        How long that took, in seconds.
    """
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + seconds, "it never came true"
        time.sleep(0.02)
    return time.monotonic() - start


def free_port() -> int:
    """A port that nobody listens on."""
    while True:
        port = random.choice(_PORTS[_SHARE::_SHARES])
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
        return port


def link_checkout(folder: Path) -> Path:
    """The repository at another place, without its hidden files.

    A developer's `.env` must not lead a test to a real database, and what a
    start leaves behind is easily seen.
    """
    folder.mkdir()
    for path in REPOSITORY.iterdir():
        if not path.name.startswith("."):
            (folder / path.name).symlink_to(path)
    return folder


def link_rooms(folder: Path) -> Path:
    """The same, where files can be added to `utils/processes`."""
    checkout = link_checkout(folder)
    for room in ("utils", "utils/processes"):
        (checkout / room).unlink()
        (checkout / room).mkdir()
        for path in (REPOSITORY / room).iterdir():
            (checkout / room / path.name).symlink_to(path)
    return checkout


def link_trials(folder: Path) -> Path:
    """The same, with the tests' processes among its own."""
    checkout = link_rooms(folder)
    trial = REPOSITORY / "tests/processes/trials.py"
    (checkout / "utils/processes/trials.py").symlink_to(trial)
    return checkout


def environment(**settings: str) -> dict[str, str]:
    """What a process of an operator inherits, with these settings."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in _OTHERS_SETTINGS
    }
    programs = f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}"
    # The tests make more requests than any one client may.
    limits = {"RATE_LIMIT_ANONYMOUS": "100000/60"}
    limits["RATE_LIMIT_DEFAULT"] = limits["RATE_LIMIT_ANONYMOUS"]
    return (
        {"VIRTUAL_ENV": sys.prefix}
        | inherited
        | {"PATH": programs, "PYTHONUNBUFFERED": "1"}
        | limits
        | settings
    )


class Service:  # pylint: disable=too-many-instance-attributes  # Names.
    """One Muster with a folder of its own, in a terminal of its own.

    Without a command it is `sh run.sh` with two workers: they show what several
    do, and each more takes seconds of a processor to start.
    """

    def __init__(self, folder: Path, *command: str, **settings: str) -> None:
        self.checkout = link_checkout(folder / "checkout")
        self.data_dir = folder / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = {
            "DATA_DIR": str(self.data_dir),
            "PORT": str(self.port),
            **({} if command else {"WEB_CONCURRENCY": "2"}),
            **settings,
        }
        self._command = [part.format(port=self.port) for part in command or RUN]
        self._output = folder / "stdout"
        self._errors = folder / "stderr"
        self._process: subprocess.Popen[bytes] | None = None
        self._sessions: set[int] = set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None and self._process is not None:
                self.stop()
        finally:
            self.kill()

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        self.launch()
        try:
            wait_for(
                partial(answers_or_ended, self._process, self.client),
                START_SECONDS,
            )
            assert self._process is not None
            assert self._process.poll() is None, self.errors()
        except BaseException:
            self.kill()
            raise

    def launch(self) -> None:
        """Starts it, and waits for nothing."""
        with self._output.open("ab") as out, self._errors.open("ab") as err:
            # It lives as long as this object says.
            # pylint: disable-next=consider-using-with
            self._process = subprocess.Popen(
                self._command,
                cwd=self.checkout,
                env=environment(**self.settings),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self._sessions.add(self._process.pid)

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """Sends a signal to all that the terminal started, as Ctrl-C does.

        Returns:
            The exit status, when nothing is left.
        """
        os.killpg(self.pid, how)
        return self.wait_for_end()

    def wait_for_end(self) -> int:
        """Waits until nothing is left.

        Returns:
            The exit status.
        """
        status = self.wait()
        wait_for(lambda: not self.processes(), STOP_SECONDS)
        assert "Traceback" not in self.errors(), self.errors()
        return status

    def kill(self) -> None:
        """Ends whatever is left."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self.wait()
        wait_for(lambda: not self.processes())

    def wait(self) -> int:
        """Waits for the end of the process that was started."""
        assert self._process is not None
        status = self._process.wait(STOP_SECONDS)
        self._process = None
        return status

    def client(self) -> httpx.Client:
        """Each request goes over a connection of its own, to any worker."""
        return httpx.Client(
            base_url=self.url,
            timeout=180,
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,
            verify=NO_TLS,
        )

    def output(self) -> str:
        """What it printed."""
        return self._output.read_text("utf-8")

    def errors(self) -> str:
        """What it logged."""
        return self._errors.read_text("utf-8")

    @property
    def pid(self) -> int:
        """The first process: the master, as `run.sh` becomes it."""
        assert self._process is not None
        return self._process.pid

    @property
    def folder(self) -> Folder:
        """Where its embedded database lies."""
        return Folder(self.data_dir)

    def workers(self) -> list[int]:
        """The living workers."""
        return [
            pid
            for pid, (state, parent, _) in _process_table().items()
            if parent == self.pid and state != "Z"
        ]

    def processes(self) -> dict[int, str]:
        """What lives of all that it ever started, with the commands."""
        found = {}
        for pid, (state, _, session) in _process_table().items():
            command = _command_of(pid)
            mine = str(self.data_dir) in command or session in self._sessions
            if mine and state != "Z":
                found[pid] = command
        return found

    @contextmanager
    def only(self, worker: int) -> Iterator[None]:
        """Holds the other workers, so that this one answers."""
        others = set(self.workers()) - {worker}
        try:
            for pid in others:
                os.kill(pid, signal.SIGSTOP)
            wait_for(lambda: all(_is_held(pid) for pid in others))
            yield
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)


def answers_or_ended(
    process: "subprocess.Popen[bytes] | None",
    client: Callable[[], httpx.Client],
    path: str = "/",
) -> bool:
    """Whether a server that was started need not be waited for any more."""
    assert process is not None
    if process.poll() is not None:
        return True
    try:
        with client() as asking:
            return asking.get(path).status_code == 200
    except httpx.TransportError:
        return False


class Person:
    """Somebody who talks to a service."""

    def __init__(self, client: httpx.Client, email: str, password: str) -> None:
        self.email = email
        self._password = password
        self._client = client
        self.tokens = self._log_in()
        self.id = self.get("/v1/users/me").json()["id"]

    @classmethod
    def register(cls, client: httpx.Client, **overrides: Any) -> Self:
        """A new member, who logs in."""
        body = factories.registration(**overrides)
        response = client.post("/v1/users", json=body)
        assert response.status_code == 201, response.text
        return cls(client, body["email"], body["password"])

    @property
    def headers(self) -> dict[str, str]:
        """What shows who it is."""
        return {"Authorization": f"Bearer {self.tokens['access_token']}"}

    def get(self, path: str, **params: Any) -> httpx.Response:
        """GET as this person."""
        return self._client.get(path, params=params, headers=self.headers)

    def send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        **headers: str,
    ) -> httpx.Response:
        """Any request as this person; `if_match` is the header If-Match."""
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        return self._client.request(
            method, path, json=body, headers=self.headers | named
        )

    def post_event(self, **overrides: Any) -> dict[str, Any]:
        """A new event."""
        body = factories.event_body(**overrides)
        response = self.send("POST", "/v1/events", body)
        assert response.status_code == 201, response.text
        created: dict[str, Any] = response.json()
        return created

    def list_all(self, path: str, **params: Any) -> list[dict[str, Any]]:
        """All pages of a list."""
        items: list[dict[str, Any]] = []
        while True:
            response = self.get(path, limit=100, **params)
            assert response.status_code == 200, response.text
            page = response.json()
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            params["cursor"] = page["next_cursor"]

    def _log_in(self) -> dict[str, str]:
        response = self._client.post(
            "/v1/auth/login",
            data={"username": self.email, "password": self._password},
        )
        assert response.status_code == 200, response.text
        tokens: dict[str, str] = response.json()
        return tokens


class Load:  # pylint: disable=too-many-instance-attributes  # Counts.
    """Writes from several threads at once, and remembers every answer."""

    def __init__(self, service: Service, person: Person) -> None:
        self.answers: Counter[int] = Counter()
        self.broken_connections = 0
        self._service = service
        self._person = person
        self._events: list[str] = []
        self._users: list[str] = []
        self._refusals: list[httpx.Response] = []
        self._over = threading.Event()
        # One registration costs as much as a hundred events.
        kinds = (self._post_user, *[self._post_event] * 3)
        self._threads = [
            threading.Thread(target=self._write, args=(kind,)) for kind in kinds
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, count: int = 30, seconds: float = 20) -> float:
        """Waits until so many more events and one more user are acknowledged.

        Returns:
            How long that took, in seconds.
        """
        events, users = len(self._events), len(self._users)
        return wait_for(
            lambda: (
                len(self._events) >= events + count and len(self._users) > users
            ),
            seconds,
        )

    def check(self) -> None:
        """Every acknowledged write is there; all else was a 503."""
        for response in self._refusals:
            assert_problem(response, 503, "database-unavailable")
        listed = self._person.list_all("/v1/events", mine=True)
        assert set(self._events) <= {event["id"] for event in listed}
        for user_id in self._users:
            assert self._person.get(f"/v1/users/{user_id}").status_code == 200

    def _write(
        self, post: Callable[[httpx.Client], tuple[httpx.Response, list[str]]]
    ) -> None:
        with self._service.client() as client:
            while not self._over.is_set():
                try:
                    response, acknowledged = post(client)
                except httpx.TransportError:
                    self.broken_connections += 1
                    self._over.wait(0.02)
                    continue
                self.answers[response.status_code] += 1
                if response.status_code == 201:
                    acknowledged.append(response.json()["id"])
                else:
                    self._refusals.append(response)

    def _post_event(
        self, client: httpx.Client
    ) -> tuple[httpx.Response, list[str]]:
        response = client.post(
            "/v1/events",
            json=factories.event_body(),
            headers=self._person.headers,
        )
        return response, self._events

    def _post_user(
        self, client: httpx.Client
    ) -> tuple[httpx.Response, list[str]]:
        response = client.post("/v1/users", json=factories.registration())
        return response, self._users


def run_script(service: Service, *arguments: str) -> subprocess.Popen[str]:
    """Starts `python -m …` in a second terminal of the same folder."""
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=service.checkout,
        env=environment(**service.settings),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def create_admin(service: Service, email: str) -> str:
    """Runs the script that creates the first admin.

    Returns:
        What it printed.
    """
    with run_script(
        service, "scripts.create_first_admin", "--email", email,
        "--password-stdin",
    ) as script:  # fmt: skip
        output, errors = script.communicate(factories.PASSWORD + "\n", 60)
    assert script.returncode == 0, errors
    assert errors == ""
    return output


def servers_of(service: Service) -> list[int]:
    """The embedded database's servers; at rest there is at most one."""
    return [
        pid
        for pid, command in service.processes().items()
        if "secantusd-rs" in command
    ]


def _process_table() -> dict[int, tuple[str, int, int]]:
    """The state, parent and session of each process."""
    table = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                text = (folder / "stat").read_text("utf-8", "replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            # The name, in brackets, may hold anything.
            fields = text.rpartition(")")[2].split()
            state, parent, _, session = fields[:4]
            table[int(folder.name)] = state, int(parent), int(session)
    return table


def _is_held(pid: int) -> bool:
    return _process_table()[pid][0] == "T"


def _command_of(pid: int) -> str:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return raw.replace(b"\0", b" ").decode("utf-8", "replace")
