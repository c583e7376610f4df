"""nginx, with the shipped files, really in front of two Musters."""

import asyncio
import json
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient
from websockets.asyncio.client import connect

from config import db
from config.main import MAX_BODY_BYTES, MAX_IMAGE_BODY_BYTES
from config.settings import Settings
from models.sessions import Session
from tests import containers, factories
from tests.deploy.proxies import (
    NGINX,
    Nginx,
    has_ipv6,
    held,
    send,
    shipped,
    unread,
)
from tests.problems import assert_problem
from tests.service.running import MARKS, Person, Service, wait_for
from utils.sessions import COLLECTION

pytestmark = [
    *MARKS,
    pytest.mark.skipif(
        NGINX is None and os.environ.get("CI") != "true",
        reason="needs Debian's nginx",
    ),
]

CLIENT = "127.0.0.2"
_MULTIPART = "multipart/form-data; boundary=x"
_PART = (
    b"--x\r\nContent-Disposition: form-data; "
    b'name="file"; filename="a.png"\r\n\r\n'
)


@pytest.fixture(scope="module", name="musters")
def _musters(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[list[Service]]:
    uri, name = os.environ["MUSTER_TEST_DB_URI"], db.new_test_database_name()
    two = [
        Service(
            tmp_path_factory.mktemp("muster"),
            MONGO_DB_URI=uri,
            MONGO_DB_NAME=name,
            JWT_SECRET_KEY="the key that both of these servers have",
            WEB_CONCURRENCY="1",
            BIND_ADDRESS="127.0.0.1",
            TRUSTED_PROXIES="127.0.0.1",
            TASK_WORKER="separate",
        )
        for _ in range(2)
    ]
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        list(pool.map(stack.enter_context, two))
        yield two
    with MongoClient[db.Document](uri) as mongo:
        mongo.drop_database(name)


@pytest.fixture(scope="module", name="nginx")
def _nginx(
    musters: list[Service], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nginx]:
    servers = {
        f"web{number}:8000": f"127.0.0.1:{muster.port}"
        for number, muster in enumerate(musters, 1)
    }
    folder = tmp_path_factory.mktemp("nginx")
    with Nginx(folder, "several-servers.conf", servers) as nginx:
        yield nginx


@pytest.fixture(name="client")
def _client(nginx: Nginx) -> Iterator[httpx.Client]:
    with nginx.client(CLIENT) as client:
        yield client


class TestFiles:
    def test_nginx_takes_them(self, nginx: Nginx) -> None:
        said = nginx.check()
        assert "syntax is ok" in said and "test is successful" in said
        assert "warn" not in said

    def test_one_server(self, musters: list[Service], tmp_path: Path) -> None:
        address = f"127.0.0.1:{musters[0].port}"
        servers = {"127.0.0.1:8000": address}
        with Nginx(tmp_path, "one-server.conf", servers) as nginx:
            assert "test is successful" in nginx.check()
            with nginx.client() as client:
                assert client.get("/v1/events").status_code == 200
        assert f" 200 {address}" not in nginx.log()
        assert f"{address} 200 " in nginx.log()

    def test_limits_are_those_of_muster(self) -> None:
        text = shipped("muster/server.conf")
        arrays = Settings.__pydantic_fields__["max_array_mb"].default
        arrays *= 1024 * 1024
        limits = re.findall(r"client_max_body_size (\d+);", text)
        assert set(map(int, limits)) == {
            0,
            MAX_BODY_BYTES,
            MAX_IMAGE_BODY_BYTES,
            arrays + MAX_BODY_BYTES,
        }
        # What a refusal says is what was the limit.
        table = text.partition("$muster_limit {")[2].partition("}")[0]
        said = re.findall(r"(\d+);", table)
        assert said == [limit for limit in limits if limit != "0"]


class TestWhoCalls:
    def test_address_is_the_client_s(
        self, musters: list[Service], client: httpx.Client
    ) -> None:
        """Whatever it says of itself."""
        claims = {
            "X-Forwarded-For": "9.9.9.9",
            "X-Real-IP": "9.9.9.9",
            "Forwarded": "for=9.9.9.9",
            "X-Request-ID": "address-1",
        }
        client.get("/v1/events", headers=claims).raise_for_status()
        line = _line_of(musters, "address-1")
        assert CLIENT in line
        assert "9.9.9.9" not in line

    def test_both_servers_are_asked(
        self, nginx: Nginx, musters: list[Service], client: httpx.Client
    ) -> None:
        for _ in range(4):
            client.get("/v1/events").raise_for_status()
        assert all(f"127.0.0.1:{each.port}" in nginx.log() for each in musters)

    def test_request_id(
        self, nginx: Nginx, musters: list[Service], client: httpx.Client
    ) -> None:
        named = client.get("/v1/events", headers={"X-Request-ID": "mine-1"})
        assert named.headers["x-request-id"] == "mine-1"
        unfit = {"X-Request-ID": "mine 1 <b>"}
        given = client.get("/v1/events", headers=unfit).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", given)
        for request_id in ("mine-1", given):
            nginx.wait_for_line(f" {request_id}\n")
            assert _line_of(musters, request_id)

    def test_scheme_and_host(self, nginx: Nginx, client: httpx.Client) -> None:
        """An address in an answer leads back to nginx."""
        ada = Person.register(client)
        answer = ada.send("POST", "/v1/users/me/calendar", {})
        assert answer.status_code in (200, 201), answer.text
        assert f"{nginx.url}/" in answer.text

    def test_plain_http_is_sent_on(self, nginx: Nginx) -> None:
        url = f"http://127.0.0.1:{nginx.plain_port}/v1/events?limit=1"
        answer = httpx.get(url, trust_env=False)
        assert answer.status_code == 308
        location = answer.headers["location"]
        assert location == "https://127.0.0.1/v1/events?limit=1"

    @pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")
    def test_ipv6(self, nginx: Nginx) -> None:
        """Both ports are there; the certificate is not for that name."""
        plain = httpx.get(f"http://[::1]:{nginx.plain_port}/", trust_env=False)
        assert plain.status_code == 308
        with httpx.Client(verify=False, trust_env=False) as client:
            answer = client.get(f"https://[::1]:{nginx.port}/health/live")
        assert answer.status_code == 200

    def test_tokens_are_not_logged(
        self, nginx: Nginx, client: httpx.Client
    ) -> None:
        named = {"X-Request-ID": "tokens-1"}
        client.get("/v1/events?limit=1&token=hidden-token", headers=named)
        nginx.wait_for_line(" tokens-1\n")
        assert "hidden-token" not in nginx.log()


class TestBodies:
    @pytest.mark.parametrize(
        ("path", "limit"),
        [
            ("/v1/events", MAX_BODY_BYTES),
            ("/v1/images", MAX_IMAGE_BODY_BYTES),
        ],
    )
    @pytest.mark.parametrize("told", [True, False])
    def test_refused_alike(
        self,
        musters: list[Service],
        client: httpx.Client,
        path: str,
        limit: int,
        told: bool,
    ) -> None:
        """By the length that is told, or that comes; by both with one word."""
        ada = Person.register(client)
        headers = {**ada.headers, "Content-Type": _MULTIPART}
        body = _PART + bytes(limit)
        with musters[0].client() as plain:
            own = plain.post(
                path, content=body if told else _pieces(body), headers=headers
            )
        answer = client.post(
            path, content=body if told else _pieces(body), headers=headers
        )
        assert_problem(own, 413, "body-too-large")
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        but = ("instance", "request_id")
        assert _without(answer.json(), *but) == _without(own.json(), *but)

    def test_what_fits_passes(self, client: httpx.Client) -> None:
        ada = Person.register(client)
        headers = {**ada.headers, "Content-Type": _MULTIPART}
        body = _PART.ljust(MAX_IMAGE_BODY_BYTES, b"\0")
        answer = client.post("/v1/images", content=body, headers=headers)
        assert answer.status_code in (400, 422)
        headers["Content-Type"] = "application/octet-stream"
        answer = client.post(
            "/v1/processes/np-array", content=body, headers=headers
        )
        assert answer.status_code not in (413, 502, 504)


class TestDoor:
    async def test_messages(self, nginx: Nginx, musters: list[Service]) -> None:
        async with containers.container() as port:
            path, headers = _session(musters[0], port)
            url = f"wss://127.0.0.1:{nginx.port}{path}/socket"
            async with connect(
                url, additional_headers=headers, ssl=nginx.trust, proxy=None
            ) as socket:
                got = dict(json.loads(await socket.recv()))
                assert got["x-forwarded-for"] == "127.0.0.1"
                assert got["x-forwarded-proto"] == "https"
                assert got["host"] == f"127.0.0.1:{nginx.port}"
                for message in ("text é", b"\0\xff", "x" * 1024 * 1024):
                    await socket.send(message)
                    assert await socket.recv() == message

    async def test_both_ways_at_once(
        self, nginx: Nginx, musters: list[Service]
    ) -> None:
        """The answer's pieces come while the request is still sent."""
        async with containers.container() as port:
            path, headers = _session(musters[0], port)
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", nginx.port, ssl=nginx.trust
            )
            writer.write(
                f"POST {path}/echo HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"Authorization: {headers['Authorization']}\r\n"
                "Transfer-Encoding: chunked\r\n\r\n".encode()
            )
            for word in (b"one", b"two", b"three"):
                writer.write(b"%x\r\n%b\r\n" % (len(word), word))
                got = await asyncio.wait_for(reader.readuntil(word), 10)
                assert word in got
            writer.close()

    async def test_more_than_bodies_elsewhere(
        self, nginx: Nginx, musters: list[Service]
    ) -> None:
        async with (
            containers.container() as port,
            httpx.AsyncClient(verify=nginx.trust, trust_env=False) as client,
        ):
            path, headers = _session(musters[0], port)
            body = bytes(2 * MAX_BODY_BYTES)
            answer = await client.post(
                f"{nginx.url}{path}/length", content=body, headers=headers
            )
            assert answer.json() == len(body)


class TestStreams:
    def test_events_come_at_once(self, client: httpx.Client) -> None:
        """The state of a task that nobody runs, on a stream that goes on."""
        ada = Person.register(client)
        body = {"array": [1, 2, 4], "operation": "normalize"}
        task = ada.send("POST", "/v1/processes/np-array", body)
        assert task.status_code == 202, task.text
        path = f"/v1/tasks/{task.json()['id']}/events"
        with client.stream("GET", path, headers=ada.headers) as answer:
            assert answer.headers["content-type"].startswith(
                "text/event-stream"
            )
            lines = answer.iter_lines()
            assert any(line.startswith("data: ") for line in lines)


class TestAServerDies:
    def test_nobody_notices(
        self, musters: list[Service], client: httpx.Client
    ) -> None:
        """A read goes elsewhere; what may have been done is not done twice.

        Both are held until each has a GET and a POST that it has not read.
        Then one is killed, and the other goes on.
        """
        ada = Person.register(client)
        dying, living = musters
        with ThreadPoolExecutor() as pool, held(musters):
            reads = [pool.submit(client.get, "/v1/events") for _ in range(2)]
            wait_for(lambda: unread(musters) == [1, 1])
            writes = [
                pool.submit(_post, client, ada, f"killed {number}")
                for number in range(2)
            ]
            wait_for(lambda: unread(musters) == [2, 2])
            dying.kill()
            send(living, signal.SIGCONT)
            assert [each.result(60).status_code for each in reads] == [200, 200]
            answers = [each.result(60) for each in writes]
        try:
            acknowledged = _check_one_is_lost(answers)
            events = ada.list_all("/v1/events", mine=True)
            assert [each["title"] for each in events] == [acknowledged]
            # From now on nobody is in doubt.
            for number in range(10):
                client.get("/v1/events").raise_for_status()
                _post(client, ada, f"after {number}").raise_for_status()
            assert len(ada.list_all("/v1/events", mine=True)) == 11
        finally:
            dying.start()


def _check_one_is_lost(answers: list[httpx.Response]) -> str:
    """Of two posts one is made, and nobody knows of the other; the first's
    title."""
    made, lost = sorted(answers, key=lambda answer: answer.status_code)
    assert (made.status_code, lost.status_code) == (201, 502)
    assert lost.headers["content-type"] == "application/problem+json"
    assert lost.json()["request_id"] == lost.headers["x-request-id"]
    return str(made.json()["title"])


def _post(client: httpx.Client, by: Person, title: str) -> httpx.Response:
    body = factories.event_body(title=title)
    return client.post("/v1/events", json=body, headers=by.headers)


def _session(muster: Service, port: int) -> tuple[str, dict[str, str]]:
    """A session that a container on this machine stands for."""
    session: Session = factories.session_document(factories.actor(), port=port)
    with MongoClient[db.Document](muster.settings["MONGO_DB_URI"]) as mongo:
        sessions = mongo[muster.settings["MONGO_DB_NAME"]][COLLECTION]
        sessions.insert_one(session.dict())
    headers = {"Authorization": f"token {session.token}"}
    return f"/v1/sessions/{session.id}/proxy", headers


def _line_of(musters: list[Service], request_id: str) -> str:
    """What one of them logged of a request."""

    def lines() -> list[str]:
        logs = "\n".join(muster.errors() for muster in musters)
        return [line for line in logs.splitlines() if request_id in line]

    wait_for(lines)
    (line,) = lines()
    return line


def _pieces(body: bytes) -> Iterator[bytes]:
    """The body, of which nobody is told how long it is."""
    for start in range(0, len(body), 64 * 1024):
        yield body[start : start + 64 * 1024]


def _without(body: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: body[name] for name in body if name not in names}
