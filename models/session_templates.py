"""Session templates: what sessions may run, as stored, as sent, as shown."""

from datetime import datetime
from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from models.base import (
    ExtendedBaseModel,
    JsonFloat,
    JsonInt,
    RequestModel,
    UtcTime,
    new_id,
    refuse_invisible,
    utc_now,
)

MOST_GPUS: Final = 64
MOST_HOURS: Final = 7 * 24

_NAME: Final = r"^[a-z0-9][a-z0-9-]{0,31}$"
# What the engine takes for a name: registry, path, tag or digest.
_IMAGE: Final = (
    r"^[a-z0-9][a-z0-9._:/-]{0,199}(:[A-Za-z0-9_.-]{1,128})?"
    r"(@sha256:[0-9a-f]{64})?$"
)

TemplateName = Annotated[
    str,
    StringConstraints(pattern=_NAME),
    WithJsonSchema({"type": "string", "pattern": _NAME}),
]
Image = Annotated[
    str,
    StringConstraints(pattern=_IMAGE),
    WithJsonSchema({"type": "string", "pattern": _IMAGE}),
]
Argument = Annotated[
    str,
    StringConstraints(min_length=1, max_length=4000),
    AfterValidator(refuse_invisible),
]
Command = Annotated[list[Argument], Field(max_length=64)]

_COMMAND = (
    "What the container runs; `{port}`, `{token}` and `{base_path}` stand for "
    "its port, the session's token, and the path under which Muster passes "
    "requests to it. Empty: what the image says."
)
_BASE_PATH = (
    "Whether the container serves under `{base_path}`, as Jupyter does with "
    "`--ServerApp.base_url`; else it gets paths without it."
)
_PUBLISHED = (
    "Whether clients may reach the port directly as well, at a random port of "
    "the engine's address; else only through Muster."
)
_IDLE = "Minutes without work for the CPU that end a session; null: none do."

Gpus = Annotated[JsonInt, Field(ge=0, le=MOST_GPUS)]
MemoryMb = Annotated[JsonInt, Field(ge=16, le=4 * 1024 * 1024)]
Cpus = Annotated[JsonFloat, Field(ge=0.1, le=512)]
Hours = Annotated[JsonFloat, Field(gt=0, le=MOST_HOURS)]
Minutes = Annotated[JsonInt, Field(ge=1, le=24 * 60)]
Port = Annotated[JsonInt, Field(ge=1, le=65535)]


class SessionTemplate(ExtendedBaseModel):
    """What sessions may run, as stored.

    Attributes:
        name: what sessions keep of it; it never changes.
        command: empty for what the image says.
        port: where it answers in the container.
        pids_max: processes and threads at the same time.
        disk_mb: what `/tmp` and the home folder hold, in memory.
        base_path: whether it serves under the path of Muster's own door.
        published: whether its port is published on the engine's address.
        idle_minutes: None where idle sessions may stay.
        revision: changes with every change.
    """

    name: str
    image: str
    command: list[str] = []
    port: int
    gpus_max: int
    memory_mb: int
    cpus: float
    pids_max: int = 512
    disk_mb: int = 256
    hours_max: float
    idle_minutes: int | None = None
    base_path: bool = False
    published: bool = True
    created_at: UtcTime = Field(default_factory=utc_now)
    updated_at: UtcTime = Field(default_factory=utc_now)
    revision: str = Field(default_factory=new_id)


class TemplateCreate(RequestModel):
    """A new template."""

    name: TemplateName = Field(
        description="Lower-case letters, digits and hyphens; it stays.",
        examples=["notebook"],
    )
    image: Image = Field(
        description="Image, as the engine knows it.",
        examples=["quay.io/jupyter/base-notebook:2026-11-01"],
    )
    command: Command = Field(
        [],
        description=_COMMAND,
        examples=[["start-notebook.py", "--ServerApp.base_url={base_path}"]],
    )
    port: Port = Field(
        description="Where it answers, in the container.", examples=[8888]
    )
    gpus_max: Gpus = Field(
        description="GPUs of a session at most.", examples=[1]
    )
    memory_mb: MemoryMb = Field(
        description="Memory of a session, MiB.", examples=[16384]
    )
    cpus: Cpus = Field(description="Processors of a session.", examples=[4.0])
    pids_max: Annotated[JsonInt, Field(ge=8, le=65536)] = Field(
        512, description="Processes and threads of a session.", examples=[512]
    )
    disk_mb: Annotated[JsonInt, Field(ge=1, le=1024 * 1024)] = Field(
        256,
        description="What `/tmp` and the home folder hold each, MiB of memory; "
        "the rest of the disk is read-only.",
        examples=[256],
    )
    hours_max: Hours = Field(
        description="Hours of a session, extensions included.", examples=[8.0]
    )
    idle_minutes: Minutes | None = Field(
        None, description=_IDLE, examples=[60]
    )
    base_path: bool = Field(False, description=_BASE_PATH)
    published: bool = Field(True, description=_PUBLISHED)


class TemplateUpdate(RequestModel):
    """A change of a template; what is left out stays.

    Sessions keep what they were started with.
    """

    image: Image = Field("", validate_default=False, examples=["lab:2"])
    command: Command = Field([], description=_COMMAND)
    port: Port = Field(0, validate_default=False, examples=[8888])
    gpus_max: Gpus = Field(0, examples=[2])
    memory_mb: MemoryMb = Field(0, validate_default=False, examples=[16384])
    cpus: Cpus = Field(0.0, validate_default=False, examples=[4.0])
    pids_max: Annotated[JsonInt, Field(ge=8, le=65536)] = Field(
        512, examples=[512]
    )
    disk_mb: Annotated[JsonInt, Field(ge=1, le=1024 * 1024)] = Field(
        256, examples=[256]
    )
    hours_max: Hours = Field(0.0, validate_default=False, examples=[8.0])
    idle_minutes: Minutes | None = Field(
        None, description=_IDLE, examples=[60]
    )
    base_path: bool = Field(False, description=_BASE_PATH)
    published: bool = Field(True, description=_PUBLISHED)


class TemplateRead(BaseModel):
    """A template as shown."""

    id: str
    name: str
    image: str
    command: list[str] = Field(description=_COMMAND)
    port: int
    gpus_max: int
    memory_mb: int
    cpus: float
    pids_max: int
    disk_mb: int
    hours_max: float
    idle_minutes: int | None = Field(description=_IDLE)
    base_path: bool = Field(description=_BASE_PATH)
    published: bool = Field(description=_PUBLISHED)
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, template: SessionTemplate) -> Self:
        """What `template` looks like."""
        return cls(**template.model_dump(exclude={"revision"}))
