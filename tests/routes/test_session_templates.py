"""Session templates over HTTP: what sessions may run, who says so."""

import asyncio

import httpx
import pytest

from models.audit import AuditAction
from models.base import new_id, utc_now
from models.event_compute import SeatGrant
from tests import factories
from tests.factories import HOUR, template_body
from tests.problems import assert_problem
from utils import seat_grants

Client = httpx.AsyncClient
PATH = "/v1/session-templates"


async def _deeds(client: Client, action: AuditAction) -> list[dict[str, str]]:
    response = await client.get(
        "/v1/audit", params={"action": action}, auth=await factories.admin()
    )
    return [item["facts"] for item in response.json()["items"]]


class TestCreate:
    async def test_answers_the_template(self, client: Client) -> None:
        admin = await factories.admin()
        body = template_body(command=["serve", "--port={port}"])
        response = await client.post(PATH, json=body, auth=admin)
        assert response.status_code == 201
        template = response.json()
        assert template.items() >= body.items()
        assert (template["idle_minutes"], template["published"]) == (None, True)
        read = await client.get(f"{PATH}/notebook", auth=admin)
        assert read.json() == template
        assert await _deeds(client, AuditAction.TEMPLATE_CREATED) == [
            {"template": "notebook", "image": "lab:1"}
        ]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"name": "Note Book"},
            {"image": "--privileged"},
            {"image": ""},
            {"port": 0},
            {"memory_mb": 1},
            {"cpus": 0},
            {"gpus_max": -1},
            {"hours_max": 0},
            {"hours_max": 10_000},
            {"command": [""]},
            {"privileged": True},
        ],
        ids=str,
    )
    async def test_bad_bodies(
        self, client: Client, wrong: dict[str, object]
    ) -> None:
        response = await client.post(
            PATH, json=template_body(**wrong), auth=await factories.admin()
        )
        assert_problem(response, 422, "invalid-request")

    async def test_name_is_taken(self, client: Client) -> None:
        admin = await factories.admin()
        responses = await asyncio.gather(
            *(
                client.post(PATH, json=template_body(), auth=admin)
                for _ in "abc"
            )
        )
        statuses = sorted(response.status_code for response in responses)
        assert statuses == [201, 409, 409]
        refused = next(each for each in responses if each.status_code == 409)
        assert_problem(refused, 409, "template-exists")

    async def test_members_may_not(self, client: Client) -> None:
        member = await factories.member()
        await factories.session_template("lab")
        for asked in (
            client.post(PATH, json=template_body(), auth=member),
            client.patch(f"{PATH}/lab", json={"port": 1}, auth=member),
            client.delete(f"{PATH}/lab", auth=member),
        ):
            assert_problem(await asked, 403, "forbidden")


class TestRead:
    async def test_pages(self, client: Client) -> None:
        member = await factories.member()
        made = [await factories.session_template(name) for name in "cab"]
        first = await client.get(f"{PATH}?limit=2", auth=member)
        cursor = first.json()["next_cursor"]
        rest = await client.get(f"{PATH}?cursor={cursor}", auth=member)
        items = first.json()["items"] + rest.json()["items"]
        assert [item["id"] for item in items] == [each.id for each in made]

    async def test_unknown(self, client: Client) -> None:
        admin = await factories.admin()
        for asked in (
            client.get(f"{PATH}/lab", auth=admin),
            client.patch(f"{PATH}/lab", json={"port": 1}, auth=admin),
            client.delete(f"{PATH}/lab", auth=admin),
        ):
            problem = assert_problem(await asked, 404, "template-not-found")
            assert problem["template"] == "lab"

    async def test_strangers_may_not(self, client: Client) -> None:
        for path in (PATH, f"{PATH}/lab", "/v1/gpus", "/v1/sessions"):
            response = await client.get(path)
            assert_problem(response, 401, "not-authenticated")


class TestUpdate:
    async def test_what_is_left_out_stays(self, client: Client) -> None:
        admin = await factories.admin()
        before = (await factories.session_template()).model_dump()
        response = await client.patch(
            f"{PATH}/notebook",
            json={"image": "lab:2", "idle_minutes": 30},
            auth=admin,
        )
        after = response.json()
        assert (after["image"], after["idle_minutes"]) == ("lab:2", 30)
        assert after["memory_mb"] == before["memory_mb"]
        assert await _deeds(client, AuditAction.TEMPLATE_CHANGED) == [
            {"image": "lab:1 → lab:2", "idle_minutes": "None → 30"}
        ]

    async def test_another_state(self, client: Client) -> None:
        await factories.session_template()
        response = await client.patch(
            f"{PATH}/notebook",
            json={"port": 1},
            auth=await factories.admin(),
            headers={"If-Match": '"old"'},
        )
        assert_problem(response, 412, "precondition-failed")


class TestDelete:
    async def test_is_gone(self, client: Client) -> None:
        admin = await factories.admin()
        await factories.session_template()
        response = await client.delete(f"{PATH}/notebook", auth=admin)
        assert response.status_code == 204
        assert await _deeds(client, AuditAction.TEMPLATE_DELETED) == [
            {"template": "notebook"}
        ]

    async def test_seats_grant_it(self, client: Client) -> None:
        await factories.session_template()
        event_id = new_id()
        await seat_grants.put(_grant(event_id))
        response = await client.delete(
            f"{PATH}/notebook", auth=await factories.admin()
        )
        problem = assert_problem(response, 409, "template-in-use")
        assert problem["event_id"] == event_id


def _grant(event_id: str) -> SeatGrant:
    now = utc_now()
    return SeatGrant(
        id=event_id,
        template="notebook",
        gpus_per_seat=1,
        seats=2,
        opens_minutes_before=0,
        closes_minutes_after=0,
        opens_at=now + HOUR,
        wanted_at=now + HOUR,
        closes_at=now + 2 * HOUR,
    )
