"""Members: as stored, as sent, as shown."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    EmailStr,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)

from models.base import (
    ExtendedBaseModel,
    JsonBool,
    ObjectId,
    PageQuery,
    RequestModel,
    UtcTime,
    refuse_invisible,
    utc_now,
)
from models.images import EXAMPLE_ID
from models.links import Links
from models.tiers import TierName


class Role(StrEnum):
    """What a member may do beyond their own affairs."""

    MEMBER = "member"
    ADMIN = "admin"


def _check_name(name: str) -> str:
    if not any(char.isalpha() for char in name):
        raise ValueError("a name has a letter")
    return refuse_invisible(name)


PersonName = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=64),
    AfterValidator(_check_name),
]


def _check_email(text: object) -> object:
    if isinstance(text, str) and "<" in text:
        raise ValueError("an e-mail is an address only, without a name")
    return text


Email = Annotated[EmailStr, BeforeValidator(_check_email)]
Password = Annotated[SecretStr, Field(min_length=10, max_length=128)]

# A password that is only compared: it may be as old as the account.
GivenPassword = Annotated[SecretStr, Field(min_length=1, max_length=128)]


class User(ExtendedBaseModel):
    """A member as stored.

    Attributes:
        calendar_hash: of the secret in the address of the member's own
            calendar; None while it has none.
        email_verified_at: when they showed that they read what is sent to
            `email`; None for an e-mail that nobody has shown that of.
        tier: the name of their tier; None for the default limits.
        firebase_id: who they are at Firebase, if they sign in so.
        welcomed: whether they have verified any e-mail before.
        revision: changes with every change.
    """

    first_name: str
    last_name: str
    email: str
    password_hash: str
    role: Role = Role.MEMBER
    tier: str | None = None
    disabled: bool = False
    links: Links = []
    calendar_hash: str | None = None
    email_verified_at: UtcTime | None = None
    firebase_id: str | None = None
    welcomed: bool = False
    image_id: str | None = None
    created_at: UtcTime = Field(default_factory=utc_now)
    updated_at: UtcTime = Field(default_factory=utc_now)
    revision: str

    @property
    def email_verified(self) -> bool:
        """True when they have shown that they read what is sent to `email`."""
        return self.email_verified_at is not None


class UserCreate(RequestModel):
    """A registration."""

    first_name: PersonName = Field(examples=["Ada"])
    last_name: PersonName = Field(examples=["O'Neil"])
    email: Email = Field(examples=["ada@example.org"], max_length=254)
    password: Password = Field(examples=["correct horse battery"])


class UserUpdate(RequestModel):
    """A change of the caller's own account; what is left out stays."""

    first_name: PersonName = Field("", examples=["Ada"])
    last_name: PersonName = Field("", examples=["Lovelace"])
    links: Links = Field([], examples=[["https://ada.example.org"]])
    image_id: ObjectId | None = Field(
        None,
        description="One of your images, see POST /v1/images; null for none.",
        examples=[EXAMPLE_ID],
    )
    email: Email = Field(
        "", max_length=254, examples=["ada@lovelace.example.org"]
    )
    password: Password = Field(
        SecretStr(""), examples=["battery staple correct"]
    )
    current_password: GivenPassword | None = Field(
        None, description="Needed to change the e-mail or the password."
    )

    @model_validator(mode="after")
    def _need_current_password(self) -> Self:
        if (
            self.model_fields_set & {"email", "password"}
            and self.current_password is None
        ):
            raise ValueError(
                "current_password is needed to change the e-mail or password"
            )
        return self


class UserAdminUpdate(RequestModel):
    """What an admin may change of a member; what is left out stays."""

    role: Role = Field(Role.MEMBER, examples=["admin"])
    tier: TierName | None = Field(
        None,
        description="Whose rate limits they have; null for the default ones.",
        examples=["gold"],
    )
    disabled: JsonBool = Field(False, examples=[False])


class UserQuery(PageQuery):
    """Which members to list."""

    q: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="Words that begin a part of the name or e-mail.",
    )
    role: Role | None = Field(None, description="Only members with this role.")
    tier: TierName | None = Field(
        None, description="Only members of this tier."
    )


class MemberName(BaseModel):
    """A member, as others name them."""

    id: str
    first_name: str
    last_name: str


class PublicUser(MemberName):
    """What everybody may know of a member."""

    links: list[str]
    image_id: str | None = Field(
        description="Their picture: GET /v1/images/{id}?size=thumb."
    )
    created_at: datetime

    @classmethod
    def of(cls, user: User) -> Self:
        """The public profile of `user`."""
        return cls.model_validate(user, from_attributes=True)


class PrivateUser(PublicUser):
    """What a member knows of themselves, and an admin of them."""

    email: str
    email_verified: bool
    role: Role
    tier: str | None = Field(
        description="Whose rate limits they have; null for the default ones."
    )
    disabled: bool
    updated_at: datetime
