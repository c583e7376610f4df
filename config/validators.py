"""Validators: what a server refuses to store, derived from the models.

A schema says of each field of a model which types it may have, and which
fields a document can't do without. It says nothing of values, of what is
inside a field, or of fields that it does not know, so that the releases before
and after this one can write beside it.
"""

import types
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import AwareDatetime, BaseModel
from pymongo.errors import OperationFailure

from config.changes import Change, Database, Document

Models = Mapping[str, Sequence[type[BaseModel]]]

# The first that fits: True is an int, too.
_BSON_TYPES: Final[tuple[tuple[type, str], ...]] = (
    (type(None), "null"),
    (bool, "bool"),
    # 2 may be stored where 2.0 is meant, and sums are as the server likes.
    (int, "number"),
    (float, "number"),
    (str, "string"),
    (bytes, "binData"),
    (datetime, "date"),
    # Pydantic's own: no subclass of the former.
    (AwareDatetime, "date"),
    (list, "array"),
    (tuple, "array"),
    (set, "array"),
    (frozenset, "array"),
    (dict, "object"),
    (Mapping, "object"),
    (BaseModel, "object"),
)

# What does not fit is refused, but a document that did not fit before may be
# changed all the same: nobody is locked out of what they have.
_WAY: Final = {"validationLevel": "moderate", "validationAction": "error"}


def schema_of(models: Sequence[type[BaseModel]]) -> Document:
    """The `$jsonSchema` of documents that are one of `models` each."""
    schemas = [_schema_of(model) for model in models]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


async def are_understood(
    database: Database, condition: Mapping[str, Any] | None = None
) -> bool:
    """Whether the server knows such conditions; `$jsonSchema` by default."""
    condition = condition or {"$jsonSchema": {"bsonType": "object"}}
    try:
        await database["none"].find_one(condition)
    except OperationFailure:
        return False
    return True


async def differences(database: Database, declared: Models) -> list[Change]:
    """What to do so that each collection has the validator of its models."""
    cursor = await database.list_collections(
        filter={"name": {"$in": list(declared)}}
    )
    there = {found["name"]: found["options"] async for found in cursor}
    return differences_of(there, declared)


def differences_of(
    there: Mapping[str, Mapping[str, Any]], declared: Models
) -> list[Change]:
    """The same from the options of the collections that are there."""
    changes = []
    for name, models in declared.items():
        wanted = {"validator": {"$jsonSchema": schema_of(models)}, **_WAY}
        options = there.get(name, {})
        if {key: options.get(key) for key in wanted} != wanted:
            changes.append(
                Change(
                    name,
                    "validate documents",
                    # The first does nothing where the collection is there.
                    ({"create": name}, {"collMod": name, **wanted}),
                )
            )
    return changes


def _schema_of(model: type[BaseModel]) -> Document:
    properties: Document = {}
    required: list[str] = []
    for name, field in model.model_fields.items():
        stored = field.serialization_alias or field.alias or name
        kinds = _types_of(field.annotation)
        # Of what may be anything, nothing is said.
        if None not in kinds:
            properties[stored] = {"bsonType": sorted(map(str, kinds))}
        if field.is_required():
            required.append(stored)
    return {
        "bsonType": "object",
        # Each has it, given or made.
        "required": sorted({*required, "_id"}),
        "properties": properties,
    }


def _types_of(annotation: Any) -> set[str | None]:
    """The BSON types of what is annotated so; None for any."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _types_of(arguments[0])
    if origin in (Union, types.UnionType):
        return _joined(_types_of(argument) for argument in arguments)
    if origin is Literal:
        return _joined(_types_of(type(value)) for value in arguments)
    kind = origin or annotation
    if not isinstance(kind, type):
        return {None}
    if issubclass(kind, Enum):
        return _joined(_types_of(type(member.value)) for member in kind)
    fitting = (bson for base, bson in _BSON_TYPES if issubclass(kind, base))
    return {next(fitting, None)}


def _joined(kinds: Iterable[set[str | None]]) -> set[str | None]:
    return set().union(*kinds)
