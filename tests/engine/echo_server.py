"""Runs in a container, of whose Python only the standard library is there.

A stream of events at `/events`, an echo of WebSockets at `/socket`, and what it
was asked at every other path.
"""

import asyncio
import base64
import hashlib
import json
import struct
import sys

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


async def serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answers one request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *rest = head.strip().split("\r\n")
    path = line.split(" ")[1]
    pairs = (each.split(": ", 1) for each in rest)
    headers = {name.lower(): value for name, value in pairs}
    if path.endswith("/socket"):
        await echo(reader, writer, headers["sec-websocket-key"])
    elif path.endswith("/events"):
        writer.write(
            b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        )
        for number in range(1000):
            writer.write(f"data: {number}\n\n".encode())
            await writer.drain()
            await asyncio.sleep(0.1)
    else:
        body = json.dumps({"path": path, "headers": headers}).encode()
        length = f"Content-Length: {len(body)}\r\n\r\n".encode()
        writer.write(b"HTTP/1.1 200 OK\r\n" + length + body)
    writer.close()


async def echo(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str
) -> None:
    """Sends every message of less than 126 bytes back (RFC 6455)."""
    digest = hashlib.sha1((key + MAGIC).encode()).digest()
    accept = base64.b64encode(digest).decode()
    writer.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    while True:
        first, second = await reader.readexactly(2)
        mask = await reader.readexactly(4)
        masked = await reader.readexactly(second & 127)
        data = bytes(b ^ mask[i % 4] for i, b in enumerate(masked))
        writer.write(struct.pack("BB", first, len(data)) + data)
        if first & 15 == 8:
            return


async def main() -> None:
    """Serves until the container ends."""
    server = await asyncio.start_server(serve, "0.0.0.0", int(sys.argv[1]))
    await server.serve_forever()


asyncio.run(main())
