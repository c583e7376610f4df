"""Cursors."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.base import PageQuery
from models.exceptions import InvalidRequestError
from utils import paging


class PlaceCursor(paging.Cursor):
    """A cursor of these tests' own."""

    place: int


@given(st.text(), st.text(), st.integers(-(2**63), 2**63 - 1))
def test_cursors_come_back(query: str, last_id: str, place: int) -> None:
    cursor = PlaceCursor(query=query, last_id=last_id, place=place)
    text = paging.encode(cursor)
    assert paging.decode(PlaceCursor, text, query=query) == cursor


@given(st.text())
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        paging.decode(PlaceCursor, text, query="q")


def test_fingerprints_tell_queries_apart() -> None:
    one = paging.fingerprint(PageQuery(limit=1, cursor=None), "a")
    assert one == paging.fingerprint(PageQuery(limit=2, cursor="x"), "a")
    assert one != paging.fingerprint(PageQuery(limit=1, cursor=None), "b")


@given(st.datetimes(timezones=st.just(UTC)))
def test_milliseconds_come_back(time: datetime) -> None:
    kept = time.replace(microsecond=time.microsecond // 1000 * 1000)
    number = paging.to_milliseconds(kept)
    assert paging.from_milliseconds(number) == kept


def test_no_time() -> None:
    with pytest.raises(InvalidRequestError):
        paging.from_milliseconds(10**18)
