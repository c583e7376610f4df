"""Leases and documents of sessions, without an engine."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from config import db
from models.base import new_id, utc_now
from models.gpus import Gpu
from models.logins import Actor
from models.session_errors import (
    NoGpuFreeError,
    SessionNotFoundError,
    SessionStateError,
    TooManySessionsError,
)
from models.session_templates import SessionTemplate
from models.sessions import (
    EndReason,
    Session,
    SessionOrder,
    SessionQuota,
    SessionStatus,
)
from models.users import Role
from tests import factories
from utils import gpus, sessions

pytestmark = pytest.mark.usefixtures("database")

HOUR = timedelta(hours=1)
TEMPLATE = SessionTemplate(
    name="notebook",
    image="lab:1",
    port=8888,
    gpus_max=4,
    memory_mb=64,
    cpus=1,
    hours_max=8,
)
PLENTY = SessionQuota(concurrent=100, gpu_hours_per_week=10_000)


@dataclass(frozen=True)
class Device:
    """A GPU that a machine shows."""

    id: str
    name: str = "Test GPU"
    memory_mb: int = 1024
    healthy: bool = True
    node: str = ""


async def _inventory(count: int) -> Sequence[Device]:
    devices = [Device(f"GPU-{number}") for number in range(count)]
    await gpus.sync(devices)
    return devices


def _order(**overrides: Any) -> SessionOrder:
    defaults: dict[str, Any] = {
        "owner_id": new_id(),
        "template": TEMPLATE,
        "gpus": 1,
        "expires_at": utc_now() + HOUR,
        "quota": PLENTY,
    }
    return SessionOrder(**{**defaults, **overrides})


async def _leases() -> dict[str, str | None]:
    return {gpu.id: gpu.session_id for gpu in await gpus.list_all()}


async def _try(order: SessionOrder) -> Session | Exception:
    try:
        return await sessions.create(order)
    except (NoGpuFreeError, TooManySessionsError, SessionStateError) as error:
        return error


async def _over(session: Session) -> Session:
    await sessions.end(session.id, reason=EndReason.OWNER)
    ending = await sessions.find(session.id)
    assert ending is not None
    done = await sessions.finish(ending)
    assert done is not None
    return done


def _owner(session: Session) -> Actor:
    return Actor(session.owner_id, "", Role.MEMBER)


class TestInventory:
    async def test_sees_changes(self) -> None:
        await gpus.sync([Device("a"), Device("b", healthy=False)])
        assert await gpus.count_healthy() == 1
        await gpus.sync([Device("b", memory_mb=7)])
        first, second = await gpus.list_all()
        assert (first.id, first.healthy) == ("a", False)
        assert (second.healthy, second.memory_mb) == (True, 7)

    async def test_what_has_not_changed_is_not_written(self) -> None:
        await gpus.sync([Device("a")])
        (before,) = await gpus.list_all()
        await gpus.sync([Device("a")])
        assert await gpus.list_all() == [before]

    async def test_a_gone_gpu_keeps_its_lease(self) -> None:
        (device,) = await _inventory(1)
        session = await sessions.create(_order())
        await gpus.sync([])
        assert await _leases() == {device.id: session.id}
        await gpus.sync([device])
        assert await _leases() == {device.id: session.id}
        with pytest.raises(NoGpuFreeError):
            await sessions.create(_order())

    async def test_what_comes_back_meanwhile_is_not_forgotten(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (device,) = await _inventory(1)
        await gpus.sync([])
        await db.collection(gpus.COLLECTION).update_one(
            {"_id": device.id}, {"$set": {"seen_at": utc_now() - 48 * HOUR}}
        )
        list_all = gpus.list_all

        async def read_and_come_back() -> list[Gpu]:
            found = await list_all()
            monkeypatch.undo()
            await gpus.sync([device])
            return found

        monkeypatch.setattr(gpus, "list_all", read_and_come_back)
        await gpus.sync([])
        assert await gpus.count_healthy() == 1

    async def test_several_workers_at_once(self) -> None:
        await asyncio.gather(*(_inventory(3) for _ in range(8)))
        assert await gpus.count_healthy() == 3


@pytest.mark.usefixtures("turns")
class TestRaces:
    async def test_four_of_fifty(self) -> None:
        await _inventory(4)
        tried = await asyncio.gather(*(_try(_order()) for _ in range(50)))
        won = [each for each in tried if isinstance(each, Session)]
        lost = [each for each in tried if isinstance(each, NoGpuFreeError)]
        assert (len(won), len(lost)) == (4, 46)
        leases = await _leases()
        assert sorted(leases.values(), key=str) == sorted(s.id for s in won)
        assert {s.gpu_ids[0]: s.id for s in won} == leases
        ends = min(session.expires_at for session in won).isoformat()
        first = ends.replace("+00:00", "Z")
        for error in lost:
            assert error.facts["earliest_expiry"] == first
            assert error.facts["free"] == 0

    async def test_all_or_nothing(self) -> None:
        await _inventory(4)
        tried = await asyncio.gather(
            *(_try(_order(gpus=3)) for _ in range(8))
        )
        (won,) = [each for each in tried if isinstance(each, Session)]
        leases = list((await _leases()).values())
        assert (leases.count(won.id), leases.count(None)) == (3, 1)

    async def test_quota_of_one_member(self) -> None:
        await _inventory(8)
        order = _order(quota=SessionQuota(2, 100.0))
        tried = await asyncio.gather(*(_try(order) for _ in range(10)))
        won = [each for each in tried if isinstance(each, Session)]
        assert sorted(str(each.slot) for each in won) == ["0", "1"]
        assert len(set((await _leases()).values()) - {None}) == 2

    async def test_one_session_a_seat(self) -> None:
        await _inventory(8)
        order = _order(quota=None, event_id=new_id(), gpus=0)
        tried = await asyncio.gather(*(_try(order) for _ in range(10)))
        assert sum(isinstance(each, Session) for each in tried) == 1
        assert sum(isinstance(each, SessionStateError) for each in tried) == 9

    async def test_one_session_a_seat_for_weeks(self) -> None:
        long = utc_now() + 30 * 24 * HOUR
        order = _order(quota=None, event_id=new_id(), gpus=0, expires_at=long)
        first = await sessions.create(order)
        await factories.age(first, hours=15 * 24)
        assert isinstance(await _try(order), SessionStateError)

    async def test_ended_by_many_finished_once(self) -> None:
        await _inventory(1)
        session = await sessions.create(_order())
        await asyncio.gather(
            *(sessions.end(session.id, reason=EndReason.OWNER) for _ in "abc")
        )
        ending = await sessions.find(session.id)
        assert ending is not None
        assert ending.status is SessionStatus.STOPPING
        done = await asyncio.gather(*(sessions.finish(ending) for _ in "abc"))
        assert [each is None for each in done].count(False) == 1
        assert set((await _leases()).values()) == {None}


class TestQuota:
    async def test_hours_of_seven_days(self) -> None:
        await _inventory(4)
        quota = SessionQuota(5, 10.0)
        order = _order(
            gpus=2, quota=quota, expires_at=utc_now() + 4 * HOUR
        )
        await sessions.create(order)
        with pytest.raises(TooManySessionsError) as refused:
            await sessions.create(order)
        assert refused.value.facts == {
            "quota": "gpu_hours_per_week", "limit": 10.0
        }  # fmt: skip
        assert int(refused.value.headers["Retry-After"]) > 7 * 24 * 3600
        one = _order(
            owner_id=order.owner_id,
            quota=quota,
            expires_at=utc_now() + 2 * HOUR,
        )
        await sessions.create(one)

    async def test_what_is_over_counts_as_long_as_it_ran(self) -> None:
        await _inventory(1)
        order = _order(
            quota=SessionQuota(1, 8.0), expires_at=utc_now() + 8 * HOUR
        )
        await _over(await sessions.create(order))
        # It had eight hours, and took next to none of them.
        later = _order(
            owner_id=order.owner_id,
            quota=order.quota,
            expires_at=utc_now() + 7.9 * HOUR,
        )
        await sessions.create(later)

    async def test_extending_counts(self) -> None:
        await _inventory(1)
        session = await sessions.create(_order())
        for hours, quota in ((7.5, PLENTY), (1, SessionQuota(1, 1.5))):
            with pytest.raises((SessionStateError, TooManySessionsError)):
                await sessions.extend(
                    session.id,
                    hours=hours,
                    quota=quota,
                    actor=_owner(session),
                )
        extended = await sessions.extend(
            session.id, hours=1, quota=PLENTY, actor=_owner(session)
        )
        assert extended.expires_at == session.expires_at + HOUR


class TestEnds:
    async def test_of_event_and_seat(self) -> None:
        await _inventory(3)
        event_id = new_id()
        one, two, own = [
            await sessions.create(order)
            for order in (
                _order(event_id=event_id, quota=None),
                _order(event_id=event_id, quota=None),
                _order(),
            )
        ]
        await sessions.end_seat(event_id, user_id=one.owner_id)
        await sessions.end_of_event(event_id)
        reasons = [
            (await sessions.get_session(s.id, actor=_owner(s))).end_reason
            for s in (one, two, own)
        ]
        assert reasons == [
            EndReason.SEAT_LOST, EndReason.EVENT_CANCELLED, None
        ]  # fmt: skip

    async def test_of_an_owner_forgets(self) -> None:
        await _inventory(2)
        live = await sessions.create(_order())
        over = await _over(
            await sessions.create(_order(owner_id=live.owner_id))
        )
        for _ in range(2):
            await sessions.end_of_owner(live.owner_id)
        assert await sessions.find(over.id) is None
        ending = await sessions.find(live.id)
        assert ending is not None
        await sessions.finish(ending)
        assert await sessions.find(live.id) is None
        assert set((await _leases()).values()) == {None}

    async def test_whoever_works_on_it_is_not_disturbed(self) -> None:
        session = await sessions.create(_order(gpus=0, claim="worker"))
        await sessions.end(session.id, reason=EndReason.OWNER)
        assert await sessions.list_due() == []
        kept = await sessions.keep(session.id, claimant="worker")
        assert kept is not None
        assert kept.status is SessionStatus.STOPPING
        assert await sessions.keep(session.id, claimant="other") is None

    async def test_whoever_lost_it_does_not_end_it(self) -> None:
        """It was taken for dead, and another brings the session up now."""
        session = await sessions.create(_order(gpus=0, claim="worker"))
        reason = EndReason.START_FAILED
        await sessions.end(session.id, reason=reason, claimant="lost")
        assert await sessions.find(session.id) == session
        await sessions.end(session.id, reason=reason, claimant="worker")
        ending = await sessions.find(session.id)
        assert ending is not None
        assert ending.status is SessionStatus.STOPPING

    async def test_lost_leases(self) -> None:
        await _inventory(2)
        session = await sessions.create(_order())
        await db.collection("gpu_inventory").update_one(
            {"_id": "GPU-1"}, {"$set": {"session_id": new_id()}}
        )
        assert await sessions.free_lost_leases() == 1
        assert await _leases() == {"GPU-0": session.id, "GPU-1": None}

    async def test_others_have_none(self) -> None:
        session = await sessions.create(_order(gpus=0))
        with pytest.raises(SessionNotFoundError):
            await sessions.get_session(
                session.id, actor=Actor(new_id(), "", Role.MEMBER)
            )
