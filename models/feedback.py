"""Feedback of members who went to an event: as stored, sent, shown."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from models.base import (
    ExtendedBaseModel,
    InputTime,
    JsonInt,
    ObjectId,
    RequestModel,
    UtcTime,
    refuse_invisible_but_lines,
    utc_now,
)
from models.users import MemberName

Stars = Annotated[JsonInt, Field(ge=1, le=5)]
Comment = Annotated[
    str,
    StringConstraints(max_length=5_000),
    AfterValidator(refuse_invisible_but_lines),
]


class Feedback(ExtendedBaseModel):
    """What a member thinks of an event, as stored.

    Attributes:
        author_id: the member; None after the account was closed.
        rating: 1 to 5 stars.
    """

    event_id: str
    author_id: str | None
    rating: int
    comment: str = ""
    created_at: UtcTime = Field(default_factory=utc_now)
    updated_at: UtcTime = Field(default_factory=utc_now)


class FeedbackCreate(RequestModel):
    """What a member thinks of an event."""

    rating: Stars = Field(description="Stars, 5 is best.", examples=[5])
    comment: Comment = Field("", examples=["I can slice arrays now!"])


class FeedbackImport(FeedbackCreate):
    """Feedback from elsewhere, in the name of its author."""

    author_id: ObjectId
    created_at: InputTime


class FeedbackUpdate(RequestModel):
    """A change of one's feedback; what is left out stays."""

    rating: Stars = Field(1, description="Stars, 5 is best.", examples=[4])
    comment: Comment = Field("", examples=["A bit crowded."])


class FeedbackRead(BaseModel):
    """Feedback as shown."""

    id: str
    event_id: str
    author: MemberName | None = Field(
        description="Null after the author closed the account."
    )
    rating: int = Field(description="Stars, 1 to 5.")
    comment: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, feedback: Feedback, *, author: MemberName | None) -> Self:
        """What `feedback` looks like, with its author's present name."""
        return cls(**feedback.model_dump(exclude={"author_id"}), author=author)
