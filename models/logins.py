"""Logins (signed-in devices) and their tokens."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, Field

from models.base import ExtendedBaseModel, RequestModel, UtcTime, utc_now
from models.scopes import ADMIN_SCOPES, Scope
from models.users import GivenPassword, Role


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a request, as far as permissions need to know.

    Attributes:
        user_id: the member.
        login_id: the login that shows it, or the API key.
        role: the member's.
        tier: the member's, if they are in one.
        key_id: the API key that shows it, if one does.
        scopes: what that key may do; None for all that the member may.
    """

    user_id: str
    login_id: str
    role: Role
    tier: str | None = None
    key_id: str | None = None
    scopes: frozenset[Scope] | None = None

    @property
    def is_admin(self) -> bool:
        """True for an admin, whose key, if it has scopes, says so too."""
        if self.scopes is not None and self.scopes.isdisjoint(ADMIN_SCOPES):
            return False
        return self.role is Role.ADMIN


class Login(ExtendedBaseModel):
    """A signed-in device as stored.

    A refresh token is `<login id>.<family>.<secret>`: the family stays for the
    life of the login, the secret changes at each refresh. Only hashes are kept.
    """

    user_id: str
    role: Role
    tier: str | None = None
    family_hash: str
    refresh_hash: str | None
    client: str = ""
    created_at: UtcTime = Field(default_factory=utc_now)
    used_at: UtcTime = Field(default_factory=utc_now)
    expires_at: UtcTime
    revoked_at: UtcTime | None = None

    def is_alive(self, now: datetime) -> bool:
        """True while its tokens are accepted."""
        return self.revoked_at is None and now < self.expires_at


class LoginRead(BaseModel):
    """A signed-in device, as its owner sees it."""

    id: str
    client: str = Field(
        description="User-Agent at the time of the log-in.",
        examples=["Mozilla/5.0 (X11; Linux x86_64)"],
    )
    created_at: datetime
    used_at: datetime = Field(description="The last log-in or refresh.")
    expires_at: datetime
    current: bool = Field(description="True for the login that asks.")

    @classmethod
    def of(cls, login: Login, *, actor: Actor) -> Self:
        """What `actor` sees of `login`."""
        return cls(
            **login.model_dump(include=set(cls.model_fields)),
            current=login.id == actor.login_id,
        )


class TokenPair(BaseModel):
    """What a log-in or refresh answers."""

    access_token: str = Field(examples=["eyJhbGciOiJIUzI1NiIsInR5cCI6Ik…"])
    refresh_token: str = Field(
        examples=["9f0c1c4e-5a55-4b6b-8a51-0a0f4a5f3f0e.Xv…7w.k3…Qg"]
    )
    token_type: Literal["bearer"] = "bearer"
    expires_in: int = Field(
        description="Life of the access token, seconds.", examples=[900]
    )


class RefreshRequest(RequestModel):
    """A refresh token to be exchanged."""

    refresh_token: str = Field(
        min_length=1,
        max_length=200,
        examples=["9f0c1c4e-5a55-4b6b-8a51-0a0f4a5f3f0e.Xv…7w.k3…Qg"],
    )


class LoginForm(RequestModel):
    """The OAuth2 password form, with the e-mail as username."""

    username: str = Field(
        min_length=1,
        max_length=254,
        description="The e-mail.",
        examples=["ada@example.org"],
    )
    password: GivenPassword = Field(examples=["correct horse battery"])
    grant_type: Literal["password", ""] = Field(
        "password", description="OAuth2 clients send it."
    )
    scope: str = Field("", max_length=200, description="Not used.")
    client_id: str | None = Field(None, max_length=200, description="Not used.")
    client_secret: str | None = Field(
        None, max_length=200, description="Not used."
    )
