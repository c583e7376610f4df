"""One stage of the pipeline by itself, asked with headers of any kind."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Header = tuple[bytes, bytes]


@dataclass
class Answer:
    """What came back; `headers` as they were sent, doubles included."""

    status: int = 0
    headers: list[Header] = field(default_factory=list)
    body: bytes = b""

    def values(self, name: str) -> list[str]:
        """All values of a header."""
        return [v.decode() for n, v in self.headers if n == name.encode()]


async def ask(
    stage: ASGIApp,
    headers: Sequence[Header] = (),
    *,
    method: str = "GET",
    path: str = "/",
    **more: Any,
) -> Answer:
    """Sends a request without a body."""
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "scheme": "http",
        "server": ("muster.test", 80),
        "root_path": "",
        "headers": list(headers),
        "state": {"request_id": "of-a-test"},
        **more,
    }
    answer = Answer()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = list(message["headers"])
        else:
            answer.body += message.get("body", b"")

    await stage(scope, receive, send)
    return answer


async def greet(scope: Scope, receive: Receive, send: Send) -> None:
    """What stands behind the stage."""
    await Response("hello", media_type="text/plain")(scope, receive, send)
