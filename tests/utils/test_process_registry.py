"""Processes: what follows from a signature."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any
from uuid import UUID

import numpy as np
import pytest
from pydantic import BaseModel, Field

from models.arrays import NDArray
from models.exceptions import InvalidRequestError
from models.payloads import Payload
from tests.utils import sample_processes
from utils import process_registry
from utils.process_functions import (
    Process,
    ProcessDefinitionError,
    path_of,
    process_of,
)
from utils.process_options import process

FOUND = process_registry.find_in(sample_processes)
PACK = FOUND["pack"]
BLUR = FOUND["images/{id}/blur"]
BODY: dict[str, Any] = {
    "crate": {"label": "c", "points": [{"x": 1}]},
    "box": {"corners": [{"x": 2, "y": 3}]},
    "points": [{"x": 4}],
    "values": [1, 2],
}


def payload(body: object) -> Payload:
    """A body of JSON."""
    return Payload(json.dumps(body).encode())


def run(found: Process, body: object, **path: str) -> Any:
    """A process's result as JSON, by way of what is kept meanwhile."""
    arguments = found.validate(payload(body), path=path)
    kept = found.dump_arguments(arguments).to_bytes()
    result = found.run(Payload.from_bytes(kept)).to_bytes()
    return json.loads(found.result_json(Payload.from_bytes(result)))


class TestPaths:
    @pytest.mark.parametrize(
        "name, arguments, path",
        [
            ("np_array", [], "np-array"),
            ("spectrum", ["spectrum"], "spectrum"),
            ("images__id_blur", ["id"], "images/{id}/blur"),
            ("images__id_blur", ["image"], "images/id-blur"),
            ("images__id", ["id"], "images/{id}"),
            ("images__ids", ["id"], "images/ids"),
            ("images__image_id_blur", ["image", "image_id"],
             "images/{image_id}/blur"),
            ("a__b__c_d", ["b", "c"], "a/{b}/{c}/d"),
        ],
    )  # fmt: skip
    def test_follow_from_names(
        self, name: str, arguments: list[str], path: str
    ) -> None:
        assert path_of(name, arguments) == path

    def test_a_decorator_overrides(self) -> None:
        found = FOUND["settings/now"]
        assert found.name == "decorated"
        assert found.options.schedule == "0 3 * * *"
        assert (found.retries, found.options.memory_mb) == (2, 64)


class TestKinds:
    """Arguments and results are of any kind, nested in each other."""

    def test_the_function_gets_what_it_declares(self) -> None:
        result = run(PACK, BODY)
        assert result == {
            "crate": {
                "label": "c",
                "points": [{"x": 1.0, "y": 0.0}],
                "best": {"x": 2.0, "y": 3.0},
            },
            "boxes": {
                "first": {"corners": [{"x": 2.0, "y": 3.0}], "mode": "fast"}
            },
            "values": [3, 6],
            "mean": 1.5,
            "kinds": [
                "Crate", "Box", "Point", "ndarray", "Mode", "Point", "int",
            ],
        }  # fmt: skip

    def test_not_a_number_is_kept(self) -> None:
        arguments = PACK.load_arguments(payload({**BODY, "values": []}))
        kept = PACK.dump_result(PACK.call(arguments))
        assert b'"mean": NaN' in kept.text
        assert json.loads(PACK.result_json(kept))["mean"] == "NaN"

    def test_bytes_need_not_be_a_text(self) -> None:
        def swap(data: bytes, old: bytes = b"\xff") -> tuple[bytes, bytes]:
            """Swaps."""
            return old, data

        body = {"data": "AP8="}
        assert run(process_of(swap), body) == ["_w==", "AP8="]

    def test_arguments_in_the_path(self) -> None:
        assert run(BLUR, {"strength": 2}, id="5") == {"id": 5, "strength": 2}
        assert "id" not in BLUR.body.model_fields
        with pytest.raises(InvalidRequestError) as caught:
            BLUR.validate(payload({}), path={"id": "five"})
        assert caught.value.facts["errors"][0]["loc"] == ["path", "id"]  # type: ignore[index]

    def test_arguments_can_be_changed_by_the_function(self) -> None:
        def shift(array: NDArray) -> NDArray:
            """Shifts."""
            array += 1
            return array

        assert run(process_of(shift), {"array": [1]}) == [2]

    def test_a_result_that_is_not_what_is_declared(self) -> None:
        with pytest.raises(TypeError, match="lies returned something else"):
            run(FOUND["lies"], {"value": 3})


class TestValidation:
    @pytest.mark.parametrize(
        "change, loc",
        [
            ({"limit": 0}, ["limit"]),
            ({"limit": "3"}, ["limit"]),
            ({"mode": "slow"}, ["mode"]),
            ({"unknown": 1}, ["unknown"]),
            ({"points": [{"x": 1}, {"z": 1}]}, ["points", 1, "x"]),
            ({"crate": {"labels": "c"}}, ["crate", "labels"]),
            ({"values": ["a"]}, ["values"]),
            ({"values": {"$array": 0}}, ["values"]),
        ],
    )
    def test_names_what_is_wrong(
        self, change: dict[str, Any], loc: list[object]
    ) -> None:
        with pytest.raises(InvalidRequestError) as caught:
            PACK.validate(payload({**BODY, **change}))
        errors: Any = caught.value.facts["errors"]
        assert errors[0]["loc"] == ["body", *loc]
        assert "input" not in errors[0] and "ctx" not in errors[0]

    def test_of_what_is_no_json(self) -> None:
        for text in (b"", b"{", b"[" * 10_000, b"\xff", b"3"):
            with pytest.raises(InvalidRequestError):
                PACK.validate(Payload(text))

    def test_answers_some_faults_only(self) -> None:
        with pytest.raises(InvalidRequestError) as caught:
            PACK.validate(payload({str(n): n for n in range(1000)}))
        errors: Any = caught.value.facts["errors"]
        assert len(errors) == 20


class TestDescription:
    def test_of_a_docstring(self) -> None:
        assert PACK.summary == "Packs points"
        assert PACK.description.splitlines() == [
            "All that it gets is of the types that it declares.",
            "",
            "**Result.** What was given.",
            "",
            "**The task fails when**",
            "",
            "- there are no points.",
        ]

    def test_of_arguments(self) -> None:
        schema = PACK.body.model_json_schema()
        crate = schema["properties"]["crate"]
        assert crate["description"] == "what they are put into, with a label."
        assert schema["properties"]["limit"]["maximum"] == 9
        assert schema["properties"]["origin"]["default"] == {"x": 1, "y": 2}
        assert schema["required"] == ["crate", "box", "points", "values"]
        assert PACK.array_arguments == {"values"}

    def test_made_up_examples_are_accepted(self) -> None:
        for found in FOUND.values():
            found.validate(payload(found.example()), path={"id": "1"})

    def test_made_up_examples_of_many_types(self) -> None:
        found = process_of(varied)
        found.validate(payload(found.example()))

    def test_made_up_examples_of_types_that_hold_themselves(self) -> None:
        found = process_of(nested)
        assert found.example() == {
            "link": {"value": 1, "following": None, "branches": []}
        }
        assert run(found, found.example()) == found.example()["link"]

    def test_shipped_examples_run(self) -> None:
        shipped = process_registry.list_processes()
        assert {"np-array", "spectrum", "pca"} <= {p.path for p in shipped}
        for found in shipped:
            shown = process_registry.read_process(found)
            assert shown.summary and len(shown.summary) < 80
            assert shown.description
            run(found, shown.example)


class TestFinding:
    def test_by_path(self) -> None:
        found = process_registry.find_process("np-array")
        assert found is not None and found[0].name == "np_array"
        assert process_registry.find_process("np_array") is None
        assert process_registry.find_process("") is None

    def test_by_name(self) -> None:
        assert process_registry.get_process("np_array") is not None
        assert process_registry.get_process("np-array") is None

    def test_public_functions_only(self) -> None:
        assert [*FOUND] == [
            "images/{id}/blur",
            "lies",
            "pack",
            "settings/now",
        ]

    def test_a_new_file_is_enough(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = "made_up_processes"
        package = ModuleType(name)
        package.__path__ = [str(tmp_path)]
        monkeypatch.setitem(sys.modules, name, package)
        text = 'def double(n: int) -> int:\n    """Two."""\n    return 2 * n\n'
        (tmp_path / "new.py").write_text(text)
        found = process_registry.find_in(package)
        assert run(found["double"], {"n": 4}) == 8
        (tmp_path / "other.py").write_text(text)
        with pytest.raises(ProcessDefinitionError, match="called double"):
            process_registry.find_in(package)


class Link(BaseModel):
    """Holds itself."""

    value: int
    following: "Link | None"
    branches: list["Link"]


def nested(link: Link) -> Link:
    """Takes what holds itself."""
    return link


def varied(
    *,
    when: datetime,
    identity: UUID,
    share: Annotated[float, Field(gt=0, lt=1)],
    above: Annotated[int, Field(gt=3)],
    below: Annotated[int, Field(lt=-3)],
    even: Annotated[int, Field(multiple_of=2)],
    name: Annotated[str, Field(min_length=9, max_length=10)],
    pair: Annotated[list[date], Field(min_length=2)],
) -> None:
    """Takes many types."""
    del when, identity, share, above, below, even, name, pair


def untyped(n) -> int:  # type: ignore[no-untyped-def]
    """Has no type."""
    return int(n)


def unsaid(n: int):  # type: ignore[no-untyped-def]
    """Says not what it returns."""
    return n


def undocumented(n: int) -> int:  # pylint: disable=missing-function-docstring
    return n


def many(*numbers: int) -> int:
    """Takes any number of arguments."""
    return len(numbers)


async def waiting() -> None:
    """Waits."""


def opaque(thing: object, other: subprocess.Popen[str]) -> None:
    """Takes what has no JSON."""
    del thing, other


def wrong_default(n: int = "3") -> int:  # type: ignore[assignment]
    """Has a default of another type."""
    return n


def undefined(n: "Missing") -> int:  # type: ignore[name-defined]  # noqa: F821
    """Names a type that is not there."""
    return int(n)


@process(path="a b")
def misplaced() -> None:
    """Has a path that is none."""


@process(path="a/{b}")
def missing() -> None:
    """Has an argument in its path that it has not."""


@pytest.mark.parametrize(
    "function, message",
    [
        (untyped, "n has no type"),
        (unsaid, "says not what it returns"),
        (undocumented, "no docstring"),
        (many, r"\*numbers: int has no name"),
        (waiting, "plain def"),
        (opaque, "Popen"),
        (wrong_default, "holds a str, and is int"),
        (undefined, "Missing"),
        (misplaced, "a b is no path"),
        (missing, "names no arguments"),
    ],
)
def test_what_is_no_process_says_why(
    function: Callable[..., Any], message: str
) -> None:
    with pytest.raises(ProcessDefinitionError, match=message) as caught:
        process_of(function)
    assert f"{__name__}.{function.__name__}: " in str(caught.value)


def test_web_workers_stay_small() -> None:
    """They know all processes, and import none of the heavy packages.

    Nor what is not configured, nor what a package builds of its lists.
    """
    program = (
        "import sys, app\n"
        "heavy = {'scipy', 'sklearn', 'matplotlib', 'pandas', 'skimage'}\n"
        "heavy |= {'redis', 'zxcvbn', 'taskiq', 'opentelemetry.sdk'}\n"
        "print(sorted(heavy & set(sys.modules)), 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "[] True\n", done.stderr


def test_arrays_are_mapped_until_they_run() -> None:
    array = np.arange(3)
    kept = PACK.dump_arguments(
        PACK.validate(
            Payload(
                json.dumps({**BODY, "values": {"$array": 0}}).encode(), [array]
            )
        )
    )
    assert kept.arrays[0] is array
