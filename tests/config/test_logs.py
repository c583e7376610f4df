"""Logs: what is written, and what never is."""

import logging
from collections.abc import Iterator

import pytest

from config.logs import configure_logging


@pytest.fixture(name="access")
def _access(caplog: pytest.LogCaptureFixture) -> Iterator[logging.Logger]:
    """The server's log of requests."""
    log = logging.getLogger("uvicorn.access")
    filters = list(log.filters)
    configure_logging()
    with caplog.at_level(logging.INFO, "uvicorn.access"):
        yield log
    log.filters = filters


class TestSecrets:
    @pytest.mark.parametrize(
        ("query", "logged"),
        [
            ("?token=s3cret", "?token=***"),
            ("?x=1&token=s3cret&y=2", "?x=1&token=***&y=2"),
            ("?%74ok%65n=s3cret", "?%74ok%65n=***"),
            ("?token=s3cret&token=s3cret", "?token=***&token=***"),
            ("?token=", "?token=***"),
            ("?q=token", "?q=token"),
            ("", ""),
        ],
    )
    def test_are_masked(
        self,
        access: logging.Logger,
        caplog: pytest.LogCaptureFixture,
        query: str,
        logged: str,
    ) -> None:
        path = "/v1/users/me/calendar.ics"
        access.info(
            '%s - "%s %s HTTP/%s" %d',
            "127.0.0.1:5", "GET", f"{path}{query}", "1.1", 200,
        )  # fmt: skip
        assert f'"GET {path}{logged} HTTP/1.1" 200' in caplog.text
        assert "s3cret" not in caplog.text
