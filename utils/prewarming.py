"""Prewarming: have ready what seats will want, and rehearse it.

Owns no collection. May call: event_compute, gpus, rsvps, seat_grants,
session_templates, sessions. A chore of every worker. Whoever goes on with a
grant says so in it, for half a minute: of several, one does, and a killed one's
is found due. What it had begun is there already: a member has one session on a
seat, and a rehearsal counts its own, so that none is started twice.

Here sessions are only written down, with their GPUs; `session_service` brings
them up like all others.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Final

from config import db, transactions
from config.engine import Engine, EngineAwayError, EngineRefusedError
from config.main import settings
from models.base import utc_now
from models.event_compute import (
    Prewarm,
    Rehearsal,
    RehearsalReport,
    SeatGrant,
    WantedSession,
)
from models.exceptions import MusterError
from models.session_errors import (
    EventComputeNotFoundError,
    NoGpuFreeError,
    NotEntitledError,
    SessionStateError,
)
from models.sessions import (
    EndReason,
    Session,
    SessionOrder,
    SessionStatus,
)
from utils import (
    event_compute,
    gpus,
    rsvps,
    seat_grants,
    session_templates,
    sessions,
)

# So many sessions of an event come up at the same time: more would only wait
# for the same disk.
AT_ONCE: Final = 4

# A worker that says nothing for so long is taken for dead.
CLAIM: Final = timedelta(seconds=30)
# An engine goes on with a pull that nobody waits for; it is asked again later.
_PULL_SECONDS: Final = 5.0
# What nobody ends ends so long after its rehearsal, and its owner is not warned
# of that before.
_SPARE: Final = timedelta(minutes=10 + settings.session_warning_minutes)
_LOG: Final = logging.getLogger("muster.sessions")


async def go_on(engine: Engine) -> None:
    """Does what is to be done now for all events that are not over."""
    for grant in await seat_grants.list_grants(utc_now()):
        try:
            await _warm(grant, engine)
            await _start_wanted(grant)
            await _rehearse(grant)
        except (MusterError, EngineAwayError) as error:
            # It was taken back meanwhile, or it is tried again; in any case
            # it holds up no other event.
            _LOG.info("event %s: nothing is made ready: %s", grant.id, error)


async def _warm(grant: SeatGrant, engine: Engine) -> None:
    """Pulls the image, and says whose sessions are to be started."""
    if (
        grant.prewarm is Prewarm.NONE
        or grant.warmed_at is not None
        or grant.warm_at > utc_now()
        or not await _claim(grant)
    ):
        return
    template = await session_templates.get_template(grant.template)
    try:
        async with asyncio.timeout(_PULL_SECONDS):
            await engine.pull(template.image)
    except TimeoutError:
        return
    except EngineRefusedError as error:
        _LOG.warning("event %s: %s", grant.id, error.detail)
    wanted: list[WantedSession] = []
    if grant.prewarm is Prewarm.START:
        wanted = [
            WantedSession(user_id=user_id, until=grant.closes_at)
            for user_id in await rsvps.guest_ids(grant.id, waiting=False)
        ]

    def warmed(now: SeatGrant) -> SeatGrant:
        return now.wanting(wanted).model_copy(
            update={"warmed_at": utc_now(), "due_at": utc_now()}
        )

    await seat_grants.change(grant.id, changed=warmed)


async def _start_wanted(grant: SeatGrant) -> None:
    """Starts some of the sessions that are to be started on seats."""
    if not grant.wanted or not await _claim(grant):
        return
    room = _room(await sessions.list_of_event(grant.id))
    done = {
        wanted.user_id
        for wanted in grant.wanted[:room]
        if await _start_on_seat(grant.id, wanted)
    }

    def begun(now: SeatGrant) -> SeatGrant:
        # Whoever could not start lets the others go first.
        left = [each for each in now.wanted if each.user_id not in done]
        tried = {each.user_id for each in grant.wanted[:room]}
        left.sort(key=lambda each: each.user_id in tried)
        return now.model_copy(update={"wanted": left, "due_at": utc_now()})

    await seat_grants.change(grant.id, changed=begun)


async def _start_on_seat(event_id: str, wanted: WantedSession) -> bool:
    """Starts a session on a seat; False when that is to be tried again."""
    user_id = wanted.user_id

    async def work() -> None:
        right = await event_compute.entitle_early(event_id, user_id=user_id)
        await sessions.create(
            SessionOrder(
                owner_id=user_id,
                template=await session_templates.get_template(right.template),
                gpus=right.gpus,
                expires_at=right.ends_at,
                event_id=event_id,
            )
        )

    try:
        await run_in_turn(work)
    except NotEntitledError:
        return True
    except SessionStateError as error:
        # The one before ends, or is about to, or they were faster themselves.
        waits = (
            error.facts["state"] == SessionStatus.STOPPING
            or error.facts["session_id"] == wanted.instead_of
        )
        return not waits or wanted.until < utc_now()
    except NoGpuFreeError:
        return wanted.until < utc_now()
    return True


async def _rehearse(grant: SeatGrant) -> None:
    """Goes on with the rehearsal of an event, if one runs."""
    rehearsal = grant.rehearsal
    if rehearsal is None or rehearsal.report is not None:
        return
    if rehearsal.due_at > utc_now():
        return
    claimed = await _note(grant.id, rehearsal, due_at=utc_now() + CLAIM)
    if not claimed:
        return
    found = await sessions.list_of_event(rehearsal.id)
    late = utc_now() >= rehearsal.ends_at
    missing = rehearsal.sessions - len(found) - len(rehearsal.refused)
    if missing > 0 and not late:
        refused = list(rehearsal.refused)
        for _ in range(min(missing, _room(found))):
            refused += await _start_rehearsed(grant.id, rehearsal)
        await _note(
            grant.id,
            rehearsal,
            refused=refused,
            begun=len(await sessions.list_of_event(rehearsal.id))
            + len(refused),
            due_at=utc_now(),
        )
    elif late or not _starting(found):
        # Ended first: whoever reports and is killed leaves nothing running.
        await sessions.end_of_event(rehearsal.id, reason=EndReason.REHEARSED)
        await _note(
            grant.id, rehearsal, report=report_of(rehearsal, found)
        )
    else:
        await _note(grant.id, rehearsal, due_at=utc_now())


async def _start_rehearsed(event_id: str, rehearsal: Rehearsal) -> list[str]:
    """Starts one more session of a rehearsal; why not, where it can't be."""

    async def work() -> None:
        # Again, in the transaction: it may have been taken back, or be over,
        # if this worker was taken for dead.
        grant = await seat_grants.get_grant(event_id)
        now = grant.rehearsal
        if now is None or now.id != rehearsal.id or now.report is not None:
            raise EventComputeNotFoundError(event_id)
        await sessions.create(
            SessionOrder(
                owner_id=rehearsal.owner_id,
                template=await session_templates.get_template(grant.template),
                gpus=grant.gpus_per_seat,
                expires_at=rehearsal.ends_at + _SPARE,
                event_id=rehearsal.id,
                places=rehearsal.sessions,
                lets_pass=True,
            )
        )

    try:
        await run_in_turn(work)
    except EventComputeNotFoundError:
        raise
    except MusterError as error:
        return [error.detail]
    return []


def report_of(
    rehearsal: Rehearsal, found: Sequence[Session]
) -> RehearsalReport:
    """How a rehearsal went, by its sessions."""
    seconds = [
        (session.running_at - session.created_at).total_seconds()
        for session in found
        if session.running_at is not None
    ]
    errors = Counter(rehearsal.refused)
    errors.update(
        session.error or "It did not answer in time."
        for session in found
        if session.running_at is None
    )
    never = rehearsal.sessions - len(found) - len(rehearsal.refused)
    if never > 0:
        errors["It was not begun in time."] += never
    return RehearsalReport(
        came_up=len(seconds),
        p50_seconds=round(median(seconds), 3) if seconds else None,
        max_seconds=round(max(seconds), 3) if seconds else None,
        errors=dict(errors),
    )


async def run_in_turn(work: Callable[[], Awaitable[None]]) -> None:
    """Runs `work`, which leases GPUs, as one transaction."""
    while True:
        try:
            return await transactions.run(work, turn=gpus.TURN)
        except db.DuplicateKeyError:
            # Another request took the place first: it is seen now.
            continue


async def _claim(grant: SeatGrant) -> bool:
    """Says that this worker goes on with a grant, if nobody does."""

    def claimed(now: SeatGrant) -> SeatGrant | None:
        if now.due_at > utc_now() or now.warmed_at != grant.warmed_at:
            return None
        return now.model_copy(update={"due_at": utc_now() + CLAIM})

    return await seat_grants.change(grant.id, changed=claimed) is not None


async def _note(
    event_id: str,
    rehearsal: Rehearsal,
    *,
    due_at: datetime | None = None,
    refused: list[str] | None = None,
    begun: int | None = None,
    report: RehearsalReport | None = None,
) -> bool:
    """Writes down how a rehearsal goes; False when others were faster.

    Each note makes `rehearsal` the state that the next one is compared with.
    """
    given = {
        "due_at": due_at, "refused": refused, "begun": begun, "report": report
    }  # fmt: skip
    fields = {key: value for key, value in given.items() if value is not None}
    new = rehearsal.model_copy(update=fields)

    def noted(now: SeatGrant) -> SeatGrant | None:
        if now.rehearsal != rehearsal:
            return None
        return now.model_copy(update={"rehearsal": new})

    if await seat_grants.change(event_id, changed=noted) is None:
        return False
    for key, value in fields.items():
        setattr(rehearsal, key, value)
    return True


def _room(found: Sequence[Session]) -> int:
    """How many more may be started now."""
    return max(0, AT_ONCE - len(_starting(found)))


def _starting(found: Sequence[Session]) -> list[Session]:
    return [each for each in found if each.status is SessionStatus.STARTING]
