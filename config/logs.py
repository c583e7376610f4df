"""Logging: one line an event, with the request and the member it belongs to.

Text for people, JSON for machines; to stderr, and to LOG_FILE where it is set.
What a line says is masked, and stays one line: only the trace of an exception
has more, each of which begins with a bar that no line begins with.
"""

import json
import logging
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

from config import masking
from config.log_files import LineHandler, RotatingFile
from config.origin import Origin, origin_of_task
from config.settings import LogFormat, Settings

# Those who write about requests, and about what serves them.
_LOGGERS: Final = ("muster", "uvicorn.error")
_MUSTER: Final = logging.getLogger("muster")
_ACCESS: Final = logging.getLogger("muster.access")
_TO_JSON: Final = json.JSONEncoder(separators=(",", ":"), default=str).encode

Fields = dict[str, object]


class _AccessRecord(logging.LogRecord):
    """A request that is over, for handlers that are not Muster's own."""

    def __init__(self, origin: Origin) -> None:
        path, query = _asked(origin)
        super().__init__(
            _ACCESS.name,
            logging.INFO,
            __file__,
            0,
            "%s %s %s %s ms",
            (
                origin.scope["method"],
                f"{path}?{query}" if query else path,
                origin.status,
                _milliseconds(origin.seconds),
            ),
            None,
        )
        self.origin = origin


class TextLines(logging.Formatter):
    """Lines for people."""

    def format(self, record: logging.LogRecord) -> str:
        """What a logger was told, on one line, and the trace below it."""
        if isinstance(record, _AccessRecord):
            return self.access_line(record.origin)
        line = self.line(
            record.created,
            record.levelname,
            record.name,
            masking.on_one_line(masking.mask_text(record.getMessage())),
        )
        trace = _trace_of(record)
        if trace:
            lines = map(masking.on_one_line, trace.split("\n"))
            line = "\n  | ".join((line, *lines))
        return line

    def line(self, at: float, level: str, name: str, message: str) -> str:
        """A line with the request that this task works for."""
        origin = origin_of_task.get()
        member_id = origin.member_id
        who = f" {member_id}" if member_id else ""
        return (
            f"{_stamp(at)} {level} [{origin.request_id}{who}] {name}: {message}"
        )

    def access_line(self, origin: Origin) -> str:
        """A line about a request that is over."""
        path, query = _asked(origin)
        asked = f"{path}?{query}" if query else path
        return self.line(
            origin.answered_at,
            "INFO",
            _ACCESS.name,
            f"{origin.scope['method']} {asked} {origin.status} "
            f"{_milliseconds(origin.seconds)} ms {origin.size} B "
            f"{origin.command_count} commands "
            f"{_milliseconds(origin.command_seconds)} ms "
            f"{origin.address or '-'} {origin.route or '-'}",
        )


class JsonLines(TextLines):
    """Lines for machines."""

    def format(self, record: logging.LogRecord) -> str:
        """What a logger was told as an object, the trace inside."""
        if isinstance(record, _AccessRecord):
            return self.access_line(record.origin)
        fields = _common(record.created, record.levelname, record.name)
        fields["message"] = masking.mask_text(record.getMessage())
        trace = _trace_of(record)
        if trace:
            fields["exception"] = trace
        return _TO_JSON(fields)

    def access_line(self, origin: Origin) -> str:
        """A request that is over, as an object."""
        path, query = _asked(origin)
        method = origin.scope["method"]
        return _TO_JSON(
            _common(origin.answered_at, "INFO", _ACCESS.name)
            | {
                "message": f"{method} {path} {origin.status}",
                "method": method,
                "path": path,
                "query": query,
                "route": origin.route,
                "status": origin.status,
                "duration_ms": _milliseconds(origin.seconds),
                "size": origin.size,
                "commands": origin.command_count,
                "database_ms": _milliseconds(origin.command_seconds),
                "address": origin.address,
            }
        )


class AccessLog:
    """Writes a line for every request.

    A logger makes a record of every call, and asks filters and handlers up to
    the root, as much work again as the line itself. That way is taken only
    where somebody has put a handler or a filter there.

    Args:
        settings: where lines go, and how they look.
    """

    def __init__(self, settings: Settings) -> None:
        self._handlers = handlers_of(settings)
        self._lines = _lines_of(settings.log_lines)

    def __call__(self, origin: Origin) -> None:
        """Writes the line of a request that is over."""
        if not _ACCESS.isEnabledFor(logging.INFO):
            return
        if (
            _ACCESS.handlers
            or _ACCESS.filters
            or _MUSTER.handlers != self._handlers
        ):
            _ACCESS.handle(_AccessRecord(origin))
            return
        line = self._lines.access_line(origin)
        for handler in self._handlers:
            handler.write(line)


def configure_logging(settings: Settings) -> None:
    """Sends the lines of Muster and of its server where `settings` say."""
    masking.hide_name(settings.api_key_name)
    for name in _LOGGERS:
        log = logging.getLogger(name)
        log.handlers = list(handlers_of(settings))
        log.propagate = False
    logging.getLogger("asyncio").handlers = list(handlers_of(settings))
    _MUSTER.setLevel(logging.INFO)
    # Requests are logged by Muster, which knows more of them: the server's own
    # lines would be the same again.
    server = logging.getLogger("uvicorn.access")
    server.handlers, server.propagate = [], False


def configure_server_logging(settings: Settings) -> None:
    """Gives gunicorn's lines the form of all others; they go to LOG_FILE too.

    Where else they go is gunicorn's own setting (`--error-logfile`).
    """
    server = logging.getLogger("gunicorn.error")
    files = handlers_of(settings)[1:]
    for handler in server.handlers:
        handler.setFormatter(_lines_of(settings.log_lines))
    server.handlers += [file for file in files if file not in server.handlers]


def handlers_of(settings: Settings) -> list[LineHandler]:
    """The handlers of this process, the same at every call."""
    return _handlers(settings.log_lines, settings.log_file)


@lru_cache
def _handlers(form: LogFormat, file: Path | None) -> list[LineHandler]:
    handlers: list[LineHandler] = [LineHandler()]
    if file is not None:
        handlers.append(RotatingFile(file))
    for handler in handlers:
        handler.setFormatter(_lines_of(form))
    return handlers


def _lines_of(form: LogFormat) -> TextLines:
    return JsonLines() if form is LogFormat.JSON else TextLines()


def _asked(origin: Origin) -> tuple[str, str]:
    """The path and the query, masked."""
    scope = origin.scope
    query = scope["query_string"]
    return (
        masking.on_one_line(masking.mask_path(scope["path"])),
        masking.on_one_line(masking.mask_query(query)) if query else "",
    )


def _common(at: float, level: str, name: str) -> Fields:
    origin = origin_of_task.get()
    return {
        "time": _stamp(at),
        "level": level,
        "logger": name,
        "request_id": origin.request_id,
        "member_id": origin.member_id,
    }


def _trace_of(record: logging.LogRecord) -> str:
    # The library's own formatter knows how, and puts the message before it.
    formatter = logging.Formatter("")
    bare = logging.makeLogRecord(
        {"exc_info": record.exc_info, "stack_info": record.stack_info}
    )
    if not record.exc_info and not record.stack_info:
        return ""
    return masking.mask_text(formatter.format(bare).lstrip("\n"))


def _milliseconds(seconds: float | None) -> float:
    return round((seconds or 0.0) * 1000, 1)


def _stamp(at: float) -> str:
    second = int(at)
    return f"{_second(second)}.{int((at - second) * 1000):03d}Z"


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
