"""Scopes: what an API key may do of what its member may."""

from enum import StrEnum
from functools import cache
from typing import Final


class Scope(StrEnum):
    """One area of the API, to read or to change."""

    ADMIN_READ = "admin:read"
    ADMIN_WRITE = "admin:write"
    COMPUTE_READ = "compute:read"
    COMPUTE_WRITE = "compute:write"
    EVENTS_READ = "events:read"
    EVENTS_WRITE = "events:write"
    FEEDBACK_READ = "feedback:read"
    FEEDBACK_WRITE = "feedback:write"
    IMAGES_READ = "images:read"
    IMAGES_WRITE = "images:write"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"


# What an admin may do beyond their own affairs, anywhere, needs one of these.
ADMIN_SCOPES: Final = frozenset({Scope.ADMIN_READ, Scope.ADMIN_WRITE})

# The area of a path is that of its last segment that is one, or stands here.
# Where none does, as in /v1/auth, no key will do: whoever adds an area says
# what opens it.
_AREAS: Final = {scope.partition(":")[0] for scope in Scope}
_ADMINS: Final = "audit http-events tiers".split()
# What processes are called is no area: /v1/processes/images/{id}/blur.
_COMPUTE: Final = (
    "/v1/processes",
    "/v1/tasks",
    "/process_",
    "/result/",
    "/v1/gpus",
    "/v1/session",
)
_READING: Final = ("GET", "HEAD")


@cache
def needed_scope(method: str, template: str) -> Scope | None:
    """What a key must have to ask for a route; None where no key will do.

    Args:
        method: the request's.
        template: the route's path, such as `/v1/events/{event_id}`.
    """
    if template.startswith(_COMPUTE):
        return Scope(f"compute:{_deed(method)}")
    for segment in reversed(template.split("/")):
        # The ending is a form: /v1/events.ics.
        name = segment.partition(".")[0]
        if name in _ADMINS:
            return needed_admin_scope(method)
        if name in _AREAS:
            return Scope(f"{name}:{_deed(method)}")
    return None


def needed_admin_scope(method: str) -> Scope:
    """What a key must have besides where only admins may ask."""
    return Scope(f"admin:{_deed(method)}")


def _deed(method: str) -> str:
    return "read" if method in _READING else "write"
