"""Ranges of bytes, against slices."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.ranges import UnsatisfiableRangeError, find_range

positions = st.integers(0, 300)
lengths = st.integers(1, 200)


def _find(header: str, length: int) -> list[int] | None:
    found = find_range(header, length)
    return None if found is None else list(found)


class TestFindRange:
    @given(positions, positions, lengths)
    @example(0, 0, 1)
    @example(199, 300, 200)
    def test_from_to(self, first: int, last: int, length: int) -> None:
        header = f"bytes={first}-{last}"
        wanted = list(range(length))[first : last + 1]
        if last < first:
            assert _find(header, length) is None
        elif wanted:
            assert _find(header, length) == wanted
        else:
            with pytest.raises(UnsatisfiableRangeError):
                find_range(header, length)

    @given(positions, lengths)
    def test_from(self, first: int, length: int) -> None:
        if first < length:
            wanted = list(range(length))[first:]
            assert _find(f"bytes={first}-", length) == wanted
        else:
            with pytest.raises(UnsatisfiableRangeError):
                find_range(f"bytes={first}-", length)

    @given(st.integers(1, 300), lengths)
    def test_the_last(self, count: int, length: int) -> None:
        assert _find(f"bytes=-{count}", length) == list(range(length))[-count:]

    def test_none_of_the_last(self) -> None:
        with pytest.raises(UnsatisfiableRangeError):
            find_range("bytes=-0", 10)

    @pytest.mark.parametrize(
        "header", ["Bytes=1-2", "bytes= 1-2", " bytes=1-2"]
    )
    def test_other_spellings(self, header: str) -> None:
        assert _find(header, 10) == [1, 2]

    @pytest.mark.parametrize(
        "header",
        [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes=--1",
            "bytes=1-2-3",
            "bytes=0-1,4-5",
            "bytes=0-1, 4-5",
            "lines=1-2",
            "bytes=+1-2",
            "bytes=1.0-2",
            "bytes=\u0661-2",
            f"bytes=0-{'9' * 5000}",
        ],
    )
    def test_may_be_ignored(self, header: str) -> None:
        assert find_range(header, 10) is None

    @given(st.text(), lengths)
    def test_anything(self, header: str, length: int) -> None:
        try:
            found = find_range(header, length)
        except UnsatisfiableRangeError:
            return
        assert found is None or 0 <= found.start < found.stop <= length
