"""Closing an account: what becomes of what it leaves behind."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from models.base import (
    ExtendedBaseModel,
    ObjectId,
    RequestModel,
    UtcTime,
    utc_now,
)
from models.users import GivenPassword


class OwnEvents(StrEnum):
    """What becomes of the events of a member who leaves."""

    CANCEL = "cancel"
    HAND_OVER = "hand-over"


class AccountClosure(RequestModel):
    """The wish to close one's account."""

    current_password: GivenPassword = Field(examples=["correct horse battery"])
    events: OwnEvents = Field(
        OwnEvents.CANCEL,
        description="What becomes of your own events: those to come are "
        "cancelled, or all are handed over to another member.",
        examples=["cancel"],
    )
    heir_id: ObjectId | None = Field(
        None, description="With `hand-over`: the member who gets them."
    )

    @model_validator(mode="after")
    def _check_heir(self) -> Self:
        if (self.events is OwnEvents.HAND_OVER) != (self.heir_id is not None):
            raise ValueError("heir_id belongs to events=hand-over, always")
        return self


class Closing(ExtendedBaseModel):
    """A closing that has begun; its id is the member's.

    Attributes:
        heir_id: who gets the member's events; None cancels them.
    """

    heir_id: str | None
    began_at: UtcTime = Field(default_factory=utc_now)
