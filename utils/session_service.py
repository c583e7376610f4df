"""Session service: brings sessions up, looks after them, takes them down.

Owns no collection. May call: event_compute, gpus, mails, session_limits,
session_quotas, session_templates, session_texts, sessions.

What is to be is written first (`sessions`), and done afterwards, by whoever
claims it. A claim is a lease of some seconds: of a worker that is killed at any
point another one takes the session over, and repeats the step that it is at;
each step may be repeated. So a container exists only while a session that lives
says so, and GPUs are given back only when their container is gone. What is
left after all, `reconcile` finds by comparing what the engine has with what is
written.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from config import db, ports, transactions
from config.chores import end_all, end_if_cancelled
from config.engine import (
    Container,
    Engine,
    EngineAwayError,
    EngineFault,
    EngineRefusedError,
    EngineUnfitError,
)
from config.gpus import GpuSource
from config.main import settings
from models.base import new_id, utc_now
from models.exceptions import InvalidRequestError
from models.logins import Actor
from models.session_errors import (
    EngineUnavailableError,
    NoGpuFreeError,
    NotEntitledError,
    SessionRefusedError,
    SessionStateError,
)
from models.sessions import (
    EndReason,
    Session,
    SessionCreate,
    SessionOrder,
    SessionStats,
    SessionStatus,
)
from utils import (
    event_compute,
    gpus,
    mails,
    session_limits,
    session_quotas,
    session_templates,
    session_texts,
    sessions,
)

Result = TypeVar("Result")

_LOG: Final = logging.getLogger("muster.sessions")

# A claim is renewed so often while a step takes long, such as a pull.
_RENEWAL_SECONDS: Final = 10.0
# What a step may take to hand its session on when this process ends.
_LAST_STEP_SECONDS: Final = 5.0
# When a step is tried again that the engine was not there for.
_AWAY: Final = timedelta(seconds=5)
_PROBE: Final = timedelta(seconds=0.5)
_IDLE_LOOK: Final = timedelta(seconds=15)
# How long who has a seat now waits for the GPU of who had it before.
_HANDOVER: Final = timedelta(seconds=20)
_HANDOVER_LOOK_SECONDS: Final = 0.25
_MEGABYTE: Final = 1024 * 1024


class SessionService:
    """Sessions on an engine; each process has one.

    Args:
        engine: what runs containers.
        inventory: what knows the GPUs.
    """

    def __init__(self, engine: Engine, inventory: GpuSource) -> None:
        self._engine = engine
        self._inventory = inventory
        self._me = new_id()
        self._steps: set[asyncio.Task[Any]] = set()
        self._is_checked = False

    async def aclose(self) -> None:
        """Leaves what is under way to other workers."""
        await end_all(self._steps, again_seconds=_LAST_STEP_SECONDS)

    # What members do.

    async def start(
        self, wish: SessionCreate, *, actor: Actor, deed: str | None
    ) -> Session:
        """Starts a session; its port may answer later.

        Args:
            wish: what the caller asks for.
            actor: the caller.
            deed: names the wish, which is fulfilled once.

        Raises:
            TemplateNotFoundError: there is no such template.
            InvalidRequestError: the template does not allow so much.
            NotEntitledError, EventNotFoundError: see `event_compute.entitle`.
            NoGpuFreeError, TooManySessionsError: see `sessions.create`.
            SessionStateError: the seat has a session.
            SessionRefusedError: the engine can't start it; nothing is left.
            EngineUnavailableError: it does not answer, or can't keep sessions
                apart.
        """
        async with _engine_asked():
            await self._engine.check()
        if wish.event_id is None:
            order = await self._own_order(wish, actor, deed)
            session = await sessions.create(order)
        else:
            session = await self._create_on_seat(
                wish.event_id, wish, actor, deed
            )
        if session.claim != self._me:
            # The deed was done before.
            if session.end_reason is EndReason.START_FAILED:
                raise SessionRefusedError(
                    fault=EngineFault.REFUSED, detail=session.error or ""
                )
            return session
        # Whoever asks may leave: it goes on.
        return await asyncio.shield(self._begin(self._bring_up(session)))

    async def end(self, session_id: str, *, actor: Actor) -> None:
        """Ends a session; what is over stays so.

        Raises:
            SessionNotFoundError: there is none, or it is somebody else's.
        """
        session = await sessions.get_session(session_id, actor=actor)
        own = session.owner_id == actor.user_id
        reason = EndReason.OWNER if own else EndReason.ADMIN
        await sessions.end(session_id, reason=reason, actor=actor)

    async def open_logs(
        self, session_id: str, *, follow: bool, tail: int, actor: Actor
    ) -> AsyncIterator[bytes]:
        """What a session wrote, and with `follow` what it will; see `Engine`.

        Raises:
            SessionNotFoundError: there is none, or it is somebody else's.
            EngineUnavailableError: the engine does not answer.
        """
        await sessions.get_session(session_id, actor=actor)
        async with _engine_asked():
            await self._engine.find(session_id)
        return self._logs(session_id, follow, tail)

    async def stats(self, session_id: str, *, actor: Actor) -> SessionStats:
        """What a session uses at the moment.

        Raises:
            SessionNotFoundError: there is none, or it is somebody else's.
            SessionStateError: it does not run.
            EngineUnavailableError: the engine does not answer.
        """
        session = await sessions.get_session(session_id, actor=actor)
        async with _engine_asked():
            usage = await self._engine.usage(session_id)
        if usage is None:
            raise SessionStateError(
                session_id,
                status=session.status,
                detail="It does not run: there is nothing to measure.",
            )
        return SessionStats(
            cpu_percent=usage.cpu_percent,
            memory_mb=usage.memory_bytes / _MEGABYTE,
            memory_limit_mb=session.template.memory_mb,
            pids=usage.pids,
            network_received_mb=usage.received_bytes / _MEGABYTE,
            network_sent_mb=usage.sent_bytes / _MEGABYTE,
        )

    # What each worker does again and again.

    async def take_stock(self) -> None:
        """Writes down which GPUs there are."""
        with suppress(EngineAwayError):
            await gpus.sync(await self._inventory.read())

    async def look_after(self) -> None:
        """Takes the next step of each session that is due."""
        due = []
        for session in await sessions.list_due():
            claimed = await sessions.claim(session, claimant=self._me)
            if claimed is not None:
                due.append(self._begin(self._step(claimed)))
        # One that takes long, as a pull does, holds up no other one.
        if due:
            await asyncio.wait(due, timeout=1)

    async def reconcile(self) -> None:
        """Makes containers, sessions and leases agree.

        Documents are read after the containers were listed: a session that is
        begun meanwhile is among them, and its container is not removed.
        """
        try:
            found = await self._engine.list_containers()
            await self._check_once()
        except EngineAwayError:
            # They stay as they are: it may have them still.
            return
        alive = {each.id: each for each in await sessions.list_alive()}
        there = {each.session_id: each for each in found}
        stuck = []
        for session_id in there.keys() - alive.keys():
            try:
                await self._engine.remove(session_id)
            except EngineAwayError as error:
                # It may have its GPUs still; the others are seen to.
                stuck.append(session_id)
                _LOG.warning("%s is not removed: %s", session_id, error)
        for session in alive.values():
            if _should_run(session):
                try:
                    await self._compare(session, there.get(session.id))
                except EngineAwayError as error:
                    _LOG.warning("%s is not found: %s", session.id, error)
        await sessions.free_lost_leases(but=stuck)

    async def _check_once(self) -> None:
        """Tells operators early that no session will start here."""
        if not self._is_checked:
            self._is_checked = True
            try:
                await self._engine.check()
            except EngineUnfitError as error:
                _LOG.error("no session will start here: %s", error)

    # How a session starts.

    async def _own_order(
        self, wish: SessionCreate, actor: Actor, deed: str | None
    ) -> SessionOrder:
        template = await session_templates.get_template(wish.template)
        for field, asked, most in (
            ("gpus", wish.gpus, template.gpus_max),
            ("hours", wish.hours, template.hours_max),
        ):
            if asked > most:
                raise InvalidRequestError.at(
                    "body", field, msg=f"{most:g} are the most here"
                )
        return SessionOrder(
            owner_id=actor.user_id,
            template=template,
            gpus=wish.gpus,
            expires_at=utc_now() + timedelta(hours=wish.hours),
            quota=session_quotas.quota_of(actor.tier),
            claim=self._me,
            deed=deed,
        )

    async def _create_on_seat(
        self,
        event_id: str,
        wish: SessionCreate,
        actor: Actor,
        deed: str | None,
    ) -> Session:
        async def work() -> Session:
            granted = await event_compute.entitle(event_id, actor=actor)
            if granted.template != wish.template:
                raise NotEntitledError(
                    "Your seat grants sessions of the template "
                    f"{granted.template}."
                )
            if wish.gpus > granted.gpus:
                raise NotEntitledError(
                    f"Your seat grants sessions with {granted.gpus} GPUs."
                )
            order = SessionOrder(
                owner_id=actor.user_id,
                template=await session_templates.get_template(
                    granted.template
                ),
                gpus=wish.gpus,
                expires_at=granted.ends_at,
                event_id=event_id,
                claim=self._me,
                deed=deed,
            )
            return await sessions.create(order)

        patient_until = utc_now() + _HANDOVER
        while True:
            try:
                return await transactions.run(work, turn=gpus.TURN)
            except db.DuplicateKeyError:
                # Another request took the place first: it is seen now.
                continue
            except NoGpuFreeError:
                # The GPU of who had the seat before may be on its way back.
                late = utc_now() > patient_until
                if late or not await sessions.some_stop():
                    raise
            await asyncio.sleep(_HANDOVER_LOOK_SECONDS)

    async def _bring_up(
        self, session: Session, *, patience: timedelta = timedelta(0)
    ) -> Session:
        """Has the container of a claimed session started.

        Args:
            session: which.
            patience: so long an engine that is away is waited for, if at all.

        Raises:
            SessionRefusedError: the engine can't.
            EngineUnavailableError: it does not answer.
        """
        try:
            async with self._keeping(session.id):
                container = await self._engine.ensure(
                    session_texts.spec_of(session)
                )
        except EngineRefusedError as error:
            await self._give_up(session.id, error.detail)
            raise SessionRefusedError(
                fault=error.fault, detail=error.detail
            ) from None
        except (EngineAwayError, EngineUnfitError) as error:
            if patience > timedelta(0):
                return await self._hand_on(session, due_at=utc_now() + _AWAY)
            await self._give_up(session.id, str(error))
            raise EngineUnavailableError(str(error)) from None
        begun = await self._hand_on(
            session,
            container_started=True,
            host=container.host,
            host_port=container.port,
            due_at=utc_now(),
        )
        if begun.status.is_final:
            # This worker was taken for dead; its GPUs may be others' by now.
            with suppress(EngineAwayError):
                await self._engine.remove(session.id)
        return begun

    async def _give_up(self, session_id: str, error: str) -> None:
        """Takes a session down again that could not start."""
        await sessions.end(
            session_id,
            reason=EndReason.START_FAILED,
            claimant=self._me,
            error=error,
        )
        session = await sessions.keep(session_id, claimant=self._me)
        if session is not None:
            await self._take_down(session)

    # What becomes of it.

    async def _step(self, session: Session) -> None:
        """Takes the next step of a claimed session."""
        now = utc_now()
        if session.status is SessionStatus.STOPPING:
            await self._take_down(session)
        elif session.expires_at <= now:
            await self._end(session, EndReason.EXPIRED)
        elif session.status is SessionStatus.RUNNING:
            await self._look_at(session, now)
        elif session.container_started:
            await self._probe(session, now)
        else:
            # Its worker has died, or it was only written down.
            with suppress(SessionRefusedError):
                await self._bring_up(session, patience=_patience_of(session))

    async def _probe(self, session: Session, now: datetime) -> None:
        """Says that a session runs, once its port answers."""
        host, port = session.host, session.host_port
        if host is not None and port is not None:
            if await ports.answers(host, port):
                await self._hand_on(
                    session,
                    status=SessionStatus.RUNNING,
                    running_at=utc_now(),
                    busy_at=utc_now(),
                    due_at=utc_now(),
                )
                return
        try:
            container = await self._engine.find(session.id)
        except EngineAwayError:
            await self._hand_on(session, due_at=now + _AWAY)
            return
        if container is None or not container.running:
            await self._end(
                session,
                EndReason.START_FAILED,
                error=session_texts.obituary(container),
            )
        elif _patience_of(session) <= timedelta(0):
            await self._end(
                session,
                EndReason.START_FAILED,
                error=f"Nothing answered at port {session.template.port} "
                f"within {settings.session_start_seconds} seconds.",
            )
        else:
            await self._hand_on(
                session,
                host=container.host,
                host_port=container.port,
                due_at=utc_now() + _PROBE,
            )

    async def _look_at(self, session: Session, now: datetime) -> None:
        """Warns the owner in time, and ends what nobody works in."""
        looks = [session.expires_at]
        facts: dict[str, Any] = {}
        warning = session.expires_at - timedelta(
            minutes=settings.session_warning_minutes
        )
        if session.warned:
            pass
        elif warning <= now:
            await mails.queue(session_texts.warning(session))
            facts["warned"] = True
        else:
            looks.append(warning)
        idle_minutes = session.template.idle_minutes
        if idle_minutes is not None:
            facts |= await self._work_of(session, now)
            idle = now - (facts.get("busy_at") or session.busy_at or now)
            if idle >= timedelta(minutes=idle_minutes):
                await self._end(session, EndReason.IDLE)
                return
            looks.append(now + _IDLE_LOOK)
        await self._hand_on(session, **facts, due_at=min(looks))

    async def _work_of(
        self, session: Session, now: datetime
    ) -> dict[str, Any]:
        """When and how much the processors of a session worked last."""
        try:
            usage = await self._engine.usage(session.id)
        except EngineAwayError:
            usage = None
        if usage is None:
            # What can't be seen is not taken for rest.
            return {"busy_at": now}
        return session_limits.work_of(
            session, cpu_seconds=usage.cpu_seconds, now=now
        )

    async def _end(
        self, session: Session, reason: EndReason, *, error: str | None = None
    ) -> None:
        """Ends a claimed session, and takes it down at once."""
        await sessions.end(
            session.id, reason=reason, claimant=self._me, error=error
        )
        ending = await sessions.keep(session.id, claimant=self._me)
        if ending is not None:
            await self._take_down(ending)

    async def _take_down(self, session: Session) -> None:
        """Removes the container of a claimed session; then it is over."""
        try:
            async with self._keeping(session.id):
                await self._engine.remove(session.id)
        except EngineAwayError:
            await self._hand_on(session, due_at=utc_now() + _AWAY)
            return
        kept = await sessions.keep(session.id, claimant=self._me)
        if kept is not None:
            await sessions.finish(kept)

    async def _hand_on(self, session: Session, **facts: Any) -> Session:
        """Writes down what a step came to, and leaves the next to whoever.

        Where the session was ended meanwhile, that is the next step.
        """
        while True:
            if session.claim != self._me:
                # The claim has run out: another one sees to it.
                return session
            if session.status is SessionStatus.STOPPING:
                later = facts["due_at"] if len(facts) == 1 else utc_now()
                facts = {"due_at": later}
            changed = await sessions.change(session, claim=None, **facts)
            if changed is not None:
                sessions.changed.set()
                return changed
            now = await sessions.find(session.id)
            if now is None:
                # It is over, and forgotten.
                return session.model_copy(
                    update={"status": SessionStatus.STOPPED}
                )
            if now.expires_at != session.expires_at:
                # When to look, and to warn, was meant for another end.
                facts = {**facts, "due_at": utc_now()}
                facts.pop("warned", None)
            session = now

    async def _compare(
        self, session: Session, container: Container | None
    ) -> None:
        """Ends a session whose container is gone; follows one that moved."""
        if container is None or not container.running:
            # It may have been started after the others were listed.
            container = await self._engine.find(session.id)
        if container is None or not container.running:
            await sessions.end(
                session.id,
                reason=EndReason.CONTAINER_ENDED,
                error=session_texts.obituary(container),
            )
        elif _has_moved(session, container):
            await sessions.follow(
                session,
                host=container.host,
                host_port=container.port,
                gpu_ids=container.gpu_ids,
            )

    async def _logs(
        self, session_id: str, follow: bool, tail: int
    ) -> AsyncIterator[bytes]:
        try:
            async for piece in self._engine.logs(
                session_id, follow=follow, tail=tail
            ):
                yield piece
        except EngineAwayError as error:
            _LOG.warning("the logs of %s broke off: %s", session_id, error)

    @asynccontextmanager
    async def _keeping(self, session_id: str) -> AsyncIterator[None]:
        """Renews the claim on a session while the block runs."""

        async def renew() -> None:
            while True:
                end_if_cancelled()
                await asyncio.sleep(_RENEWAL_SECONDS)
                with suppress(*db.UNAVAILABLE_ERRORS):
                    await sessions.keep(session_id, claimant=self._me)

        renewing = asyncio.create_task(renew())
        try:
            yield
        except asyncio.CancelledError:
            # This process ends: another one goes on at once.
            session = await sessions.find(session_id)
            if session is not None:
                await self._hand_on(session, due_at=utc_now())
            raise
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing

    def _begin(
        self, work: Coroutine[Any, Any, Result]
    ) -> "asyncio.Task[Result]":
        """Work that goes on when nobody waits for it any more."""
        step = asyncio.create_task(work)
        self._steps.add(step)
        step.add_done_callback(self._ended)
        return step

    def _ended(self, step: "asyncio.Task[Any]") -> None:
        self._steps.discard(step)
        if step.cancelled():
            return
        error = step.exception()
        if error is not None and not isinstance(
            error, (SessionRefusedError, EngineUnavailableError)
        ):
            # Its claim runs out, and somebody tries again.
            _LOG.error("a session's step failed: %r", error)


@asynccontextmanager
async def _engine_asked() -> AsyncIterator[None]:
    """Says to a caller that the engine does not answer, or won't do."""
    try:
        yield
    except (EngineAwayError, EngineUnfitError) as error:
        raise EngineUnavailableError(str(error)) from None


def _has_moved(session: Session, container: Container) -> bool:
    """Whether an engine has it elsewhere, or gave it other GPUs."""
    given = container.gpu_ids
    return (
        (container.host, container.port) != (session.host, session.host_port)
        or given is not None
        and set(given) != set(session.gpu_ids)
    )


def _should_run(session: Session) -> bool:
    return (
        session.container_started
        and session.status is not SessionStatus.STOPPING
    )


def _patience_of(session: Session) -> timedelta:
    """How long it may still take to start."""
    most = timedelta(seconds=settings.session_start_seconds)
    return session.created_at + most - utc_now()
