"""Session limits: what of sessions a quota, a seat or a template allows.

Owns no collection. May call: nobody. Whoever asks has read the sessions that
count.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from models.session_errors import SessionStateError, TooManySessionsError
from models.sessions import Session, SessionOrder, SessionStatus

WEEK: Final = timedelta(days=7)
OPEN: Final = [SessionStatus.STARTING, SessionStatus.RUNNING]

_HOUR: Final = timedelta(hours=1)
# The share of a processor below which nobody works.
_IDLE_SHARE: Final = 0.01


def free_place(
    order: SessionOrder, mine: Sequence[Session], now: datetime
) -> int:
    """The first place that the owner has not taken.

    Args:
        order: what they ask for.
        mine: what they have, or had lately.
        now: the present time.

    Raises:
        SessionStateError: their seat has a session.
        TooManySessionsError: they have as many as they may.
    """
    there = [
        each
        for each in mine
        if each.slot is not None and each.event_id == order.event_id
    ]
    places = order.places if order.quota is None else order.quota.concurrent
    free = set(range(places)) - {each.slot for each in there}
    if free and len(there) < places:
        return min(free)
    if order.quota is None:
        raise SessionStateError(
            there[0].id,
            status=there[0].status,
            detail="Your seat has a session already: end it first.",
        )
    first = min(each.expires_at for each in there)
    raise TooManySessionsError(
        "concurrent",
        limit=places,
        detail=f"{places} sessions at the same time are your quota: end one "
        "of them first.",
        retry_seconds=int((first - now).total_seconds()),
    )


def require_hours(
    order: SessionOrder,
    others: Sequence[Session],
    now: datetime,
    *,
    since: datetime,
) -> None:
    """Counts the GPU-hours of seven days, with all that is planned.

    Args:
        order: what the owner asks for.
        others: what else they have, or had lately.
        now: the present time.
        since: from when the order has its GPUs.

    Raises:
        TooManySessionsError: they are more than the quota.
    """
    if order.quota is None or order.gpus == 0:
        return
    week_ago = now - WEEK
    counted = [
        (each.gpus, each.created_at, each.ended_at or each.expires_at)
        for each in others
        if each.event_id is None and each.gpus > 0
    ]
    counted = [each for each in counted if each[2] > week_ago]
    counted.append((order.gpus, since, order.expires_at))
    used = sum(
        many * ((until - max(start, week_ago)) / _HOUR)
        for many, start, until in counted
    )
    limit = order.quota.gpu_hours_per_week
    # A millionth of an hour is rounding.
    if used > limit + 1e-6:
        leaves = min(until for _, _, until in counted) + WEEK
        raise TooManySessionsError(
            "gpu_hours_per_week",
            limit=limit,
            detail=f"{limit:g} GPU-hours in seven days are your quota, and "
            f"with this they would be {used:.2f}: ask for fewer hours or "
            "GPUs.",
            retry_seconds=int((leaves - now).total_seconds()),
        )


def work_of(
    session: Session, *, cpu_seconds: float, now: datetime
) -> dict[str, datetime | float]:
    """What a look at the processors of a session changes.

    Only what they worked since the look before decides.

    Args:
        session: as the look before left it.
        cpu_seconds: what they have worked so far.
        now: the present time.
    """
    fields: dict[str, datetime | float] = {
        "cpu_seconds": cpu_seconds,
        "looked_at": now,
    }
    worked = cpu_seconds - session.cpu_seconds
    if worked < 0:
        # It was moved, and counts anew.
        worked = cpu_seconds
    since = session.looked_at or session.busy_at or now
    seconds = max((now - since).total_seconds(), 1.0)
    if worked > seconds * _IDLE_SHARE:
        fields["busy_at"] = now
    return fields


def require_open(session: Session) -> None:
    """Checks that nothing ends a session yet.

    Raises:
        SessionStateError: it is over, or nearly.
    """
    if session.status not in OPEN:
        raise SessionStateError(session.id, status=session.status)


def require_extensible(session: Session, until: datetime) -> None:
    """Checks that a session of somebody's quota may live so long.

    Raises:
        SessionStateError: it may not.
    """
    require_open(session)
    if session.event_id is not None:
        raise SessionStateError(
            session.id,
            status=session.status,
            detail="A seat's session ends with the event's window: its "
            "organiser may extend it.",
        )
    most = session.template.hours_max
    if until > session.created_at + timedelta(hours=most):
        raise SessionStateError(
            session.id,
            status=session.status,
            detail=f"{most:g} hours are the most for this template, "
            "extensions included.",
        )
