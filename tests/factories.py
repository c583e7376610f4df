"""What tests are made of: valid things, any part of which can be overridden."""

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any

import httpx
from PIL import Image as Pillow

from config import db, transactions
from models.base import new_id, utc_now
from models.event_compute import ComputeWrite, SeatGrant
from models.events import Approval, Event, EventCreate, EventImport
from models.images import Image
from models.logins import Actor, TokenPair
from models.one_time_tokens import Purpose
from models.payloads import Payload
from models.session_requests import SessionRequest
from models.session_templates import SessionTemplate, TemplateCreate
from models.sessions import (
    Session,
    SessionOrder,
    SessionQuota,
    SessionStatus,
)
from models.tasks import FailureKind, Task, TaskError, TaskStatus
from models.tiers import RateLimitCreate, Tier, TierCreate
from models.users import Role, User, UserCreate
from utils import (
    event_compute,
    events,
    images,
    logins,
    one_time_tokens,
    process_registry,
    seat_grants,
    session_requests,
    session_templates,
    sessions,
    tasks,
    tiers,
    users,
)
from utils import gpus as inventory

PASSWORD = "correct horse battery"

# A well-formed id that nothing has.
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"

HOUR = timedelta(hours=1)
PARIS = {
    "title": "Café de la Paix, Paris",
    "latitude": 48.87,
    "longitude": 2.33,
}


@dataclass(frozen=True)
class Member(httpx.Auth):
    """A registered, signed-in member; `auth=member` makes their requests."""

    user: User
    tokens: TokenPair
    actor: Actor = field(compare=False)

    def auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Signs a request with the member's access token."""
        request.headers["Authorization"] = f"Bearer {self.tokens.access_token}"
        yield request


def registration(**overrides: Any) -> dict[str, Any]:
    """The body of a registration."""
    return {
        "first_name": "Ada",
        "last_name": "O'Neil",
        "email": f"{new_id()}@example.org",
        "password": PASSWORD,
        **overrides,
    }


async def member(role: Role = Role.MEMBER, **overrides: Any) -> Member:
    """A member who is signed in."""
    user = await users.create_user(
        UserCreate(**registration(**overrides)), role=role
    )
    tokens = await logins.create_login(user, client="test")
    login_id = tokens.refresh_token.partition(".")[0]
    return Member(user, tokens, Actor(user.id, login_id, role))


async def admin(**overrides: Any) -> Member:
    """An admin who is signed in."""
    return await member(Role.ADMIN, **overrides)


def actor(role: Role = Role.MEMBER) -> Actor:
    """Somebody whom no account is needed for."""
    return Actor(new_id(), new_id(), role)


async def tier(
    name: str = "gold", limits: Mapping[str, int] | None = None
) -> Tier:
    """A tier with so many requests a minute by path."""
    await tiers.create_tier(TierCreate(name=name), actor_id=None)
    for path, limit in (limits or {"*": 100}).items():
        await tiers.add_rate_limit(
            name,
            RateLimitCreate(path=path, limit=limit, period_seconds=60),
            paths=[path],
            actor=actor(Role.ADMIN),
        )
    return await tiers.get_tier(name)


def template_body(**overrides: Any) -> dict[str, Any]:
    """The body of a new session template."""
    return {
        "name": "notebook",
        "image": "lab:1",
        "port": 8888,
        "gpus_max": 4,
        "memory_mb": 256,
        "cpus": 1.0,
        "hours_max": 8.0,
        **overrides,
    }


async def session_template(
    name: str = "notebook", **overrides: Any
) -> SessionTemplate:
    """A template that sessions may be started of."""
    return await session_templates.create_template(
        TemplateCreate(**template_body(name=name, **overrides)), actor_id=None
    )


async def session(by: Actor, **overrides: Any) -> Session:
    """A session that waits for an engine, for an hour and without GPUs."""
    order: dict[str, Any] = {
        "owner_id": by.user_id,
        "template": SessionTemplate(**template_body()),
        "gpus": 0,
        "expires_at": utc_now() + HOUR,
        "quota": SessionQuota(concurrent=100, gpu_hours_per_week=10_000),
    }
    return await sessions.create(SessionOrder(**{**order, **overrides}))


async def token(of: Member, purpose: Purpose) -> str:
    """A token that a member was sent in a mail."""
    return await one_time_tokens.issue(
        new_id(),
        purpose=purpose,
        user_id=of.user.id,
        email=of.user.email,
        now=utc_now(),
    )


def event_body(**overrides: Any) -> dict[str, Any]:
    """The body of a new event for two hours, tomorrow unless it says when."""
    starts_at = overrides.get("starts_at")
    if not isinstance(starts_at, datetime):
        starts_at = utc_now() + timedelta(days=1)
    return {
        "title": "NumPy for beginners",
        "description": "Bring a laptop.",
        "starts_at": starts_at.isoformat(),
        "ends_at": (starts_at + 2 * HOUR).isoformat(),
        "tags": ["workshop"],
        "location": PARIS,
        "capacity": 20,
        **overrides,
    }


async def event(by: Actor | None = None, **overrides: Any) -> Event:
    """An event; approved at once unless `by` is an ordinary member."""
    creator = by or actor(Role.ADMIN)
    new = EventCreate.model_validate(event_body(**overrides))
    if new.ends_at > utc_now():
        return await events.create_event(new, actor=creator)
    # What is over can't be published any more, but it was once.
    event_id = new_id()
    waits = new.public and not creator.is_admin
    past = EventImport(
        **new.model_dump(),
        id=event_id,
        creator_id=creator.user_id,
        approval=Approval.PENDING if waits else Approval.APPROVED,
    )
    await events.import_events([past])
    return await events.get_event(event_id, actor=creator)


def calendar_entry(**overrides: str | None) -> str:
    """A VEVENT, tomorrow for two hours; None leaves a property out."""
    starts_at = utc_now() + timedelta(days=1)
    properties = {
        "UID": f"{new_id()}@example.org",
        "DTSTAMP": f"{starts_at:%Y%m%dT%H%M%SZ}",
        "DTSTART": f"{starts_at:%Y%m%dT%H%M%SZ}",
        "DTEND": f"{starts_at + 2 * HOUR:%Y%m%dT%H%M%SZ}",
        "SUMMARY": "NumPy for beginners",
        **overrides,
    }
    lines = [
        # A name may have parameters: DTSTART;VALUE=DATE.
        f"{name}:{value}"
        for name, value in properties.items()
        if value is not None
    ]
    return "\r\n".join(["BEGIN:VEVENT", *lines, "END:VEVENT", ""])


def calendar(*components: str) -> str:
    """A calendar file."""
    return "".join(
        ["BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//example.org//EN\r\n",
         *components, "END:VCALENDAR\r\n"]
    )  # fmt: skip


def calendar_request(*components: str) -> dict[str, Any]:
    """What a request that imports a calendar holds."""
    return {
        "content": calendar(*components).encode(),
        "headers": {"Content-Type": "text/calendar"},
    }


def picture(
    kind: str = "JPEG", size: tuple[int, int] = (64, 48), **options: Any
) -> bytes:
    """A small real picture, unlike plain colour: a slope of grey.

    Args:
        kind: JPEG, PNG, WEBP or GIF.
        size: its width and height, pixels.
        options: see Pillow's `Image.save`; and `mode`, such as RGB.
    """
    mode = options.pop("mode", "RGB")
    file = BytesIO()
    slope = Pillow.linear_gradient("L").resize(size)
    slope.convert(mode).save(file, kind, **options)
    return file.getvalue()


async def image(by: Actor | None = None, **options: Any) -> Image:
    """A picture that somebody sent; `options` are those of `picture`."""
    file = BytesIO(picture(**options))
    return await images.create_image(file, actor=by or actor())


async def task(
    by: Actor | None = None,
    status: TaskStatus = TaskStatus.SUCCEEDED,
    **arguments: object,
) -> Task:
    """A call of np_array in some state, run here and now if at all."""
    process = process_registry.get_process("np_array")
    assert process is not None
    given = process.dump_arguments(
        process.validate(
            Payload(json.dumps({"array": [1, 2, 4], **arguments}).encode())
        )
    )
    owner = by or actor()
    queued = await tasks.submit(
        process, arguments=BytesIO(given.to_bytes()), actor=owner
    )
    if status is TaskStatus.QUEUED:
        return queued
    if status is TaskStatus.CANCELLED:
        return await tasks.cancel(queued.id, actor=owner)
    return await run_task(queued.id, status)


async def run_task(
    task_id: str, status: TaskStatus = TaskStatus.SUCCEEDED
) -> Task:
    """Runs a task here and now, as far as `status`."""
    claimed = await tasks.claim(task_id, worker="test", known={"np_array"})
    assert claimed is not None
    if status is TaskStatus.RUNNING:
        return claimed
    if status is TaskStatus.FAILED:
        error = TaskError(kind=FailureKind.EXCEPTION, detail="Out of luck.")
        done = await tasks.fail(claimed, error=error)
    else:
        process = process_registry.get_process(claimed.process)
        assert process is not None
        pieces = [piece async for piece in tasks.open_arguments(claimed)]
        result = process.run(Payload.from_bytes(b"".join(pieces)))
        file = BytesIO(result.to_bytes())
        done = await tasks.succeed(claimed, result=file)
    assert done is not None
    return done


async def running_session(
    by: Actor, *, port: int, **overrides: Any
) -> Session:
    """A session that something on this machine answers for."""
    running = session_document(by, port=port, **overrides)
    await db.collection(sessions.COLLECTION).insert_one(running.dict())
    return running


def session_document(by: Actor, *, port: int, **overrides: Any) -> Session:
    """What is stored of a session that runs.

    Args:
        by: whose it is.
        port: where it answers, on this machine.
        overrides: parts of the session; and `base_path`.
    """
    template = SessionTemplate(
        name="notebook",
        image="lab:1",
        port=8888,
        gpus_max=1,
        memory_mb=256,
        cpus=1,
        hours_max=4,
        base_path=overrides.pop("base_path", False),
    )
    stored: dict[str, Any] = {
        "owner_id": by.user_id,
        "template": template,
        "gpus": 0,
        "status": SessionStatus.RUNNING,
        "token": new_id(),
        "expires_at": utc_now() + 2 * HOUR,
        "host": "127.0.0.1",
        "host_port": port,
        **overrides,
    }
    return Session(**stored)


async def place_in_line(by: Actor, **overrides: Any) -> SessionRequest:
    """A place at the end of the line: for one GPU, for an hour."""
    wish: dict[str, Any] = {
        "template": "line",
        "gpus": 1,
        "hours": 1.0,
        "owner_id": by.user_id,
        **overrides,
    }

    async def work() -> SessionRequest:
        await seat_grants.take_turn()
        return await session_requests.add(SessionRequest(**wish))

    return await transactions.run(work, turn=inventory.TURN)


def at(offset: timedelta) -> str:
    """The time that is `offset` from now, as a client sends it."""
    return (utc_now() + offset).isoformat()


def parse(text: str) -> datetime:
    """A time of an answer."""
    return datetime.fromisoformat(text)


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU as a machine shows it."""

    id: str
    name: str = "NVIDIA A100"
    memory_mb: int = 40960
    healthy: bool = True
    node: str = ""


async def gpus(count: int) -> list[str]:
    """An inventory of so many healthy GPUs; others are gone."""
    ids = [f"GPU-{number:02}" for number in range(count)]
    await inventory.sync([Device(gpu_id) for gpu_id in ids])
    return ids


def session_quota(concurrent: int = 2) -> SessionQuota:
    """What a member may use of their own."""
    return SessionQuota(concurrent=concurrent, gpu_hours_per_week=40)


async def seat_grant(at_event: Event, by: Actor, **overrides: Any) -> SeatGrant:
    """What has each seat of an event grant a GPU."""
    wish = {"template": "notebook", "gpus_per_seat": 1, **overrides}
    return await event_compute.set_compute(
        at_event.id, ComputeWrite.model_validate(wish), actor=by
    )


async def seat_session(
    at_event: Event, owner: Member, *, expires_at: datetime | None = None
) -> Session:
    """What starting a session on a seat writes, without an engine."""

    async def work() -> Session:
        right = await event_compute.entitle(at_event.id, actor=owner.actor)
        template = await session_templates.get_template(right.template)
        order = SessionOrder(
            owner_id=owner.user.id,
            template=template,
            gpus=right.gpus,
            expires_at=expires_at or right.ends_at,
            event_id=at_event.id,
        )
        return await sessions.create(order)

    return await transactions.run(work, turn="starts")


async def age(aged: Session, *, hours: float) -> None:
    """Has a session have begun so long ago."""
    began = utc_now() - hours * HOUR
    assert await sessions.change(aged, created_at=began) is not None
