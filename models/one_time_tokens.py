"""One-time tokens: what a mail proves, once, for a short time."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from models.base import ExtendedBaseModel, RequestModel, UtcTime
from models.users import Email, Password


class Purpose(StrEnum):
    """What a token is good for."""

    EMAIL_VERIFICATION = "email-verification"
    PASSWORD_RESET = "password-reset"


LIFETIMES: Final = {
    Purpose.EMAIL_VERIFICATION: timedelta(hours=48),
    Purpose.PASSWORD_RESET: timedelta(hours=1),
}


class OneTimeToken(ExtendedBaseModel):
    """A token as stored, under the id of the mail that it was sent in.

    Attributes:
        hash: of the whole token; the token itself is kept nowhere.
        purpose: what it is good for.
        user_id: the member whom it was sent to.
        email: where it was sent; for another e-mail it proves nothing.
        expires_at: when it is good for nothing any more.
    """

    hash: str
    purpose: Purpose
    user_id: str
    email: str
    expires_at: UtcTime


MailedToken = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        description="As the mail shows it.",
        examples=["9f0c1c4e-5a55-4b6b-8a51-0a0f4a5f3f0e.6c1f…e2"],
    ),
]


class EmailVerification(RequestModel):
    """The proof that its sender reads what is sent to their e-mail."""

    token: MailedToken


class PasswordResetRequest(RequestModel):
    """Whose password is forgotten."""

    email: Email = Field(max_length=254, examples=["ada@example.org"])


class PasswordReset(RequestModel):
    """The proof of a reset mail, and the password from now on."""

    token: MailedToken
    new_password: Password = Field(examples=["battery staple correct"])
