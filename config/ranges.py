"""Ranges: which part of an answer a Range header asks for."""

import re
from typing import Final

_RANGE: Final = re.compile(
    r"bytes=[ \t]*(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))",
    re.IGNORECASE,
)


class UnsatisfiableRangeError(Exception):
    """There are none of the bytes that are asked for."""


def find_range(header: str, length: int) -> range | None:
    """The bytes that are asked for of `length`; None for the whole.

    Several ranges, other units and what is malformed may be answered by the
    whole (RFC 9110, section 14.2), and are.

    Raises:
        UnsatisfiableRangeError: they begin behind the end, or are none.
    """
    match = _RANGE.fullmatch(header.strip(" \t"))
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        found = range(max(length - int(suffix), 0), length)
    elif last is None:
        found = range(int(first), length)
    elif int(last) < int(first):
        return None
    else:
        found = range(int(first), min(int(last) + 1, length))
    if not found:
        raise UnsatisfiableRangeError
    return found
