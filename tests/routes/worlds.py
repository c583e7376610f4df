"""A small world: one of each who may ask, and one of each thing to ask for."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, Self

import httpx

from config import db
from models.api_keys import ApiKeyCreate
from models.base import utc_now
from models.event_compute import RehearsalStart
from models.events import Event
from models.feedback import FeedbackCreate
from models.scopes import Scope
from models.tasks import TaskStatus
from models.users import Role, UserAdminUpdate
from tests import factories
from tests.contract import Operation
from tests.factories import Member
from tests.house.test_budgets import ASKED, named
from tests.routes.access import Who
from utils import accounts, api_keys, event_compute, feedback, logins, rsvps
from utils.collections import declared_indexes

_ADMINISTER: Final[Operation] = ("PATCH", "/v1/users/{user_id}")
# The only one that tests without an engine make no request of.
_START: Final[Operation] = ("POST", "/v1/sessions")

# Who asks stays while things come and go; of these things, there is but one.
_CAST: Final = {"users", "logins", "api_keys"}
_NAMED: Final = {
    "gpu_inventory", "seat_grants", "session_requests", "session_templates",
    "sessions", "tiers",
}  # fmt: skip
# What each request may leave behind, whoever asked: it is seen and counted.
_TRACES: Final = {"attempts", "http_events", "rate_windows"}

# The state of a task that the operation can be done with.
_TASKS: Final[dict[Operation, TaskStatus]] = {
    ("POST", "/v1/tasks/{task_id}/cancel"): TaskStatus.QUEUED,
    ("POST", "/v1/tasks/{task_id}/retry"): TaskStatus.CANCELLED,
}


@dataclass(frozen=True)
class Asked:
    """A request that would succeed, but for who asks."""

    method: str
    path: str
    more: Mapping[str, Any]

    async def send(
        self, client: httpx.AsyncClient, shown: Mapping[str, str]
    ) -> httpx.Response:
        """The answer to whoever shows these headers."""
        more = {**self.more, "headers": {**self.more["headers"], **shown}}
        return await client.request(self.method, self.path, **more)


@dataclass
class World:
    """Those who ask."""

    members: dict[Who, Member]
    disabled: list[dict[str, str]]
    expired: dict[str, str]
    _keys: dict[tuple[str, frozenset[Scope]], str] = field(default_factory=dict)

    @classmethod
    async def make(cls) -> Self:
        """Everybody signs in; one admin is disabled afterwards."""
        members: dict[Who, Member] = {
            who: await factories.member(_role(who))
            for who in Who
            if who is not Who.ANONYMOUS
        }
        admin, disabled = members[Who.ADMIN].actor, await factories.admin()
        key = await _key_of(disabled)
        await accounts.administer(
            disabled.user.id,
            UserAdminUpdate(disabled=True),
            actor=admin,
            if_match=(),
        )
        expired = await _key_of(members[Who.ADMIN])
        await db.collection(api_keys.COLLECTION).update_one(
            {"user_id": admin.user_id},
            {"$set": {"expires_at": utc_now() - timedelta(seconds=1)}},
        )
        return cls(members, [signed(disabled), key], expired)

    async def asker(self, who: Who, operation: Operation) -> Member:
        """One of them; a new one where it is their own account that changes."""
        if _is_own(operation):
            return await factories.member(_role(who))
        return self.members[who]

    async def key(
        self, of: Member, scopes: frozenset[Scope]
    ) -> dict[str, str]:
        """The header of a key of somebody's, with these scopes alone."""
        known = of.user.id, scopes
        if known not in self._keys:
            made = await _key_of(of, scopes=sorted(scopes))
            self._keys[known] = made["X-API-Key"]
        return {"X-API-Key": self._keys[known]}

    async def prepare(
        self,
        client: httpx.AsyncClient,
        operation: Operation,
        asker: Member | None = None,
        **event: Any,
    ) -> Asked:
        """A request for new things.

        Args:
            client: what has asked for something before.
            operation: what is asked for.
            asker: who it is about, where that is whoever asks.
            event: parts of the event that it is about, which goes on now; the
                owner has a seat there, and another member.
        """
        await db.wipe_test_database(_NAMED)
        method, template = operation
        path = template.format_map(await self._places(client, operation, event))
        about = self.members[Who.OWNER]
        if _is_own(operation):
            about = asker or await factories.member()
        asked = ASKED[operation](about) if operation in ASKED else {}
        if inspect.isawaitable(asked):
            asked = await asked
        if operation == _START:
            await factories.session_template()
            asked = {"json": {"template": "notebook", "gpus": 0, "hours": 1}}
        return Asked(method, path, {"headers": {}, **asked})

    async def _places(
        self,
        client: httpx.AsyncClient,
        operation: Operation,
        event: Mapping[str, Any],
    ) -> dict[str, str]:
        """What stands in the path, by the name of the place."""
        _, template = operation
        owner = self.members[Who.OWNER]
        places = {"path": "np-array"}
        if "{user_id}" in template:
            places["user_id"] = (await factories.member()).user.id
        if "{event_id}" in template or "{feedback_id}" in template:
            places |= await self._event(operation, event)
        if "{login_id}" in template:
            login = await logins.create_login(owner.user, client="another")
            places["login_id"] = login.refresh_token.partition(".")[0]
        if "{key_id}" in template:
            new = ApiKeyCreate(name="door scanner")
            key = await api_keys.create_key(new, actor=owner.actor)
            places["key_id"] = key.id
        if "{image_id}" in template:
            places["image_id"] = (await factories.image(owner.actor)).id
        if "{task_id}" in template:
            status = _TASKS.get(operation, TaskStatus.SUCCEEDED)
            places["task_id"] = (await factories.task(owner.actor, status)).id
        if "{session_id}" in template:
            places["session_id"] = (await factories.session(owner.actor)).id
        if "{session_request_id}" in template:
            place = await factories.place_in_line(owner.actor)
            places["session_request_id"] = place.id
        if "{request_id}" in template:
            seen = await client.get("/")
            places["request_id"] = seen.headers["X-Request-ID"]
        if "{name}" in template or operation == _ADMINISTER:
            places |= await named()
        return places

    async def _event(
        self, operation: Operation, overrides: Mapping[str, Any]
    ) -> dict[str, str]:
        _, template = operation
        by = self.members[Who.ORGANISER].actor
        is_decided = not template.endswith(("/approve", "/deny"))
        if is_decided:
            # Who was an admin then may publish, and is no admin any more.
            by = replace(by, role=Role.ADMIN)
        starts_at = factories.at(-factories.HOUR)
        event = await factories.event(by, starts_at=starts_at, **overrides)
        places = {"event_id": event.id}
        if is_decided:
            await self._fill(event)
        if "/compute" in template or "/board" in template:
            await self._grant(event, operation)
        owner = self.members[Who.OWNER]
        if "/check-in/" in template:
            places["user_id"] = owner.user.id
        if "{feedback_id}" in template:
            given = await feedback.create_feedback(
                event.id, FeedbackCreate(rating=5), actor=owner.actor
            )
            places["feedback_id"] = given.id
        return places

    async def _fill(self, event: Event) -> None:
        for who in (Who.OWNER, Who.OTHER):
            guest = self.members[who]
            if not event.public:
                await rsvps.invite(
                    event.id,
                    user_id=guest.user.id,
                    actor=self.members[Who.ORGANISER].actor,
                )
            await rsvps.join(event.id, actor=guest.actor)

    async def _grant(self, event: Event, operation: Operation) -> None:
        """Has each seat grant a GPU; the owner of one uses it."""
        organiser = self.members[Who.ORGANISER].actor
        await factories.gpus(40)
        await factories.session_template()
        await factories.seat_grant(event, organiser, needs_check_in=False)
        await factories.seat_session(
            event,
            self.members[Who.OWNER],
            expires_at=event.ends_at - factories.HOUR / 2,
        )
        if operation == ("GET", "/v1/events/{event_id}/compute/rehearsal"):
            await event_compute.start_rehearsal(
                event.id, RehearsalStart(sessions=1), actor=organiser
            )


def signed(member: Member) -> dict[str, str]:
    """The header of a member who is signed in."""
    return {"Authorization": f"Bearer {member.tokens.access_token}"}


async def clear() -> None:
    """Removes all things, and leaves those who ask."""
    await db.wipe_test_database(set(declared_indexes()) - _CAST)
    # Who was only asked about may be in a tier that is gone.
    await db.collection("users").update_many({}, {"$set": {"tier": None}})


async def state() -> dict[str, list[db.Document]]:
    """All that is kept, but when a key was used, and that it was asked."""
    return {
        name: await db.collection(name).find({}, {"last_used_at": 0}).to_list()
        for name in declared_indexes()
        if name not in _TRACES
    }


async def _key_of(member: Member, **options: Any) -> dict[str, str]:
    new = ApiKeyCreate(name="a key", **options)
    made = await api_keys.create_key(new, actor=member.actor)
    return {"X-API-Key": made.key}


def _is_own(operation: Operation) -> bool:
    """Whether the account of whoever asks changes, or is let go."""
    method, path = operation
    return (
        method != "GET"
        and "{" not in path
        and path.startswith(("/v1/auth", "/v1/users/me"))
    )


def _role(who: Who) -> Role:
    return Role.ADMIN if who is Who.ADMIN else Role.MEMBER
