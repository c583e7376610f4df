"""Payloads: arguments and results as they travel and are kept.

A payload is JSON text in which arrays left holes, `{"$array": 0}`, and the
arrays, each as `.npy`. Nothing in it is ever unpickled.
"""

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import IO, Any, Final, Self

import numpy as np

from models.array_files import ArrayError, read_npy_at, write_npy
from models.arrays import HOLE

_MAGIC: Final = b"MUSTER\x01\n"
# How long the text is, and how many arrays follow it.
_LENGTHS: Final = struct.Struct("<QI")


class PayloadError(Exception):
    """What is read is no payload."""


@dataclass(frozen=True, slots=True)
class Payload:
    """Arguments of a task, or its result.

    Attributes:
        text: the JSON, with holes.
        arrays: what belongs into the holes, by their numbers. Those of a file
            are mapped: they take no memory until they are looked at.
    """

    text: bytes
    arrays: Sequence[np.ndarray] = field(default=())

    def write_to(self, file: IO[bytes]) -> None:
        """Writes it to `file` in pieces; no array is in memory whole."""
        file.write(_MAGIC + _LENGTHS.pack(len(self.text), len(self.arrays)))
        file.write(self.text)
        for array in self.arrays:
            write_npy(array, file)

    @classmethod
    def read_from(cls, file: IO[bytes], *, own: bool = False) -> Self:
        """The payload that `file` holds, from its beginning to its end.

        Args:
            file: what `write_to` wrote.
            own: takes the arrays into memory, where they can be changed; else
                they are mapped from the file, read-only.

        Raises:
            PayloadError: the file is damaged, or something else.
        """
        file.seek(0)
        head = file.read(len(_MAGIC) + _LENGTHS.size)
        if len(head) < len(_MAGIC) + _LENGTHS.size or head[:8] != _MAGIC:
            raise PayloadError("this is no payload")
        length, count = _LENGTHS.unpack(head[len(_MAGIC) :])
        end = file.seek(0, 2)
        at = len(head) + length
        if at > end:
            raise PayloadError("the payload ends too early")
        file.seek(len(head))
        text = file.read(length)
        arrays = []
        for _ in range(count):
            try:
                array, at = read_npy_at(file, at, end, own=own)
            except ArrayError as error:
                raise PayloadError(str(error)) from None
            arrays.append(array)
        if at != end:
            raise PayloadError("the payload goes on after its end")
        return cls(text, arrays)

    def to_bytes(self) -> bytes:
        """What `write_to` writes."""
        buffer = BytesIO()
        self.write_to(buffer)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The payload that `to_bytes` made.

        Raises:
            PayloadError: the bytes are damaged, or something else.
        """
        return cls.read_from(BytesIO(data))

    def names(self) -> dict[str, int]:
        """Where the arrays are: `amplitudes`, `peaks.0`, `` for the whole."""
        return dict(_holes(json.loads(self.text), ()))

    def array(self, name: str | None = None) -> np.ndarray | None:
        """The array at `name`, by default the first; None where is none."""
        names = self.names()
        if name is None:
            name = next(iter(names), "")
        number = names.get(name)
        return None if number is None else self.arrays[number]


def _holes(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    if isinstance(value, dict):
        if list(value) == [HOLE]:
            yield ".".join(path), int(value[HOLE])
            return
        members = iter(value.items())
    elif isinstance(value, list):
        members = enumerate(value)
    else:
        return
    for name, member in members:
        yield from _holes(member, (*path, str(name)))
