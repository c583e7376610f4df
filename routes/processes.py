"""Processes: what tasks can run, and an endpoint for each of them.

The endpoints are made from the registry: a new function is a new endpoint, with
its own words, schema and example in /openapi.json.
"""

import json
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response, status
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from docs import processes as docs
from models.base import Page, PageQuery
from models.exceptions import ProcessNotFoundError, TooManyTasksError
from models.processes import ProcessRead
from models.tasks import TaskRead
from routes.array_forms import JSON, MULTIPART, payload_of
from routes.dependencies import CurrentUser
from routes.idempotency import SubmissionRoute, deed_of
from routes.problems import COMMON, WITH_BODY, member_problems, problems
from utils import paging, process_registry, submissions
from utils.process_registry import Process

PREFIX: Final = "/v1/processes"
router = APIRouter(
    prefix=PREFIX,
    tags=["Compute"],
    responses=problems(*COMMON),
    route_class=SubmissionRoute,
)

_SCHEMAS: Final = "#/components/schemas/"
_MODEL: Final = _SCHEMAS + "{model}"


@router.get("", **docs.LIST_PROCESSES)
async def list_processes(
    query: Annotated[PageQuery, Query()],
) -> Page[ProcessRead]:
    asked = paging.fingerprint(query)
    listed = _listed()
    if query.cursor is not None:
        cursor = paging.decode(paging.Cursor, query.cursor, query=asked)
        listed = [each for each in listed if each.path > cursor.last_id]
    items = listed[: query.limit]
    if len(items) == len(listed):
        return Page(items=items, next_cursor=None)
    cursor = paging.Cursor(query=asked, last_id=items[-1].path)
    return Page(items=items, next_cursor=paging.encode(cursor))


@router.get(
    "/{path:path}",
    **docs.GET_PROCESS,
    responses=problems(ProcessNotFoundError),
)
async def get_process(
    path: Annotated[str, Path(description="Path of a process.")],
) -> ProcessRead:
    found = process_registry.find_process(path)
    if found is None:
        raise ProcessNotFoundError()
    return process_registry.read_process(found[0])


def describe(schema: dict[str, Any]) -> dict[str, Any]:
    """Adds the processes' own schemas to an OpenAPI document."""
    components = schema["components"]["schemas"]
    processes = process_registry.list_processes()
    bodies = _schemas(
        {process.name: TypeAdapter(process.body) for process in processes},
        "validation",
        components,
    )
    results = _schemas(
        {process.name: process.result for process in processes},
        "serialization",
        components,
    )
    for process in processes:
        operation = schema["paths"][f"{PREFIX}/{process.path}"]["post"]
        operation["requestBody"] = _body(
            process, bodies[process.name], components
        )
        operation["x-result"] = results[process.name]
    return schema


def _schemas(
    adapters: dict[str, TypeAdapter[Any]],
    mode: JsonSchemaMode,
    components: dict[str, Any],
) -> dict[str, Any]:
    """The schemas of types; the parts that they share go to `components`."""
    made, shared = TypeAdapter.json_schemas(
        [(name, mode, adapter) for name, adapter in adapters.items()],
        ref_template=_MODEL,
    )
    parts = shared.get("$defs", {})
    text = json.dumps([{name: said for (name, _), said in made.items()}, parts])
    for name, said in parts.items():
        # A process may have a class that is called like one of ours.
        if components.get(name, said) != said:
            text = text.replace(f'"{_SCHEMAS}{name}"', f'"{_SCHEMAS}{name}_"')
            text = text.replace(f'"{name}": {{', f'"{name}_": {{')
    schemas, parts = json.loads(text)
    components |= {
        name: said
        for name, said in parts.items()
        if f'"{_SCHEMAS}{name}"' in text
    }
    entries: dict[str, Any] = schemas
    return entries


@cache
def _listed() -> list[ProcessRead]:
    return [
        process_registry.read_process(process)
        for process in process_registry.list_processes()
    ]


def _body(
    process: Process, said: dict[str, Any], components: dict[str, Any]
) -> dict[str, Any]:
    """The request body of a process: JSON, or a form where files can be."""
    example = process.example()
    whole = components.get(said.get("$ref", "").removeprefix(_SCHEMAS), said)
    content = {JSON: {"schema": {**said, "examples": [example]}}}
    if process.array_arguments:
        parts = {
            name: (
                {"type": "string", "format": "binary"}
                if name in process.array_arguments
                else member
            )
            for name, member in whole["properties"].items()
        }
        form = {
            "type": "object",
            "properties": parts,
            "required": whole.get("required", []),
        }
        named = {
            name: f"the bytes of {name}.npy"
            if name in process.array_arguments
            else value
            for name, value in example.items()
        }
        content[MULTIPART] = {"schema": {**form, "examples": [named]}}
    return {"required": bool(whole.get("required")), "content": content}


def _endpoint_of(process: Process) -> Callable[..., Awaitable[TaskRead]]:
    async def submit(
        request: Request, response: Response, actor: CurrentUser
    ) -> TaskRead:
        async with payload_of(request, process) as payload:
            task = await submissions.submit(
                process,
                payload=payload,
                path=request.path_params,
                actor=actor,
                deed=deed_of(request),
            )
        response.headers["Location"] = f"/v1/tasks/{task.id}"
        return TaskRead.of(task)

    submit.__name__ = f"submit_{process.name}"
    return submit


def _add(process: Process) -> None:
    said = [process.description, docs.SUBMISSION]
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": process.docstring.arguments.get(name, name),
            "schema": adapter.json_schema(ref_template=_MODEL),
        }
        for name, adapter in process.path_arguments.items()
    ]
    router.add_api_route(
        f"/{process.path}",
        _endpoint_of(process),
        methods=["POST"],
        status_code=status.HTTP_202_ACCEPTED,
        summary=process.summary,
        description="\n\n".join(filter(None, said)),
        response_description=docs.TASK,
        responses=member_problems(*WITH_BODY, TooManyTasksError)
        | {
            status.HTTP_202_ACCEPTED: {
                "headers": {
                    "Location": {
                        "description": docs.LOCATION,
                        "schema": {"type": "string"},
                    }
                }
            }
        },
        openapi_extra={"parameters": parameters} if parameters else None,
    )


async def _unknown(_request: Request) -> Response:
    raise ProcessNotFoundError()


for each in process_registry.list_processes():
    _add(each)
router.add_route(
    f"{PREFIX}/{{path:path}}",
    _unknown,
    methods=["POST"],
    include_in_schema=False,
)
