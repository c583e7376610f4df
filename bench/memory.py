"""Memory: what a worker takes after each 20 000 of 200 000 requests.

`python -m bench.memory [--requests N]` starts Muster with one worker, and sends
reads, lists, log-ins, events and seats in turn. A worker that leaks grows with
each row; the last three should differ by less than a megabyte or two.
"""

import argparse
import os
import random
import sys
import threading
from pathlib import Path
from typing import Final

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


def main() -> None:
    """Measures, and prints a row now and then."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    a_row = parser.parse_args().requests // _ROWS
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
                _send(server, a_row)
                taken = _resident_mb(server.worker_pid)
                print(f"| {row * a_row} | {taken:.1f} |", flush=True)


def _send(server: servers.Server, count: int) -> None:
    """Sends so many requests, from several clients at a time."""
    clients = [
        threading.Thread(target=_ask, args=(server, count // _CLIENTS))
        for _ in range(_CLIENTS)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()


def _ask(server: servers.Server, count: int) -> None:
    with httpx.Client(base_url=server.url(""), timeout=60) as client:
        email = f"{new_id()}@example.org"
        member = {"first_name": "Ada", "last_name": "Bench", "email": email}
        _send_one(client, "POST", "/v1/users", member | {"password": _PASSWORD})
        form = {"username": email, "password": _PASSWORD}
        login = client.post("/v1/auth/login", data=form).json()
        client.headers["Authorization"] = f"Bearer {login['access_token']}"
        event = _send_one(client, "POST", "/v1/events", _EVENT).json()
        path = f"/v1/events/{event['id']}"
        # Three requests are made above.
        for _ in range(count - 3):
            method, at = random.choice(
                [
                    *[("GET", path), ("GET", "/v1/users/me")] * 8,
                    *[("GET", "/v1/events?mine=true")] * 2,
                    ("GET", f"/v1/events/{new_id()}"),
                    ("PATCH", path),
                ]
            )
            body = {"title": new_id()} if method == "PATCH" else None
            _send_one(client, method, at, body)


def _send_one(
    client: httpx.Client, method: str, path: str, body: object
) -> httpx.Response:
    response = client.request(method, path, json=body)
    if response.status_code >= 500:
        sys.exit(f"bench: {method} {path}: {response.text}")
    return response


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
