"""Processes where tasks call them: in a child, within its memory."""

import io
import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from sklearn.datasets import load_digits

from models.payloads import Payload
from models.tasks import FailureKind, TaskError
from utils import process_registry
from utils.process_registry import Process
from utils.task_children import Child, Job

_NAMES = [each.name for each in process_registry.list_processes()]


@pytest_asyncio.fixture(name="child", scope="module", loop_scope="session")
async def _child() -> AsyncIterator[Child]:
    """One child for all tests of a module: it takes seconds to load."""
    child = await Child.start()
    assert await child.load() is None
    yield child
    await child.aclose()


def _process(name: str) -> Process:
    process = process_registry.get_process(name)
    assert process is not None
    return process


async def _pieces(payload: Payload) -> AsyncIterator[bytes]:
    yield payload.to_bytes()


async def _run(
    child: Child, name: str, body: dict[str, Any], *arrays: np.ndarray
) -> TaskError | None:
    process = _process(name)
    sent = Payload(json.dumps(body).encode(), arrays)
    kept = process.dump_arguments(process.validate(sent))
    return await child.do(
        Job(
            process=name,
            given=_pieces(kept),
            time_limit_seconds=process.options.time_limit_seconds,
            memory_mb=process.options.memory_mb,
        )
    )


def _result(child: Child, name: str) -> Any:
    with io.BytesIO(child.result.read_bytes()) as file:
        return json.loads(_process(name).result_json(Payload.read_from(file)))


class TestExamples:
    @pytest.mark.parametrize("name", _NAMES)
    async def test_each_runs(self, child: Child, name: str) -> None:
        assert await _run(child, name, _process(name).example()) is None
        assert _result(child, name)


class TestInput:
    async def test_a_sentence_for_whoever_sent_it(self, child: Child) -> None:
        error = await _run(child, "spectrum", {"array": [1, "NaN"]})
        assert error is not None
        assert error.kind is FailureKind.INPUT
        assert error.detail.startswith("1 of 2 elements are NaN or infinite")


class TestModels:
    async def test_one_load_for_many_tasks(self, child: Child) -> None:
        data = np.frombuffer(b"#!/bin/sh\necho hello\n" * 20, np.uint8)
        kinds = {"array": {"$array": 0}, "model": "file_type"}
        before = child.models
        for picture in load_digits().images[:3]:
            body = {"array": picture.tolist()}
            assert await _run(child, "classify", body) is None
            assert await _run(child, "classify", kinds, data) is None
            assert _result(child, "classify")["labels"] == ["shell"]
        assert child.models.loads <= 2
        assert child.models.hits >= before.hits + 4
        assert child.models.models == 2
