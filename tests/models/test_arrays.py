"""Arrays in JSON, and payloads that carry them."""

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from models.arrays import ArrayContext, NDArray
from models.payloads import Payload, PayloadError
from tests.models.test_array_files import Array, arrays, little_memory, same

ADAPTER: TypeAdapter[Array] = TypeAdapter(NDArray)


def read(text: str, context: ArrayContext | None = None) -> Array:
    """The array that JSON makes."""
    return ADAPTER.validate_json(text, strict=True, context=context)


def typed(array: Array) -> str:
    """An array as JSON that says all of it."""
    values = json.loads(ADAPTER.dump_json(array))
    name = array.dtype.newbyteorder("=").name
    if array.dtype.kind == "c":
        return json.dumps({**values, "dtype": name})
    shape = list(array.shape)
    return json.dumps({"data": values, "dtype": name, "shape": shape})


class TestJson:
    @pytest.mark.parametrize(
        "text, dtype, shape",
        [
            ("5", "int64", ()),
            ("true", "bool", ()),
            ("[]", "float64", (0,)),
            ("[[], []]", "float64", (2, 0)),
            ("[1, 2]", "int64", (2,)),
            ("[1, 2.5]", "float64", (2,)),
            ("[[1], [2]]", "int64", (2, 1)),
            ("[18446744073709551615]", "uint64", (1,)),
            ("[true, false]", "bool", (2,)),
            ('["NaN", 1]', "float64", (2,)),
            ('{"data": [1], "dtype": "float16"}', "float16", (1,)),
            ('{"data": [], "dtype": "int8", "shape": [0, 3]}', "int8", (0, 3)),
            ('{"real": [1], "imag": [2]}', "complex128", (1,)),
            (
                '{"real": [1], "imag": [2], "dtype": "complex64"}',
                "complex64",
                (1,),
            ),
        ],
    )
    def test_forms(
        self, text: str, dtype: str, shape: tuple[int, ...]
    ) -> None:
        array = read(text)
        assert (array.dtype, array.shape) == (np.dtype(dtype), shape)

    @given(array=arrays)
    def test_there_and_back(self, array: Array) -> None:
        if array.dtype.kind == "c" and array.size == 0:
            # Nested lists can't say (0, 3).
            array = array.reshape(-1)
        # JSON knows no order of bytes, and one NaN.
        expected = array.astype(array.dtype.newbyteorder("="))
        found = read(typed(array))
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert np.array_equal(
            found, expected, equal_nan=expected.dtype.kind in "fc"
        )

    def test_what_json_lacks(self) -> None:
        text = '[1.0,"NaN","Infinity","-Infinity"]'
        array = read(text)
        assert ADAPTER.dump_json(array).decode() == text
        assert np.isnan(read("[null, 1]")[0])

    @pytest.mark.parametrize(
        "text, message",
        [
            ("[1, [2]]", "of one length"),
            ("[[1], [2, 3]]", "of one length"),
            ("[1, true]", "an array holds"),
            ('["text"]', "an array has numbers"),
            ('["1"]', "an array has numbers"),
            ('{"a": 1}', "an array holds"),
            ("[{}]", "an array holds"),
            ("[99999999999999999999]", "64 bits"),
            (f"[1.5, {10**400}]", "too large"),
            ("[" * 40 + "]" * 40, "dimensions at most"),
            ('{"data": [300], "dtype": "int8"}', "does not fit int8"),
            ('{"data": [0.5], "dtype": "int8"}', "does not fit int8"),
            ('{"data": [1e300], "dtype": "float32"}', "does not fit float32"),
            ('{"data": ["NaN"], "dtype": "int8"}', "does not fit int8"),
            ('{"data": [1], "dtype": "object"}', "Input should be 'bool'"),
            ('{"data": [1], "dtype": "int8", "shape": [2]}', "not the shape"),
            ('{"data": [1], "dtype": "int8", "shape": [-1]}', "not negative"),
            (
                '{"data": [], "dtype": "int8", "shape": [0, 1e99]}',
                "integer",
            ),
            ('{"data": [1]}', "Field required"),
            ('{"data": [1], "dtype": "int8", "x": 1}', "Extra inputs"),
            ('{"real": [1], "imag": [1, 2]}', "the same shape"),
            ('{"task": "x"}', "match pattern"),
            ('{"$array": 0}', "an array holds"),
        ],
    )
    def test_others_are_refused(self, text: str, message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            read(text)

    def test_one_long_text_takes_no_more_memory(self) -> None:
        """NumPy would keep room for the longest text for each element."""
        text = json.dumps(["x" * 200_000] + ["y"] * 10_000)
        with little_memory(), pytest.raises(ValidationError):
            read(text)

    nested = st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=3)
        | st.sampled_from(["NaN", "Infinity"]),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["data", "dtype", "shape", "real", "imag", "task", "$array"]
            ),
            inner | st.sampled_from(["int8", "complex64"]),
            max_size=3,
        ),
        max_leaves=12,
    )

    @given(value=nested)
    @example(value={"data": [], "dtype": "int8", "shape": [0, 2**62, 2**62]})
    def test_garbage(self, value: Any) -> None:
        """Whatever comes is an array, or refused as one."""
        try:
            array = read(json.dumps(value), ArrayContext([np.zeros(1)]))
        except ValidationError:
            return
        assert array.dtype.kind in "biufc"

    def test_the_schema_says_the_forms(self) -> None:
        schema = ADAPTER.json_schema()
        assert [
            option["$ref"].rpartition("/")[2] for option in schema["anyOf"]
        ] == ["Numbers", "TypedArray", "ComplexArray", "TaskArray"]
        assert "TaskArray" not in str(
            ADAPTER.json_schema(mode="serialization")
        )


class Found(BaseModel):
    name: str
    array: NDArray
    more: list[NDArray] = []


class TestPayloads:
    @given(array=arrays, more=st.lists(arrays, max_size=2))
    def test_there_and_back(self, array: Array, more: list[Array]) -> None:
        context = ArrayContext()
        found = Found(name="x", array=array, more=more)
        text = found.model_dump_json(context=context).encode()
        data = Payload(text, context.arrays).to_bytes()
        payload = Payload.from_bytes(data)
        again = Found.model_validate_json(
            payload.text, context=ArrayContext(list(payload.arrays))
        )
        assert same(again.array, array)
        assert len(again.more) == len(more)
        assert all(map(same, again.more, more))
        assert list(payload.names()) == [
            "array",
            *(f"more.{n}" for n in range(len(more))),
        ]

    def test_arrays_by_name(self) -> None:
        one, two = np.arange(1), np.arange(2)
        text = b'{"a": {"$array": 0}, "b": [{"$array": 1}]}'
        payload = Payload(text, [one, two])
        assert payload.array() is one
        assert payload.array("b.0") is two
        assert payload.array("c") is None
        assert Payload(b"3").array() is None
        assert Payload(b'{"$array": 0}', [two]).array("") is two

    def test_arrays_of_ones_own_can_be_changed(self) -> None:
        data = Payload(b"[]", [np.zeros(3)]).to_bytes()
        own = Payload.read_from(io.BytesIO(data), own=True).arrays[0]
        own += 1
        assert own.tolist() == [1, 1, 1]

    def test_a_hole_without_an_array(self) -> None:
        for number in (1, -1):
            with pytest.raises(ValidationError, match="no array"):
                read(f'{{"$array": {number}}}', ArrayContext([np.zeros(1)]))

    @given(data=st.binary(max_size=80), at=st.integers(0, 80))
    def test_damage(self, data: bytes, at: int) -> None:
        whole = bytearray(Payload(b"[1]", [np.zeros(2)]).to_bytes())
        whole[at : at + len(data)] = data
        try:
            Payload.from_bytes(bytes(whole))
        except PayloadError:
            pass
        with pytest.raises(PayloadError):
            Payload.from_bytes(data)

    def test_half_of_it(self) -> None:
        whole = Payload(b"[1]", [np.zeros(2)]).to_bytes()
        for end in range(len(whole)):
            with pytest.raises(PayloadError):
                Payload.from_bytes(whole[:end])
