"""Tests of `routes/tasks.py`."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image as Pillow

from config import db
from config.main import settings
from models.base import utc_now
from models.tasks import Task, TaskStatus
from tests import factories
from tests.commands import counted
from tests.problems import assert_problem
from utils import task_quotas, task_results, tasks, tiers

BASE = "/v1/tasks"


class TestListTasks:
    async def test_own_latest_first(self, client: httpx.AsyncClient) -> None:
        caller = await factories.member()
        mine = [(await factories.task(caller.actor)).id for _ in range(3)]
        await factories.task()
        first = await client.get(BASE, params={"limit": 2}, auth=caller)
        page = first.json()
        rest = await client.get(
            BASE, params={"limit": 2, "cursor": page["next_cursor"]},
            auth=caller,
        )  # fmt: skip
        shown = [each["id"] for each in page["items"] + rest.json()["items"]]
        assert sorted(shown) == sorted(mine)
        assert rest.json()["next_cursor"] is None
        times = [each["created_at"] for each in page["items"]]
        assert times == sorted(times, reverse=True)

    async def test_filters(self, client: httpx.AsyncClient) -> None:
        caller = await factories.member()
        waits = await factories.task(caller.actor, TaskStatus.QUEUED)
        await factories.task(caller.actor)
        for query, count in (
            ({"status": "queued"}, 1),
            ({"process": "np_array"}, 2),
            ({"process": "pca"}, 0),
        ):
            page = await client.get(BASE, params=query, auth=caller)
            assert len(page.json()["items"]) == count
        page = await client.get(
            BASE, params={"status": "queued"}, auth=caller
        )
        assert page.json()["items"][0]["id"] == waits.id

    async def test_many(self, client: httpx.AsyncClient) -> None:
        """Pages are looked for in spans of time; none is left out by that."""
        caller, now = await factories.member(), utc_now()
        made = [
            Task(
                process="np_array",
                owner_id=caller.user.id,
                status=TaskStatus.SUCCEEDED,
                created_at=now - timedelta(seconds=number**2 // 3),
            ).dict()
            for number in range(700)
        ]
        await db.collection("tasks").insert_many(made)
        query: dict[str, Any] = {"limit": 100, "status": "succeeded"}
        shown: list[dict[str, Any]] = []
        while True:
            with counted() as commands:
                page = await client.get(BASE, params=query, auth=caller)
            assert len(commands) <= 7
            shown += page.json()["items"]
            query["cursor"] = page.json()["next_cursor"]
            if query["cursor"] is None:
                break
        assert len(shown) == len({each["id"] for each in shown}) == 700
        times = [each["created_at"] for each in shown]
        assert times == sorted(times, reverse=True)

    async def test_of_another(self, client: httpx.AsyncClient) -> None:
        other, admin = await factories.member(), await factories.admin()
        task = await factories.task(other.actor)
        query = {"owner_id": other.user.id}
        page = await client.get(BASE, params=query, auth=admin)
        assert [each["id"] for each in page.json()["items"]] == [task.id]
        refused = await client.get(
            BASE, params=query, auth=await factories.member()
        )
        assert_problem(refused, 403, "forbidden")

    async def test_anonymous(self, client: httpx.AsyncClient) -> None:
        assert_problem(await client.get(BASE), 401, "not-authenticated")


class TestGetTask:
    async def test_shown(self, client: httpx.AsyncClient) -> None:
        caller = await factories.member()
        task = await factories.task(caller.actor)
        shown = (await client.get(f"{BASE}/{task.id}", auth=caller)).json()
        assert shown["id"] == task.id
        assert shown["process"] == "np_array"
        assert (shown["status"], shown["progress"]) == ("succeeded", 1)
        assert shown["attempts"] == 1
        assert shown["error"] is None
        assert shown["expires_at"] > shown["finished_at"]

    async def test_who_may(self, client: httpx.AsyncClient) -> None:
        task = await factories.task((await factories.member()).actor)
        path = f"{BASE}/{task.id}"
        seen = await client.get(path, auth=await factories.admin())
        assert seen.status_code == 200
        other = await client.get(path, auth=await factories.member())
        assert_problem(other, 404, "task-not-found")
        assert_problem(await client.get(path), 401, "not-authenticated")

    async def test_unknown(self, client: httpx.AsyncClient) -> None:
        response = await client.get(
            f"{BASE}/{factories.UNKNOWN_ID}", auth=await factories.member()
        )
        assert_problem(response, 404, "task-not-found")


class TestResult:
    async def test_json(self, client: httpx.AsyncClient) -> None:
        caller = await factories.member()
        task = await factories.task(caller.actor, operation="normalize")
        response = await client.get(f"{BASE}/{task.id}/result", auth=caller)
        assert response.headers["Content-Type"] == "application/json"
        assert "Accept" in response.headers["Vary"].split(", ")
        assert response.json()["shape"] == [3]

    async def test_npy(self, client: httpx.AsyncClient) -> None:
        caller = await factories.member()
        task = await factories.task(caller.actor, operation="normalize")
        response = await client.get(
            f"{BASE}/{task.id}/result",
            headers={"Accept": "application/x-npy"},
            auth=caller,
        )
        assert response.status_code == 200, response.text
        array = np.load(BytesIO(response.content), allow_pickle=False)
        np.testing.assert_allclose(array, [0, 1 / 3, 1])

    async def test_no_array(self, client: httpx.AsyncClient) -> None:
        caller = await factories.member()
        task = await factories.task(caller.actor, operation="normalize")
        response = await client.get(
            f"{BASE}/{task.id}/result",
            params={"array": "nothing"},
            headers={"Accept": "application/x-npy"},
            auth=caller,
        )
        assert_problem(response, 406, "not-acceptable")

    async def test_plot(self, client: httpx.AsyncClient) -> None:
        """Drawn once, by a process of its own, and kept."""
        caller = await factories.member()
        task = await factories.task(caller.actor, operation="normalize")
        try:
            for _ in range(2):
                response = await client.get(
                    f"{BASE}/{task.id}/result",
                    headers={"Accept": "image/png"},
                    auth=caller,
                    timeout=60,
                )
                assert response.status_code == 200, response.text
                picture = Pillow.open(BytesIO(response.content))
                assert picture.size == (800, 500)
                await task_results.drawers.aclose()
            assert await tasks.find_plot(task) == response.content
        finally:
            await task_results.drawers.aclose()

    @pytest.mark.parametrize("status", [TaskStatus.QUEUED, TaskStatus.RUNNING])
    async def test_not_over(
        self, client: httpx.AsyncClient, status: TaskStatus
    ) -> None:
        caller = await factories.member()
        task = await factories.task(caller.actor, status)
        response = await client.get(f"{BASE}/{task.id}/result", auth=caller)
        assert response.status_code == 202
        assert response.json()["status"] == status

    async def test_failed(self, client: httpx.AsyncClient) -> None:
        caller = await factories.member()
        task = await factories.task(caller.actor, TaskStatus.FAILED)
        response = await client.get(f"{BASE}/{task.id}/result", auth=caller)
        assert_problem(response, 409, "task-failed")
        assert response.json()["kind"] == "exception"
        assert response.json()["detail"] == "Out of luck."

    async def test_cancelled(self, client: httpx.AsyncClient) -> None:
        caller = await factories.member()
        task = await factories.task(caller.actor, TaskStatus.CANCELLED)
        response = await client.get(f"{BASE}/{task.id}/result", auth=caller)
        assert_problem(response, 409, "task-cancelled")

    async def test_not_acceptable(self, client: httpx.AsyncClient) -> None:
        caller = await factories.member()
        task = await factories.task(caller.actor)
        response = await client.get(
            f"{BASE}/{task.id}/result",
            headers={"Accept": "text/html"},
            auth=caller,
        )
        assert_problem(response, 406, "not-acceptable")


def _events_in(text: str) -> list[tuple[int, dict[str, Any]]]:
    """The ids and the data of a stream's events."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if ": " in line
        )
        if "data" in fields:
            found.append((int(fields["id"]), json.loads(fields["data"])))
    return found


class TestFollow:
    async def test_to_the_end(self, client: httpx.AsyncClient) -> None:
        caller = await factories.member()
        task = await factories.task(caller.actor, TaskStatus.RUNNING)
        stream = asyncio.create_task(
            client.get(f"{BASE}/{task.id}/events", auth=caller)
        )
        await asyncio.sleep(0.4)
        renewed = await tasks.renew(task, progress=0.4, message="half")
        assert renewed is not None
        await asyncio.sleep(0.6)
        await tasks.succeed(renewed, result=BytesIO(b"1"))
        response = await stream
        kind = response.headers["Content-Type"]
        assert kind.startswith("text/event-stream")
        events = _events_in(response.text)
        said = [(data["status"], data["progress"]) for _, data in events]
        assert said == [("running", 0), ("running", 0.4), ("succeeded", 1)]
        ids = [number for number, _ in events]
        assert ids == sorted(set(ids))

    async def test_head(self, client: httpx.AsyncClient) -> None:
        """The task never ends, but the answer does."""
        caller = await factories.member()
        task = await factories.task(caller.actor, TaskStatus.RUNNING)
        response = await client.head(f"{BASE}/{task.id}/events", auth=caller)
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.content == b""

    async def test_resumes(self, client: httpx.AsyncClient) -> None:
        caller = await factories.member()
        task = await factories.task(caller.actor)
        path = f"{BASE}/{task.id}/events"
        whole = _events_in((await client.get(path, auth=caller)).text)
        last, state = whole[-1]
        resumed = await client.get(
            path, headers={"Last-Event-ID": str(last - 1)}, auth=caller
        )
        assert _events_in(resumed.text) == [(last, state)]
        over = await client.get(
            path, headers={"Last-Event-ID": str(last)}, auth=caller
        )
        assert over.status_code == 204

    async def test_deleted_meanwhile(self, client: httpx.AsyncClient) -> None:
        caller = await factories.member()
        task = await factories.task(caller.actor, TaskStatus.QUEUED)
        stream = asyncio.create_task(
            client.get(f"{BASE}/{task.id}/events", auth=caller)
        )
        await asyncio.sleep(0.4)
        await tasks.delete_tasks_of(caller.user.id)
        events = _events_in((await stream).text)
        assert [data["status"] for _, data in events] == ["queued"]

    async def test_another_ones(self, client: httpx.AsyncClient) -> None:
        task = await factories.task()
        response = await client.get(
            f"{BASE}/{task.id}/events", auth=await factories.member()
        )
        assert_problem(response, 404, "task-not-found")


class TestChanges:
    async def test_cancel(self, client: httpx.AsyncClient) -> None:
        caller = await factories.member()
        task = await factories.task(caller.actor, TaskStatus.QUEUED)
        path = f"{BASE}/{task.id}/cancel"
        response = await client.post(path, auth=caller)
        assert response.status_code == 202
        assert response.json()["status"] == "cancelled"
        assert_problem(
            await client.post(path, auth=caller), 409, "task-state"
        )

    async def test_retry(self, client: httpx.AsyncClient) -> None:
        caller = await factories.member()
        task = await factories.task(caller.actor, TaskStatus.FAILED)
        path = f"{BASE}/{task.id}/retry"
        response = await client.post(path, auth=caller)
        assert response.status_code == 202
        assert response.json()["status"] == "queued"
        assert await tasks.list_due() == [task.id]
        assert_problem(
            await client.post(path, auth=caller), 409, "task-state"
        )

    async def test_delete(self, client: httpx.AsyncClient) -> None:
        caller = await factories.member()
        task = await factories.task(caller.actor)
        path = f"{BASE}/{task.id}"
        response = await client.delete(path, auth=caller)
        assert response.status_code == 204
        assert_problem(
            await client.get(path, auth=caller), 404, "task-not-found"
        )

    async def test_delete_what_runs(self, client: httpx.AsyncClient) -> None:
        caller = await factories.member()
        task = await factories.task(caller.actor, TaskStatus.RUNNING)
        response = await client.delete(f"{BASE}/{task.id}", auth=caller)
        assert_problem(response, 409, "task-state")

    @pytest.mark.parametrize(
        "method, more",
        [("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")],
    )
    async def test_another_ones(
        self, client: httpx.AsyncClient, method: str, more: str
    ) -> None:
        task = await factories.task()
        response = await client.request(
            method, f"{BASE}/{task.id}{more}", auth=await factories.member()
        )
        assert_problem(response, 404, "task-not-found")


@pytest.fixture(name="forget_quotas")
def _forget_quotas() -> Iterator[None]:
    """What a test's tiers say is not in force in the next one."""
    yield
    task_quotas.apply([])


@pytest.mark.usefixtures("forget_quotas")
class TestQuota:
    """What a tier says; what the settings say for all others."""

    async def test_waiting(self, client: httpx.AsyncClient) -> None:
        caller = await _member_of_tier(client, queued=2)
        assert await _codes(client, caller, times=3) == [202, 202, 429]
        response = await _submit(client, caller)
        problem = assert_problem(response, 429, "too-many-tasks")
        assert (problem["quota"], problem["limit"]) == ("waiting tasks", 2)
        assert int(response.headers["Retry-After"]) > 0
        other = await factories.member()
        assert await _codes(client, other, times=4) == [202] * 4

    async def test_race(self, client: httpx.AsyncClient) -> None:
        """Of those who submit at the same moment, none gets more.

        Whoever is told that it was taken finds it, and nobody else's is there.
        """
        caller = await _member_of_tier(client, queued=3)
        answers = await asyncio.gather(
            *(_submit(client, caller) for _ in range(8))
        )
        taken = {each.json()["id"] for each in answers if each.is_success}
        for each in answers:
            if not each.is_success:
                assert_problem(each, 429, "too-many-tasks")
        listed = await client.get(BASE, auth=caller)
        assert {each["id"] for each in listed.json()["items"]} == taken
        assert len(taken) <= 3

    async def test_running(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One too many waits on, and is begun when there is room."""
        monkeypatch.setattr(tasks, "_FULL_WAIT_SECONDS", 0)
        caller = await _member_of_tier(client, running=1)
        first, second = [
            (await _submit(client, caller)).json()["id"] for _ in range(2)
        ]
        await factories.run_task(first, TaskStatus.RUNNING)
        known = {"np_array"}
        assert await tasks.claim(second, worker="w", known=known) is None
        waits = await client.get(f"{BASE}/{second}", auth=caller)
        assert (waits.json()["status"], waits.json()["attempts"]) == (
            "queued",
            0,
        )
        # A tier that changes counts for what was submitted before.
        await _change_quotas(client, running=2)
        # It had stepped back for a moment.
        async with asyncio.timeout(20):
            while not await tasks.claim(second, worker="w", known=known):
                await asyncio.sleep(0.05)

    async def test_stored(self, client: httpx.AsyncClient) -> None:
        caller = await _member_of_tier(client, stored=2)
        assert await _codes(client, caller, times=3) == [202, 202, 429]
        problem = assert_problem(
            await _submit(client, caller), 429, "too-many-tasks"
        )
        assert (problem["quota"], problem["limit"]) == ("tasks", 2)

    async def test_stored_bytes(self, client: httpx.AsyncClient) -> None:
        caller = await _member_of_tier(client, stored_mb=1)
        numbers = list(range(100_000, 180_000))
        assert await _codes(client, caller, numbers, times=2) == [202, 429]
        problem = assert_problem(
            await _submit(client, caller, numbers), 429, "too-many-tasks"
        )
        assert problem["limit"] == 1024 * 1024

    @pytest.mark.parametrize(
        "setting, quota",
        [
            ("task_queued_max", "waiting tasks"),
            ("task_stored_max", "tasks"),
        ],
    )
    async def test_default(
        self,
        client: httpx.AsyncClient,
        monkeypatch: pytest.MonkeyPatch,
        setting: str,
        quota: str,
    ) -> None:
        """Who has no tier, or one that says nothing, has the settings'."""
        few = settings.model_copy(update={setting: 1})
        monkeypatch.setattr(task_quotas, "settings", few)
        nobodys = await factories.member()
        for caller in (nobodys, await _member_of_tier(client)):
            assert await _codes(client, caller, times=1) == [202]
            problem = assert_problem(
                await _submit(client, caller), 429, "too-many-tasks"
            )
            assert (problem["quota"], problem["limit"]) == (quota, 1)

    async def test_retry(self, client: httpx.AsyncClient) -> None:
        caller = await _member_of_tier(client, queued=1)
        failed = await factories.task(caller.actor, TaskStatus.FAILED)
        assert await _codes(client, caller, times=1) == [202]
        response = await client.post(f"{BASE}/{failed.id}/retry", auth=caller)
        problem = assert_problem(response, 429, "too-many-tasks")
        assert (problem["quota"], problem["limit"]) == ("waiting tasks", 1)

    async def test_costs(self, client: httpx.AsyncClient) -> None:
        """A tier costs a submission no look at the database."""
        costs = []
        for caller in (
            await factories.member(),
            await _member_of_tier(client, queued=9),
        ):
            with counted() as commands:
                await _submit(client, caller)
            costs.append(list(commands))
        assert costs[0] == costs[1]


async def _member_of_tier(
    client: httpx.AsyncClient, **quotas: int
) -> factories.Member:
    """A member of a tier whose quotas are in force."""
    caller, admin = await factories.member(), await factories.admin()
    body = {"name": "gold", "task_quotas": quotas}
    made = await client.post("/v1/tiers", json=body, auth=admin)
    assert made.status_code == 201, made.text
    await client.patch(
        f"/v1/users/{caller.user.id}", json={"tier": "gold"}, auth=admin
    )
    await tiers.hand_out(task_quotas.apply)
    return caller


async def _change_quotas(client: httpx.AsyncClient, **quotas: int) -> None:
    changed = await client.patch(
        "/v1/tiers/gold",
        json={"task_quotas": quotas},
        auth=await factories.admin(),
    )
    assert changed.status_code == 200, changed.text
    await tiers.hand_out(task_quotas.apply)


async def _submit(
    client: httpx.AsyncClient,
    caller: factories.Member,
    array: Sequence[int] = (1,),
) -> httpx.Response:
    return await client.post(
        "/v1/processes/np-array", json={"array": array}, auth=caller
    )


async def _codes(
    client: httpx.AsyncClient,
    caller: factories.Member,
    array: Sequence[int] = (1,),
    *,
    times: int,
) -> list[int]:
    """What is answered to submissions one after the other."""
    return [
        (await _submit(client, caller, array)).status_code
        for _ in range(times)
    ]


class TestShortForm:
    async def test_json(self, client: httpx.AsyncClient) -> None:
        response = await client.post(
            "/process_np_array",
            json={"array": [1, 2, 4], "operation": "normalize"},
        )
        assert response.status_code == 202
        task_id = response.json()["task_id"]
        pending = await client.get(f"/result/{task_id}")
        assert pending.status_code == 202
        assert pending.json() == {"status": "pending"}
        await factories.run_task(task_id)
        done = await client.get(f"/result/{task_id}")
        assert done.status_code == 200
        assert done.json()["status"] == "completed"
        assert done.json()["result"]["operation"] == "normalize"

    async def test_npy(self, client: httpx.AsyncClient) -> None:
        file = BytesIO()
        np.save(file, np.arange(6, dtype=np.float32).reshape(2, 3))
        response = await client.post(
            "/process_np_array",
            content=file.getvalue(),
            params={"operation": "standardize"},
            headers={"Content-Type": "application/x-npy"},
        )
        assert response.status_code == 202, response.text
        task_id = response.json()["task_id"]
        await factories.run_task(task_id)
        result = (await client.get(f"/result/{task_id}")).json()["result"]
        assert (result["shape"], result["dtype"]) == ([2, 3], "float32")

    async def test_no_npy(self, client: httpx.AsyncClient) -> None:
        response = await client.post(
            "/process_np_array",
            content=b"\x93NUMPY and then nothing",
            headers={"Content-Type": "application/x-npy"},
        )
        assert_problem(response, 422, "invalid-request")

    async def test_strangers_are_refused(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            type(settings), "strangers_compute", property(lambda _: False)
        )
        response = await client.post("/process_np_array", json={"array": [1]})
        assert_problem(response, 401, "not-authenticated")
        member = await factories.member()
        response = await client.post(
            "/process_np_array", json={"array": [1]}, auth=member
        )
        assert response.status_code == 202
        path = f"/result/{response.json()['task_id']}"
        assert_problem(await client.get(path), 404, "task-not-found")
        assert (await client.get(path, auth=member)).status_code == 202

    async def test_failed(self, client: httpx.AsyncClient) -> None:
        caller = await factories.member()
        task = await factories.task(caller.actor, TaskStatus.FAILED)
        response = await client.get(f"/result/{task.id}", auth=caller)
        assert_problem(response, 409, "task-failed")
