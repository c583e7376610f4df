"""Attempts: how often something was tried in a quarter of an hour."""

from models.base import ExtendedBaseModel, UtcTime


class AttemptCount(ExtendedBaseModel):
    """The attempts of one window, as stored; its id is a hash of who and what.

    Attributes:
        count: those that failed, or have not ended yet.
        expires_at: when they are forgotten.
    """

    count: int
    expires_at: UtcTime
