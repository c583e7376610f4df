"""Array files: `.npy` and `.npz`, read without trust and without `pickle`.

What a file says of itself is checked before memory is taken for it, and data
are mapped from the file, not read: an array of 200 MB costs nothing until
somebody looks at it.
"""

import math
import mmap
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import UnsupportedOperation
from tempfile import TemporaryFile
from typing import IO, Final

import numpy as np

# What an archive may hold; more would only be there to keep us busy.
MOST_MEMBERS: Final = 100
MOST_DIMENSIONS: Final = 32

_WINDOW: Final = 1024 * 1024
_MAGIC: Final = b"\x93NUMPY"
# NumPy's own headers of plain arrays have 118 bytes or 54 more.
_LONGEST_HEADER: Final = 4096
_ITEM_SIZES: Final = {
    "b": (1,),
    "i": (1, 2, 4, 8),
    "u": (1, 2, 4, 8),
    "f": (2, 4, 8),
    "c": (8, 16),
}
_MEMBER: Final = (
    r"""\s*(?:(['"])descr\1\s*:\s*(['"])(?P<descr>[<>|=]?[A-Za-z?]\d*)\2"""
    r"""|(['"])fortran_order\4\s*:\s*(?P<fortran>True|False)"""
    r"""|(['"])shape\6\s*:\s*\((?P<shape>[\d\s,]*)\))\s*"""
)
_HEADER_MEMBER: Final = re.compile(_MEMBER, re.ASCII)

# The end of an archive: signature, 4 × 2 bytes of counts, the size of its
# directory, where that begins, the length of a comment. A longer archive has
# another end, which a locator before this one names.
_ZIP_END: Final = b"PK\x05\x06"
_ZIP_END_BYTES: Final = 22
_ZIP64_LOCATOR: Final = b"PK\x06\x07"
_ZIP64_LOCATOR_BYTES: Final = 20
_LONGEST_DIRECTORY: Final = 64 * 1024

_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

# What a broken archive makes the standard library raise.
_ZIP_FAULTS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    # Encryption and unknown compression.
    RuntimeError,
    ValueError,
)


class ArrayError(ValueError):
    """A file holds no array that is taken; the message says why."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a `.npy` says of itself.

    Attributes:
        dtype: the type of each number.
        shape: the lengths of the dimensions.
        fortran: whether the first index changes fastest.
        start: where the numbers begin, bytes from the beginning.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    start: int

    @property
    def data_bytes(self) -> int:
        """How long the numbers are."""
        return math.prod(self.shape) * self.dtype.itemsize

    def array(self, data: memoryview | bytes | bytearray) -> np.ndarray:
        """The array whose numbers `data` are."""
        flat: np.ndarray = np.frombuffer(data, self.dtype)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


def read_npy(file: IO[bytes], *, limit_bytes: int) -> np.ndarray:
    """The array in a `.npy`, read-only, mapped where `file` is a real one.

    Raises:
        ArrayError: there is none, it is longer than the limit, or it holds
            anything but numbers and booleans.
    """
    end = file.seek(0, 2)
    array, stop = read_npy_at(file, 0, end, limit_bytes=limit_bytes)
    if stop != end:
        raise ArrayError(f"there are {end - stop} bytes behind the array")
    return array


def read_npz(file: IO[bytes], *, limit_bytes: int) -> dict[str, np.ndarray]:
    """The arrays in a `.npz` by their names; the limit is for all together.

    They are unpacked to a file that nobody else sees, and mapped from there.

    Raises:
        ArrayError: as of `read_npy`, for each of them; or the archive is
            broken, or has more than an archive of arrays has.
    """
    try:
        _check_directory(file)
        with zipfile.ZipFile(file) as archive:
            return dict(_members(archive, limit_bytes))
    except ArrayError:
        raise
    except _ZIP_FAULTS:
        raise ArrayError("this is no .npz archive, or a broken one") from None


def write_npy(array: np.ndarray, file: IO[bytes]) -> None:
    """Writes `array` in pieces; what it is mapped from is let go of at once."""
    said = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(file, said)
    flat = (array.T if said["fortran_order"] else array).reshape(-1)
    data = np.ascontiguousarray(flat).view(np.uint8)
    mapping = _mapping_of(array)
    for at in range(0, len(data), _WINDOW):
        file.write(data[at : at + _WINDOW].data)
        if mapping is not None:
            mapping.madvise(mmap.MADV_DONTNEED)


def read_npy_at(
    file: IO[bytes],
    start: int,
    end: int,
    *,
    limit_bytes: int | None = None,
    own: bool = False,
) -> tuple[np.ndarray, int]:
    """The array that begins at `start`, and where it ends.

    Args:
        file: what holds it.
        start: where it begins.
        end: where `file` ends.
        limit_bytes: the longest that is taken.
        own: reads it into memory, where it can be changed.

    Raises:
        ArrayError: as of `read_npy`.
    """
    file.seek(start)
    header = _read_header(file)
    size = header.data_bytes
    if limit_bytes is not None:
        _check_size(header, limit_bytes)
    begin = start + header.start
    if begin + size > end:
        raise ArrayError(
            f"the array ends too early: {end - begin} bytes of {size}"
        )
    data = _read(file, begin, size) if own else _map(file, begin, size)
    return header.array(data), begin + size


def _read_header(file: IO[bytes]) -> Header:
    """The header at the position of `file`; at most 4 KB are read."""
    magic = file.read(8)
    if len(magic) < 8 or magic[:6] != _MAGIC:
        raise ArrayError("this is no .npy file")
    if magic[6] not in (1, 2, 3):
        raise ArrayError(f".npy files of version {magic[6]} are unknown")
    width = 2 if magic[6] == 1 else 4
    length = int.from_bytes(file.read(width), "little")
    if length > _LONGEST_HEADER:
        raise ArrayError("this .npy holds records, or a broken header")
    text = file.read(length)
    if len(text) < length:
        raise ArrayError("the .npy ends in its header")
    said = _said_in(text.decode("latin-1"))
    return Header(
        dtype=_dtype_of(said["descr"]),
        shape=_shape_of(said["shape"]),
        fortran=said["fortran"] == "True",
        start=8 + width + length,
    )


def _said_in(text: str) -> dict[str, str]:
    """The three members of a header; no Python is evaluated to find them."""
    inside = text.strip()
    if not (inside.startswith("{") and inside.endswith("}")):
        raise ArrayError("the .npy has a broken header")
    said: dict[str, str] = {}
    at, end = 1, len(inside) - 1
    while at < end and (found := _HEADER_MEMBER.match(inside, at, end)):
        said |= {k: v for k, v in found.groupdict().items() if v is not None}
        at = found.end() + 1
        if not inside.startswith(",", at - 1):
            break
    if inside[at:end].strip() or len(said) != 3:
        raise ArrayError(
            "the .npy has a broken header, or one of records: only plain "
            "arrays of numbers and booleans are read"
        )
    return said


def _dtype_of(descr: str) -> np.dtype:
    kind = descr.lstrip("<>|=")[0]
    size = descr.lstrip("<>|=")[1:]
    if kind == "O":
        raise ArrayError("arrays of Python objects are never read")
    if kind not in _ITEM_SIZES:
        raise ArrayError(f"arrays of {descr} are not read: {TAKEN}")
    if not size.isdigit() or int(size) not in _ITEM_SIZES[kind]:
        raise ArrayError(f"there are no numbers {descr} here: {TAKEN}")
    return np.dtype(descr)


# What an array may hold, for people.
TAKEN: Final = (
    "an array holds booleans, whole or real numbers of up to 64 bits, or "
    "complex ones of up to 128"
)


def _shape_of(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if parts[-1] == "":
        parts.pop()
    if not all(part.isdigit() and len(part) < 20 for part in parts):
        raise ArrayError("the .npy has a broken shape")
    if len(parts) > MOST_DIMENSIONS:
        raise ArrayError(f"an array has {MOST_DIMENSIONS} dimensions at most")
    shape = tuple(map(int, parts))
    # NumPy refuses these even where another length is 0.
    if math.prod(length or 1 for length in shape) >= 2**58:
        raise ArrayError("an array of this shape fits no memory")
    return shape


def _check_size(header: Header, limit_bytes: int) -> None:
    if header.data_bytes > limit_bytes:
        raise ArrayError(
            f"an array has {limit_bytes} bytes at most, and this one has "
            f"{header.data_bytes}"
        )


def _read(file: IO[bytes], begin: int, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    file.seek(begin)
    while view:
        # Of a real file, never all at once.
        piece = file.read(min(len(view), _WINDOW))
        if not piece:
            raise ArrayError("the array ends too early")
        view[: len(piece)] = piece
        view = view[len(piece) :]
    return data


def _map(
    file: IO[bytes], begin: int, size: int
) -> memoryview | bytes | bytearray:
    """The bytes from `begin`; in memory where there is no file to map."""
    if size == 0:
        return b""
    try:
        number = file.fileno()
    except (UnsupportedOperation, AttributeError):
        return _read(file, begin, size)
    file.flush()
    mapping = mmap.mmap(number, begin + size, access=mmap.ACCESS_READ)
    return memoryview(mapping)[begin:]


def _mapping_of(array: np.ndarray) -> mmap.mmap | None:
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    return base if isinstance(base, mmap.mmap) else None


def _check_directory(file: IO[bytes]) -> None:
    """Looks at the end of an archive before the standard library does.

    It would read the whole directory into memory, however long that says
    that it is. NumPy's archives end without a comment, and without the second
    end that those of more than 4 GB have.
    """
    length = file.seek(0, 2)
    before = _ZIP64_LOCATOR_BYTES + _ZIP_END_BYTES
    file.seek(max(length - before, 0))
    tail = file.read(before)
    end = tail[-_ZIP_END_BYTES:]
    if len(end) < _ZIP_END_BYTES or not end.startswith(_ZIP_END):
        raise ArrayError("this is no .npz archive, or a broken one")
    if len(tail) == before and tail.startswith(_ZIP64_LOCATOR):
        raise ArrayError("archives of more than 4 GB are not read")
    if int.from_bytes(end[10:12], "little") > MOST_MEMBERS:
        raise ArrayError(f"an archive has {MOST_MEMBERS} arrays at most")
    if int.from_bytes(end[12:16], "little") > _LONGEST_DIRECTORY:
        raise ArrayError("the archive's directory is too long")


def _members(
    archive: zipfile.ZipFile, limit_bytes: int
) -> Iterator[tuple[str, np.ndarray]]:
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise ArrayError(f"an archive has {MOST_MEMBERS} arrays at most")
    if len({member.filename for member in members}) < len(members):
        raise ArrayError("two members of the archive have the same name")
    left = limit_bytes
    for member in members:
        name = member.filename.removesuffix(".npy")
        if name == member.filename:
            raise ArrayError(f"the archive's member {name!r} is no .npy")
        if member.compress_type not in _METHODS:
            # Others may ask for much memory to be unpacked.
            raise ArrayError("only .npz archives of NumPy's kind are read")
        with archive.open(member) as packed:
            array = _unpacked(packed, left)
        left -= array.nbytes
        yield name, array


def _unpacked(packed: IO[bytes], limit_bytes: int) -> np.ndarray:
    """The array of one member; no more is unpacked than its header says."""
    header = _read_header(packed)
    _check_size(header, limit_bytes)
    with TemporaryFile() as file:
        left = header.data_bytes
        while left:
            piece = packed.read(min(left, _WINDOW))
            if not piece:
                raise ArrayError("an array in the archive ends too early")
            file.write(piece)
            left -= len(piece)
        # The last read also compares the checksum.
        if packed.read(1):
            raise ArrayError("there is more behind an array in the archive")
        return header.array(_map(file, 0, header.data_bytes))
