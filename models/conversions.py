"""Conversions: pydantic models, dataclasses and `Type_Safe`, into each other.

Six functions, each for classes and for values. A class has one counterpart of
each kind, made when it is first asked for and kept on the class, so that it
goes with it; the counterpart's own counterpart is the class that it was made
from. So a value that went there and back is of the type that it was.
"""

import threading
import types
from collections import abc
from dataclasses import MISSING, replace
from enum import Enum
from functools import partial
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

import numpy as np
from pydantic import PydanticSchemaGenerationError, TypeAdapter
from pydantic_core import CoreSchema, core_schema

from models.arrays import NDArray
from models.kinds import (
    ConversionError,
    Kind,
    Member,
    build,
    kind_of,
    make,
    members_of,
    name_of,
)

__all__ = [
    "ConversionError",
    "dataclass_to_pydantic",
    "dataclass_to_type_safe",
    "native",
    "portable",
    "portable_type",
    "pydantic_to_dataclass",
    "pydantic_to_type_safe",
    "type_safe_to_dataclass",
    "type_safe_to_pydantic",
]

# Where a class keeps its counterparts, and what it was made from.
_TWINS: Final = "__muster_twins__"
_ORIGIN: Final = "__muster_origin__"

# One class is made at a time: making one may make those of its fields.
_LOCK: Final = threading.RLock()
_MAKING: Final[set[tuple[type, Kind]]] = set()


def pydantic_to_dataclass(thing: Any) -> Any:
    """The dataclass of a model class, or a model as an instance of that.

    Constraints stay in the types, as `Annotated`; a dataclass does not check
    them.

    Raises:
        ConversionError: a field can't be converted, or a value is not what
            its field declares.
    """
    return _converted(thing, Kind.PYDANTIC, Kind.DATACLASS)


def dataclass_to_pydantic(thing: Any) -> Any:
    """The model class of a dataclass, or an instance as a model.

    The model refuses fields that the dataclass has not.

    Raises:
        ConversionError: as of `pydantic_to_dataclass`.
    """
    return _converted(thing, Kind.DATACLASS, Kind.PYDANTIC)


def pydantic_to_type_safe(thing: Any) -> Any:
    """The `Type_Safe` of a model class, or a model as an instance of that.

    `Type_Safe` has no required fields: those get the default of their type.

    Raises:
        ConversionError: as of `pydantic_to_dataclass`, or osbot-utils is not
            installed.
    """
    return _converted(thing, Kind.PYDANTIC, Kind.TYPE_SAFE)


def type_safe_to_pydantic(thing: Any) -> Any:
    """The model class of a `Type_Safe`, or an instance as a model.

    Raises:
        ConversionError: as of `pydantic_to_dataclass`.
    """
    return _converted(thing, Kind.TYPE_SAFE, Kind.PYDANTIC)


def dataclass_to_type_safe(thing: Any) -> Any:
    """The `Type_Safe` of a dataclass, or an instance as one of that.

    Raises:
        ConversionError: as of `pydantic_to_type_safe`.
    """
    return _converted(thing, Kind.DATACLASS, Kind.TYPE_SAFE)


def type_safe_to_dataclass(thing: Any) -> Any:
    """The dataclass of a `Type_Safe`, or an instance as one of that.

    Raises:
        ConversionError: as of `pydantic_to_dataclass`.
    """
    return _converted(thing, Kind.TYPE_SAFE, Kind.DATACLASS)


def portable_type(hint: Any) -> Any:
    """A type of a signature, as pydantic checks and describes it.

    Raises:
        ConversionError: there is a class in it that can't be converted.
    """
    return _type(hint, Kind.PYDANTIC, name_of(hint))


def portable(value: Any, hint: Any) -> Any:
    """A value of the type `hint`, as one of `portable_type(hint)`.

    Raises:
        ConversionError: it is not of that type.
    """
    return _value(value, portable_type(hint), name_of(hint))


def native(value: Any, hint: Any) -> Any:
    """A value of `portable_type(hint)`, as one of `hint` again.

    Raises:
        ConversionError: it is not of that type.
    """
    return _value(value, hint, name_of(hint))


def _converted(thing: Any, source: Kind, target: Kind) -> Any:
    cls = thing if isinstance(thing, type) else type(thing)
    if kind_of(cls) is not source:
        raise ConversionError(name_of(cls), f"this is not of kind {source}")
    twin = _twin(cls, target)
    if cls is thing:
        return twin
    return _instance(thing, twin, cls.__name__)


def _twin(cls: type, kind: Kind) -> type:
    """The counterpart of a class; the class itself where it is of `kind`."""
    origin = _origin(cls)
    for known in (cls, origin):
        if kind_of(known) is kind:
            return known
    twin: type | None = vars(origin).get(_TWINS, {}).get(kind)
    if twin is None:
        with _LOCK:
            # Another thread may have made it while this one waited.
            twin = vars(origin).get(_TWINS, {}).get(kind)
            return twin or _made(origin, kind)
    return twin


def _origin(cls: type) -> type:
    origin: type = vars(cls).get(_ORIGIN, cls)
    return origin


def _made(origin: type, kind: Kind) -> type:
    if (origin, kind) in _MAKING:
        raise ConversionError(
            origin.__name__, "a class that holds itself can't be converted"
        )
    _MAKING.add((origin, kind))
    try:
        members = {
            member.name: _member(member, kind, origin)
            for member in members_of(origin)
        }
        twin = make(kind, origin, members)
        setattr(twin, _ORIGIN, origin)
        setattr(origin, _TWINS, {**vars(origin).get(_TWINS, {}), kind: twin})
    finally:
        _MAKING.discard((origin, kind))
    return twin


def _member(member: Member, kind: Kind, owner: type) -> Member:
    where = f"{owner.__name__}.{member.name}"
    hint = _type(member.hint, kind, where)
    default, factory = member.default, member.factory
    if factory is not MISSING:
        factory = partial(_default, factory, hint, where)
    elif default is not MISSING:
        default = _value(default, hint, where)
    return replace(member, hint=hint, default=default, factory=factory)


def _default(factory: Any, hint: Any, where: str) -> Any:
    return _value(factory(), hint, where)


def _type(hint: Any, kind: Kind, where: str) -> Any:
    """A type with all classes in it of one kind."""
    origin, parts = get_origin(hint), get_args(hint)
    if kind_of(hint) is not None:
        return _twin(hint, kind)
    if origin is Annotated:
        inner = _type(parts[0], kind, where)
        if hint == NDArray:
            return np.ndarray if kind is Kind.TYPE_SAFE else hint
        # Type_Safe does not look into what is annotated.
        if kind is Kind.TYPE_SAFE:
            return inner
        for extra in hint.__metadata__:
            inner = Annotated[inner, extra]
        return inner
    if origin in (Union, types.UnionType):
        return Union[tuple(_type(part, kind, where) for part in parts)]
    if origin in _CONTAINERS:
        inside = tuple(
            part if part is ... else _type(part, kind, where)
            for part in parts
        )
        return origin[inside]
    return _leaf(hint, kind, where)


def _leaf(hint: Any, kind: Kind, where: str) -> Any:
    """A type that has no class of a kind in it."""
    if hint is np.ndarray:
        return NDArray if kind is Kind.PYDANTIC else hint
    base = _base_of_primitive(hint)
    if base is not None:
        if kind is not Kind.PYDANTIC:
            return hint
        return Annotated[hint, _Primitive(base)]
    try:
        TypeAdapter(hint)
    except PydanticSchemaGenerationError:
        raise ConversionError(
            where, f"{name_of(hint)} can't be converted"
        ) from None
    return hint


def _value(value: Any, hint: Any, where: str) -> Any:
    """A value with all instances in it as `hint` says."""
    origin, parts = get_origin(hint), get_args(hint)
    if kind_of(hint) is not None:
        return _instance(value, hint, where)
    if origin is Annotated:
        return _value(value, parts[0], where)
    if origin in (Union, types.UnionType):
        return _of_union(value, parts, hint, where)
    if origin in _CONTAINERS:
        return _contained(value, hint, where)
    if hint is Any or not isinstance(hint, type) or isinstance(hint, TypeVar):
        if origin is Literal and value not in parts:
            raise _stranger(value, hint, where)
        return value
    if hint in (list, dict, set, tuple):
        # Type_Safe's own, elsewhere, are what they are made of.
        if not isinstance(value, hint):
            raise _stranger(value, hint, where)
        return hint(value)
    # A bool is an int to Python; to people, and to JSON, it is none.
    if isinstance(value, bool) and hint in (int, float):
        raise _stranger(value, hint, where)
    if hint is float and isinstance(value, int):
        return float(value)
    if not isinstance(value, hint):
        raise _stranger(value, hint, where)
    return value


def _instance(value: Any, cls: type, where: str) -> Any:
    given = type(value)
    if given is cls:
        return value
    if _origin(given) is not _origin(cls):
        raise _stranger(value, _origin(cls), where)
    values = {
        member.name: _value(
            getattr(value, member.name), member.hint, f"{where}.{member.name}"
        )
        for member in members_of(cls)
    }
    return build(cls, values, where=where)


def _of_union(
    value: Any, options: tuple[Any, ...], hint: Any, where: str
) -> Any:
    """The first option that takes the value; its very type goes first."""
    if value is None and type(None) in options:
        return None
    kind = type(value)
    exact = [option for option in options if kind is option]
    for option in (*exact, *options):
        try:
            return _value(value, option, where)
        except ConversionError:
            continue
    raise _stranger(value, hint, where)


def _contained(value: Any, hint: Any, where: str) -> Any:
    origin, parts = get_origin(hint), get_args(hint)
    if not isinstance(value, origin) or isinstance(value, str | bytes):
        raise _stranger(value, hint, where)
    if issubclass(origin, abc.Mapping):
        return {
            _value(key, parts[0], where): _value(
                item, parts[1], f"{where}[{key!r}]"
            )
            for key, item in value.items()
        }
    if origin is tuple and parts[-1] is not ...:
        if len(parts) != len(value):
            raise _stranger(value, hint, where)
        pairs = zip(value, parts, strict=True)
        return tuple(_value(item, part, where) for item, part in pairs)
    made = (
        _value(item, parts[0], f"{where}[{number}]")
        for number, item in enumerate(value)
    )
    return _CONTAINERS[origin](made)


def _stranger(value: Any, hint: Any, where: str) -> ConversionError:
    return ConversionError(
        where, f"holds a {name_of(type(value))}, and is {name_of(hint)}"
    )


# How each container is made of its items.
_CONTAINERS: Final[dict[Any, Any]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    tuple: tuple,
    dict: dict,
    abc.Sequence: list,
    abc.Set: set,
    abc.Mapping: dict,
}


def _base_of_primitive(hint: Any) -> type | None:
    """What a `Type_Safe__Primitive` is made of: str, int or float."""
    if not isinstance(hint, type) or get_origin(hint) is not None:
        return None
    if issubclass(hint, Enum):
        return None
    names = {base.__name__ for base in hint.__mro__}
    if "Type_Safe__Primitive" not in names:
        return None
    return next(base for base in (str, int, float) if issubclass(hint, base))


class _Primitive:
    """A text or number with rules of its own, for pydantic."""

    def __init__(self, base: type) -> None:
        self._base = base

    def __get_pydantic_core_schema__(
        self, source: Any, _handler: object
    ) -> CoreSchema:
        plain = {
            str: core_schema.str_schema(),
            int: core_schema.int_schema(),
            float: core_schema.float_schema(),
        }[self._base]
        return core_schema.no_info_after_validator_function(
            source,
            plain,
            serialization=core_schema.plain_serializer_function_ser_schema(
                self._base, return_schema=plain
            ),
        )
