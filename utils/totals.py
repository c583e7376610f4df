"""Totals: what this process counts for Prometheus, beside what requests cost.

Owns no collection. May call: gpus, rate_limits, sessions,
task_children, tasks.
"""

from collections.abc import Callable
from typing import Final

from config import cache, http_events
from config.metrics import Level, Total
from models.sessions import ALIVE
from utils import gpus, rate_limits, sessions, task_children, tasks

# What a process that runs tasks did with models, by the statistics' names.
_MODELS: Final = {
    "hits": "Models that were loaded when a task asked for them.",
    "misses": "Models that were not, those included that others loaded.",
    "loads": "Models that were loaded.",
    "failures": "Models that could not be loaded.",
    "evictions": "Models that left to make room for others.",
    "load_seconds": "Time that loading models took.",
}

# What became of tasks here, by the figures' names.
_TASKS: Final = {
    "submitted": "Tasks that were taken in.",
    "begun": "Attempts at tasks that were begun.",
    "succeeded": "Tasks that have a result.",
    "failed": "Tasks that failed for good.",
    "cancelled": "Tasks that their owners cancelled.",
    "repeated": "Attempts that another one follows: failed, lost, handed back.",
}


# The inventory, by the figures' names.
_GPUS: Final = {
    "healthy": "GPUs that sessions may have, taken or not.",
    "free": "GPUs that a session may have now.",
    "unhealthy": "GPUs that show a fault, or are gone.",
}


def declared_totals(limiter: rate_limits.RateLimiter) -> tuple[Total, ...]:
    """The numbers of a process whose requests `limiter` admits."""
    return (
        Total(
            "muster_cache_hits",
            "Answers that were in the cache.",
            lambda: cache.STATISTICS.hits,
        ),
        Total(
            "muster_cache_misses",
            "Answers that had to be made.",
            lambda: cache.STATISTICS.misses,
        ),
        Total(
            "muster_rate_limit_refusals",
            "Requests that were over their limit.",
            lambda: limiter.refused,
        ),
        Total(
            "muster_http_events_dropped",
            "HTTP events that newer ones displaced before they were stored.",
            lambda: http_events.recent.dropped,
        ),
        *(
            Total(f"muster_model_cache_{name}", text, _of_models(name))
            for name, text in _MODELS.items()
        ),
        *(
            Total(f"muster_tasks_{name}", text, _of_tasks(name))
            for name, text in _TASKS.items()
        ),
    )


def declared_levels() -> tuple[Level, ...]:
    """What a process has at present."""
    return (
        Level(
            "muster_model_cache_models",
            "Models that are loaded.",
            _of_models("models"),
        ),
        Level(
            "muster_model_cache_bytes",
            "Memory that loaded models take.",
            _of_models("bytes"),
        ),
        Level(
            "muster_task_processes",
            "Processes that run tasks, or wait for some.",
            task_children.count_living,
        ),
        Level(
            "muster_tasks_waiting",
            f"Tasks of all members that wait: {tasks.MOST_COUNTED} at most.",
            _of_tasks("waiting"),
            shared=True,
        ),
        *(
            Level(
                f"muster_sessions_{status}",
                f"Sessions that are {status}.",
                _of_sessions(status),
                shared=True,
            )
            for status in ALIVE
        ),
        *(
            Level(
                f"muster_gpu_{name}", text, _of_gpus(name), shared=True
            )
            for name, text in _GPUS.items()
        ),
    )


def _of_models(name: str) -> Callable[[], float]:
    return lambda: float(getattr(task_children.statistics(), name))


def _of_tasks(name: str) -> Callable[[], float]:
    return lambda: float(getattr(tasks.FIGURES, name))


def _of_sessions(status: str) -> Callable[[], float]:
    return lambda: float(sessions.FIGURES.alive.get(status, 0))


def _of_gpus(name: str) -> Callable[[], float]:
    return lambda: float(getattr(gpus.FIGURES, name))
