"""Masking: what opens a door leaves no trace in a log or an HTTP event.

Hidden are the values of headers and of parameters whose names say so, however
the names are encoded, and what looks like a token wherever it stands.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_plus

HIDDEN: Final = "***"

# Also parts of names: `reset_token`, `X-Hub-Signature`, `client_secret`.
_WORDS: Final = (
    "token",
    "secret",
    "password",
    "passwd",
    "key",
    "code",
    "signature",
    "authorization",
    "cookie",
    "credential",
)
_MOST_CHARACTERS: Final = 2000

# A parameter, in a query or in a text that quotes one.
_PARAMETER: Final = re.compile(
    r"(?P<begin>(?:^|[?&;#\s'\"(])(?P<name>[^=&;?#\s'\"(]+)=)"
    r"(?P<value>[^&;#\s'\")]*)"
)

# A member of an object, as JSON or as Python writes it.
_MEMBER: Final = re.compile(
    r"(?P<begin>(['\"])(?P<name>[\w-]+)\2\s*:\s*)"
    r"(?P<value>'[^']*'|\"[^\"]*\"|[^\s,}]+)"
)

_TOKEN: Final = re.compile(
    # Keys of members, and signed tokens.
    r"\bmk_[\w-]+|\beyJ[\w-]*\.[\w.-]*"
    # Refresh tokens: an id, a family, a secret.
    r"|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.[\w-]{8,}(?:\.[\w-]*)?"
    # What an Authorization header holds, and what stands before an @.
    r"|(?i:(?<=\bbearer )|(?<=\bbasic ))\S+"
    r"|(?<=://)[^/@\s]+(?=@)"
)

_DASHES_OF_AN_ID: Final = 4

# Our ids have 36 characters, our names fewer; random secrets have 43 or more.
_LONG_PART: Final = re.compile(r"[^/]{43,}")

# What begins a new line, moves a cursor, or turns the order of characters.
_CONTROLS: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class _Names:
    """Further names, such as that of the header of API keys."""

    hidden: set[str] = set()


def hide_name(name: str) -> None:
    """Hides the values of headers and parameters called `name` as well."""
    _Names.hidden.add(name.lower())
    is_secret.cache_clear()


@lru_cache(maxsize=1024)
def is_secret(name: str) -> bool:
    """True where a header or parameter of this name holds what opens doors."""
    lowered = unquote_plus(name[:200]).lower()
    return lowered in _Names.hidden or any(word in lowered for word in _WORDS)


def mask_text(text: str) -> str:
    """`text` without what looks like a secret."""
    if "=" in text:
        text = _PARAMETER.sub(_mask_value, text)
    if ":" in text:
        text = _MEMBER.sub(_mask_value, text)
    return _mask_tokens(text)


def mask_path(path: str) -> str:
    """A path without parts that are tokens."""
    if _LONG_PART.search(path):
        path = _LONG_PART.sub(HIDDEN, path)
    return _mask_tokens(path)


def mask_query(query: bytes) -> str:
    """A query without the values that are secrets."""
    if not query:
        return ""
    return mask_text(query[:_MOST_CHARACTERS].decode("latin-1"))


def mask_headers(
    headers: Iterable[tuple[bytes, bytes]],
) -> list[tuple[str, str]]:
    """Headers as text, in their order, without the values that are secrets."""
    return [
        (name, HIDDEN if is_secret(name) else mask_text(value))
        for name, value in (
            (
                raw_name[:200].decode("latin-1").lower(),
                raw_value[:_MOST_CHARACTERS].decode("latin-1"),
            )
            for raw_name, raw_value in headers
        )
    ]


def on_one_line(text: str) -> str:
    """`text` with escapes for what could forge a line or fool a terminal."""
    if text.isascii() and text.isprintable():
        return text
    return _CONTROLS.sub(_escape, text)


def _mask_tokens(text: str) -> str:
    return _TOKEN.sub(HIDDEN, text) if _may_hold_token(text) else text


def _may_hold_token(text: str) -> bool:
    """False where `_TOKEN` finds nothing, which takes it ten times as long.

    Each request has a path and a dozen headers, and hardly any holds a token.
    """
    if not text.isascii():
        # Letters that are not ours may be the same to a pattern: a long s.
        return True
    lowered = text.lower()
    return (
        "mk_" in text
        or "eyJ" in text
        or "bearer " in lowered
        or "basic " in lowered
        or ("://" in text and "@" in text)
        or ("." in text and text.count("-") >= _DASHES_OF_AN_ID)
    )


def _mask_value(found: re.Match[str]) -> str:
    if found["value"] and is_secret(found["name"]):
        return f"{found['begin']}{HIDDEN}"
    return found[0]


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
