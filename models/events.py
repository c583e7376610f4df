"""Events: as stored, as sent, as shown."""

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from models.base import (
    ExtendedBaseModel,
    InputTime,
    JsonBool,
    JsonFloat,
    JsonInt,
    ObjectId,
    PageQuery,
    RequestModel,
    UtcTime,
    refuse_invisible,
    refuse_invisible_but_lines,
    utc_now,
)
from models.images import EXAMPLE_ID, ImageIds
from models.links import Link, Links

# Ongoing events are found among those that started within this time.
MAX_DURATION = timedelta(days=366)

EARTH_RADIUS_KM = 6371.0088
HALF_CIRCUMFERENCE_KM = 20_015.1


class Tag(StrEnum):
    """What kind of gathering it is."""

    SPORT = "sport"
    FOOD = "food"
    ART = "art"
    MUSIC = "music"
    MEETING = "meeting"
    CLASS = "class"
    PAID = "paid"
    WORKSHOP = "workshop"
    HACKATHON = "hackathon"


class Status(StrEnum):
    """Where an event is in its life; computed from its times."""

    UPCOMING = "upcoming"
    ONGOING = "ongoing"
    PAST = "past"
    CANCELLED = "cancelled"


class Approval(StrEnum):
    """Whether an admin lets a public event be seen."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"


class Sort(StrEnum):
    """The order of a list of events."""

    STARTS_AT = "starts_at"
    STARTS_AT_DESCENDING = "-starts_at"
    DISTANCE = "distance"


Title = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=120),
    AfterValidator(refuse_invisible),
]
Description = Annotated[
    str,
    StringConstraints(max_length=10_000),
    AfterValidator(refuse_invisible_but_lines),
]


def _unique(tags: list[Tag]) -> list[Tag]:
    return list(dict.fromkeys(tags))


Tags = Annotated[list[Tag], Field(max_length=20), AfterValidator(_unique)]
Capacity = Annotated[JsonInt, Field(ge=1, le=100_000)]


class Location(BaseModel):
    """A place; WGS 84 degrees."""

    model_config = RequestModel.model_config

    title: Title = Field(examples=["Hackerspace, Rue de la Paix 3"])
    latitude: JsonFloat = Field(
        ge=-90, le=90, allow_inf_nan=False, examples=[48.8698]
    )
    longitude: JsonFloat = Field(
        ge=-180, le=180, allow_inf_nan=False, examples=[2.3311]
    )


class Rating(BaseModel):
    """The average of the feedback's ratings, 1 to 5; null without any."""

    average: float | None = None
    count: int = 0


class Event(ExtendedBaseModel):
    """An event as stored.

    Attributes:
        rating_sum: sum of the feedback's ratings; sums stay exact.
        arrivals: counts those who came to have a seat or to wait for one.
        sequence: counts the changes that matter to calendars (RFC 5545).
        import_key: what an imported event is known by; see `calendars`.
        import_digest: of what the calendar file said when it was last read.
        revision: changes with every change.
    """

    title: str
    description: str = ""
    starts_at: UtcTime
    ends_at: UtcTime
    tags: list[Tag] = []
    location: Location | None = None
    online_url: str | None = None
    capacity: int
    public: bool = True
    links: list[str] = []
    image_ids: list[str] = []
    creator_id: str
    cancelled_at: UtcTime | None = None
    approval: Approval
    denial_reason: str | None = None
    seats_taken: int = 0
    waitlisted: int = 0
    arrivals: int = 0
    rating_sum: int = 0
    rating_count: int = 0
    sequence: int = 0
    import_key: str | None = None
    import_digest: str | None = None
    created_at: UtcTime = Field(default_factory=utc_now)
    updated_at: UtcTime = Field(default_factory=utc_now)
    revision: str

    @property
    def rating(self) -> Rating:
        """What the feedback's ratings amount to."""
        if self.rating_count == 0:
            return Rating()
        return Rating(
            average=round(self.rating_sum / self.rating_count, 2),
            count=self.rating_count,
        )

    def status_at(self, now: datetime) -> Status:
        """Where the event is in its life at `now`."""
        if self.cancelled_at is not None:
            return Status.CANCELLED
        if now < self.starts_at:
            return Status.UPCOMING
        return Status.ONGOING if now < self.ends_at else Status.PAST


class _EventTimes(RequestModel):
    """The rule that an event ends after it starts, and within a year."""

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        starts_at = getattr(self, "starts_at", None)
        ends_at = getattr(self, "ends_at", None)
        if starts_at is not None and ends_at is not None:
            fault = times_fault(starts_at, ends_at)
            if fault is not None:
                raise ValueError(fault)
        return self


def times_fault(starts_at: datetime, ends_at: datetime) -> str | None:
    """What is wrong with an event's times, or None."""
    if ends_at <= starts_at:
        return "ends_at must be later than starts_at"
    if ends_at - starts_at > MAX_DURATION:
        return (
            f"an event lasts {MAX_DURATION.days} days at most: publish a "
            "series of events"
        )
    return None


class EventCreate(_EventTimes):
    """A new event."""

    title: Title = Field(examples=["NumPy for beginners"])
    description: Description = Field(
        "", examples=["Bring a laptop; no experience needed."]
    )
    starts_at: InputTime = Field(examples=["2030-05-01T18:30:00+02:00"])
    ends_at: InputTime = Field(examples=["2030-05-01T21:00:00+02:00"])
    tags: Tags = Field([], examples=[["workshop", "class"]])
    location: Location | None = None
    online_url: Link | None = Field(None, examples=[None])
    capacity: Capacity = Field(examples=[20])
    public: JsonBool = Field(
        True, description="A public event by a member waits for approval."
    )
    links: Links = Field([], examples=[["https://numpy.org/doc/"]])
    image_ids: ImageIds = Field(
        [],
        description="Your images, see POST /v1/images; the first is the cover.",
        examples=[[]],
    )


class EventImport(EventCreate):
    """An event from elsewhere, published in the name of its creator."""

    id: ObjectId
    creator_id: ObjectId
    approval: Approval = Approval.APPROVED
    import_key: str | None = None
    import_digest: str | None = None

    @model_validator(mode="after")
    def _check_approval(self) -> Self:
        if not self.public and self.approval is not Approval.APPROVED:
            raise ValueError("a private event needs no approval")
        return self


class EventUpdate(RequestModel):
    """A change of an event; what is left out stays."""

    title: Title = Field("", examples=["NumPy for everybody"])
    description: Description = Field("", examples=["Laptops are there."])
    starts_at: InputTime = Field(
        datetime.min, examples=["2030-05-02T18:30:00+02:00"]
    )
    ends_at: InputTime = Field(
        datetime.min, examples=["2030-05-02T21:00:00+02:00"]
    )
    tags: Tags = Field([], examples=[["workshop"]])
    location: Location | None = None
    online_url: Link | None = Field(None, examples=[None])
    capacity: Capacity = Field(1, examples=[25])
    public: JsonBool = True
    links: Links = Field([], examples=[["https://numpy.org/learn/"]])
    image_ids: ImageIds = Field([], examples=[[EXAMPLE_ID]])


class EventDenial(RequestModel):
    """Why an event is denied."""

    reason: Description | None = Field(
        None, examples=["Please name the venue."]
    )


class NearPoint(BaseModel):
    """A point that distances are measured from; WGS 84 degrees."""

    latitude: float
    longitude: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `latitude,longitude`.

        Raises:
            ValueError: it is not two numbers on the globe.
        """
        if not _NEAR.fullmatch(text):
            raise ValueError(_NEAR_HINT)
        latitude, longitude = (float(part) for part in text.split(","))
        if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
            raise ValueError(_NEAR_HINT)
        return cls(latitude=latitude, longitude=longitude)


_NEAR = re.compile(
    r"[+-]?[0-9]{1,3}(\.[0-9]{1,20})?,[+-]?[0-9]{1,3}(\.[0-9]{1,20})?"
)
_NEAR_HINT = "near is latitude,longitude in degrees, such as near=48.87,2.33"


_USUAL_RADIUS_KM: Final = 25.0


class EventFilters(RequestModel):
    """Which events are meant; the conditions are combined with *and*."""

    near: str | None = Field(
        None,
        max_length=100,
        description="`latitude,longitude`: only events around this point, "
        "nearest first, with `distance_km`.",
        examples=["48.87,2.33"],
    )
    radius_km: float = Field(
        _USUAL_RADIUS_KM,
        gt=0,
        le=HALF_CIRCUMFERENCE_KM,
        allow_inf_nan=False,
        description="Greatest distance from `near`, km.",
    )
    starts_after: InputTime | None = Field(
        None, description="Only events that start at this time or later."
    )
    starts_before: InputTime | None = Field(
        None, description="Only events that start before this time."
    )
    tag: list[Tag] = Field(
        [], max_length=9, description="Events with any of these tags."
    )
    status: list[Status] = Field(
        [Status.UPCOMING, Status.ONGOING],
        max_length=4,
        description="Events in any of these states.",
    )
    q: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="Words that begin a word of the title, description or "
        "place; letter case and accents do not matter.",
        examples=["num begin"],
    )
    mine: bool = Field(
        False,
        description="Your own events, the private and the undecided ones too.",
    )
    sort: Sort | None = Field(
        None,
        description="`starts_at` unless `near` is given, then `distance`.",
    )

    @field_validator("near")
    @classmethod
    def _check_near(cls, near: str | None) -> str | None:
        if near is not None:
            NearPoint.parse(near)
        return near

    @model_validator(mode="after")
    def _check_sort(self) -> Self:
        if self.near is None:
            if self.sort is Sort.DISTANCE:
                raise ValueError("sort=distance needs near=latitude,longitude")
            # Forms that are made from the schema send the usual one along.
            if self.radius_km != _USUAL_RADIUS_KM:
                raise ValueError("radius_km needs near=latitude,longitude")
        return self

    @property
    def center(self) -> NearPoint | None:
        """The point of `near`."""
        return None if self.near is None else NearPoint.parse(self.near)

    @property
    def order(self) -> Sort:
        """The order asked for, or the natural one."""
        if self.sort is not None:
            return self.sort
        return Sort.STARTS_AT if self.near is None else Sort.DISTANCE


class EventQuery(EventFilters, PageQuery):
    """Which page of which events to list."""


class EventRead(BaseModel):
    """An event as shown."""

    id: str
    title: str
    description: str
    starts_at: datetime
    ends_at: datetime
    tags: list[Tag]
    location: Location | None
    online_url: str | None
    capacity: int
    public: bool
    links: list[str]
    image_ids: list[str]
    creator_id: str
    status: Status
    approval: Approval
    denial_reason: str | None = Field(
        description="Why an admin denied it, if one did; null for guests."
    )
    seats_taken: int
    waitlisted: int
    rating: Rating
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, event: Event) -> Self:
        """What `event` looks like now."""
        return cls(
            **{name: getattr(event, name) for name in _COPIED},
            rating=event.rating,
            status=event.status_at(utc_now()),
        )


class EventFound(EventRead):
    """An event in a list."""

    distance_km: float | None = Field(
        None, description="Distance from `near`, km; null without `near`."
    )


_COPIED = set(EventRead.model_fields) & set(Event.model_fields)
