"""Process docs: what a docstring and a schema tell about a process.

Owns no collection. May call: nobody.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_SECTION: Final = re.compile(r"^(Args|Returns|Raises|Yields):\s*$", re.M)
_ENTRY: Final = re.compile(r"^ {4}(\w+)(?: \([^)]*\))?:\s*", re.M)

# What an example of a type is, where nobody says a better one.
_PLAIN: Final[Mapping[str, object]] = {
    "string": "text",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "null": None,
    "object": {},
}
_ARRAY: Final = [0.5, 2.0, 4.25, 8.0, 4.25, 2.0, 0.5, 0.0]


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring in Google's style, taken apart.

    Attributes:
        summary: its first line, without the full stop.
        description: what follows, results and errors included, as Markdown.
        arguments: what it says of each argument.
    """

    summary: str
    description: str
    arguments: Mapping[str, str]


def read_docstring(text: str) -> Docstring:
    """Takes a docstring apart."""
    head, *sections = _SECTION.split(text)
    said = dict(zip(sections[::2], sections[1::2], strict=True))
    summary, _, more = head.strip().partition("\n")
    paragraphs = [more.strip()]
    if "Returns" in said:
        paragraphs.append(f"**Result.** {_joined(said['Returns'])}")
    if "Raises" in said:
        faults = _entries(said["Raises"])
        lines = [f"- {when}" for when in faults.values()]
        paragraphs.append("**The task fails when**\n\n" + "\n".join(lines))
    return Docstring(
        summary=summary.rstrip("."),
        description="\n\n".join(filter(None, paragraphs)),
        arguments=_entries(said.get("Args", "")),
    )


def example_of(schema: Mapping[str, Any]) -> Any:
    """A value that fits a JSON Schema of pydantic's."""
    return _example(schema, schema.get("$defs", {}))


def _example(schema: Any, defs: Mapping[str, Any]) -> Any:
    for said in ("default", "const"):
        if said in schema:
            return schema[said]
    for options in ("examples", "enum"):
        if options in schema:
            return schema[options][0]
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name in ("Array", "Numbers"):
            return list(_ARRAY)
        return _example(defs[name], defs)
    for options in ("anyOf", "oneOf", "allOf"):
        if options in schema:
            return _example(schema[options][0], defs)
    return _of_type(schema, defs)


def _of_type(schema: Any, defs: Mapping[str, Any]) -> Any:
    kind = schema.get("type", "null")
    if kind == "array" and "prefixItems" in schema:
        return [_example(item, defs) for item in schema["prefixItems"]]
    if kind == "array":
        count = schema.get("minItems", 1)
        return [_example(schema.get("items", {}), defs)] * count
    if kind == "object" and "properties" in schema:
        required = schema.get("required", [])
        return {
            name: _example(member, defs)
            for name, member in schema["properties"].items()
            if name in required or "default" in member
        }
    return schema.get("minimum", _PLAIN.get(kind))


def _entries(section: str) -> dict[str, str]:
    _, *parts = _ENTRY.split(section)
    return {
        name: _joined(text)
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


def _joined(text: str) -> str:
    return " ".join(text.split())
