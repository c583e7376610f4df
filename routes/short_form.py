"""Short form: one array in, one result out, in two paths."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryFile
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, status
from fastapi.responses import JSONResponse
from starlette.responses import Response

from config.main import settings
from docs import short_form as docs
from models.array_files import ArrayError, read_npy
from models.arrays import HOLE
from models.base import ObjectId
from models.exceptions import (
    InvalidRequestError,
    NotAuthenticatedError,
    ProcessNotFoundError,
    TaskCancelledError,
    TaskFailedError,
    TaskNotFoundError,
    TooManyTasksError,
)
from models.payloads import Payload
from models.tasks import ShortPending, ShortResult, ShortSubmission
from routes.array_forms import JSON, payload_of
from routes.dependencies import MaybeUser
from routes.idempotency import SubmissionRoute, deed_of
from routes.problems import COMMON, WITH_BODY, member_problems, problems
from utils import process_registry, submissions, task_results, tasks
from utils.process_registry import Process
from utils.processes.np_array import Operation

router = APIRouter(
    tags=["Compute"],
    responses=problems(*COMMON),
    route_class=SubmissionRoute,
)

_NPY: Final = "application/x-npy"
_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        JSON: {
            "schema": {
                "type": "object",
                "properties": {
                    "array": {"description": "Nested lists of numbers."},
                    "operation": {
                        "type": "string",
                        "enum": [*Operation],
                        "default": Operation.STATISTICS,
                    },
                },
                "required": ["array"],
                "examples": [
                    {"array": [1.0, 2.0, 4.0], "operation": "normalize"}
                ],
            }
        },
        _NPY: {
            "schema": {
                "type": "string",
                "format": "binary",
                "examples": ["the bytes of array.npy"],
            }
        },
    },
}


@router.post(
    "/process_np_array",
    status_code=status.HTTP_202_ACCEPTED,
    **docs.PROCESS_NP_ARRAY,
    responses=member_problems(
        *WITH_BODY, ProcessNotFoundError, TooManyTasksError
    ),
    openapi_extra={"requestBody": _BODY},
)
async def process_np_array(
    request: Request,
    actor: MaybeUser,
    operation: Annotated[
        str | None,
        Query(
            max_length=100,
            description="With a `.npy`: what is made of it.",
            examples=["normalize"],
        ),
    ] = None,
) -> ShortSubmission:
    """Submits an array, whichever way it comes."""
    if actor is None and not settings.strangers_compute:
        raise NotAuthenticatedError()
    process = process_registry.get_process("np_array")
    if process is None:
        raise ProcessNotFoundError()
    async with _payload_of(request, process, operation) as payload:
        task = await submissions.submit(
            process,
            payload=payload,
            path={},
            actor=actor,
            deed=deed_of(request),
        )
    return ShortSubmission(task_id=task.id)


@router.get(
    "/result/{task_id}",
    **docs.GET_RESULT,
    response_model=ShortResult,
    responses=member_problems(
        TaskNotFoundError,
        ProcessNotFoundError,
        TaskFailedError,
        TaskCancelledError,
    )
    | {202: {"description": "It is not over.", "model": ShortPending}},
)
async def get_result(
    task_id: Annotated[ObjectId, Path(description="Id of a task.")],
    actor: MaybeUser,
) -> Response:
    """What became of an array."""
    task = await tasks.get_task(task_id, actor=actor)
    if not task.status.is_final:
        return JSONResponse(
            ShortPending().model_dump(), status_code=status.HTTP_202_ACCEPTED
        )
    result = await task_results.read_json(task, actor=actor)
    # It is JSON already, and may be long.
    return Response(
        b'{"status":"completed","result":' + result + b"}", media_type=JSON
    )


@asynccontextmanager
async def _payload_of(
    request: Request, process: Process, operation: str | None
) -> AsyncIterator[Payload]:
    """The body, whichever it is; its array is there within the block."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind.lower() != _NPY:
        # It is exited, as the route enters this one by `async with`.
        # pylint: disable-next=contextmanager-generator-missing-cleanup
        async with payload_of(request, process) as payload:
            yield payload
        return
    given: dict[str, object] = {"array": {HOLE: 0}}
    if operation is not None:
        given["operation"] = operation
    with TemporaryFile() as file:
        async for piece in request.stream():
            await asyncio.to_thread(file.write, piece)
        try:
            array = await asyncio.to_thread(
                read_npy, file, limit_bytes=settings.max_array_bytes
            )
        except ArrayError as error:
            raise InvalidRequestError.at("body", msg=str(error)) from None
        yield Payload(json.dumps(given).encode(), [array])
