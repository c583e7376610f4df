"""What a request shows of who sends it."""

import pytest

from config.credentials import Credentials


def _find(*headers: tuple[str, str]) -> Credentials | None:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    return Credentials.find(raw, key_name=b"x-api-key")


class TestFind:
    def test_nothing(self) -> None:
        assert _find() is None
        assert _find(("cookie", "theme=dark"), ("accept", "*/*")) is None

    def test_authorization(self) -> None:
        assert _find(("authorization", "Bearer x")) == Credentials("Bearer x")

    def test_key_in_its_header(self) -> None:
        assert _find(("x-api-key", "mk_x")) == Credentials(key="mk_x")

    @pytest.mark.parametrize(
        "cookies",
        [
            "X-API-Key=mk_x",
            "x-api-key=mk_x",
            'theme=dark; X-API-Key="mk_x"; a=b',
            "X-API-Key-2=no;X-API-Key=mk_x",
        ],
    )
    def test_key_in_a_cookie(self, cookies: str) -> None:
        expected = Credentials(key="mk_x", is_ambient=True)
        assert _find(("cookie", cookies)) == expected

    def test_cookies_in_several_headers(self) -> None:
        found = _find(("cookie", "a=b"), ("cookie", "X-API-Key=mk_x"))
        assert found == Credentials(key="mk_x", is_ambient=True)

    def test_the_header_goes_before_the_cookie(self) -> None:
        found = _find(("cookie", "X-API-Key=mk_c"), ("x-api-key", "mk_h"))
        assert found == Credentials(key="mk_h")

    def test_the_first_of_two_headers_counts(self) -> None:
        found = _find(("authorization", "a"), ("authorization", "b"))
        assert found == Credentials("a")

    def test_without_key(self) -> None:
        found = _find(("authorization", "a"), ("cookie", "X-API-Key=mk_x"))
        assert found is not None
        assert found.without_key() == Credentials("a")
