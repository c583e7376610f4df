"""Handshakes of WebSockets pass the stages that requests pass."""

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from config.middleware.disconnects import Disconnects
from config.middleware.hosts import TrustedHosts
from config.middleware.upgrades import Upgrades
from models.exceptions import UnknownHostError
from routes.problems import on_fault


class Client:
    """A client that shakes hands and then sends what it has."""

    def __init__(self, *messages: Message) -> None:
        self._messages = [{"type": "websocket.connect"}, *messages]
        self.got: list[Message] = []

    async def receive(self) -> Message:
        """The next message."""
        return self._messages.pop(0)

    async def send(self, message: Message) -> None:
        """Takes an answer."""
        self.got.append(message)


def _scope(host: bytes = b"muster.test") -> Scope:
    return {
        "type": "websocket",
        "scheme": "wss",
        "path": "/x",
        "raw_path": b"/x",
        "query_string": b"",
        "headers": [(b"host", host)],
        "state": {"request_id": "x"},
    }


async def _accept(scope: Scope, receive: Receive, send: Send) -> None:
    del receive, send
    assert (scope["type"], scope["method"]) == ("http", "GET")
    assert scope["scheme"] == "https"
    own_receive, own_send = scope["websocket"]
    await own_send({"type": "websocket.accept"})
    await own_send({**await own_receive(), "type": "websocket.send"})


def _guarded(app: Any) -> Upgrades:
    hosts = TrustedHosts(
        app, ["muster.test"], on_fault=on_fault, refusal=UnknownHostError
    )
    return Upgrades(Disconnects(hosts))


async def test_let_in() -> None:
    client = Client({"type": "websocket.receive", "text": "hello"})
    await _guarded(_accept)(_scope(), client.receive, client.send)
    assert client.got == [
        {"type": "websocket.accept"},
        {"type": "websocket.send", "text": "hello"},
    ]


async def test_refused_by_a_stage() -> None:
    client = Client()
    scope = _scope(b"evil.example.org")
    await _guarded(_accept)(scope, client.receive, client.send)
    kinds = [message["type"].rpartition(".")[2] for message in client.got]
    assert kinds == ["start", "body"]
    assert client.got[0]["type"] == "websocket.http.response.start"
    assert client.got[0]["status"] == UnknownHostError.status
    assert b"unknown-host" in client.got[1]["body"]


async def test_whoever_has_left_needs_no_refusal() -> None:
    client = Client()

    async def lost(_message: Message) -> None:
        raise ConnectionResetError

    scope = _scope(b"evil.example.org")
    await _guarded(_accept)(scope, client.receive, lost)


@pytest.mark.parametrize("kind", ["http", "lifespan"])
async def test_all_else_passes(kind: str) -> None:
    seen = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope)

    scope = {"type": kind}
    client = Client()
    await Upgrades(app)(scope, client.receive, client.send)
    assert seen == [scope]
