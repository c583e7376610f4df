"""Stamps: whether something was changed, seen by a machine's processes at once.

All of them map one file into memory: many slots, each with a stamp. What can
change has a tag, such as `event:1234`, and a tag has a slot. Whoever changes it
puts a new stamp there; whoever remembers the stamp from before it looked knows
at any time, in a microsecond, whether what it saw is still so.

A stamp is a random number. Of counters, two that are raised at once may bring
back a number that somebody remembers. Tags may share a slot: what is changed
then ends more than it must, and never less.
"""

import mmap
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from zlib import crc32

# Half a megabyte: among 65 536 slots, a thousand busy tags hardly ever meet.
_COUNT: Final = 1 << 16
_STAMP_BYTES: Final = 8
_FILE_BYTES: Final = _COUNT * _STAMP_BYTES

# The first two slots are no tag's: one is for all, one names the machine.
_ALL: Final = 0
_MACHINE: Final = 1
_FIRST: Final = 2

Slots = tuple[int, ...]


def slots_of(tags: Iterable[str]) -> Slots:
    """Where the stamps are that something with these tags hangs on."""
    return _ALL, *map(_slot_of, tags)


class Stamps:
    """The stamps of a machine.

    Args:
        path: the file; its folder is made where it is missing.

    Raises:
        OSError: it can't be made, written or held on the disk.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _reserve(file)
            mapped = mmap.mmap(file, _FILE_BYTES)
        finally:
            os.close(file)
        self._stamps = memoryview(mapped).cast("Q")
        if self._stamps[_MACHINE] == 0:
            self._stamps[_MACHINE] = _new_stamp()

    @property
    def machine(self) -> int:
        """A number that all processes of this machine share, and no other."""
        return self._stamps[_MACHINE]

    def read(self, slots: Slots) -> tuple[int, ...]:
        """The stamps that are there now."""
        return tuple(map(self._stamps.__getitem__, slots))

    def renew(self, tags: Iterable[str]) -> None:
        """Ends what hangs on any of these tags, in every process."""
        for tag in tags:
            self._stamps[_slot_of(tag)] = _new_stamp()

    def renew_all(self) -> None:
        """Ends all that hangs on any tag, in every process."""
        self._stamps[_ALL] = _new_stamp()


def _slot_of(tag: str) -> int:
    return _FIRST + crc32(tag.encode()) % (_COUNT - _FIRST)


def _new_stamp() -> int:
    return secrets.randbits(8 * _STAMP_BYTES)


def _reserve(file: int) -> None:
    """Makes the file long enough; what others wrote into it stays.

    A page that the disk has no room for would kill whoever writes to it.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, _FILE_BYTES)
    elif os.fstat(file).st_size < _FILE_BYTES:
        os.ftruncate(file, _FILE_BYTES)
