"""Tiers with their limits and quotas: as stored, as sent, as shown."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from models.base import (
    ExtendedBaseModel,
    JsonFloat,
    JsonInt,
    RequestModel,
    UtcTime,
    new_id,
    refuse_invisible_but_lines,
    utc_now,
)

# What a limit's path says for all paths that have no limit of their own.
ALL_OTHERS = "*"

_NAME = r"^[a-z0-9][a-z0-9-]{0,31}$"
TierName = Annotated[
    str,
    StringConstraints(pattern=_NAME),
    WithJsonSchema({"type": "string", "pattern": _NAME}),
]
Description = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=500),
    AfterValidator(refuse_invisible_but_lines),
]
LimitedPath = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Limit = Annotated[JsonInt, Field(ge=1, le=1_000_000_000)]
PeriodSeconds = Annotated[JsonInt, Field(ge=1, le=24 * 3600)]
Quota = Annotated[JsonInt, Field(ge=1, le=1_000_000_000)]

_PATH = "A route template as in /openapi.json, or `*` for all other paths."
_LIMIT = "Requests in each period."
_PERIOD = "Length of a period, seconds: a day at most."


class RateLimit(BaseModel):
    """How often a tier's members may call a path, as stored in their tier."""

    id: str = Field(default_factory=new_id)
    path: str
    limit: int
    period_seconds: int
    created_at: UtcTime = Field(default_factory=utc_now)
    updated_at: UtcTime = Field(default_factory=utc_now)


class TierTaskQuotas(BaseModel):
    """How much of the queue a tier's members may use, each for themselves."""

    queued: Quota | None = Field(
        None,
        description="Tasks that wait. Null in any of these: the default.",
        examples=[100],
    )
    running: Quota | None = Field(
        None, description="Tasks that run at the same time.", examples=[8]
    )
    stored: Quota | None = Field(
        None,
        description="Tasks that are kept, those that are over included.",
        examples=[5_000],
    )
    stored_mb: Quota | None = Field(
        None,
        description="Megabytes that their arguments and results take.",
        examples=[4_096],
    )


class TierTaskQuotasUpdate(TierTaskQuotas):
    """A change of task quotas; what is left out stays."""

    model_config = ConfigDict(extra="forbid")


class TierSessionQuotas(BaseModel):
    """How much of the GPUs a tier's members may use, each for themselves."""

    sessions: Quota | None = Field(
        None,
        description="Sessions at the same time. Null here or below: the "
        "default.",
        examples=[4],
    )
    gpu_hours_per_week: (
        Annotated[JsonFloat, Field(gt=0, le=1_000_000)] | None
    ) = Field(
        None, description="GPU-hours in seven days.", examples=[100.0]
    )


class TierSessionQuotasUpdate(TierSessionQuotas):
    """A change of session quotas; what is left out stays."""

    model_config = ConfigDict(extra="forbid")


class Tier(ExtendedBaseModel):
    """A group of members as stored, with what they may use.

    Attributes:
        name: what members keep of it; it never changes.
        limits: in the order in which they were added; paths differ.
        task_quotas: what differs from the settings.
        session_quotas: likewise.
        revision: changes with every change.
    """

    name: str
    description: str = ""
    limits: list[RateLimit] = []
    task_quotas: TierTaskQuotas = TierTaskQuotas()
    session_quotas: TierSessionQuotas = TierSessionQuotas()
    created_at: UtcTime = Field(default_factory=utc_now)
    updated_at: UtcTime = Field(default_factory=utc_now)
    revision: str = Field(default_factory=new_id)


class TierCreate(RequestModel):
    """A new tier."""

    name: TierName = Field(
        description="Lower-case letters, digits and hyphens; it stays.",
        examples=["gold"],
    )
    description: Description = Field("", examples=["Members who teach."])
    task_quotas: TierTaskQuotasUpdate = Field(TierTaskQuotasUpdate())
    session_quotas: TierSessionQuotasUpdate = Field(TierSessionQuotasUpdate())


class TierUpdate(RequestModel):
    """A change of a tier; what is left out stays."""

    description: Description = Field("", examples=["Members who teach."])
    task_quotas: TierTaskQuotasUpdate = Field(TierTaskQuotasUpdate())
    session_quotas: TierSessionQuotasUpdate = Field(TierSessionQuotasUpdate())


class RateLimitCreate(RequestModel):
    """A new rate limit."""

    path: LimitedPath = Field(
        description=_PATH, examples=["/v1/events/{event_id}"]
    )
    limit: Limit = Field(description=_LIMIT, examples=[100])
    period_seconds: PeriodSeconds = Field(description=_PERIOD, examples=[60])


class RateLimitUpdate(RequestModel):
    """A change of a rate limit; what is left out stays."""

    path: LimitedPath = Field(ALL_OTHERS, description=_PATH, examples=["*"])
    limit: Limit = Field(1, description=_LIMIT, examples=[100])
    period_seconds: PeriodSeconds = Field(
        1, description=_PERIOD, examples=[60]
    )


class RateLimitRead(BaseModel):
    """A rate limit as shown."""

    id: str
    path: str = Field(description=_PATH)
    limit: int = Field(description=_LIMIT)
    period_seconds: int = Field(description=_PERIOD)
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, limit: RateLimit) -> Self:
        """What `limit` looks like."""
        return cls.model_validate(limit, from_attributes=True)


class TierRead(BaseModel):
    """A tier as shown."""

    id: str
    name: str
    description: str
    rate_limits: list[RateLimitRead]
    task_quotas: TierTaskQuotas
    session_quotas: TierSessionQuotas
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, tier: Tier) -> Self:
        """What `tier` looks like."""
        return cls(
            **tier.model_dump(exclude={"limits", "revision"}),
            rate_limits=[RateLimitRead.of(limit) for limit in tier.limits],
        )
