"""Log files: lines of several processes, in files that are rotated.

Every line is one `write` to a file that was opened for appending: the kernel
puts each behind the last one, whole. Whoever notices that the file is full, and
gets the lock without waiting, renames it; all look at the name before they
write, and follow to the new file. A line that was on its way meanwhile stands
at the end of the renamed one: none is lost, none torn, and a process that was
killed holds nobody up, as its lock goes with it.
"""

import fcntl
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

MOST_BYTES: Final = 10 * 1000 * 1000
MOST_FILES: Final = 5

_STDERR: Final = 2


class LineHandler(logging.Handler):
    """Writes lines, each in one piece."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes what a logger was told."""
        try:
            self.write(self.format(record))
        except Exception:  # pylint: disable=broad-exception-caught
            # Whoever logs has something else to do; the library says it.
            self.handleError(record)

    def write(self, line: str) -> None:
        """Writes `line`, which has no line break at its end, to stderr."""
        _write_all(_STDERR, _bytes_of(line))


class RotatingFile(LineHandler):
    """Writes lines into a file; the older ones are `NAME.1`, `NAME.2`, ….

    Args:
        path: the file; its folder must exist, and be this machine's own.
        most_bytes: a file that has as many is renamed.
        most_files: how many files are kept.
    """

    def __init__(
        self,
        path: Path,
        *,
        most_bytes: int = MOST_BYTES,
        most_files: int = MOST_FILES,
    ) -> None:
        super().__init__()
        self._path = str(path)
        self._most_bytes = most_bytes
        self._most_files = most_files
        self._file = _open(self._path)
        self._known = os.fstat(self._file)

    def write(self, line: str) -> None:
        """Appends `line` to the file that has the name now."""
        data = _bytes_of(line)
        # Another thread could close the file between the look and the writing.
        self.acquire()
        try:
            self._follow()
            _write_all(self._file, data)
        finally:
            self.release()

    def close(self) -> None:
        """Closes the file."""
        self.acquire()
        try:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
        finally:
            self.release()
        super().close()

    def _follow(self) -> None:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            self._reopen()
            return
        if not os.path.samestat(found, self._known):
            self._reopen()
        elif found.st_size >= self._most_bytes:
            self._rotate()

    def _reopen(self) -> None:
        file = _open(self._path)
        os.close(self._file)
        self._file, self._known = file, os.fstat(file)

    def _rotate(self) -> None:
        """Renames the file, unless another process does."""
        lock = os.open(
            f"{self._path}.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It may have been renamed just before.
            if os.path.samestat(os.stat(self._path), self._known):
                self._rename_all()
            self._reopen()
        except (BlockingIOError, FileNotFoundError):
            # Somebody is at it: what is written now belongs to the old file.
            return
        finally:
            os.close(lock)

    def _rename_all(self) -> None:
        names = [self._path]
        names += [f"{self._path}.{n}" for n in range(1, self._most_files)]
        if len(names) == 1:
            os.unlink(self._path)
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            with suppress(FileNotFoundError):
                os.replace(newer, older)


def _open(path: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    return os.open(path, flags, 0o640)


def _bytes_of(line: str) -> bytes:
    return f"{line}\n".encode("utf-8", "backslashreplace")


def _write_all(file: int, data: bytes) -> None:
    written = os.write(file, data)
    # A pipe or a terminal that is nearly full takes a part.
    while written < len(data):
        written += os.write(file, data[written:])
