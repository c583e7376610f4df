"""Process options: what a process says of itself beyond its signature.

Owns no collection. May call: nobody.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from models.processes import JsonSchema, ProcessOptions

Function = TypeVar("Function", bound=Callable[..., Any])

_ATTRIBUTE: Final = "__process_options__"


def process(
    *,
    path: str | None = None,
    time_limit_seconds: float = 300.0,
    memory_mb: int = 2048,
    retries: int = 0,
    schedule: str | None = None,
    example: JsonSchema | None = None,
) -> Callable[[Function], Function]:
    """Sets how a process runs; a function that needs none of it has none.

    Args:
        path: its path, when the one of its name will not do.
        time_limit_seconds: a task that computes longer is ended.
        memory_mb: a task that takes more memory fails.
        retries: how often a task that failed is tried again by itself.
        schedule: when it runs by itself, five fields of cron in UTC.
        example: arguments that show what it does.
    """
    options = ProcessOptions(
        path=path,
        time_limit_seconds=time_limit_seconds,
        memory_mb=memory_mb,
        retries=retries,
        schedule=schedule,
        example=example,
    )

    def mark(function: Function) -> Function:
        setattr(function, _ATTRIBUTE, options)
        return function

    return mark


def options_of(function: Callable[..., Any]) -> ProcessOptions:
    """What `process` set, or the defaults."""
    options: ProcessOptions = getattr(function, _ATTRIBUTE, ProcessOptions())
    return options
