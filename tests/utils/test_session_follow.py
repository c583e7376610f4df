"""Leases follow an orchestrator that chooses GPUs by itself."""

import pytest

from config import db
from models.sessions import Session
from tests import factories
from tests.utils.test_sessions import Device
from utils import gpus, sessions

pytestmark = pytest.mark.usefixtures("database")


async def leases() -> dict[str, str | None]:
    """Who has which GPU."""
    return {gpu.id: gpu.session_id for gpu in await gpus.list_all()}


async def moved(session: Session, *gpu_ids: str) -> Session:
    """The session after the orchestrator has chosen."""
    found = await sessions.find(session.id)
    assert found
    await sessions.follow(found, host="10.0.0.2", host_port=7, gpu_ids=gpu_ids)
    found = await sessions.find(session.id)
    assert found
    return found


async def pair() -> tuple[Session, Session]:
    """Two sessions, of which each has one of three GPUs."""
    await gpus.sync([Device(f"GPU-{number}") for number in range(3)])
    first = await factories.session(factories.actor(), gpus=1)
    second = await factories.session(factories.actor(), gpus=1)
    assert first.gpu_ids + second.gpu_ids == ["GPU-0", "GPU-1"]
    return first, second


async def test_to_a_free_one() -> None:
    """What it leaves is free."""
    first, second = await pair()
    now = await moved(first, "GPU-2")
    assert (now.host, now.host_port, now.gpu_ids) == ("10.0.0.2", 7, ["GPU-2"])
    assert await leases() == {
        "GPU-0": None,
        "GPU-1": second.id,
        "GPU-2": first.id,
    }


async def test_exchanged() -> None:
    """Of two that were exchanged, none is ever in two sessions, or in none."""
    first, second = await pair()
    exchanged = {"GPU-0": second.id, "GPU-1": first.id, "GPU-2": None}
    await moved(first, "GPU-1")
    assert await leases() == exchanged
    assert (await moved(second, "GPU-0")).gpu_ids == ["GPU-0"]
    assert await leases() == exchanged


async def test_kept_for_who_waits() -> None:
    """Who is offered one that is taken is offered another."""
    first, _ = await pair()
    assert await gpus.hold(1, request_id="waiting")
    await moved(first, "GPU-2")
    held = {gpu.id: gpu.request_id for gpu in await gpus.list_all()}
    assert held == {"GPU-0": "waiting", "GPU-1": None, "GPU-2": None}


async def test_changed_meanwhile() -> None:
    """What was read too long ago changes nothing."""
    first, _ = await pair()
    before = await leases()
    await sessions.change(first, warned=True)
    await sessions.follow(first, host="x", host_port=1, gpu_ids=["GPU-2"])
    assert await leases() == before


async def test_no_orchestrator() -> None:
    """Where the engine chooses nothing, the lease stays as it is."""
    first, _ = await pair()
    before = await leases()
    await sessions.follow(first, host="10.0.0.3", host_port=8, gpu_ids=None)
    assert await leases() == before
    assert await db.collection(sessions.COLLECTION).count_documents(
        {"host": "10.0.0.3"}
    )
