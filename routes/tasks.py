"""Tasks: what becomes of submitted calls of processes."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Path, Query, status
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.responses import Response

from docs import tasks as docs
from models.base import ObjectId, Page
from models.exceptions import (
    ForbiddenError,
    NotAcceptableError,
    ProcessNotFoundError,
    TaskCancelledError,
    TaskFailedError,
    TaskNotFoundError,
    TaskStateError,
    TooManyTasksError,
)
from models.tasks import ResultForm, Task, TaskQuery, TaskRead
from routes.dependencies import CurrentUser, accepted
from routes.problems import COMMON, member_problems, problems
from utils import task_results, task_watch, tasks

router = APIRouter(
    prefix="/v1/tasks", tags=["Compute"], responses=problems(*COMMON)
)

TaskId = Annotated[ObjectId, Path(description="Id of a task.")]

_BINARY: Final = {"type": "string", "format": "binary"}
_VARY: Final = {"Vary": "Accept"}
_STREAM: Final = "text/event-stream"
# Each event of the stream, as FastAPI describes those that it makes itself.
_EVENT: Final = {
    "type": "object",
    "required": ["id", "data"],
    "properties": {
        "id": {"type": "string"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/TaskRead"},
        },
    },
}
# What an EventSource waits before it asks again.
_RETRY_MS: Final = 1000


@router.get(
    "", **docs.LIST_TASKS, responses=member_problems(ForbiddenError)
)
async def list_tasks(
    query: Annotated[TaskQuery, Query()], actor: CurrentUser
) -> Page[TaskRead]:
    return await tasks.list_tasks(query, actor=actor)


@router.get(
    "/{task_id}", **docs.GET_TASK, responses=member_problems(TaskNotFoundError)
)
async def get_task(task_id: TaskId, actor: CurrentUser) -> TaskRead:
    return TaskRead.of(await tasks.get_task(task_id, actor=actor))


@router.get(
    "/{task_id}/result",
    **docs.GET_TASK_RESULT,
    response_class=Response,
    responses=member_problems(
        TaskNotFoundError,
        ProcessNotFoundError,
        TaskFailedError,
        TaskCancelledError,
        NotAcceptableError,
    )
    | {
        200: {
            "description": "The result.",
            "content": {
                ResultForm.JSON: {"schema": {}},
                ResultForm.NPY: {"schema": _BINARY},
                ResultForm.PNG: {"schema": _BINARY},
            },
        },
        202: {"description": "It is not over.", "model": TaskRead},
    },
)
async def get_task_result(
    task_id: TaskId,
    actor: CurrentUser,
    form: Annotated[ResultForm, Depends(accepted(ResultForm))],
    array: Annotated[
        str | None,
        Query(
            max_length=200,
            description="Which array `application/x-npy` is to hold, such as "
            "`amplitudes`; the first by default.",
            examples=["amplitudes"],
        ),
    ] = None,
) -> Response:
    """What a task returned, in the form that the client likes best."""
    task = await tasks.get_task(task_id, actor=actor)
    if not task.status.is_final:
        return JSONResponse(
            TaskRead.of(task).model_dump(mode="json"),
            status_code=status.HTTP_202_ACCEPTED,
        )
    match form:
        case ResultForm.NPY:
            pieces = await task_results.open_npy(task, name=array, actor=actor)
            return StreamingResponse(pieces, media_type=form, headers=_VARY)
        case ResultForm.PNG:
            content = await task_results.draw_plot(task, actor=actor)
        case _:
            content = await task_results.read_json(task, actor=actor)
    return Response(content, media_type=form, headers=_VARY)


@router.get(
    "/{task_id}/events",
    **docs.FOLLOW_TASK,
    response_class=StreamingResponse,
    responses=member_problems(TaskNotFoundError)
    | {
        200: {
            "description": "The stream.",
            "content": {_STREAM: {"itemSchema": _EVENT}},
        },
        204: {"description": "You have seen the final state."},
    },
)
async def follow_task(
    task_id: TaskId,
    actor: CurrentUser,
    last_event_id: Annotated[
        int | None,
        Header(
            ge=0,
            description="The `id` of the last event that you have: the stream "
            "goes on after it.",
        ),
    ] = None,
) -> Response:
    """The states of a task, as server-sent events."""
    task = await tasks.get_task(task_id, actor=actor)
    seen = last_event_id is not None and task.version <= last_event_id
    if seen and task.status.is_final:
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    states = task_watch.follow(task_id, actor=actor, after=last_event_id)
    return StreamingResponse(
        _events_of(states),
        media_type=_STREAM,
        # A proxy that collects answers would hold it back to its end.
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@router.post(
    "/{task_id}/cancel",
    status_code=status.HTTP_202_ACCEPTED,
    **docs.CANCEL_TASK,
    responses=member_problems(TaskNotFoundError, TaskStateError),
)
async def cancel_task(task_id: TaskId, actor: CurrentUser) -> TaskRead:
    return TaskRead.of(await tasks.cancel(task_id, actor=actor))


@router.post(
    "/{task_id}/retry",
    status_code=status.HTTP_202_ACCEPTED,
    **docs.RETRY_TASK,
    responses=member_problems(
        TaskNotFoundError, TaskStateError, TooManyTasksError
    ),
)
async def retry_task(task_id: TaskId, actor: CurrentUser) -> TaskRead:
    return TaskRead.of(await tasks.retry(task_id, actor=actor))


@router.delete(
    "/{task_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.DELETE_TASK,
    responses=member_problems(TaskNotFoundError, TaskStateError),
)
async def delete_task(task_id: TaskId, actor: CurrentUser) -> None:
    await tasks.delete(task_id, actor=actor)


async def _events_of(
    states: AsyncGenerator[Task | None, None],
) -> AsyncIterator[str]:
    """A stream of server-sent events (HTML standard, section 9.2)."""
    yield f"retry: {_RETRY_MS}\n\n"
    async with aclosing(states):
        async for task in states:
            if task is None:
                # Nobody reads a comment, but who has gone is noticed.
                yield ":\n\n"
            else:
                data = TaskRead.of(task).model_dump_json()
                yield f"id: {task.version}\ndata: {data}\n\n"
