"""Links to other sites, as members and events carry them."""

import re
from typing import Annotated

from pydantic import (
    AfterValidator,
    Field,
    HttpUrl,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

_URL: TypeAdapter[HttpUrl] = TypeAdapter(HttpUrl)


# Links end up in pages, feeds and tables, which some characters would break.
_HARMLESS = re.compile(
    r"https?://[^\s\x00-\x1f\x7f<>\"\\^`{|}]+", re.IGNORECASE
)
_HINT = "a link is an http or https address, such as https://example.org"


def _check_url(text: str) -> str:
    if not _HARMLESS.fullmatch(text):
        raise ValueError(_HINT)
    # Kept as it was written: a normalised URL would surprise its author.
    try:
        _URL.validate_python(text)
    except ValidationError as error:
        raise ValueError(_HINT) from error
    return text


Link = Annotated[
    str,
    StringConstraints(min_length=1, max_length=500),
    AfterValidator(_check_url),
    WithJsonSchema({"type": "string", "format": "uri", "maxLength": 500}),
]
Links = Annotated[list[Link], Field(max_length=20)]
