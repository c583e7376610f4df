"""Tests of `routes/processes.py`."""

import io
import json
import tempfile
import tracemalloc
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jsonschema_rs
import numpy as np
import pytest

from config.main import MAX_BODY_BYTES, settings
from models.arrays import NDArray
from models.base import new_id
from models.exceptions import InvalidRequestError
from models.payloads import Payload
from models.tasks import TaskStatus
from tests import factories
from tests.contract import operations
from tests.problems import assert_problem
from utils import process_registry, submissions, tasks
from utils.process_functions import process_of

BASE = "/v1/processes"
NP_ARRAY = f"{BASE}/np-array"
Client = httpx.AsyncClient
Member = factories.Member


def npy(array: object) -> bytes:
    """A `.npy` file."""
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array))
    return buffer.getvalue()


def npz(**arrays: object) -> bytes:
    """A `.npz` file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def npz_that_claims(length: int) -> bytes:
    """A `.npz` file whose array says so, and does not come."""
    member, archive = io.BytesIO(), io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(member, header)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.npy", member.getvalue())
    return archive.getvalue()


async def arguments_of(task_id: str, caller: Member) -> dict[str, Any]:
    """What a task was submitted with, each array as itself."""
    opened = await tasks.open_submitted(task_id, actor=caller.actor)
    payload = Payload.from_bytes(b"".join([piece async for piece in opened]))
    found: dict[str, Any] = json.loads(payload.text)
    return found | {
        name: payload.arrays[number]
        for name, number in payload.names().items()
    }


async def submitted(client: Client, caller: Member, **body: Any) -> Any:
    """The arguments of a task that is accepted."""
    response = await client.post(NP_ARRAY, auth=caller, **body)
    assert response.status_code == 202, response.text
    return await arguments_of(response.json()["id"], caller)


class TestReading:
    async def test_list(self, client: Client) -> None:
        listed = (await client.get(BASE)).json()
        assert listed["next_cursor"] is None
        found = {item["path"]: item for item in listed["items"]}
        assert {"np-array", "spectrum", "filter"} <= set(found)
        shown = found["np-array"]
        assert shown["name"] == "np_array"
        assert "array" in shown["parameters"]["required"]
        assert shown["result"]["type"] == "object"

    async def test_pages(self, client: Client) -> None:
        paths: list[str] = []
        query: dict[str, Any] = {"limit": 3}
        while True:
            page = (await client.get(BASE, params=query)).json()
            paths += [item["path"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            assert len(page["items"]) == 3
            query["cursor"] = page["next_cursor"]
        assert paths == sorted(set(paths)) and "np-array" in paths

    @pytest.mark.parametrize(
        "query", [{"cursor": "x"}, {"limit": 0}, {"limit": 101}, {"page": 2}]
    )
    async def test_wrong_pages(
        self, client: Client, query: dict[str, Any]
    ) -> None:
        response = await client.get(BASE, params=query)
        assert_problem(response, 422, "invalid-request")

    async def test_one(self, client: Client) -> None:
        shown = (await client.get(NP_ARRAY)).json()
        assert shown in (await client.get(BASE)).json()["items"]

    async def test_unknown(self, client: Client) -> None:
        for path in ("np_array", "np-array/x", "x"):
            response = await client.get(f"{BASE}/{path}")
            assert_problem(response, 404, "process-not-found")

    async def test_schemas_are_standard(self, client: Client) -> None:
        """The example fits the schema, for whoever has no Muster at hand."""
        for item in (await client.get(BASE)).json()["items"]:
            jsonschema_rs.validate(item["parameters"], item["example"])


class TestJson:
    async def test_from_start_to_result(self, client: Client) -> None:
        caller = await factories.member()
        response = await client.post(
            NP_ARRAY,
            json={"array": [1, 2, 4], "operation": "normalize"},
            auth=caller,
        )
        task = response.json()
        assert response.status_code == 202
        assert task["status"] == "queued" and task["process"] == "np_array"
        location = response.headers["Location"]
        assert location == f"/v1/tasks/{task['id']}"
        await factories.run_task(task["id"])
        result = await client.get(f"{location}/result", auth=caller)
        assert result.json()["array"] == [0, 1 / 3, 1]

    async def test_type_is_kept(self, client: Client) -> None:
        caller = await factories.member()
        given = await submitted(
            client,
            caller,
            json={"array": {"data": [1, 2], "dtype": "float32"}},
        )
        assert given["array"].dtype == np.float32

    @pytest.mark.parametrize(
        "content, loc",
        [
            (b"", ["array"]),
            (b"{", []),
            (b"[" * 100_000, []),
            (b'{"array": ["x"]}', ["array"]),
            (b'{"array": [1], "operation": "x"}', ["operation"]),
            (b'{"array": [1], "more": 1}', ["more"]),
            (b'{"array": {"$array": 0}}', ["array"]),
        ],
    )
    async def test_wrong(
        self, client: Client, content: bytes, loc: list[str]
    ) -> None:
        response = await client.post(
            NP_ARRAY,
            content=content,
            headers={"Content-Type": "application/json"},
            auth=await factories.member(),
        )
        problem = assert_problem(response, 422, "invalid-request")
        assert problem["errors"][0]["loc"] == ["body", *loc]

    async def test_too_long(self, client: Client) -> None:
        """A longer array comes as a file."""
        response = await client.post(
            NP_ARRAY,
            json={"array": [0] * MAX_BODY_BYTES},
            auth=await factories.member(),
        )
        problem = assert_problem(response, 413, "body-too-large")
        assert problem["limit_bytes"] == MAX_BODY_BYTES

    async def test_needs_a_login(self, client: Client) -> None:
        response = await client.post(NP_ARRAY, json={"array": [1]})
        assert_problem(response, 401, "not-authenticated")

    async def test_another_type(self, client: Client) -> None:
        response = await client.post(
            NP_ARRAY,
            content=b"<xml/>",
            headers={"Content-Type": "text/xml"},
            auth=await factories.member(),
        )
        assert_problem(response, 415, "unsupported-media-type")

    async def test_unknown_process(self, client: Client) -> None:
        response = await client.post(f"{BASE}/unknown", json={})
        assert_problem(response, 404, "process-not-found")

    async def test_too_many(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(settings.__dict__, "task_queued_max", 1)
        caller = await factories.member()
        for expected in (202, 429):
            response = await client.post(
                NP_ARRAY, json={"array": [1]}, auth=caller
            )
            assert response.status_code == expected
        assert_problem(response, 429, "too-many-tasks")


class TestFiles:
    @pytest.mark.parametrize(
        "array",
        [
            np.arange(6, dtype=">i2").reshape(2, 3),
            np.asfortranarray(np.ones((3, 4))),
            np.zeros((0, 3), np.float16),
            np.array(5.0),
            np.array([1 + 2j]),
            # More than what is kept in memory of an upload.
            np.arange(200_000.0),
        ],
        ids=range(6),
    )
    async def test_type_and_shape_are_kept(
        self, client: Client, array: np.ndarray[Any, Any]
    ) -> None:
        caller = await factories.member()
        given = await submitted(
            client,
            caller,
            files={"array": ("a.npy", npy(array))},
            data={"operation": "unit"},
        )
        assert given["operation"] == "unit"
        assert given["array"].dtype == array.dtype
        assert given["array"].shape == array.shape
        assert np.array_equal(given["array"], array)

    @pytest.mark.parametrize(
        "name, members",
        [("array", {"x": [1]}), ("all", {"array": [1]})],
    )
    async def test_archives(
        self, client: Client, name: str, members: dict[str, Any]
    ) -> None:
        caller = await factories.member()
        given = await submitted(
            client, caller, files={name: ("a.npz", npz(**members))}
        )
        assert given["array"].tolist() == [1]

    async def test_fields_are_json_or_text(self, client: Client) -> None:
        caller = await factories.member()
        for value in ("unit", '"unit"'):
            given = await submitted(
                client,
                caller,
                files={"array": npy([1])},
                data={"operation": value},
            )
            assert given["operation"] == "unit"
        for value in ("true", "True"):
            response = await client.post(
                f"{BASE}/spectrum",
                files={"array": npy([1, 2])},
                data={"sampling_rate": "2.5", "remove_mean": value},
                auth=caller,
            )
            given = await arguments_of(response.json()["id"], caller)
            assert given["sampling_rate"] == 2.5
            assert given["remove_mean"] is True

    async def test_nested_lists_in_a_form(self, client: Client) -> None:
        caller = await factories.member()
        given = await submitted(
            client,
            caller,
            files={"operation": (None, "unit"), "array": (None, "[1, 2]")},
        )
        assert given["array"].tolist() == [1, 2]

    @pytest.mark.parametrize(
        "files, loc, message",
        [
            ([("array", b"x")], ["array"], "no .npy file"),
            ([("array", b"PKx")], ["array"], "no .npz"),
            ([("array", npy([None]))], ["array"], "never read"),
            ([("array", npy(["x"]))], ["array"], "not read"),
            ([("array", npy([1])[:-1])], ["array"], "ends too early"),
            ([("array", npy([1])), ("array", npy([2]))], ["array"], "twice"),
            ([("arrays", npy([1]))], ["array"], "required"),
            ([("array", npz(a=[1], b=[2]))], ["array"], "an array holds"),
            ([("array", npz_that_claims(2**26))], ["array"], "at most"),
        ],
        ids=range(9),
    )
    async def test_wrong(
        self,
        client: Client,
        files: list[tuple[str, bytes]],
        loc: list[str],
        message: str,
    ) -> None:
        response = await client.post(
            NP_ARRAY,
            files=[(name, ("a.npy", data)) for name, data in files],
            auth=await factories.member(),
        )
        problem = assert_problem(response, 422, "invalid-request")
        assert problem["errors"][0]["loc"] == ["body", *loc]
        assert message in problem["errors"][0]["msg"]

    async def test_a_broken_form(self, client: Client) -> None:
        response = await client.post(
            NP_ARRAY,
            content=b"--x\r\nnothing",
            headers={"Content-Type": "multipart/form-data; boundary=y"},
            auth=await factories.member(),
        )
        assert_problem(response, 422, "invalid-request")

    async def test_too_large(self, client: Client) -> None:
        """It is refused before it is received."""
        limit = settings.max_array_bytes + MAX_BODY_BYTES
        response = await client.post(
            NP_ARRAY,
            content=b"--x",
            headers={
                "Content-Type": "multipart/form-data; boundary=x",
                "Content-Length": str(limit + 1),
            },
            auth=await factories.member(),
        )
        problem = assert_problem(response, 413, "body-too-large")
        assert problem["limit_bytes"] == limit

    async def test_is_never_whole_in_memory(self, client: Client) -> None:
        """Neither while it comes nor on its way into the database."""
        caller = await factories.member()
        length = 48 * 1024 * 1024
        with tempfile.TemporaryFile() as file:
            np.save(file, np.ones(length // 8))
            file.seek(0)

            async def body() -> AsyncIterator[bytes]:
                yield (
                    b'--x\r\nContent-Disposition: form-data; name="array"; '
                    b'filename="a.npy"\r\n\r\n'
                )
                while piece := file.read(65536):
                    yield piece
                yield b"\r\n--x--\r\n"

            kind = "multipart/form-data; boundary=x"
            tracemalloc.start()
            response = await client.post(
                NP_ARRAY,
                content=body(),
                headers={"Content-Type": kind},
                auth=caller,
            )
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert response.status_code == 202
        assert peak < length / 4


class TestReferences:
    async def test_a_result_becomes_an_argument(self, client: Client) -> None:
        caller = await factories.member()
        done = await factories.task(caller.actor, operation="normalize")
        for name in ({}, {"name": "array"}):
            given = await submitted(
                client, caller, json={"array": {"task": done.id, **name}}
            )
            assert given["array"].tolist() == [0, 1 / 3, 1]

    async def test_an_upload_becomes_an_argument(
        self, client: Client
    ) -> None:
        """Even of a task that waits; long or short."""
        caller = await factories.member()
        for count in (3, 10_000):
            array = np.arange(count, dtype="u2")
            first = await client.post(
                NP_ARRAY, files={"array": npy(array)}, auth=caller
            )
            asked = {"task": first.json()["id"], "of": "arguments"}
            given = await submitted(client, caller, json={"array": asked})
            assert given["array"].dtype == array.dtype
            assert np.array_equal(given["array"], array)

    async def test_of_another_member(self, client: Client) -> None:
        done = await factories.task()
        for of in ("result", "arguments"):
            problem = await self._refused(client, done.id, of=of)
            assert "You have no task with this id" in problem

    async def test_that_has_no_result(self, client: Client) -> None:
        caller = await factories.member()
        for status in (
            TaskStatus.QUEUED,
            TaskStatus.FAILED,
            TaskStatus.CANCELLED,
        ):
            task = await factories.task(caller.actor, status)
            await self._refused(client, task.id, caller)

    async def test_without_such_an_array(self, client: Client) -> None:
        caller = await factories.member()
        task = await factories.task(caller.actor, operation="unit")
        message = await self._refused(client, task.id, caller, name="x")
        assert message.endswith("has no array x, but array")

    async def test_too_many(self, client: Client) -> None:
        del client  # The database is there and empty.

        def stack(arrays: list[NDArray]) -> int:
            """Stacks arrays."""
            return len(arrays)

        wanted = [{"task": new_id()} for _ in range(21)]
        with pytest.raises(InvalidRequestError, match="20 arrays"):
            await submissions.submit(
                process_of(stack),
                payload=Payload(json.dumps({"arrays": wanted}).encode()),
                path={},
                actor=None,
            )

    async def _refused(
        self,
        client: Client,
        task_id: str,
        caller: Member | None = None,
        **more: str,
    ) -> str:
        response = await client.post(
            NP_ARRAY,
            json={"array": {"task": task_id, **more}},
            auth=caller or await factories.member(),
        )
        problem = assert_problem(response, 422, "invalid-request")
        return str(problem["detail"])


class TestDescription:
    """Each process has an operation of its own in /openapi.json."""

    @pytest.mark.parametrize(
        "process", process_registry.list_processes(), ids=lambda p: p.name
    )
    async def test_of_each_process(
        self, process: process_registry.Process
    ) -> None:
        operation = operations()["POST", f"{BASE}/{process.path}"]
        assert operation["summary"] == process.summary
        assert operation["description"].startswith(process.description)
        content = operation["requestBody"]["content"]
        schema = content["application/json"]["schema"]
        assert schema["examples"] == [process.example()]
        assert schema["$ref"].startswith("#/components/schemas/")
        form = content["multipart/form-data"]["schema"]["properties"]
        assert form["array"] == {"type": "string", "format": "binary"}

    async def test_all_schemas_are_there(self, client: Client) -> None:
        text = (await client.get("/openapi.json")).text
        schemas = json.loads(text)["components"]["schemas"]
        for part in text.split('"#/components/schemas/')[1:]:
            assert part.partition('"')[0] in schemas
        assert '"#/$defs/' not in text
