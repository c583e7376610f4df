"""Event sharing: which answers are the same for everyone, and until when.

Owns no collection. May call: nobody. What these say may be kept and shown to
anybody who asks for the same, so in doubt they say no.
"""

from datetime import UTC, datetime
from typing import Final

from models.base import Page
from models.events import Approval, EventFound, EventQuery, EventRead, Status

_FOR_EVER: Final = datetime.max.replace(tzinfo=UTC)
# In lists of these, nothing appears by itself: an event is in them from its
# first moment, and leaves them when its own status changes.
_STEADY: Final[tuple[set[Status], ...]] = (
    {Status.UPCOMING, Status.ONGOING},
    set(Status),
    set(),
)


def is_shared_until(shown: EventRead) -> datetime | None:
    """Until when an event looks like this to everyone; None when it does not.

    Whoever may see a public, approved event sees the same, its creator and
    admins too. Its status changes at its times.
    """
    if not shown.public or shown.approval is not Approval.APPROVED:
        return None
    if shown.denial_reason is not None:
        return None
    match shown.status:
        case Status.UPCOMING:
            return shown.starts_at
        case Status.ONGOING:
            return shown.ends_at
    return _FOR_EVER


def page_is_shared_until(page: Page[EventFound]) -> datetime | None:
    """Until when a page of events looks like this; None when to some only."""
    soonest = _FOR_EVER
    for shown in page.items:
        end = is_shared_until(shown)
        if end is None:
            return None
        soonest = min(soonest, end)
    return soonest


def differs(query: EventQuery, **_: object) -> bool:
    """Whether a list is somebody's own, or changes by the mere time."""
    return query.mine or set(query.status) not in _STEADY
