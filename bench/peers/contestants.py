"""The contestants: each with one worker and a database of its own."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jose import jwt

from bench import load, servers
from bench.load import Request
from bench.peers import payloads, stores
from bench.peers.payloads import Operation
from bench.peers.stores import Store
from bench.servers import Server
from models.base import new_id

_KEY: Final = "the benchmark's own key, known to everybody"
_SETTINGS: Final = {"ENVIRONMENT": "development", "JWT_SECRET_KEY": _KEY}
_EMAIL: Final = "ada@example.org"
_PASSWORD: Final = "a long pass phrase"
_HOURS: Final = 10

_VENV: Final = servers.RESULTS / "peers-venv"
_PYTHON: Final = _VENV / "bin" / "python"
_REQUIREMENTS: Final = Path(__file__).parent / "requirements.txt"
# What was installed there.
_INSTALLED: Final = _VENV / "installed.txt"


@dataclass(frozen=True)
class Contestant:
    """An app that answers, with all its events.

    Attributes:
        server: its one worker.
        stores: what it keeps its data in.
        token: of the one who publishes, and reads.
        event_id: the event that is read.
    """

    server: Server
    stores: Sequence[Store]
    token: str
    event_id: str = ""

    @property
    def name(self) -> str:
        """What the tables call it."""
        return self.server.name

    def store_seconds(self) -> float:
        """CPU seconds of its databases so far."""
        return sum(store.cpu_seconds() for store in self.stores)

    def memory_mb(self) -> float:
        """PSS of its worker: what it shares is divided among those who do."""
        rollup = Path(f"/proc/{self.server.worker_pid}/smaps_rollup")
        for line in rollup.read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no Pss in smaps_rollup")

    def request(self, operation: Operation) -> Request:
        """What a client sends."""
        return Request(
            operation.path.format(event_id=self.event_id),
            {"Authorization": f"Bearer {self.token}"},
            operation.connections,
            operation.body,
        )

    def answer(self, request: Request) -> Any:
        """What one request is answered."""
        headers = {**request.headers, "Content-Type": "application/json"}
        data = None if request.body is None else request.body.encode()
        asked = urllib.request.Request(
            self.server.url(request.path), data=data, headers=headers
        )
        with urllib.request.urlopen(asked) as response:
            return json.load(response)


Start = Callable[[Path], AbstractContextManager[Contestant]]


def require_programs() -> None:
    """Ends the process with one line where a program is missing."""
    load.require_wrk()
    if stores.find_postgres() is None or shutil.which("redis-server") is None:
        sys.exit(
            "bench: PostgreSQL or Redis is missing: "
            "`apt-get install postgresql redis-server`"
        )
    if not has_environment():
        print("bench: the template's own environment …", file=sys.stderr)
        venv.create(_VENV, with_pip=True, clear=True)
        install = [str(_PYTHON), "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, "-r", str(_REQUIREMENTS)], check=True)
        shutil.copy(_REQUIREMENTS, _INSTALLED)


def has_environment() -> bool:
    """Whether what the template needs is installed, in these versions."""
    return _INSTALLED.exists() and (
        _INSTALLED.read_bytes() == _REQUIREMENTS.read_bytes()
    )


@contextmanager
def muster(folder: Path) -> Iterator[Contestant]:
    """Muster as it comes, but that it limits nobody's requests."""
    with stores.embedded(folder) as store:
        settings = {
            **_SETTINGS,
            **store.settings,
            "DATA_DIR": str(folder),
            "ACCESS_TOKEN_MINUTES": str(60 * _HOURS),
            "RATE_LIMIT_ANONYMOUS": "100000000/3600",
            "RATE_LIMIT_DEFAULT": "100000000/3600",
        }
        _create_admin(settings)
        with servers.muster(settings, access_log=False) as server:
            yield Contestant(server, [store], _log_in(server))


@contextmanager
def bare(folder: Path) -> Iterator[Contestant]:
    """FastAPI and PyMongo's asynchronous client."""
    with _beside("bare", folder) as contestant:
        yield contestant


@contextmanager
def sync(folder: Path) -> Iterator[Contestant]:
    """FastAPI and PyMongo's blocking client, in threads."""
    with _beside("sync", folder) as contestant:
        yield contestant


@contextmanager
def template(folder: Path) -> Iterator[Contestant]:
    """SQLModel on PostgreSQL, and Redis."""
    user_id = new_id()
    with stores.postgres(folder) as postgres, stores.redis() as redis:
        settings = {
            **_SETTINGS,
            **postgres.settings,
            **redis.settings,
            "FIRST_USER_ID": user_id,
        }
        with servers.plain(
            "template",
            ["bench.peers.template:app"],
            settings,
            python=str(_PYTHON),
        ) as server:
            yield Contestant(server, [postgres, redis], token(user_id))


# Muster first: the others are what it is compared with.
ALL: Final[Mapping[str, Start]] = {
    "muster": muster,
    "bare": bare,
    "sync": sync,
    "template": template,
}


@contextmanager
def started(folder: Path, *, events: int) -> Iterator[list[Contestant]]:
    """All contestants, each filled through its own door."""
    with ExitStack() as stack:
        yield [
            filled(stack.enter_context(start(folder / name)), events)
            for name, start in ALL.items()
        ]


def filled(contestant: Contestant, count: int) -> Contestant:
    """A contestant with so many events, of which the first will be read."""
    ids = []
    for number in range(count):
        body = json.dumps(payloads.event(number))
        create = Operation("create", "/v1/events", body)
        answer = contestant.answer(contestant.request(create))
        ids.append(answer["id"])
    return Contestant(
        contestant.server, contestant.stores, contestant.token, ids[0]
    )


def token(user_id: str, *, key: str = _KEY) -> str:
    """What lets somebody in to the peers."""
    claims = {
        "sub": user_id,
        "aud": "muster-api",
        "exp": int(time.time()) + 3600 * _HOURS,
    }
    return jwt.encode(claims, key, algorithm="HS256")


@contextmanager
def _beside(name: str, folder: Path) -> Iterator[Contestant]:
    with stores.embedded(folder) as store:
        settings = {**_SETTINGS, **store.settings}
        target = f"bench.peers.{name}:app"
        with servers.plain(name, [target], settings) as server:
            yield Contestant(server, [store], token(new_id()))


def _create_admin(settings: Mapping[str, str]) -> None:
    create = [sys.executable, "-m", "scripts.create_first_admin"]
    subprocess.run(
        [*create, "--email", _EMAIL, "--password-stdin"],
        cwd=servers.REPOSITORY,
        env={**os.environ, **settings},
        input=_PASSWORD,
        stdout=subprocess.DEVNULL,
        text=True,
        check=True,
    )


def _log_in(server: Server) -> str:
    form = urllib.parse.urlencode({"username": _EMAIL, "password": _PASSWORD})
    url = server.url("/v1/auth/login")
    with urllib.request.urlopen(url, form.encode()) as response:
        return str(json.load(response)["access_token"])
