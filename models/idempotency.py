"""Idempotency: requests that a client may repeat, and what was answered."""

from dataclasses import dataclass

from pydantic import Field

from models.base import ExtendedBaseModel, UtcTime, new_id


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asks for, once, however often it says so.

    Attributes:
        caller: who it is, or where it is.
        key: the Idempotency-Key that it chose.
        digest: of the whole request.
    """

    caller: str
    key: str
    digest: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered.

    Attributes:
        status: the HTTP status.
        headers: those that belong to the body.
        body: as it was sent.
    """

    status: int
    headers: dict[str, str]
    body: bytes


class Marker(ExtendedBaseModel):
    """A wish that is being fulfilled, or was, as stored.

    Nothing in it can be read without the client's key: `id` and `fingerprint`
    are keyed hashes, and the answer, which may hold a secret, is encrypted.

    Attributes:
        deed: names what fulfils it, whoever does so.
        owner: names who fulfils it; nobody can who is not named here any more.
        lease_until: when somebody else may, if there is no answer.
        answer: what was answered; None until then.
        expires_at: when all of it is forgotten.
    """

    fingerprint: str
    deed: str = Field(default_factory=new_id)
    owner: str
    lease_until: UtcTime
    answer: bytes | None = None
    expires_at: UtcTime
