"""Leases whatever happens, in any order: no GPU twice, none lost."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import db
from models.base import new_id, utc_now
from models.session_errors import NoGpuFreeError, TooManySessionsError
from models.sessions import EndReason, SessionStatus
from tests import factories
from tests.factories import HOUR
from tests.utils.test_sessions import Device
from utils import gpus, sessions
from utils.collections import declared_indexes

# What happens, with a number that says to whom or how many.
_DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["start", "end", "finish", "see", "hold", "unhold"]),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=25,
)


class _World:
    """What should be, by a simple model."""

    def __init__(self) -> None:
        self.seen = 0
        self.leases: dict[str, list[str]] = {}
        self.ending: list[str] = []
        self.held = 0
        self.request_id = new_id()

    async def start(self, count: int) -> None:
        """Somebody asks for so many GPUs, and gets all or none."""
        free = [
            gpu
            for gpu in await gpus.list_all()
            if gpu.healthy and gpu.session_id is None is gpu.request_id
        ]
        owner = factories.actor()
        try:
            session = await factories.session(
                owner, gpus=count, expires_at=utc_now() + HOUR
            )
        except (NoGpuFreeError, TooManySessionsError):
            living = sum(len(ids) for ids in self.leases.values())
            assert count > min(len(free), self.seen - living)
            return
        assert len(session.gpu_ids) == count <= len(free)
        self.leases[session.id] = session.gpu_ids

    async def end(self, which: int) -> None:
        """One that runs is to end; its GPUs stay with it."""
        running = [each for each in self.leases if each not in self.ending]
        if running:
            session_id = running[which % len(running)]
            await sessions.end(session_id, reason=EndReason.OWNER)
            self.ending.append(session_id)

    async def finish(self, which: int) -> None:
        """The container of one that ends is gone."""
        if self.ending:
            session_id = self.ending.pop(which % len(self.ending))
            found = await sessions.find(session_id)
            assert found is not None
            assert found.status is SessionStatus.STOPPING
            await sessions.finish(found)
            del self.leases[session_id]

    async def see(self, count: int) -> None:
        """The machine shows so many GPUs."""
        await gpus.sync([Device(f"GPU-{number}") for number in range(count)])
        self.seen = count

    async def hold(self, count: int) -> None:
        """So many more are kept for who is first in line."""
        if await gpus.hold(count, request_id=self.request_id):
            self.held += count

    async def unhold(self, _: int) -> None:
        """They have left the line."""
        await gpus.unhold(self.request_id)
        self.held = 0

    async def check(self) -> None:
        """The database says the same."""
        found = await gpus.list_all()
        had = {
            session_id: [
                gpu.id for gpu in found if gpu.session_id == session_id
            ]
            for session_id in self.leases
        }
        assert had == self.leases
        taken = [gpu for gpu in found if gpu.session_id is not None]
        assert len(taken) == sum(len(ids) for ids in self.leases.values())
        assert not [gpu for gpu in taken if gpu.request_id is not None]
        alive = {each.id for each in await sessions.list_alive()}
        assert alive == set(self.leases)


@pytest.mark.usefixtures("database")
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(deeds=_DEEDS)
async def test_they_agree(deeds: list[tuple[str, int]]) -> None:
    await db.wipe_test_database(declared_indexes())
    world = _World()
    await world.see(4)
    for deed, number in deeds:
        await getattr(world, deed)(number)
        await world.check()
