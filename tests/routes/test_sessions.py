"""Sessions and GPUs over HTTP, as far as no engine is needed."""

from typing import Any

import httpx
import pytest

from models.base import new_id, utc_now
from models.event_compute import SeatGrant
from models.session_errors import TooManySessionsError
from models.sessions import EndReason, SessionQuota
from tests import factories
from tests.factories import HOUR, UNKNOWN_ID, Member
from tests.problems import assert_problem
from tests.utils.test_sessions import Device
from utils import gpus, seat_grants, sessions

Client = httpx.AsyncClient


class TestGpus:
    async def test_none_is_a_normal_state(self, client: Client) -> None:
        response = await client.get("/v1/gpus", auth=await factories.member())
        assert response.json() == {"items": [], "next_cursor": None}

    async def test_who_has_which(self, client: Client) -> None:
        await gpus.sync([Device("a"), Device("b"), Device("c", healthy=False)])
        owner, other = await factories.member(), await factories.member()
        session = await factories.session(owner.actor, gpus=1)

        async def seen(by: Member) -> list[tuple[bool, str | None]]:
            items = []
            path: str | None = "/v1/gpus?limit=1"
            while path is not None:
                page = (await client.get(path, auth=by)).json()
                items += page["items"]
                cursor = page["next_cursor"]
                path = cursor and f"/v1/gpus?limit=1&cursor={cursor}"
            return [(each["free"], each["session_id"]) for each in items]

        mine = [(False, session.id), (True, None), (False, None)]
        assert await seen(owner) == mine == await seen(await factories.admin())
        assert await seen(other) == [(False, None), (True, None), (False, None)]


class TestWithoutEngine:
    async def test_nothing_starts(self, client: Client) -> None:
        await factories.session_template()
        member = await factories.member()
        response = await client.post(
            "/v1/sessions",
            json={"template": "notebook", "gpus": 0, "hours": 1},
            auth=member,
        )
        assert_problem(response, 503, "engine-unavailable")
        assert response.headers["Retry-After"] == "60"
        assert await sessions.list_of(member.user.id) == []

    async def test_logs_and_stats(self, client: Client) -> None:
        owner = await factories.member()
        session = await factories.session(owner.actor)
        for what in ("logs", "stats"):
            response = await client.get(
                f"/v1/sessions/{session.id}/{what}", auth=owner
            )
            assert_problem(response, 503, "engine-unavailable")


class TestRead:
    async def test_its_owner_sees_the_token(self, client: Client) -> None:
        owner, admin = await factories.member(), await factories.admin()
        session = await factories.session(owner.actor)
        path = f"/v1/sessions/{session.id}"
        seen = (await client.get(path, auth=owner)).json()
        assert (seen["status"], seen["token"]) == ("starting", session.token)
        assert seen["url"] == f"{path}/proxy/"
        shown = (await client.get(path, auth=admin)).json()
        assert shown == {**seen, "token": None}

    async def test_others_find_nothing(self, client: Client) -> None:
        session = await factories.session((await factories.member()).actor)
        other = await factories.member()
        for session_id in (session.id, UNKNOWN_ID):
            path = f"/v1/sessions/{session_id}"
            for asked in (
                client.get(path, auth=other),
                client.delete(path, auth=other),
                client.post(f"{path}/extend", json={"hours": 1}, auth=other),
                client.get(f"{path}/logs", auth=other),
                client.get(f"{path}/stats", auth=other),
            ):
                problem = assert_problem(await asked, 404, "session-not-found")
                assert problem["session_id"] == session_id

    async def test_lists(self, client: Client) -> None:
        owner, admin = await factories.member(), await factories.admin()
        ids = [(await factories.session(owner.actor)).id for _ in range(3)]
        await sessions.end(ids[0], reason=EndReason.OWNER)

        async def listed(by: Member, **params: Any) -> list[str]:
            page = await client.get("/v1/sessions", params=params, auth=by)
            return [each["id"] for each in page.json()["items"]]

        assert await listed(owner) == ids[::-1]
        assert await listed(owner, status="stopping") == ids[:1]
        assert await listed(owner, status=["starting", "running"]) == ids[:0:-1]
        assert await listed(owner, limit=1) == ids[2:]
        assert await listed(admin) == []
        assert await listed(admin, all=True) == ids[::-1]
        refused = await client.get("/v1/sessions?all=true", auth=owner)
        assert_problem(refused, 403, "forbidden")


class TestEnd:
    async def test_is_idempotent(self, client: Client) -> None:
        owner = await factories.member()
        session = await factories.session(owner.actor)
        path = f"/v1/sessions/{session.id}"
        for _ in range(2):
            response = await client.delete(path, auth=owner)
            assert response.status_code == 204
        seen = (await client.get(path, auth=owner)).json()
        assert (seen["status"], seen["end_reason"]) == ("stopping", "owner")

    async def test_by_an_admin_is_written_down(self, client: Client) -> None:
        owner, admin = await factories.member(), await factories.admin()
        session = await factories.session(owner.actor)
        await client.delete(f"/v1/sessions/{session.id}", auth=admin)
        entries = await client.get(
            "/v1/audit", params={"action": "session.ended"}, auth=admin
        )
        (entry,) = entries.json()["items"]
        assert entry["target_id"] == owner.user.id
        assert entry["facts"] == {"session_id": session.id, "reason": "admin"}


class TestExtend:
    async def test_within_the_template(self, client: Client) -> None:
        owner = await factories.member()
        session = await factories.session(owner.actor)
        path = f"/v1/sessions/{session.id}/extend"
        response = await client.post(path, json={"hours": 2.5}, auth=owner)
        ends = factories.parse(response.json()["expires_at"])
        assert ends == session.expires_at + 2.5 * HOUR
        response = await client.post(path, json={"hours": 5}, auth=owner)
        problem = assert_problem(response, 409, "session-state")
        assert problem["detail"].startswith("8 hours are the most")

    async def test_what_ends_does_not(self, client: Client) -> None:
        owner = await factories.member()
        session = await factories.session(owner.actor)
        await client.delete(f"/v1/sessions/{session.id}", auth=owner)
        response = await client.post(
            f"/v1/sessions/{session.id}/extend", json={"hours": 1}, auth=owner
        )
        problem = assert_problem(response, 409, "session-state")
        assert problem["state"] == "stopping"

    async def test_beyond_the_quota(self, client: Client) -> None:
        """Only an admin may, for somebody else."""
        await gpus.sync([Device("a")])
        owner, admin = await factories.member(), await factories.admin()
        session = await factories.session(
            owner.actor, gpus=1, expires_at=utc_now() + HOUR
        )
        path = f"/v1/sessions/{session.id}/extend"
        with pytest.raises(TooManySessionsError):
            await sessions.extend(
                session.id,
                hours=1,
                quota=SessionQuota(1, 1.5),
                actor=owner.actor,
            )
        response = await client.post(path, json={"hours": 1}, auth=admin)
        assert response.status_code == 200

    async def test_not_what_is_promised(self, client: Client) -> None:
        """The seats of an event want the only GPU soon."""
        await gpus.sync([Device("a")])
        owner = await factories.member()
        session = await factories.session(
            owner.actor, gpus=1, expires_at=utc_now() + HOUR / 2
        )
        await seat_grants.put(_grant(seats=1))
        path = f"/v1/sessions/{session.id}/extend"
        response = await client.post(path, json={"hours": 0.25}, auth=owner)
        assert response.status_code == 200
        response = await client.post(path, json={"hours": 1}, auth=owner)
        problem = assert_problem(response, 409, "no-gpu-free")
        assert problem["earliest_expiry"] is not None


def _grant(*, seats: int) -> SeatGrant:
    """In an hour, for an hour, a GPU a seat."""
    now = utc_now()
    return SeatGrant(
        id=new_id(),
        template="notebook",
        gpus_per_seat=1,
        seats=seats,
        opens_minutes_before=0,
        closes_minutes_after=0,
        opens_at=now + HOUR,
        wanted_at=now + HOUR,
        closes_at=now + 2 * HOUR,
    )


@pytest.mark.usefixtures("database")
class TestFigures:
    async def test_are_counted(self) -> None:
        await gpus.sync([Device("a"), Device("b"), Device("c", healthy=False)])
        await factories.session(factories.actor(), gpus=1)
        await gpus.count_up()
        await sessions.count_up()
        counted = (gpus.FIGURES.healthy, gpus.FIGURES.free)
        assert (*counted, gpus.FIGURES.unhealthy) == (2, 1, 1)
        assert sessions.FIGURES.alive == {
            "starting": 1, "running": 0, "stopping": 0
        }  # fmt: skip


class TestLeaving:
    @pytest.mark.parametrize("ended", [True, False])
    async def test_ends_and_forgets(self, client: Client, ended: bool) -> None:
        owner = await factories.member()
        session = await factories.session(owner.actor)
        export = await client.get("/v1/users/me/export", auth=owner)
        (kept,) = export.json()["sessions"]
        assert kept["id"] == session.id
        if ended:
            await sessions.end(session.id, reason=EndReason.OWNER)
            ending = await sessions.find(session.id)
            assert ending is not None
            await sessions.finish(ending)
        response = await client.request(
            "DELETE",
            "/v1/users/me",
            json={"current_password": factories.PASSWORD},
            auth=owner,
        )
        assert response.status_code == 204
        left = await sessions.find(session.id)
        if ended:
            assert left is None
        else:
            assert left is not None and left.forget
            assert left.end_reason is EndReason.ACCOUNT_CLOSED
            await sessions.finish(left)
            assert await sessions.find(session.id) is None
