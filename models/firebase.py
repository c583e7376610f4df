"""Firebase: ID tokens, as sent, and what they say."""

from dataclasses import dataclass

from pydantic import Field

from models.base import RequestModel


class FirebaseSignIn(RequestModel):
    """A sign-in by Firebase."""

    id_token: str = Field(
        min_length=1,
        max_length=4096,
        description="What `getIdToken()` of Firebase's SDK returns.",
        examples=["eyJhbGciOiJSUzI1NiIsImtpZCI6IjEyMyJ9…"],
    )


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom Firebase has seen.

    Attributes:
        firebase_id: the user's id there.
        email: their e-mail.
        email_verified: whether they have shown there that it is theirs.
        name: what they are called; it may be empty.
    """

    firebase_id: str
    email: str
    email_verified: bool
    name: str
