"""What all models share: identity in MongoDB, times, pages, strict bodies."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Self, TypeVar
from uuid import uuid4

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    WithJsonSchema,
)

Document = dict[str, Any]
Item = TypeVar("Item")

_UUID4 = (
    r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
)

# RFC 3339, section 5.6: the offset is required.
_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)"
)


def new_id() -> str:
    """A random (version 4) UUID as text, the form of every `_id`."""
    return str(uuid4())


def utc_now() -> datetime:
    """Now, as an aware UTC time in whole milliseconds, as MongoDB keeps it."""
    return _to_stored_precision(datetime.now(UTC))


def rfc_3339(time: datetime) -> str:
    """A UTC time as answers write it, with a `Z`."""
    return time.isoformat().replace("+00:00", "Z")


def _to_stored_precision(time: datetime) -> datetime:
    if time.tzinfo is UTC and time.microsecond % 1000 == 0:
        # It comes from MongoDB, as nearly always.
        return time
    try:
        time = time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time lies outside the years 1 to 9999") from error
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def _require_rfc_3339(value: object) -> object:
    if isinstance(value, str) and not _RFC_3339.fullmatch(value):
        raise ValueError(_TIME_HINT)
    if isinstance(value, int | float):
        raise ValueError(_TIME_HINT)
    return value


_TIME_HINT = (
    "a time is RFC 3339 with an offset, such as 2026-05-01T18:30:00+02:00"
)

# Aware, UTC, whole milliseconds: what comes back from MongoDB equals what was
# stored.
UtcTime = Annotated[AwareDatetime, AfterValidator(_to_stored_precision)]

# A time that a client sends, with any offset.
InputTime = Annotated[
    UtcTime,
    BeforeValidator(_require_rfc_3339),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]

ObjectId = Annotated[
    str,
    StringConstraints(pattern=_UUID4),
    WithJsonSchema({"type": "string", "format": "uuid", "pattern": _UUID4}),
]


# Some scripts join and separate letters within a word by these.
_JOINERS = "\u200c\u200d"


def refuse_invisible(text: str, *, but: str = "") -> str:
    """Returns `text`, normalised, unless a reader could not see all of it.

    Raises:
        ValueError: it has control, formatting or unassigned characters other
            than those in `but`.
    """
    # Each character once: a long text has few.
    if any(_is_invisible(char, but) for char in set(text)):
        raise ValueError("a text has no control or invisible characters")
    return unicodedata.normalize("NFC", text)


def drop_invisible(text: str, *, but: str = "") -> str:
    """Returns `text` without what `refuse_invisible` refuses."""
    return "".join(char for char in text if not _is_invisible(char, but))


def _is_invisible(char: str, but: str) -> bool:
    if char in but or char in _JOINERS:
        return False
    return unicodedata.category(char).startswith("C")


def refuse_invisible_but_lines(text: str) -> str:
    """Like `refuse_invisible`, for texts that have lines and tabs."""
    return refuse_invisible(text, but="\n\r\t")


# JSON has numbers and booleans of its own: "20" and 0 are neither.
JsonInt = Annotated[int, Strict()]
JsonFloat = Annotated[float, Strict()]
JsonBool = Annotated[bool, Strict()]


class ExtendedBaseModel(BaseModel):
    """A document as stored; the only place that knows of `_id`."""

    model_config = ConfigDict(populate_by_name=True, extra="ignore")

    id: str = Field(default_factory=new_id, alias="_id")

    def get_id(self) -> str:
        """The uuid4 under which MongoDB keeps this document."""
        return self.id

    # The name is the house's; pydantic's own `dict`, with other arguments, is
    # deprecated in favour of `model_dump`.
    # pylint: disable-next=arguments-differ
    def dict(self) -> Document:  # type: ignore[override]
        """The document for MongoDB, with its `_id`."""
        return self.model_dump(by_alias=True)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The model of a document that MongoDB returned.

        Raises:
            pydantic.ValidationError: the document does not fit the model.
        """
        return cls.model_validate(document)


class RequestModel(BaseModel):
    """A body or query that a client sends: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    next_cursor: str | None = Field(
        description="Pass it as `cursor` to get the next page; null at the end."
    )


class PageQuery(RequestModel):
    """Which page of a list."""

    limit: int = Field(20, ge=1, le=100, description="Items on a page.")
    cursor: str | None = Field(
        None,
        max_length=1024,
        description="`next_cursor` of the page before; the other parameters "
        "must stay the same.",
    )
