"""Session door: passes requests and WebSockets to what runs in sessions.

Not a route of the framework's: bodies, methods and answers are the container's
affair, and none of them is read here.
"""

import hashlib
import html
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Final
from urllib.parse import unquote_plus

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from config.credentials import Credentials
from config.middleware.callers import is_foreign
from config.middleware.cors import Origins
from config.middleware.door import DOOR
from config.middleware.rate_limits import Admit
from config.passing import Passage, UnreachableError
from models.exceptions import (
    ForbiddenError,
    InsufficientScopeError,
    NotAuthenticatedError,
)
from models.logins import Actor
from models.scopes import needed_scope
from models.session_errors import SessionUnreachableError
from models.sessions import Session, proxy_path
from utils import session_door

# Opens one session, for the paths below its own.
COOKIE: Final = "muster-door"

_SAFE: Final = ("GET", "HEAD", "OPTIONS")
_ROUTE: Final = SimpleNamespace(path=DOOR)
_NO_STORE: Final = {"Cache-Control": "no-store"}
# Whoever was let in is not counted for this long, and then once more.
_KNOWN_SECONDS: Final = 60.0
_MOST_KNOWN: Final = 4096


@dataclass(frozen=True, slots=True)
class _Visit:
    """A request at the door, as far as it says who comes.

    Attributes:
        headers: each by its name; of one that is sent twice, the last.
        query: what follows the `?`, in parts.
        is_websocket: whether it is a WebSocket's handshake.
    """

    scope: Scope
    session_id: str
    headers: dict[bytes, bytes]
    query: list[str]
    is_websocket: bool

    @property
    def is_navigation(self) -> bool:
        """Whether a person's browser comes to see a page."""
        return (
            self.scope["method"] == "GET"
            and not self.is_websocket
            and b"text/html" in self.headers.get(b"accept", b"")
        )


class SessionDoor:
    """Lets the owner of a session pass, and nobody else.

    They show who they are, as everywhere, or the session's own token: as
    `?token=`, or as `Authorization: token …`. A browser, which can't send
    headers along with pages and WebSockets, gets a cookie for the token.

    Args:
        passage: what passes requests on.
        admit: counts the requests of those who are not known here yet.
        origins: whose pages may open WebSockets.
        key_name: name of the header and of the cookie of API keys.
    """

    def __init__(
        self,
        passage: Passage,
        admit: Admit,
        origins: Collection[str],
        key_name: str,
    ) -> None:
        self._passage = passage
        self._admit = admit
        self._origins = Origins(origins)
        self._key_name = key_name.lower().encode()
        self._known: dict[bytes, float] = {}

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        scope["route"] = _ROUTE
        visit = _visit_of(scope)
        caller, shown = self._shown_by(visit)
        mark = self._mark_of(visit)
        if self._known.get(mark, 0.0) < time.monotonic():
            await self._count(caller, scope)
        self._require_own_page(visit)
        if shown.is_nothing:
            raise _refusal(caller)
        session = await session_door.admit(visit.session_id, shown=shown)
        self._remember(mark)
        # What they say to the container is not kept: see `Recorder`.
        scope["state"]["is_passed"] = True
        elsewhere = _elsewhere(visit, session)
        if elsewhere is not None:
            await elsewhere(scope, receive, send)
        else:
            await self._pass(visit, session, receive, send)

    async def _pass(
        self, visit: _Visit, session: Session, receive: Receive, send: Send
    ) -> None:
        scope = visit.scope
        target = session_door.target_of(session)
        query = "&".join(_without_token(visit, session))
        try:
            if not visit.is_websocket:
                # Past the stages: what their headers say is true of Muster.
                await self._passage.pass_request(
                    scope,
                    receive,
                    scope["door_send"],
                    target=target,
                    query=query,
                )
                return
            status = await self._passage.pass_websocket(
                scope, *scope["websocket"], target=target, query=query
            )
        except UnreachableError as error:
            raise SessionUnreachableError(session.id) from error
        if status >= 400:
            await Response(status_code=status)(scope, receive, send)

    def _shown_by(
        self, visit: _Visit
    ) -> tuple[object, session_door.Shown]:
        caller = visit.scope["state"]["caller"]
        actor = caller if isinstance(caller, Actor) else None
        if actor is not None:
            # As themselves, or not at all. Else whoever has a browser that
            # shows a key by itself could be led into a stranger's session by
            # a link with its token, and its scripts would act with that key.
            lacks = _lacking_scope(actor, visit)
            if lacks is not None:
                actor, caller = None, lacks
            return caller, session_door.Shown(actor, (), None)
        scheme, _, text = (
            visit.headers.get(b"authorization", b"")
            .decode("latin-1")
            .partition(" ")
        )
        texts = list(_tokens_in(visit.query))
        if scheme.lower() in ("token", "bearer") and text:
            texts.append(text.strip())
        return caller, session_door.Shown(None, texts, _door_pass(visit))

    def _require_own_page(self, visit: _Visit) -> None:
        """Refuses what another site's page sends with this one's cookies.

        Browsers name the page in every WebSocket, and in every change. A
        WebSocket that it opened it could read, too, unlike a page.
        """
        changes = visit.scope["method"] not in _SAFE
        if not (visit.is_websocket or changes) or not is_foreign(visit.scope):
            return
        origin = visit.headers[b"origin"].decode("latin-1")
        if self._origins.allow(origin):
            return
        if visit.is_websocket or b"cookie" in visit.headers:
            raise ForbiddenError("A page of another site asks for this.")

    async def _count(self, caller: object, scope: Scope) -> None:
        """Counts those who come anew.

        A page of a notebook asks for a hundred things at once, and all that
        they cost is the container's: whoever it let in passes freely.
        """
        client = scope.get("client")
        counted = self._admit(
            caller,
            address=client[0] if client else "unknown",
            path=scope["path"],
        )
        if not isinstance(counted, list):
            await counted

    def _mark_of(self, visit: _Visit) -> bytes:
        """What to know somebody again by, without a secret in it."""
        shown = Credentials.find(
            visit.scope["headers"], key_name=self._key_name
        ) or Credentials()
        texts = (
            visit.session_id,
            shown.authorization or "",
            shown.key or "",
            _door_pass(visit) or "",
            *_tokens_in(visit.query),
        )
        text = "\0".join(texts).encode()
        return hashlib.blake2b(text, digest_size=16).digest()

    def _remember(self, mark: bytes) -> None:
        if len(self._known) >= _MOST_KNOWN:
            # They are counted once, and known again.
            self._known.clear()
        now = time.monotonic()
        if self._known.get(mark, 0.0) < now:
            self._known[mark] = now + _KNOWN_SECONDS


def _visit_of(scope: Scope) -> _Visit:
    query = scope["query_string"].decode("latin-1")
    return _Visit(
        scope=scope,
        session_id=scope["door_session_id"],
        headers=dict(scope["headers"]),
        query=query.split("&") if query else [],
        is_websocket="websocket" in scope,
    )


def _lacking_scope(actor: Actor, visit: _Visit) -> Exception | None:
    """Why an API key does not open the door, if it doesn't."""
    if actor.key_id is None or actor.scopes is None:
        return None
    method = "POST" if visit.is_websocket else visit.scope["method"]
    needed = needed_scope(method, DOOR)
    if needed in actor.scopes:
        return None
    return InsufficientScopeError(needed)


def _refusal(caller: object) -> Exception:
    if isinstance(caller, Exception):
        return caller
    return NotAuthenticatedError(
        "Show who you are, or the session's own token as ?token=…"
    )


def _tokens_in(query: list[str]) -> Iterator[str]:
    for part in query:
        name, _, value = part.partition("=")
        if name == "token" and value:
            yield unquote_plus(value)


def _without_token(visit: _Visit, session: Session) -> list[str]:
    """The parts of the query that are the container's business."""
    return [
        part
        for part in visit.query
        if not any(
            session_door.is_token_of(session, text)
            for text in _tokens_in([part])
        )
    ]


def _door_pass(visit: _Visit) -> str | None:
    for name, value in visit.scope["headers"]:
        if name != b"cookie":
            continue
        for cookie in value.decode("latin-1").split(";"):
            found, _, text = cookie.strip().partition("=")
            if found == COOKIE:
                return str(text)
    return None


def _elsewhere(visit: _Visit, session: Session) -> Response | None:
    """Where a browser goes first, if not to the container.

    It shows the token once, gets a cookie for it, and comes back without it:
    an address stays in histories, logs and links.
    """
    rest = _without_token(visit, session)
    path = str(visit.scope["raw_path"].decode("latin-1"))
    home = proxy_path(session.id)
    is_bare = path == home.rstrip("/") and not visit.is_websocket
    shows_token = visit.is_navigation and len(rest) < len(visit.query)
    if not (is_bare or shows_token):
        return None
    address = (home if is_bare else path) + ("?" if rest else "")
    address += "&".join(rest)
    if not shows_token:
        return RedirectResponse(address, 307, _NO_STORE)
    response: Response
    if visit.headers.get(b"sec-fetch-site") == b"cross-site":
        # Of a redirect, the browser would still say that another site sent
        # them, and keep the cookie back.
        page = f'<a href="{html.escape(address)}">The session</a>'
        response = HTMLResponse(page, headers=_NO_STORE)
        response.headers["Refresh"] = f"0; url={address}"
    else:
        response = RedirectResponse(address, 303, _NO_STORE)
    response.set_cookie(
        COOKIE,
        session_door.pass_of(session),
        path=home.rstrip("/"),
        secure=visit.scope["scheme"] == "https",
        httponly=True,
        samesite="strict",
    )
    return response
