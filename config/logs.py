"""Logging: one line an event, with the request that it belongs to."""

import logging

from config.origin import origin_of_task


class _RequestIdFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = origin_of_task.get().request_id
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
    log = logging.getLogger("muster")
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
