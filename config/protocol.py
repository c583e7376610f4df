"""Protocol: what a client may send, how much of it, and how slowly.

httptools refuses most of what smuggles one request inside another; what it
lets pass, and what has no end, is refused here. `uvicorn app:app` without
gunicorn speaks uvicorn's own protocol, which lacks all of this.
"""

import asyncio
import json
import logging
import secrets
from collections import deque
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
)
from uvicorn.protocols.websockets.websockets_sansio_impl import (
    WebSocketsSansIOProtocol,
)
from uvicorn.server import ServerState

from config.middleware.door import find_session_id
from config.middleware.security_headers import ALWAYS, UNLESS_OWN

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_HEADERS: Final = 100
MAX_TARGET_BYTES: Final = 16 * 1024
# The library of WebSockets reads no longer line, and says so to nobody.
_MAX_HANDSHAKE_LINE_BYTES: Final = 8000
_WITH_BODY: Final = (b"content-length", b"transfer-encoding")

# What a connection waits for: its next request, the rest of a request's head,
# or the rest of its body.
_NEXT: Final = 0
_HEAD: Final = 1
_BODY: Final = 2

# Of an address that is repeated in an answer.
_SHOWN_LENGTH: Final = 2048
_SLASH: Final = ord("/")
_LOG: Final = logging.getLogger("muster.server")
_SOCKET_LOG: Final = logging.getLogger("muster.server.sockets")
_SOCKET_LOG.setLevel(logging.WARNING)
_NOWHERE: Final[deque[Any]] = deque(maxlen=0)

# Title, slug and detail of what is refused before there is a request.
_PROBLEMS: Final = {
    400: (
        "Malformed request",
        "malformed-request",
        "This is no HTTP request that can be read in one way only.",
    ),
    408: (
        "Request timeout",
        "request-timeout",
        "The rest of the request did not come in time.",
    ),
    414: (
        "Address too long",
        "address-too-long",
        f"The address is over the limit of {MAX_TARGET_BYTES} bytes.",
    ),
    431: (
        "Headers too large",
        "headers-too-large",
        f"The headers are over the limit of {MAX_HEADERS} headers and "
        f"{MAX_HEAD_BYTES} bytes.",
    ),
}


class _RefusedError(Exception):
    """The request must not reach the app; the parser ends with it."""


# What it remembers of a connection is many small things.
# pylint: disable-next=too-many-instance-attributes
class MusterProtocol(HttpToolsProtocol):
    """HTTP/1.1 with an end to everything.

    One timer a connection looks now and then whether it moves: nothing is set
    or cancelled for single requests. All of it costs a request 2.7 µs.

    Attributes:
        head_seconds: within this time, a request's head must be there.
        body_seconds: within this time, something of a body must come.
        whole_body_seconds: within this time, the body must be there: 10 MiB
            at 6 kB a second.
        reader_seconds: within this time, something of an answer must be read
            once the buffers are full.
        linger_seconds: so long a refused client may go on sending, lest a
            reset takes the answer from it.
        look_seconds: between two looks at a connection.
        farewell_seconds: so long a worker that ends waits for a request on a
            connection where none is under way.
    """

    head_seconds = 20.0
    body_seconds = 30.0
    whole_body_seconds = 1800.0
    reader_seconds = 30.0
    linger_seconds = 2.0
    look_seconds = 5.0
    farewell_seconds = 1.0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.url = b""
        self._waits_for = _HEAD
        self._since = self.loop.time()
        self._heard_at = 0.0
        # Of the head: what came with its first piece, some of which may belong
        # to the request before, and what came then.
        self._piece_bytes = 0
        self._first_bytes = 0
        self._later_bytes = 0
        self._status = 400
        self._unsent_bytes = -1
        self._moved_at = self._since
        self._refused = False
        self._upgrades = False
        self._ends = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(  # type: ignore[override]  # As in uvicorn.
        self, transport: asyncio.Transport
    ) -> None:
        """Begins to watch a client."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.look_seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the client."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads a piece of what the client sends."""
        if self._refused:
            return
        self._heard_at = self.loop.time()
        self._piece_bytes = len(data)
        if self._waits_for == _HEAD:
            self._later_bytes += len(data)
        super().data_received(data)
        if self._refused or self._upgrades:
            return
        if self._waits_for == _HEAD:
            if self._later_bytes > MAX_HEAD_BYTES or self._is_head_too_long():
                self._refuse(414 if not self.headers else 431)
        elif self.cycle.response_complete and self._waits_for == _NEXT:
            # Line breaks before a request are allowed, but not for ever.
            self._waits_for = _HEAD
            self._since = self._heard_at

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._waits_for = _HEAD
        self._since = self._heard_at
        self._first_bytes = self._piece_bytes
        self._later_bytes = 0

    def on_headers_complete(self) -> None:
        """The head is there: the app gets it, unless it is refused."""
        self._status = self._fault_of_head()
        if self._status:
            raise _RefusedError
        if self.parser.should_upgrade():
            self._upgrades = self._is_handshake()
        super().on_headers_complete()
        if self._ends and not self._upgrades:
            self.cycle.keep_alive = False
        # What follows a chunked body is no header: it came after the checks.
        self.headers = _NOWHERE  # type: ignore[assignment]  # It has append.
        self._waits_for = _BODY
        self._since = self._heard_at

    def on_message_complete(self) -> None:
        """The request is there, whole."""
        super().on_message_complete()
        self._waits_for = _NEXT

    def pause_writing(self) -> None:
        """The client reads more slowly than it is written to."""
        super().pause_writing()
        self._unsent_bytes = -1

    def on_response_complete(self) -> None:
        """A request has its answer; `_look` ends the wait for the next one."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        # As uvicorn does, but for its timer, which costs a request 5 µs.
        self._since = self.loop.time()
        self.server_state.total_requests += 1
        self.flow.resume_reading()

    def shutdown(self) -> None:
        """Has the connection end with its next answer; the worker ends.

        uvicorn closes at once where no request is under way. One may have been
        sent, and not be read yet: its client would find the connection reset.
        """
        self._ends = True
        if self._is_idle():
            self.loop.call_later(self.farewell_seconds, self._part)
        else:
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        """Refuses what the parser did not take; uvicorn calls it."""
        self._refuse(self._status or 400)

    def handle_websocket_upgrade(self) -> None:
        """Hands the connection over, once a session's door is asked for it."""
        if self._timer is not None:
            self._timer.cancel()
        super().handle_websocket_upgrade()

    def _is_handshake(self) -> bool:
        # Nothing else here speaks WebSocket. Another protocol must not begin
        # before the last request has its answer.
        return (
            find_session_id(self.url) is not None
            and self._is_idle()
            and super()._should_upgrade()
            and self._is_plain_handshake()
        )

    def _is_plain_handshake(self) -> bool:
        """Whether the other library reads it; else it is a plain request."""
        return len(self.url) <= _MAX_HANDSHAKE_LINE_BYTES and all(
            name not in _WITH_BODY
            and len(name) + len(value) <= _MAX_HANDSHAKE_LINE_BYTES
            for name, value in self.headers
        )

    def _should_upgrade(self) -> bool:
        # Asked again when the headers are let go of.
        return self._upgrades

    def _unsupported_upgrade_warning(self) -> None:
        # What follows is of the other protocol, as the client believes. The
        # request is answered, and the connection ends with that.
        self.cycle.keep_alive = False

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _fault_of_head(self) -> int:
        """The status that refuses the head; 0 when it is fine."""
        headers, target = self.headers, self.url
        count = len(headers)
        if len(target) > MAX_TARGET_BYTES:
            return 414
        if count > MAX_HEADERS or self._is_head_too_long():
            return 431
        named = dict(headers)
        is_plain = (
            len(named) == count
            and b"host" in named
            and b"transfer-encoding" not in named
            and target[0] == _SLASH
            and b"#" not in target
        )
        if is_plain and self.parser.get_http_version() == "1.1":
            return 0
        return self._fault_of_rare_head()

    def _fault_of_rare_head(self) -> int:
        version = self.parser.get_http_version()
        hosts = self._values_of(b"host")
        codings = [v.lower() for v in self._values_of(b"transfer-encoding")]
        if version not in ("1.1", "1.0") or len(hosts) > 1:
            return 400
        if version == "1.1" and not hosts:
            return 400
        # One coding, said in one way: others may read a list differently.
        if codings and (version != "1.1" or codings != [b"chunked"]):
            return 400
        if self.url[0] == _SLASH or self.url == b"*":
            return 400 if b"#" in self.url else 0
        # An absolute address is fine when its host is the one in `Host`.
        scheme, _, rest = self.url.lower().partition(b"://")
        if scheme not in (b"http", b"https") or b"#" in rest:
            return 400
        return 0 if [rest.partition(b"/")[0]] == hosts else 400

    def _values_of(self, header: bytes) -> list[bytes]:
        return [value for name, value in self.headers if name == header]

    def _is_head_too_long(self) -> bool:
        if self._first_bytes + self._later_bytes <= MAX_HEAD_BYTES:
            return False
        size = len(self.url) + sum(len(n) + len(v) for n, v in self.headers)
        return size > MAX_HEAD_BYTES

    def _part(self) -> None:
        """Closes, unless a request came at last, or a part of one."""
        is_heard = self._waits_for == _HEAD and self._heard_at >= self._since
        if self._is_idle() and not is_heard:
            self.transport.close()

    def _look(self) -> None:
        self._timer = self.loop.call_later(self.look_seconds, self._look)
        now = self.loop.time()
        if self._is_stuck(now):
            self.transport.abort()
        elif not self._refused:
            self._end_waiting(now)

    def _is_stuck(self, now: float) -> bool:
        """Whether the client has read nothing of its answer for too long."""
        before = self._unsent_bytes
        self._unsent_bytes = self.transport.get_write_buffer_size()
        waits = self.flow.write_paused or self.transport.is_closing()
        if not waits or self._unsent_bytes != before:
            self._moved_at = now
        return now - self._moved_at > self.reader_seconds

    def _end_waiting(self, now: float) -> None:
        """Ends the wait for a client that is too slow."""
        if self.flow.read_paused:
            # It can't send: the app is slow, not the client.
            self._since = self._heard_at = now
        elif self._waits_for == _NEXT:
            if self._is_idle() and now - self._since > self.timeout_keep_alive:
                self.timeout_keep_alive_handler()
        elif self._waits_for == _HEAD:
            if now - self._since > self.head_seconds:
                self._refuse(408)
        elif self._waits_for == _BODY:
            if self.cycle.waiting_for_100_continue:
                self._heard_at = now
            elif (
                now - self._heard_at > self.body_seconds
                or now - self._since > self.whole_body_seconds
            ):
                self._refuse(408)

    def _refuse(self, status: int) -> None:
        """Answers with a problem where that can be, and ends the connection."""
        cycle = self.cycle
        if self._waits_for != _BODY and not self._is_idle():
            # The request before is still being answered. That goes on, and the
            # connection ends with it: two answers must not mix.
            cycle.keep_alive = False
            self._refused = True
            return
        self._refused = True
        self._unset_keepalive_if_required()
        if self._waits_for == _BODY:
            answerable = not (cycle.response_started or self.pipeline)
            cycle.disconnected = True
            cycle.message_event.set()
        else:
            answerable = self._heard_at > 0
        if not answerable:
            self.transport.close()
            return
        address = self.client[0] if self.client else "a client"
        _LOG.info("%s is refused: %s", address, _PROBLEMS[status][0])
        self.transport.write(_answer(status, self.url))
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(self.linger_seconds, self.transport.abort)


class MusterWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket of a session's door.

    uvicorn takes a refusal for a fault, and writes a line with the whole
    address, in which there may be a token, beside the one that Muster writes.

    Attributes:
        linger_seconds: so long a client may take to read what is left for it
            once all is over; a connection that closes waits for that.
    """

    linger_seconds = 15.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes a connection over."""
        self.logger = _SOCKET_LOG
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Reads a piece of what the client sends; the handshake comes whole."""
        super().data_received(data)
        if not self.handshake_initiated:
            # Nobody else looks at the connection: it would stay for ever.
            self.transport.abort()

    async def run_asgi(self) -> None:
        """Serves the client, and waits for its farewell no longer than due."""
        await super().run_asgi()
        self._abort_soon()

    def keepalive_timeout(self) -> None:
        """Gives up a client that is silent; it may not read either."""
        super().keepalive_timeout()
        self._abort_soon()

    def _abort_soon(self) -> None:
        if not self.disconnected:
            self.loop.call_later(self.linger_seconds, self.transport.abort)

    async def send(self, message: Any) -> None:
        """Sends a message, or a part of a refusal."""
        await super().send(message)
        if self.close_sent and self.initial_response is not None:
            self.handshake_complete = True


def _answer(status: int, target: bytes) -> bytes:
    """A problem+json like those of `routes/problems.py`, ready to send."""
    title, slug, detail = _PROBLEMS[status]
    request_id = secrets.token_hex(16)
    path = target.partition(b"?")[0].decode("latin-1")
    body = json.dumps(
        {
            "type": f"/problems/{slug}",
            "title": title,
            "status": status,
            "detail": detail,
            "instance": path if len(path) <= _SHOWN_LENGTH else "/",
            "request_id": request_id,
        }
    ).encode()
    return b"".join(
        (
            STATUS_LINE[status],
            b"content-type: application/problem+json\r\n",
            b"content-length: %d\r\n" % len(body),
            b"x-request-id: %s\r\n" % request_id.encode(),
            *(b"%s: %s\r\n" % pair for pair in (*ALWAYS, *UNLESS_OWN)),
            b"connection: close\r\n\r\n",
            body,
        )
    )
