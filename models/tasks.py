"""Tasks: as stored, as shown, as listed.

A task is one call of a process. Its revision counts its changes: who changes
a task names the revision that they read, so that of several one does.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, Field, JsonValue, model_validator

from models.base import (
    ExtendedBaseModel,
    ObjectId,
    PageQuery,
    UtcTime,
    new_id,
    utc_now,
)

EXAMPLE_ID: Final = "7f9a3c52-6d0e-4b1f-9c58-2a4e6b8d0f13"

# What is shorter lies in the task itself: no file is written for it.
INLINE_BYTES: Final = 16 * 1024

# The owner of what no member submitted; only admins see it.
SCHEDULE: Final = "schedule"


class TaskStatus(StrEnum):
    """Where a task is in its life."""

    # Its arguments are still being stored, or it is being removed: it does not
    # exist for anybody.
    HIDDEN = "hidden"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True when only its owner changes anything any more."""
        return self in FINAL


FINAL: Final = frozenset(
    {TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELLED}
)


class FailureKind(StrEnum):
    """Why an attempt failed."""

    # What it was given can't be computed: no attempt would go better.
    INPUT = "bad-input"
    EXCEPTION = "exception"
    TIME_LIMIT = "time-limit"
    OUT_OF_MEMORY = "out-of-memory"
    # Its process ended by itself, as by a fault of native code.
    CRASHED = "crashed"
    # The worker that ran it is gone, again and again.
    LOST = "worker-lost"
    # No worker knows such a process any more.
    UNKNOWN_PROCESS = "unknown-process"


class TaskError(BaseModel):
    """Why a task failed."""

    kind: FailureKind = Field(examples=["time-limit"])
    detail: str = Field(examples=["It took longer than 60 seconds."])


@dataclass(frozen=True, slots=True)
class TaskQuota:
    """How much of the queue one member may use.

    Attributes:
        queued: tasks that wait.
        running: tasks that run at the same time.
        stored: tasks that are kept, those that are over included.
        stored_bytes: what their arguments and results may take together.
    """

    queued: int
    running: int
    stored: int
    stored_bytes: int


class Task(ExtendedBaseModel):
    """A task as stored; what is too long for it lies in GridFS.

    Attributes:
        process: the name of its process.
        owner_id: who submitted it, or SCHEDULE; None for a stranger, whose
            task everybody may read who knows its id.
        tier: the tier that they had then.
        slot: of a scheduled task, its process and time; of one that its client
            may submit again, what names the submission; else unique.
        due_at: while it waits, when a worker looks at it next.
        lease_until: while it runs, when its worker is taken for dead.
        worker: who runs it, in this very attempt.
        cancelling: whether its owner wants it to be stopped.
        attempts: how often it was begun.
        failures: how often an attempt failed, since it was last submitted.
        losses: how often its worker was lost, since then.
        retries: how many failures are followed by another attempt.
        size: bytes of its arguments and its result.
        arguments_size: bytes of its arguments.
        result_size: bytes of its result.
        arguments: what it is called with, where that is short.
        result: what it returned, where that is short.
        result_attempt: which attempt's file is the result; 0 for no file.
        expires_at: when it is forgotten; None before its end.
        revision: `<id>:<number of its changes>`, unique.
    """

    process: str
    owner_id: str | None
    tier: str | None = None
    slot: str = Field(default_factory=new_id)
    status: TaskStatus = TaskStatus.QUEUED
    progress: float = 0.0
    message: str = ""
    created_at: UtcTime = Field(default_factory=utc_now)
    due_at: UtcTime | None = None
    lease_until: UtcTime | None = None
    started_at: UtcTime | None = None
    finished_at: UtcTime | None = None
    expires_at: UtcTime | None = None
    worker: str | None = None
    cancelling: bool = False
    attempts: int = 0
    failures: int = 0
    losses: int = 0
    retries: int = 0
    error: TaskError | None = None
    size: int = 0
    arguments_size: int = 0
    result_size: int = 0
    arguments: bytes | None = None
    result: bytes | None = None
    result_attempt: int = 0
    revision: str = ""

    @model_validator(mode="after")
    def _begin_revisions(self) -> Self:
        self.revision = self.revision or f"{self.id}:0"
        return self

    @property
    def version(self) -> int:
        """How often it was changed."""
        return version_of(self.revision)

    @property
    def arguments_file(self) -> str:
        """The id of the file that holds what it is called with."""
        return f"{self.id}-arguments"

    def result_file(self, attempt: int) -> str:
        """The id of the file that holds what an attempt returned."""
        return f"{self.id}-result-{attempt}"

    @property
    def plot_file(self) -> str:
        """The id of the file that holds the picture of its result."""
        return f"{self.id}-plot"

    @property
    def all_files(self) -> list[str]:
        """The ids of all files that it may have."""
        results = [self.result_file(n + 1) for n in range(self.attempts)]
        return [self.arguments_file, self.plot_file, *results]


def version_of(revision: str) -> int:
    """The number of changes that a revision counts."""
    return int(revision.rpartition(":")[2])


def next_revision(revision: str) -> str:
    """The revision that follows."""
    task_id, _, number = revision.rpartition(":")
    return f"{task_id}:{int(number) + 1}"


class ShownStatus(StrEnum):
    """Where a task is in its life, as anybody sees it."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TaskRead(BaseModel):
    """A task as shown."""

    id: str = Field(examples=[EXAMPLE_ID])
    process: str = Field(examples=["np_array"])
    status: ShownStatus
    progress: float = Field(ge=0, le=1, examples=[0.4])
    message: str = Field(
        description="What the process says about what it does.",
        examples=["iteration 40 of 100"],
    )
    attempts: int = Field(
        description="How often it was begun: more than once where an attempt "
        "failed, or where the worker that ran it is gone."
    )
    created_at: datetime
    started_at: datetime | None = Field(description="Of the last attempt.")
    finished_at: datetime | None
    expires_at: datetime | None = Field(
        description="When it is forgotten, with its result."
    )
    error: TaskError | None = Field(
        description="Why the last attempt failed; null when it did not."
    )

    @classmethod
    def of(cls, task: Task) -> Self:
        """What `task` looks like."""
        return cls.model_validate(task, from_attributes=True)


# What is shown needs no arguments and results.
WITHOUT_DATA: Final[dict[str, Any]] = {"arguments": 0, "result": 0}


class ResultForm(StrEnum):
    """What a result comes as; of equals, the first is preferred."""

    JSON = "application/json"
    NPY = "application/x-npy"
    PNG = "image/png"


class TaskQuery(PageQuery):
    """Which tasks to list."""

    status: ShownStatus | None = Field(
        None, description="Only those in this state."
    )
    process: str | None = Field(
        None,
        max_length=200,
        description="Only those of this process.",
        examples=["np_array"],
    )
    owner_id: ObjectId | None = Field(
        None, description="Those of this member instead of yours: admins only."
    )




class ShortSubmission(BaseModel):
    """What the short form answers to a submission."""

    task_id: str = Field(examples=[EXAMPLE_ID])


class ShortPending(BaseModel):
    """What the short form says of a task that is not over."""

    status: Literal["pending"] = "pending"


class ShortResult(BaseModel):
    """What the short form says of a task that has succeeded."""

    status: Literal["completed"] = "completed"
    result: JsonValue = Field(
        description="What the process returned, arrays as nested lists.",
        examples=[{"operation": "statistics", "shape": [3]}],
    )
