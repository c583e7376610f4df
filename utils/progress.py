"""Progress: what a process says about how far it is.

Owns no collection. May call: nobody. A process calls `progress(0.4, "…")` as
often as it likes: a call overwrites one short record in a file, which whoever
watches looks at twice a second. So a loop that reports each of its million
steps floods nobody. Outside of a task it does nothing.
"""

import json
import os
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Final

# A record is written at one stroke, padded: a longer one leaves nothing behind.
_RECORD_BYTES: Final = 2048
_MESSAGE_CHARACTERS: Final = 200


class _Sink:
    """Where this process reports to; -1 for nowhere."""

    file = -1


def progress(share: float, message: str = "") -> None:
    """Says how far the task is.

    Args:
        share: what is done, from 0 to 1.
        message: what is being done, a short line.
    """
    if _Sink.file < 0:
        return
    done = min(max(float(share), 0.0), 1.0) if isfinite(share) else 0.0
    record = json.dumps(
        [done, message[:_MESSAGE_CHARACTERS]],
        ensure_ascii=False,
    )
    os.pwrite(_Sink.file, record.encode().ljust(_RECORD_BYTES), 0)


def report_to(path: Path) -> None:
    """Has what this process says written to a new file."""
    stop_reporting()
    _Sink.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)


def stop_reporting() -> None:
    """Has what this process says written nowhere."""
    if _Sink.file >= 0:
        os.close(_Sink.file)
        _Sink.file = -1


def read_report(path: Path) -> tuple[float, str] | None:
    """What was said last; None where nothing was, or half of it is seen."""
    with suppress(OSError, ValueError, TypeError):
        share, message = json.loads(path.read_bytes())
        return float(share), str(message)
    return None
