"""Docs gate: who may read the API's description, and the pages made of it."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from config.credentials import Credentials
from config.middleware import FaultHandler
from config.settings import DocsAccess

DOCS: Final = "/docs"
REDOC: Final = "/redoc"
OPENAPI: Final = "/openapi.json"

# Raises what refuses these credentials, sent from this address.
Admit = Callable[[Credentials | None, str], Awaitable[None]]

_PAGES: Final = (DOCS, REDOC, OPENAPI)
_FOLDERS: Final = (f"{DOCS}/", f"{REDOC}/")
# A browser asks its user for e-mail and password, and shows the page then.
_CHALLENGE: Final = 'Basic realm="Muster docs", charset="UTF-8"'


class DocsGate:
    """Lets those read the docs who may: everybody, admins, or nobody.

    Args:
        app: what serves the docs, and all else.
        access: who may read them.
        admit: refuses whoever is no admin.
        key_name: name of the header and of the cookie of API keys.
        on_fault: answers what is refused.
        absence: the error of a path where nothing is.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        access: DocsAccess,
        admit: Admit,
        key_name: str,
        on_fault: FaultHandler,
        absence: Callable[[], Exception],
    ) -> None:
        self._app = app
        self._access = access
        self._admit = admit
        self._key_name = key_name.lower().encode()
        self._on_fault = on_fault
        self._absence = absence

    def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        if (
            self._access is DocsAccess.PUBLIC
            or scope["type"] != "http"
            or not _is_docs(scope)
        ):
            return self._app(scope, receive, send)
        return self._serve_docs(scope, receive, send)

    async def _serve_docs(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        try:
            await self._check(scope)
        except Exception as error:  # pylint: disable=broad-exception-caught
            response = await self._on_fault(Request(scope, receive), error)
            if response.status_code == 401:
                # A line of its own: browsers read one challenge a line.
                response.headers.append("www-authenticate", _CHALLENGE)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _check(self, scope: Scope) -> None:
        if self._access is DocsAccess.OFF:
            raise self._absence()
        client = scope.get("client")
        await self._admit(
            Credentials.find(scope["headers"], key_name=self._key_name),
            client[0] if client else "",
        )


def _is_docs(scope: Scope) -> bool:
    # As the router does: what a server is mounted at is no part of the path.
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path in _PAGES or path.startswith(_FOLDERS)
