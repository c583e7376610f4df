"""Hosts: a request for another name than ours is not for us."""

import re
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from config.middleware import FaultHandler

# A name or an address, with or without a port; nothing else, such as user@.
_HOST: Final = re.compile(
    rb"([a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"
)


class TrustedHosts:
    """Refuses requests whose Host header is not one of our names.

    Who may choose the host could have caches keep, or mails contain, links
    to a place of theirs. The port does not matter: proxies change it.

    Args:
        app: what answers the rest.
        hosts: our names, lower case; `*.example.org` is every name below
            that one, `*` allows all.
        on_fault: answers what is refused.
        refusal: makes the error that it answers.
        open_paths: asked for by probes, which know machines, not names.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Collection[str],
        on_fault: FaultHandler,
        refusal: Callable[[], Exception],
        open_paths: Collection[str] = (),
    ) -> None:
        self._app = app
        names = [host.encode() for host in hosts]
        self._allows_all = b"*" in names
        self._names = frozenset(name for name in names if name[:1] != b"*")
        self._endings = tuple(name[1:] for name in names if name[:1] == b"*")
        self._on_fault = on_fault
        self._refusal = refusal
        self._open_paths = frozenset(open_paths)

    def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        if (
            self._allows_all
            or scope["type"] != "http"
            or self._is_ours(scope)
            or scope["path"] in self._open_paths
        ):
            return self._app(scope, receive, send)
        return self._refuse(scope, receive, send)

    async def _refuse(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        response = await self._on_fault(
            Request(scope, receive), self._refusal()
        )
        await response(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1:
            return False
        if hosts[0] in self._names:
            return True
        parts = _HOST.fullmatch(hosts[0].lower())
        return parts is not None and (
            parts[1] in self._names or parts[1].endswith(self._endings)
        )
