"""What the session service does where engines fail, without one."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from config.engine import (
    Container,
    ContainerSpec,
    Engine,
    EngineAwayError,
    Usage,
)
from config.gpus import GpuSource
from models.base import new_id, utc_now
from models.session_errors import SessionRefusedError
from models.sessions import (
    EndReason,
    Session,
    SessionCreate,
    SessionStatus,
)
from models.users import Role
from tests import factories
from utils import session_limits, sessions
from utils.session_service import SessionService

pytestmark = pytest.mark.usefixtures("database")


class Containers:
    """An engine that has containers, of which some can't be removed."""

    def __init__(self, *there: str, stuck: Sequence[str] = ()) -> None:
        self.there = [*there]
        self.stuck = stuck

    async def check(self) -> None:
        """Returns: all is well."""

    async def ensure(self, spec: ContainerSpec) -> Container:
        """While this worker stalls, others end the session."""
        session = await sessions.find(spec.session_id)
        assert session is not None
        await sessions.end(session.id, reason=EndReason.OWNER)
        ending = await sessions.find(session.id)
        assert ending is not None
        await sessions.finish(ending)
        self.there.append(spec.session_id)
        return Container(spec.session_id, running=True)

    async def list_containers(self) -> Sequence[Container]:
        return [Container(each, running=True) for each in self.there]

    async def remove(self, session_id: str) -> None:
        if session_id in self.stuck:
            raise EngineAwayError("It is stuck.")
        self.there.remove(session_id)

    async def usage(self, session_id: str) -> Usage | None:
        raise EngineAwayError(f"{session_id} is not to be seen.")


def _service(engine: Containers) -> SessionService:
    as_engine: Engine = engine  # type: ignore[assignment]  # All that is asked.
    gpu_source: GpuSource = engine  # type: ignore[assignment]  # Never asked.
    return SessionService(as_engine, gpu_source)


async def test_one_that_is_stuck_holds_up_no_other() -> None:
    engine = Containers("a", "b", "c", stuck=["b"])
    await _service(engine).reconcile()
    assert engine.there == ["b"]


async def test_what_a_stalled_worker_started_is_removed() -> None:
    await factories.session_template()
    engine = Containers()
    wish = SessionCreate(template="notebook", gpus=0, hours=1.0)
    session = await _service(engine).start(
        wish, actor=factories.actor(), deed=None
    )
    assert session.status is SessionStatus.STOPPED
    assert not engine.there


async def test_a_deed_that_failed_says_so_again() -> None:
    template = await factories.session_template()
    owner, deed = factories.actor(Role.MEMBER), new_id()
    session = await factories.session(owner, template=template, deed=deed)
    await sessions.end(
        session.id, reason=EndReason.START_FAILED, error="No such image."
    )
    wish = SessionCreate(template="notebook", gpus=0, hours=1.0)
    with pytest.raises(SessionRefusedError) as refused:
        await _service(Containers()).start(wish, actor=owner, deed=deed)
    assert refused.value.detail == "No such image."


async def test_an_engine_that_is_away_is_no_rest() -> None:
    template = await factories.session_template(idle_minutes=5)
    session = await factories.session(factories.actor(), template=template)
    long_ago = utc_now() - timedelta(minutes=10)
    assert await sessions.change(
        session,
        status=SessionStatus.RUNNING,
        busy_at=long_ago,
        due_at=long_ago,
    )
    await _service(Containers(session.id)).look_after()
    now = await sessions.find(session.id)
    assert now is not None
    assert now.status is SessionStatus.RUNNING
    assert now.busy_at is not None
    assert now.busy_at > long_ago


@pytest.mark.parametrize(
    ("cpu_seconds", "is_work"),
    [(100.1, False), (100.2, True), (0.1, False), (0.2, True)],
)
async def test_work_is_what_was_worked_between_two_looks(
    cpu_seconds: float, is_work: bool
) -> None:
    """Also after a counter began anew, as of a container that was moved."""
    session: Session = await factories.session(factories.actor())
    now = utc_now()
    seen = session.model_copy(
        update={
            "cpu_seconds": 100.0,
            "looked_at": now - timedelta(seconds=15),
            "busy_at": now - timedelta(minutes=30),
        }
    )
    fields = session_limits.work_of(seen, cpu_seconds=cpu_seconds, now=now)
    assert ("busy_at" in fields) is is_work
    assert fields["cpu_seconds"] == cpu_seconds
