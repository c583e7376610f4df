"""Origin: which request a task works for, and where it came from.

Set by the outermost middleware; the log and the audit read it, so that nobody
has to pass it through every call.
"""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of a request from its first line.

    Attributes:
        request_id: the id in its answer; `-` for what no request asked for.
        address: the client's address; empty where there is no client.
    """

    request_id: str = "-"
    address: str = ""


origin_of_task: Final[ContextVar[Origin]] = ContextVar(
    "origin_of_task", default=Origin()
)
