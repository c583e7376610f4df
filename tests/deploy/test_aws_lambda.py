"""AWS Lambda: its own runtime client, and the documents that it is given."""

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlencode

import pytest
from pymongo import MongoClient

from config import db
from tests import factories
from tests.deploy.lambdas import Function
from tests.service.running import MARKS, wait_for

pytestmark = MARKS

ADDRESS = "198.51.100.7"
HOST = "muster.example.org"
SOURCES = ("rest", "http", "url", "alb")
_EVENTS = Path(__file__).parent / "events"


@dataclass(frozen=True)
class Answer:
    """What a client would get of an answer to an event."""

    status: int
    headers: dict[str, str]
    content: bytes
    was_text: bool

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Self:
        """Reads it as gateways and balancers do."""
        headers = dict(answer.get("headers") or {})
        for name, values in (answer.get("multiValueHeaders") or {}).items():
            headers[name] = ", ".join(values)
        was_text = not answer["isBase64Encoded"]
        body = answer["body"]
        return cls(
            answer["statusCode"],
            {name.lower(): headers[name] for name in headers},
            body.encode() if was_text else base64.b64decode(body),
            was_text,
        )

    def json(self) -> Any:
        """The body."""
        return json.loads(self.content)


@dataclass(frozen=True)
class Caller:
    """Somebody who calls through one kind of source of events."""

    function: Function
    source: str
    token: dict[str, str] = field(default_factory=dict)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        query: str = "",
        **headers: str,
    ) -> Answer:
        """Sends a request; `content_type` is the header Content-Type."""
        named = {
            "host": HOST,
            "x-forwarded-for": f"9.9.9.9, {ADDRESS}",
            "x-forwarded-proto": "https",
            "x-forwarded-port": "443",
            **self.token,
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        binary = not named.get("content-type", "text").startswith(
            ("text", "application/json")
        )
        if body:
            named["content-length"] = str(len(body))
        event = json.loads(
            (_EVENTS / f"{self.source}.json").read_text("utf-8")
        )
        event["isBase64Encoded"] = binary
        event["body"] = (base64.b64encode(body) if binary else body).decode()
        _address(event, (method, path, query), named)
        return Answer.of(self.function.invoke(event))

    def post(self, path: str, body: object) -> Answer:
        """Sends JSON as text."""
        text = json.dumps(body, ensure_ascii=False).encode()
        return self.ask("POST", path, text, content_type="application/json")

    def logged_in(self) -> Self:
        """A new member, who logs in by a form."""
        body = factories.registration()
        made = self.post("/v1/users", body)
        assert made.status == 201, made.content
        login = self.ask(
            "POST",
            "/v1/auth/login",
            urlencode(
                {"username": body["email"], "password": factories.PASSWORD}
            ).encode(),
            content_type="application/x-www-form-urlencoded",
        )
        assert login.status == 200, login.content
        token = login.json()["access_token"]
        shown = {"authorization": f"Bearer {token}"}
        return type(self)(self.function, self.source, shown)


def _address(
    event: dict[str, Any], asked: tuple[str, str, str], headers: dict[str, str]
) -> None:
    """Says in an event what is asked, as its source does."""
    method, path, query = asked
    if "version" in event:
        event["requestContext"]["http"] |= {"method": method, "path": path}
        event |= {"rawPath": path, "rawQueryString": query, "headers": headers}
        return
    several = parse_qs(query)
    event |= {"httpMethod": method, "path": path}
    event["multiValueHeaders"] = {name: [headers[name]] for name in headers}
    event["multiValueQueryStringParameters"] = several
    if "resource" in event:
        event["headers"] = headers
        event["queryStringParameters"] = {
            name: values[-1] for name, values in several.items()
        }


@pytest.fixture(scope="module", name="function")
def _function(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Function]:
    uri, name = os.environ["MUSTER_TEST_DB_URI"], db.new_test_database_name()
    folder = tmp_path_factory.mktemp("lambda")
    with Function(
        folder / "log",
        MONGO_DB_URI=uri,
        MONGO_DB_NAME=name,
        DATA_DIR=str(folder / "data"),
        JWT_SECRET_KEY="k9Zq-" * 8 + "Wc7xTn2LmP0",
        ENVIRONMENT="production",
        PUBLIC_URL=f"https://{HOST}",
        SESSION_ENGINE="off",
    ) as function:
        yield function
    with MongoClient[db.Document](uri) as mongo:
        mongo.drop_database(name)


@pytest.fixture(name="caller", params=SOURCES)
def _caller(request: pytest.FixtureRequest, function: Function) -> Caller:
    return Caller(function, request.param)


def test_a_read(caller: Caller) -> None:
    answer = caller.ask(
        "GET", "/v1/events", query="limit=1&tag=class&tag=food&q=a+b"
    )
    assert answer.status == 200, answer.content
    assert answer.was_text
    assert answer.json()["items"] == []
    assert answer.headers["content-type"] == "application/json"


def test_services_are_there(caller: Caller) -> None:
    """What a process opens at its start, once for all requests."""
    for _ in range(2):
        answer = caller.ask("GET", "/health/ready")
        assert (answer.status, answer.json()["status"]) == (200, "ready")


def test_problems_are_text(caller: Caller) -> None:
    answer = caller.ask("GET", "/v1/nowhere/%C3%A9")
    assert (answer.status, answer.was_text) == (404, True)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_other_hosts_are_refused(caller: Caller) -> None:
    answer = caller.ask("GET", "/v1/events", host="evil.example.org")
    assert answer.status == 400


def test_a_member_writes(caller: Caller) -> None:
    """After a log-in whose form came in base64."""
    ada = caller.logged_in()
    made = ada.post("/v1/events", factories.event_body(title="Über Lambda"))
    assert made.status == 201, made.content
    found = ada.ask("GET", "/v1/events", query="mine=true")
    titles = [event["title"] for event in found.json()["items"]]
    assert titles == ["Über Lambda"]


def test_a_picture(caller: Caller) -> None:
    """Up and down in base64."""
    ada = caller.logged_in()
    head = (
        "--edge\r\nContent-Disposition: form-data; "
        'name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    )
    made = ada.ask(
        "POST",
        "/v1/images",
        head.encode() + factories.picture() + b"\r\n--edge--\r\n",
        content_type="multipart/form-data; boundary=edge",
    )
    assert made.status == 201, made.content
    read = ada.ask("GET", f"/v1/images/{made.json()['id']}")
    assert (read.status, read.was_text) == (200, False)
    assert read.headers["content-type"].startswith("image/")
    assert len(read.content) == int(read.headers["content-length"])


def test_sessions_have_no_door(caller: Caller) -> None:
    path = "/v1/sessions/9d3ac82f-3c9c-4c39-95b5-3a5a1dbb5a10/proxy/é"
    answer = caller.ask("GET", path)
    assert (answer.status, answer.was_text) == (401, True)


def test_address_is_the_client_s(caller: Caller) -> None:
    """And not what the client claims."""
    name = f"address-{caller.source}"
    caller.ask("GET", "/v1/events", x_request_id=name)

    def lines() -> list[str]:
        log = caller.function.log.read_text("utf-8")
        return [line for line in log.splitlines() if name in line]

    wait_for(lines)
    assert f'"{ADDRESS}"' in lines()[0]
    assert "9.9.9.9" not in lines()[0]


def test_chores_are_left_to_others(caller: Caller) -> None:
    """Mail waits in the database for a process that lasts."""
    caller.logged_in()
    log = caller.function.log.read_text("utf-8")
    data = caller.function.log.parent / "data"
    assert not (data / "mail").exists()
    assert "ERROR" not in log
