"""Memory: what a worker takes after each 20 000 of 200 000 requests.

`python -m bench.memory [--requests N]` starts Muster with one worker, and sends
reads, lists, changes, seats and a few log-ins in random order. It ends at the
first answer that is not the wanted one. A worker that leaks grows with each
row; the last three should differ by less than a megabyte or two.
"""

import argparse
import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx

from bench import servers
from config.db import TEST_PREFIX
from models.base import new_id

_ROWS: Final = 10
_CLIENTS: Final = 8
_PASSWORD: Final = "correct horse battery"
_EVENT: Final = {
    "title": "Gathering",
    "description": "Bring a laptop.",
    "starts_at": "2040-01-01T10:00Z",
    "ends_at": "2040-01-01T12:00Z",
    "tags": ["workshop"],
    "online_url": "https://example.org/",
    "capacity": 50,
    "public": False,
}
# What is sent how often; a log-in is dear, as a password is hashed for it.
_MIX: Final = {
    "event": 80,
    "account": 80,
    "list": 20,
    "nothing": 10,
    "change": 10,
    "join": 5,
    "leave": 5,
    "log-in": 1,
}
# A registration, a log-in and an event.
_FIRST: Final = 3


def main() -> None:
    """Measures, and prints a row now and then."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    each = max(_FIRST, parser.parse_args().requests // _ROWS // _CLIENTS)
    servers.RESULTS.mkdir(exist_ok=True)
    data_dir = servers.RESULTS / "data-memory"
    with servers.database(data_dir) as uri:
        environment = {
            "ENVIRONMENT": "development",
            "DATA_DIR": str(data_dir),
            "JWT_SECRET_KEY": "the benchmark's own, known to everybody",
            "RATE_LIMIT_ANONYMOUS": "100000000/3600",
            "RATE_LIMIT_DEFAULT": "100000000/3600",
            "ACCESS_TOKEN_MINUTES": "600",
            "SESSION_ENGINE": "off",
            "MONGO_DB_URI": uri,
            "MONGO_DB_NAME": f"{TEST_PREFIX}memory",
        }
        with servers.muster(environment, access_log=False) as server:
            print("| requests | resident MB |\n|---|---|")
            print(f"| 0 | {_resident_mb(server.worker_pid):.1f} |")
            for row in range(1, _ROWS + 1):
                _send(server, each)
                sent, taken = each * _CLIENTS, _resident_mb(server.worker_pid)
                print(f"| {row * sent} | {taken:.1f} |", flush=True)


def _send(server: servers.Server, each: int) -> None:
    """Sends so many requests from each of several clients at a time.

    Raises:
        httpx.HTTPError: one was not answered as it should be.
    """
    with ThreadPoolExecutor(_CLIENTS) as clients:
        asked = [clients.submit(_ask, server, each) for _ in range(_CLIENTS)]
    for client in asked:
        client.result()


def _ask(server: servers.Server, count: int) -> None:
    with httpx.Client(base_url=server.url(""), timeout=60) as client:
        email = f"{new_id()}@example.org"
        member = {"first_name": "Ada", "last_name": "Bench", "email": email}
        body = member | {"password": _PASSWORD}
        _send_one(client, "POST", "/v1/users", json=body)
        _log_in(client, email)
        event = _send_one(client, "POST", "/v1/events", json=_EVENT).json()
        kinds = random.choices([*_MIX], [*_MIX.values()], k=count - _FIRST)
        for kind in kinds:
            _do(client, kind, f"/v1/events/{event['id']}", email)


def _do(client: httpx.Client, kind: str, event: str, email: str) -> None:
    """One request of a kind that `_MIX` has."""
    match kind:
        case "event":
            _send_one(client, "GET", event)
        case "account":
            _send_one(client, "GET", "/v1/users/me")
        case "list":
            _send_one(client, "GET", "/v1/events?mine=true")
        case "nothing":
            missing = client.get(f"/v1/events/{new_id()}")
            if missing.status_code != httpx.codes.NOT_FOUND:
                raise httpx.HTTPError(f"not a 404: {missing.text}")
        case "change":
            _send_one(client, "PATCH", event, json={"title": new_id()})
        case "join":
            _send_one(client, "PUT", f"{event}/rsvp")
        case "leave":
            _send_one(client, "DELETE", f"{event}/rsvp")
        case _:
            _log_in(client, email)


def _log_in(client: httpx.Client, email: str) -> None:
    form = {"username": email, "password": _PASSWORD}
    login = _send_one(client, "POST", "/v1/auth/login", data=form).json()
    client.headers["Authorization"] = f"Bearer {login['access_token']}"


def _send_one(
    client: httpx.Client, method: str, path: str, **body: Any
) -> httpx.Response:
    return client.request(method, path, **body).raise_for_status()


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
