"""Downloads: answers GET by bytes that never change, whole or in part.

RFC 9110, sections 13 (conditions) and 14 (ranges).
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

from fastapi import status
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.responses import Response

from config.etags import etags_in
from config.ranges import UnsatisfiableRangeError, find_range
from models.exceptions import RangeNotSatisfiableError

# A year, which is for ever. What a member sent is shown, and never run.
_HEADERS: Final = {
    "Accept-Ranges": "bytes",
    "Cache-Control": "public, max-age=31536000, immutable",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    # Pages of other sites show it.
    "Cross-Origin-Resource-Policy": "cross-origin",
}
_BYTES: Final = {"schema": {"type": "string", "format": "binary"}}


class Conditions(BaseModel):
    """What of the bytes a client needs."""

    if_none_match: str = Field(
        "", description="The ETag of what you have: 304 when it is this."
    )
    range: str = Field(
        "",
        description="One range of bytes: 206 with that part.",
        examples=["bytes=0-1023"],
    )
    if_range: str = Field(
        "", description="With `Range`: the ETag of what you have a part of."
    )


def responses(media_types: Sequence[str]) -> dict[int | str, dict[str, Any]]:
    """What a route declares that answers by `answer`."""
    content = {media_type: _BYTES for media_type in media_types}
    return {
        200: {"description": "The whole.", "content": content},
        206: {"description": "The range asked for.", "content": content},
        304: {"description": "You have it."},
    }


def answer(
    asked: Conditions,
    *,
    etag: str,
    media_type: str,
    length: int,
    read: Callable[[int, int], AsyncIterator[bytes]],
) -> Response:
    """What a client gets of `length` bytes.

    Args:
        asked: what it asked for.
        etag: the name of the bytes.
        media_type: what they are.
        length: how many there are.
        read: yields the bytes from one position to before another.

    Raises:
        RangeNotSatisfiableError: it asked for none of them.
    """
    headers = {**_HEADERS, "ETag": etag}
    known = etags_in(asked.if_none_match)
    if etag in known or "*" in known:
        return Response(
            status_code=status.HTTP_304_NOT_MODIFIED, headers=headers
        )
    part = None
    if asked.if_range in ("", etag):
        try:
            part = find_range(asked.range, length)
        except UnsatisfiableRangeError:
            raise RangeNotSatisfiableError(length) from None
    code = status.HTTP_200_OK
    if part is None:
        part = range(length)
    else:
        code = status.HTTP_206_PARTIAL_CONTENT
        headers["Content-Range"] = (
            f"bytes {part.start}-{part.stop - 1}/{length}"
        )
    headers["Content-Length"] = str(len(part))
    return StreamingResponse(
        read(part.start, part.stop),
        status_code=code,
        headers=headers,
        media_type=media_type,
    )
