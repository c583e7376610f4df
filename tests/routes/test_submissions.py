"""Submissions with an Idempotency-Key: one task, however often they come."""

import asyncio
from datetime import timedelta
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest

from config import files
from models.base import new_id
from tests import factories
from tests.problems import assert_problem
from utils import idempotency

Client = httpx.AsyncClient

PATH = "/v1/processes/np-array"
BODY = {"json": {"array": [1, 2, 4]}}


async def _submit(
    client: Client,
    caller: factories.Member | None,
    key: str,
    path: str = PATH,
    **body: Any,
) -> httpx.Response:
    headers = {"Idempotency-Key": key}
    return await client.request(
        "POST", path, headers=headers, auth=caller, **(body or BODY)
    )


async def _tasks(client: Client, caller: factories.Member) -> list[str]:
    page = await client.get("/v1/tasks", auth=caller)
    return [task["id"] for task in page.json()["items"]]


def _is_replay(again: httpx.Response, first: httpx.Response) -> bool:
    assert first.status_code == 202, first.text
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers.get("location") == first.headers.get("location")
    return (again.status_code, again.content) == (202, first.content)


def _file(rows: int) -> dict[str, Any]:
    file = BytesIO()
    np.save(file, np.ones((rows, 1000)))
    return {"files": {"array": ("array.npy", file.getvalue())}}


class TestReplay:
    async def test_json(self, client: Client) -> None:
        """Also when the task is over: it is what was answered then."""
        caller, key = await factories.member(), new_id()
        first = await _submit(client, caller, key)
        task_id = first.json()["id"]
        await factories.run_task(task_id)
        assert _is_replay(await _submit(client, caller, key), first)
        assert await _tasks(client, caller) == [task_id]
        await client.delete(f"/v1/tasks/{task_id}", auth=caller)
        assert _is_replay(await _submit(client, caller, key), first)

    @pytest.mark.parametrize("rows", [1, 500])
    async def test_files(self, client: Client, rows: int) -> None:
        """The client makes a new boundary for each request."""
        caller, key = await factories.member(), new_id()
        first, again = [
            await _submit(client, caller, key, **_file(rows))
            for _ in range(2)
        ]
        assert _is_replay(again, first)
        assert await _tasks(client, caller) == [first.json()["id"]]
        await factories.run_task(first.json()["id"])
        other = await _submit(client, caller, key, **_file(rows + 1))
        assert_problem(other, 422, "idempotency-key-reused")

    async def test_short_form(self, client: Client) -> None:
        key = new_id()
        first, again = [
            await _submit(client, None, key, "/process_np_array")
            for _ in range(2)
        ]
        assert _is_replay(again, first)

    async def test_another_body(self, client: Client) -> None:
        caller, key = await factories.member(), new_id()
        await _submit(client, caller, key)
        other = await _submit(client, caller, key, json={"array": [1]})
        assert_problem(other, 422, "idempotency-key-reused")

    async def test_another_member(self, client: Client) -> None:
        key = new_id()
        for _ in range(2):
            response = await _submit(client, await factories.member(), key)
            assert "idempotency-replayed" not in response.headers

    async def test_what_is_refused_may_be_mended(self, client: Client) -> None:
        caller, key = await factories.member(), new_id()
        wrong = await _submit(client, caller, key, json={"array": "x"})
        assert_problem(wrong, 422, "invalid-request")
        assert (await _submit(client, caller, key)).status_code == 202


class TestRace:
    @pytest.mark.parametrize("rows", [0, 100])
    async def test_equal_requests(self, client: Client, rows: int) -> None:
        caller, key = await factories.member(), new_id()
        body = _file(rows) if rows else BODY
        answers = await asyncio.gather(
            *(_submit(client, caller, key, **body) for _ in range(6))
        )
        taken = {each.content for each in answers if each.is_success}
        assert len(taken) == 1
        for each in answers:
            if not each.is_success:
                assert_problem(each, 409, "idempotency-key-in-flight")
        assert len(await _tasks(client, caller)) == 1


class TestBreaks:
    """Whoever had it broke off: the next one finds what it did."""

    @pytest.mark.parametrize("rows", [0, 100])
    async def test_before_the_answer_was_kept(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, rows: int
    ) -> None:
        caller, key = await factories.member(), new_id()
        body = _file(rows) if rows else BODY
        client.event_hooks = {}

        async def fail(*_: object, **__: object) -> None:
            raise RuntimeError("the worker breaks")

        with monkeypatch.context() as broken:
            broken.setattr(idempotency, "finish", fail)
            response = await _submit(client, caller, key, **body)
        assert_problem(response, 500, "internal-error")
        [task_id] = await _tasks(client, caller)
        again = await _submit(client, caller, key, **body)
        assert (again.status_code, again.json()["id"]) == (202, task_id)
        assert await _tasks(client, caller) == [task_id]

    async def test_while_it_stored(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Half a task is put away; who still writes it finds it gone."""
        caller, key, body = await factories.member(), new_id(), _file(100)
        began, goes_on = asyncio.Event(), asyncio.Event()
        write = files.write

        async def slow(*args: Any, **more: Any) -> Any:
            if not began.is_set():
                began.set()
                await goes_on.wait()
            return await write(*args, **more)

        monkeypatch.setattr(files, "write", slow)
        monkeypatch.setattr(idempotency, "LEASE", timedelta(0))
        first = asyncio.create_task(_submit(client, caller, key, **body))
        await began.wait()
        second = await _submit(client, caller, key, **body)
        goes_on.set()
        assert second.status_code == 202
        assert_problem(await first, 409, "idempotency-key-in-flight")
        assert await _tasks(client, caller) == [second.json()["id"]]
        await factories.run_task(second.json()["id"])
