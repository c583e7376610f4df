"""Links to other sites, as members and events carry them."""

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


def _check_url(text: str) -> str:
    # Kept as it was written: a normalised URL would surprise its author.
    try:
        _URL.validate_python(text)
    except ValidationError as error:
        raise ValueError(
            "a link is an http or https address, such as https://example.org"
        ) from error
    return text


Link = Annotated[
    str,
    StringConstraints(min_length=1, max_length=500),
    AfterValidator(_check_url),
    WithJsonSchema({"type": "string", "format": "uri", "maxLength": 500}),
]
Links = Annotated[list[Link], Field(max_length=20)]
