"""What endpoints say of themselves, as plain data named after the handlers."""

from typing import NotRequired, TypedDict


class EndpointDoc(TypedDict):
    """One endpoint's words; keyword arguments of the route decorator."""

    summary: str
    description: str
    response_description: NotRequired[str]
