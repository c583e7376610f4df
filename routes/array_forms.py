"""Array forms: a body of JSON, or of files beside it, as a payload."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO, Any, Final

import numpy as np
from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from config.main import MAX_BODY_BYTES, settings
from models.array_files import ArrayError, read_npy, read_npz
from models.arrays import HOLE
from models.exceptions import (
    BodyTooLargeError,
    InvalidRequestError,
    UnsupportedMediaTypeError,
)
from models.payloads import Payload
from utils.process_registry import Process

JSON: Final = "application/json"
MULTIPART: Final = "multipart/form-data"

_MOST_FILES: Final = 20
_MOST_FIELDS: Final = 100
_ZIP_MAGIC: Final = b"PK"
_PYTHONS: Final = {"True": "true", "False": "false", "None": "null"}


@asynccontextmanager
async def payload_of(
    request: Request, process: Process
) -> AsyncIterator[Payload]:
    """The body of a submission; its files are there within the block.

    Files come to disk piece by piece while they are received, and are mapped
    from there.

    Raises:
        BodyTooLargeError: the JSON is longer than other bodies may be.
        UnsupportedMediaTypeError: it is neither JSON nor a form.
        InvalidRequestError: a part is no array, or of no argument.
    """
    sent = request.headers.get("content-type", "").partition(";")[0].strip()
    match sent.lower():
        case "application/json" | "":
            yield Payload(await _json(request))
        case "multipart/form-data":
            form = request.form(
                max_files=_MOST_FILES,
                max_fields=_MOST_FIELDS,
                max_part_size=MAX_BODY_BYTES,
            )
            async with form as parts:
                yield await asyncio.to_thread(_of_form, parts, process)
        case _:
            raise UnsupportedMediaTypeError(f"{JSON} or {MULTIPART}")


async def _json(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLargeError(MAX_BODY_BYTES)
    # A process without arguments needs no body.
    return bytes(body) or b"{}"


def _of_form(parts: FormData, process: Process) -> Payload:
    arrays: list[np.ndarray] = []
    arguments: dict[str, Any] = {}

    def add(name: str, value: Any) -> None:
        if name in arguments:
            raise InvalidRequestError.at("body", name, msg="it comes twice")
        arguments[name] = value

    def hole(array: np.ndarray) -> dict[str, int]:
        arrays.append(array)
        if sum(each.nbytes for each in arrays) > settings.max_array_bytes:
            raise BodyTooLargeError(settings.max_array_bytes)
        return {HOLE: len(arrays) - 1}

    for name, part in parts.multi_items():
        if isinstance(part, str):
            add(name, _value(part))
            continue
        found = _arrays_in(name, part)
        if not isinstance(found, dict):
            add(name, hole(found))
        elif name in process.body.model_fields:
            holes = {member: hole(array) for member, array in found.items()}
            add(name, [*holes.values()][0] if len(holes) == 1 else holes)
        else:
            for member, array in found.items():
                add(member, hole(array))
    return Payload(json.dumps(arguments).encode(), arrays)


def _value(text: str) -> Any:
    """A field's JSON, or its text where it is none.

    Clients that are generated for Python send its words for true and false.
    """
    text = _PYTHONS.get(text, text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _arrays_in(
    name: str, part: UploadFile
) -> np.ndarray | dict[str, np.ndarray]:
    file: IO[bytes] = part.file
    file.seek(0)
    beginning = file.read(2)
    try:
        if beginning == _ZIP_MAGIC:
            return read_npz(file, limit_bytes=settings.max_array_bytes)
        return read_npy(file, limit_bytes=settings.max_array_bytes)
    except ArrayError as error:
        raise InvalidRequestError.at("body", name, msg=str(error)) from None
