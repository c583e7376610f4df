"""Logging: one line an event, with the request that it belongs to."""

import logging
import re
from typing import Final

from config.origin import origin_of_task

# A name may be written with escapes, by which nobody is fooled but a filter.
_TOKEN: Final = re.compile(
    r"([?&](?:t|%74)(?:o|%6F)(?:k|%6B)(?:e|%65)(?:n|%6E)=)[^&\s]*",
    re.IGNORECASE,
)


class _RequestIdFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = origin_of_task.get().request_id
        return True


class _SecretFilter(logging.Filter):
    """Masks what opens a member's calendar in the addresses of requests."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                _TOKEN.sub(r"\1***", arg) if isinstance(arg, str) else arg
                for arg in record.args
            )
        return True


def configure_logging() -> None:
    """Sends Muster's log lines to stderr, each with its request id."""
    handler = logging.StreamHandler()
    handler.addFilter(_RequestIdFilter())
    handler.setFormatter(
        logging.Formatter(
            "%(asctime)s %(levelname)s [%(request_id)s] %(name)s: %(message)s"
        )
    )
    # Requests are logged by the server, under its own name.
    logging.getLogger("uvicorn.access").addFilter(_SecretFilter())
    log = logging.getLogger("muster")
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
