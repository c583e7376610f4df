"""Kinds: the three ways to write a class that is its fields, taken apart.

pydantic models, dataclasses, and the `Type_Safe` classes of osbot-utils. That
package need not be installed: where nobody has imported it, no class is one of
its own.
"""

import dataclasses
import sys
import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import MISSING, dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
)
from pydantic_core import PydanticUndefined

_TYPE_SAFE: Final = "osbot_utils.type_safe.Type_Safe"

# Bytes need not be a text: JSON has them as base64.
BYTES: Final = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

# Where a class keeps its fields, once they were asked for.
_MEMBERS: Final = "__muster_members__"


class ConversionError(Exception):
    """A class or a value can't be converted; says which field, of which type.

    Attributes:
        where: the class and the field.
    """

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where


class Kind(StrEnum):
    """How a class is written."""

    PYDANTIC = "pydantic"
    DATACLASS = "dataclass"
    TYPE_SAFE = "Type_Safe"


@dataclass(frozen=True, slots=True)
class Member:
    """A field of a class of any kind.

    Attributes:
        name: its name.
        hint: its type, with what `Annotated` adds.
        default: its value where none is given; MISSING when it has none.
        factory: makes that value instead; MISSING when nothing does.
        about: what is said of it.
    """

    name: str
    hint: Any
    # The dataclass would take a plain MISSING for no default.
    default: Any = field(default_factory=lambda: MISSING)
    factory: Any = field(default_factory=lambda: MISSING)
    about: str | None = None

    @property
    def required(self) -> bool:
        """Whether a value must be given."""
        return self.default is MISSING and self.factory is MISSING


def kind_of(thing: object) -> Kind | None:
    """The kind of a class; None for whatever else."""
    # `list[int]` says of itself that it is a class, too.
    if not isinstance(thing, type) or get_origin(thing) is not None:
        return None
    if issubclass(thing, BaseModel):
        return Kind.PYDANTIC
    if dataclasses.is_dataclass(thing):
        return Kind.DATACLASS
    module = sys.modules.get(_TYPE_SAFE)
    if module is not None and issubclass(thing, module.Type_Safe):
        return Kind.TYPE_SAFE
    return None


def name_of(hint: Any) -> str:
    """A type as people write it."""
    if isinstance(hint, type) and get_origin(hint) is None:
        return hint.__name__
    return str(hint).replace("typing.", "")


def members_of(cls: type) -> tuple[Member, ...]:
    """The fields of a class, in their order.

    Raises:
        ConversionError: one of them has no counterpart elsewhere.
    """
    members: tuple[Member, ...] | None = vars(cls).get(_MEMBERS)
    if members is None:
        members = tuple(map(_optional, _READERS[_known(cls)](cls)))
        # On the class, as its life is theirs; two threads find the same.
        setattr(cls, _MEMBERS, members)
    return members


def make(kind: Kind, like: type, members: Mapping[str, Member]) -> type:
    """A class of `kind` with `members`, named like `like`.

    Raises:
        ConversionError: a name of theirs is taken there.
    """
    made = _MAKERS[kind](like, members)
    setattr(made, _MEMBERS, tuple(members.values()))
    return made


def build(cls: type, values: Mapping[str, Any], *, where: str) -> Any:
    """An instance of a class of any kind.

    Raises:
        ConversionError: the values don't fit.
    """
    try:
        return _BUILDERS[_known(cls)](cls, values)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in fault["loc"])
        raise ConversionError(f"{where}.{path}", fault["msg"]) from None
    except (TypeError, ValueError) as error:
        raise ConversionError(where, str(error)) from None


def _optional(member: Member) -> Member:
    """A field that is None by default may be None, whatever its type says."""
    if member.default is None and type(None) not in get_args(member.hint):
        return replace(member, hint=Union[member.hint, None])
    return member


def _known(cls: type) -> Kind:
    kind = kind_of(cls)
    if kind is None:
        raise ConversionError(
            name_of(cls), "is no pydantic model, dataclass or Type_Safe class"
        )
    return kind


def _hints(cls: type) -> dict[str, Any]:
    try:
        return get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise ConversionError(cls.__name__, str(error)) from None


def _read_model(cls: type[BaseModel]) -> list[Member]:
    if cls.model_config.get("extra") == "allow":
        raise ConversionError(
            cls.__name__, "it keeps fields that it does not declare"
        )
    members = []
    for name, info in cls.model_fields.items():
        if info.default_factory_takes_validated_data:
            raise ConversionError(
                f"{cls.__name__}.{name}", "its default needs other fields"
            )
        hint: Any = info.annotation
        for extra in info.metadata:
            hint = Annotated[hint, extra]
        unset = info.default is PydanticUndefined
        members.append(
            Member(
                name,
                hint,
                MISSING if unset else info.default,
                info.default_factory or MISSING,
                info.description,
            )
        )
    return members


def _read_dataclass(cls: Any) -> list[Member]:
    hints = _hints(cls)
    fields = dataclasses.fields(cls)
    for name, hint in hints.items():
        if isinstance(hint, dataclasses.InitVar):
            raise ConversionError(
                f"{cls.__name__}.{name}", "an InitVar is no field"
            )
    for one in fields:
        if not one.init:
            raise ConversionError(
                f"{cls.__name__}.{one.name}",
                f"{name_of(hints[one.name])} is set by the class itself",
            )
    return [
        Member(
            one.name,
            hints[one.name],
            one.default,
            one.default_factory,
            one.metadata.get("description"),
        )
        for one in fields
    ]


def _read_type_safe(cls: Any) -> list[Member]:
    """Each field has a default: that of its type, where the class has none."""
    hints = {
        name: hint
        for name, hint in _hints(cls).items()
        if get_origin(hint) is not ClassVar and hint is not ClassVar
    }
    defaults = cls.__cls_kwargs__()
    members = []
    for name, default in defaults.items():
        hint = hints.get(name, type(default))
        if isinstance(default, bool | int | float | complex | str | bytes):
            members.append(Member(name, hint, default))
        elif default is None:
            members.append(Member(name, hint, None))
        else:
            fresh = partial(_fresh, cls, name)
            members.append(Member(name, hint, factory=fresh))
    return members


def _fresh(cls: Any, name: str) -> Any:
    return getattr(cls(), name)


def _make_model(like: type, members: Mapping[str, Member]) -> type:
    fields: dict[str, Any] = {}
    for name, member in members.items():
        if name.startswith("_") or hasattr(BaseModel, name):
            raise ConversionError(
                f"{like.__name__}.{name}",
                f"{name_of(member.hint)} has a name that pydantic keeps for "
                "itself",
            )
        said: dict[str, Any] = {"description": member.about}
        if member.factory is not MISSING:
            said["default_factory"] = member.factory
        elif member.default is not MISSING:
            said["default"] = member.default
        fields[name] = (member.hint, Field(**said))
    with warnings.catch_warnings():
        # A class may show attributes that a field is called like.
        warnings.simplefilter("ignore", UserWarning)
        made: type = create_model(
            like.__name__,
            __config__=ConfigDict(
                **BYTES, extra="forbid", protected_namespaces=()
            ),
            __doc__=_doc_of(like),
            __module__=like.__module__,
            **fields,
        )
    return made


def _make_dataclass(like: type, members: Mapping[str, Member]) -> type:
    fields = []
    for name, member in members.items():
        said: dict[str, Any] = {"metadata": {"description": member.about}}
        if member.factory is not MISSING:
            said["default_factory"] = member.factory
        elif type(member.default).__hash__ is None:
            # A value that can change must not be shared.
            said["default_factory"] = partial(deepcopy, member.default)
        elif member.default is not MISSING:
            said["default"] = member.default
        # pylint: disable-next=invalid-field-call  # of make_dataclass, below
        fields.append((name, member.hint, field(**said)))
    made = dataclasses.make_dataclass(
        like.__name__,
        fields,
        kw_only=True,
        namespace={"__doc__": _doc_of(like), "__module__": like.__module__},
    )
    return made


def _make_type_safe(like: type, members: Mapping[str, Member]) -> type:
    base = type_safe_base()
    for name, member in members.items():
        if name.startswith("_") or hasattr(base, name):
            raise ConversionError(
                f"{like.__name__}.{name}",
                f"{name_of(member.hint)} has a name that Type_Safe keeps for "
                "itself",
            )

    def initialize(self: Any, **given: Any) -> None:
        for name, member in members.items():
            if name not in given and not member.required:
                given[name] = _default_of(member)
        base.__init__(self, **given)
        for name, value in given.items():
            # Type_Safe takes a None for nothing given.
            if value is None:
                setattr(self, name, None)

    return type(
        like.__name__,
        (base,),
        {
            "__annotations__": {n: m.hint for n, m in members.items()},
            "__doc__": _doc_of(like),
            "__module__": like.__module__,
            "__init__": initialize,
        },
    )


def _default_of(member: Member) -> Any:
    if member.factory is not MISSING:
        return member.factory()
    return deepcopy(member.default)


def type_safe_base() -> Any:
    """The class `Type_Safe`.

    Raises:
        ConversionError: osbot-utils is not installed.
    """
    try:
        # pylint: disable-next=import-outside-toplevel
        from osbot_utils.type_safe.Type_Safe import Type_Safe
    except ImportError:
        raise ConversionError(
            "Type_Safe", "osbot-utils is not installed: pip install osbot-utils"
        ) from None
    return Type_Safe


def _doc_of(like: type) -> str | None:
    return vars(like).get("__doc__")


def _build_model(cls: Any, values: Mapping[str, Any]) -> Any:
    return cls.model_validate(
        dict(values), strict=True, by_name=True, by_alias=False
    )


def _build_dataclass(cls: Any, values: Mapping[str, Any]) -> Any:
    return cls(**values)


def _build_type_safe(cls: Any, values: Mapping[str, Any]) -> Any:
    made = cls.__new__(cls)
    for member in members_of(cls):
        value = values[member.name]
        try:
            setattr(made, member.name, value)
        except (TypeError, ValueError):
            # What is in containers and unions was looked at before; Type_Safe
            # can declare more of them than it can hold, `tuple[int, ...]` say.
            if get_origin(member.hint) in (None, Annotated):
                raise
            object.__setattr__(made, member.name, value)
    return made


_READERS: Final[Mapping[Kind, Callable[[Any], list[Member]]]] = {
    Kind.PYDANTIC: _read_model,
    Kind.DATACLASS: _read_dataclass,
    Kind.TYPE_SAFE: _read_type_safe,
}
_MAKERS: Final[Mapping[Kind, Callable[[type, Mapping[str, Member]], type]]] = {
    Kind.PYDANTIC: _make_model,
    Kind.DATACLASS: _make_dataclass,
    Kind.TYPE_SAFE: _make_type_safe,
}
_BUILDERS: Final[Mapping[Kind, Callable[[Any, Mapping[str, Any]], Any]]] = {
    Kind.PYDANTIC: _build_model,
    Kind.DATACLASS: _build_dataclass,
    Kind.TYPE_SAFE: _build_type_safe,
}
