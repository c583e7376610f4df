"""Every operation of /openapi.json, asked for by everybody.

Each line of `tests/routes/access.py` is proven: who is let in succeeds, the
others are told so, and change nothing.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Final, NamedTuple

import httpx
import pytest

from config import cache, db
from models.scopes import ADMIN_SCOPES, Scope
from tests.contract import Operation, check_declared, operations
from tests.factories import Member
from tests.routes.access import ACCESS, HOSTS, MEMBERS, MISSING, Who
from tests.routes.worlds import World, clear, signed, state
from utils.collections import declared_indexes

Client = httpx.AsyncClient

_ALL: Final = frozenset(Scope)

# Who is asked for a key: whoever is further from being an admin.
_RANKS: Final = [Who.MEMBER, Who.OWNER, Who.OTHER, Who.ORGANISER, Who.ADMIN]

# What is asked of one event, and not by admins alone.
_OF_EVENTS: Final = sorted(
    (method, path)
    for (method, path), access in ACCESS.items()
    if ("{event_id}" in path or "{feedback_id}" in path)
    and access.admitted != {Who.ADMIN}
)


@pytest.fixture(name="world", scope="module")
async def _world(services: None) -> AsyncIterator[World]:
    """Made once, as passwords are hashed slowly."""
    del services  # The app's lifespan.
    yield await World.make()
    await db.wipe_test_database(declared_indexes())
    cache.forget_all()


@pytest.fixture(name="asking")
async def _asking(services: None) -> AsyncIterator[Client]:
    """As `client`, in the database of the world."""
    del services  # The app's lifespan.
    from app import app  # pylint: disable=import-outside-toplevel

    async with Client(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False),
        base_url="http://muster.test",
        event_hooks={"response": [check_declared]},
    ) as client:
        yield client
    await clear()


def _ways(operation: Operation) -> list[dict[str, list[Scope]]]:
    """The credentials that the document says an operation takes."""
    ways: list[dict[str, list[Scope]]]
    ways = operations()[operation].get("security", [{}])
    return ways


def _scopes(operation: Operation) -> frozenset[Scope]:
    """What a key must have; nothing where no key will do."""
    keys = [way["API key"] for way in _ways(operation) if "API key" in way]
    return frozenset(*keys)


class Caller(NamedTuple):
    """Somebody who asks.

    Attributes:
        name: what a failure calls them.
        shown: the headers with their credentials.
        told: the status that turns them away; None where they are let in.
        member: who they are, if they are let in and anybody.
    """

    name: str
    shown: Mapping[str, str]
    told: int | None = None
    member: Member | None = None


async def _refused(
    world: World, operation: Operation
) -> AsyncIterator[Caller]:
    access, scopes = ACCESS[operation], _scopes(operation)
    for who in MEMBERS - access.admitted:
        yield Caller(who, signed(world.members[who]), access.others)
    if Who.ANONYMOUS not in access.admitted:
        told = access.others if {} in _ways(operation) else 401
        yield Caller(Who.ANONYMOUS, {}, told)
    if access.is_blind:
        return
    for shown in world.disabled:
        yield Caller(f"disabled, by {list(shown)}", shown, 401)
    yield Caller("an expired key", world.expired, 401)
    admin = world.members[Who.ADMIN]
    for scope in scopes:
        shown = await world.key(admin, _ALL - {scope})
        yield Caller(f"a key without {scope}", shown, 403)
    if not scopes:
        yield Caller("any key", await world.key(admin, _ALL), 403)
    if Who.MEMBER not in access.admitted and not scopes & ADMIN_SCOPES:
        # Elsewhere, an admin's key does what a member's would.
        shown = await world.key(admin, _ALL - ADMIN_SCOPES)
        told = access.others if scopes else 403
        yield Caller("a key without admin scopes", shown, told)


async def _admitted(
    world: World, operation: Operation
) -> AsyncIterator[Caller]:
    access, scopes = ACCESS[operation], _scopes(operation)
    for who in sorted(access.admitted - {Who.ANONYMOUS}):
        member = await world.asker(who, operation)
        yield Caller(who, signed(member), member=member)
    if Who.ANONYMOUS in access.admitted:
        yield Caller(Who.ANONYMOUS, {})
    if access.is_blind:
        yield Caller("disabled", world.disabled[0])
        yield Caller("an expired key", world.expired)
    if scopes:
        # An admin's where nobody else will do, their own otherwise.
        who = min(access.admitted - {Who.ANONYMOUS}, key=_RANKS.index)
        member = await world.asker(who, operation)
        shown = await world.key(member, scopes)
        yield Caller(f"a key of {who}", shown, member=member)


class TestMatrix:
    def test_every_operation_has_a_line(self) -> None:
        assert set(ACCESS) == set(operations())
        assert set(MISSING) < set(ACCESS)

    @pytest.mark.parametrize("method, path", sorted(ACCESS))
    def test_the_document_says_the_same(self, method: str, path: str) -> None:
        access, ways = ACCESS[method, path], _ways((method, path))
        assert access.is_blind == (ways == [{}])
        if Who.ANONYMOUS in access.admitted:
            assert {} in ways
        if access.admitted == {Who.ADMIN}:
            assert _scopes((method, path)) & ADMIN_SCOPES

    @pytest.mark.parametrize("method, path", sorted(ACCESS))
    async def test_others_are_told_so_and_change_nothing(
        self, world: World, asking: Client, method: str, path: str
    ) -> None:
        callers = [each async for each in _refused(world, (method, path))]
        request = await world.prepare(asking, (method, path))
        before = await state()
        for caller in callers:
            response = await request.send(asking, caller.shown)
            _assert_refused(response, caller)
        assert await state() == before

    @pytest.mark.parametrize("method, path", sorted(ACCESS))
    async def test_who_may_is_let_in(
        self, world: World, asking: Client, method: str, path: str
    ) -> None:
        operation, request = (method, path), None
        async for caller in _admitted(world, operation):
            if request is None or method != "GET":
                request = await world.prepare(
                    asking, operation, caller.member
                )
            response = await request.send(asking, caller.shown)
            assert (
                response.is_success
                or response.status_code == MISSING.get(operation)
            ), f"{caller.name}: {response.text}"


class TestPrivateEvents:
    """They aren't there for who is neither invited, nor host, nor admin."""

    @pytest.mark.parametrize("method, path", _OF_EVENTS)
    async def test_strangers_find_nothing(
        self, world: World, asking: Client, method: str, path: str
    ) -> None:
        request = await world.prepare(asking, (method, path), public=False)
        member = signed(world.members[Who.MEMBER])
        callers = [Caller(Who.MEMBER, member, 404)]
        if {} in _ways((method, path)):
            callers.append(Caller(Who.ANONYMOUS, {}, 404))
        before = await state()
        for caller in callers:
            _assert_refused(await request.send(asking, caller.shown), caller)
        assert await state() == before

    @pytest.mark.parametrize(
        "method, path",
        [each for each in _OF_EVENTS if Who.MEMBER in ACCESS[each].admitted],
    )
    async def test_guests_and_hosts_are_let_in(
        self, world: World, asking: Client, method: str, path: str
    ) -> None:
        for who in (Who.OWNER, Who.OTHER, *sorted(HOSTS)):
            request = await world.prepare(asking, (method, path), public=False)
            shown = signed(world.members[who])
            response = await request.send(asking, shown)
            assert response.is_success, f"{who}: {response.text}"


def _assert_refused(response: httpx.Response, caller: Caller) -> None:
    about = f"{caller.name}: {response.text}"
    assert response.status_code == caller.told, about
