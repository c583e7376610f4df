"""HTTP events: the records of the last requests."""

from typing import Annotated, Self

from pydantic import BaseModel, Field, StringConstraints

from models.base import (
    ExtendedBaseModel,
    InputTime,
    ObjectId,
    PageQuery,
    UtcTime,
)

Header = tuple[str, str]

RequestId = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")
]


class Info(BaseModel):
    """When, where, and from whom."""

    time: UtcTime = Field(description="When the request came.")
    server_id: str = Field(
        description="Name of the machine, with a number of the start.",
        examples=["web-1-9f0c1c4e"],
    )
    worker: int = Field(description="The worker's process id.")
    client: str = Field(description="The address that it came from.")


class RequestSeen(BaseModel):
    """What was asked; secrets are `***`."""

    method: str
    path: str
    route: str | None = Field(
        description="The path's template; null where no endpoint is.",
        examples=["/v1/events/{event_id}"],
    )
    query: str
    headers: list[Header]
    size: int = Field(description="Bytes of its body.")
    member_id: str | None = Field(description="Who called; null for nobody.")


class ResponseSeen(BaseModel):
    """What was answered; secrets are `***`."""

    status: int = Field(
        description="499: the client had left before the answer began. 0: "
        "the server was stopped."
    )
    headers: list[Header]
    size: int = Field(description="Bytes of its body that were sent.")
    duration_ms: float


class DatabaseSeen(BaseModel):
    """What the database was asked meanwhile."""

    commands: int
    duration_ms: float = Field(description="Of all commands, summed up.")
    names: list[str] = Field(
        description="In order, the first hundred.", examples=[["find"]]
    )


class CallSeen(BaseModel):
    """A call of one of Muster's own functions."""

    name: str = Field(examples=["utils.events.get_event"])
    parent: int = Field(
        description="Place of the call that made it; -1 for the first ones."
    )
    start_ms: float = Field(description="Since the request came.")
    duration_ms: float = Field(description="What it waited for included.")


class ErrorSeen(BaseModel):
    """What went wrong on Muster's side; the client is not told."""

    type: str = Field(examples=["ZeroDivisionError"])
    message: str


class HttpEvent(ExtendedBaseModel):
    """A request, as stored.

    Attributes:
        order: when it was answered, microseconds since 1970.
        request_id: as in its answer; clients may send the same one twice.
        calls_left_out: how many calls there were beyond the most that are
            noted.
    """

    order: int
    request_id: str
    info: Info
    request: RequestSeen
    response: ResponseSeen
    database: DatabaseSeen
    traces: list[CallSeen] = []
    calls_left_out: int = 0
    error: ErrorSeen | None = None


class HttpEventQuery(PageQuery):
    """Which requests to list; the conditions are combined with *and*."""

    method: str | None = Field(
        None,
        pattern=r"^[A-Z]{1,20}$",
        description="Only requests of this method, such as GET.",
    )
    route: str | None = Field(
        None,
        max_length=200,
        description="Only requests to this template, such as "
        "/v1/events/{event_id}.",
    )
    status: str | None = Field(
        None,
        pattern=r"^[1-5]([0-9]{2}|xx)$",
        description="Only answers of this status, such as 404, or of this "
        "class, such as 5xx.",
    )
    member: ObjectId | None = Field(
        None, description="Only requests of this member."
    )
    min_ms: float | None = Field(
        None,
        ge=0,
        le=1e9,
        description="Only requests that took as long, milliseconds.",
    )
    since: InputTime | None = Field(
        None, description="Only requests that were answered then or later."
    )


class HttpEventListed(BaseModel):
    """A request, without its calls."""

    request_id: str = Field(description="X-Request-ID of the request.")
    info: Info
    request: RequestSeen
    response: ResponseSeen
    database: DatabaseSeen
    error: ErrorSeen | None

    @classmethod
    def of(cls, event: HttpEvent) -> Self:
        """What a list shows of `event`."""
        return cls.model_validate(event, from_attributes=True)


class HttpEventRead(HttpEventListed):
    """A request, with its calls where they were traced."""

    traces: list[CallSeen]
    calls_left_out: int = Field(
        description="How many calls there were beyond those."
    )
    tree: list[str] = Field(
        description="The calls, drawn line by line.",
        examples=[
            [
                "routes.events.get_event  1.2 ms",
                "└─ utils.events.get_event  1.1 ms",
                "   └─ config.gathering.Gathering.ask  0.9 ms",
            ]
        ],
    )
