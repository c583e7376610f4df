"""A typed client: calls processes by HTTP, as if they were here.

    from scripts.client import Muster
    from utils.processes.spectrum import spectrum

    with Muster("http://localhost:8000", token=TOKEN) as muster:
        found = muster.call(spectrum, wave, sampling_rate=8000)

The function is its own description: a type checker knows what `call` takes and
returns, and nothing is generated. Whoever has no Python makes a client from
`/openapi.json`.
"""

import inspect
import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from io import BytesIO
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any, Final, ParamSpec, Self, TypeVar
from urllib.parse import quote

import httpx
import numpy as np

from models.array_files import read_npy, write_npy
from models.arrays import HOLE, typed_form
from models.conversions import portable
from models.payloads import Payload
from utils.process_functions import Process, process_of

P = ParamSpec("P")
R = TypeVar("R")

_NPY: Final = "application/x-npy"
_SHORTEST_WAIT: Final = 0.02
_LONGEST_WAIT: Final = 1.0


class CallError(Exception):
    """A call has no result; the message is the reason.

    Attributes:
        problem: what the service answered.
    """

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem["detail"])
        self.problem = problem


class Muster:
    """A service, and who calls it."""

    def __init__(
        self, url: str = "http://localhost:8000", *, token: str
    ) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def call(
        self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """What `function` returns, when the service runs it.

        Raises:
            pydantic.ValidationError: an argument is not what the function
                declares: nothing is sent.
            CallError: the service refuses the call, or the task fails.
        """
        task_id = self.submit(function, *args, **kwargs)
        return self.wait(function, task_id)

    def submit(
        self, function: Callable[P, Any], *args: P.args, **kwargs: P.kwargs
    ) -> str:
        """Queues a call; returns the id of its task.

        Raises:
            pydantic.ValidationError: an argument is not what the function
                declares: nothing is sent.
            CallError: the service refuses it.
        """
        process = process_of(function)
        given = inspect.signature(function).bind(*args, **kwargs).arguments
        fields, arrays = _parts(process, given)
        path = process.path
        for name in process.path_arguments:
            value = quote(str(fields.pop(name)), safe="")
            path = path.replace(f"{{{name}}}", value)
        url = f"/v1/processes/{path}"
        if arrays:
            response = self._upload(url, fields, arrays)
        else:
            response = self._http.post(url, json=fields)
        return str(_checked(response).json()["id"])

    def wait(self, function: Callable[..., R], task_id: str) -> R:
        """The result of a call of `function`, as soon as it is there.

        Raises:
            CallError: the task fails.
        """
        process = process_of(function)
        url = f"/v1/tasks/{task_id}/result"
        seconds = _SHORTEST_WAIT
        while True:
            response = _checked(self._http.get(url))
            if response.status_code == httpx.codes.OK:
                break
            time.sleep(seconds)
            seconds = min(2 * seconds, _LONGEST_WAIT)
        found = process.load_result(Payload(response.content))
        kept = process.dump_result(found)
        # Numbers in JSON have no types: those of arrays are in their files.
        arrays = [self._array(url, name) for name in kept.names()]
        result: R = process.load_result(Payload(kept.text, arrays))
        return result

    def _upload(
        self, url: str, fields: dict[str, Any], arrays: dict[str, np.ndarray]
    ) -> httpx.Response:
        texts = {name: json.dumps(said) for name, said in fields.items()}
        with ExitStack() as stack:
            files = {
                name: stack.enter_context(_file_of(array))
                for name, array in arrays.items()
            }
            return self._http.post(url, data=texts, files=files)

    def _array(self, url: str, name: str) -> np.ndarray:
        response = self._http.get(
            url, params={"array": name}, headers={"Accept": _NPY}
        )
        content = _checked(response).content
        array = read_npy(BytesIO(content), limit_bytes=len(content))
        return array.copy()


def _parts(
    process: Process, given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Arguments as JSON, without those that are arrays; and these."""
    values = {
        name: portable(value, process.hints[name])
        for name, value in given.items()
    }
    arguments = process.parameters.model_validate(values)
    payload = process.dump_arguments(arguments)
    fields: dict[str, Any] = json.loads(
        payload.text, object_hook=lambda each: _unfolded(each, payload)
    )
    arrays = {
        name: value
        for name, value in fields.items()
        if isinstance(value, np.ndarray)
    }
    others = {
        name: _inside(value)
        for name, value in fields.items()
        if name not in arrays
    }
    return others, arrays


def _file_of(array: np.ndarray) -> IO[bytes]:
    # Whoever sends it closes it.
    file = TemporaryFile()  # pylint: disable=consider-using-with
    write_npy(array, file)
    file.seek(0)
    return file


def _unfolded(member: dict[str, Any], payload: Payload) -> Any:
    """An object of JSON, or the array that left a hole there."""
    if list(member) == [HOLE]:
        return payload.arrays[member[HOLE]]
    return member


def _inside(value: Any) -> Any:
    """JSON in which arrays, which are inside others, say their types."""
    match value:
        case np.ndarray():
            return typed_form(value)
        case dict():
            return {name: _inside(member) for name, member in value.items()}
        case list():
            return [_inside(item) for item in value]
    return value


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_error:
        raise CallError(response.json())
    return response
