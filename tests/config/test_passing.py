"""Passing: what never answers is not waited for in vain."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message

from config import passing
from config.door_headers import Target
from config.passing import Passage, UnreachableError
from tests import containers

_PREFIX = "/v1/sessions/x/proxy"


def _target(port: int) -> Target:
    return Target("x", "127.0.0.1", port, "token", _PREFIX, False)


def _scope(
    method: str, *headers: tuple[bytes, bytes], path: str = "/"
) -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "scheme": "http",
        "raw_path": f"{_PREFIX}{path}".encode(),
        "headers": [(b"host", b"muster.test"), *headers],
        "state": {"request_id": "r"},
        "subprotocols": [],
    }


async def _never(_message: Message) -> None:
    raise AssertionError("nobody is to be told anything")


async def _nothing() -> Message:
    await asyncio.Event().wait()
    return {}


@pytest.mark.parametrize("body", [b"", b"x"])
async def test_the_client_leaves(body: bytes) -> None:
    coming: list[Message] = [
        {"type": "http.request", "body": body, "more_body": False},
        {"type": "http.disconnect"},
    ]
    length = str(len(body)).encode()

    async def receive() -> Message:
        return coming.pop(0)

    passage = Passage(())
    async with asyncio.timeout(10), containers.silent() as port:
        await passage.pass_request(
            _scope("POST", (b"content-length", length)),
            receive,
            _never,
            target=_target(port),
            query="",
        )
        assert not passage.session_ids
        await passage.aclose()


async def _shake_hands(passage: Passage, port: int) -> int:
    return await passage.pass_websocket(
        _scope("GET"), _nothing, _never, target=_target(port), query=""
    )


async def test_a_handshake_has_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(passing, "_HANDSHAKE_SECONDS", 0.1)
    passage = Passage(())
    async with asyncio.timeout(10), containers.silent() as port:
        with pytest.raises(UnreachableError):
            await _shake_hands(passage, port)
        await passage.aclose()


async def test_a_handshake_ends_with_the_session() -> None:
    passage = Passage(())
    async with asyncio.timeout(10), containers.silent() as port:
        asking = asyncio.create_task(_shake_hands(passage, port))
        while not passage.session_ids:
            await asyncio.sleep(0.01)
        passage.cut("x")
        with pytest.raises(UnreachableError):
            await asking
        assert not passage.session_ids
        await passage.aclose()


@pytest.mark.parametrize("status", [200, 600])
async def test_no_answer_to_a_handshake(status: int) -> None:
    said = f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()
    passage = Passage(())
    async with asyncio.timeout(10), containers.silent(said) as port:
        with pytest.raises(UnreachableError):
            await _shake_hands(passage, port)
        await passage.aclose()


async def test_a_client_that_does_not_read_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not even the word that its session is over."""
    monkeypatch.setattr(passing, "_CLOSE_SECONDS", 0.1)
    passage = Passage(())
    full = asyncio.Event()

    async def send(message: Message) -> None:
        if message["type"] != "websocket.accept":
            full.set()
            await asyncio.Event().wait()

    async with asyncio.timeout(10), containers.container() as port:
        passed = asyncio.create_task(
            passage.pass_websocket(
                _scope("GET", path="/socket"),
                _nothing,
                send,
                target=_target(port),
                query="",
            )
        )
        await full.wait()
        passage.cut("x")
        assert await passed == 101
        await passage.aclose()
