"""Process functions: a plain typed function as something that tasks run.

Owns no collection. May call: process_docs, process_options.
"""

import inspect
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, get_type_hints

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PydanticSchemaGenerationError,
    TypeAdapter,
    ValidationError,
    create_model,
)

from models.arrays import NAMES, ArrayContext, TaskArray, Wanted
from models.conversions import (
    ConversionError,
    native,
    portable,
    portable_type,
)
from models.exceptions import InvalidRequestError
from models.kinds import BYTES, kind_of
from models.payloads import Payload
from models.processes import JsonSchema, ProcessOptions
from utils import process_docs, process_options

# A body of garbage must not make a longer answer.
_MOST_FAULTS: Final = 20
_PATH: Final = re.compile(
    r"([a-z0-9-]+|{[a-z][a-z0-9_]*})(/([a-z0-9-]+|{[a-z][a-z0-9_]*}))*"
)

# What JSON lacks, in a text that may have it all the same.
_NOT_FINITE: Final = re.compile(rb"NaN|Infinity")

Found = Mapping[Wanted, np.ndarray]


class ProcessDefinitionError(Exception):
    """A function in `utils/processes/` can't be a process; it says why."""

    def __init__(self, function: Callable[..., Any], reason: str) -> None:
        where = f"{function.__module__}.{function.__qualname__}"
        super().__init__(f"{where}: {reason}")


@dataclass(frozen=True)
class Process:  # pylint: disable=too-many-instance-attributes
    """A function that tasks run.

    Attributes:
        name: its own, which tasks keep.
        path: where it is submitted, below `/v1/processes/`.
        function: what computes.
        options: how it runs.
        docstring: what it says of itself.
        parameters: all its arguments.
        body: those that a client sends, which are not in the path.
        path_arguments: those that are.
        result: what comes out, as pydantic knows it.
        hints: the types as the function declares them.
    """

    name: str
    path: str
    function: Callable[..., Any]
    options: ProcessOptions
    docstring: process_docs.Docstring
    parameters: type[BaseModel]
    body: type[BaseModel]
    path_arguments: Mapping[str, TypeAdapter[Any]]
    result: TypeAdapter[Any]
    hints: Mapping[str, Any]

    @property
    def summary(self) -> str:
        """One line that says what it does."""
        return self.docstring.summary

    @property
    def description(self) -> str:
        """The rest, in Markdown."""
        return self.docstring.description

    @property
    def retries(self) -> int:
        """How often a task that failed is tried again by itself."""
        return self.options.retries

    def wanted(self, payload: Payload) -> list[TaskArray]:
        """The arrays of earlier tasks that a client's arguments name."""
        if b'"task"' not in payload.text:
            return []
        context = ArrayContext(list(payload.arrays))
        try:
            self.body.model_validate_json(
                payload.text, strict=True, context=context
            )
        except ValidationError:
            # Said when they are there: a check may mind what stands for them.
            pass
        return context.wanted

    def validate(
        self,
        payload: Payload,
        *,
        path: Mapping[str, str] | None = None,
        found: Found | None = None,
    ) -> BaseModel:
        """The arguments that a client sends.

        Args:
            payload: the body: JSON, with holes for the arrays beside it.
            path: the arguments in the path, as texts.
            found: the arrays that `wanted` names.

        Raises:
            InvalidRequestError: they don't fit.
        """
        context = ArrayContext(list(payload.arrays), found=dict(found or {}))
        body = _validated(self.body, payload, context, ("body",))
        values = {name: getattr(body, name) for name in self.body.model_fields}
        for name, adapter in self.path_arguments.items():
            try:
                values[name] = adapter.validate_strings((path or {})[name])
            except ValidationError as error:
                raise _refused(error, ("path", name)) from None
        return self.parameters.model_construct(**values)

    def dump_arguments(self, arguments: BaseModel) -> Payload:
        """Arguments, as they are kept until the task runs."""
        return _dumped(TypeAdapter(self.parameters), arguments)

    def load_arguments(self, payload: Payload) -> BaseModel:
        """What `dump_arguments` wrote.

        Raises:
            InvalidRequestError: the process has changed, and they don't fit
                any more.
        """
        context = ArrayContext(list(payload.arrays))
        return _validated(self.parameters, payload, context, ("arguments",))

    def call(self, arguments: BaseModel) -> Any:
        """Runs the function; what it raises goes through."""
        values = {
            name: native(getattr(arguments, name), hint)
            for name, hint in self.hints.items()
            if name != "return"
        }
        return self.function(**values)

    def dump_result(self, result: Any) -> Payload:
        """A result, as it is kept.

        Raises:
            TypeError: it is not what the function declares.
        """
        hint = self.hints["return"]
        try:
            value = self.result.validate_python(
                portable(result, hint), strict=True
            )
        except (ValidationError, ConversionError) as error:
            raise TypeError(
                f"{self.name} returned something else than it declares: {error}"
            ) from None
        return _dumped(self.result, value)

    def run(self, payload: Payload) -> Payload:
        """From kept arguments to a kept result; what tasks do."""
        return self.dump_result(self.call(self.load_arguments(payload)))

    def result_json(self, payload: Payload) -> bytes:
        """A kept result, as clients read it: arrays are nested lists.

        A number that JSON lacks is a text, as it is in arrays.
        """
        context = ArrayContext(list(payload.arrays))
        value = self.result.validate_json(payload.text, context=context)
        if not _NOT_FINITE.search(payload.text):
            return self.result.dump_json(value, by_alias=True)
        said = self.result.dump_python(value, mode="json", by_alias=True)
        return json.dumps(_named(said), separators=(",", ":")).encode()

    def load_result(self, payload: Payload) -> Any:
        """A kept result, as the function returned it."""
        context = ArrayContext(list(payload.arrays))
        value = self.result.validate_json(payload.text, context=context)
        return native(value, self.hints["return"])

    def example(self) -> JsonSchema:
        """A body that is accepted."""
        if self.options.example is not None:
            return self.options.example
        schema = self.body.model_json_schema()
        made: JsonSchema | None = process_docs.example_of(schema)
        return made or {}

    @cached_property
    def array_arguments(self) -> frozenset[str]:
        """The arguments that are arrays, and may be sent as files."""
        properties = self.body.model_json_schema().get("properties", {})
        return frozenset(
            name
            for name, schema in properties.items()
            if "#/$defs/Array'" in str(schema)
        )


def process_of(function: Callable[..., Any]) -> Process:
    """Makes a process of a function.

    Raises:
        ProcessDefinitionError: it can't be one.
    """
    hints = _hints(function)
    options = process_options.options_of(function)
    docstring = process_docs.read_docstring(inspect.getdoc(function) or "")
    if not docstring.summary:
        raise ProcessDefinitionError(function, "it has no docstring")
    arguments = [*inspect.signature(function).parameters]
    path = options.path or path_of(function.__name__, arguments)
    if not _PATH.fullmatch(path):
        raise ProcessDefinitionError(function, f"{path} is no path")
    in_path = {
        part[1:-1] for part in path.split("/") if part.startswith("{")
    }
    if not in_path <= set(arguments):
        raise ProcessDefinitionError(function, f"{path} names no arguments")
    title = "".join(map(str.capitalize, function.__name__.split("_")))
    try:
        fields = _fields(function, hints, docstring)
        parameters = _model(f"{title}Parameters", fields)
        body = _model(
            f"{title}Parameters",
            {k: v for k, v in fields.items() if k not in in_path},
        )
        result = _adapter(hints["return"])
        adapters = {name: _adapter(hints[name]) for name in in_path}
    except (PydanticSchemaGenerationError, ConversionError) as error:
        raise ProcessDefinitionError(function, str(error)) from None
    return Process(
        name=function.__name__,
        path=path,
        function=function,
        options=options,
        docstring=docstring,
        parameters=parameters,
        body=body if in_path else parameters,
        path_arguments=adapters,
        result=result,
        hints=hints,
    )


def path_of(name: str, arguments: list[str]) -> str:
    """The path of a process: `images__id_blur` with `id` → `images/{id}/blur`.

    `__` begins a new segment, `_` is a hyphen. What begins a later segment and
    is an argument's name becomes a segment of its own, which that argument's
    value stands for.
    """
    first, *rest = name.split("__")
    segments = [_literal(first)]
    for part in rest:
        names = [
            argument
            for argument in arguments
            if part == argument or part.startswith(f"{argument}_")
        ]
        if names:
            longest = max(names, key=len)
            segments.append(f"{{{longest}}}")
            part = part[len(longest) + 1 :]
        if part:
            segments.append(_literal(part))
    return "/".join(segments)


def _literal(part: str) -> str:
    return part.strip("_").replace("_", "-")


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The types that the function declares, each of them."""
    if inspect.iscoroutinefunction(function):
        raise ProcessDefinitionError(
            function, "a process is a plain def: tasks run in processes of "
            "their own, where nobody else waits",
        )  # fmt: skip
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ProcessDefinitionError(function, str(error)) from None
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        ):
            raise ProcessDefinitionError(
                function, f"{parameter} has no name to send it by"
            )
        if name not in hints:
            raise ProcessDefinitionError(function, f"{name} has no type")
        if name.startswith("_"):
            raise ProcessDefinitionError(function, f"{name} is private")
    if "return" not in hints:
        raise ProcessDefinitionError(function, "it says not what it returns")
    return hints


def _fields(
    function: Callable[..., Any],
    hints: Mapping[str, Any],
    docstring: process_docs.Docstring,
) -> dict[str, Any]:
    fields = {}
    for name, parameter in inspect.signature(function).parameters.items():
        default = parameter.default
        if default is parameter.empty:
            default = ...
        else:
            default = portable(default, hints[name])
        fields[name] = (
            portable_type(hints[name]),
            Field(default, description=docstring.arguments.get(name)),
        )
    return fields


def _model(title: str, fields: Mapping[str, Any]) -> type[BaseModel]:
    made: type[BaseModel] = create_model(
        title, __config__=ConfigDict(**BYTES, extra="forbid"), **fields
    )
    return made


def _adapter(hint: Any) -> TypeAdapter[Any]:
    portable_hint = portable_type(hint)
    # A model has a configuration of its own.
    is_model = kind_of(portable_hint) is not None
    return TypeAdapter(portable_hint, config=None if is_model else BYTES)


def _validated(
    model: type[BaseModel],
    payload: Payload,
    context: ArrayContext,
    where: tuple[str, ...],
) -> BaseModel:
    try:
        return model.model_validate_json(
            payload.text, strict=True, context=context
        )
    except ValidationError as error:
        raise _refused(error, where) from None


def _refused(
    error: ValidationError, where: tuple[str, ...]
) -> InvalidRequestError:
    faults = error.errors(
        include_url=False, include_context=False, include_input=False
    )
    return InvalidRequestError(
        [
            {
                "loc": [*where, *fault["loc"]],
                "msg": fault["msg"].removeprefix("Value error, "),
                "type": fault["type"],
            }
            for fault in faults[:_MOST_FAULTS]
        ]
    )


def _named(value: Any) -> Any:
    """JSON in which numbers that are none are texts."""
    match value:
        case float() if not math.isfinite(value):
            return NAMES[str(value)]
        case dict():
            return {name: _named(member) for name, member in value.items()}
        case list():
            return [_named(item) for item in value]
    return value


def _dumped(adapter: TypeAdapter[Any], value: object) -> Payload:
    """A value as a payload.

    Not by `dump_json`, which writes null for a number that is none: NaN of a
    result is NaN again when it is read.
    """
    context = ArrayContext()
    said = adapter.dump_python(
        value, mode="json", by_alias=True, round_trip=True, context=context
    )
    return Payload(json.dumps(said).encode(), context.arrays)
