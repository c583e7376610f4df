"""Session line: get in line for GPUs, and be offered them in turn.

Owns no collection. May call: gpus, mails, seat_grants, session_limits,
session_quotas, session_requests, session_templates, sessions.

GPUs are kept for the first in line in one transaction with what says so, and
with the turn that all take who lease or promise any. So they are in no session
then, are offered to one member only, and go on to the next one whatever
happens: any worker sees offers that are late.
"""

import heapq
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from config import transactions
from models.base import Page, PageQuery, utc_now
from models.exceptions import InvalidRequestError
from models.logins import Actor
from models.mails import Mail, MailKind
from models.session_errors import NoGpuFreeError
from models.session_requests import (
    RequestStatus,
    SessionRequest,
    SessionRequestCreate,
    SessionRequestRead,
)
from models.sessions import Session, SessionOrder
from utils import (
    gpus,
    mails,
    seat_grants,
    session_limits,
    session_quotas,
    session_requests,
    session_templates,
    sessions,
)


async def get_in_line(
    new: SessionRequestCreate, *, actor: Actor
) -> SessionRequestRead:
    """Puts the caller at the end of the line.

    Raises:
        TemplateNotFoundError: there is no such template.
        InvalidRequestError: the template allows less.
        NoGpuFreeError: there are not so many GPUs at all.
        SessionRequestExistsError: they wait already.
        TooManySessionsError: it is more than their whole quota.
    """
    template = await session_templates.get_template(new.template)
    if new.gpus > template.gpus_max:
        raise _too_much("gpus", template.gpus_max)
    if new.hours > template.hours_max:
        raise _too_much("hours", template.hours_max)
    now = utc_now()
    order = SessionOrder(
        owner_id=actor.user_id,
        template=template,
        gpus=new.gpus,
        expires_at=now + timedelta(hours=new.hours),
        quota=session_quotas.quota_of(actor.tier),
    )
    # What they have used is back in a week; more than all never is.
    session_limits.require_hours(order, [], now, since=now)
    there = await gpus.count_healthy()
    if new.gpus > there:
        raise NoGpuFreeError(
            asked=new.gpus,
            free=there,
            queue_length=await session_requests.length(),
            earliest_expiry=None,
            detail=f"There are {there} GPUs here: nobody gets {new.gpus}.",
        )
    request = SessionRequest(
        owner_id=actor.user_id,
        template=new.template,
        gpus=new.gpus,
        hours=new.hours,
    )
    await transactions.run(partial(_add, request), turn=gpus.TURN)
    return (await _show([request]))[0]


async def get_place(request_id: str, *, actor: Actor) -> SessionRequestRead:
    """The caller's place in line, with what it promises.

    Raises:
        SessionRequestNotFoundError: they have none with this id.
    """
    request = await session_requests.get_own(request_id, actor=actor)
    return (await _show([request]))[0]


async def list_places(
    query: PageQuery, *, actor: Actor
) -> Page[SessionRequestRead]:
    """A page of the caller's places, the latest first.

    Raises:
        InvalidRequestError: the cursor is malformed.
    """
    page = await session_requests.list_own(query, actor=actor)
    return Page(
        items=await _show(page.items), next_cursor=page.next_cursor
    )


async def leave(request_id: str, *, actor: Actor) -> None:
    """Gives the caller's place up, and what is kept for them to the next.

    Raises:
        SessionRequestNotFoundError: they have none with this id.
    """

    async def work() -> None:
        await session_requests.get_own(request_id, actor=actor)
        await _forget(request_id)

    await transactions.run(work, turn=gpus.TURN)


async def leave_all(owner_id: str) -> None:
    """Forgets all places of a member; may be repeated."""
    for request in await session_requests.list_of(owner_id):
        await transactions.run(
            partial(_forget, request.id), turn=gpus.TURN
        )


async def offer_due() -> int:
    """Ends offers that are late, and makes those that can be made.

    A chore of every worker: of several, one does each, and what one that was
    killed has left is done by the next.

    Returns:
        How many offers this worker has made.
    """
    for late in await session_requests.list_late():
        await transactions.run(partial(_expire, late), turn=gpus.TURN)
    kept_for = {gpu.request_id for gpu in await gpus.list_all()} - {None}
    offers = {each.id for each in await session_requests.list_offers()}
    for request_id in filter(None, kept_for - offers):
        await transactions.run(partial(_free, request_id), turn=gpus.TURN)
    offered = 0
    # A look is cheaper than a transaction that finds nothing to do.
    while await _find_next() is not None:
        if not await transactions.run(_offer_next, turn=gpus.TURN):
            break
        offered += 1
    return offered


async def _add(request: SessionRequest) -> None:
    await seat_grants.take_turn()
    await session_requests.add(request)


async def _offer_next() -> bool:
    await seat_grants.take_turn()
    request = await _find_next()
    if request is None:
        return False
    if not await gpus.hold(request.gpus, request_id=request.id):
        return False
    until = utc_now() + session_requests.KEPT
    if not await session_requests.offer(request, until=until):
        return False
    kind = MailKind.SESSION_OFFERED
    await mails.queue(
        Mail(
            key=f"{kind}:{request.id}",
            kind=kind,
            user_id=request.owner_id,
            facts={
                "gpus": str(request.gpus),
                "expires_at": f"{until:%H:%M} UTC",
            },
        )
    )
    return True


async def _find_next() -> SessionRequest | None:
    """Who is offered something next; None while they have to wait on.

    They are first of those whose wish can be fulfilled at all, see
    `sessions.list_served`. Nobody else is let past.
    """
    there = await gpus.list_all()
    free = sum(
        gpu.healthy and gpu.session_id is None is gpu.request_id
        for gpu in there
    )
    if free == 0:
        return None
    request = next(iter(await sessions.list_served()), None)
    if request is None or request.gpus > free:
        return None
    kept = session_requests.KEPT
    until = utc_now() + kept + timedelta(hours=request.hours)
    fits = await sessions.is_unpromised(request.gpus, until=until)
    return request if fits else None


async def _expire(late: SessionRequest) -> None:
    if await session_requests.expire(late):
        await gpus.unhold(late.id)


async def _free(request_id: str) -> None:
    """Frees what is kept for nobody: what is never written, but by hand."""
    request = await session_requests.find_request(request_id)
    if request is None or request.status is not RequestStatus.OFFERED:
        await gpus.unhold(request_id)


async def _forget(request_id: str) -> None:
    await session_requests.delete(request_id)
    await gpus.unhold(request_id)


async def _show(
    requests: Sequence[SessionRequest],
) -> list[SessionRequestRead]:
    line = await session_requests.list_line()
    times = _estimate(
        line,
        await sessions.list_alive(),
        free=sum(
            gpu.healthy and gpu.session_id is None is gpu.request_id
            for gpu in await gpus.list_all()
        ),
        now=utc_now(),
    )
    return [
        SessionRequestRead.of(
            request,
            position=session_requests.position_in(line, request),
            estimated_at=times.get(request.id),
        )
        for request in requests
    ]


def _estimate(
    line: Sequence[SessionRequest],
    alive: Sequence[Session],
    *,
    free: int,
    now: datetime,
) -> dict[str, datetime]:
    """When those who wait get their GPUs, if all use up their time."""
    ends = [(each.expires_at, each.gpus) for each in alive if each.gpus > 0]
    for request in line:
        if request.status is RequestStatus.OFFERED:
            ends.append((now + timedelta(hours=request.hours), request.gpus))
    heapq.heapify(ends)
    time, times = now, dict[str, datetime]()
    for request in line:
        if request.status is RequestStatus.OFFERED:
            continue
        while free < request.gpus and ends:
            end, many = heapq.heappop(ends)
            time, free = max(time, end), free + many
        if free < request.gpus:
            break
        free -= request.gpus
        times[request.id] = time
        until = time + timedelta(hours=request.hours)
        heapq.heappush(ends, (until, request.gpus))
    return times


def _too_much(field: str, most: float) -> InvalidRequestError:
    return InvalidRequestError.at(
        "body", field, msg=f"{most:g} are the most that the template allows"
    )
