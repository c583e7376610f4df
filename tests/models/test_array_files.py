"""Array files: what NumPy writes is read, whatever lies is refused."""

import io
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from models.array_files import (
    MOST_MEMBERS,
    ArrayError,
    read_npy,
    read_npz,
    write_npy,
)

LIMIT = 1024 * 1024

Array = np.ndarray[Any, np.dtype[Any]]

_DTYPES = (
    hn.boolean_dtypes()
    | hn.integer_dtypes(endianness="?")
    | hn.unsigned_integer_dtypes(endianness="?")
    | hn.floating_dtypes(endianness="?", sizes=(16, 32, 64))
    | hn.complex_number_dtypes(endianness="?", sizes=(64, 128))
)
arrays = hn.arrays(
    _DTYPES, hn.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
)


def saved(array: object, **options: Any) -> bytes:
    """What NumPy writes."""
    buffer = io.BytesIO()
    np.save(buffer, array, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def zipped(**members: Any) -> bytes:
    """What NumPy writes of several arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **members)
    return buffer.getvalue()


def headed(text: str, data: bytes = b"", *, version: int = 1) -> bytes:
    """A `.npy` whose header says `text`."""
    header = text.encode("latin-1")
    width = "<H" if version == 1 else "<I"
    return (
        b"\x93NUMPY"
        + bytes([version, 0])
        + struct.pack(width, len(header))
        + header
        + data
    )


def said(descr: str, shape: str) -> str:
    """A header's text."""
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


def read(data: bytes, *, limit_bytes: int = LIMIT) -> Array:
    """The array in some bytes."""
    return read_npy(io.BytesIO(data), limit_bytes=limit_bytes)


def same(one: Array, two: Array) -> bool:
    """Whether arrays are equal in type, shape and every bit."""
    return (
        one.dtype == two.dtype
        and one.shape == two.shape
        and one.tobytes() == two.tobytes()
    )


@contextmanager
def little_memory(limit_bytes: int = 8 * LIMIT) -> Iterator[None]:
    """Fails when the block takes more memory than that at any moment."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit_bytes
    finally:
        tracemalloc.stop()


class TestNpy:
    @given(array=arrays, fortran=st.booleans())
    def test_what_numpy_writes_is_read(
        self, array: Array, fortran: bool
    ) -> None:
        if fortran:
            array = np.asfortranarray(array)
        found = read(saved(array))
        assert same(found, array)
        assert found.flags.f_contiguous == array.flags.f_contiguous

    @given(array=arrays, reverse=st.booleans())
    def test_what_is_written_numpy_reads(
        self, array: Array, reverse: bool
    ) -> None:
        if reverse:
            # Strides of which no file knows.
            array = array[..., ::-1].T if array.ndim else array
        buffer = io.BytesIO()
        write_npy(array, buffer)
        buffer.seek(0)
        assert same(np.load(buffer, allow_pickle=False), array)

    @pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
    def test_all_versions(self, version: tuple[int, int]) -> None:
        buffer = io.BytesIO()
        array = np.arange(3.0)
        np.lib.format.write_array(buffer, array, version=version)
        assert same(read(buffer.getvalue()), array)

    def test_other_writers_headers(self) -> None:
        text = '{"shape":(2,),"fortran_order":False,"descr":"<i2"}\n'
        assert read(headed(text, b"\1\0\2\0")).tolist() == [1, 2]

    def test_a_file_is_mapped(self) -> None:
        with TemporaryFile() as file:
            np.save(file, np.ones(4 * LIMIT))
            with little_memory(LIMIT // 4):
                array = read_npy(file, limit_bytes=64 * LIMIT)
                assert array[-1] == 1.0
            assert not array.flags.writeable
            with little_memory(LIMIT // 2), TemporaryFile() as copy:
                write_npy(array, copy)
                assert copy.tell() == 32 * LIMIT + 128

    @pytest.mark.parametrize(
        "array, message",
        [
            (np.array([{}], dtype=object), "Python objects are never read"),
            (np.array(["text"]), "arrays of <U4 are not read"),
            (np.array([b"text"]), r"arrays of \|S4 are not read"),
            (np.zeros(2, "V3"), r"arrays of \|V3 are not read"),
            (np.zeros(2, "f8,i4"), "only plain arrays"),
            (np.zeros(2, "M8[s]"), "only plain arrays"),
            (np.zeros(2, np.longdouble), "no numbers"),
        ],
    )
    def test_other_types_are_refused(self, array: Array, message: str) -> None:
        with pytest.raises(ArrayError, match=message):
            read(saved(array))

    def test_nothing_is_unpickled(self, tmp_path: Path) -> None:
        class Trap:
            def __reduce__(self) -> tuple[Any, ...]:
                return (tmp_path.joinpath("sprung").touch, ())

        for data in (
            saved(np.array([Trap()], dtype=object), allow_pickle=True),
            headed(said("'|O'", "(1,)"), pickle.dumps(Trap())),
            pickle.dumps(Trap()),
        ):
            with pytest.raises(ArrayError):
                read(data)
        with pytest.raises(ArrayError):
            read_npz(
                io.BytesIO(zipped(a=np.array([Trap()], dtype=object))),
                limit_bytes=LIMIT,
            )
        assert not tmp_path.joinpath("sprung").exists()

    @pytest.mark.parametrize(
        "shape",
        [
            "(1000000000000,)",
            "(1048576, 1048576, 1048576)",
            "(99999999999999999999999999,)",
            "(0, 9999999999999999999)",
            "(131073,)",
        ],
    )
    def test_a_lying_header_takes_no_memory(self, shape: str) -> None:
        with little_memory(), pytest.raises(ArrayError):
            read(headed(said("'<f8'", shape), b"x" * 100))

    def test_the_limit_is_exact(self) -> None:
        data = saved(np.zeros(1000, np.uint8))
        assert read(data, limit_bytes=1000).nbytes == 1000
        with pytest.raises(ArrayError, match="999 bytes at most.* 1000"):
            read(data, limit_bytes=999)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\x93NUMPY",
            b"\x93NUMPY\x01\x00",
            b"\x93NUMPY\x09\x00" + bytes(100),
            headed("x" * 5000),
            headed("x" * 5000, version=2),
            b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
            headed(""),
            headed("{}"),
            headed("{'descr': '<f8'}"),
            headed(said("'<f8'", "(2,)"), bytes(15)),
            headed(said("'<f8'", "(2,)"), bytes(17)),
            headed(said("'<f8'", "(-1,)")),
            headed(said("'<f8'", "(1,,2)"), bytes(16)),
            headed(said("'<f9'", "(1,)"), bytes(9)),
            headed(said("'?8'", "(1,)"), bytes(8)),
            headed(said("'<f8'", "(" + "1," * 33 + ")"), bytes(8)),
            headed(said("'<f8'", "(1,)") + said("'<f8'", "(1,)"), bytes(8)),
            headed("(" * 4000),
            headed("__import__('os')"),
        ],
    )
    def test_broken_files_are_refused(self, data: bytes) -> None:
        with pytest.raises(ArrayError):
            read(data)

    @given(data=st.binary(max_size=300))
    def test_garbage(self, data: bytes) -> None:
        with pytest.raises(ArrayError):
            read(data)

    @given(
        array=arrays,
        at=st.integers(0, 200),
        change=st.binary(min_size=1, max_size=4),
    )
    @example(array=np.zeros(3), at=8, change=b"\xff\xff")
    def test_a_damaged_file(
        self, array: Array, at: int, change: bytes
    ) -> None:
        data = bytearray(saved(array))
        data[at : at + len(change)] = change
        _read_or_refuse(bytes(data))

    @given(text=st.from_regex(r"\{('descr': '[<>|=]?[a-zA-Z?][0-9]{0,3}', )?"
                              r"('fortran_order': (True|False), )?"
                              r"('shape': \([0-9, ]{0,40}\), )?\}",
                              fullmatch=True))  # fmt: skip
    def test_made_up_headers(self, text: str) -> None:
        _read_or_refuse(headed(text, bytes(64)))


def _read_or_refuse(data: bytes) -> None:
    """Reads it within memory, or refuses it with an error of ours."""
    try:
        array = read(data)
    except ArrayError:
        return
    assert array.nbytes <= len(data)


def _npz(data: bytes, *, limit_bytes: int = LIMIT) -> dict[str, Array]:
    return read_npz(io.BytesIO(data), limit_bytes=limit_bytes)


def _archive(members: dict[str, bytes], method: int = 8) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


class TestNpz:
    @given(members=st.dictionaries(st.sampled_from("abc"), arrays, max_size=3))
    def test_what_numpy_writes_is_read(
        self, members: dict[str, Array]
    ) -> None:
        found = _npz(zipped(**members))
        assert found.keys() == members.keys()
        assert all(same(found[name], members[name]) for name in members)

    def test_without_compression(self) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, np.arange(3), x=np.array(True))
        found = _npz(buffer.getvalue())
        assert found["arr_0"].tolist() == [0, 1, 2]
        assert found["x"].shape == ()

    def test_a_bomb_is_not_unpacked(self) -> None:
        """A thousandth of what it would be; its header says so."""
        bomb = zipped(a=np.zeros(64 * LIMIT, np.uint8))
        assert len(bomb) < LIMIT
        with little_memory(), pytest.raises(ArrayError, match="at most"):
            _npz(bomb)

    def test_a_bomb_that_says_less(self) -> None:
        said_short = saved(np.zeros(8)) + bytes(64 * LIMIT)
        with little_memory(66 * LIMIT):
            bomb = _archive({"a.npy": said_short})
        del said_short
        with little_memory(), pytest.raises(ArrayError, match="more behind"):
            _npz(bomb)

    def test_the_limit_is_for_all_together(self) -> None:
        data = zipped(a=np.zeros(600, np.uint8), b=np.zeros(600, np.uint8))
        assert len(_npz(data, limit_bytes=1200)) == 2
        with pytest.raises(ArrayError, match="599 bytes at most"):
            _npz(data, limit_bytes=1199)

    @pytest.mark.parametrize(
        "data, message",
        [
            (b"", "no .npz"),
            (b"PK\x05\x06", "no .npz"),
            (_archive({"a.txt": b"x"}), "'a.txt' is no .npy"),
            (_archive({"a.npy": b"x"}), "no .npy file"),
            (_archive({"a.npy": saved(np.zeros(8))[:-1]}), "ends too early"),
            (_archive({"a.npy": saved(np.zeros(8))}, 14), "NumPy's kind"),
            (
                _archive(
                    {f"{n}.npy": saved(np.zeros(1)) for n in range(101)}
                ),
                f"{MOST_MEMBERS} arrays",
            ),
            (_archive({"x" * 60_000 + ".npy": b""} | {
                "y" * 60_000 + ".npy": b""}), "directory is too long"),
        ],
    )  # fmt: skip
    def test_other_archives_are_refused(
        self, data: bytes, message: str
    ) -> None:
        with pytest.raises(ArrayError, match=message):
            _npz(data)

    def test_two_of_one_name(self) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("a.npy", saved(np.zeros(1)))
            with pytest.warns(UserWarning):
                archive.writestr("a.npy", saved(np.zeros(1)))
        with pytest.raises(ArrayError, match="same name"):
            _npz(buffer.getvalue())

    @given(
        at=st.integers(0, 300),
        change=st.binary(min_size=1, max_size=6),
        from_end=st.booleans(),
        compressed=st.booleans(),
    )
    def test_a_damaged_archive(
        self, at: int, change: bytes, from_end: bool, compressed: bool
    ) -> None:
        array = np.arange(16)
        data = bytearray(_archive({"a.npy": saved(array)}, 8 * compressed))
        at = len(data) - at if from_end else at
        data[max(at, 0) : max(at, 0) + len(change)] = change
        try:
            found = _npz(bytes(data))
        except ArrayError:
            return
        assert sum(each.nbytes for each in found.values()) <= LIMIT

    @given(data=st.binary(max_size=300))
    def test_garbage(self, data: bytes) -> None:
        with pytest.raises(ArrayError):
            _npz(b"PK" + data)
