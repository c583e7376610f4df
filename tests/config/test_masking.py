"""Masking: what opens a door is seen nowhere."""

import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import masking
from tests import factories

_SECRETS = st.text(string.ascii_letters + string.digits, min_size=12)
_NAMES = st.sampled_from(
    [
        "token",
        "access_token",
        "reset-token",
        "client_secret",
        "X-API-Key",
        "password",
        "code",
        "X-Hub-Signature",
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "Set-Cookie",
        "Idempotency-Key",
    ]
)


# What tokens are made of, whole or nearly so.
_PIECES = st.sampled_from(
    [
        *("mk_", "eyJ", "bearer ", "Basic ", "://", "@", ".", "-", " ", "a"),
        *("0123abcd", "0123abcd-0123-0123-0123-0123456789ab", "abcdefgh"),
    ]
)


def _any_case(name: str, flips: int) -> str:
    """The name with some letters of the other case."""
    return "".join(
        char.swapcase() if flips >> index & 1 else char
        for index, char in enumerate(name)
    )


def _encoded(name: str, which: int) -> str:
    """The name with some characters as `%xx`."""
    return "".join(
        f"%{ord(char):02x}" if which >> index & 1 else char
        for index, char in enumerate(name)
    )


class TestQueries:
    @pytest.mark.parametrize(
        ("query", "shown"),
        [
            ("token=s3cret", "token=***"),
            ("x=1&token=s3cret&y=2", "x=1&token=***&y=2"),
            ("%74ok%65n=s3cret", "%74ok%65n=***"),
            ("token=s3cret;token=s3cret", "token=***;token=***"),
            ("a[token]=s3cret", "a[token]=***"),
            ("token=", "token="),
            ("q=token", "q=token"),
            ("tag=food&tag=art", "tag=food&tag=art"),
            ("q=mk_s3cret", "q=***"),
            ("", ""),
        ],
    )
    def test_secrets_are_masked(self, query: str, shown: str) -> None:
        assert masking.mask_query(query.encode()) == shown

    @given(
        name=_NAMES,
        flips=st.integers(0, 2**20),
        encoded=st.integers(0, 2**20),
        secret=_SECRETS,
        before=st.text(),
    )
    def test_no_secret_is_left(
        self, name: str, flips: int, encoded: int, secret: str, before: str
    ) -> None:
        name = _encoded(_any_case(name, flips), encoded)
        secret = f"PLANTED{secret}"
        query = f"q={quote(before)}&{name}={secret}&limit=2"
        shown = masking.mask_query(query.encode())
        assert secret not in shown
        assert shown.endswith("&limit=2")


class TestHeaders:
    @given(name=_NAMES, flips=st.integers(0, 2**20), secret=_SECRETS)
    def test_no_secret_is_left(
        self, name: str, flips: int, secret: str
    ) -> None:
        name = _any_case(name, flips)
        headers = [(name.encode(), f"Bearer {secret}".encode())]
        assert masking.mask_headers(headers) == [(name.lower(), "***")]

    def test_others_stay(self) -> None:
        headers = [(b"accept", b"text/calendar; q=0.9"), (b"host", b"[::1]:80")]
        assert masking.mask_headers(headers) == [
            ("accept", "text/calendar; q=0.9"),
            ("host", "[::1]:80"),
        ]

    def test_addresses_are_masked(self) -> None:
        headers = [(b"referer", b"https://a:s3cret@b.org/?token=s3cret&x=1")]
        ((_, shown),) = masking.mask_headers(headers)
        assert shown == "https://***@b.org/?token=***&x=1"

    def test_a_name_that_was_given(self) -> None:
        assert not masking.is_secret("X-Muster")
        masking.hide_name("X-Muster")
        assert masking.is_secret("x-muster")


class TestPaths:
    @pytest.mark.parametrize(
        "secret",
        [
            "mk_0123_abc",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
            f"{factories.UNKNOWN_ID}.family12.secret12",
            "k" * 43,
        ],
    )
    def test_tokens_are_masked(self, secret: str) -> None:
        assert masking.mask_path(f"/v1/x/{secret}/y") == "/v1/x/***/y"

    @pytest.mark.parametrize(
        "path",
        [
            f"/v1/events/{factories.UNKNOWN_ID}/rsvps",
            f"/v1/events/{factories.UNKNOWN_ID}.ics",
            "/v1/events.ics",
            "/v1/users/me/calendar",
        ],
    )
    def test_ids_stay(self, path: str) -> None:
        assert masking.mask_path(path) == path


class TestTexts:
    @pytest.mark.parametrize(
        "text",
        [
            "sent to https://x.org/?reset_token=s3cretive today",
            "Authorization: Bearer s3cretive",
            "{'password': 's3cretive', 'x': 1}",
            '{"client_secret": "s3cretive"}',
            "password=s3cretive",
        ],
    )
    def test_secrets_are_masked(self, text: str) -> None:
        shown = masking.mask_text(text)
        assert "s3cretive" not in shown
        assert "***" in shown


class TestLines:
    @given(st.text())
    def test_nothing_begins_a_line(self, text: str) -> None:
        shown = masking.on_one_line(text)
        assert len(shown.splitlines()) <= 1
        assert "\x1b" not in shown
        shown.encode()

    def test_letters_of_any_script_stay(self) -> None:
        assert masking.on_one_line("李 José 🎉") == "李 José 🎉"


@given(st.lists(_PIECES, max_size=12).map("".join))
def test_no_token_is_overlooked(text: str) -> None:
    # Of what is not all ASCII, the pattern itself looks at every letter.
    assert masking.mask_text(f"ß {text}") == f"ß {masking.mask_text(text)}"
