"""Muster, with a few requests that last as long as a test wants.

What happened to them stands in files of the folder LASTING_FOLDER.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app import app

_FOLDER = Path(os.environ["LASTING_FOLDER"])


async def _last(request: Request) -> Response:
    """Waits until the file `go-on` is there."""
    name = request.query_params["name"]
    (_FOLDER / f"{name}-begun").touch()
    try:
        while not (_FOLDER / "go-on").exists():
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        (_FOLDER / f"{name}-cancelled").touch()
        raise
    (_FOLDER / f"{name}-done").touch()
    return Response("done")


async def _stream(_request: Request) -> Response:
    """Sends a line, and then nothing for an hour."""

    async def lines() -> AsyncIterator[str]:
        try:
            yield "data: 1\n\n"
            await asyncio.sleep(3600)
        finally:
            (_FOLDER / "stream-ended").touch()

    return StreamingResponse(lines(), media_type="text/event-stream")


app.add_route("/lasting", _last, methods=["GET", "POST"])
app.add_route("/stream", _stream, methods=["GET"])
