"""Processes: what is said of a function that tasks run, and how it may run."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

# A JSON Schema is any JSON object.
JsonSchema = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessOptions:
    """How a process runs; `utils/process_options.py` sets it.

    Attributes:
        path: its path under `/v1/processes`; None derives it from the name.
        time_limit_seconds: a task that computes longer is ended.
        memory_mb: a task that takes more memory fails.
        retries: how often a task that failed is tried again by itself.
        schedule: when it runs by itself, as five fields of cron in UTC; only
            for processes whose arguments all have defaults.
        example: arguments that show what it does; None makes some up.
    """

    path: str | None = None
    time_limit_seconds: float = 300.0
    memory_mb: int = 2048
    retries: int = 0
    schedule: str | None = None
    example: JsonSchema | None = None


class ProcessRead(BaseModel):
    """A process, as clients see it."""

    name: str = Field(examples=["np_array"])
    path: str = Field(
        description="Where it is submitted, below `/v1/processes/`.",
        examples=["np-array"],
    )
    summary: str = Field(examples=["Statistics of an array"])
    description: str
    parameters: JsonSchema = Field(
        description="JSON Schema of the body that submits it."
    )
    result: JsonSchema = Field(description="JSON Schema of its result.")
    example: JsonSchema = Field(description="A body that is accepted.")
    time_limit_seconds: float = Field(
        description="A task that computes longer is ended."
    )
    memory_mb: int = Field(description="A task that takes more memory fails.")
    retries: int = Field(
        description="How often a task that failed is tried again by itself."
    )
    schedule: str | None = Field(
        description="When it runs by itself: five fields of cron, in UTC."
    )
