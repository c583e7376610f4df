"""The line for GPUs: strictly in order, whoever races."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from config import db
from models.base import new_id, utc_now
from models.logins import Actor
from models.session_errors import (
    NoGpuFreeError,
    NotEnoughGpusError,
    SessionRequestExistsError,
    SessionRequestNotFoundError,
)
from models.session_requests import RequestStatus, SessionRequest
from models.session_templates import SessionTemplate
from models.sessions import EndReason, Session, SessionOrder, SessionQuota
from models.users import Role, UserAdminUpdate
from tests import factories
from utils import accounts, gpus, session_line, session_requests, sessions
from utils.session_requests import COLLECTION

pytestmark = pytest.mark.usefixtures("database")

HOUR = timedelta(hours=1)


async def _template() -> SessionTemplate:
    return await factories.session_template("line", gpus_max=4, hours_max=8.0)


def _order(by: Actor, template: SessionTemplate, **more: Any) -> SessionOrder:
    defaults: dict[str, Any] = {
        "gpus": 1,
        "expires_at": utc_now() + HOUR,
        "quota": SessionQuota(concurrent=9, gpu_hours_per_week=999),
    }
    return SessionOrder(
        owner_id=by.user_id, template=template, **{**defaults, **more}
    )


async def _end(session: Session) -> None:
    await sessions.end(session.id, reason=EndReason.OWNER)
    ending = await sessions.find(session.id)
    assert ending is not None
    await sessions.finish(ending)


async def _promise(*, each: int, starts_at: datetime) -> None:
    """Has the one seat of an event grant so many GPUs."""
    host = factories.actor(Role.ADMIN)
    name = f"seat-{new_id()[:8]}"
    await factories.session_template(name, gpus_max=4)
    event = await factories.event(host, starts_at=starts_at, capacity=1)
    await factories.seat_grant(
        event,
        host,
        template=name,
        gpus_per_seat=each,
        opens_minutes_before=0,
    )


async def _held() -> dict[str, str | None]:
    return {gpu.id: gpu.request_id for gpu in await gpus.list_all()}


async def _now(request: SessionRequest) -> SessionRequest:
    found = await session_requests.find_request(request.id)
    assert found is not None
    return found


async def _make_late(request: SessionRequest) -> None:
    await db.collection(COLLECTION).update_one(
        {"_id": request.id},
        {"$set": {"offer_expires_at": utc_now() - HOUR}},
    )


class TestOffers:
    async def test_in_order(self) -> None:
        await factories.gpus(1)
        template = await _template()
        running = await sessions.create(_order(factories.actor(), template))
        members = [factories.actor() for _ in range(3)]
        line = [await factories.place_in_line(each) for each in members]
        assert await session_line.offer_due() == 0
        for member, place in zip(members, line, strict=True):
            await _end(running)
            assert await session_line.offer_due() == 1
            assert (await _now(place)).status is RequestStatus.OFFERED
            assert await _held() == {"GPU-00": place.id}
            running = await sessions.create(_order(member, template))
            assert running.gpu_ids == ["GPU-00"]
            assert (await _now(place)).status is RequestStatus.TAKEN
        assert await session_line.offer_due() == 0

    async def test_a_mail_says_so(self) -> None:
        await factories.gpus(1)
        member = await factories.member()
        place = await factories.place_in_line(member.actor)
        await session_line.offer_due()
        mails = db.collection("mails")
        mail = await mails.find_one({"key": f"session-offered:{place.id}"})
        assert mail is not None
        assert mail["user_id"] == member.user.id
        assert mail["facts"]["gpus"] == "1"

    async def test_nobody_else_takes_them(self) -> None:
        """Neither what is kept, nor what is free while others wait."""
        await factories.gpus(2)
        template = await _template()
        await factories.place_in_line(factories.actor())
        await factories.place_in_line(factories.actor(), gpus=2)
        assert await session_line.offer_due() == 1
        with pytest.raises(NoGpuFreeError) as refused:
            await sessions.create(_order(factories.actor(), template))
        assert refused.value.facts["queue_length"] == 1

    async def test_a_small_wish_does_not_overtake(self) -> None:
        await factories.gpus(2)
        template = await _template()
        await sessions.create(_order(factories.actor(), template))
        large = await factories.place_in_line(factories.actor(), gpus=2)
        await factories.place_in_line(factories.actor())
        assert await session_line.offer_due() == 0
        assert (await _now(large)).status is RequestStatus.WAITING

    async def test_what_nobody_has_holds_up_nobody(self) -> None:
        await factories.gpus(1)
        gone = await factories.place_in_line(factories.actor(), gpus=3)
        small = await factories.place_in_line(factories.actor())
        assert await session_line.offer_due() == 1
        assert (await _now(gone)).status is RequestStatus.WAITING
        assert (await _now(small)).status is RequestStatus.OFFERED

    async def test_what_was_promised_holds_up_nobody(self) -> None:
        """Neither in line nor beside it; what is free then is not barred."""
        await factories.gpus(2)
        template = await _template()
        await _promise(each=2, starts_at=utc_now() + 24 * HOUR)
        members = [factories.actor() for _ in range(2)]
        barred = await factories.place_in_line(members[0], hours=30.0)
        await sessions.create(_order(factories.actor(), template))
        short = await factories.place_in_line(members[1])
        assert await session_line.offer_due() == 1
        assert (await _now(barred)).status is RequestStatus.WAITING
        assert (await _now(short)).status is RequestStatus.OFFERED

    async def test_seats_are_not_promised_what_is_offered(self) -> None:
        """Neither while it is offered, nor for its hours from then on."""
        await factories.gpus(1)
        await factories.place_in_line(factories.actor())
        await session_line.offer_due()
        with pytest.raises(NotEnoughGpusError):
            await _promise(each=1, starts_at=utc_now() + 1.1 * HOUR)
        await _promise(each=1, starts_at=utc_now() + 1.2 * HOUR)

    async def test_ones_own_offer_counts_beside_ones_session(self) -> None:
        await factories.gpus(2)
        member = factories.actor()
        await _promise(each=1, starts_at=utc_now() + 2 * HOUR)
        session = await sessions.create(_order(member, await _template()))
        await factories.place_in_line(member, hours=3.0)
        assert await session_line.offer_due() == 1
        quota = SessionQuota(concurrent=9, gpu_hours_per_week=999)
        with pytest.raises(NoGpuFreeError):
            await sessions.extend(
                session.id, hours=2, quota=quota, actor=member
            )

    async def test_what_is_not_taken_goes_on(self) -> None:
        await factories.gpus(1)
        template = await _template()
        late, early = factories.actor(), factories.actor()
        first = await factories.place_in_line(late)
        second = await factories.place_in_line(early)
        await session_line.offer_due()
        await _make_late(first)
        with pytest.raises(NoGpuFreeError):
            await sessions.create(_order(late, template))
        assert await session_line.offer_due() == 1
        assert (await _now(first)).status is RequestStatus.EXPIRED
        assert await _held() == {"GPU-00": second.id}
        # Who was late may get in line again.
        await factories.place_in_line(late)

    async def test_another_session_than_was_offered(self) -> None:
        await factories.gpus(2)
        template = await _template()
        member = factories.actor()
        await factories.place_in_line(member)
        await factories.place_in_line(factories.actor(), gpus=2)
        await session_line.offer_due()
        for other in ({"gpus": 2}, {"expires_at": utc_now() + 2 * HOUR}):
            with pytest.raises(NoGpuFreeError):
                await sessions.create(_order(member, template, **other))

    async def test_what_is_kept_for_nobody(self) -> None:
        await factories.gpus(2)
        place = await factories.place_in_line(factories.actor())
        await session_line.offer_due()
        await gpus.hold(1, request_id="nobody")
        await session_line.offer_due()
        assert list((await _held()).values()) == [place.id, None]

    @pytest.mark.usefixtures("turns")
    async def test_workers_that_offer_at_once(self) -> None:
        await factories.gpus(2)
        line = [
            await factories.place_in_line(factories.actor()) for _ in range(4)
        ]
        offered = await asyncio.gather(
            *(session_line.offer_due() for _ in range(4))
        )
        assert sum(offered) == 2
        statuses = [(await _now(place)).status for place in line]
        assert statuses == ["offered", "offered", "waiting", "waiting"]
        assert set((await _held()).values()) == {line[0].id, line[1].id}

    @pytest.mark.usefixtures("turns")
    async def test_taken_while_it_expires(self) -> None:
        """One of both, and never a GPU that is kept and leased."""
        await factories.gpus(1)
        template = await _template()
        member = factories.actor()
        place = await factories.place_in_line(member)
        await session_line.offer_due()
        soon = utc_now() + timedelta(milliseconds=20)
        await db.collection(COLLECTION).update_one(
            {"_id": place.id}, {"$set": {"offer_expires_at": soon}}
        )
        await asyncio.gather(
            sessions.create(_order(member, template)),
            *(session_line.offer_due() for _ in range(3)),
            return_exceptions=True,
        )
        await asyncio.sleep(0.03)
        await session_line.offer_due()
        status = (await _now(place)).status
        gpu = (await gpus.list_all())[0]
        assert status in (RequestStatus.TAKEN, RequestStatus.EXPIRED)
        assert gpu.request_id is None
        if status is RequestStatus.TAKEN:
            assert gpu.session_id is not None


class TestLeaving:
    async def test_frees_what_is_kept(self) -> None:
        await factories.gpus(1)
        member = factories.actor()
        place = await factories.place_in_line(member)
        await session_line.offer_due()
        await session_line.leave(place.id, actor=member)
        assert await _held() == {"GPU-00": None}
        with pytest.raises(SessionRequestNotFoundError):
            await session_line.leave(place.id, actor=member)

    async def test_not_mine(self) -> None:
        place = await factories.place_in_line(factories.actor())
        with pytest.raises(SessionRequestNotFoundError):
            await session_line.leave(place.id, actor=factories.actor())

    @pytest.mark.usefixtures("turns")
    async def test_while_it_is_offered(self) -> None:
        await factories.gpus(1)
        member = factories.actor()
        place = await factories.place_in_line(member)
        await asyncio.gather(
            session_line.offer_due(),
            session_line.leave(place.id, actor=member),
            session_line.offer_due(),
        )
        assert await _held() == {"GPU-00": None}
        assert await session_requests.length() == 0

    async def test_a_disabled_account(self) -> None:
        """Its sessions end, too."""
        await factories.gpus(2)
        template = await _template()
        member = await factories.member()
        session = await sessions.create(_order(member.actor, template))
        await factories.place_in_line(member.actor)
        await session_line.offer_due()
        await accounts.administer(
            member.user.id,
            UserAdminUpdate(disabled=True),
            actor=factories.actor(Role.ADMIN),
            if_match=(),
        )
        assert set((await _held()).values()) == {None}
        ending = await sessions.find(session.id)
        assert ending is not None
        assert ending.end_reason is EndReason.ADMIN

    async def test_a_closed_account(self) -> None:
        await factories.gpus(1)
        member = factories.actor()
        await factories.place_in_line(member)
        await session_line.offer_due()
        await session_line.leave_all(member.user_id)
        await session_line.leave_all(member.user_id)
        assert await _held() == {"GPU-00": None}
        assert await session_requests.list_of(member.user_id) == []


class TestPlaces:
    @pytest.mark.usefixtures("turns")
    async def test_nobody_waits_twice(self) -> None:
        member = factories.actor()
        come = [factories.place_in_line(member) for _ in range(5)]
        done = await asyncio.gather(*come, return_exceptions=True)
        refused = [e for e in done if isinstance(e, SessionRequestExistsError)]
        assert len(refused) == 4

    async def test_estimates(self) -> None:
        """They are the ends of sessions, and of what comes before."""
        await factories.gpus(2)
        template = await _template()
        for hours in (2, 5):
            until = utc_now() + hours * HOUR
            await sessions.create(
                _order(factories.actor(), template, expires_at=until)
            )
        members = [factories.actor() for _ in range(3)]
        places = [
            await factories.place_in_line(member, gpus=gpus_wanted, hours=1.0)
            for member, gpus_wanted in zip(members, (1, 1, 2), strict=True)
        ]
        waits = []
        for number, (member, place) in enumerate(
            zip(members, places, strict=True), start=1
        ):
            seen = await session_line.get_place(place.id, actor=member)
            assert seen.position == number
            assert seen.estimated_at is not None
            waits.append(round((seen.estimated_at - utc_now()) / HOUR))
        assert waits == [2, 3, 5]

    async def test_what_nothing_frees(self) -> None:
        await factories.gpus(1)
        member = factories.actor()
        place = await factories.place_in_line(member, gpus=2)
        seen = await session_line.get_place(place.id, actor=member)
        assert seen.estimated_at is None
