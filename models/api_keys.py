"""API keys: as stored, as sent, as shown."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StringConstraints,
)

from models.base import (
    ExtendedBaseModel,
    InputTime,
    RequestModel,
    UtcTime,
    refuse_invisible,
    utc_now,
)
from models.scopes import Scope
from models.users import Role

KeyName = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=64),
    AfterValidator(refuse_invisible),
]


class ApiKey(ExtendedBaseModel):
    """A key of a member as stored.

    The key itself is `mk_<id without dashes>_<secret>`; only its hash is kept.

    Attributes:
        role: the member's, at present.
        tier: the member's, at present.
        disabled: whether the member is.
        scopes: what the key may do; None for all that the member may.
        last_used_at: when it was used, to about a minute; None for never.
    """

    user_id: str
    role: Role
    tier: str | None = None
    disabled: bool = False
    name: str
    scopes: list[Scope] | None
    key_hash: str
    created_at: UtcTime = Field(default_factory=utc_now)
    expires_at: UtcTime | None
    last_used_at: UtcTime | None = None

    def is_alive(self, now: datetime) -> bool:
        """True while it is accepted."""
        is_over = self.expires_at is not None and self.expires_at <= now
        return not (self.disabled or is_over)


class ApiKeyCreate(RequestModel):
    """A new key."""

    name: KeyName = Field(
        description="What you will know it by.", examples=["door scanner"]
    )
    scopes: list[Scope] | None = Field(
        None,
        min_length=1,
        max_length=len(Scope),
        description="What the key may do; all that you may when left out.",
        examples=[["events:read", "events:write"]],
    )
    expires_at: InputTime | None = Field(
        None,
        description="When it ends by itself; never when left out.",
        examples=["2030-05-01T00:00:00Z"],
    )


class ApiKeyRead(BaseModel):
    """A key, as its owner sees it."""

    id: str
    name: str
    scopes: list[Scope] | None = Field(
        description="What it may do; null for all that you may."
    )
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(
        description="To about a minute; null for never."
    )

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        """What the owner sees of `key`."""
        return cls.model_validate(key, from_attributes=True)


class ApiKeyCreated(ApiKeyRead):
    """A new key, with what is shown this once."""

    key: str = Field(
        description="Send it as `X-API-Key`; nobody can show it again.",
        examples=["mk_9f0c1c4e5a554b6b8a510a0f4a5f3f0e_Xv…7w"],
    )
