"""Ports: whether something answers at one."""

import asyncio
from contextlib import suppress
from typing import Final

_PATIENCE_SECONDS: Final = 1.0
_REQUEST: Final = b"GET / HTTP/1.0\r\n\r\n"


async def answers(host: str, port: int) -> bool:
    """Whether somebody speaks or listens there.

    To connect is not enough: an engine's own proxy takes every connection, and
    closes it at once where nothing listens behind it.
    """
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    try:
        writer.write(_REQUEST)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return bool(await reader.read(1))
    except TimeoutError:
        # It listens still, and may speak something else.
        return True
    except OSError:
        return False
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
