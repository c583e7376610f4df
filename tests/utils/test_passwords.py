"""Passwords: which are refused, and how many are hashed at once."""

import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils import passwords

_MOST = 2


@pytest.mark.parametrize("common", ["123456", "QwErTy", "geekboy"])
def test_the_first_and_the_last_of_the_list_are_common(common: str) -> None:
    assert passwords.is_common(common)


@pytest.mark.parametrize(
    "rare", ["", "\n", "geekbo", "eekboy", "123456password", "123456\npassword"]
)
def test_parts_and_pairs_are_not(rare: str) -> None:
    assert not passwords.is_common(rare)


@given(st.lists(st.sampled_from(["123456", "password", "geekboy"]), min_size=2))
def test_nor_are_several_lines(lines: list[str]) -> None:
    assert not passwords.is_common("\n".join(lines))


async def test_few_threads_hash() -> None:
    """Each that ever did keeps as much memory as a hash takes."""
    before = set(threading.enumerate())
    await asyncio.gather(
        *(passwords.hash_password("correct horse") for _ in range(8)),
        *(passwords.verify_password("correct horse", None) for _ in range(8)),
    )
    mine = [
        thread
        for thread in threading.enumerate()
        if thread.name.startswith("passwords")
    ]
    assert 1 <= len(mine) <= _MOST
    assert set(threading.enumerate()) <= before | set(mine)
