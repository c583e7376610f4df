"""Door headers: what goes on to a session's container, and what comes back.

What a container answers is shown by browsers as ours: the same host serves it.
So its headers are kept from saying anything about the rest of that host, and
what opens Muster is kept from the container.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

Header = tuple[bytes, bytes]

# Of one connection, not of what passes (RFC 9110, section 7.6.1).
_HOP_BY_HOP: Final = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization "
    b"proxy-connection te trailer transfer-encoding upgrade".split()
)
# Of a request: what opens Muster, what we say ourselves, and what the next
# connection says for itself.
_KEPT_BACK: Final = _HOP_BY_HOP | frozenset(
    b"authorization cookie expect forwarded x-forwarded-for x-forwarded-host "
    b"x-forwarded-port x-forwarded-prefix x-forwarded-proto x-real-ip "
    b"x-request-id x-trace sec-websocket-accept sec-websocket-extensions "
    b"sec-websocket-key sec-websocket-protocol sec-websocket-version".split()
)
# Of an answer: what speaks for the whole host, or for Muster itself. Without
# Service-Worker-Allowed, a worker rules only what lies beside its script.
_NOT_THEIRS: Final = _HOP_BY_HOP | frozenset(
    b"alt-svc clear-site-data date nel origin-agent-cluster report-to "
    b"reporting-endpoints service-worker-allowed strict-transport-security "
    b"x-request-id".split()
)
# Orders to a proxy in front of Muster: which of its files to send instead, or
# where to ask.
_TO_PROXIES: Final = (
    b"x-accel-",
    b"x-lighttpd-",
    b"x-reproxy-",
    b"x-sendfile",
)
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_MOVED: Final = frozenset((b"location", b"content-location"))
_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"
)
# Names that all browsers read as they are written; others they rewrite first.
_PLAIN_HOST: Final = re.compile(
    r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
)
# What browsers take for the address of a machine: 127.1, 2130706433, 0x7f.1.
_MACHINE: Final = re.compile(r"\[.*|(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request passes to, and what is said of the way.

    Attributes:
        session_id: the session that the container belongs to.
        host: where it answers.
        port: the port there.
        token: what opens it.
        prefix: the path that leads to it through Muster, without a `/` at its
            end.
        keeps_prefix: whether it serves under that path itself.
    """

    session_id: str
    host: str
    port: int
    token: str
    prefix: str
    keeps_prefix: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """A request at the door, as far as its headers go.

    Attributes:
        path: as the client encoded it.
        headers: as the server read them, names in lower case.
        scheme: `http` or `https`, as the client sees it.
        address: the client's.
        request_id: its id.
    """

    path: str
    headers: Sequence[Header]
    scheme: str
    address: str
    request_id: str

    @property
    def host(self) -> str:
        """The name that the client calls us by."""
        for name, value in self.headers:
            if name == b"host":
                return value.decode("latin-1")
        return ""


def for_container(
    asked: Asked, target: Target, *, own_names: Collection[str]
) -> list[tuple[str, str]]:
    """The headers of a request as the container gets them.

    Args:
        asked: the request.
        target: where it goes.
        own_names: the headers and cookies that open Muster, lower case.
    """
    named = _named_by_connection(asked.headers)
    headers = [
        (name.decode("latin-1"), _text(value))
        for name, value in asked.headers
        if name not in _KEPT_BACK
        and name not in named
        and name.decode("latin-1") not in own_names
    ]
    cookies = _cookies_but(asked.headers, own_names)
    if cookies:
        headers.append(("cookie", cookies))
    headers += [
        # Jupyter's own form, which it asks for no XSRF cookie with.
        ("authorization", f"token {target.token}"),
        ("x-forwarded-for", asked.address),
        ("x-forwarded-host", asked.host),
        ("x-forwarded-proto", asked.scheme),
        ("x-request-id", asked.request_id),
    ]
    if not target.keeps_prefix:
        headers.append(("x-forwarded-prefix", target.prefix))
    return headers


def for_client(
    answered: Sequence[Header],
    asked: Asked,
    target: Target,
    *,
    own_names: Collection[str],
) -> list[Header]:
    """The headers of an answer as the client gets them."""
    named = _named_by_connection(answered)
    headers: list[Header] = []
    for name, value in answered:
        name = name.lower()
        if name in named or not _may_pass(name, value):
            continue
        if name == b"set-cookie":
            value = _confined(value, target, own_names)
            if not value:
                continue
        elif name in _MOVED:
            value = _moved(value, asked, target)
        headers.append((name, value))
    return [*headers, *_guards(headers, asked, target)]


def path_in(asked: Asked, target: Target) -> str:
    """The path that a container is asked for, as the client encoded it."""
    if target.keeps_prefix:
        return asked.path
    return asked.path.removeprefix(target.prefix) or "/"


def _may_pass(name: bytes, value: bytes) -> bool:
    """Whether a container may say this to clients, and the server can."""
    return (
        name not in _NOT_THEIRS
        and not name.startswith(_TO_PROXIES)
        and _NAME.fullmatch(name) is not None
        and _VALUE.fullmatch(value) is not None
    )


def _guards(
    headers: Iterable[Header], asked: Asked, target: Target
) -> list[Header]:
    """Keeps a page of a container from calling Muster as who looks at it.

    It stands on our own host, where the browser would send an API key's
    cookie along. So it calls and sends forms to its own session only; a policy
    of its own counts besides this one. Scripts, pictures and frames may come
    from anywhere: nothing of ours lets itself be framed.
    """
    guards: list[Header] = []
    named = dict(headers)
    if b"referrer-policy" not in named:
        # What stands in the addresses of a session is nobody else's business.
        guards.append((b"referrer-policy", b"same-origin"))
    if b"cache-control" not in named:
        guards.append((b"cache-control", b"private, no-cache"))
    if _HOST.fullmatch(asked.host):
        # A browser that came by TLS takes https and wss for these, too.
        own = f"//{asked.host}{target.prefix}/"
        policy = (
            f"connect-src http:{own} ws:{own} data: blob:; "
            f"form-action http:{own}; frame-ancestors 'self'"
        )
        guards.append((b"content-security-policy", policy.encode()))
    return guards


def _named_by_connection(headers: Iterable[Header]) -> set[bytes]:
    return {
        token.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for token in value.split(b",")
    }


def _cookies_but(
    headers: Iterable[Header], own_names: Collection[str]
) -> str:
    """The cookies that are not ours; each as it was sent."""
    cookies = [
        cookie.strip()
        for name, value in headers
        if name == b"cookie"
        for cookie in _text(value).split(";")
    ]
    return "; ".join(
        cookie
        for cookie in cookies
        if cookie and cookie.partition("=")[0].strip().lower() not in own_names
    )


def _confined(
    value: bytes, target: Target, own_names: Collection[str]
) -> bytes:
    """A cookie of a container, for its own paths; empty for one of ours."""
    cookie, *attributes = value.split(b";")
    name = cookie.partition(b"=")[0].strip().decode("latin-1").lower()
    if name in own_names:
        return b""
    path = target.prefix.encode() + b"/"
    kept = []
    for attribute in attributes:
        key, _, said = attribute.strip().partition(b"=")
        match key.strip().lower():
            case b"domain":
                continue
            case b"path":
                path = _beneath(said.strip(), target)
            case _:
                kept.append(attribute.strip())
    return b"; ".join([cookie.strip(), b"Path=" + path, *kept])


def _beneath(path: bytes, target: Target) -> bytes:
    """A path of a container as one of ours."""
    prefix = target.prefix.encode()
    if not path.startswith(b"/"):
        return prefix + b"/"
    if target.keeps_prefix and (path + b"/").startswith(prefix + b"/"):
        return path
    return prefix + path


def _moved(value: bytes, asked: Asked, target: Target) -> bytes:
    """An address that a container names, as clients reach it.

    None of them leads to another part of our own host: fetches that follow it
    are not held up by the policy above.
    """
    # As browsers read it.
    text = value.decode("latin-1").strip().replace("\\", "/")
    try:
        parts = urlsplit(text)
    except ValueError:
        return target.prefix.encode() + b"/"
    ours = {"", asked.host, f"{target.host}:{target.port}"}
    if parts.scheme not in ("", "http", "https"):
        return value
    if parts.netloc not in ours:
        if _is_elsewhere(parts.netloc, asked):
            return value
        return target.prefix.encode() + b"/"
    path = parts.path
    if path.startswith("/"):
        path = _beneath(path.encode("latin-1"), target).decode("latin-1")
    path = urljoin(asked.path, path)
    steps = unquote(path).replace("\\", "/").split("/")
    if not path.startswith(target.prefix + "/") or ".." in steps:
        path = target.prefix + "/"
    return urlunsplit(("", "", path, parts.query, parts.fragment)).encode(
        "latin-1"
    )


def _is_elsewhere(netloc: str, asked: Asked) -> bool:
    """Whether a browser surely takes this for another host than ours."""
    theirs, ours = _host_in(netloc), _host_in(asked.host)
    if "" in (theirs, ours) or theirs == ours:
        return False
    # The address of one machine has many spellings.
    return not (_MACHINE.fullmatch(theirs) and _MACHINE.fullmatch(ours))


def _host_in(netloc: str) -> str:
    """The host, in one spelling; empty where it is none that is plain."""
    found = _PLAIN_HOST.fullmatch(netloc)
    return "" if found is None else found[1].lower().rstrip(".")


def _text(value: bytes) -> str:
    """A header's value as the client library sends it on: the same bytes."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
