"""Prewarming and rehearsals, up to what the engine then does."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from config.engine import Container, Engine
from config.main import settings
from models.base import utc_now
from models.event_compute import (
    RehearsalReport,
    RehearsalStart,
    SeatGrant,
    WantedSession,
)
from models.events import Event
from models.session_errors import RehearsalRunsError
from models.sessions import EndReason, Session, SessionStatus
from tests import factories
from tests.factories import HOUR, Member
from utils import (
    event_compute,
    gpus,
    prewarming,
    rsvps,
    seat_grants,
    sessions,
)

pytestmark = pytest.mark.usefixtures("database")

_MINUTE = timedelta(minutes=1)


class Pulls:
    """An engine that has every image when it was asked for it."""

    def __init__(self) -> None:
        self.images: list[str] = []

    async def pull(self, image: str) -> None:
        self.images.append(image)

    async def list_containers(self) -> Sequence[Container]:
        return []


@pytest.fixture(name="engine")
def _engine() -> Pulls:
    return Pulls()


@pytest.fixture(name="host")
async def _host(database: None) -> Member:
    del database
    await factories.gpus(8)
    await factories.session_template()
    return await factories.admin()


async def go_on(engine: Pulls, workers: int = 3) -> None:
    """What several workers do at once."""
    as_engine: Engine = engine  # type: ignore[assignment]  # All that is asked.
    await asyncio.gather(
        *(prewarming.go_on(as_engine) for _ in range(workers))
    )


async def soon(host: Member, guests: int, **overrides: object) -> Event:
    """An event that starts in five minutes, with so many guests."""
    event = await factories.event(
        host.actor, starts_at=utc_now() + 5 * _MINUTE, capacity=max(guests, 1)
    )
    await factories.seat_grant(
        event, host.actor, **{"prewarm": "start", "prewarm_minutes": 10}
        | overrides,
    )  # fmt: skip
    for _ in range(guests):
        member = await factories.member()
        await rsvps.join(event.id, actor=member.actor)
    return event


async def up(session: Session, seconds: float = 1.0) -> None:
    """Has the port of a session answer."""
    at = session.created_at + timedelta(seconds=seconds)
    assert await sessions.change(
        session, status=SessionStatus.RUNNING, running_at=at
    )


async def over(session: Session) -> None:
    """Has somebody end a session, and its container be removed."""
    await sessions.end(session.id, reason=EndReason.ORGANISER)
    now = await sessions.find(session.id)
    assert now is not None and await sessions.finish(now)


async def all_up(event_id: str) -> None:
    for session in await sessions.list_of_event(event_id):
        if session.status is SessionStatus.STARTING:
            await up(session)


class TestWarm:
    async def test_each_guest_has_one_session_some_at_a_time(
        self, host: Member, engine: Pulls
    ) -> None:
        event = await soon(host, 6)
        await go_on(engine)
        await go_on(engine)
        found = await sessions.list_of_event(event.id)
        assert len(found) == prewarming.AT_ONCE
        # Nothing more while these come up.
        await go_on(engine)
        assert len(await sessions.list_of_event(event.id)) == len(found)
        await all_up(event.id)
        await go_on(engine)
        await go_on(engine)
        found = await sessions.list_of_event(event.id)
        assert len({session.owner_id for session in found}) == len(found) == 6
        assert all(session.expires_at == event.ends_at for session in found)
        assert engine.images == ["lab:1"]
        assert (await seat_grants.get_grant(event.id)).wanted == []

    async def test_not_yet(self, host: Member, engine: Pulls) -> None:
        event = await soon(host, 1, prewarm_minutes=1)
        await go_on(engine)
        assert engine.images == []
        assert await sessions.list_of_event(event.id) == []

    async def test_a_change_of_the_grant_does_not_begin_anew(
        self, host: Member, engine: Pulls
    ) -> None:
        event = await soon(host, 1)
        await go_on(engine)
        await go_on(engine)
        [session] = await sessions.list_of_event(event.id)
        await over(session)
        wish = {"prewarm": "start", "prewarm_minutes": 10}
        await factories.seat_grant(
            event, host.actor, **wish, closes_minutes_after=5
        )
        await go_on(engine)
        await go_on(engine)
        # Whoever ended theirs does not get another one.
        assert len(await sessions.list_of_event(event.id)) == 1
        await factories.seat_grant(
            event, host.actor, **wish, opens_minutes_before=1
        )
        await go_on(engine)
        await go_on(engine)
        assert len(await sessions.list_of_event(event.id)) == 2

    async def test_only_the_image(self, host: Member, engine: Pulls) -> None:
        event = await soon(host, 1, prewarm="image")
        await go_on(engine)
        await go_on(engine)
        assert engine.images == ["lab:1"]
        assert await sessions.list_of_event(event.id) == []

    async def test_who_left_meanwhile_gets_none(
        self, host: Member, engine: Pulls
    ) -> None:
        event = await soon(host, 0)
        gone = await factories.member()
        grant = await seat_grants.get_grant(event.id)
        wanted = WantedSession(user_id=gone.user.id, until=event.ends_at)
        await seat_grants.change(
            event.id,
            changed=lambda now: now.wanting([wanted]).model_copy(
                update={"warmed_at": utc_now()}
            ),
        )
        await go_on(engine)
        assert grant.wanted == []
        assert (await seat_grants.get_grant(event.id)).wanted == []
        assert await sessions.list_of_event(event.id) == []

    async def test_restarted_when_the_first_is_gone(
        self, host: Member, engine: Pulls
    ) -> None:
        event = await soon(host, 1)
        await go_on(engine)
        await go_on(engine)
        [first] = await sessions.list_of_event(event.id)
        await sessions.end(first.id, reason=EndReason.ORGANISER)
        until = utc_now() + HOUR
        wanted = WantedSession(user_id=first.owner_id, until=until)
        await seat_grants.change(
            event.id, changed=lambda now: now.wanting([wanted])
        )
        await go_on(engine)
        assert len(await sessions.list_of_event(event.id)) == 1
        now = await sessions.find(first.id)
        assert now is not None and await sessions.finish(now)
        await go_on(engine)
        alive = [
            session
            for session in await sessions.list_of_event(event.id)
            if session.status is SessionStatus.STARTING
        ]
        assert [each.owner_id for each in alive] == [first.owner_id]


    async def test_a_restart_waits_for_the_end_of_the_first(
        self, host: Member, engine: Pulls
    ) -> None:
        event = await soon(host, 1)
        await go_on(engine)
        await go_on(engine)
        [first] = await sessions.list_of_event(event.id)
        await up(first)
        wanted = WantedSession(
            user_id=first.owner_id,
            until=utc_now() + HOUR,
            instead_of=first.id,
        )
        await seat_grants.change(
            event.id, changed=lambda now: now.wanting([wanted])
        )
        # Whoever wrote so has not ended it yet.
        await go_on(engine)
        assert (await seat_grants.get_grant(event.id)).wanted == [wanted]
        await over(first)
        await go_on(engine)
        assert (await seat_grants.get_grant(event.id)).wanted == []
        assert len(await sessions.list_of_event(event.id)) == 2


class TestKilled:
    """A worker may die at any point; another one goes on."""

    @pytest.mark.parametrize("step", range(1, 12))
    async def test_none_is_started_twice(
        self,
        host: Member,
        engine: Pulls,
        monkeypatch: pytest.MonkeyPatch,
        step: int,
    ) -> None:
        event = await soon(host, 3)
        await _die_at(step, monkeypatch)
        for _ in range(3):
            with suppress(_KilledError):
                await go_on(engine, workers=1)
        monkeypatch.undo()
        await _forget_claims(event)
        for _ in range(3):
            await go_on(engine)
        found = await sessions.list_of_event(event.id)
        assert len({session.owner_id for session in found}) == len(found) == 3

    @pytest.mark.parametrize("step", range(1, 12))
    async def test_a_rehearsal_is_exact(
        self,
        host: Member,
        engine: Pulls,
        monkeypatch: pytest.MonkeyPatch,
        step: int,
    ) -> None:
        event = await soon(host, 0, prewarm="none")
        rehearsal = await event_compute.start_rehearsal(
            event.id, RehearsalStart(sessions=3), actor=host.actor
        )
        await _die_at(step, monkeypatch)
        for _ in range(3):
            with suppress(_KilledError):
                await go_on(engine, workers=1)
                await all_up(rehearsal.id)
        monkeypatch.undo()
        for _ in range(4):
            await _forget_claims(event)
            await go_on(engine)
            await all_up(rehearsal.id)
        now = await event_compute.get_rehearsal(event.id, actor=host.actor)
        assert now.report is not None and now.report.came_up == 3
        found = await sessions.list_of_event(rehearsal.id)
        assert [each.end_reason for each in found] == [EndReason.REHEARSED] * 3


class _KilledError(BaseException):
    """Nothing that a worker does comes after this."""


async def _die_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a worker die after so many of its writes."""
    left = step

    def deadly(write: Callable[..., Awaitable[object]]) -> Any:
        async def do(*args: Any, **kwargs: Any) -> object:
            nonlocal left
            result = await write(*args, **kwargs)
            left -= 1
            if left == 0:
                raise _KilledError
            return result

        return do

    monkeypatch.setattr(seat_grants, "change", deadly(seat_grants.change))
    # What it is a part of is committed by then.
    monkeypatch.setattr(
        prewarming, "run_in_turn", deadly(prewarming.run_in_turn)
    )
    monkeypatch.setattr(
        sessions, "end_of_event", deadly(sessions.end_of_event)
    )


async def _forget_claims(event: Event) -> None:
    """Has the time pass after which a dead worker is followed."""

    def passed(grant: SeatGrant) -> SeatGrant:
        rehearsal = grant.rehearsal
        if rehearsal is not None:
            rehearsal.due_at = utc_now()
        return grant.model_copy(
            update={"due_at": utc_now(), "rehearsal": rehearsal}
        )

    await seat_grants.change(event.id, changed=passed)


class TestRehearse:
    async def rehearsed(
        self, event: Event, host: Member, engine: Pulls, count: int
    ) -> RehearsalReport:
        """A rehearsal whose sessions all come up."""
        wish = RehearsalStart(sessions=count)
        rehearsal = await event_compute.start_rehearsal(
            event.id, wish, actor=host.actor
        )
        for _ in range(20):
            await go_on(engine)
            await all_up(rehearsal.id)
            now = await event_compute.get_rehearsal(event.id, actor=host.actor)
            if now.report is not None:
                ended = await sessions.list_of_event(rehearsal.id)
                for session in ended:
                    await sessions.finish(session)
                assert {each.end_reason for each in ended} <= {
                    EndReason.REHEARSED
                }
                return now.report
        raise AssertionError("it does not end")

    async def test_comes_up(self, host: Member, engine: Pulls) -> None:
        event = await soon(host, 2, prewarm="none", opens_minutes_before=0)
        report = await self.rehearsed(event, host, engine, 6)
        assert (report.came_up, report.errors) == (6, {})
        assert report.p50_seconds == report.max_seconds == 1.0
        # Another one may follow.
        report = await self.rehearsed(event, host, engine, 1)
        assert report.came_up == 1

    async def test_lets_those_in_line_go_first(
        self, host: Member, engine: Pulls
    ) -> None:
        event = await soon(host, 0, prewarm="none")
        await factories.place_in_line(factories.actor())
        report = await self.rehearsed(event, host, engine, 1)
        assert report.came_up == 0

    async def test_says_what_went_wrong(
        self, host: Member, engine: Pulls
    ) -> None:
        event = await soon(host, 0, prewarm="none")
        await factories.gpus(2)
        for gpu_id in await gpus.lease(1, session_id="other") or ():
            assert gpu_id
        report = await self.rehearsed(event, host, engine, 3)
        assert report.came_up == 1
        assert sum(report.errors.values()) == 2

    async def test_one_at_a_time(self, host: Member) -> None:
        event = await soon(host, 0)
        wish = RehearsalStart(sessions=1)
        results = await asyncio.gather(
            *(
                event_compute.start_rehearsal(event.id, wish, actor=host.actor)
                for _ in range(4)
            ),
            return_exceptions=True,
        )
        faults = [each for each in results if isinstance(each, Exception)]
        assert len(faults) == 3
        assert all(isinstance(each, RehearsalRunsError) for each in faults)

    async def test_its_owner_is_not_warned(
        self, host: Member, engine: Pulls
    ) -> None:
        event = await soon(host, 0)
        rehearsal = await event_compute.start_rehearsal(
            event.id, RehearsalStart(sessions=1), actor=host.actor
        )
        await go_on(engine)
        [session] = await sessions.list_of_event(rehearsal.id)
        ahead = timedelta(minutes=settings.session_warning_minutes)
        assert session.expires_at - ahead > rehearsal.ends_at

    async def test_none_is_started_when_it_is_over(
        self, host: Member, engine: Pulls, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        event = await soon(host, 0, prewarm="none")
        rehearsal = await event_compute.start_rehearsal(
            event.id, RehearsalStart(sessions=1), actor=host.actor
        )
        run = prewarming.run_in_turn

        async def late(work: Callable[[], Awaitable[None]]) -> None:
            # Another worker reports, as this one was taken for dead.
            def done(grant: SeatGrant) -> SeatGrant:
                assert grant.rehearsal is not None
                grant.rehearsal.report = RehearsalReport(
                    came_up=0, p50_seconds=None, max_seconds=None
                )
                return grant

            await seat_grants.change(event.id, changed=done)
            await run(work)

        monkeypatch.setattr(prewarming, "run_in_turn", late)
        await go_on(engine, workers=1)
        assert await sessions.list_of_event(rehearsal.id) == []

    async def test_taken_back_meanwhile(
        self, host: Member, engine: Pulls
    ) -> None:
        event = await soon(host, 0)
        rehearsal = await event_compute.start_rehearsal(
            event.id, RehearsalStart(sessions=2), actor=host.actor
        )
        await go_on(engine)
        await go_on(engine)
        await event_compute.unset_compute(event.id, actor=host.actor)
        await go_on(engine)
        found = await sessions.list_of_event(rehearsal.id)
        assert found
        assert {each.status for each in found} == {SessionStatus.STOPPING}
