"""Passing: requests go on to sessions' containers, and answers come back.

Nothing is kept on the way: each side is read as fast as the other one takes
it. Only this module knows the client library.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import aiohttp
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType
from starlette.types import Message, Receive, Scope, Send
from yarl import URL

from config.door_headers import (
    Asked,
    Target,
    for_client,
    for_container,
    path_in,
)
from config.middleware.door import MAX_MESSAGE_BYTES
from config.origin import origin_of_task

_CONNECT_SECONDS: Final = 5.0
# Shorter than any server's own patience with a connection that rests, so that
# it does not end just when it is used again.
_REST_SECONDS: Final = 1.5
_PIECE_BYTES: Final = 64 * 1024
# A container that says nothing to a ping is gone.
_HEARTBEAT_SECONDS: Final = 30.0
_CLOSE_SECONDS: Final = 5.0
# A WebSocket begins with a short answer. One to a request may take as long as
# the session lives: what it computes is its own affair.
_HANDSHAKE_SECONDS: Final = 30.0
# Within this time, a client must take a message once the buffers are full.
_READER_SECONDS: Final = 30.0

_GOING_AWAY: Final = 1001
_TOO_BIG: Final = 1009
_FAULT: Final = 1011
# Say that there was no code, and are never sent (RFC 6455, section 7.4.1).
_UNSENDABLE: Final = {1005: 1000, 1006: _FAULT, 1015: _FAULT}
_SWITCHING: Final = 101
# Answers are final from here on, refuse from here on, and mean nothing then.
_FINAL: Final = 200
_REFUSED: Final = 400
_UNKNOWN: Final = 600
_WITHOUT_BODY: Final = (204, 304)
_LENGTH: Final = b"content-length"
_AUTOMATIC: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_T = TypeVar("_T")
_LOG: Final = logging.getLogger("muster.passing")


class UnreachableError(Exception):
    """Nothing answers there, or not in HTTP; nothing was sent to the client."""


@dataclass(slots=True, eq=False)
class _Stream:
    """Something that passes at present.

    Attributes:
        cut: ends it; at first, the wait for an answer.
    """

    cut: Callable[[], object]


class Passage:
    """Passes requests to sessions, and ends what passes when one is over.

    Args:
        own_names: the headers and cookies that open Muster; they stay here.
    """

    def __init__(self, own_names: Collection[str]) -> None:
        self._own_names = frozenset(name.lower() for name in own_names)
        self._streams: dict[str, set[_Stream]] = {}
        self._made: ClientSession | None = None

    @property
    def session_ids(self) -> Collection[str]:
        """The sessions that something passes to at present."""
        return list(self._streams)

    def cut(self, session_id: str) -> None:
        """Ends all that passes to a session."""
        for stream in list(self._streams.get(session_id, ())):
            stream.cut()

    async def aclose(self) -> None:
        """Gives connections back."""
        for session_id in self.session_ids:
            self.cut(session_id)
        if self._made is not None:
            await self._made.close()

    async def pass_request(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        target: Target,
        query: str,
    ) -> None:
        """Passes a request on, and its answer back.

        Raises:
            UnreachableError: the container does not answer.
        """
        asked = _asked(scope)
        body = _Body(receive, is_asked=_has_body(scope))
        asking = asyncio.ensure_future(
            self._client.request(
                scope["method"],
                _url(asked, target, query),
                headers=self._headers(asked, target),
                data=body.pieces() if body.is_asked else None,
                allow_redirects=False,
            )
        )
        with self._passing(target, asking.cancel) as stream:
            async with body.watched(stream):
                try:
                    answer = await _answered(asking)
                except UnreachableError:
                    if body.is_left:
                        # There is nobody to tell.
                        return
                    raise
                stream.cut = answer.close
                try:
                    if not body.is_left:
                        await self._pass_back(answer, asked, target, send)
                finally:
                    answer.close()

    async def pass_websocket(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        target: Target,
        query: str,
    ) -> int:
        """Connects a client's WebSocket with one of the container's.

        Args:
            scope: the handshake.
            receive: of the WebSocket.
            send: of the WebSocket.
            target: where it goes.
            query: what follows the `?`.

        Returns:
            101 once both are connected and it is over; the container's own
            status when it refuses, of which the client was told nothing.

        Raises:
            UnreachableError: the container does not answer.
        """
        asked = _asked(scope)
        asking = asyncio.ensure_future(
            self._client.ws_connect(
                _url(asked, target, query),
                headers=self._headers(asked, target),
                protocols=scope["subprotocols"],
                heartbeat=_HEARTBEAT_SECONDS,
                max_msg_size=MAX_MESSAGE_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
            )
        )
        with self._passing(target, asking.cancel) as stream:
            try:
                theirs = await _answered(asking, seconds=_HANDSHAKE_SECONDS)
            except aiohttp.WSServerHandshakeError as error:
                if not _REFUSED <= error.status < _UNKNOWN:
                    raise UnreachableError(str(error)) from error
                return error.status
            over = asyncio.Event()
            stream.cut = over.set
            try:
                await _accept(send, theirs.protocol)
                await _exchange(theirs, receive, send, over)
            finally:
                await theirs.close()
        return _SWITCHING

    @property
    def _client(self) -> ClientSession:
        # Made by the first request: it belongs to the loop that serves it.
        if self._made is None:
            self._made = ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, keepalive_timeout=_REST_SECONDS
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=_AUTOMATIC,
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=_CONNECT_SECONDS
                ),
                read_bufsize=_PIECE_BYTES,
                max_line_size=_PIECE_BYTES,
                max_field_size=_PIECE_BYTES,
                trust_env=False,
            )
        return self._made

    def _headers(self, asked: Asked, target: Target) -> list[tuple[str, str]]:
        return for_container(asked, target, own_names=self._own_names)

    @contextmanager
    def _passing(
        self, target: Target, cut: Callable[[], object]
    ) -> Iterator[_Stream]:
        stream = _Stream(cut)
        streams = self._streams.setdefault(target.session_id, set())
        streams.add(stream)
        try:
            yield stream
        finally:
            streams.discard(stream)
            if not streams:
                self._streams.pop(target.session_id, None)

    async def _pass_back(
        self,
        answer: aiohttp.ClientResponse,
        asked: Asked,
        target: Target,
        send: Send,
    ) -> None:
        if not _FINAL <= answer.status < _UNKNOWN:
            raise UnreachableError(f"it answers with status {answer.status}")
        headers = for_client(
            answer.raw_headers, asked, target, own_names=self._own_names
        )
        if answer.status in _WITHOUT_BODY or "Transfer-Encoding" in (
            answer.headers
        ):
            # The server would wait for as many bytes, which don't come.
            headers = [each for each in headers if each[0] != _LENGTH]
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": headers,
            }
        )
        try:
            async for piece in answer.content.iter_any():
                await send(_piece(piece, more=True))
        except (aiohttp.ClientError, OSError) as error:
            # What is not ended is known to be incomplete: the server breaks
            # the connection off.
            _LOG.debug("an answer of a session broke off: %s", error)
            return
        await send(_piece(b"", more=False))


class _Body:
    """What a client sends, and that it leaves.

    Attributes:
        is_left: whether the client has gone away.
        is_asked: whether the container gets it.
    """

    def __init__(self, receive: Receive, *, is_asked: bool) -> None:
        self.is_left = False
        self.is_asked = is_asked
        self._receive = receive
        self._is_read = asyncio.Event()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, as it comes."""
        more = True
        try:
            while more:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    self.is_left = True
                    raise ConnectionResetError("the client has left")
                more = message.get("more_body", False)
                if message.get("body"):
                    yield message["body"]
        finally:
            self._is_read.set()

    @asynccontextmanager
    async def watched(self, stream: _Stream) -> AsyncIterator[None]:
        """Cuts the stream when the client leaves while the block runs.

        Nobody else notices that the client of a POST has left.
        """
        watch = asyncio.create_task(self._end(stream))
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    async def _end(self, stream: _Stream) -> None:
        if self.is_asked:
            # Two must not ask the server.
            await self._is_read.wait()
        while not self.is_left:
            message = await self._receive()
            self.is_left = message["type"] == "http.disconnect"
        stream.cut()


async def _answered(
    asking: asyncio.Future[_T], *, seconds: float | None = None
) -> _T:
    """What a container answers, unless the wait for it is cancelled.

    Raises:
        UnreachableError: it does not answer, or not in time.
        WSServerHandshakeError: it refuses a WebSocket.
    """
    try:
        await asyncio.wait((asking,), timeout=seconds)
    finally:
        # It may be the server that ends us.
        asking.cancel()
    if not asking.done() or asking.cancelled():
        raise UnreachableError("it was waited for in vain")
    try:
        return asking.result()
    except aiohttp.WSServerHandshakeError:
        raise
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise UnreachableError(str(error)) from error


async def _accept(send: Send, subprotocol: str | None) -> None:
    origin = origin_of_task.get()
    origin.status, origin.complete = _SWITCHING, True
    await send({"type": "websocket.accept", "subprotocol": subprotocol})


async def _exchange(
    theirs: ClientWebSocketResponse,
    receive: Receive,
    send: Send,
    over: asyncio.Event,
) -> None:
    """Passes messages both ways, until one side ends it, or the session."""
    ways = [
        asyncio.create_task(_to_container(theirs, receive)),
        asyncio.create_task(_to_client(theirs, send)),
        asyncio.create_task(over.wait()),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        if over.is_set():
            await _close(send, _GOING_AWAY, "The session is over.")
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _to_container(
    theirs: ClientWebSocketResponse, receive: Receive
) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            code = message.get("code") or 1005
            await theirs.close(
                code=_UNSENDABLE.get(code, code),
                message=(message.get("reason") or "").encode(),
            )
            return
        data = message.get("bytes")
        try:
            if data is not None:
                await theirs.send_bytes(data)
            else:
                await theirs.send_str(message["text"])
        except (aiohttp.ClientError, OSError):
            # The other way says so to the client.
            await asyncio.Event().wait()


async def _to_client(theirs: ClientWebSocketResponse, send: Send) -> None:
    while True:
        message = await theirs.receive()
        match message.type:
            case WSMsgType.TEXT:
                await _hand_over(send, text=message.data)
            case WSMsgType.BINARY:
                await _hand_over(send, bytes=message.data)
            case WSMsgType.CLOSE:
                code = message.data or 1005
                await _close(
                    send, _UNSENDABLE.get(code, code), message.extra or ""
                )
                return
            case _:
                code = theirs.close_code
                await _close(send, _TOO_BIG if code == _TOO_BIG else _FAULT)
                return


async def _hand_over(send: Send, **data: Any) -> None:
    async with asyncio.timeout(_READER_SECONDS):
        await send({"type": "websocket.send", **data})


async def _close(send: Send, code: int, reason: str = "") -> None:
    # The client may have closed it at the same moment.
    with suppress(OSError, RuntimeError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await send(
                {"type": "websocket.close", "code": code, "reason": reason}
            )


def _asked(scope: Scope) -> Asked:
    client = scope.get("client")
    return Asked(
        path=scope["raw_path"].decode("latin-1"),
        headers=scope["headers"],
        scheme=scope["scheme"],
        address=client[0] if client else "unknown",
        request_id=scope["state"]["request_id"],
    )


def _url(asked: Asked, target: Target, query: str) -> URL:
    host = f"[{target.host}]" if ":" in target.host else target.host
    path = path_in(asked, target)
    mark = "?" if query else ""
    # As it came: another reading of what is encoded would be another address.
    return URL(
        f"http://{host}:{target.port}{path}{mark}{query}", encoded=True
    )


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding"
        or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


def _piece(body: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
