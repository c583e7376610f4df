"""Arrays: NumPy's, as parts of signatures, models and JSON.

`NDArray` in a signature or a model is an array of booleans, of whole or real
numbers of up to 64 bits, or of complex ones of up to 128. Arrays of objects,
texts and records don't exist here.

As JSON an array is nested lists, or an object that says more: its type, its
shape, a complex one's parts, or in which earlier task it is. NaN and the
infinities, which JSON lacks, are the texts "NaN", "Infinity", "-Infinity".
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, TypeAlias

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializationInfo,
    TypeAdapter,
    ValidationInfo,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from typing_extensions import TypeAliasType

from models.array_files import TAKEN, MOST_DIMENSIONS
from models.base import ObjectId

# The only member of what stands in a payload's text for an array.
HOLE: Final = "$array"

# Which array of which task: its id, where it is there, its name.
Wanted: TypeAlias = tuple[str, str, str | None]

_NOT_FINITE: Final = {
    "NaN": np.nan,
    "Infinity": np.inf,
    "-Infinity": -np.inf,
}
# Their names, by what Python calls them.
NAMES: Final = {str(number): name for name, number in _NOT_FINITE.items()}


def _from_numbers(value: object) -> np.ndarray:
    """The array that nested lists make.

    Raises:
        PydanticCustomError: they make none.
    """
    if isinstance(value, np.ndarray):
        return value
    # Objects first, each as long as a pointer: one long text among many
    # numbers would have NumPy take its length for each of them.
    try:
        objects = np.array(value, dtype=object)
    except ValueError:
        raise _fault("the lists of an array are of one length") from None
    if objects.ndim > MOST_DIMENSIONS:
        raise _fault(f"an array has {MOST_DIMENSIONS} dimensions at most")
    kinds = set(map(type, objects.flat))
    if list in kinds:
        raise _fault("the lists of an array are of one length")
    if kinds == {bool}:
        return objects.astype(bool)
    if kinds == {int}:
        return _whole(objects)
    if not kinds <= {int, float, str, type(None)}:
        raise _fault(TAKEN)
    if kinds & {str, type(None)}:
        _replace_names(objects)
    try:
        return objects.astype(np.float64)
    except OverflowError:
        raise _fault("a number is too large") from None


def _whole(objects: np.ndarray) -> np.ndarray:
    for dtype in (np.int64, np.uint64):
        try:
            return objects.astype(dtype)
        except OverflowError:
            continue
    raise _fault("a whole number has 64 bits at most: write it as 1e30")


def _replace_names(objects: np.ndarray) -> None:
    """Puts numbers for the texts of those that JSON lacks, null included."""
    flat = objects.reshape(-1)
    for number, value in enumerate(flat):
        if value is None:
            flat[number] = np.nan
        elif isinstance(value, str) and value in _NOT_FINITE:
            flat[number] = _NOT_FINITE[value]
        elif isinstance(value, str):
            raise _fault(
                "an array has numbers, and the texts NaN, Infinity, -Infinity"
            )


def _fault(message: str) -> PydanticCustomError:
    return PydanticCustomError("array", "{reason}", {"reason": message})


# Nested lists, as schemas say them. Not down to the last list: a type that
# holds itself and is no object is too much for most generators of clients.
Numbers = TypeAliasType(
    "Numbers",
    bool
    | float
    | Literal["NaN", "Infinity", "-Infinity"]
    | None
    | Annotated[
        list[Any],
        Field(description="Numbers, or lists of one length, and so on."),
    ],
)


class _NumbersType:
    """Nested lists as an array, and as the schema says them."""

    def __get_pydantic_core_schema__(
        self, _source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _from_numbers,
            json_schema_input_schema=handler.generate_schema(Numbers),
        )


_NumbersArray = Annotated[np.ndarray, _NumbersType()]
_Dtype = Literal[
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
    "uint64", "float16", "float32", "float64",
]  # fmt: skip


class _ArrayForm(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class TypedArray(_ArrayForm):
    """An array whose type or shape nested lists alone would not say."""

    data: _NumbersArray
    dtype: _Dtype
    shape: list[int] | None = Field(
        None,
        max_length=MOST_DIMENSIONS,
        description="Of an empty array, such as [0, 3], or to fold `data`.",
    )

    def array(self) -> np.ndarray:
        """What it says."""
        array = _converted(self.data, np.dtype(self.dtype))
        if self.shape is None:
            return array
        if any(length < 0 for length in self.shape):
            raise _fault("a length in a shape is not negative")
        try:
            return array.reshape(self.shape)
        except (ValueError, OverflowError):
            raise _fault(
                f"{array.size} numbers have not the shape {self.shape}"
            ) from None


class ComplexArray(_ArrayForm):
    """An array of complex numbers."""

    real: _NumbersArray
    imag: _NumbersArray
    dtype: Literal["complex64", "complex128"] = "complex128"

    def array(self) -> np.ndarray:
        """What it says."""
        if self.real.shape != self.imag.shape:
            raise _fault("real and imag have the same shape")
        part = np.dtype("f4" if self.dtype == "complex64" else "f8")
        array = np.empty(self.real.shape, self.dtype)
        array.real = _converted(self.real, part)
        array.imag = _converted(self.imag, part)
        return array


class TaskArray(_ArrayForm):
    """An array of an earlier task of the caller's."""

    task: ObjectId = Field(description="Id of the task.")
    of: Literal["result", "arguments"] = Field(
        "result", description="Whether it came out of the task, or went in."
    )
    name: str | None = Field(
        None,
        max_length=200,
        description="Where it is there, such as `amplitudes` or `peaks.0`; "
        "the first array when left out.",
    )

    @property
    def key(self) -> Wanted:
        """Equal for the same array."""
        return self.task, self.of, self.name


def _converted(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """`array` as `dtype`, unless it would hold other numbers then."""
    with np.errstate(all="ignore"):
        converted = array.astype(dtype)
        if dtype.kind == "f":
            same = np.array_equal(np.isinf(converted), np.isinf(array))
        else:
            same = bool(np.all(converted == array))
    if not same:
        raise _fault(f"a number does not fit {dtype.name}")
    return converted


# What an array is in JSON, for schemas.
Array = TypeAliasType("Array", Numbers | TypedArray | ComplexArray | TaskArray)


@dataclass(slots=True)
class ArrayContext:
    """Where arrays are that a JSON text does not hold itself.

    Attributes:
        arrays: what belongs into the holes of the text, by their numbers; or,
            when a text is written, what left them.
        found: arrays of earlier tasks.
        wanted: those that are not found yet: an empty array stands for each.
    """

    arrays: list[np.ndarray] = field(default_factory=list)
    found: dict[Wanted, np.ndarray] = field(default_factory=dict)
    wanted: list[TaskArray] = field(default_factory=list)


class ArrayType:
    """What makes `NDArray` known to pydantic."""

    def __get_pydantic_core_schema__(
        self, _source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            _validate,
            json_schema_input_schema=handler.generate_schema(Array),
            serialization=core_schema.plain_serializer_function_ser_schema(
                _serialize, info_arg=True, when_used="json"
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        if handler.mode == "serialization":
            return handler(_WRITTEN)
        return handler(schema)


NDArray: TypeAlias = Annotated[np.ndarray, ArrayType()]


class ComplexNumbers(BaseModel):
    """An array of complex numbers, as it comes out."""

    real: Numbers
    imag: Numbers


_WRITTEN: Final = TypeAdapter(Numbers | ComplexNumbers).core_schema


def _validate(value: Any, info: ValidationInfo) -> np.ndarray:
    context = info.context if isinstance(info.context, ArrayContext) else None
    match value:
        case np.ndarray():
            return _checked(value)
        case {"$array": int() as number} if context and len(value) == 1:
            return _of_hole(number, context)
        case {"task": _}:
            asked = TaskArray.model_validate(value, strict=True)
            return _of_task(asked, context)
        case {"data": _}:
            typed = TypedArray.model_validate(value, strict=True)
            return typed.array()
        case {"real": _}:
            pairs = ComplexArray.model_validate(value, strict=True)
            return pairs.array()
    return _from_numbers(value)


def _of_hole(number: int, context: ArrayContext) -> np.ndarray:
    if not 0 <= number < len(context.arrays):
        raise _fault(f"there is no array {number}")
    return context.arrays[number]


def _of_task(asked: TaskArray, context: ArrayContext | None) -> np.ndarray:
    if context is None:
        raise _fault("the array of a task can't be named here")
    found = context.found.get(asked.key)
    if found is None:
        context.wanted.append(asked)
        return np.empty(0)
    return found


def _checked(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biufc" or array.dtype.itemsize > (
        16 if array.dtype.kind == "c" else 8
    ):
        raise _fault(TAKEN)
    return array


def _serialize(array: np.ndarray, info: SerializationInfo) -> object:
    if isinstance(info.context, ArrayContext):
        info.context.arrays.append(_checked(array))
        return {HOLE: len(info.context.arrays) - 1}
    return jsonable(array)


def jsonable(array: np.ndarray) -> object:
    """An array as JSON: nested lists; of a complex one, both its parts."""
    if array.dtype.kind == "c":
        return {"real": jsonable(array.real), "imag": jsonable(array.imag)}
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        objects = array.astype(object)
        objects[np.isnan(array)] = "NaN"
        objects[np.isposinf(array)] = "Infinity"
        objects[np.isneginf(array)] = "-Infinity"
        return objects.tolist()
    return array.tolist()


def typed_form(array: np.ndarray) -> dict[str, object]:
    """An array as JSON that also says its type and its shape."""
    if array.dtype.kind == "c":
        parts = {"real": jsonable(array.real), "imag": jsonable(array.imag)}
        return {**parts, "dtype": array.dtype.name}
    shape = list(array.shape)
    return {"data": jsonable(array), "dtype": array.dtype.name, "shape": shape}
